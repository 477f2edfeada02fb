"""Pairs of sample and prediction as columns: the form in which metrics count over a whole benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from vr1bench import boxes
from vr1bench.match import Guesses, Truth
from vr1bench.types import Detections, Gold, Ints, Pair

AnnotationIds = Literal["fixed", "as-shipped"]
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Columns:
    """All boxes of a benchmark.

    Attributes:
        labels: Class names; a label's index in `truth` and `answers` is its place here.
        images: Number of samples: an image's rank is the place of its pair, which pins the order of ties.
        truth: Gold.
        answers: All detections in order of emission; -1 is the class of those whose label is none of `labels`.
        stray_names: What these were called, in order.
    """

    labels: tuple[str, ...]
    images: int
    truth: Truth
    answers: Guesses
    stray_names: tuple[str, ...]

    @property
    def guesses(self) -> Guesses:
        """Detections with a class of the benchmark: those that AP ranks."""
        return self.answers.take(self.answers.label >= 0)

    @property
    def strays(self) -> Guesses:
        """Detections with any other label: they match nothing and do not enter AP."""
        return self.answers.take(self.answers.label < 0)


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
    names |= dict.fromkeys(_names(gold))
    index = {name: place for place, name in enumerate(names)}
    said = _names(answers)
    strays = tuple(name for name in said if name not in index)
    return Columns(tuple(names), len(pairs), _truth(gold, index, ids), _answers(answers, said, index), strays)


def joined(parts: Sequence[Columns]) -> Columns:
    """Columns of consecutive batches of one benchmark as one: image ranks go on, labels are named as first seen.

    A label that one batch did not know may be a class of another: then its detections are no strays any more.
    """
    names = dict.fromkeys(name for part in parts for name in part.labels)
    index = {name: place for place, name in enumerate(names)}
    firsts = np.cumsum([0, *(part.images for part in parts)])
    truths, answers = [_NO_TRUTH], [_NO_ANSWERS]
    for part, first in zip(parts, firsts[:-1], strict=True):
        places = _indices(part.labels, index)
        truths.append(replace(part.truth, image=part.truth.image + first, label=places[part.truth.label]))
        stray = part.answers.label < 0
        label = np.full(len(stray), -1)
        label[~stray] = places[part.answers.label[~stray]]
        label[stray] = _indices(part.stray_names, index)
        answers.append(replace(part.answers, image=part.answers.image + first, label=label))
    strays = tuple(name for part in parts for name in part.stray_names if name not in index)
    return Columns(tuple(names), int(firsts[-1]), _stacked(truths), _stacked(answers), strays)


_NOTHING = Detections.of([], [])
_Rows = TypeVar("_Rows", Truth, Guesses)


def _stacked(parts: Sequence[_Rows]) -> _Rows:
    """The rows of all parts, of which there is at least one."""
    names = type(parts[0]).__slots__
    rows: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return type(parts[0])(**rows)


def _truth(gold: Sequence[Gold], index: dict[str, int], ids: AnnotationIds) -> Truth:
    annotation_ids = _column([row.ids for row in gold], np.int64)
    return Truth(
        image=_image_ranks(gold),
        label=_indices(_names(gold), index),
        boxes=np.concatenate([np.empty((0, 4)), *(row.boxes for row in gold)]),
        crowd=_column([row.crowd for row in gold], np.bool_),
        areas=_column([row.areas for row in gold], np.float64),
        extents=_column([row.extents for row in gold], np.float64),
        lost=(annotation_ids == 0) & (ids == "as-shipped"),
    )


def _answers(answers: Sequence[Detections], names: Sequence[str], index: dict[str, int]) -> Guesses:
    corners = np.concatenate([np.empty((0, 4)), *(row.boxes for row in answers)])
    scores = _column([row.scores for row in answers], np.float64)
    return Guesses(_image_ranks(answers), _indices(names, index), corners, scores, boxes.area(corners))


def _names(rows: Sequence[Gold] | Sequence[Detections]) -> list[str]:
    return [name for row in rows for name in row.labels.tolist()]


def _indices(names: Sequence[str], index: dict[str, int]) -> Ints:
    """Place of each name, -1 where it has none."""
    return np.fromiter((index.get(name, -1) for name in names), np.int64, len(names))


def _image_ranks(rows: Sequence[Gold] | Sequence[Detections]) -> Ints:
    return np.repeat(np.arange(len(rows)), [len(row) for row in rows])


def _column(parts: Iterable[NDArray[_Scalar]], dtype: type[_Scalar]) -> NDArray[_Scalar]:
    return np.concatenate([np.empty(0, dtype), *parts])


_NO_TRUTH = _truth([], {}, "fixed")
_NO_ANSWERS = _answers([], [], {})
