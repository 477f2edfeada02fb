"""What a suite can see: the smallest drop that its samples can tell from noise, so that nobody chases less."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from tabulate import tabulate

from vr1bench.benchmark import whole_suites
from vr1bench.metrics.aspects import weights
from vr1bench.metrics.bootstrap import Z
from vr1bench.paired import difference, images, mean_difference, order_free, replicates, spread
from vr1bench.store import Result

CORRELATION = 0.5
"""Between the replicates of two checkpoints of one model, where no second Result shows it: for the demo model against
itself at temperature 0.7 it was .40 to .85 on five sets. Lower is more cautious."""


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
    """What each benchmark can see, and their means, as a gate over all of them sees it.

    The gate tests many things and keeps the chance of a false alarm for all together (Holm), so each is reckoned at
    `alpha` over the number of its checks: metrics, means and formats.

    Args:
        results: Benchmark to a model's Result.
        other: A second model's, whose difference then shows how closely both go together; where it lacks a benchmark,
            `correlation` is taken.
        metric: "" takes each benchmark's primary metric or its order-free companion.
        alpha: Chance of a false alarm of the whole gate.
        chance: With which the drop is to be found.
        correlation: Between two models' replicates.

    Raises:
        NotComparableError: `other` was not made alike.
        Vr1benchError: A Result lacks the metric or its replicates.
    """
    metrics = {name: metric or order_free(one) for name, one in results.items()}
    whole = whole_suites(tuple(results)) or {"": tuple(results)}
    means = {
        name: members for name, members in whole.items()
        if len(members) > 1 and len({metrics[one] for one in members}) == 1
    }  # fmt: skip
    factor = float(ndtri(1 - alpha / (2 * len(results) + len(means))) + ndtri(chance))
    alone = math.sqrt(2 * (1 - correlation))
    rows: list[Power] = []
    for name, result in results.items():
        seen = replicates(result, metrics[name])
        sd = spread(seen)
        both = difference(result, other[name], metrics[name]).sd if other and name in other else alone * sd
        value = result.values.metrics[metrics[name]].value or 0.0
        rows.append(Power(name, metrics[name], images(result), value, sd, both, factor * both))
    of = {row.name: row for row in rows}
    for name, members in means.items():
        share, title = weights(members)
        sd = spread(np.sum([share[one] * replicates(results[one], metrics[one]) for one in members], axis=0))
        both = alone * sd
        if other and all(one in other for one in members):
            pairs = {one: (results[one], other[one]) for one in members}
            both = (mean_difference(pairs, metrics) or rows[0]).sd
        value = sum(share[one] * of[one].value for one in members)
        n = sum(of[one].n for one in members)
        said = title if len(members) == len(results) else f"{name}: {title}"
        rows.append(Power(said, metrics[members[0]], n, value, sd, both, factor * both))
    return rows


def table(rows: list[Power], form: str = "simple") -> str:
    """Rows as a table in points; means stand last. A dash where all images fare alike, which shows nothing."""
    body = [
        [row.name, row.metric, str(row.n), f"{100 * row.value:.1f}", _points(Z * row.sd, 1),
         _points(row.sd_difference, 2), _points(row.detectable, 1)]
        for row in rows
    ]  # fmt: skip
    header = ["benchmark", "metric", "n", "value", "±95 %", "sd of a difference", "smallest drop seen"]
    align = ["left", "left", *["right"] * 5]
    return tabulate(body, headers=header, tablefmt=form, disable_numparse=True, colalign=align)


def _points(value: float, digits: int) -> str:
    return f"{100 * value:.{digits}f}" if value > 0 else "-"
