"""Numbers that papers report, from `benchmarks/published.csv`. Nobody ran them here.

A row shares a column with own results only where benchmark, split, protocol, score rule and metric agree, and even
then nothing says that both were made alike: a protocol's `about` lists what it does not reproduce.

The file departs from the papers' words in two columns. `protocol` is "as reported" for what a paper cites from others;
"vlm-r1-direct" for VLM-R1's base and SFT models, which test_rec_baseline.py evaluates (step 0 of its RL is the base
model: equal to step 0 of SFT in all four sets); "vlm-r1 unreleased" for COCO_filtered, whose images nobody knows.
`scores` is "own" for Griffon, which scores a box by the root of its box and class probabilities (Griffon repository,
coor_utils.py:311-343), and empty where it is unknown or there are none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path

from pydantic import Field
from tabulate import tabulate

from vr1bench.benchmark import suite, suites
from vr1bench.definitions import SHIPPED, validated
from vr1bench.errors import Vr1benchError
from vr1bench.types import FrozenModel

OWN = "own: the model's own scores, not constant ones"


class Published(FrozenModel):
    """One number of a paper.

    Attributes:
        source: The paper.
        table: Where in it.
        model: As the paper calls it.
        variant: How it was trained or set; "" as it came.
        benchmark: A benchmark, or a suite, whose mean it is.
        split: "" where the paper names none.
        metric: The paper's measure, in our name for it; `GP@0.5` and `GR@0.5` are VLM-R1's greedy precision and recall,
            whose code is unreleased.
        value: In percent, with the paper's digits.
        protocol: A protocol's name, or words that are none: it then belongs to no column.
        scores: Where box scores come from: `constant`, the model's `own`, or "" for unknown or none.
    """

    source: str = Field(min_length=1)
    table: str = Field(min_length=1)
    model: str = Field(min_length=1)
    variant: str
    benchmark: str = Field(min_length=1)
    split: str
    metric: str = Field(min_length=1)
    value: str = Field(pattern=r"^\d{1,3}(\.\d+)?$")
    protocol: str = Field(min_length=1)
    scores: str

    @property
    def column(self) -> tuple[str, str, str, str]:
        """What must agree with an own result's, beside the metric, for both to stand in one column."""
        return self.benchmark, self.split, self.protocol, self.scores

    @property
    def fraction(self) -> float:
        """The value as own results have it, in 0..1."""
        return float(Decimal(self.value).scaleb(-2))

    @property
    def name(self) -> str:
        """Model and variant, for people."""
        return f"{self.model}, {self.variant}" if self.variant else self.model

    @property
    def place(self) -> str:
        """Paper and table, for people; the paper without its number, which `sources` gives."""
        return f"{self.source.partition(' (')[0]}, {self.table}"

    @property
    def how(self) -> str:
        """Protocol and score rule, for people; `OWN` says what "own" is."""
        return f"{self.protocol}, own" if self.scores == "own" else self.protocol


@cache
def published() -> tuple[Published, ...]:
    """All shipped rows, in the file's order."""
    return read_published(SHIPPED / "published.csv")


def read_published(path: Path) -> tuple[Published, ...]:
    """Rows of a CSV file whose header names the fields of `Published`.

    Raises:
        Vr1benchError: The file is missing, or a row lacks a field or has a bad one; names its line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            return tuple(validated(Published, row, f"{path}:{rows.line_num}") for row in rows)
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected a CSV file") from error


def about(names: Iterable[str], rows: Sequence[Published]) -> list[Published]:
    """The rows of benchmarks, and of suites that hold one of them."""
    asked = set(names)
    asked |= {name for name in suites() if asked & {one.name for one in suite(name)}}
    return [row for row in rows if row.benchmark in asked]


def sources(rows: Sequence[Published]) -> str:
    """The papers in full, once each."""
    return "; ".join(dict.fromkeys(row.source for row in rows))


def table(rows: Sequence[Published], form: str = "simple") -> str:
    """Rows of one benchmark and split: a line for a model of a paper's table, a column for each metric."""
    metrics = sorted({row.metric for row in rows})
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        lines.setdefault((row.name, row.how, row.place), {})[row.metric] = row.value
    body = [
        [name, *(values.get(metric, "") for metric in metrics), how, place]
        for (name, how, place), values in lines.items()
    ]
    align = ["left", *["right"] * len(metrics), "left", "left"]
    header = ["reported of", *metrics, "protocol", "source"]
    return tabulate(body, headers=header, tablefmt=form, disable_numparse=True, colalign=align if body else None)
