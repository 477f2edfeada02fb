"""The points of precision-recall curves, laid out so that images can be counted several times.

Vocabulary: a *run* is the detections of one class, score and image; drawing the image w times puts w copies of the run
behind each other. A *streak* is true positives of a run that stand next to each other. Within a streak precision only
rises, so its last detection is the one *point* of the curve that matters. A run of nothing but true positives is one
streak however often it is copied; any other run brings its points with every copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vr1bench.match import THRESHOLDS, Matches
from vr1bench.metrics.ap import RECALLS
from vr1bench.types import Bools, Floats, Ints

_T = len(THRESHOLDS)
_FULL = np.uint64((1 << _T) - 1)


@dataclass(frozen=True, slots=True)
class Mixed:
    """Runs with true positives and others: (q,) each.

    Attributes:
        point: The first of its points.
        points: How many it has.
        length: Detections that count.
        cell: Place of its class in `Level.labels`.
    """

    point: Ints
    points: Ints
    length: Ints
    cell: Ints


@dataclass(frozen=True, slots=True)
class Level:
    """One IoU threshold: p points ordered by class, then from the top.

    Attributes:
        run: (p,) index into the runs of the ranking.
        most: (p,) copies of the image that the point stands for by itself: 255 in runs of true positives only, else 1.
        right: (p,) true positives of its streak.
        depth: (p,) detections of its run that count, down to the point; 0 where ties enter at once.
        labels: (k,) classes that have points, ascending.
        sizes: (k,) their numbers of points.
        late: (r,) images of the detections that count here but not at every threshold.
        moved: (v,) points that such a detection of their class stands above.
        late_above: (v,) how many of the r stand above the run of each of those.
        late_class: (v,) how many of the r stand above its class.
        mixed: The runs whose copies need points of their own.
    """

    run: Ints
    most: NDArray[np.uint8]
    right: Floats
    depth: Floats
    labels: Ints
    sizes: Ints
    late: Ints
    moved: Ints
    late_above: Ints
    late_class: Ints
    mixed: Mixed


@dataclass(frozen=True, slots=True)
class Ranking:
    """One area range: u runs with a true positive at some threshold.

    Attributes:
        image: (s,) images of the detections that count at every threshold, in order.
        run_image: (u,) image of each run.
        above: (u,) how many of the s stand above the run; where ties enter at once, above the end of its tie.
        class_above: (u,) how many of the s stand above its class.
        levels: The IoU thresholds asked for; those without points are left out.
    """

    image: Ints
    run_image: Ints
    above: Ints
    class_above: Ints
    levels: dict[int, Level]


def ranking(matches: Matches, area: int, levels: set[int], *, tie: bool) -> Ranking:
    """What is to be counted in one area range.

    Args:
        matches: Of the data as they are.
        area: Index into `AREAS`.
        levels: Indices into `THRESHOLDS`.
        tie: Let all detections of a class and score enter at once, as AP_tie does.
    """
    hits, ignored = area_bits(matches.hits, area), area_bits(matches.ignored, area)
    first = np.flatnonzero(changes(matches.label, matches.tier, matches.image))
    run_of = np.repeat(np.arange(len(first)), np.diff(first, append=len(matches)))
    top = np.searchsorted(matches.label, matches.label[first])
    stop = first
    if tie:
        ends = np.append(np.flatnonzero(changes(matches.label, matches.tier))[1:], len(matches))
        stop = ends[np.searchsorted(ends, first, side="right")]
    steady = counts_from_0(ignored == 0)
    runs = np.unique(run_of[hits != 0])
    place = np.cumsum(np.bincount(runs, minlength=len(first))) - 1
    parts = _Parts(matches, hits, ignored, run_of, top, stop, place, tie)
    found = {level: part for level in sorted(levels) if (part := _level(parts, level)) is not None}
    return Ranking(
        matches.image[ignored == 0], matches.image[first[runs]], steady[stop[runs]], steady[top[runs]], found
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the levels share: per detection `hits`, `ignored`, `run_of`; per run its rows and place in the ranking."""

    matches: Matches
    hits: NDArray[np.uint64]
    ignored: NDArray[np.uint64]
    run_of: Ints
    top: Ints
    stop: Ints
    place: Ints
    tie: bool


