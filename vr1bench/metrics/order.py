"""How much of an AP is the order of the images: its spread over random renumberings.

Detections of equal score rank in the order of the images, and language models give every box the same score. So the
legacy AP holds an arbitrary part, up to three points on small sets; beside it stands the tie-invariant AP, which has
none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vr1bench.match import THRESHOLDS, sorted_rows
from vr1bench.metrics.ap import AveragePrecision
from vr1bench.metrics.ranking import area_bits, areas, changes, counts_from_0
from vr1bench.types import Floats, Ints

NAMES = ("AP", "AP50", "AP75")
_LEVELS_OF = (slice(None), slice(0, 1), slice(5, 6))
_T = len(THRESHOLDS)


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over renumberings: its mean, sample standard deviation, lowest and highest."""

    mean: float
    sd: float
    low: float
    high: float


def renumberings(images: int, seed: int, count: int = 60) -> Ints:
    """Random orders of the images, (count, images): the new rank of each; from PCG64's own stream."""
    words = np.asarray(np.random.PCG64(seed).random_raw((count, images)))
    return np.argsort(np.argsort(words, axis=1), axis=1)


def spread(found: AveragePrecision, images: int, seed: int, count: int = 60) -> dict[str, Spread]:
    """The spread of each of `NAMES` over renumberings of the images; matching is not repeated.

    Where no class has detections of equal score in different images, or no gold counts, the number itself comes back,
    with no spread.

    Args:
        found: The numbers of the data as they are, with their matches.
        images: Number of images, at least as many as the matches' ranks name.
        seed: Of `renumberings`.
        count: Number of renumberings, at least 2.
    """
    matches = found.matches
    tied = ~changes(matches.label, matches.tier)
    if not (tied & changes(matches.image)).any() or found.numbers["AP"] < 0:
        return {name: Spread(found.numbers[name], 0.0, found.numbers[name], found.numbers[name]) for name in NAMES}
    table = _Table.of(found)
    values = np.stack([table.averages(ranks[matches.image]) for ranks in renumberings(images, seed, count)])
    return {name: _spread(values[:, levels].mean(axis=1)) for name, levels in zip(NAMES, _LEVELS_OF, strict=True)}


def _spread(values: Floats) -> Spread:
    return Spread(float(values.mean()), float(values.std(ddof=1)), float(values.min()), float(values.max()))


@dataclass(frozen=True, slots=True)
class _Table:
    """What renumbering leaves as it is: (n,) of each detection, `gold` boxes that count of each class.

    `tie` numbers the classes' groups of equal score, `top` is the first row of the detection's class.
    """

    tie: Ints
    label: Ints
    top: Ints
    hits: NDArray[np.uint64]
    ignored: NDArray[np.uint64]
    gold: Ints

    @classmethod
    def of(cls, found: AveragePrecision) -> _Table:
        matches = found.matches
        counts = area_bits(matches.gold_ignored, 0) & np.uint64(1) == 0
        return cls(
            np.cumsum(changes(matches.label, matches.tier)) - 1,
            matches.label,
            np.searchsorted(matches.label, matches.label),
            area_bits(matches.hits, 0),
            area_bits(matches.ignored, 0),
            np.bincount(matches.gold_label[counts]),
        )

    def averages(self, rank: Ints) -> Floats:
        """AP at every threshold, (T,), with detections of equal score ordered by `rank` (n,)."""
        order = sorted_rows((self.tie, int(self.tie[-1]) + 1), (rank, int(rank.max()) + 1))
        hits, ignored = self.hits[order], self.ignored[order]
        sums = np.zeros(_T)
        for level in range(_T):
            bit = np.uint64(1 << level)
            rows = np.flatnonzero(hits & bit)
            if len(rows):
                count = counts_from_0(ignored & bit == 0)
                label = self.label[rows]
                cells = np.flatnonzero(changes(label))
                total = (count[rows + 1] - count[self.top[rows]]).astype(np.float64)
                sizes = np.diff(cells, append=len(rows))
                sums[level] = areas(np.ones(len(rows)), total, sizes, self.gold[label[cells]]).sum()
        return sums / np.count_nonzero(self.gold)
