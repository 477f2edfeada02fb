"""What a transformers Trainer calls, so that its checkpoints are scored: `inline` at each save, `after` at its end."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from vr1bench.errors import Vr1benchError
from vr1bench.trainers import attempting
from vr1bench.trainers.attempts import STATE
from vr1bench.trainers.checkpoints import Backlog, holding
from vr1bench.trainers.saying import say
from vr1bench.trainers.scorer import InterruptedScoring
from vr1bench.trainers.scoring import Scoring, check, watch_command

PATIENCE = datetime.timedelta(days=30)
"""How long the other processes wait for the one that scores. The group of the training gives up after 10 minutes
(NCCL's default in torch), and would end the training with it."""


class ScoreCheckpoints(TrainerCallback):
    """Scores a training's checkpoints from its main process; the others wait.

    A scoring that fails is printed and noted, and the training goes on.
    """

    def __init__(self, scoring: Scoring, stopped: Callable[[], bool] = lambda: False) -> None:
        """Takes what it goes by.

        Args:
            scoring: How, and when (`mode`); of `queue` it only says what to type.
            stopped: Whether somebody pressed Ctrl-C: then nothing more is scored.
        """
        self._scoring, self._stopped = scoring, stopped
        self._backlog: Backlog | None = None
        self._waiting_room: Any = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401  HF's own
    ) -> None:
        """Finds what would make every scoring fail. Inline: scores the model that is about to be trained.

        Raises:
            Vr1benchError: The suite, or its data, is not there: better now than after the first checkpoint.
        """
        folder = Path(args.output_dir or ".")
        if dist.is_available() and dist.is_initialized() and self._scoring.mode != "queue":
            self._waiting_room = dist.new_group(backend="gloo", timeout=PATIENCE)
        if self._scoring.mode == "queue":
            say(f"checkpoints are scored by: {shlex.join(watch_command(folder, self._scoring))}")
            return
        if state.is_world_process_zero:
            check(self._scoring)
            self._backlog = Backlog(folder, self._scoring)
        if self._scoring.mode == "inline":
            self._alone(Backlog.score_base)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401  HF's own
    ) -> None:
        """Inline: scores the checkpoint that was just saved. After: notes that it is there."""
        if self._scoring.mode == "inline":
            self._alone(Backlog.score_base)  # which may have failed before
            self._alone(lambda backlog: self._score(backlog, f"checkpoint-{state.global_step}"))
        elif self._backlog:
            self._backlog.look()

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401  HF's own
    ) -> None:
        """After: scores all that stand. Says what is not scored in the end."""
        if self._scoring.mode == "after":
            if state.is_world_process_zero:  # whatever becomes of the scoring, the training is done
                state.save_to_json(str(Path(args.output_dir or ".") / STATE))
            self._alone(Backlog.score_all)
        if self._backlog and (left := self._backlog.unscored()):
            command = shlex.join(watch_command(self._backlog.folder, self._scoring))
            say(f"not scored: {', '.join(left)}; to score them: {command}")

    def _score(self, backlog: Backlog, name: str) -> None:
        say(f"scoring {name}; the training waits")
        attempting.score(attempting.checkpoint(backlog.folder / name), self._scoring)

    def _alone(self, score: Callable[[Backlog], object]) -> None:
        """Lets the main process score, unless it is to stop, while the others wait."""
        if self._backlog and not self._stopped():
            try:
                with holding(self._backlog.folder):
                    score(self._backlog)
            except InterruptedScoring:
                say("WARNING: Ctrl-C: the scoring has ended, and what it scored has no number")
            except Exception as error:  # whatever it is: the training goes on
                say(f"WARNING: NOT scored: {error if isinstance(error, Vr1benchError) else repr(error)}")
        if self._waiting_room is not None:
            dist.barrier(group=self._waiting_room)
