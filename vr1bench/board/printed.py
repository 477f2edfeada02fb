"""What a run prints: a table of its benchmarks, and notes on what the table does not hold."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from vr1bench.board.means import mean_metric
from vr1bench.board.text import counts_text, measured, percent
from vr1bench.store import Result, Values


def run_table(results: Sequence[Result]) -> str:
    """What a run prints: a row a benchmark, and the mean of the primaries where there are several of one kind.

    Over the eight files of OVDEval it is the mean of their five aspects.
    """
    rows = [_row(result) for result in results]
    primaries = {result.values.primary for result in results}
    if len(results) > 1 and len(primaries) == 1:
        metrics = {r.key.benchmark: r.primary for r in results if r.primary.value is not None}
        if len(metrics) == len(results):
            mean, title = mean_metric(metrics)
            rows.append({"benchmark": title, "metric": primaries.pop(), "value": measured(mean)})
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True, colalign=_alignment(rows))


def _row(result: Result) -> dict[str, str]:
    values = result.values
    ranked = "AP_tie" in values.metrics
    return {
        "benchmark": f"{result.key.benchmark} {result.key.split}",
        "metric": values.primary,
        "value": measured(result.primary),
        "AP_tie": percent(values.metrics["AP_tie"]) if ranked else "",
        "F1@0.5": percent(values.metrics.get("F1@0.5")) if ranked else "",
        "n": str(values.n),
        "answers": counts_text(values.counts),
        "protocol": result.key.protocol,
        "scores": result.key.scores,
        "s": f"{result.run.seconds:.1f}",
    }


def _alignment(rows: Sequence[dict[str, str]]) -> list[str]:
    right = {"value", "AP_tie", "F1@0.5", "n", "s"}
    return ["right" if name in right else "left" for name in rows[0]] if rows else []


def notes(results: Sequence[Result]) -> list[str]:
    """What a table does not hold: odd gold, items of answers, what ties do, the audit, other engines' agreement."""
    lines: list[str] = []
    for result in results:
        name, values = result.key.benchmark, result.values
        lines += [f"note: {name}: {count} {what}" for what, count in values.warnings.items()]
        if found := {**values.broken, **values.flags}:
            items = values.boxes + sum(count for what, count in values.broken.items() if what != "clipped")
            said = ", ".join(f"{count} {what} ({count / max(items, 1):.1%})" for what, count in found.items())
            lines.append(f"note: {name}: of {items} items in answers: {said}")
        lines += _moves(name, values)
        lines += [f"warning: {name}: {finding}" for finding in values.audit]
        lines += [
            f"verified: {name}: {engine} differs by at most {difference:.1e}"
            for engine, difference in values.verified.items()
        ]
    return lines


def _moves(name: str, values: Values) -> list[str]:
    """How far the primary metric moves when images are renumbered; [] where it stands still."""
    spread = values.spread.get(values.primary)
    if spread is None or spread.high == spread.low:
        return []
    return [
        f"note: {name}: {values.primary} moves by ±{100 * spread.sd:.1f} ({100 * spread.low:.1f} to "
        f"{100 * spread.high:.1f}) with the numbering of images"
    ]
