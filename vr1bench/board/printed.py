"""What a run prints: a table of its benchmarks, and notes on what the table does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from vr1bench.benchmark import READINGS, suite, whole_suites
from vr1bench.board.means import mean_metric
from vr1bench.board.text import counts_text, measured, percent
from vr1bench.protocol import is_oracle
from vr1bench.store import Result, Values


def run_table(results: Sequence[Result]) -> str:
    """What a run prints: a row a benchmark, and the means of the suites that are there whole, or else of all.

    Only of benchmarks with one primary metric; over the eight files of OVDEval it is the mean of their five aspects.
    """
    rows = [*map(_row, results), *_means({result.key.benchmark: result for result in results}, len(results))]
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True, colalign=_alignment(rows))


def _means(results: Mapping[str, Result], count: int) -> list[dict[str, str]]:
    if len(results) < count:  # several results of one benchmark: no mean is meant
        return []
    whole = tuple(results)
    means = [(name, members) for name, members in whole_suites(whole).items() if _alike(members, results)]
    readings = [{one.name for one in suite(name)} for name in READINGS]
    if not means and set(whole) not in readings and _alike(whole, results):
        means = [("", whole)]
    rows: list[dict[str, str]] = []
    for name, members in means:
        mean, title = mean_metric({one: results[one].primary for one in members})
        of = title if set(members) == set(whole) else f"{name}: {title}"
        primary = results[members[0]].values.primary
        rows.append({"benchmark": of, "metric": primary, "value": measured(mean)})
    return rows


def _alike(members: Sequence[str], results: Mapping[str, Result]) -> bool:
    """Whether several benchmarks have one primary metric, and each a value of it."""
    values = [results[name] for name in members]
    return (
        len(values) > 1
        and len({one.values.primary for one in values}) == 1
        and all(one.primary.value is not None for one in values)
    )


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
        "protocol": result.key.protocol + (" (oracle)" if is_oracle(result.key.protocol, result.key.benchmark) else ""),
        "scores": result.key.scores,
        "s": f"{result.run.seconds:.1f}",
    }


def _alignment(rows: Sequence[dict[str, str]]) -> list[str]:
    right = {"value", "AP_tie", "F1@0.5", "n", "s"}
    return ["right" if name in right else "left" for name in rows[0]] if rows else []


def notes(results: Sequence[Result]) -> list[str]:
    """What a table does not hold: tokens, odd gold, items of answers, what ties do, the audit, engines' agreement."""
    lines: list[str] = []
    for result in results:
        name, values = result.key.benchmark, result.values
        if result.run.usage.output_tokens:
            lines.append(f"note: {name}: {result.run.usage.said}")
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
