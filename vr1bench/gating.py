"""The gate: does a new model lose against a baseline, more than is tolerated and more surely than noise?"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

from pydantic import Field
from tabulate import tabulate

from vr1bench.definitions import read_toml, validated
from vr1bench.errors import Vr1benchError
from vr1bench.metrics.bootstrap import Z
from vr1bench.paired import Difference, difference, holm, mean_differences, order_free
from vr1bench.store import Result
from vr1bench.types import FrozenModel, Status

GOOD = (Status.OK, Status.NONE)
"""Answers that were well-formed; every other one that was asked for is a format failure."""


FEWEST = 20
"""Images that a benchmark needs for a verdict of its own: with fewer, neither the bootstrap nor t is near its claim."""
ROUNDING = 1e-9
"""Points: a drop of exactly the tolerance is within it."""


class Rules(FrozenModel):
    """What a gate lets pass; the fields of its TOML.

    Attributes:
        tolerance: Points that a metric may drop however sure the drop is.
        alpha: Chance that noise alone fails the gate, over all its checks together.
        metric: What is judged; "" takes each benchmark's primary metric, or the companion that no order of images moves
            (`vr1bench.benchmark.ORDER_FREE`).
        format_tolerance: Points by which the share of format failures may rise.
        benchmarks: Tolerances of single benchmarks, or of a mean by its name in the table: `odinw: mean of 13`.
    """

    tolerance: float = Field(default=0.5, ge=0)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    metric: str = ""
    format_tolerance: float = Field(default=1.0, ge=0)
    benchmarks: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a gate looked at.

    Attributes:
        name: The benchmark, or what a mean is of.
        what: The metric, `format failures`, or `complete`.
        old: Before, in points.
        new: After.
        low: Lower end of the difference's 95 % interval, in points.
        high: Upper end.
        p: One-sided p-value of a loss, adjusted for the number of checks (Holm).
        tolerance: Points.
        passed: The verdict.
        why: In words.
    """

    name: str
    what: str
    old: float
    new: float
    low: float
    high: float
    p: float
    tolerance: float
    passed: bool
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks of a gate, and whether all of them passed."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(check.passed for check in self.checks)


def read_rules(path: Path) -> Rules:
    """Rules from a TOML file.

    Raises:
        Vr1benchError: The file is missing, no TOML, or has an unknown field or a bad value.
    """
    return validated(Rules, read_toml(path), f"{path}")


def gate(new: Mapping[str, Result], baseline: Mapping[str, Result], rules: Rules | None = None) -> Verdict:
    """Judges new Results against a baseline's, benchmark by benchmark and in the mean.

    A metric fails only where it dropped by more than its tolerance and the drop is significant; a format, where the
    share of failures rose by more than its tolerance and significantly. A benchmark that the baseline has and the new
    model lacks fails: its run is incomplete.

    Args:
        new: Benchmark to Result.
        baseline: The same of what it is measured against; what only `new` has is not judged.
        rules: None takes the defaults.

    Raises:
        NotComparableError: Two Results were not made alike.
        Vr1benchError: One lacks the metric or its replicates; the baseline holds nothing, or the rules name a benchmark
            that it lacks.
    """
    rules = rules or Rules()
    if not baseline:
        raise Vr1benchError("the baseline holds no result; expected at least one")
    strange = sorted(name for name in set(rules.benchmarks) - set(baseline) if "mean of" not in name)
    if strange:
        raise Vr1benchError(f"the rules name {strange[0]!r}, which the baseline lacks; it has {', '.join(baseline)}")
    pairs = {name: (old, new[name]) for name, old in baseline.items() if name in new}
    missing = [_missing(name) for name in baseline if name not in new]
    metrics, formats = _differences(pairs, rules.metric), _rises(pairs)
    # Too few images say nothing for themselves, and would only cost the others their significance.
    judged = [one for one in metrics if one.n >= FEWEST]
    adjusted = iter(holm([*(one.p_drop for one in judged), *(test.p for test in formats.values())]))
    checks = [_metric(one, next(adjusted) if one in judged else 1.0, rules) for one in metrics]
    checks += [_format(name, test, next(adjusted), rules) for name, test in formats.items()]
    return Verdict((*missing, *checks))


def incomplete(why: str) -> Verdict:
    """The verdict on a model whose run did not end."""
    return Verdict((_missing("the run", why),))


def _missing(name: str, why: str = "the new model has no result: its run is incomplete") -> Check:
    return Check(name, "complete", 100.0, 0.0, -100.0, -100.0, 0.0, 0.0, passed=False, why=why)


def _differences(pairs: Mapping[str, tuple[Result, Result]], metric: str) -> list[Difference]:
    """What changed in each benchmark's metric, and in the means over suites."""
    metrics = {name: metric or order_free(old) for name, (old, _) in pairs.items()}
    found = [difference(old, new, metrics[name]) for name, (old, new) in pairs.items()]
    return found + mean_differences(pairs, metrics)


