"""COCO instances JSON: COCO itself, ODinW's Roboflow exports (nested or flat), and anybody's own set.

`vr1bench.readers.ovdeval` and `vr1bench.readers.d3` read the same form, and ask each image for names of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Generic, Literal, TypeVar

import msgspec
import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files, packed, sorted_by_sample
from vr1bench.readers.files import (
    Box,
    Options,
    Row,
    Side,
    odd_boxes,
    plain_ids,
    read_boxes,
    read_json,
    read_options,
    refuse,
    refuse_ids,
    refuse_labels,
    refuse_names,
)
from vr1bench.types import Bools, boxes_of, labels_of

Id = int | str


class Image(Row):
    """An entry of `images`."""

    id: Id
    file_name: str
    width: Side
    height: Side


class Annotation(Row):
    """An entry of `annotations`; `bbox` is xywh in pixels."""

    id: int
    image_id: Id
    category_id: Id
    bbox: Box
    area: float | None = None
    iscrowd: int = 0


class Category(Row):
    """An entry of `categories`."""

    id: Id
    name: str
    supercategory: str | None = None


I = TypeVar("I", bound=Image)  # noqa: E741


class Instances(Row, Generic[I]):
    """The file, with images of some kind."""

    images: list[I]
    annotations: list[Annotation]
    categories: list[Category]


Keep = Literal["all", "categories of 10", "one of each", "10 boxes"]
FEW = 10
"""VLM-R1's bound: "categories with more than 10 annotation boxes" (arXiv 2504.07615, section 5.2.2)."""


class CocoOptions(Options):
    """`keep`: what is left of the file, for the three readings of VLM-R1's COCO_filtered (its posts' COCO_pos_1 to 3).

    `categories of 10` drops, image by image, a category with more than ten boxes; `one of each` keeps the images whose
    every category has one box; `10 boxes` those with at most ten. Neither file nor script was released.

    VLM-R1's text says that the categories are filtered, not what is asked. Under `categories of 10` every class is
    asked all the same, so an answer that finds what was dropped counts as wrong; to ignore the dropped boxes as crowds
    are ignored, or not to ask for their class, would be other readings.
    """

    keep: Keep = "all"


def read(source: Files) -> Dataset:
    """Samples of a COCO json, in the order of image ids (as pycocotools sorts them), gold in the file's order.

    Counted in `warnings`: boxes without size and boxes that overrun the image, which are kept; boxes that
    `categories of 10` leaves out. Roboflow's placeholder category (id 0, supercategory "none", used by no annotation)
    is not a class. Images without gold stay.

    Raises:
        Vr1benchError: A required field is missing, an id is repeated or refers to nothing, a name or id is empty, too
            long or holds control characters, a box has a negative size or no finite corners and area, or `keep` leaves
            no image; the message says which.
    """
    told = read_options(source, CocoOptions)
    data, sha256 = read_json(source.annotations, Instances[Image])
    kept = _filtered(data, told.keep)
    if data.images and not kept.images:
        raise Vr1benchError(
            f"{source.annotations}: the option keep = {told.keep!r} leaves none of {len(data.images)} images; expected "
            "at least one: mend `options` in the benchmark's TOML, or name another file"
        )
    samples = {image.id for image in kept.images}
    left_out = [image.id for image in data.images if image.id not in samples]
    made = dataset(source, kept, sha256, left_out=left_out)
    if told.keep == "categories of 10" and (dropped := len(data.annotations) - len(kept.annotations)):
        made.warnings[f"gold boxes of categories with more than {FEW}, left out: answers that find them are wrong"] = (
            dropped
        )
    return made


def _filtered(data: Instances[Image], keep: Keep) -> Instances[Image]:
    """What one of VLM-R1's readings leaves of a file; crowds count as one box each."""
    if keep == "all":
        return data
    counts = Counter((row.image_id, row.category_id) for row in data.annotations)
    if keep == "categories of 10":
        rows = [row for row in data.annotations if counts[row.image_id, row.category_id] <= FEW]
        return msgspec.structs.replace(data, annotations=rows)
    boxes = Counter(row.image_id for row in data.annotations)
    most = Counter[Id]()
    for (image_id, _), count in counts.items():
        most[image_id] = max(most[image_id], count)
    kept = {
        image.id
        for image in data.images
        if boxes[image.id] > 0 and (most[image.id] == 1 if keep == "one of each" else boxes[image.id] <= FEW)
    }
    return msgspec.structs.replace(
        data,
        images=[image for image in data.images if image.id in kept],
        annotations=[row for row in data.annotations if row.image_id in kept],
    )


