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

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from vr1bench.match import AREA_BITS, THRESHOLDS, Bits, Guesses, Matches, Truth, coco, joined
from vr1bench.types import Bools, Floats, Ints

# pycocotools' recall grid: 0.35 is 0.35000000000000003 on it, so comparisons must use these very floats.
RECALLS = np.linspace(0.0, 1.0, 101)
ABSENT = -1.0
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_T, _R = len(THRESHOLDS), len(RECALLS)
_BOXES_AT_ONCE = 1 << 14
"""Gold and detections that are matched at a time, in whole classes; a single class may be larger."""
_POINTS_AT_ONCE = 1 << 16
"""Detections times thresholds whose precision is computed at a time."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Precision and recall of every class, for A area ranges (4, or 1 for ties), T thresholds, K classes, R recalls.

    Attributes:
        precision: (A, T, K, R) interpolated precision at `RECALLS`; 0 where that recall is never reached.
        recall: (A, T, K) recall with all kept detections.
        recall_first: (2, T, K) recall with only the first 1 and the first 10 of each image and class, area `all`.
        gold: (A, K) number of gold boxes that count; where it is 0 the other arrays mean nothing.
    """

    precision: Floats = field(metadata={"classes": 2})
    recall: Floats = field(metadata={"classes": 2})
    recall_first: Floats = field(metadata={"classes": 2})
    gold: Ints = field(metadata={"classes": 1})


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
    matches, plain = _by_class(truth, guesses, n_labels, max_dets, tie=False)
    matches_tie, tied = _by_class(truth, guesses, n_labels, max_dets, tie=True)
    extra = {"AP_tie": _mean_precision(tied, 0), "AP50_tie": _mean_precision(tied, 0, slice(1))}
    return AveragePrecision(twelve(plain) | extra, _per_class(plain), _per_class(tied), matches, matches_tie)


def coco_numbers(truth: Truth, guesses: Guesses, n_labels: int, max_dets: int = 100) -> dict[str, float]:
    """The twelve numbers alone."""
    return twelve(_by_class(truth, guesses, n_labels, max_dets, tie=False)[1])


def _by_class(truth: Truth, guesses: Guesses, n_labels: int, max_dets: int, *, tie: bool) -> tuple[Matches, Curves]:
    """Matching and curves, some classes at a time: classes do not know of each other, and memory stays flat."""
    sizes = np.cumsum(np.bincount(truth.label, minlength=n_labels) + np.bincount(guesses.label, minlength=n_labels))
    matches: list[Matches] = []
    found: list[Curves] = []
    low = 0
    while low < n_labels or not found:
        before = sizes[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(sizes, before + _BOXES_AT_ONCE, side="right")))
        gold = truth.take(_rows_of(truth.label, low, high))
        rows = _rows_of(guesses.label, low, high)
        block = guesses.take(rows)
        order = by_corners(block) if tie else np.arange(len(rows))
        part = coco(gold, block.take(order), max_dets)
        found.append(curves(replace(part, label=part.label - low, gold_label=part.gold_label - low), high - low, tie))
        matches.append(replace(part, row=rows[order][part.row]))
        low = high
    columns = (([getattr(part, f.name) for part in found], f.metadata["classes"]) for f in fields(Curves))
    return joined(matches), Curves(*(np.concatenate(parts, axis=axis) for parts, axis in columns))


def by_corners(guesses: Guesses) -> Ints:
    """Rows by corners (x1, y1, x2, y2): the order among equal scores that AP_tie uses in place of that of emission."""
    return np.lexsort(guesses.boxes.T[::-1])


def _rows_of(label: Ints, low: int, high: int) -> Ints:
    """Rows whose class is in [low, high), in their order."""
    return np.flatnonzero((label >= low) & (label < high))


