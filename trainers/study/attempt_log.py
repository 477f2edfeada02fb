"""The log of all attempts (docs/study/runs.csv): a line each, failed ones too, from which machine time is summed."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vr1bench.trainers.study import tables

RUNNING = "running"
DONE = "done"
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Line:
    """One attempt.

    Attributes:
        recipe: Its name as `vr1bench train` takes it; of what is no training, what was done.
        recipe_sha256: Of everything in it that changes the training; "" where there is none.
        commit: Of the source tree, with `+` where it had changes.
        start: ISO 8601 in UTC.
        minutes: Wall time.
        outcome: `done`, `failed: why`, `interrupted`; `running` until it ends.
    """

    recipe: str
    recipe_sha256: str
    commit: str
    start: str
    minutes: float
    outcome: str

    @property
    def end(self) -> datetime.datetime:
        """When it ended."""
        return datetime.datetime.fromisoformat(self.start) + datetime.timedelta(minutes=self.minutes)


def read(path: Path) -> list[Line]:
    """All lines, oldest first; [] where there is no file.

    Raises:
        Vr1benchError: It is no such log.
    """
    return tables.read(path, Line)


def write(path: Path, lines: Sequence[Line]) -> None:
    """Writes the log, whole or not at all.

    Raises:
        Vr1benchError: It cannot be written.
    """
    tables.write(path, Line, lines)


def begin(path: Path, line: Line) -> None:
    """Adds an attempt that runs."""
    write(path, [*read(path), line])


def end(path: Path, line: Line) -> None:
    """Writes how an attempt ended: over its line that says it runs."""
    kept = [one for one in read(path) if (one.recipe, one.start, one.outcome) != (line.recipe, line.start, RUNNING)]
    write(path, sorted([*kept, line], key=lambda one: one.start))


def close(path: Path, ended: dict[str, datetime.datetime]) -> list[Line]:
    """Ends the attempts that a runner which was killed left open; gives them.

    Args:
        path: The log.
        ended: When each recipe was last heard of; without one it counts no time.
    """
    lines, closed = read(path), list[Line]()
    for place, line in enumerate(lines):
        if line.outcome == RUNNING:
            start = datetime.datetime.fromisoformat(line.start)
            spent = max(0.0, (ended.get(line.recipe, start) - start).total_seconds() / 60)
            lines[place] = replace(line, minutes=round(spent, 2), outcome=INTERRUPTED)
            closed.append(lines[place])
    if closed:
        write(path, lines)
    return closed


def total_minutes(lines: Sequence[Line]) -> tuple[float, float]:
    """Machine time: the minutes of all attempts summed, and those in which at least one ran."""
    summed, covered, until = 0.0, 0.0, datetime.datetime.min.replace(tzinfo=datetime.UTC)
    for line in sorted(lines, key=lambda one: one.start):
        start = max(until, datetime.datetime.fromisoformat(line.start))
        summed += line.minutes
        covered += max(0.0, (line.end - start).total_seconds() / 60)
        until = max(until, line.end)
    return summed, covered
