"""OVDEval: COCO's form with the names asked of each image beside it.

Every image lists `text` (what is there) and `neg_text` (hard negatives); its label set is the two in that order, as
`om-ai-lab/OVDEval` asks (`eval_glip.py`, `Evaluation.md`). The same code asks every class of the file in celebrity,
logo and landmark: `labels = "all"`. Category and annotation ids begin at 0; annotation id 0 is kept for
`ids = "as-shipped"`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files
from vr1bench.readers.coco import Image, Instances, dataset
from vr1bench.readers.files import Options, read_json, read_options, refuse_labels

I = TypeVar("I", bound=Image)  # noqa: E741


class OvdevalOptions(Options):
    """`labels`: whether an image is asked for its own names or for every class of the file."""

    labels: Literal["image", "all"] = "image"


class OvdevalImage(Image, kw_only=True):
    """An entry of `images` with its positive and negative names."""

    text: list[str]
    neg_text: list[str]


def read(source: Files) -> Dataset:
    """Samples in the order of image ids; an image that names nothing is left out and counted, for nothing is asked.

    Options: `OvdevalOptions`. A gold box whose name is not asked of its image stays (nobody can find it), counted.

    Raises:
        Vr1benchError: See `vr1bench.readers.coco.read`; an image lacks `text` or `neg_text`, or names nothing in them.
    """
    told = read_options(source, OvdevalOptions)
    data, sha256 = read_json(source.annotations, Instances[OvdevalImage])
    refuse_labels(source.annotations, [name for image in data.images for name in image.text], "text of images")
    refuse_labels(source.annotations, [name for image in data.images for name in image.neg_text], "neg_text of images")
    return dataset(source, data, sha256) if told.labels == "all" else asked_apart(source, data, sha256, _own_names)


def _own_names(image: OvdevalImage) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*image.text, *image.neg_text]))


def asked_apart(source: Files, data: Instances[I], sha256: str, asked: Callable[[I], tuple[str, ...]]) -> Dataset:
    """The dataset of images that are asked for names of their own.

    Args:
        source: Where the file was found.
        data: What it holds; images that are asked nothing are taken out.
        sha256: Of what was read.
        asked: The names of an image.

    Raises:
        Vr1benchError: See `vr1bench.readers.coco.read`.
    """
    silent = dict.fromkeys(image.id for image in data.images if not asked(image))
    if data.images and all(image.id in silent for image in data.images):
        raise Vr1benchError(
            f"{source.annotations}: expected at least one image that is asked for something, got none of "
            f"{len(data.images)}; repair the file, or mend `options` in the benchmark's TOML"
        )
    data.images = [image for image in data.images if image.id not in silent]
    boxes = len(data.annotations)
    data.annotations = [row for row in data.annotations if row.image_id not in silent]
    made = dataset(source, data, sha256, asked, tuple(silent))
    unasked = sum(name not in sample.queries for sample in made for name in sample.gold.labels.tolist())
    counts = {
        "images of which nothing is asked, left out": len(silent),
        "gold boxes of images left out": boxes - len(data.annotations),
        "gold boxes with a name that their image is not asked for": unasked,
    }
    made.warnings.update({what: count for what, count in counts.items() if count})
    return made
