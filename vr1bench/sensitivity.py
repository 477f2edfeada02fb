"""What a suite can see: the smallest drop that its samples can tell from noise, so that nobody chases less."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from tabulate import tabulate

from vr1bench.metrics.aspects import weights
from vr1bench.metrics.bootstrap import Z
from vr1bench.paired import difference, order_free, replicates
from vr1bench.store import Result

CORRELATION = 0.9
"""Between the replicates of two checkpoints of one model, where no second Result shows it; two simulated detectors of
COCO's size that share most of their boxes had .96. Lower is more cautious."""


@dataclass(frozen=True, slots=True)
class Power:
    """What one benchmark, or a mean of several, can see; fractions.

    Attributes:
        name: The benchmark, or what the mean is of.
        metric: What is measured.
        n: Images.
        value: The metric's value.
        sd: Of the value, over resampled images.
        sd_difference: Of the difference to another model on the same images.
        detectable: The smallest true drop that is found with the wanted chance.
    """

    name: str
    metric: str
    n: int
    value: float
    sd: float
    sd_difference: float
    detectable: float


def power(
    results: Mapping[str, Result],
    other: Mapping[str, Result] | None = None,
    *,
    metric: str = "",
    alpha: float = 0.05,
    chance: float = 0.8,
    correlation: float = CORRELATION,
) -> list[Power]:
    """What each benchmark can see, and their mean, as a one-sided test at `alpha` sees it.

    Args:
        results: Benchmark to a model's Result.
        other: A second model's, whose difference then shows how closely both go together; where it lacks a benchmark,
            `correlation` is taken.
        metric: "" takes each benchmark's primary metric or its order-free companion.
        alpha: Chance of a false alarm, for each benchmark alone: a gate over many, which keeps that chance for all
            together, sees somewhat less.
        chance: With which the drop is to be found.
        correlation: Between two models' replicates.

    Raises:
        NotComparableError: `other` was not made alike.
        Vr1benchError: A Result lacks the metric or its replicates.
    """
    factor = float(ndtri(1 - alpha) + ndtri(chance))
    rows: list[Power] = []
    for name, result in results.items():
        chosen = metric or order_free(result)
        sd = float(np.nanstd(replicates(result, chosen), ddof=1))
        both = sd * math.sqrt(2 * (1 - correlation))
        if other and name in other:
            both = difference(result, other[name], chosen).sd
        value = result.values.metrics[chosen].value or 0.0
        rows.append(Power(name, chosen, result.values.n, value, sd, both, factor * both))
    if len(rows) > 1 and len({row.metric for row in rows}) == 1:
        rows.append(_mean(rows, factor))
    return rows


def _mean(rows: list[Power], factor: float) -> Power:
    """The mean over benchmarks, which draw their images apart: their variances add."""
    share, title = weights(row.name for row in rows)
    sd = math.sqrt(sum((share[row.name] * row.sd) ** 2 for row in rows))
    both = math.sqrt(sum((share[row.name] * row.sd_difference) ** 2 for row in rows))
    value = sum(share[row.name] * row.value for row in rows)
    return Power(title, rows[0].metric, sum(row.n for row in rows), value, sd, both, factor * both)


def table(rows: list[Power], form: str = "simple") -> str:
    """Rows as a table in points; a mean stands last. A dash where all images fare alike, which shows nothing."""
    body = [
        [row.name, row.metric, str(row.n), f"{100 * row.value:.1f}", _points(Z * row.sd, 1),
         _points(row.sd_difference, 2), _points(row.detectable, 1)]
        for row in rows
    ]  # fmt: skip
    header = ["benchmark", "metric", "n", "value", "±95 %", "sd of a difference", "smallest drop seen"]
    align = ["left", "left", *["right"] * 5]
    return tabulate(body, headers=header, tablefmt=form, disable_numparse=True, colalign=align)


def _points(value: float, digits: int) -> str:
    return f"{100 * value:.{digits}f}" if value else "-"
