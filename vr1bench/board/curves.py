"""A training's history as curves: each column's numbers over steps, and which checkpoint is best, surely or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vr1bench.board.marks import OTHER_DATA, Numbers, Standing, marked, standing, value
from vr1bench.board.table import Board, Column, Row
from vr1bench.board.text import ROUNDING, measured
from vr1bench.errors import Vr1benchError
from vr1bench.store import Metric, Result

EXPLAINED = (
    "Best is the checkpoint with the highest value (AP_tie, which no order of images moves, for AP). Surely: paired "
    "over the images, two-sided p < .05 after Holm over all points of the curve. The interval is that of one number; "
    "the highest of several is partly luck."
)


@dataclass(frozen=True, slots=True)
class Point:
    """One number of a curve.

    Attributes:
        step: Of training; 0 for the base model.
        title: The model as people see it.
        metric: The column's number, defined, with its interval where it has one; fractions.
        base: It is the model that training began with.
    """

    step: int
    title: str
    metric: Metric
    base: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """A column over the steps of a training.

    Attributes:
        column: What the numbers are of.
        points: One a step, rising; at least one is a checkpoint's.
        best: Place of the best checkpoint among the points, by the metric that no order of images moves, of equal ones
            the first; None where the points do not compare.
        sure: It is surely better than every other point.
        to_first: How it surely stands to the first point.
        to_last: How it surely stands to the last point.
        why: Why nothing sure can be told; "" where it can.
        older: Numbers left out because a later one of the same step is there.
    """

    column: Column
    points: tuple[Point, ...]
    best: int | None = None
    sure: bool = False
    to_first: Standing = ""
    to_last: Standing = ""
    why: str = ""
    older: int = 0


def curves(board: Board) -> tuple[Curve, ...]:
    """A curve a column over the steps of the training that a board shows the history of; () where it has no steps.

    Columns in which no checkpoint has a number have no curve. Of several numbers of one step, which a training has that
    was run again into the same folder, the latest counts.

    Args:
        board: Of `leaderboard(results, view=View(history=OUTPUT_DIR))`.
    """
    results = {(one.key.model, one.key.revision, one.key.step, _place(one)): one for one in board.results}
    rows = [row for row in board.rows if row.key and (row.base or row.key.step is not None)] if board.history else []
    rows.sort(key=lambda row: (_step(row), not row.base, row.date, row.title))
    found = (_curve(column, *_kept(rows, place), place, results) for place, column in enumerate(board.columns))
    return tuple(curve for curve in found if curve)


_Results = dict[tuple[str, str, int | None, tuple[str, ...]], Result]


def _place(result: Result) -> tuple[str, ...]:
    return *result.key.column, result.values.primary


def _step(row: Row) -> int:
    return 0 if row.base or row.key is None else row.key.step or 0


def _kept(rows: Sequence[Row], place: int) -> tuple[list[Row], int]:
    """The last of the rows of each step that have a number in a column, and how many others have."""
    there = [row for row in rows if (cell := row.cells[place]) and cell.metric.value is not None]
    latest = {_step(row): row for row in there}
    return list(latest.values()), len(there) - len(latest)


def _curve(column: Column, rows: Sequence[Row], older: int, place: int, results: _Results) -> Curve | None:
    points = tuple(
        Point(_step(row), row.title, cell.metric, row.base) for row in rows if (cell := row.cells[place]) is not None
    )
    checkpoints = [at for at, point in enumerate(points) if not point.base]
    if not checkpoints:
        return None
    numbers = [_numbers(row, column, results) for row in rows]
    marks, why = marked(numbers)
    if why == OTHER_DATA:
        return Curve(column, points, why=why, older=older)
    best = _highest(checkpoints, points, numbers)
    try:
        to_first, to_last = standing(numbers, best, 0), standing(numbers, best, len(numbers) - 1)
    except Vr1benchError:
        to_first, to_last = "", ""
    return Curve(column, points, best, marks.get(best) == "best", to_first, to_last, why, older)


def _highest(places: Sequence[int], points: Sequence[Point], numbers: Sequence[Numbers]) -> int:
    try:
        return max(places, key=lambda at: value(numbers[at]))
    except Vr1benchError:  # results of an older version, which have no AP_tie
        return max(places, key=lambda at: points[at].metric.value or 0.0)


def _numbers(row: Row, column: Column, results: _Results) -> Numbers:
    if row.key is None:
        return {}
    model = row.key.model, row.key.revision, row.key.step
    return {place[0]: results[*model, place] for place in column.places}


def interval(metric: Metric) -> tuple[float, float] | None:
    """A number's 95 % interval, fractions; None where it has none, or one that says nothing (see `measured`)."""
    if metric.low is None or metric.high is None or metric.sd is None or metric.sd < ROUNDING:
        return None
    return metric.low, metric.high


def told(curve: Curve) -> str:
    """A curve in one line: its best step, value and interval, and how surely it is better than the first and last."""
    parts = [_best(curve)]
    if len(curve.points) > 1 and curve.best is not None:
        if curve.why:
            parts.append("a result without replicates: nobody can tell how surely")
        else:
            parts.append(f"{'surely' if curve.sure else 'not surely'} the best of {len(curve.points)}")
            parts += [_against(curve, 0, curve.to_first), _against(curve, len(curve.points) - 1, curve.to_last)]
    if curve.older:
        parts.append(f"{curve.older} older number(s) of the same steps are left out")
    return f"{curve.column.title}: {'; '.join(parts)}."


def _best(curve: Curve) -> str:
    if curve.best is None:
        return "steps stand on other data or another number of samples: none is told to be best"
    best = curve.points[curve.best]
    ends = interval(best.metric)
    between = f", 95 % interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f}" if ends else ""
    only = "only" if len(curve.points) == 1 else "best at"
    return f"{only} step {best.step} with {measured(best.metric)}{between}"


def _against(curve: Curve, place: int, how: Standing) -> str:
    which, point = "first" if place == 0 else "last", curve.points[place]
    if place == curve.best:
        return f"it is the {which}"
    other = "the base model" if point.base else f"the {which}, step {point.step},"
    sure = f"surely {how}" if how else "not surely better"
    return f"{sure} than {other} with {measured(point.metric)}"
