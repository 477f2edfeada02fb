"""A leaderboard as lines of texts and marks, either way round, with the words above and below it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vr1bench import published as papers
from vr1bench.board.table import Board, Cell, Column, Mark, Row
from vr1bench.board.text import measured, percent
from vr1bench.published import Published
from vr1bench.store import Metric


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above a column or before a line.

    Attributes:
        lines: The name, then how it was made.
        note: Number of the footnote; 0 for none.
        reported: It is a paper's.
    """

    lines: tuple[str, ...]
    note: int = 0
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in a place: the text, and by what it is sorted; None where it has no order."""

    text: str = ""
    value: float | str | None = None
    mark: Mark = ""
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """Headings and lines of equal length; the first heading stands above those of the lines."""

    head: tuple[Heading, ...]
    lines: tuple[tuple[Heading, tuple[Entry, ...]], ...]


def grid(board: Board) -> Grid:
    """The board as its view asked for: a line a model, or a line a benchmark."""
    columns = [Heading(column.heading, column.note) for column in board.columns]
    rows = [Heading((row.title,), reported=row.reported) for row in board.rows]
    cells = [[_entry(cell, column, row) for cell, column in zip(row.cells, board.columns, strict=True)]
             for row in board.rows]  # fmt: skip
    dates = [Entry(row.date[:10], row.date or None, reported=row.reported) for row in board.rows]
    commits = [Entry(row.commit, row.commit or None, reported=row.reported) for row in board.rows]
    date, commit = Heading(("date",)), Heading(("commit",))
    if board.by == "benchmark":
        # Dates below numbers have no order among them.
        below = [[replace(entry, value=None) for entry in line] for line in (dates, commits)]
        body = map(tuple, [*zip(*cells, strict=True), *below])
        lines = zip([*columns, date, commit], body, strict=True) if cells else ()
        return Grid((Heading(("benchmark",)), *rows), tuple(lines))
    lines = ((head, (*line, *rest)) for head, line, *rest in zip(rows, cells, dates, commits, strict=True))
    return Grid((Heading(("model",)), *columns, date, commit), tuple(lines))


def _entry(cell: Cell | None, column: Column, row: Row) -> Entry:
    if cell is None:
        return Entry(reported=row.reported)
    return Entry(_text(cell, column), cell.metric.value, cell.mark, row.reported)


def _text(cell: Cell, column: Column) -> str:
    """`94.8 ±1.2 (94.1)`; with the samples where the column's heading has none."""
    if cell.words:
        return cell.words
    tie = "" if cell.tie is None else f" ({percent(Metric(value=cell.tie))})"
    return f"{measured(cell.metric)}{tie}" + (f", n={cell.n}" if column.n is None else "")


def caption(board: Board) -> list[str]:
    """What the numbers are, in sentences; commands stand between backticks."""
    one, other = ("row", "Columns") if board.by == "benchmark" else ("column", "Rows")
    parts = [
        "Values in percent, ± half of the 95 % interval over resampled images; AP_tie, which the order of images and "
        f"boxes cannot move, in brackets behind AP; n samples. A {one} is one benchmark under one protocol and score "
        f"rule: numbers of two {one}s do not compare."
    ]
    if any(column.of for column in board.columns):
        parts.append(
            "A mean over a suite stands only where a model has all of it under one protocol; its interval takes the "
            "benchmarks as independent; where members are missing, it says how many there are."
        )
    if sum(not row.reported for row in board.rows) > 1:
        parts.append(
            f"Bold is the best of its {one}, underlined the second best, where each is surely better than all that "
            f"follow: paired over the images, on AP_tie for AP, two-sided p < .05 after Holm over the {one}."
        )
    parts += board.remarks
    if board.shared:
        parts.append(
            f"{other} marked as reported are copied from papers and were not run here: they name the same benchmark, "
            "split, protocol and metric, yet are not known to be made alike, and are never marked; "
            "`vr1bench list protocols` says what each protocol does not reproduce. Reported by "
            f"{papers.sources(board.shared)}."
        )
    return parts


APART = "Reported, not comparable with the above"


def apart(board: Board) -> str:
    """What the papers' rows without a column are."""
    return (
        "Copied from papers, in percent; not run here. They do not compare with the numbers above: made by another "
        "protocol or score rule, by another metric, as a mean over a suite, or (as reported) in a way that the paper "
        f"does not settle; {papers.OWN}. From {papers.sources(board.apart)}."
    )


def places_apart(board: Board) -> dict[str, list[Published]]:
    """Papers' rows without a column, by benchmark and split."""
    found: dict[str, list[Published]] = {}
    for row in board.apart:
        found.setdefault(f"{row.benchmark} {row.split}".strip(), []).append(row)
    return found
