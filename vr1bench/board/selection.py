"""Which results a leaderboard shows, and the order of its rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from vr1bench.benchmark import suite, suites
from vr1bench.board.table import Column, Row, View
from vr1bench.errors import Vr1benchError
from vr1bench.registry import unknown
from vr1bench.store import Key, Result


def _suites_of(key: Key) -> list[str]:
    return [name for name in suites() if key.benchmark in {one.name for one in suite(name)}]


FILTERS: dict[str, Callable[[Key], Sequence[str]]] = {
    "model": lambda key: [key.title, key.model],
    "benchmark": lambda key: [key.benchmark],
    "suite": _suites_of,
    "protocol": lambda key: [key.protocol],
    "scores": lambda key: [key.scores],
    "step": lambda key: ["none" if key.step is None else str(key.step)],
}
"""What `--filter` can ask of a result: its names, of which a pattern must match one."""
BY = ("model", "benchmark")


def selected(results: Sequence[Result], view: View) -> list[Result]:
    """The results that a view asks for; filters of one key widen, those of several narrow.

    Raises:
        Vr1benchError: A filter, suite or model that nobody has.
    """
    if view.by not in BY:
        raise unknown("kind of row", view.by, BY)
    kept = list(results)
    for key, patterns in _patterns(view.filters).items():
        names = FILTERS[key]
        for pattern in patterns:
            known = sorted({name for result in results for name in names(result.key)})
            if results and not _matches(known, [pattern]):
                raise unknown(key, pattern, known)
        kept = [result for result in kept if _matches(names(result.key), patterns)]
    if view.history:
        known = sorted({name for result in results for name in _names(result.key)})
        if view.history not in known:
            raise unknown("model", view.history, known)
        begun = {
            (noted.base_model, noted.base_revision)
            for result in kept
            if of_history(result.key, view.history) and (noted := result.run.training)
        }
        kept = [result for result in kept if of_history(result.key, view.history) or _is_one(result.key, begun)]
    if view.suite:
        members = {one.name for one in suite(view.suite)}
        kept = [result for result in kept if result.key.benchmark in members]
    return kept


def _patterns(filters: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in filters:
        key, equals, pattern = text.partition("=")
        if not equals or not pattern:
            raise Vr1benchError(
                f"--filter {text!r}: expected KEY=PATTERN such as protocol=vlm-r1 or model=Qwen/*, with a key of "
                f"{', '.join(FILTERS)}"
            )
        if key not in FILTERS:
            raise unknown("filter", key, FILTERS)
        found.setdefault(key, []).append(pattern)
    return found


def _matches(names: Iterable[str], patterns: Sequence[str]) -> bool:
    # A protocol's name may hold brackets, which a pattern takes for a set of letters.
    return any(name == pattern or fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _names(key: Key) -> set[str]:
    """A model's own name, and that which the checkpoints of one training have in common: their folder's."""
    folder = "" if key.step is None else re.sub(rf"/[^/]*[-_]{key.step}$", "", key.model)
    return {key.model, folder or key.model}


def of_history(key: Key, history: str) -> bool:
    """Whether a key is of the model, or of a checkpoint of the training, that a history is of."""
    return history in _names(key)


def _is_one(key: Key, models: Iterable[tuple[str, str]]) -> bool:
    """Whether a key is of one of some models: of its revision or, where that is unknown (""), of its name."""
    return any(key.revision == revision if revision else key.model == name for name, revision in models)


def by_model(key: Key) -> tuple[str | int, ...]:
    """Places keys in the order of rows: by name, step, revision."""
    return key.model, -1 if key.step is None else key.step, key.revision


def by_step(key: Key, date: str) -> tuple[str | int, ...]:
    """Places keys in the order of a training: what has no step first."""
    return -1 if key.step is None else key.step, date, key.model, key.revision


def ordered(rows: Sequence[Row], columns: Sequence[Column], sort: str) -> list[Row]:
    """Rows in the order that a view asks for; those alike keep theirs, those without a number come last.

    Raises:
        Vr1benchError: No column, or several, are called so.
    """
    if sort in {"", "model"}:
        return list(rows)
    if sort == "date":
        return sorted(rows, key=lambda row: row.date, reverse=True)
    place = _column(columns, sort)
    return sorted(rows, key=lambda row: -(_value(row, place)))


def _value(row: Row, place: int) -> float:
    cell = row.cells[place]
    return -1.0 if cell is None or cell.metric.value is None else cell.metric.value


def _column(columns: Sequence[Column], name: str) -> int:
    exact = [place for place, column in enumerate(columns) if name in {column.name, column.title}]
    meant = exact or [place for place, column in enumerate(columns) if name.lower() in column.title.lower()]
    if not meant:
        raise unknown("column", name, ["model", "date", *dict.fromkeys(column.name for column in columns)])
    if len(meant) > 1:
        titles = "; ".join(columns[place].title for place in meant)
        raise Vr1benchError(f"--sort {name!r} may mean {titles}; write more of one")
    return meant[0]
