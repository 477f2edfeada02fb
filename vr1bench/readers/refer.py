"""VLM-R1's referring-expression JSON: `rec_jsons_processed/refcoco_val.json` and its like, `lisa_test.json`.

A list of rows with `image`, `width`, `height`, `problem`, `normal_caption` and `solution`: the gold box as xyxy in
pixels of the original image (VLM-R1 issue 11). The InternVL edition (`rec_jsons_internvl.zip`, VLM-R1 issue 194) scales
`solution` to 0..1000 of width and height under the same names; it is told apart by the option `scale = 1000`, never by
guessing from values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vr1bench.boxes import area
from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files, packed
from vr1bench.readers.files import (
    Box,
    Options,
    Row,
    Side,
    odd_boxes,
    read_boxes,
    read_json,
    read_options,
    refuse,
    refuse_names,
    refuse_texts,
)
from vr1bench.types import Floats, Ints, labels_of

PROBLEM_PREFIX = "Please provide the bounding box coordinate of the region this sentence describes: "


class RecOptions(Options):
    """`scale`: 0 where `solution` is in pixels, 1000 where it is in thousandths of width and height (InternVL)."""

    scale: Literal[0, 1000] = 0


class Sentence(Row):
    """One row: a sentence about an image, and its box as xyxy."""

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


@dataclass(frozen=True)
class Phrases:
    """Sentences and their boxes, one a sample, in the pinned order: what every referring reader comes to.

    Attributes:
        what: What a phrase is called in messages, with where the format has it.
        names: Image files, below the image folder.
        sizes: Width and height in pixels.
        boxes: (n, 4) xyxy in pixels.
        phrases: What is asked.
        areas: Annotated (segment) areas in square pixels; None takes the boxes' own.
        annotation_ids: As shipped; None numbers from 1.
        problems: Shipped questions; None where there are none.
    """

    what: str
    names: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    boxes: Floats
    phrases: Sequence[str]
    areas: Sequence[float] | None = None
    annotation_ids: Ints | None = None
    problems: Sequence[str] | None = None


def read(source: Files) -> Dataset:
    """One sample a row, in the file's order; ids count from 0 since the file's own repeat (one row a sentence).

    Options: `RecOptions`.

    Raises:
        Vr1benchError: A row lacks a field, its box is not four finite numbers, is inverted, or exceeds `scale`.
    """
    path = source.annotations
    scale = read_options(source, RecOptions).scale
    rows, sha256 = read_json(path, list[Sentence])
    boxes = read_boxes(path, [row.solution for row in rows], "xyxy", "rows", "solution")
    sizes = [(row.width, row.height) for row in rows]
    if scale:
        outside = ((boxes < 0) | (boxes > scale)).any(axis=1)
        refuse(path, outside, "rows", f"solution within 0..{scale}, as `scale = {scale}` says", boxes)
        boxes *= np.array(sizes, np.float64).reshape(-1, 2)[:, [0, 1, 0, 1]] / scale
    problems = [row.problem for row in rows]
    what = "a sentence in normal_caption or problem"
    table = Phrases(what, [row.image for row in rows], sizes, boxes, [row.phrase for row in rows], problems=problems)
    return referring(path, source.images, table, sha256)


def referring(path: Path, folder: Path, table: Phrases, sha256: str, warnings: dict[str, int] | None = None) -> Dataset:
    """The dataset of sentences with one gold box each; ids count from 0.

    Args:
        path: The annotation file, for messages.
        folder: Where the images lie.
        table: The sentences.
        sha256: Of what was read.
        warnings: What the reader counted so far.

    Raises:
        Vr1benchError: There is no row, a name leaves the folder, or a phrase is blank or too long.
    """
    count = len(table.names)
    if not count:
        raise Vr1benchError(f"{path}: expected at least one row, got none")
    refuse_names(path, table.names, "rows", folder)
    refuse_texts(path, table.phrases, "rows", table.what)
    refuse_texts(path, table.problems or (), "rows", "a problem", blank=True)
    sizes = np.array(table.sizes, np.int64)
    extents = area(table.boxes)
    return Dataset(
        ids=packed([str(i) for i in range(count)]),
        names=packed(table.names),
        folder=folder,
        sizes=sizes,
        queries=[(phrase,) for phrase in table.phrases],
        starts=np.arange(count + 1),
        boxes=table.boxes,
        labels=np.arange(count),
        crowd=np.zeros(count, np.bool_),
        areas=extents if table.areas is None else np.array(table.areas, np.float64),
        extents=extents,
        annotation_ids=np.arange(1, count + 1) if table.annotation_ids is None else table.annotation_ids,
        vocabulary=labels_of(table.phrases),
        sha256=sha256,
        problems=None if table.problems is None else packed(table.problems),
        warnings={**(warnings or {}), **odd_boxes(table.boxes, sizes, extents)},
    )
