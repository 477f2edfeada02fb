"""Numbers as people see them: percent with one decimal."""

from __future__ import annotations

from vr1bench.metrics.bootstrap import Z
from vr1bench.store import Metric

STATUS_ORDER = ("ok", "none", "salvaged", "truncated", "malformed", "refused", "empty", "unasked")

ROUNDING = 1e-9
"""Equal replicates, summed as floats, may differ by less than this."""


def percent(metric: Metric | None) -> str:
    """A fraction as percent with one decimal; a dash where it is undefined."""
    return "-" if metric is None or metric.value is None else f"{100 * metric.value:.1f}"


def measured(metric: Metric | None) -> str:
    """A fraction and half of its interval as percent: `94.8 ±1.2`; the number alone where it has no interval.

    Nor has it one of no width: where all images fare alike the bootstrap says nothing.
    """
    if metric is None or metric.value is None or metric.sd is None or metric.sd < ROUNDING:
        return percent(metric)
    return f"{percent(metric)} ±{100 * Z * metric.sd:.1f}"


def counts_text(counts: dict[str, int]) -> str:
    """Status counts in words, the good ones first: `97 ok, 3 none`."""
    return ", ".join(f"{counts[name]} {name}" for name in STATUS_ORDER if counts.get(name))
