"""ReasonSeg, the set of LISA: a folder of `<name>.json` beside `<name>.jpg`, polygons instead of boxes.

Each JSON holds `{text: [sentence, ...], is_sentence, shapes: [{label, points: [[x, y], ...]}, ...]}`, in UTF-8 or,
where that fails, cp1252 (dvlab-research/LISA, `utils/data_processing.py`). As there, `flag` polygons are nothing, those
with `ignore` in their label are not scored, all others are the target.

**The boxes are ours**: ReasonSeg has none. A box is the tightest one around all corners of all target polygons of the
image. VLM-R1's `lisa_test.json` has boxes of an unpublished rule (VLM-R1 issues 143, 232; reader `rec`), and Visual-RFT
took the first polygon alone, so numbers of images with several polygons differ.

The annotation of a split is the folder: `annotations = ["reason_seg/ReasonSeg/val"]`, `images = "val"`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files
from vr1bench.readers.files import (
    Box,
    Options,
    Row,
    as_utf8,
    decoded,
    read_boxes,
    read_bytes,
    read_options,
    refuse_texts,
)
from vr1bench.readers.pictures import Size, upright_size
from vr1bench.readers.refer import Phrases, referring


class ReasonSegOptions(Options):
    """`texts`: a sample for every text of an image (1,658 of test), or for the first alone (779, as LISA validates)."""

    texts: Literal["all", "first"] = "all"


class Shape(Row):
    """A polygon; corners in pixels."""

    label: str
    points: list[tuple[float, float]]

    @property
    def is_target(self) -> bool:
        """Whether it shows what the text asks for; LISA reads any label as such that is neither flag nor ignore."""
        label = self.label.lower()
        return bool(self.points) and not label.startswith("flag") and "ignore" not in label


class Scene(Row):
    """One file."""

    text: list[str]
    shapes: list[Shape]


def read(source: Files) -> Dataset:
    """One sample a text, files by name, ids from 0; sizes come from the pictures' headers, so these must be there.

    Options: `ReasonSegOptions`. Counted in `warnings`: the boxes, since they are ours; images without a target polygon
    or text, which are left out; target polygons of a label other than `target`.

    Raises:
        Vr1benchError: There is no file, one is no such JSON in either encoding, or a picture is missing.
    """
    texts = read_options(source, ReasonSegOptions).texts
    paths = [source.annotations]
    if source.annotations.is_dir():
        paths = sorted(source.annotations.glob("*.json"))
    digest = hashlib.sha256()
    names: list[str] = []
    sizes: list[Size] = []
    boxes: list[Box] = []
    phrases: list[str] = []
    left_out = relabelled = 0
    for path in paths:
        data = read_bytes(path)
        digest.update(hashlib.sha256(data).digest())
        scene = decoded(_utf8(as_utf8(data, path), path), Scene, path)
        asked = [text.strip() for text in scene.text[: None if texts == "all" else 1]]
        refuse_texts(path, asked, "text", "a sentence")
        target = [shape for shape in scene.shapes if shape.is_target]
        left_out += not target or not asked
        relabelled += sum(shape.label.lower() != "target" for shape in target)
        if target and asked:
            name = f"{path.stem}.jpg"
            count = len(asked)
            names += [name] * count
            sizes += [upright_size(source.images / name)[0]] * count
            boxes += [_around(target)] * count
            phrases += asked
    counts = {
        "gold boxes drawn by us around ReasonSeg's target polygons": len(boxes),
        "images without a target polygon or text, left out": left_out,
        "polygons of other labels, read as targets as LISA does": relabelled,
    }
    corners = read_boxes(source.annotations, boxes, "xyxy", "texts", "target polygons")
    table = Phrases("a sentence in text", names, sizes, corners, phrases)
    warnings = {what: count for what, count in counts.items() if count}
    return referring(source.annotations, source.images, table, digest.hexdigest(), warnings)


def _around(shapes: list[Shape]) -> Box:
    """The tightest xyxy around all corners."""
    corners = np.array([point for shape in shapes for point in shape.points], np.float64)
    left, top = corners.min(axis=0).tolist()
    right, bottom = corners.max(axis=0).tolist()
    return left, top, right, bottom


def _utf8(data: bytes, path: Path) -> bytes:
    """The bytes in UTF-8: as they are, else from cp1252."""
    try:
        data.decode()
    except UnicodeDecodeError:
        try:
            return data.decode("cp1252").encode()
        except UnicodeDecodeError as error:
            raise Vr1benchError(f"{path}: neither UTF-8 nor cp1252 ({error}); fetch the file again") from None
    return data
