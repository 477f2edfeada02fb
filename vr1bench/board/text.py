"""Numbers as people see them: percent with one decimal."""

from __future__ import annotations

from vr1bench.store import Metric

STATUS_ORDER = ("ok", "none", "salvaged", "truncated", "malformed", "refused", "empty", "unasked")

ROUNDING = 1e-9
"""Equal replicates, summed as floats, may differ by less than this."""


def percent(metric: Metric | None) -> str:
    """A fraction as percent with one decimal; a dash where it is undefined."""
    return "-" if metric is None or metric.value is None else f"{100 * metric.value:.1f}"


def half(metric: Metric) -> float | None:
    """Half of the 95 % interval, a fraction; None where none was made.

    An interval is cut to 0..1 (`vr1bench.metrics.bootstrap.interval`), so its longer side counts.
    """
    if metric.value is None or metric.low is None or metric.high is None:
        return None
    return max(metric.value - metric.low, metric.high - metric.value)


def measured(metric: Metric | None) -> str:
    """A fraction and half of its interval as percent: `94.8 ±1.2`; the number alone where it has no interval.

    Nor has it one of no width: where all images fare alike the bootstrap says nothing.
    """
    width = None if metric is None else half(metric)
    return f"{percent(metric)} ±{100 * width:.1f}" if width and width > ROUNDING else percent(metric)


def counts_text(counts: dict[str, int]) -> str:
    """Status counts in words, the good ones first: `97 ok, 3 none`."""
    return ", ".join(f"{counts[name]} {name}" for name in STATUS_ORDER if counts.get(name))
