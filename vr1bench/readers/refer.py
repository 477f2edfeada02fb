"""VLM-R1's referring-expression JSON: `rec_jsons_processed/refcoco_val.json` and its like, `lisa_test.json`.

A list of rows with `image`, `width`, `height`, `problem`, `normal_caption` and `solution`: the gold box as xyxy in
pixels of the original image. The InternVL edition of these files scales `solution` to 0..1000 under the same names;
it is told apart by what the user says, never by guessing from values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files, files
from vr1bench.types import boxes_of, labels_of

PROBLEM_PREFIX = "Please provide the bounding box coordinate of the region this sentence describes: "


def read(source: Files) -> Dataset:
    """One sample a row, in the file's order; ids count from 0 since the file's own repeat (one row a sentence).

    Raises:
        Vr1benchError: A row lacks a field, its box is not four finite numbers, or is inverted.
    """
    path = source.annotations
    data, sha256 = files.read_json(path)
    rows = files.rows(data, str(path))
    if not rows:
        raise Vr1benchError(f"{path}: expected at least one row, got none")
    where = [f"{path}: row {i}" for i in range(len(rows))]
    boxes = boxes_of([_solution(row, at) for row, at in zip(rows, where, strict=True)])
    phrases = [_phrase(row, at) for row, at in zip(rows, where, strict=True)]
    sizes = np.array([files.size(row, at) for row, at in zip(rows, where, strict=True)], np.int64).reshape(-1, 2)
    extents = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    over = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > sizes).any(axis=1)
    return Dataset(
        ids=[str(i) for i in range(len(rows))],
        names=[
            files.image_name(files.field(r, "image", at), source.images, at) for r, at in zip(rows, where, strict=True)
        ],
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
        problems=[str(row.get("problem", "")) for row in rows],
        warnings={"gold boxes overrunning the image": int(over.sum())} if over.any() else {},
    )


def _solution(row: Any, where: str) -> list[float]:  # noqa: ANN401  any JSON
    box = files.four_numbers(files.field(row, "solution", where), where)
    if box[2] < box[0] or box[3] < box[1]:
        raise Vr1benchError(f"{where}: expected `solution` as [x1, y1, x2, y2] with x2 >= x1 and y2 >= y1, got {box}")
    return box


def _phrase(row: Any, where: str) -> str:  # noqa: ANN401  any JSON
    """The bare phrase: `normal_caption`, else what follows the known prefix of `problem`."""
    phrase = row.get("normal_caption") if isinstance(row, dict) else None
    if not isinstance(phrase, str) or not phrase.strip():
        problem = files.field(row, "problem", where)
        if not isinstance(problem, str) or not problem.strip():
            raise Vr1benchError(f"{where}: expected a sentence in `normal_caption` or `problem`, got {problem!r}")
        phrase = problem.removeprefix(PROBLEM_PREFIX)
    return phrase.strip().removesuffix(".")
