"""Checkpoints as rows of the leaderboard: which ones wait to be scored.

One mechanism, three ways to run it: `inline`, by the trainer between its steps; `after`, by the trainer at its end
(both `vr1bench.trainers.callback`); `queue`, by a process of its own beside any trainer that writes Hugging Face
checkpoints (`vr1bench.trainers.watch`). Each takes every checkpoint once, whole, in order, and before them the model
that the training began with, as step 0: what was lost before the first checkpoint shows against nothing else.

A training's output folder gains `scores.jsonl`, a line an attempt; `scoring/checkpoint-N.log` and `scoring/base.log`,
what the scoring printed; and `best/`, where that is kept (`vr1bench.trainers.best`). Nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vr1bench.errors import Vr1benchError
from vr1bench.lock import held
from vr1bench.trainers import attempting
from vr1bench.trainers.attempting import Subject
from vr1bench.trainers.attempts import STATE, Attempt, attempts, step_of
from vr1bench.trainers.saying import say
from vr1bench.trainers.scoring import Scoring

TRIES = 3
"""How often a checkpoint whose scoring fails is tried, over all starts: enough for a machine that was busy, and few
where every one will fail."""


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


@dataclass
class Backlog:
    """What waits to be scored of a training, each tried once by this process.

    Attributes:
        folder: The training's output folder.
        scoring: How it is scored.
        tries: What failed so often, over all processes, is passed over.
    """

    folder: Path
    scoring: Scoring
    tries: int = TRIES
    _waiting: dict[tuple[int, str], Subject] = field(default_factory=dict[tuple[int, str], Subject], init=False)
    _tried: set[Subject] = field(default_factory=set[Subject], init=False)
    _given_up: set[Subject] = field(default_factory=set[Subject], init=False)

    def score_next(self) -> Attempt | None:
        """Scores what waits of the lowest step, a checkpoint once it is whole; None where nothing does.

        A checkpoint that waited and is gone is said, noted and passed over.

        Raises:
            Vr1benchError: `scores.jsonl` is damaged.
            KeyboardInterrupt: See `vr1bench.trainers.attempting.score`.
        """
        there = self.look()
        for one in [one for one in self._waiting.values() if one not in there]:
            del self._waiting[one.step, one.name]
            if one.checkpoint:
                attempting.pass_over(one, self.scoring)
        return self._score(there[0]) if there else None

    def score_all(self) -> list[Attempt]:
        """Scores all that wait, in order; see `score_next`."""
        if self.scoring.keep_best:
            attempting.keep_best(self.folder)
        done: list[Attempt] = []
        while attempt := self.score_next():
            done.append(attempt)
        return done

    def score_base(self) -> Attempt | None:
        """Scores the model that the training began with, if it waits, or failed before; see `score_next`."""
        self._tried = {one for one in self._tried if one.checkpoint}
        return next((self._score(one) for one in self.look() if one.checkpoint is None), None)

    def look(self) -> list[Subject]:
        """What waits, lowest step first: from now on it is said where a checkpoint goes without being scored.

        Raises:
            Vr1benchError: `scores.jsonl` is damaged.
        """
        asked = " ".join(self.scoring.asked)
        noted = [(one.checkpoint, one.saved, one.status) for one in attempts(self.folder) if one.asked == asked]
        there: list[Subject] = []
        for one in self._subjects():
            this = (one.name, one.saved)
            failures = noted.count((*this, "failed"))
            path = one.checkpoint
            if one in self._tried | self._given_up or (*this, "scored") in noted or (path and not is_whole(path)):
                continue
            if failures >= self.tries:
                say(f"WARNING: {one.name} failed {failures} times; passed over (--tries {failures + 1} tries it again)")
                self._given_up.add(one)
                continue
            there.append(one)
            self._waiting[one.step, one.name] = one
        return there

    def unscored(self) -> list[str]:
        """What stands and has no score, by step."""
        asked = " ".join(self.scoring.asked)
        try:
            scored = {
                (one.checkpoint, one.saved)
                for one in attempts(self.folder)
                if one.status == "scored" and one.asked == asked
            }
        except Vr1benchError:
            return []
        return [one.name for one in self._subjects() if (one.name, one.saved) not in scored]

    def _subjects(self) -> list[Subject]:
        saved = [attempting.checkpoint(path) for path in checkpoints(self.folder)]
        base = attempting.base(self.folder) if self.scoring.base else None
        return saved if base is None or (saved and not saved[0].step) else [base, *saved]

    def _score(self, one: Subject) -> Attempt:
        self._waiting.pop((one.step, one.name), None)
        self._tried.add(one)
        say(f"scoring {one.name}{'' if one.checkpoint else ', which the training began with'}")
        return attempting.score(one, self.scoring)


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
