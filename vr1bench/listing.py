"""What can be named on the command line, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tabulate import tabulate

from vr1bench.benchmark import Benchmark, benchmarks, suites
from vr1bench.definitions import read_toml
from vr1bench.engines import ENGINES
from vr1bench.families import FAMILIES, Family
from vr1bench.protocol import Protocol, protocols
from vr1bench.rewards import REWARDS

RECIPES = Path(__file__).parent / "trainers" / "recipes"
"""The trainers' recipes, of which only the words are read: the product imports no trainer."""


def _table(title: str, rows: Sequence[Sequence[str]], width: int = 100) -> str:
    widths = [None] * (len(rows[0]) - 1) + [width] if rows else None
    return f"{title}\n" + tabulate(rows, tablefmt="plain", disable_numparse=True, maxcolwidths=widths)


def _suites() -> str:
    return _table("suites", [[name, ", ".join(members)] for name, members in suites().items()])


def _benchmarks() -> str:
    rows = [
        [b.name, b.task, b.primary, f"{b.split} ({b.splits[b.split].samples or '?'})", _home(b)]
        for b in benchmarks().values()
    ]
    return _table("benchmarks", rows)


def _home(one: Benchmark) -> str:
    return one.source.home or ("generated" if one.generated else "by hand")


def _protocols() -> str:
    return _table("protocols", [[p.name, _asking(p), p.about] for p in protocols().values()], 80)


def _asking(rule: Protocol) -> str:
    """How many classes a prompt asks for, and where that is another number."""
    words = {"all": "all classes a prompt", "one": "one class a prompt", "positive": "only the gold's: an oracle"}
    elsewhere = [f"{pattern}: {words[fields['query']]}" for pattern, fields in rule.on.items() if "query" in fields]
    return "; ".join([words[rule.query], *elsewhere])


def _families() -> str:
    return _table("families", [[name, _asks(FAMILIES[name]), FAMILIES[name].about] for name in FAMILIES])


def _asks(family: Family) -> str:
    """What a family has words for: all classes in one prompt, one class, one phrase."""
    return ", ".join(kind for kind in ("all", "one", "refer") if getattr(family.questions, kind)) or "no words"


def _engines() -> str:
    return _table("engines", [[name] for name in ENGINES])


def _recipes() -> str:
    """Those that ship, by the names that `vr1bench train` takes."""
    paths = {str(path.relative_to(RECIPES).with_suffix("")): path for path in sorted(RECIPES.rglob("*.toml"))}
    return _table("recipes", [[name, str(read_toml(path).get("about", ""))] for name, path in paths.items()], 90)


def _rewards() -> str:
    return _table("rewards", [[name] for name in REWARDS])


SECTIONS: dict[str, Callable[[], str]] = {
    "suites": _suites,
    "benchmarks": _benchmarks,
    "protocols": _protocols,
    "families": _families,
    "engines": _engines,
    "recipes": _recipes,
    "rewards": _rewards,
}
