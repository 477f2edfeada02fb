"""Two Results of the same benchmark, image by image: the difference, its interval, and how sure it is.

Both Results hold replicates of their metrics over the same resampled images (`vr1bench.metrics.bootstrap`), so the
difference of two replicates is a replicate of the difference, and what both models find hard drops out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr

from vr1bench.benchmark import ORDER_FREE, whole_suites
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
        sd: Of the difference, over the resamples, for n images that it was estimated from (n / (n - 1) times their
            variance), and at least that of n images of which half changed alike: where more did, few images would
            otherwise seem sure beyond what any exact test allows.
        n: Images; of a mean, those of all benchmarks.
        df: Degrees of freedom of `sd`: n - 1, of a mean after Welch and Satterthwaite.
        paired: Whether both stand on the same images.
    """

    name: str
    metric: str
    old: float
    new: float
    sd: float
    n: int
    df: float
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
        """Two-sided p-value of no difference, by Student's t distribution: 1 for equal values, and for one image."""
        return min(1.0, 2 * _tail(abs(self.value), self.sd, self.df))

    @property
    def p_drop(self) -> float:
        """One-sided p-value of no drop: small where the new value is surely lower."""
        return _tail(-self.value, self.sd, self.df)


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
            f"{old.key.benchmark}: {'; '.join(reasons)}: such numbers do not compare; run both alike "
            "(`vr1bench compare --across` shows them side by side all the same)"
        )
    before, after = replicates(old, metric), replicates(new, metric)
    n = min(images(old), images(new))
    values = _value(old, metric), _value(new, metric)
    sd = math.hypot(spread(before), spread(after)) if reasons else spread(after - before)
    sd = max(sd * _inflation(n), abs(values[1] - values[0]) / math.sqrt(n))
    return Difference(old.key.benchmark, metric, *values, sd, n, max(n - 1, 0), not reasons)


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
    old, new = (sum(share[name] * getattr(part, side) for name, part in parts.items()) for side in ("old", "new"))
    apart = [share[name] * part.sd for name, part in parts.items()]
    sd, paired = math.hypot(*apart), all(part.paired for part in parts.values())
    if paired:  # benchmarks draw their images apart, but some share their data, and then move together
        moved = [
            share[name] * (replicates(after, metrics[name]) - replicates(before, metrics[name]))
            for name, (before, after) in pairs.items()
        ]
        sd = max(sd, spread(np.sum(moved, axis=0)))
    of = [(one**4 / part.df) for one, part in zip(apart, parts.values(), strict=True) if part.df]
    df = sum(one**2 for one in apart) ** 2 / sum(of) if sum(of) else 0.0
    n = sum(part.n for part in parts.values())
    return Difference(title, next(iter(metrics.values())), old, new, sd, n, df, paired)


def mean_differences(
    pairs: Mapping[str, tuple[Result, Result]], metrics: Mapping[str, str], *, across: bool = False
) -> list[Difference]:
    """The means over the suites that are there whole, or else over all; arguments as of `mean_difference`."""
    whole = whole_suites(tuple(pairs)) or {"": tuple(pairs)}
    found: list[Difference] = []
    for name, members in whole.items():
        mean = mean_difference(
            {one: pairs[one] for one in members}, {one: metrics[one] for one in members}, across=across
        )
        if mean:
            found.append(mean if set(members) == set(pairs) else replace(mean, name=f"{name}: {mean.name}"))
    return found


def images(result: Result) -> int:
    """How many images a Result's intervals are drawn from."""
    return result.values.images or result.values.n


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


def spread(values: Floats) -> float:
    """The standard deviation over the resamples in which the values are defined; 0 where that is in less than two."""
    kept = values[~np.isnan(values)]
    return float(np.std(kept, ddof=1)) if len(kept) > 1 else 0.0


def _inflation(n: int) -> float:
    """What the standard deviation over resamples of n images lacks to that over new images."""
    return math.sqrt(n / (n - 1)) if n > 1 else 1.0


def _tail(value: float, sd: float, df: float) -> float:
    """The chance of a value as large, if there were nothing; 1 where no spread or no second image tells."""
    return float(stdtr(df, -value / sd)) if sd and df else 1.0
