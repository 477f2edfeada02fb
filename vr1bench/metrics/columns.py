"""Pairs of sample and prediction as columns: the form in which metrics count over a whole benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeVar

import numpy as np

from vr1bench import boxes
from vr1bench.match import Guesses, Truth
from vr1bench.types import Detections, Floats, Gold, Ints, Pair

Rows = TypeVar("Rows", Truth, Guesses)
AnnotationIds = Literal["fixed", "as-shipped"]


@dataclass(frozen=True, slots=True)
class Columns:
    """All boxes of a benchmark.

    Attributes:
        labels: Class names; a label's index in `truth` and `guesses` is its place here.
        images: Number of samples: an image's rank is the place of its pair, which pins the order of ties.
        truth: Gold.
        guesses: Detections with a class of the benchmark.
        strays: Detections with any other label; -1 is their class. They match nothing and do not enter AP.
    """

    labels: tuple[str, ...]
    images: int
    truth: Truth
    guesses: Guesses
    strays: Guesses


def columns(pairs: Sequence[Pair], ids: AnnotationIds = "fixed") -> Columns:
    """Columns of all pairs.

    The classes stand in the order in which the samples' queries first name them; a class that only gold names (asked
    of no sample) follows behind, so that no gold box is lost. A prediction of None holds no boxes.

    Args:
        pairs: In the pinned order.
        ids: "as-shipped" reads a match with annotation id 0 as no match, as pycocotools does with the published files
            of ODinW and OVDEval; "fixed" counts it.
    """
    gold = [pair.sample.gold for pair in pairs]
    answers = [pair.prediction.detections if pair.prediction else _NOTHING for pair in pairs]
    names = dict.fromkeys(name for queries in dict.fromkeys(pair.sample.queries for pair in pairs) for name in queries)
    names |= dict.fromkeys(name for row in gold for name in _names(row))
    index = {name: place for place, name in enumerate(names)}
    found = _guesses(answers, index)
    return Columns(
        tuple(names), len(pairs), _truth(gold, index, ids), found.take(found.label >= 0), found.take(found.label < 0)
    )


def joined(parts: Sequence[Columns]) -> Columns:
    """Columns of consecutive batches of one benchmark as one: image ranks go on, labels are named as first seen."""
    names = dict.fromkeys(name for part in parts for name in part.labels)
    index = {name: place for place, name in enumerate(names)}
    firsts = np.cumsum([0, *(part.images for part in parts)])
    truths: list[Truth] = []
    guesses: list[Guesses] = []
    strays: list[Guesses] = []
    for part, first in zip(parts, firsts[:-1], strict=True):
        places = np.array([index[name] for name in part.labels], dtype=np.int64)
        truths.append(replace(part.truth, image=part.truth.image + first, label=places[part.truth.label]))
        guesses.append(replace(part.guesses, image=part.guesses.image + first, label=places[part.guesses.label]))
        strays.append(replace(part.strays, image=part.strays.image + first))
    return Columns(
        tuple(names), int(firsts[-1]), _stacked(Truth, truths), _stacked(Guesses, guesses), _stacked(Guesses, strays)
    )


def _stacked(kind: type[Rows], parts: Sequence[Rows]) -> Rows:
    """Rows of many parts behind each other; no part at all gives no rows."""
    shapes = {"boxes": (0, 4)}
    types = {"boxes": np.float64, "areas": np.float64, "extents": np.float64, "scores": np.float64, "crowd": np.bool_,
             "lost": np.bool_}  # fmt: skip
    return kind(
        *(
            np.concatenate(
                [np.empty(shapes.get(f.name, (0,)), types.get(f.name, np.int64)), *(getattr(p, f.name) for p in parts)]
            )
            for f in fields(kind)
        )
    )


_NOTHING = Detections.of([], [])


def _truth(gold: Sequence[Gold], index: dict[str, int], ids: AnnotationIds) -> Truth:
    annotation_ids = _joined([row.ids for row in gold], np.int64)
    return Truth(
        image=_image_ranks(gold),
        label=np.array([index[name] for row in gold for name in _names(row)], dtype=np.int64),
        boxes=_joined_boxes([row.boxes for row in gold]),
        crowd=_joined([row.crowd for row in gold], np.bool_),
        areas=_joined([row.areas for row in gold], np.float64),
        extents=_joined([row.extents for row in gold], np.float64),
        lost=(annotation_ids == 0) & (ids == "as-shipped"),
    )


def _guesses(answers: Sequence[Detections], index: dict[str, int]) -> Guesses:
    corners = _joined_boxes([row.boxes for row in answers])
    return Guesses(
        image=_image_ranks(answers),
        label=np.array([index.get(name, -1) for row in answers for name in _names(row)], dtype=np.int64),
        boxes=corners,
        scores=_joined([row.scores for row in answers], np.float64),
        extents=boxes.area(corners),
    )


def _names(rows: Gold | Detections) -> list[str]:
    return rows.labels.tolist()


def _image_ranks(rows: Sequence[Gold] | Sequence[Detections]) -> Ints:
    return np.repeat(np.arange(len(rows)), [len(row) for row in rows])


def _joined_boxes(parts: Sequence[Floats]) -> Floats:
    return np.concatenate([np.empty((0, 4)), *parts])


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts])
