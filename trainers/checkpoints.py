"""Checkpoints as rows of the leaderboard: which ones wait, scoring one, and what came of it.

One mechanism, three ways to run it: `inline`, by the trainer between its steps; `after`, by the trainer at its end
(both `vr1bench.trainers.callback`); `queue`, by a process of its own beside any trainer that writes Hugging Face
checkpoints (`vr1bench.trainers.watch`). Each takes every checkpoint once, whole, in order.

A training's output folder gains `scores.jsonl`, a line an attempt; `scoring/checkpoint-N.log`, what the scoring
printed; and `best/`, where that is kept (`vr1bench.trainers.best`). Nothing here needs torch.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vr1bench.errors import Vr1benchError
from vr1bench.lock import held
from vr1bench.paired import order_free
from vr1bench.store import Result, read_result, slug
from vr1bench.trainers import best, scorer
from vr1bench.trainers.attempts import STATE, Attempt, Score, append, attempts, saved, step_of
from vr1bench.trainers.scoring import Scoring

TRIES = 3
"""How often a checkpoint whose scoring fails is tried, over all starts: enough for a machine that was busy, and few
where every one will fail."""
LOGS = "scoring"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders of a training, whole or not, by step; [] where there is none or no such folder."""
    if not folder.is_dir():
        return []
    found = [(step, path) for path in folder.iterdir() if (step := step_of(path)) is not None and path.is_dir()]
    return [path for _, path in sorted(found)]


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is written to the end: its `trainer_state.json` is."""
    try:
        json.loads((checkpoint / STATE).read_bytes())
    except (OSError, ValueError):
        return False
    return True


def score_checkpoint(checkpoint: Path, scoring: Scoring) -> Attempt:
    """Scores a checkpoint in a process of its own, and notes what came of it in `scores.jsonl`.

    A scoring that fails raises nothing: it is printed on stderr, and noted. The caller holds the folder (`holding`).

    Args:
        checkpoint: Its folder, in the training's output folder.
        scoring: How.

    Raises:
        InterruptedScoring: See `vr1bench.trainers.scorer.run`; nothing is noted.
        KeyboardInterrupt: Ctrl-C; nothing is noted.
    """
    folder, started = checkpoint.parent, datetime.datetime.now(datetime.UTC)
    clock, when, before = time.monotonic(), saved(checkpoint), _names(checkpoint)
    results: dict[str, tuple[str, Result]] = {}
    try:
        if scoring.keep_best:
            _hold(checkpoint)
        message = _scored(checkpoint, scoring)
        results = _results(checkpoint, scoring, started)
        missing = [name for name in scoring.protocols if name not in results]
        message = message or (f"no result of {', '.join(missing)} came of it" if missing else "")
    except Exception as error:  # whatever can happen here: it may not end a training
        message = f"{error}" if isinstance(error, Vr1benchError) else f"{type(error).__name__}: {error}"
    status: Literal["scored", "failed", "gone"] = "scored"
    if message:  # a file that was there and is not: the checkpoint was being deleted, whatever it failed with
        status = "failed" if before and before <= _names(checkpoint) else "gone"
    attempt = Attempt(
        step=step_of(checkpoint) or 0,
        checkpoint=checkpoint.name,
        status=status,
        message=_DELETED if status == "gone" else message,
        results=tuple(file for file, _ in results.values()),
        metrics={name: _score(result) for name, (_, result) in results.items()},
        seconds=round(time.monotonic() - clock, 3),
        date=_now(),
        saved=when,
        asked=" ".join(scoring.asked),
    )
    _note(folder, attempt)
    if scoring.keep_best:
        keep_best(folder)
    return attempt


def keep_best(folder: Path) -> None:
    """Brings `best/` up to date; what goes wrong is printed, and raises nothing."""
    try:
        one = best.keep(folder)
        best.release(folder)
    except (Vr1benchError, OSError) as error:
        say(f"WARNING: the best checkpoint is not kept: {error}")
        return
    if one:
        say(f"{one.checkpoint} is the best so far ({one.metric} {100 * one.value:.1f}): kept as {folder / best.BEST}")


@dataclass
class Backlog:
    """The checkpoints of a training that wait to be scored, each tried once by this process.

    Attributes:
        folder: The training's output folder.
        scoring: How they are scored.
        tries: A checkpoint that failed so often, over all processes, is passed over.
    """

    folder: Path
    scoring: Scoring
    tries: int = TRIES
    _waiting: dict[str, str] = field(default_factory=dict[str, str], init=False)
    _tried: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]], init=False)

    def score_next(self) -> Attempt | None:
        """Scores the whole checkpoint of the lowest step that waits; None where none does.

        One that waited and is gone is said, noted and passed over.

        Raises:
            Vr1benchError: `scores.jsonl` is damaged.
            KeyboardInterrupt: See `score_checkpoint`.
        """
        there = self.look()
        for name in [name for name in self._waiting if name not in there]:
            self._pass_over(name, self._waiting.pop(name))
        if not there:
            return None
        name, checkpoint = next(iter(there.items()))
        self._tried.add((name, self._waiting.pop(name)))
        say(f"scoring {name}")
        return score_checkpoint(checkpoint, self.scoring)

    def score_all(self) -> list[Attempt]:
        """Scores all that wait, in order; see `score_next`."""
        if self.scoring.keep_best:
            keep_best(self.folder)
        done: list[Attempt] = []
        while attempt := self.score_next():
            done.append(attempt)
        return done

    def look(self) -> dict[str, Path]:
        """Those that wait, by name, lowest step first: from now on it is said where one goes without being scored.

        Raises:
            Vr1benchError: `scores.jsonl` is damaged.
        """
        asked = " ".join(self.scoring.asked)
        noted = [(one.checkpoint, one.saved, one.status) for one in attempts(self.folder) if one.asked == asked]
        there: dict[str, Path] = {}
        for path in checkpoints(self.folder):
            this = (path.name, saved(path))
            failures = noted.count((*this, "failed"))
            if this in self._tried or (*this, "scored") in noted or not is_whole(path):
                continue
            if failures >= self.tries:
                say(
                    f"WARNING: {path.name} failed {failures} times; passed over (--tries {failures + 1} tries it again)"
                )
                self._tried.add(this)
                continue
            there[path.name] = path
            self._waiting[path.name] = this[1]
        return there

    def unscored(self) -> list[str]:
        """The checkpoints that stand and have no score, by step."""
        asked = " ".join(self.scoring.asked)
        try:
            scored = {
                (one.checkpoint, one.saved)
                for one in attempts(self.folder)
                if one.status == "scored" and one.asked == asked
            }
        except Vr1benchError:
            return []
        return [path.name for path in checkpoints(self.folder) if (path.name, saved(path)) not in scored]

    def _pass_over(self, name: str, when: str) -> None:
        _note(
            self.folder,
            Attempt(
                step=step_of(Path(name)) or 0, checkpoint=name, status="gone", message=_DELETED, date=_now(),
                saved=when, asked=" ".join(self.scoring.asked),
            ),
        )  # fmt: skip


@contextmanager
def holding(folder: Path) -> Generator[None]:
    """One process at a time scores the checkpoints of a training.

    Raises:
        Vr1benchError: Another one does.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(held(folder))
        except Vr1benchError:
            raise Vr1benchError(
                f"another process scores the checkpoints of {folder} (a `vr1bench train watch`, or a trainer); each is "
                "scored once: leave it to that one, or end it"
            ) from None
        yield


