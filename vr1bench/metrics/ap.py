"""Average precision and recall: COCO's twelve numbers, bit-equal to pycocotools 2.0.11, and one that ties cannot move.

**AP** depends on the order of detections with equal scores, and language models give every box the same score: then
the order of images decides up to three points on small sets. The order is pinned here as pycocotools has it (image
rank, then order of emission).

**AP_tie** is the same average with two changes. Points of the precision-recall curve stand only where the score
changes within a class, so that all detections of one score enter at once; and among equal scores of one image and
class the matching goes by corners (x1, y1, x2, y2) instead of by order of emission. Numbering the images or listing the
boxes in another way cannot change it, no detection sees the gold before its turn, and where all scores differ it equals
AP. With one constant score it is precision times (grid) recall, averaged over thresholds and classes. Two gold boxes
of exactly equal IoU with a detection remain ordered as the file orders them, as in pycocotools.

A number without any gold to count (no large object in the set, say) is -1, as in pycocotools. It is never NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vr1bench.match import AREA_BITS, AREAS, THRESHOLDS, Bits, Guesses, Matches, Truth, coco
from vr1bench.types import Bools, Floats, Ints

# pycocotools' recall grid: 0.35 is 0.35000000000000003 on it, so comparisons must use these very floats.
RECALLS = np.linspace(0.0, 1.0, 101)
ABSENT = -1.0
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_T, _A, _R = len(THRESHOLDS), len(AREAS), len(RECALLS)


@dataclass(frozen=True, slots=True)
class Curves:
    """Precision and recall of every class, for A area ranges, T thresholds, K classes and R recalls.

    Attributes:
        precision: (A, T, K, R) interpolated precision at `RECALLS`; 0 where that recall is never reached.
        recall: (A, T, K) recall with all kept detections.
        recall_first: (2, T, K) recall with only the first 1 and the first 10 of each image and class, area `all`.
        gold: (A, K) number of gold boxes that count; where it is 0 the other arrays mean nothing.
    """

    precision: Floats
    recall: Floats
    recall_first: Floats
    gold: Ints


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """What came out.

    Attributes:
        numbers: `NAMES`, AP_tie and AP50_tie, as fractions; `ABSENT` where no gold counts.
        per_class: (K,) AP of each class; `ABSENT` for classes without gold.
        per_class_tie: (K,) AP_tie of each class.
        matches: The matching behind the twelve numbers, for a bootstrap to replay.
        matches_tie: The matching behind AP_tie.
    """

    numbers: dict[str, float]
    per_class: Floats
    per_class_tie: Floats
    matches: Matches
    matches_tie: Matches


def ap(truth: Truth, guesses: Guesses, n_labels: int, max_dets: int = 100) -> AveragePrecision:
    """COCO's twelve numbers, AP_tie, AP50_tie and the classes' APs.

    Args:
        truth: Gold as columns; none at all gives -1 everywhere.
        guesses: Detections as columns; none at all gives 0.
        n_labels: Number of classes, K; classes without gold do not enter any mean.
        max_dets: Detections that count per image and class, the highest scores first; the recalls named `AR100`
            (and ARs, ARm, ARl) are those with `max_dets`.
    """
    matches, matches_tie = coco(truth, guesses, max_dets), coco(truth, by_corners(guesses), max_dets)
    plain, tied = curves(matches, n_labels), curves(matches_tie, n_labels, tie=True)
    extra = {"AP_tie": _mean_precision(tied, 0), "AP50_tie": _mean_precision(tied, 0, slice(1))}
    return AveragePrecision(twelve(plain) | extra, _per_class(plain), _per_class(tied), matches, matches_tie)


def coco_numbers(truth: Truth, guesses: Guesses, n_labels: int, max_dets: int = 100) -> dict[str, float]:
    """The twelve numbers alone."""
    return twelve(curves(coco(truth, guesses, max_dets), n_labels))


def by_corners(guesses: Guesses) -> Guesses:
    """The same detections listed by their corners: the order of emission that AP_tie uses."""
    return guesses.take(np.lexsort(guesses.boxes.T[::-1]))


def curves(matches: Matches, n_labels: int, tie: bool = False) -> Curves:
    """Precision and recall from matches; with `tie`, points only where the score changes within a class."""
    counts_gold = np.stack([_per_label(matches.gold_label[matches.gold_ignored & m == 0], n_labels) for m in AREA_BITS])
    precision, recall, recall_first = [], [], np.zeros((2, _T, n_labels))
    for area, gold in enumerate(counts_gold):
        hits = _true_positives(matches, area, n_labels, tie)
        found = np.bincount(hits.cell, minlength=_T * n_labels).reshape(_T, n_labels)
        precision.append(_interpolated(hits, found, gold))
        recall.append(found / np.maximum(gold, 1))
        if area == 0:
            for i, first in enumerate((1, 10)):
                early = np.bincount(hits.cell[hits.rank < first], minlength=_T * n_labels)
                recall_first[i] = early.reshape(_T, n_labels) / np.maximum(gold, 1)
    return Curves(np.stack(precision), np.stack(recall), recall_first, counts_gold)


@dataclass(frozen=True, slots=True)
class _Hits:
    """True positives of one area range, ordered by threshold, class, then score.

    Attributes:
        cell: (m,) threshold index times K plus class index.
        precision: (m,) of everything down to and including it. Where ties enter at once the false positives are those
            down to the end of its tie: the last true positive of the tie then has the tie's precision, the others less.
        rank: (m,) place among the detections of its image and class.
    """

    cell: Ints
    precision: Floats
    rank: Ints


def _true_positives(matches: Matches, area: int, n_labels: int, tie: bool) -> _Hits:
    """Precision at every true positive.

    Nothing else need be looked at: between two of them precision falls and recall stands still, and the interpolated
    precision is a maximum over everything to the right. The detections above are counted in two parts: those whose
    verdict is the same at all thresholds once for all, the few others per threshold.
    """
    hits, ignored = _plane(matches.hits, area), _plane(matches.ignored, area)
    uneven = (hits != 0) | ((ignored != 0) & (ignored != _FULL))
    rows = np.flatnonzero(uneven)
    even_count = _counts_from_0(~uneven & (ignored == 0))
    count = _counts_from_0(~_flags(ignored[rows]))
    label, classes = matches.label[rows], np.arange(n_labels)
    above_class = count[:, np.searchsorted(label, classes)] + even_count[np.searchsorted(matches.label, classes)]
    level, at = np.nonzero(_flags(hits[rows]))
    cell = level * n_labels + label[at]
    last, last_row = at, rows[at]
    if tie:
        tied = matches.label * (1 + int(matches.tier.max(initial=0))) + matches.tier
        last, last_row = _run_ends(tied[rows])[at], _run_ends(tied)[last_row]
    counted = count.ravel()[level * count.shape[1] + last + 1] + even_count[last_row + 1] - above_class.ravel()[cell]
    return _Hits(cell, _ordinals(cell) / (counted + np.spacing(1)), matches.rank[rows[at]])


def _interpolated(hits: _Hits, found: Ints, gold: Ints) -> Floats:
    """Largest precision at or beyond each recall of the grid, (T, K, R); 0 beyond the last true positive.

    Every cell's points are followed by a zero. One `reduceat` takes the maximum between the points where consecutive
    recalls are first reached, and a running maximum from the right completes it.
    """
    cells = np.arange(found.size)
    points = np.zeros(len(hits.cell) + found.size)
    points[np.arange(len(hits.cell)) + hits.cell] = hits.precision
    starts = (np.cumsum(found.ravel()) - found.ravel() + cells).reshape(found.shape)
    reach = starts[..., None] + np.minimum(_needed(gold) - 1, found[..., None])
    between = np.maximum.reduceat(points, reach.ravel()).reshape(reach.shape) if reach.size else np.zeros(reach.shape)
    return np.maximum.accumulate(between[..., ::-1], axis=-1)[..., ::-1]


def _needed(gold: Ints) -> Ints:
    """Fewest true positives, at least 1, that reach each recall of the grid: (K,) gold counts to (K, R).

    The quotient is compared in floating point as pycocotools does, so the rounded guess is mended by a step.
    """
    total = np.maximum(gold, 1)[:, None]
    needed = np.ceil(RECALLS * total)
    needed -= (needed - 1) / total >= RECALLS
    needed += needed / total < RECALLS
    return np.maximum(needed, 1).astype(np.int64)


def _run_ends(key: Ints) -> Ints:
    """Index of the last element of the run of equal values that each element is in."""
    ends = np.flatnonzero(np.diff(key, append=-1))
    return np.repeat(ends, np.diff(ends, prepend=-1))


def _ordinals(cell: Ints) -> Ints:
    """1, 2, 3, ... within each run of equal, ascending values."""
    counts = np.bincount(cell)
    return np.arange(1, len(cell) + 1) - np.repeat(np.cumsum(counts) - counts, counts)


_FULL = np.uint16((1 << _T) - 1)


def _plane(words: Bits, area: int) -> NDArray[np.uint16]:
    """The ten bits of one area range."""
    return (words >> np.uint64(_T * area)).astype(np.uint16) & _FULL


def _flags(plane: NDArray[np.uint16]) -> Bools:
    """(n,) words of ten bits as (T, n) truths."""
    octets = plane.astype("<u2").view(np.uint8).reshape(-1, 2)
    return np.ascontiguousarray(np.unpackbits(octets, axis=1, count=_T, bitorder="little").T).view(np.bool_)


def _counts_from_0(true: Bools) -> NDArray[np.int32]:
    """Running count along the last axis, one longer: element i counts those before i."""
    counts = np.zeros((*true.shape[:-1], true.shape[-1] + 1), dtype=np.int32)
    np.cumsum(true, axis=-1, dtype=np.int32, out=counts[..., 1:])
    return counts


def _per_label(label: Ints, n_labels: int) -> Ints:
    """Rows of each class, (K,)."""
    return np.bincount(label, minlength=n_labels)


def twelve(found: Curves) -> dict[str, float]:
    """COCO's twelve numbers, summed in pycocotools' order of thresholds, recalls, classes."""
    averages = [_mean_precision(found, 0), _mean_precision(found, 0, slice(1)), _mean_precision(found, 0, slice(5, 6))]
    averages += [_mean_precision(found, area) for area in (1, 2, 3)]
    recalls = [_mean_recall(recall, found.gold[0]) for recall in (*found.recall_first, found.recall[0])]
    recalls += [_mean_recall(found.recall[area], found.gold[area]) for area in (1, 2, 3)]
    return dict(zip(NAMES, averages + recalls, strict=True))


def _mean_precision(found: Curves, area: int, levels: slice = slice(None)) -> float:
    precision = found.precision[area, levels][:, found.gold[area] > 0]
    return float(np.mean(precision.transpose(0, 2, 1).ravel())) if precision.size else ABSENT


def _mean_recall(recall: Floats, gold: Ints) -> float:
    kept = recall[:, gold > 0]
    return float(np.mean(kept.ravel())) if kept.size else ABSENT


def _per_class(found: Curves) -> Floats:
    return np.where(found.gold[0] > 0, found.precision[0].mean(axis=(0, 2)), ABSENT)
