"""One attempt to score a checkpoint, or the base model as step 0: in a process of its own, and noted in `scores.jsonl`.

Nothing here needs torch.
"""

from __future__ import annotations

import datetime
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from vr1bench import model as models
from vr1bench.errors import Vr1benchError
from vr1bench.model import TRAINING
from vr1bench.paired import order_free
from vr1bench.store import Result, read_result, slug
from vr1bench.trainers import best, falling, scorer
from vr1bench.trainers.attempts import Attempt, Score, append, saved, step_of
from vr1bench.trainers.saying import say
from vr1bench.trainers.scoring import Scoring
from vr1bench.types import Training

LOGS = "scoring"
_DELETED = "deleted before it was scored, as save_total_limit does: keep more checkpoints, or score faster"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is scored.

    Attributes:
        name: As it is noted: a checkpoint's folder, or the base model as the recipe names it.
        step: Of the training; 0 for the base model.
        saved: When the checkpoint was saved, or the base model's revision.
        folder: The training's output folder.
        checkpoint: The checkpoint's own; None for the base model.
    """

    name: str
    step: int
    saved: str
    folder: Path
    checkpoint: Path | None

    @property
    def model(self) -> str:
        """As `vr1bench run --model` takes it, and as its row is called.

        A checkpoint's is its path, from the current folder on where it lies below that. The path keeps a folder before
        the checkpoint's own name: by it `vr1bench board --history` knows a training.
        """
        if self.checkpoint is None:
            return self.name
        path = Path(os.path.abspath(self.checkpoint))  # noqa: PTH100  links stay: they are what its user calls it
        if not path.is_relative_to(Path.cwd()):
            return str(self.checkpoint)
        name = str(path.relative_to(Path.cwd()))
        return name if "/" in name else f"./{name}"

    @property
    def log(self) -> Path:
        """Where its scoring prints."""
        return self.folder / LOGS / f"{self.name if self.checkpoint else 'base'}.log"


def checkpoint(path: Path) -> Subject:
    """A checkpoint by its folder."""
    return Subject(path.name, step_of(path) or 0, saved(path), path.parent, path)


def base(folder: Path) -> Subject | None:
    """The model that a training began with; None where `vr1bench train` did not begin it.

    Args:
        folder: The training's output folder.
    """
    try:
        told = Training.model_validate_json((folder / TRAINING).read_bytes())
    except (OSError, ValidationError):
        return None
    return Subject(told.base_model, 0, told.base_revision, folder, None)


def score(subject: Subject, scoring: Scoring) -> Attempt:
    """Scores something in a process of its own, and notes what came of it in `scores.jsonl`.

    A scoring that fails raises nothing: it is printed on stderr, and noted. The caller holds the folder
    (`vr1bench.trainers.checkpoints.holding`).

    Args:
        subject: What.
        scoring: How.

    Raises:
        InterruptedScoring: See `vr1bench.trainers.scorer.run`; nothing is noted.
        KeyboardInterrupt: Ctrl-C; nothing is noted.
    """
    started, clock, before = datetime.datetime.now(datetime.UTC), time.monotonic(), _files(subject)
    results: dict[str, tuple[str, Result]] = {}
    try:
        if scoring.keep_best:
            _hold(subject)
        _check_base(subject)
        message = _scored(subject, scoring)
        results = _results(subject, scoring, started)
        missing = [name for name in scoring.protocols if name not in results]
        message = message or (f"no result of {', '.join(missing)} came of it" if missing else "")
    except Exception as error:  # whatever can happen here: it may not end a training
        message = f"{error}" if isinstance(error, Vr1benchError) else f"{type(error).__name__}: {error}"
    if message and subject.checkpoint is None:
        message += " (`base = false` of [score], or --no-base, leaves the base model out)"
    status: Literal["scored", "failed", "gone"] = "scored"
    if message:  # a file that was there and is not: the checkpoint was being deleted, whatever it failed with
        status = "failed" if before is None or (before and before <= (_files(subject) or set())) else "gone"
    attempt = Attempt(
        step=subject.step,
        checkpoint=subject.name,
        status=status,
        message=_DELETED if status == "gone" else message,
        results=tuple(file for file, _ in results.values()),
        metrics={name: _score(result) for name, (_, result) in results.items()},
        seconds=round(time.monotonic() - clock, 3),
        date=_now(),
        saved=subject.saved,
        asked=" ".join(scoring.asked),
    )
    attempt = _judged(attempt, subject.folder, Path(scoring.output))
    _note(subject.folder, attempt)
    if scoring.keep_best:
        keep_best(subject.folder)
    return attempt


def pass_over(subject: Subject, scoring: Scoring) -> None:
    """Notes that a checkpoint is gone without having been scored."""
    asked = " ".join(scoring.asked)
    _note(
        subject.folder,
        Attempt(
            step=subject.step, checkpoint=subject.name, status="gone", message=_DELETED, date=_now(),
            saved=subject.saved, asked=asked,
        ),
    )  # fmt: skip


def keep_best(folder: Path) -> None:
    """Brings `best/` up to date; what goes wrong is printed, and raises nothing."""
    try:
        one = best.keep(folder)
        best.release(folder)
    except (Vr1benchError, OSError) as error:
        say(f"WARNING: the best checkpoint is not kept: {error}")
        return
    if one:
        value = f"{one.metric} {100 * one.value:.1f}"
        say(f"{one.checkpoint} is the best checkpoint so far ({value}): kept as {folder / best.BEST}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _note(folder: Path, attempt: Attempt) -> None:
    """Writes an attempt down, and says it."""
    if attempt.status == "scored":
        numbers = ", ".join(f"{name} {one.primary} {_percent(one.value)}" for name, one in attempt.metrics.items())
        say(f"{attempt.checkpoint} scored in {attempt.seconds:.0f} s: {numbers}")
        if attempt.warning:
            say(f"WARNING: {attempt.warning}")
    elif attempt.status == "gone":
        say(f"WARNING: {attempt.checkpoint} passed over: {attempt.message}")
    else:
        say(f"WARNING: {attempt.checkpoint} is NOT scored: {attempt.message}")
    try:
        append(folder, attempt)
    except OSError as error:
        say(f"WARNING: cannot write {folder}/scores.jsonl: {error.strerror}; this attempt is not noted")


def _files(subject: Subject) -> set[str] | None:
    """What lies in a checkpoint; None for the base model, which no rotation deletes."""
    if subject.checkpoint is None:
        return None
    try:
        return {path.name for path in subject.checkpoint.iterdir()}
    except OSError:
        return set()


def _judged(attempt: Attempt, folder: Path, output: Path) -> Attempt:
    """The attempt, with a warning where its checkpoint is surely worse than the base model."""
    if attempt.status != "scored":
        return attempt
    try:
        return attempt.model_copy(update={"warning": falling.fallen(folder, output, attempt)})
    except Exception as error:  # whatever lies there: it may not end a training
        why = f"{error}" if isinstance(error, Vr1benchError) else f"{type(error).__name__}: {error}"
        say(f"WARNING: {attempt.checkpoint} is not compared with the base model: {why}")
        return attempt


def _check_base(subject: Subject) -> None:
    """Refuses a base model that is no longer what the training began with.

    Raises:
        Vr1benchError: It has changed, or another one, or none, is called so where this runs.
    """
    if subject.checkpoint is None and (now := models.load(subject.name).revision) != subject.saved:
        raise Vr1benchError(
            f"{subject.name} is revision {now[:8]} here, and the training began with {subject.saved[:8]}; score it "
            "where the training was started, or bring that revision back"
        )


def _hold(subject: Subject) -> None:
    if subject.checkpoint is None:
        return
    try:
        best.hold(subject.checkpoint)
    except OSError as error:
        say(f"WARNING: {subject.name} cannot be held, and not be kept if it is deleted meanwhile: {error}")


def _scored(subject: Subject, scoring: Scoring) -> str:
    """Runs the scoring; "" where it went well, else why it did not."""
    arguments = ["run", f"--model={subject.model}", *scoring.options, "--quiet"]
    code = scorer.run(arguments, subject.log, scoring.timeout_s)
    if code == 0:
        return ""
    if code is None:
        return f"it took longer than {scoring.timeout_s:g} s and was ended; more in {subject.log}"
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{how}: {_last_words(subject.log)}; more in {subject.log}"


def _last_words(log: Path) -> str:
    """What a command said last: its error, or its last line."""
    text = "\n" + log.read_bytes()[-65536:].decode(errors="replace").strip()
    said = text.rpartition("\nerror: " if "\nerror: " in text else "\n")[2]
    return " ".join(said.split())[:1000] or "it said nothing"


def _results(subject: Subject, scoring: Scoring, since: datetime.datetime) -> dict[str, tuple[str, Result]]:
    """What the scoring has just written: benchmark to file, relative to the folder of results, and Result."""
    output, name, found = Path(scoring.output), subject.model, dict[str, tuple[str, Result]]()
    start = since.isoformat(timespec="seconds")
    for benchmark, rule in scoring.protocols.items():
        for file in (output / benchmark).glob(f"*/{slug(name, '*', None)}.json"):
            result = read_result(file)
            key = result.key
            if (key.model, key.benchmark, key.protocol) == (name, benchmark, rule) and result.run.date >= start:
                found[benchmark] = (str(file.relative_to(output)), result)
    return found


def _score(result: Result) -> Score:
    primary, companion = result.primary, order_free(result)
    return Score(
        primary=result.values.primary,
        value=primary.value,
        low=primary.low,
        high=primary.high,
        order_free=companion,
        order_free_value=result.values.metrics[companion].value,
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
