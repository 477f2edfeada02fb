"""One-to-one pairs of boxes of one image: Hungarian, and greedy by IoU. Evaluation and reward both pair here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vr1bench.boxes import iou
from vr1bench.types import Floats, Ints, Labels


@dataclass(frozen=True, slots=True)
class Assignment:
    """One-to-one pairs of boxes of one image; boxes that overlap nothing are in no pair.

    Attributes:
        a: (k,) rows of the first boxes.
        b: (k,) rows of the second boxes.
        iou: (k,) in (0, 1].
    """

    a: Ints
    b: Ints
    iou: Floats

    def __len__(self) -> int:
        return len(self.a)


def hungarian(
    a: Floats, b: Floats, labels_a: Labels | None = None, labels_b: Labels | None = None, floor: float = 0.0
) -> Assignment:
    """The one-to-one pairs with the largest sum of IoUs, by rows of `a`.

    Args:
        a: (n, 4) xyxy boxes; either side may be empty.
        b: (m, 4) xyxy boxes.
        labels_a: (n,) names; where both are given, boxes with different names never pair.
        labels_b: (m,) names.
        floor: Pairs with a lower IoU are left out of the answer; they still take part in the search.
    """
    from scipy.optimize import linear_sum_assignment

    overlaps = _labelled_iou(a, b, labels_a, labels_b)
    rows, places = linear_sum_assignment(overlaps, maximize=True)
    values = overlaps[rows, places]
    kept = (values >= floor) & (values > 0)
    return Assignment(rows[kept], places[kept], values[kept])


def greedy(
    a: Floats, b: Floats, labels_a: Labels | None = None, labels_b: Labels | None = None, floor: float = 0.0
) -> Assignment:
    """One-to-one pairs by repeatedly taking the pair with the largest IoU, in that order; see `hungarian`.

    Equal IoUs: the lower row of `a`, then of `b`. Pairs with an IoU below `floor`, or of 0, are never taken.
    """
    overlaps = _labelled_iou(a, b, labels_a, labels_b)
    rows, places = np.nonzero((overlaps >= floor) & (overlaps > 0))
    order = np.argsort(-overlaps[rows, places], kind="stable")
    rows, places = rows[order], places[order]
    kept = one_to_one(rows, places)
    return Assignment(rows[kept], places[kept], overlaps[rows[kept], places[kept]])


def one_to_one(a: Ints, b: Ints) -> Ints:
    """Which of the pairs (a[i], b[i]), best first, remain when each is taken if neither side is taken yet.

    In every round all pairs that are the best left for both of their sides are taken at once, which is what going
    down the list does; the usual answer needs two or three rounds.

    Returns:
        (k,) ascending indices.
    """
    chosen: list[Ints] = []
    left = np.arange(len(a))
    best_a, best_b = np.empty(int(a.max(initial=-1)) + 1, np.int64), np.empty(int(b.max(initial=-1)) + 1, np.int64)
    while len(left):
        best_a[a[left]] = best_b[b[left]] = len(a)
        np.minimum.at(best_a, a[left], left)
        np.minimum.at(best_b, b[left], left)
        taken = left[(best_a[a[left]] == left) & (best_b[b[left]] == left)]
        chosen.append(taken)
        best_a[a[taken]] = best_b[b[taken]] = -1
        left = left[(best_a[a[left]] >= 0) & (best_b[b[left]] >= 0)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))


def _labelled_iou(a: Floats, b: Floats, labels_a: Labels | None, labels_b: Labels | None) -> Floats:
    overlaps = iou(a, b)
    if labels_a is None or labels_b is None:
        return overlaps
    return overlaps * (labels_a[:, None] == labels_b[None])
