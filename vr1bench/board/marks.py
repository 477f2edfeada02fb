"""Which numbers of a column are surely best and second best, and which is surely better than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from vr1bench.board.table import Mark
from vr1bench.errors import Vr1benchError
from vr1bench.metrics.aspects import mean
from vr1bench.paired import difference, differing, holm, mean_difference, order_free
from vr1bench.store import Result

ALPHA = 0.05
OTHER_DATA = "rows stand on other data or another number of samples: these numbers do not compare, and none is marked"
NO_REPLICATES = (
    "none is marked: a result without replicates cannot be told from others; score its run folder again: "
    "`vr1bench score RUN_DIR`"
)

Numbers = Mapping[str, Result]
"""What a row has in a column: benchmark to Result, several where it is a mean."""
Standing = Literal["", "better", "worse"]
"""How a row surely stands to another; "" where neither is sure."""


def marked(rows: Sequence[Numbers]) -> tuple[dict[int, Mark], str]:
    """The places of the best and second best rows of a column, and why none can be told; {} and "" for less than two.

    The best is better than every other row; the second best, which needs a best one, than all the rest. Each is a
    paired test on the metric that no order of images moves, two-sided p < .05, adjusted (Holm) for all tests of the
    column.
    """
    if len(rows) < 2:
        return {}, ""
    if any(differing(rows[0][name], result) for row in rows for name, result in row.items()):
        return {}, OTHER_DATA
    try:
        ranked = sorted(range(len(rows)), key=lambda place: -value(rows[place]))
        best, second, *_ = ranked
        sure = [_p(rows[best], rows[other]) for other in ranked[1:]]
        if max(sure) >= ALPHA:
            return {}, ""
        next_sure = [_p(rows[second], rows[other]) for other in ranked[2:]]
    except Vr1benchError:
        return {}, NO_REPLICATES
    adjusted = holm(sure + next_sure)
    if max(adjusted[: len(sure)]) >= ALPHA:
        return {}, ""
    found: dict[int, Mark] = {best: "best"}
    if next_sure and max(adjusted[len(sure) :]) < ALPHA:
        found[second] = "second"
    return found, ""


def standing(rows: Sequence[Numbers], place: int, other: int) -> Standing:
    """How a row surely stands to another of its column, however it was chosen.

    The test is that of `marked`, adjusted (Holm) for the tests of all rows against the other one: the highest of many
    is above it by chance more often than a row that was named beforehand.

    Raises:
        Vr1benchError: A result lacks the metric or its replicates.
    """
    places = [one for one in range(len(rows)) if one != other]
    if place not in places:
        return ""
    adjusted = holm([_p(rows[other], rows[one]) for one in places])
    if adjusted[places.index(place)] >= ALPHA:
        return ""
    return "better" if value(rows[place]) > value(rows[other]) else "worse"


def value(row: Numbers) -> float:
    """What rows are ranked by: the metric that no order of images moves, of several benchmarks its mean; a fraction.

    Raises:
        Vr1benchError: It is undefined.
    """
    values: dict[str, float] = {}
    for name, result in row.items():
        metric = result.values.metrics.get(order_free(result))
        if metric is None or metric.value is None:
            raise Vr1benchError(f"{name}: {order_free(result)} is undefined")
        values[name] = metric.value
    return mean(values)[0]


def _p(one: Numbers, other: Numbers) -> float:
    pairs = {name: (result, other[name]) for name, result in one.items()}
    metrics = {name: order_free(result) for name, result in one.items()}
    found = mean_difference(pairs, metrics)
    if found is None:
        ((name, pair),) = pairs.items()
        found = difference(*pair, metrics[name])
    return found.p
