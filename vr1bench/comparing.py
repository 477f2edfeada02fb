"""Two models side by side: what changed on each benchmark, in the mean, by class and by image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from textwrap import shorten
from typing import Any

from tabulate import tabulate

from vr1bench.errors import NotComparableError
from vr1bench.exporting import Run
from vr1bench.paired import Difference, difference, holm, mean_differences, order_free
from vr1bench.store import Result

MOVERS = 5
"""Classes shown a benchmark, the largest changes first."""


@dataclass(frozen=True, slots=True)
class Mover:
    """A class whose AP changed; fractions."""

    benchmark: str
    label: str
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample that one of two models answers better.

    Attributes:
        benchmark: Whose sample it is.
        id: The sample's.
        image: Its picture, below the data folder.
        asked: What was asked, in short.
        old: How well it was answered before: 1 or 0, of boxes the image's own F1 at IoU 0.5.
        new: How well after.
    """

    benchmark: str
    id: str
    image: str
    asked: str
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from one model to another.

    Attributes:
        differences: One a benchmark that both have; the means over suites last.
        adjusted: Their p-values, adjusted for their number (Holm).
        movers: Classes that changed most, benchmark by benchmark.
        only_old: Benchmarks that the new model lacks.
        only_new: Benchmarks that the old one lacks.
    """

    differences: tuple[Difference, ...]
    adjusted: tuple[float, ...]
    movers: tuple[Mover, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]


def compare(
    old: Mapping[str, Result], new: Mapping[str, Result], *, metric: str = "", across: bool = False
) -> Comparison:
    """Compares two models' Results.

    Args:
        old: Benchmark to Result.
        new: The same.
        metric: "" takes each benchmark's primary metric, or the companion that no order of images moves.
        across: Compare what was not made alike too: another protocol, split, score rule or data. Then nothing is
            paired, and the intervals are wider.

    Raises:
        NotComparableError: They have no benchmark in common, or were not made alike.
        Vr1benchError: A Result lacks the metric or its replicates.
    """
    pairs = {name: (result, new[name]) for name, result in old.items() if name in new}
    if not pairs:
        raise NotComparableError(
            f"no benchmark in common: one has {', '.join(old) or 'none'}, the other {', '.join(new) or 'none'}"
        )
    metrics = {name: metric or order_free(pair[0]) for name, pair in pairs.items()}
    found = [difference(*pair, metrics[name], across=across) for name, pair in pairs.items()]
    found += mean_differences(pairs, metrics, across=across)
    movers = [mover for name, pair in pairs.items() for mover in _movers(name, *pair)]
    return Comparison(
        tuple(found),
        tuple(holm([one.p for one in found])),
        tuple(movers),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name not in old),
    )


def _movers(name: str, old: Result, new: Result) -> list[Mover]:
    both = [
        Mover(name, label, before, after)
        for label, before in old.values.per_class.items()
        if before is not None and (after := new.values.per_class.get(label)) is not None and after != before
    ]
    return sorted(both, key=lambda one: -abs(one.new - one.old))[:MOVERS]


def flips(old: Run, new: Run) -> list[Flip]:
    """The samples of two run folders that were not answered equally well, the largest changes first.

    Raises:
        NotComparableError: They hold other samples.
        Vr1benchError: See `vr1bench.rescore`.
    """
    found: list[Flip] = []
    for before, after in zip_longest(old.rows(), new.rows()):
        if not before or not after or (before["benchmark"], before["id"]) != (after["benchmark"], after["id"]):
            raise NotComparableError(f"{old.folder} and {new.folder} hold other samples; expected the same in both")
        values = _goodness(before), _goodness(after)
        if values[0] != values[1]:
            asked = before.get("question") or ", ".join(before["queries"])
            found.append(Flip(before["benchmark"], before["id"], before["image"], asked, *values))
    return sorted(found, key=lambda one: -abs(one.new - one.old))


def _goodness(row: dict[str, Any]) -> float:
    """How well a sample was answered; an image without gold is answered well by no box."""
    if "correct" in row:
        return float(row["correct"])
    count = row["guessed"] + row["gold"]
    return 2 * row["right"] / count if count else 1.0


def flips_text(found: Sequence[Flip], form: str = "simple", top: int = 20) -> str:
    """How many samples were lost and gained, and the first of them as a table."""
    lost = sum(one.new < one.old for one in found)
    said = f"samples answered worse: {lost}, better: {len(found) - lost}"
    rows = [
        [one.benchmark, one.id, one.image, shorten(one.asked, 50), f"{100 * one.old:.0f}", f"{100 * one.new:.0f}"]
        for one in found[:top]
    ]
    if form == "pipe":  # names and phrases come from outside
        rows = [[cell.replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]
    if not rows:
        return said
    header = ["benchmark", "sample", "image", "asked", "old", "new"]
    align = ["left"] * 4 + ["right"] * 2
    return f"{said}\n\n" + tabulate(rows, headers=header, tablefmt=form, disable_numparse=True, colalign=align)


def text(found: Comparison, form: str = "simple") -> str:
    """The comparison as tables, in points; differences that are sure (p < .05 after Holm) carry a star."""
    rows = [
        [one.name, one.metric, str(one.n), f"{100 * one.old:.1f}", f"{100 * one.new:.1f}",
         f"{100 * one.value:+.1f} [{100 * one.interval[0]:+.1f}, {100 * one.interval[1]:+.1f}]",
         f"{one.p:.2g}", f"{p:.2g}{' *' if p < 0.05 else ''}"]
        for one, p in zip(found.differences, found.adjusted, strict=True)
    ]  # fmt: skip
    header = ["benchmark", "metric", "n", "old", "new", "difference, 95 %", "p", "p, Holm"]
    parts = [
        tabulate(rows, headers=header, tablefmt=form, disable_numparse=True, colalign=["left"] * 2 + ["right"] * 6)
    ]
    if not all(one.paired for one in found.differences):
        parts.append("Not made alike: compared as if on other images, so that intervals are wide.")
    parts += [f"Only in one: {', '.join(names)}" for names in (found.only_old, found.only_new) if names]
    if found.movers:
        rows = [
            [
                one.benchmark,
                one.label,
                f"{100 * one.old:.1f}",
                f"{100 * one.new:.1f}",
                f"{100 * (one.new - one.old):+.1f}",
            ]
            for one in found.movers
        ]
        header = ["benchmark", "class", "old", "new", "difference"]
        align = ["left"] * 2 + ["right"] * 3
        parts.append(tabulate(rows, headers=header, tablefmt=form, disable_numparse=True, colalign=align))
    return "\n\n".join(parts)


def as_json(found: Comparison, turned: Sequence[Flip] | None = None) -> str:
    """The comparison as JSON, and the samples that flipped if they are known; fractions."""
    whole: dict[str, Any] = {
        "differences": [
            {"benchmark": one.name, "metric": one.metric, "n": one.n, "old": one.old, "new": one.new,
             "difference": one.value, "low": one.interval[0], "high": one.interval[1], "p": one.p, "p_holm": p,
             "paired": one.paired}
            for one, p in zip(found.differences, found.adjusted, strict=True)
        ],
        "classes": [
            {"benchmark": one.benchmark, "class": one.label, "old": one.old, "new": one.new} for one in found.movers
        ],
        "only_old": found.only_old,
        "only_new": found.only_new,
    }  # fmt: skip
    if turned is not None:
        whole["flips"] = [asdict(one) for one in turned]
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"
