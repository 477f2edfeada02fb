"""Papers' numbers on a leaderboard: in rows of their own where a column is made as they say, else apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vr1bench.board.table import Cell, Column, Place, Row
from vr1bench.published import Published
from vr1bench.store import Metric


def placed(
    papers: Sequence[Published], columns: Collection[Place], known: Collection[Place]
) -> tuple[list[Published], list[Published]]:
    """Papers' rows that share a column, and those of models that do not.

    Args:
        papers: Of the board's benchmarks and suites.
        columns: What stands on the board.
        known: What was run here; of it, what stands only in a mean has no column, and its papers' rows none either.
    """
    shared = [row for row in papers if _place(row) in columns]
    lines = {(row.column, row.name, row.place) for row in shared}  # such a line's AP50 would say nothing below
    left = set(known) - set(columns)
    apart = [row for row in papers if (row.column, row.name, row.place) not in lines and _place(row) not in left]
    return shared, apart


def _place(row: Published) -> Place:
    return *row.column, row.metric


def reported_rows(papers: Sequence[Published], columns: Sequence[Column]) -> list[Row]:
    """A row a model of a paper's table, in the papers' order."""
    lines: dict[str, dict[Place, Cell]] = {}
    for row in papers:
        title = f"{row.name} (reported: {row.place})"
        lines.setdefault(title, {})[_place(row)] = Cell(Metric(value=row.fraction), words=row.value)
    return [Row(title, None, tuple(cells.get(column.place) for column in columns)) for title, cells in lines.items()]
