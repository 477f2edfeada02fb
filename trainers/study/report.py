"""The report: tables gathered from the runs, then pages and figures drawn from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vr1bench.board import leaderboard, markdown
from vr1bench.errors import Vr1benchError
from vr1bench.store import read_results, write_bytes, write_text
from vr1bench.trainers.study import attempt_log, evidence, tables, words
from vr1bench.trainers.study.answers import Answer, Contrast, Evidence, answers, contrasts
from vr1bench.trainers.study.choosing import tried
from vr1bench.trainers.study.evidence import Step, Value
from vr1bench.trainers.study.falls import Fall, falls
from vr1bench.trainers.study.figures import FIGURES, Tables
from vr1bench.trainers.study.plan import RESULTS

LOG = "runs.csv"
TABLES: dict[str, type[Any]] = {
    "values.csv": Value,
    "rewards.csv": Step,
    "answers.csv": Answer,
    "differences.csv": Contrast,
    "falls.csv": Fall,
}
"""File to what its rows are."""


@dataclass(frozen=True)
class Written:
    """What a report wrote.

    Attributes:
        files: Their paths.
        gathered: Whether there were runs; otherwise everything was drawn from the tables that were there.
    """

    files: Sequence[Path]
    gathered: bool


def write(docs: Path) -> Written:
    """Writes tables, figures and pages into a folder.

    Args:
        docs: The folder, such as `docs/study`.

    Raises:
        Vr1benchError: There are neither runs nor tables, or something that was written is damaged.
    """
    gathered = RESULTS.is_dir()
    files = gather(docs) if gathered else []
    if not gathered and not (docs / "values.csv").exists():
        raise Vr1benchError(
            f"neither {RESULTS} nor {docs / 'values.csv'} is there; expected runs (`python -m vr1bench.trainers.study "
            "run`), or the tables of earlier ones"
        )
    return Written([*files, *draw(docs)], gathered)


def gather(docs: Path) -> list[Path]:
    """Reads the runs and writes the tables, and the leaderboard of all checkpoints; gives the files.

    Raises:
        Vr1benchError: A file of the runs is damaged, or Results that are compared were not made alike.
    """
    found = Evidence(evidence.checkpoints(), evidence.steps())
    numbers = evidence.values(found.checkpoints)
    rows = (numbers, found.steps, answers(found), contrasts(found), falls(found.checkpoints, found.steps))
    for (name, kind), these in zip(TABLES.items(), rows, strict=True):
        tables.write(docs / name, kind, these)
    board = docs / "LEADERBOARD.md"
    write_text(board, markdown(leaderboard(result for _, result in read_results(RESULTS))))
    return [*(docs / name for name in TABLES), board]


def draw(docs: Path) -> list[Path]:
    """Draws figures and writes pages from the tables; gives the files.

    Raises:
        Vr1benchError: A table is damaged, or matplotlib is missing.
    """
    values, steps = tables.read(docs / "values.csv", Value), tables.read(docs / "rewards.csv", Step)
    drawn = Tables(values, steps, tables.read(docs / "differences.csv", Contrast))
    for name, figure in FIGURES.items():
        write_bytes(docs / name, figure(drawn))
    page, runs = docs / "README.md", docs / "runs.md"
    blocks = {
        "answers": words.answers_table(tables.read(docs / "answers.csv", Answer)),
        "scores": words.scores_table(values),
        "rates": words.rates_table(tried(values)),
        "falls": words.falls_table(tables.read(docs / "falls.csv", Fall)),
    }
    write_text(page, words.filled(page.read_text() if page.exists() else words.README, blocks))
    before = runs.read_text() if runs.exists() else ""
    write_text(runs, words.runs_page(attempt_log.read(docs / LOG), before))
    return [*(docs / name for name in FIGURES), page, runs]
