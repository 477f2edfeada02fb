"""Ctrl-C during training: the first saves a checkpoint at the end of the step and stops, the second stops at once."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class StopOnInterrupt(TrainerCallback):
    """See the module.

    Attributes:
        asked: Whether somebody pressed Ctrl-C; the same on all processes from the end of a step on.
    """

    def __init__(self) -> None:
        """Takes over SIGINT until the training ends."""
        self.asked = False
        self._before = signal.signal(signal.SIGINT, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\ninterrupted: saving a checkpoint after this step; once more stops at once", file=sys.stderr)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401  HF's own
    ) -> None:
        """Asks the trainer to save and stop; every process must, or the others would wait for it."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            asked = torch.tensor(int(self.asked), device=args.device)
            torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
            self.asked = bool(asked.item())
        if self.asked:
            control.should_save = control.should_training_stop = True

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401  HF's own
    ) -> None:
        """Gives SIGINT back."""
        signal.signal(signal.SIGINT, self._before)