def _level(parts: _Parts, level: int) -> Level | None:
    """The points at one threshold; None without any."""
    bit = np.uint64(1 << level)
    rows = np.flatnonzero(parts.ignored & bit == 0)
    hit, run = parts.hits[rows] & bit != 0, parts.run_of[rows]
    starts = np.flatnonzero(changes(run))
    lengths = np.diff(starts, append=len(rows))
    begin, count = np.repeat(starts, lengths), counts_from_0(hit)
    goes_on = np.append(hit[1:] & (run[1:] == run[:-1]), False)[: len(rows)]
    point = np.flatnonzero(hit & ~goes_on)
    if not len(point):
        return None
    whole = np.repeat(count[starts + lengths] - count[starts] == lengths, lengths)[point] | parts.tie
    own = run[point]
    depth = 0 * point if parts.tie else point - begin[point] + 1
    upto = count[point + 1] - count[begin[point]]
    new = changes(own)
    right = np.where(new, upto, np.diff(upto, prepend=0))
    label = parts.matches.label[rows[point]]
    cells = np.flatnonzero(changes(label))
    late = np.flatnonzero((parts.ignored != 0) & (parts.ignored & bit == 0))
    late_above, late_class = np.searchsorted(late, parts.stop[own]), np.searchsorted(late, parts.top[own])
    moved = np.flatnonzero(late_above > late_class)
    first_points = np.flatnonzero(new)
    some = ~whole[first_points]
    mixed = first_points[some]
    return Level(
        run=parts.place[own],
        most=np.where(whole, 255, 1).astype(np.uint8),
        right=right.astype(np.float64),
        depth=depth.astype(np.float64),
        labels=label[cells],
        sizes=np.diff(cells, append=len(point)),
        late=parts.matches.image[late],
        moved=moved,
        late_above=late_above[moved],
        late_class=late_class[moved],
        mixed=Mixed(
            point=mixed,
            points=np.diff(first_points, append=len(point))[some],
            length=lengths[np.searchsorted(starts, begin[point[mixed]])],
            cell=np.searchsorted(cells, mixed, side="right") - 1,
        ),
    )


def areas(right: Floats, total: Floats, sizes: Ints, gold: Ints) -> Floats:
    """Average precision of every cell, (c,): a cell is a class at one threshold in one data set.

    Only points above everything to their right shape the interpolated curve. One maximum, running from the right
    through all cells, finds them; each cell is lifted above those on its right. That costs digits in the comparison of
    two precisions, not in the result.

    Args:
        right: (p,) true positives that each point adds, cell after cell.
        total: (p,) detections that count down to the point, in its cell; above 0.
        sizes: (c,) points of each cell, at least 1.
        gold: (c,) gold boxes that count, at least 1.
    """
    ends = np.cumsum(sizes)
    found = np.cumsum(right)
    found -= np.repeat(np.append(0.0, found[ends[:-1] - 1]), sizes)
    precision = found / total
    lifted = precision - np.repeat(np.arange(len(sizes), dtype=np.float64), sizes)
    best = np.maximum.accumulate(lifted[::-1])
    peak = len(best) - 1 - np.append(0, np.flatnonzero(best[1:] > best[:-1]) + 1)
    cell, height = np.searchsorted(ends, peak, side="right"), precision[peak]
    step = height - np.append(0.0, np.where(cell[1:] == cell[:-1], height[:-1], 0.0))
    # The nearest recall of the grid, in the very floats that pycocotools compares: 0.35 is 0.35000000000000003 there.
    recall = found[peak] / gold[cell]
    nearest = np.rint(recall * (len(RECALLS) - 1)).astype(np.int64)
    reached = nearest + (RECALLS[nearest] <= recall)
    return np.bincount(cell, reached * step, minlength=len(sizes)) / len(RECALLS)


def changes(*keys: Ints) -> Bools:
    """Whether each row differs from the one before in any of the keys, (n,); the first does."""
    new = np.ones(len(keys[0]), dtype=np.bool_)
    new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return new


def area_bits(words: NDArray[np.uint64], area: int) -> NDArray[np.uint64]:
    """The ten bits of one area range."""
    return words >> np.uint64(_T * area) & _FULL


def counts_from_0(true: Bools) -> Ints:
    """Running count, one longer: element i counts those before i."""
    return np.append(0, np.cumsum(true))
