"""`scores.jsonl` of a training's output folder: a line for each attempt to score a checkpoint or the base model."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from vr1bench.errors import Vr1benchError
from vr1bench.types import FrozenModel

SCORES = "scores.jsonl"
STATE = "trainer_state.json"
"""What transformers' Trainer writes last (5.17, `Trainer._save_checkpoint`): with it a checkpoint is whole."""
CHECKPOINT = re.compile(r"(?:checkpoint|global_step)[-_](\d+)")
"""Names of checkpoint folders: those that `vr1bench.model.load` reads a step from."""


class Score(FrozenModel):
    """A benchmark's number in short; fractions, None where it is undefined.

    Attributes:
        primary: Name of the benchmark's primary metric.
        value: Its value.
        low: Lower end of its 95 % interval.
        high: Upper end.
        order_free: The metric that no order of images moves; often the primary itself.
        order_free_value: Its value: what checkpoints are compared by.
    """

    primary: str
    value: float | None
    low: float | None = None
    high: float | None = None
    order_free: str
    order_free_value: float | None


class Attempt(FrozenModel):
    """One attempt to score a checkpoint, or the model that a training began with.

    Attributes:
        step: Of the training; 0 for the base model.
        checkpoint: The folder's name; of the base model its own, as the recipe says it.
        status: `scored`; `failed`, which a later attempt may mend; `gone` where the checkpoint was deleted before or
            while it was scored, as `save_total_limit` does.
        message: Why it failed, or what is to be said; "" where it was scored.
        warning: That it is worse than the base model, or of the base model, scored late, which ones are; "" where
            nothing is.
        results: Files of the Results, relative to the folder of results; of a failed attempt those that are complete.
        metrics: By benchmark.
        seconds: Wall time.
        date: When it ended, ISO 8601 in UTC.
        saved: When the checkpoint was saved, likewise, to the microsecond: tells it from one of an earlier training of
            the same step in the same folder. Of the base model its revision.
        asked: What it was scored on, as options of `vr1bench run`: on something else it is scored anew.
    """

    step: int
    checkpoint: str
    status: Literal["scored", "failed", "gone"]
    message: str = ""
    warning: str = ""
    results: tuple[str, ...] = ()
    metrics: dict[str, Score] = Field(default_factory=dict[str, Score])
    seconds: float = 0.0
    date: str
    saved: str = ""
    asked: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """What the numbers are of: benchmark, split, protocol and score rule; only equal ones compare."""
        return tuple(sorted(str(Path(file).parent) for file in self.results))


def attempts(folder: Path) -> list[Attempt]:
    """All attempts of a training, oldest first; [] where nothing was tried. A torn last line is passed over.

    Args:
        folder: The training's output folder.

    Raises:
        Vr1benchError: The file is damaged or cannot be read.
    """
    path = folder / SCORES
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected what the scoring wrote") from error
    *lines, _ = data.split(b"\n")
    found: list[Attempt] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Attempt.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            raise Vr1benchError(
                f"{path} line {number} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}; remove that "
                "line: its checkpoint is then scored again, from the answers that are kept"
            ) from error
    return found


def standing(found: Sequence[Attempt]) -> list[Attempt]:
    """The last attempt at each checkpoint of the training as it is now, by step.

    Where a training began anew, or went on from an earlier step, it saves steps again: what was scored of that step
    and of later ones before belongs to weights that are no more.
    """
    kept: dict[int, Attempt] = {}
    for one in found:
        if one.step in kept and kept[one.step].saved != one.saved:
            kept = {step: other for step, other in kept.items() if step < one.step}
        kept[one.step] = one
    return [kept[step] for step in sorted(kept)]


def scored_alike(found: Sequence[Attempt], asked: str) -> list[Attempt]:
    """Those of a training that are scored on the same, by step; the base model, where it is, comes first.

    Args:
        found: All attempts, oldest first.
        asked: See `Attempt`: what is scored on other benchmarks neither counts nor hides anything.
    """
    return [one for one in standing([one for one in found if one.asked == asked]) if one.status == "scored"]


def append(folder: Path, attempt: Attempt) -> None:
    """Adds a line, whole or not at all; one process at a time.

    Raises:
        OSError: It cannot be written; what stood there stays.
    """
    file = os.open(folder / SCORES, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        data = os.pread(file, os.fstat(file).st_size, 0)
        end = data.rfind(b"\n") + 1  # a machine that stopped may have left half a line
        try:
            rest = (attempt.model_dump_json() + "\n").encode()
            os.lseek(file, end, os.SEEK_SET)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.ftruncate(file, os.lseek(file, 0, os.SEEK_CUR))
            os.fsync(file)
        except OSError:
            os.ftruncate(file, end)
            raise
    finally:
        os.close(file)


def step_of(folder: Path) -> int | None:
    """The step that a checkpoint folder's name says; None of any other folder."""
    found = CHECKPOINT.fullmatch(folder.name)
    return int(found[1]) if found else None


def saved(checkpoint: Path) -> str:
    """When a checkpoint was saved, ISO 8601 in UTC; "" where it is not whole, or gone."""
    try:
        seconds = (checkpoint / STATE).stat().st_mtime
    except OSError:
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="microseconds")
