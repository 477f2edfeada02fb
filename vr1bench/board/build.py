"""Results to a leaderboard: rows, columns, means before their members, marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from vr1bench.benchmark import suite
from vr1bench.board.marks import Numbers, marked
from vr1bench.board.means import Mean, mean_metric, means
from vr1bench.board.reported import placed, reported_rows
from vr1bench.board.selection import by_model, by_step, of_history, ordered, selected
from vr1bench.board.table import Board, Cell, Column, Mark, Place, Row, View
from vr1bench.metrics.aspects import weights
from vr1bench.paired import order_free
from vr1bench.protocol import is_oracle
from vr1bench.published import Published, about
from vr1bench.store import Key, Metric, Result

ABREAST = 8
"""Members of a suite that stand beside its mean; of a larger one only the mean stands, unless the suite is asked for.
RefCOCO's and OVDEval's papers print their eight, those on ODinW's 13 only the mean."""
Model = tuple[str, str, int | None]
Held = dict[Place, Result]


def leaderboard(results: Iterable[Result], published: Sequence[Published] = (), view: View | None = None) -> Board:
    """The leaderboard of results: a row a model (and step), a column a benchmark under one protocol and score rule.

    The same results in any order give the same board.

    Args:
        results: What was run here; of several with one key the latest counts.
        published: Numbers of papers, to be shown beside them.
        view: What is shown, and how; all of it where left out.

    Raises:
        Vr1benchError: The view asks for what is not there.
    """
    view = view or View()
    kept, remarks = _once_each(results)
    kept = selected(kept, view)
    held: dict[Model, Held] = {}
    for result in sorted(kept, key=_chronological(view.history) if view.history else lambda one: by_model(one.key)):
        held.setdefault(_model(result.key), {})[_place(result)] = result
    columns, told = _columns(held, view)
    remarks += told
    numbers = [[_numbers(row, column.places) for column in columns] for row in held.values()]
    heads, footnotes, marks = _judged(columns, numbers)
    rows = [
        _row(row, [_cell(row, column.places, mark) for column, mark in zip(columns, line, strict=True)], view.history)
        for row, line in zip(held.values(), marks, strict=True)
    ]
    papers = about({result.key.benchmark for result in kept}, published)
    known = {place for row in held.values() for place in row}
    shared, apart = placed(papers, {column.place for column in heads}, known)
    return Board(
        columns=tuple(heads),
        rows=(*ordered(rows, heads, view.sort), *reported_rows(shared, heads)),
        footnotes=tuple(footnotes),
        remarks=tuple(remarks),
        papers=tuple(papers),
        shared=tuple(shared),
        apart=tuple(apart),
        results=tuple(sorted(kept, key=lambda one: (one.key.column, by_model(one.key)))),
        by=view.by,
        history=view.history,
    )


def _once_each(results: Iterable[Result]) -> tuple[list[Result], list[str]]:
    """The latest result of each key, and a word on the others."""
    found: dict[Key, list[Result]] = {}
    for result in results:
        found.setdefault(result.key, []).append(result)
    latest = [
        same[0] if len(same) == 1 else max(same, key=lambda one: (one.run.date, one.model_dump_json()))
        for same in found.values()
    ]
    several = sum(len(same) > 1 for same in found.values())
    return latest, [f"{several} number(s) lie there more than once: the latest is shown."] if several else []


def _chronological(history: str) -> Callable[[Result], tuple[str | int, ...]]:
    """Places results in the order of a training: what it began with, then by step."""
    return lambda one: (of_history(one.key, history), *by_step(one.key, one.run.date))


def _model(key: Key) -> Model:
    return key.model, key.revision, key.step


def _place(result: Result) -> Place:
    return *result.key.column, result.values.primary


def _columns(held: Mapping[Model, Held], view: View) -> tuple[list[Column], list[str]]:
    """Columns from left to right, and which members are left out."""
    defined = [{place for place, result in row.items() if result.primary.value is not None} for row in held.values()]
    found = means(defined, view.suite)
    large = {} if view.suite else {mean.name: len(mean.places) for mean in found if len(mean.places) > ABREAST}
    hidden = {place for mean in found if mean.name in large for place in mean.places}
    columns: list[Column] = []
    blocks = _blocks(found, {place for row in held.values() for place in row})
    for block in _in_order(blocks, view.suite):
        for one in block:
            if isinstance(one, Mean):
                columns.append(_mean_column(one))
            elif one not in hidden:
                name, split, protocol, scores, metric = one
                oracle = is_oracle(protocol, name)
                columns.append(Column(name, split, metric, protocol, scores, oracle=oracle, places=(one,)))
    told = [
        f"The {size} members of {name} stand in its mean only: `vr1bench board --suite {name}` shows them."
        for name, size in large.items()
    ]
    if view.suite and held and not found:
        told.append(f"No model has all of {view.suite} under one protocol, score rule and metric: there is no mean.")
    return columns, told