def say(text: str) -> None:
    """Tells the person at the terminal, once for all processes of a training; never where a program reads."""
    if os.environ.get("RANK", "0") == "0":
        print(f"vr1bench: {text}", file=sys.stderr, flush=True)


_DELETED = "deleted before it was scored, as save_total_limit does: keep more checkpoints, or score faster"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _names(checkpoint: Path) -> set[str]:
    try:
        return {path.name for path in checkpoint.iterdir()}
    except OSError:
        return set()


def _model_name(checkpoint: Path) -> str:
    """The checkpoint as rows are called: its path, from the current folder on where it lies below that.

    The path keeps a folder before the checkpoint's own name: by it `vr1bench board --history` knows a training.
    """
    path = Path(os.path.abspath(checkpoint))  # noqa: PTH100  links stay: they are what its user calls it
    if not path.is_relative_to(Path.cwd()):
        return str(checkpoint)
    name = str(path.relative_to(Path.cwd()))
    return name if "/" in name else f"./{name}"


def _hold(checkpoint: Path) -> None:
    try:
        best.hold(checkpoint)
    except OSError as error:
        say(f"WARNING: {checkpoint.name} cannot be held, and not be kept if it is deleted meanwhile: {error}")


def _scored(checkpoint: Path, scoring: Scoring) -> str:
    """Runs the scoring; "" where it went well, else why it did not."""
    log = checkpoint.parent / LOGS / f"{checkpoint.name}.log"
    arguments = ["run", f"--model={_model_name(checkpoint)}", *scoring.options, "--quiet"]
    code = scorer.run(arguments, log, scoring.timeout_s)
    if code == 0:
        return ""
    if code is None:
        return f"it took longer than {scoring.timeout_s:g} s and was ended; more in {log}"
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{how}: {_last_words(log)}; more in {log}"


def _last_words(log: Path) -> str:
    """What a command said last: its error, or its last line."""
    text = "\n" + log.read_bytes()[-65536:].decode(errors="replace").strip()
    said = text.rpartition("\nerror: " if "\nerror: " in text else "\n")[2]
    return " ".join(said.split())[:1000] or "it said nothing"


def _results(checkpoint: Path, scoring: Scoring, since: datetime.datetime) -> dict[str, tuple[str, Result]]:
    """What the scoring has just written: benchmark to file, relative to the folder of results, and Result."""
    output, name, found = Path(scoring.output), _model_name(checkpoint), dict[str, tuple[str, Result]]()
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


def _note(folder: Path, attempt: Attempt) -> None:
    """Writes an attempt down, and says it."""
    if attempt.status == "scored":
        numbers = ", ".join(f"{name} {one.primary} {_percent(one.value)}" for name, one in attempt.metrics.items())
        say(f"{attempt.checkpoint} scored in {attempt.seconds:.0f} s: {numbers}")
    elif attempt.status == "gone":
        say(f"WARNING: {attempt.checkpoint} passed over: {attempt.message}")
    else:
        say(f"WARNING: {attempt.checkpoint} is NOT scored: {attempt.message}")
    try:
        append(folder, attempt)
    except OSError as error:
        say(f"WARNING: cannot write {folder}/scores.jsonl: {error.strerror}; this attempt is not noted")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
