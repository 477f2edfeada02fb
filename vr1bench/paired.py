"""Two Results of the same benchmark, image by image: the difference, its interval, and how sure it is.

Both Results hold replicates of their metrics over the same resampled images (`vr1bench.metrics.bootstrap`), so the
difference of two replicates is a replicate of the difference, and what both models find hard drops out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vr1bench.benchmark import ORDER_FREE
from vr1bench.errors import NotComparableError, Vr1benchError
from vr1bench.metrics.ap import ABSENT
from vr1bench.metrics.aspects import weights
from vr1bench.metrics.bootstrap import Z, unpacked
from vr1bench.store import Result
from vr1bench.types import Floats


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one Result to another; fractions.

    Attributes:
        name: The benchmark, or what the mean is of.
        metric: What is compared.
        old: Its value before.
        new: Its value after.
        sd: Of the difference, over the resamples. A difference that all of them show alike, which would have none, is
            taken to be as uncertain as one image's share of it.
        n: Images; of a mean, those of all benchmarks.
        paired: Whether both stand on the same images.
    """

    name: str
    metric: str
    old: float
    new: float
    sd: float
    n: int
    paired: bool = True

    @property
    def value(self) -> float:
        """New minus old."""
        return self.new - self.old

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference."""
        return self.value - Z * self.sd, self.value + Z * self.sd

    @property
    def p(self) -> float:
        """Two-sided p-value of no difference, by the normal distribution: 1 for equal values."""
        return math.erfc(abs(self.value) / self.sd / math.sqrt(2)) if self.sd else 1.0

    @property
    def p_drop(self) -> float:
        """One-sided p-value of no drop: small where the new value is surely lower."""
        return 0.5 * math.erfc(-self.value / self.sd / math.sqrt(2)) if self.sd else 1.0


def difference(old: Result, new: Result, metric: str, *, across: bool = False) -> Difference:
    """What changed in one metric.

    Args:
        old: Before.
        new: After.
        metric: One whose replicates both hold.
        across: Compare what is not made alike too (see `differing`), as if from other images.

    Raises:
        NotComparableError: They were not made alike.
        Vr1benchError: One lacks the metric or its replicates.
    """
    reasons = differing(old, new)
    if reasons and not across:
        raise NotComparableError(
            f"{old.key.benchmark}: {'; '.join(reasons)}: such numbers do not compare; run both alike, or compare them "
            "all the same (--across)"
        )
    before, after = replicates(old, metric), replicates(new, metric)
    sd = math.hypot(_sd(before), _sd(after)) if reasons else _sd(after - before)
    values = _value(old, metric), _value(new, metric)
    n = min(old.values.n, new.values.n)
    return Difference(old.key.benchmark, metric, *values, max(sd, _least(values, n)), n, not reasons)


def mean_difference(
    pairs: Mapping[str, tuple[Result, Result]], metrics: Mapping[str, str], *, across: bool = False
) -> Difference | None:
    """What changed in the mean over benchmarks, OVDEval's by aspect; None for less than two, or metrics of two kinds.

    Args:
        pairs: Benchmark to its old and new Result.
        metrics: Benchmark to the metric compared.
        across: See `difference`.

    Raises:
        Vr1benchError: See `difference`.
    """
    if len(pairs) < 2 or len(set(metrics.values())) > 1:
        return None
    share, title = weights(pairs)
    parts = {name: difference(*pair, metrics[name], across=across) for name, pair in pairs.items()}
    n = sum(part.n for part in parts.values())
    values = tuple(sum(share[name] * getattr(part, side) for name, part in parts.items()) for side in ("old", "new"))
    paired = all(part.paired for part in parts.values())
    if paired:  # benchmarks draw their images apart, but some share their data, and then move together
        moved = [
            share[name] * (replicates(new, metrics[name]) - replicates(old, metrics[name]))
            for name, (old, new) in pairs.items()
        ]
        least = math.hypot(*(share[name] * _least((part.old, part.new), part.n) for name, part in parts.items()))
        sd = max(_sd(np.sum(moved, axis=0)), least)
    else:
        sd = math.hypot(*(share[name] * part.sd for name, part in parts.items()))
    return Difference(title, next(iter(metrics.values())), values[0], values[1], sd, n, paired)


def differing(old: Result, new: Result) -> list[str]:
    """In what two Results of one benchmark were not made alike; [] where they compare."""
    sides = [
        (what, getattr(old.key, what), getattr(new.key, what)) for what in ("benchmark", "split", "protocol", "scores")
    ]
    sides += [("data", old.values.data_sha256[:12], new.values.data_sha256[:12]), ("n", old.values.n, new.values.n)]
    return [
        f"{what} is {before!r} in one and {after!r} in the other" for what, before, after in sides if before != after
    ]


def replicates(result: Result, metric: str) -> Floats:
    """The replicates of a metric, (1000,); NaN where it is undefined.

    Raises:
        Vr1benchError: The Result has none.
    """
    if metric not in result.values.replicates:
        known = ", ".join(result.values.replicates) or "none: an older version wrote it; score its run folder again"
        raise Vr1benchError(f"{result.key.benchmark}: no replicates of {metric!r}; expected one of those kept: {known}")
    values = unpacked(result.values.replicates[metric])
    return np.where(values == ABSENT, np.nan, values)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p-values of several tests, in their order: the chance of even one false alarm stays below alpha.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        highest = max(highest, min(1.0, ps[place] * (len(ps) - rank)))
        adjusted[place] = highest
    return adjusted


def order_free(result: Result) -> str:
    """The metric that a Result is judged by: its primary one, or the companion that no order of images moves."""
    return ORDER_FREE.get(result.values.primary, result.values.primary)


def _value(result: Result, metric: str) -> float:
    value = result.values.metrics[metric].value
    if value is None:
        raise Vr1benchError(f"{result.key.benchmark}: {metric} is undefined, since nothing counts for it; take another")
    return value


def _sd(values: Floats) -> float:
    """Over the resamples in which the values are defined; 0 where that is in less than two."""
    kept = values[~np.isnan(values)]
    return float(np.std(kept, ddof=1)) if len(kept) > 1 else 0.0


def _least(values: tuple[float, float], n: int) -> float:
    """The least that a difference is taken to be uncertain by: one image's share of it."""
    return abs(values[1] - values[0]) / n
