"""The plan's statistics on plain numbers: intervals over images, over seeds, a reward's rise, and the verdict.

Nothing here knows of files. Differences over images follow `vr1bench.paired`, of which these are the means over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from vr1bench.paired import Difference, spread
from vr1bench.types import Floats

SURE = 3.0
"""Standard errors that a reward must have risen by."""
INCONCLUSIVE, UNDECIDED = "inconclusive", "undecided"


@dataclass(frozen=True, slots=True)
class Part:
    """What is compared on one benchmark, already a mean over seeds.

    Attributes:
        share: Of the benchmark in the mean over all.
        old: Value before, a fraction.
        new: Value after.
        moved: New minus old in each resample, (1000,); NaN where it is undefined.
        n: Images.
    """

    share: float
    old: float
    new: float
    moved: Floats
    n: int


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A mean over seeds with Student's t interval, 95 %; None where one seed alone tells nothing."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Rise:
    """How much a reward rose, and the standard error of that."""

    value: float
    se: float

    @property
    def sure(self) -> bool:
        """Whether by three standard errors or more; a reward that does not vary rose surely if it rose at all."""
        return self.value > 0 and self.value >= SURE * self.se


def over_images(parts: Sequence[Part], name: str = "", metric: str = "") -> Difference:
    """What changed in a weighted mean over benchmarks, by the paired bootstrap over images.

    As `vr1bench.paired.mean_difference`: benchmarks draw their images apart, so squares of standard deviations add up,
    but never to less than the replicates' own sum shows.

    Args:
        parts: One at least; shares that add up to 1.
        name: What the mean is of, for the answer.
        metric: Likewise.
    """
    apart = [one.share * _sd(one) for one in parts]
    joint = spread(np.sum([one.share * one.moved for one in parts], axis=0)) if len(parts) > 1 else 0.0
    squares = sum(one**2 for one in apart)
    of = sum(one**4 / (part.n - 1) for one, part in zip(apart, parts, strict=True) if part.n > 1)
    old, new = (sum(one.share * getattr(one, side) for one in parts) for side in ("old", "new"))
    df = squares**2 / of if of else 0.0
    return Difference(name, metric, old, new, max(math.sqrt(squares), joint), sum(one.n for one in parts), df)


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """The mean of a number over seeds with its 95 % interval by Student's t; without one for a single seed.

    Args:
        values: One a seed; at least one.
    """
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return OverSeeds(mean, None, None)
    half = float(stdtrit(n - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return OverSeeds(mean, mean - half, mean + half)


def rise(stretches: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Rise:
    """How much the reward rose on the mean over runs.

    A run's standard error is that of a difference of two means of steps, each from the variance inside its stretch;
    over runs it is the root of the summed squares, over their number.

    Args:
        stretches: The reward of each step in the first and in the last stretch, of each run: two steps at least.
    """
    changes = [float(np.mean(last) - np.mean(first)) for first, last in stretches]
    squares = [sum(float(np.var(one, ddof=1)) / len(one) for one in pair) for pair in stretches]
    return Rise(float(np.mean(changes)), math.sqrt(sum(squares)) / len(stretches))


def side(images: Difference, seeds: OverSeeds) -> int:
    """1 or -1 where both intervals exclude zero on that side; else 0."""
    if seeds.low is None or seeds.high is None:
        return 0
    low, high = min(images.interval[0], seeds.low), max(images.interval[1], seeds.high)
    return 1 if low > 0 else -1 if high < 0 else 0


def verdict(images: Difference, seeds: OverSeeds, new: str, old: str, *, trained: bool = True) -> str:
    """`NEW above`, `OLD above` or `undecided`; `inconclusive` where training was not shown to have worked.

    Args:
        images: The difference by images.
        seeds: The same by seeds.
        new: What the difference is of.
        old: What is taken off.
        trained: Whether the reward rose surely, where the question hangs on it.
    """
    if not trained:
        return INCONCLUSIVE
    return {1: f"{new} above", -1: f"{old} above", 0: UNDECIDED}[side(images, seeds)]


def _sd(part: Part) -> float:
    """Of the difference on one benchmark; see `vr1bench.paired.Difference.sd`."""
    inflated = spread(part.moved) * math.sqrt(part.n / (part.n - 1)) if part.n > 1 else 0.0
    return max(inflated, abs(part.new - part.old) / math.sqrt(part.n))