def _metric(one: Difference, p: float, rules: Rules) -> Check:
    tolerance = rules.benchmarks.get(one.name, rules.tolerance)
    drop = -100 * one.value
    large, sure = drop > tolerance + ROUNDING, p < rules.alpha
    if one.n < FEWEST:
        why = f"{one.n} images are too few to judge alone: they count in the mean"
    elif large and sure:
        why = f"dropped by {drop:.1f} points, more than {tolerance:g}, p = {p:.2g}"
    elif large:
        why = f"dropped by {drop:.1f} points, but that may be noise: p = {p:.2g}"
    else:
        why = f"dropped by {drop:.1f} points, within {tolerance:g}" if drop > 0 else "did not drop"
    low, high = (100 * end for end in one.interval)
    return Check(one.name, one.metric, 100 * one.old, 100 * one.new, low, high, p, tolerance, not (large and sure), why)


@dataclass(frozen=True, slots=True)
class _Rise:
    """Shares of format failures before and after, the standard error of their difference, and p of no rise."""

    before: float
    after: float
    error: float
    p: float


def _rises(pairs: Mapping[str, tuple[Result, Result]]) -> dict[str, _Rise]:
    counts = {name: (_failures(old), _failures(new)) for name, (old, new) in pairs.items()}
    return {name: _rise(*both) for name, both in counts.items() if both[0][1] and both[1][1]}


def _failures(result: Result) -> tuple[int, int]:
    """Format failures, and samples that were asked."""
    asked = sum(count for status, count in result.values.counts.items() if status != "unasked")
    return asked - sum(result.values.counts.get(status, 0) for status in GOOD), asked


def _rise(old: tuple[int, int], new: tuple[int, int]) -> _Rise:
    """A one-sided test of failures among samples that were asked.

    Of two proportions with the pooled share, and with the least margin that `Difference.sd` has, one sample's; that
    both saw the same samples is left out, which errs on the side of letting pass.
    """
    before, after = old[0] / old[1], new[0] / new[1]
    pooled = (old[0] + new[0]) / (old[1] + new[1])
    error = math.sqrt(pooled * (1 - pooled) * (1 / old[1] + 1 / new[1]))
    error = max(error, abs(after - before) / min(old[1], new[1]))
    return _Rise(before, after, error, 0.5 * math.erfc((after - before) / error / math.sqrt(2)) if error else 1.0)


def _format(name: str, test: _Rise, p: float, rules: Rules) -> Check:
    rise = 100 * (test.after - test.before)
    failed = rise > rules.format_tolerance and p < rules.alpha
    why = f"rose by {rise:.1f} points" if rise > 0 else "did not rise"
    if rise > rules.format_tolerance:
        why += f", more than {rules.format_tolerance:g}, p = {p:.2g}" + ("" if failed else ": may be noise")
    return Check(
        name, "format failures", 100 * test.before, 100 * test.after, rise - 100 * Z * test.error,
        rise + 100 * Z * test.error, p, rules.format_tolerance, not failed, why,
    )  # fmt: skip


def table(verdict: Verdict, form: str = "simple") -> str:
    """The checks as a table, failures first, and the verdict below."""
    checks = sorted(verdict.checks, key=lambda check: check.passed)
    rows = [
        ["pass" if one.passed else "FAIL", one.name, one.what, f"{one.old:.1f}", f"{one.new:.1f}",
         f"{one.new - one.old:+.1f} [{one.low:+.1f}, {one.high:+.1f}]", one.why]
        for one in checks
    ]  # fmt: skip
    header = ["", "benchmark", "what", "before", "after", "difference, 95 %", "why"]
    align = ["left", "left", "left", "right", "right", "right", "left"]
    body = tabulate(rows, headers=header, tablefmt=form, disable_numparse=True, colalign=align)
    failed = sum(not one.passed for one in checks)
    return f"{body}\n\n" + (f"FAIL: {failed} of {len(checks)} checks" if failed else f"pass: {len(checks)} checks")


def markdown(verdict: Verdict) -> str:
    """The same as markdown, for a GitHub step summary."""
    return f"## vr1bench gate: {'pass' if verdict.passed else 'FAIL'}\n\n{table(verdict, 'pipe')}\n"


def as_json(verdict: Verdict) -> str:
    """The checks as JSON."""
    whole: dict[str, Any] = {"passed": verdict.passed, "checks": [asdict(check) for check in verdict.checks]}
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def junit(verdict: Verdict) -> str:
    """The checks as JUnit XML: a test case each."""
    checks: Sequence[Check] = verdict.checks
    failures = str(sum(not check.passed for check in checks))
    counts = {"tests": str(len(checks)), "failures": failures, "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "vr1bench gate", **counts})
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", {"classname": f"vr1bench.{check.name}", "name": check.what})
        if not check.passed:
            ElementTree.SubElement(case, "failure", {"message": check.why})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
