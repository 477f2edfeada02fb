"""COCO's numbers of resampled data sets, from one matching: nothing is matched twice.

The resampled data set holds every image as often as it was drawn, copies next to each other in the order of images.
Boxes of different images never meet, so each copy finds what its image found; `max_dets` counts per image, so each
copy keeps what its image kept. The numbers equal those of `vr1bench.metrics.ap` on the resampled data set up to
rounding (1e-12), with ties too: two copies of tied boxes d1 d2 rank as d1 d2 d1 d2, not as d1 d1 d2 d2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vr1bench.match import THRESHOLDS, Matches
from vr1bench.metrics.ap import ABSENT, AveragePrecision
from vr1bench.metrics.bootstrap import Block, Draws
from vr1bench.metrics.ranking import Level, Ranking, area_bits, areas, changes, ranking
from vr1bench.types import Floats, Ints

_T = len(THRESHOLDS)
_ROWS_AT_ONCE = 1 << 18
"""Detections, gold boxes or classes, whichever are most, times replicates that are replayed at a time."""


@dataclass(frozen=True, slots=True)
class _Precision:
    """An AP: area range, IoU thresholds, and whether ties enter at once."""

    area: int = 0
    levels: tuple[int, ...] = tuple(range(_T))
    tie: bool = False


@dataclass(frozen=True, slots=True)
class _Recall:
    """An AR: area range, and how many detections of each image and class count; None for all that were kept."""

    area: int = 0
    first: int | None = None


NUMBERS: dict[str, _Precision | _Recall] = {
    "AP": _Precision(), "AP50": _Precision(levels=(0,)), "AP75": _Precision(levels=(5,)),
    "APs": _Precision(1), "APm": _Precision(2), "APl": _Precision(3),
    "AR1": _Recall(first=1), "AR10": _Recall(first=10), "AR100": _Recall(),
    "ARs": _Recall(1), "ARm": _Recall(2), "ARl": _Recall(3),
    "AP_tie": _Precision(tie=True), "AP50_tie": _Precision(levels=(0,), tie=True),
}  # fmt: skip


def replicates(found: AveragePrecision, draws: Draws, names: Sequence[str] = tuple(NUMBERS)) -> dict[str, Floats]:
    """Numbers of every resampled data set, (draws.replicates,) by name.

    A class without gold in a replicate drops out of its means; where no class has any, the number is `ABSENT`.

    Args:
        found: The numbers of the data as they are, with their matches; NMS-AP's are replayed as well.
        draws: Of at least as many images as the matches' ranks name.
        names: Of `NUMBERS`. AP, AP50 and AP75 cost as much as AP alone, as do the sizes' three together.
    """
    wanted = {name: NUMBERS[name] for name in dict.fromkeys(names)}
    tied = _has_ties(found)
    asked: dict[tuple[int, bool], set[int]] = {}
    for number in wanted.values():
        if isinstance(number, _Precision):
            asked.setdefault((number.area, number.tie and tied), set()).update(number.levels)
    rankings = {
        (area, tie): ranking(found.matches_tie if tie else found.matches, area, levels, tie=tie)
        for (area, tie), levels in asked.items()
    }
    golds = {area: _gold(found.matches, area) for area in {number.area for number in wanted.values()}}
    hits = {name: _hits(found.matches, n) for name, n in wanted.items() if isinstance(n, _Recall)}
    n_labels = 1 + int(found.matches.gold_label.max(initial=-1))
    parts: dict[str, list[Floats]] = {name: [np.empty(0)] for name in wanted}
    for block in _blocks(draws, max(len(found.matches), len(found.matches.gold_label), n_labels)):
        gold = {area: _sums(block, column, n_labels) for area, column in golds.items()}
        averages = {key: _averages(part, block, gold[key[0]]) for key, part in rankings.items()}
        for name, number in wanted.items():
            if isinstance(number, _Precision):
                table = averages[number.area, number.tie and tied]
                sums = sum((table[level] for level in number.levels if level in table), np.zeros(len(block)))
                sums = sums / len(number.levels)
            else:
                sums = (_sums(block, hits[name], n_labels) / np.maximum(gold[number.area], 1)).sum(axis=1) / _T
            parts[name].append(_mean(sums, gold[number.area]))
    return {name: np.concatenate(columns) for name, columns in parts.items()}


def _has_ties(found: AveragePrecision) -> bool:
    """Whether AP_tie may differ from AP: a class has two detections of one score, kept or beyond `max_dets`."""
    tie = found.matches_tie
    return not (np.array_equal(tie.row, found.matches.row) and changes(tie.label, tie.tier).all())


def _blocks(draws: Draws, rows: int) -> Iterator[Block]:
    step = max(1, _ROWS_AT_ONCE // max(1, rows))
    for block in draws.blocks():
        for low in range(0, len(block), step):
            yield block[low : low + step]


def _mean(sums: Floats, gold: Ints) -> Floats:
    """Sums over classes, (B,), as means over those with gold, (B, K)."""
    classes = np.count_nonzero(gold, axis=1)
    return np.where(classes > 0, sums / np.maximum(classes, 1), ABSENT)


@dataclass(frozen=True, slots=True)
class _Column:
    """What adds up per class, (m,) each: images, classes in ascending order, amounts."""

    image: Ints
    label: Ints
    amount: NDArray[np.int32]


def _gold(matches: Matches, area: int) -> _Column:
    rows = np.flatnonzero(area_bits(matches.gold_ignored, area) & np.uint64(1) == 0)
    return _column(matches.gold_image[rows], matches.gold_label[rows], np.ones(len(rows)))


def _hits(matches: Matches, number: _Recall) -> _Column:
    """True positives, summed over thresholds."""
    hits = area_bits(matches.hits, number.area)
    rows = np.flatnonzero(hits if number.first is None else np.where(matches.rank < number.first, hits, 0))
    return _column(matches.image[rows], matches.label[rows], np.bitwise_count(hits[rows]))


def _column(image: Ints, label: Ints, amount: Floats) -> _Column:
    """Images of a class taken together."""
    bound = 1 + int(image.max(initial=0))
    key, place = np.unique(label * bound + image, return_inverse=True)
    return _Column(key % bound, key // bound, np.bincount(place, weights=amount).astype(np.int32))


def _sums(block: Block, column: _Column, n_labels: int) -> Ints:
    """Sums in every replicate and class, (B, K)."""
    sums = np.zeros((len(block), n_labels), dtype=np.int64)
    starts = np.flatnonzero(changes(column.label))
    if len(starts):
        amounts = block.take(column.image, axis=1) * column.amount
        sums[:, column.label[starts]] = np.add.reduceat(amounts, starts, axis=1, dtype=np.int64)
    return sums


def _averages(part: Ranking, block: Block, gold: Ints) -> dict[int, Floats]:
    """APs summed over classes, (B,) by threshold; thresholds at which nothing is found are left out."""
    above = _running(block, part.image)
    # pycocotools adds it to every denominator; here it also keeps points of images that were not drawn from 0/0.
    above = above.take(part.above, axis=1) - above.take(part.class_above, axis=1) + np.spacing(1)
    weight = block.take(part.run_image, axis=1)
    return {
        level: _one_level(points, block, weight.take(points.run, axis=1), above.take(points.run, axis=1), gold).sum(
            axis=1
        )
        for level, points in part.levels.items()
    }


def _running(block: Block, image: Ints) -> Floats:
    """Sums of multiplicities from the left, (B, m + 1): column i sums those before i."""
    sums = np.zeros((len(block), len(image) + 1))
    np.cumsum(block.take(image, axis=1), axis=1, out=sums[:, 1:])
    return sums


def _one_level(points: Level, block: Block, weight: Block, above: Floats, gold: Ints) -> Floats:
    """AP of each replicate and class with points, (B, k); `above` is used up."""
    if len(points.late):
        late = _running(block, points.late)
        above[:, points.moved] += late.take(points.late_above, axis=1) - late.take(points.late_class, axis=1)
    right = np.minimum(weight, points.most).astype(np.float64)
    total = right * points.depth
    total += above
    right *= points.right
    sizes = np.tile(points.sizes, len(block))
    flat = _with_copies(points, weight, above, right.ravel(), total.ravel(), sizes)
    return areas(*flat, np.maximum(gold[:, points.labels], 1).ravel()).reshape(len(block), -1)


def _with_copies(
    points: Level, weight: Block, above: Floats, right: Floats, total: Floats, sizes: Ints
) -> tuple[Floats, Floats, Ints]:
    """Points, and points of each cell, with those of the second and later copies of mixed runs put in."""
    mixed = points.mixed
    copies = weight.take(mixed.point, axis=1)
    row, run = np.nonzero(copies > 1)
    if not len(row):
        return right, total, sizes
    count = (copies[row, run].astype(np.int64) - 1) * mixed.points[run]
    # From here on one row for each new point.
    local = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    row, run = np.repeat(row, count), np.repeat(run, count)
    copy, place = np.divmod(local, mixed.points[run])
    point = mixed.point[run] + place
    depth = above[row, point] + (copy + 1) * mixed.length[run] + points.depth[point]
    behind = row * weight.shape[1] + mixed.point[run] + mixed.points[run]
    new = behind + np.arange(len(behind))
    old = np.ones(len(right) + len(new), dtype=np.bool_)
    old[new] = False
    merged_right, merged_total = np.empty(len(old)), np.empty(len(old))
    merged_right[old], merged_total[old] = right, total
    merged_right[new], merged_total[new] = points.right[point], depth
    more = np.bincount(row * len(points.sizes) + mixed.cell[run], minlength=len(sizes))
    return merged_right, merged_total, sizes + more
