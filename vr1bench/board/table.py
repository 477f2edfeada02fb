"""The leaderboard as values: rows, columns and cells, of which each format makes its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vr1bench.published import Published
from vr1bench.store import Key, Metric, Result

Place = tuple[str, str, str, str, str]
"""What must agree for two numbers to stand in one column: benchmark, split, protocol, score rule, primary metric."""
Mark = Literal["", "best", "second"]


@dataclass(frozen=True, slots=True)
class Cell:
    """What a row has in a column.

    Attributes:
        metric: The number, with its interval; undefined where there is none.
        tie: AP_tie beside AP, a fraction; None where there is none.
        n: Samples; 0 where nobody knows.
        mark: Whether it is surely the column's best or second best.
        words: What people read instead of the number: a paper's digits, or how much of a suite there is.
    """

    metric: Metric
    tie: float | None = None
    n: int = 0
    mark: Mark = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One benchmark, or the mean over several, under one protocol and score rule.

    Attributes:
        name: The benchmark, or the suite.
        split: "" for the mean over benchmarks of different splits.
        metric: As `benchmarks/published.csv` names it: `AP`, `mean AP`, `overall NMS-AP`.
        protocol: Its name.
        scores: Where box scores come from.
        of: What a mean is one of, `mean of 13`; "" for a benchmark.
        oracle: Whether the protocol tells the model which classes the gold holds.
        n: Samples, where all rows agree.
        note: Number of the footnote; 0 for none.
        places: What its numbers are made of: one, or a mean's several.
    """

    name: str
    split: str
    metric: str
    protocol: str
    scores: str
    of: str = ""
    oracle: bool = False
    n: int | None = None
    note: int = 0
    places: tuple[Place, ...] = ()

    @property
    def column(self) -> tuple[str, str, str, str]:
        """What a paper's row must agree with, beside the metric, to stand here."""
        return self.name, self.split, self.protocol, self.scores

    @property
    def place(self) -> Place:
        """The same with the metric."""
        return *self.column, self.metric

    @property
    def heading(self) -> tuple[str, ...]:
        """The column's name in lines: what, how measured, how asked."""
        metric = self.metric.rpartition(" ")[2] if self.of else self.metric
        measure = ", ".join(part for part in (self.of, self.split, metric) if part)
        told = " (oracle)" if self.oracle else ""
        asked = f"{self.protocol}{told}, {self.scores}" + (f", n={self.n}" if self.n is not None else "")
        return self.name, measure, asked

    @property
    def title(self) -> str:
        """The heading in one line."""
        return one_line(self.heading)


def one_line(heading: Sequence[str]) -> str:
    """A heading's lines as one: `coco val2017, AP, standard, constant`."""
    return f"{heading[0]} {', '.join(heading[1:])}".strip()


@dataclass(frozen=True, slots=True)
class Row:
    """One model at one training step, or one line of a paper's table.

    Attributes:
        title: The model as people see it.
        key: One of its results' keys, for model, revision and step; None for a paper's.
        cells: One a column; None where there is nothing.
        date: Of its latest result, ISO 8601; "" for a paper's.
        commit: That made its latest result, short, with `+` for a changed tree.
        base: It is no part of the training that the board shows the history of: that began with it.
    """

    title: str
    key: Key | None
    cells: tuple[Cell | None, ...]
    date: str = ""
    commit: str = ""
    base: bool = False

    @property
    def reported(self) -> bool:
        """It is a paper's: nobody ran it here."""
        return self.key is None


@dataclass(frozen=True, slots=True)
class Board:
    """A leaderboard.

    Attributes:
        columns: From left to right.
        rows: From top to bottom; those of papers last.
        footnotes: Of columns; the first has number 1.
        remarks: What was left out or decided, in sentences.
        papers: What papers report of the same benchmarks, all of it.
        shared: Papers' rows that have a column.
        apart: Papers' rows that have none.
        results: What was run here and belongs to the board, each key once, sorted.
        by: What a row of the picture is: a model, or a benchmark.
        history: The model or training that it shows, over its revisions and steps; "" for all models.
    """

    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    footnotes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    papers: tuple[Published, ...] = ()
    shared: tuple[Published, ...] = ()
    apart: tuple[Published, ...] = ()
    results: tuple[Result, ...] = ()
    by: str = "model"
    history: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What of the results is shown, and how.

    Attributes:
        suite: A suite or benchmark: its mean and all its members, nothing else; "" for all results.
        sort: `model`, `date` (latest first), or a part of one column's heading (highest first).
        by: What a row is: `model` or `benchmark`.
        filters: `KEY=PATTERN`; see `vr1bench.board.selection.FILTERS`.
        history: A model, over its revisions and steps, or the folder of a training, whose base model comes first; ""
            for all models.
    """

    suite: str = ""
    sort: str = ""
    by: str = "model"
    filters: tuple[str, ...] = ()
    history: str = ""