def _blocks(found: Sequence[Mean], places: set[Place]) -> dict[Place, list[Mean | Place]]:
    """Means with benchmarks in common, the largest first, before their members; other benchmarks on their own.

    By the place that each is sorted by: its first column's.
    """
    groups: list[list[Mean]] = []
    for mean in found:
        touching = [group for group in groups if any(set(mean.places) & set(other.places) for other in group)]
        groups = [group for group in groups if group not in touching]
        groups.append([*(other for group in touching for other in group), mean])
    blocks: dict[Place, list[Mean | Place]] = {}
    for group in groups:
        group.sort(key=lambda mean: -len(mean.places))
        members = dict.fromkeys(place for mean in group for place in mean.places)
        blocks[group[0].key] = [*group, *members]
        places = places - set(members)
    blocks |= {place: [*blocks.get(place, []), place] for place in places}
    return blocks


def _in_order(blocks: Mapping[Place, Sequence[Mean | Place]], name: str) -> list[Sequence[Mean | Place]]:
    """Blocks by name; those of one suite by protocol and score rule, then as the suite lists them."""
    if not name:
        return [blocks[key] for key in sorted(blocks)]
    listed = {one.name: place for place, one in enumerate(suite(name))}

    def order(key: Place) -> tuple[str | int, ...]:
        first = blocks[key][0]
        benchmark, split, *how = first.places[0] if isinstance(first, Mean) else first
        return *how[:2], listed[benchmark], split, key[0], how[2]

    return [blocks[key] for key in sorted(blocks, key=order)]


def _mean_column(mean: Mean) -> Column:
    _, _, protocol, scores, metric = mean.places[0]
    of = weights([place[0] for place in mean.places])[1]
    # VLM-R1 calls the mean over OVDEval's aspects so.
    kind = "overall" if of.endswith("aspects") else "mean"
    oracle = any(is_oracle(protocol, place[0]) for place in mean.places)
    return Column(mean.name, mean.split, f"{kind} {metric}", protocol, scores, of, oracle, places=mean.places)


def _numbers(row: Held, places: Sequence[Place]) -> Numbers:
    """A row's results of a column; {} where it lacks one, or one is undefined."""
    found = {place[0]: row[place] for place in places if place in row}
    whole = len(found) == len(places) and all(result.primary.value is not None for result in found.values())
    return found if whole else {}


def _judged(
    columns: Sequence[Column], numbers: Sequence[Sequence[Numbers]]
) -> tuple[list[Column], list[str], list[list[Mark]]]:
    """The columns with their samples and footnotes, the footnotes, and the marks of every row."""
    heads: list[Column] = []
    footnotes: list[str] = []
    marks: list[list[Mark]] = [[""] * len(columns) for _ in numbers]
    for place, column in enumerate(columns):
        there = [(line, row[place]) for line, row in enumerate(numbers) if row[place]]
        best, why = marked([row for _, row in there])
        for which, mark in best.items():
            marks[there[which][0]][place] = mark
        if why and why not in footnotes:
            footnotes.append(why)
        counts = {_samples(row) for _, row in there}
        n = counts.pop() if len(counts) == 1 else None
        heads.append(replace(column, n=n, note=footnotes.index(why) + 1 if why else 0))
    return heads, footnotes, marks


def _samples(row: Numbers) -> int:
    return sum(result.values.n for result in row.values())


def _cell(row: Held, places: Sequence[Place], mark: Mark) -> Cell | None:
    there = [row[place] for place in places if place in row]
    if not there:
        return None
    if len(places) > 1 and not _numbers(row, places):
        return Cell(Metric(value=None), words=f"{len(there)} of {len(places)}")
    metric = _metric(there, [result.primary for result in there])
    return Cell(metric, _tie(there), sum(result.values.n for result in there), mark)


def _tie(results: Sequence[Result]) -> float | None:
    """The companion of the primary metric that no order of images moves; None where it has none."""
    ties = [
        result.values.metrics[name]
        for result in results
        if (name := order_free(result)) != result.values.primary and name in result.values.metrics
    ]
    return _metric(results, ties).value if len(ties) == len(results) else None


def _metric(results: Sequence[Result], metrics: Sequence[Metric]) -> Metric:
    if len(metrics) == 1:
        return metrics[0]
    return mean_metric({result.key.benchmark: metric for result, metric in zip(results, metrics, strict=True)})[0]


def _row(row: Held, cells: Sequence[Cell | None], history: str) -> Row:
    latest = max(row.values(), key=lambda one: (one.run.date, one.key.column))
    commit = latest.run.commit[:8] + ("+" if latest.run.commit.endswith("+") else "")
    base = bool(history) and not of_history(latest.key, history)
    title = latest.key.title + " (base)" * base
    return Row(title, latest.key, tuple(cells), latest.run.date, commit, base)
