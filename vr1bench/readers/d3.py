"""D3, the Description Detection Dataset: COCO's form whose categories are 422 sentences.

`d3_json/d3_{full,pres,abs}_annotations.json` holds the gold (xywh; category id = sentence id, 1..422). Which sentences
an image is asked for is not in it: by default (intra-scenario) those of the image's group, usually 4, which stand in
`d3_pkl/images.pkl` (`{image id: {group_id, ...}}`) and `d3_pkl/groups.pkl` (`{group id: {inner_sent_id: [...], ...}}`);
inter-scenario asks all of them (shikras/d-cube, `doc.md` and `d_cube/d3.py:get_sent_ids`, which mmdetection's
`mmdet/datasets/dod.py` follows). The sentences stand in the order of their ids.

The JSON is what `d_cube/d3.py:convert2coco` writes: image and annotation ids begin at 0, and by its default it holds of
each box only the sentences of the image's own group. Whether the published files do was not seen; boxes that nobody is
asked for are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files
from vr1bench.readers.coco import Image, Instances, dataset
from vr1bench.readers.files import Options, Row, converted, joint_sha256, read_json, read_options
from vr1bench.readers.ovdeval import asked_apart
from vr1bench.readers.refer_pickle import read_pickle


class D3Options(Options):
    """`scenario`: see above. `groups`: the folder of the pickles, relative to the annotation file's."""

    scenario: Literal["intra", "inter"] = "intra"
    groups: str = "../d3_pkl"


class Grouped(Row):
    """An image of `images.pkl`."""

    group_id: int


class Group(Row):
    """A scenario of `groups.pkl`."""

    inner_sent_id: list[int]


def read(source: Files) -> Dataset:
    """Samples in the order of image ids.

    Options: `D3Options`. An image whose group has no sentence in the file (presence and absence files hold a part of
    them) is asked nothing, hence left out and counted; a gold box whose sentence is not asked of its image stays.

    Raises:
        Vr1benchError: See `vr1bench.readers.coco.read` and `vr1bench.readers.refer_pickle.read_pickle`; an image has
            no group.
    """
    told = read_options(source, D3Options)
    data, sha256 = read_json(source.annotations, Instances[Image])
    if told.scenario == "inter":
        return dataset(source, data, sha256)
    groups, groups_sha256 = _sentences_by_image(source.annotations.parent / told.groups)
    names = {row.id: row.name for row in data.categories}

    def asked(image: Image) -> tuple[str, ...]:
        if not isinstance(image.id, int) or image.id not in groups:
            raise Vr1benchError(
                f"{source.annotations}: image {image.id!r} has no group in {told.groups}; expected pickles and JSON of "
                'one release; without them ask every sentence: scenario = "inter"'
            )
        return tuple(names[sentence] for sentence in groups[image.id] if sentence in names)

    return asked_apart(source, data, joint_sha256(sha256, *groups_sha256), asked)


def _sentences_by_image(folder: Path) -> tuple[Mapping[int, list[int]], tuple[str, str]]:
    """Sentence ids of each image's group, ascending, and the sha256 of each file."""
    images_path, groups_path = folder / "images.pkl", folder / "groups.pkl"
    value, images_sha256 = read_pickle(images_path)
    images = converted(value, dict[int, Grouped], images_path)
    value, groups_sha256 = read_pickle(groups_path)
    groups = converted(value, dict[int, Group], groups_path)
    for image_id, row in images.items():
        if row.group_id not in groups:
            raise Vr1benchError(
                f"{images_path}: image {image_id} names group {row.group_id}; expected one that {groups_path} holds: "
                "fetch both from one release"
            )
    sentences = {group_id: sorted(set(group.inner_sent_id)) for group_id, group in groups.items()}
    return {i: sentences[row.group_id] for i, row in images.items()}, (images_sha256, groups_sha256)
