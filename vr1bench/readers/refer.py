"""VLM-R1's referring-expression JSON: `rec_jsons_processed/refcoco_val.json` and its like, `lisa_test.json`.

A list of rows with `image`, `width`, `height`, `problem`, `normal_caption` and `solution`: the gold box as xyxy in
pixels of the original image. The InternVL edition of these files scales `solution` to 0..1000 under the same names;
it is told apart by what the user says, never by guessing from values.
"""

from __future__ import annotations

import numpy as np

from vr1bench.boxes import area
from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files, packed
from vr1bench.readers.files import Box, Row, Side, odd_boxes, read_json, refuse, refuse_names
from vr1bench.types import boxes_of, labels_of

PROBLEM_PREFIX = "Please provide the bounding box coordinate of the region this sentence describes: "


class Sentence(Row):
    """One row: a sentence about an image, and its box as xyxy in pixels."""

    image: str
    width: Side
    height: Side
    solution: Box
    problem: str = ""
    normal_caption: str = ""

    @property
    def phrase(self) -> str:
        """The bare phrase: `normal_caption`, else what follows the known prefix of `problem`."""
        return (self.normal_caption.strip() or self.problem.removeprefix(PROBLEM_PREFIX).strip()).removesuffix(".")


def read(source: Files) -> Dataset:
    """One sample a row, in the file's order; ids count from 0 since the file's own repeat (one row a sentence).

    Raises:
        Vr1benchError: A row lacks a field, its box is not four finite numbers, or is inverted.
    """
    path = source.annotations
    rows, sha256 = read_json(path, list[Sentence])
    if not rows:
        raise Vr1benchError(f"{path}: expected at least one row, got none")
    refuse_names(path, [row.image for row in rows], "rows", source.images)
    sizes = np.array([(row.width, row.height) for row in rows], np.int64)
    boxes = boxes_of([row.solution for row in rows])
    insane = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    refuse(path, insane, "rows", "solution [x1, y1, x2, y2] with x2 >= x1 and y2 >= y1", boxes)
    phrases = [row.phrase for row in rows]
    refuse(path, np.array([not p for p in phrases]), "rows", "a sentence in normal_caption or problem", phrases)
    extents = area(boxes)
    return Dataset(
        ids=packed([str(i) for i in range(len(rows))]),
        names=packed([row.image for row in rows]),
        folder=source.images,
        sizes=sizes,
        queries=[(phrase,) for phrase in phrases],
        starts=np.arange(len(rows) + 1),
        boxes=boxes,
        labels=np.arange(len(rows)),
        crowd=np.zeros(len(rows), np.bool_),
        areas=extents,
        extents=extents,
        annotation_ids=np.arange(1, len(rows) + 1),
        vocabulary=labels_of(phrases),
        sha256=sha256,
        problems=packed([row.problem for row in rows]),
        warnings=odd_boxes(boxes, sizes, extents),
    )