def curves(matches: Matches, n_labels: int, tie: bool = False) -> Curves:
    """Precision and recall from matches; with `tie`, points only where the score changes within a class, area `all`."""
    masks = AREA_BITS[:1] if tie else AREA_BITS
    gold = np.stack([_per_label(matches.gold_label[matches.gold_ignored & mask == 0], n_labels) for mask in masks])
    precision = np.zeros((len(masks), _T, n_labels, _R))
    recall, recall_first = np.zeros((len(masks), _T, n_labels)), np.zeros((2, _T, n_labels))
    # Thresholds do not know of each other: a few at a time keep the memory flat.
    step = min(_T, max(1, _POINTS_AT_ONCE // max(1, len(matches))))
    for area in range(len(masks)):
        plane = _plane_of(matches, area, n_labels, tie)
        for levels in (slice(low, min(low + step, _T)) for low in range(0, _T, step)):
            shape = (levels.stop - levels.start, n_labels)
            hits = _true_positives(plane, levels)
            found = np.bincount(hits.cell, minlength=shape[0] * n_labels).reshape(shape)
            precision[area, levels] = _interpolated(hits, found, gold[area])
            recall[area, levels] = found / np.maximum(gold[area], 1)
            for i, first in enumerate((1, 10) if area == 0 else ()):
                early = np.bincount(hits.cell[hits.rank < first], minlength=shape[0] * n_labels).reshape(shape)
                recall_first[i, levels] = early / np.maximum(gold[area], 1)
    return Curves(precision, recall, recall_first, gold)


@dataclass(frozen=True, slots=True)
class _Hits:
    """True positives of one area range, ordered by threshold, class, then score.

    Attributes:
        cell: (m,) threshold index, from the first of the chosen ones, times K plus class index.
        precision: (m,) of everything down to and including it. Where ties enter at once the false positives are those
            down to the end of its tie: the last true positive of the tie then has the tie's precision, the others less.
        rank: (m,) place among the detections of its image and class.
    """

    cell: Ints
    precision: Floats
    rank: Ints


@dataclass(frozen=True, slots=True)
class _Plane:
    """One area range's verdicts, split so that thresholds cost little: most detections fare alike at all of them.

    Attributes:
        hits, ignored: (r,) ten bits of the uneven rows: those whose verdict depends on the threshold, or that hit.
        label, rank: (r,) of the uneven rows.
        class_start: (K,) where each class begins among the uneven rows.
        last: (r,) the uneven row that is last to enter with each: itself, or the end of its tie.
        even_above: (r,) false positives at every threshold that stand above the end of its tie, in its class.
    """

    hits: NDArray[np.uint16]
    ignored: NDArray[np.uint16]
    label: Ints
    rank: Ints
    class_start: Ints
    last: Ints
    even_above: Ints


def _plane_of(matches: Matches, area: int, n_labels: int, tie: bool) -> _Plane:
    hits, ignored = _ten_bits(matches.hits, area), _ten_bits(matches.ignored, area)
    uneven = (hits != 0) | ((ignored != 0) & (ignored != _FULL))
    rows = np.flatnonzero(uneven)
    even_count = _counts_from_0(~uneven & (ignored == 0))
    label, classes = matches.label[rows], np.arange(n_labels)
    last, last_row = np.arange(len(rows)), rows
    if tie:
        tied = matches.label * (1 + int(matches.tier.max(initial=0))) + matches.tier
        last, last_row = _run_ends(tied[rows]), _run_ends(tied)[rows]
    even_above = even_count[last_row + 1] - even_count[np.searchsorted(matches.label, classes)][label]
    starts = np.searchsorted(label, classes)
    return _Plane(hits[rows], ignored[rows], label, matches.rank[rows], starts, last, even_above)


def _true_positives(plane: _Plane, levels: slice) -> _Hits:
    """Precision at every true positive of some thresholds.

    Nothing else need be looked at: between two of them precision falls and recall stands still, and the interpolated
    precision is a maximum over everything to the right.
    """
    n_labels = len(plane.class_start)
    count = _counts_from_0(~_flags(plane.ignored)[levels])
    above_class = count[:, plane.class_start]
    level, at = np.nonzero(_flags(plane.hits)[levels])
    cell = level * n_labels + plane.label[at]
    counted = count.ravel()[level * count.shape[1] + plane.last[at] + 1] - above_class.ravel()[cell]
    counted = counted + plane.even_above[at]
    return _Hits(cell, _ordinals(cell) / (counted + np.spacing(1)), plane.rank[at])


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


def _ten_bits(words: Bits, area: int) -> NDArray[np.uint16]:
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