def dataset(
    source: Files,
    data: Instances[I],
    sha256: str,
    asked: Callable[[I], tuple[str, ...]] | None = None,
    left_out: Sequence[Id] = (),
) -> Dataset:
    """The dataset of a COCO file that was read.

    Args:
        source: Where it was found.
        data: What it holds.
        sha256: Of what was read.
        asked: The names that an image is asked for; None asks each for every class.
        left_out: Ids of images that were taken out of it.

    Raises:
        Vr1benchError: See `read`.
    """
    path = source.annotations
    ids = _image_ids(data.images, path)
    refuse_ids(path, [str(image_id) for image_id in ids], "images by id")
    rank = {image_id: place for place, image_id in enumerate(ids)}
    refuse_names(path, [image.file_name for image in data.images], "images", source.images)
    images = sorted(data.images, key=lambda image: rank[image.id])
    sizes = np.array([(image.width, image.height) for image in images], np.int64)
    rows, categories = data.annotations, _categories(data, path)
    places = {category_id: place for place, category_id in enumerate(categories)}
    refuse_repeats(rows, path, "annotations")
    samples = np.fromiter((rank.get(row.image_id, -1) for row in rows), np.int64, len(rows))
    refuse(path, samples < 0, "annotations", "an image_id that `images` lists", [row.image_id for row in rows])
    labels = np.fromiter((places.get(row.category_id, -1) for row in rows), np.int64, len(rows))
    refuse(path, labels < 0, "annotations", "a category_id that `categories` lists", [row.category_id for row in rows])
    xywh = boxes_of([row.bbox for row in rows])
    boxes = read_boxes(path, xywh, "xywh", "annotations", "bbox")
    extents = xywh[:, 2] * xywh[:, 3]
    areas = np.array(
        [row.area if row.area is not None else e for row, e in zip(rows, extents, strict=True)], np.float64
    )
    refuse(path, ~((areas >= 0) & np.isfinite(areas)), "annotations", "a finite area of 0 or more", areas)
    crowd: Bools = np.fromiter((bool(row.iscrowd) for row in rows), np.bool_, len(rows))
    order, starts = sorted_by_sample(samples, len(ids))
    names = list(categories.values())
    return Dataset(
        ids=packed([str(image_id) for image_id in ids]),
        names=packed([image.file_name for image in images]),
        folder=source.images,
        sizes=sizes,
        queries=[asked(image) for image in images] if asked else [tuple(dict.fromkeys(names))],
        starts=starts,
        boxes=boxes[order],
        labels=labels[order],
        crowd=crowd[order],
        areas=areas[order],
        extents=extents[order],
        annotation_ids=plain_ids([row.id for row in rows])[order],
        vocabulary=labels_of(names),
        sha256=sha256,
        warnings=odd_boxes(boxes, sizes[samples], extents),
        category_ids=packed([str(category_id) for category_id in categories]),
        left_out=tuple(str(image_id) for image_id in left_out),
    )


def _image_ids(images: Sequence[I], path: Path) -> list[Id]:
    if not images:
        raise Vr1benchError(f"{path}: images: expected at least one image, got none")
    try:
        ids = sorted(image.id for image in images)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except TypeError:
        raise Vr1benchError(f"{path}: image ids mix numbers and strings; expected one kind") from None
    twice = np.array([False, *(a == b for a, b in pairwise(ids))])
    refuse(path, twice, "images by id", "an id of its own for every image", ids)
    return ids


def _categories(data: Instances[I], path: Path) -> dict[Id, str]:
    """Category id to name in the file's order, without Roboflow's placeholder."""
    used = {row.category_id for row in data.annotations}
    categories: dict[Id, str] = {}
    for row in data.categories:
        if row.id == 0 and row.supercategory == "none" and 0 not in used:
            continue
        if row.id in categories:
            raise Vr1benchError(f"{path}: categories: the id {row.id!r} stands twice; every class needs one of its own")
        categories[row.id] = row.name
    if not categories:
        raise Vr1benchError(f"{path}: categories: expected at least one class, got none")
    refuse_labels(path, list(categories.values()), "categories")
    refuse_ids(path, [str(category_id) for category_id in categories], "categories by id")
    return categories


def refuse_repeats(rows: Sequence[Annotation] | Sequence[Image], path: Path, what: str) -> None:
    """Refuses an id that stands more than once among the rows, which are called `what`."""
    seen: set[Id] = set()
    for place, row in enumerate(rows):
        if row.id in seen:
            raise Vr1benchError(
                f"{path}: {what}[{place}]: the id {row.id!r} stands more than once; expected unique ids: renumber the "
                f"{what}"
            )
        seen.add(row.id)
