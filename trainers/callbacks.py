"""What is hung into TRL's loop: Ctrl-C, the scoring of checkpoints, the watch over hacked rewards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vr1bench.trainers.callback import ScoreCheckpoints
from vr1bench.trainers.command import Interrupted
from vr1bench.trainers.loading import Start
from vr1bench.trainers.stopping import StopOnInterrupt

if TYPE_CHECKING:
    from transformers import Trainer


def add_callbacks(trainer: Trainer, begun: Start, output: Path) -> StopOnInterrupt:
    """Hangs them in; gives the one that knows of Ctrl-C."""
    stop = StopOnInterrupt()
    trainer.add_callback(stop)
    if begun.recipe.score is not None:
        trainer.add_callback(ScoreCheckpoints(begun.recipe.score))
        if begun.recipe.method == "grpo":
            from vr1bench.trainers.hacking import HackingWatch

            trainer.add_callback(HackingWatch(output))
    return stop


def finished(stop: StopOnInterrupt, output: Path) -> Path:
    """The folder of the checkpoints.

    Raises:
        Interrupted: The training ended by Ctrl-C.
    """
    if stop.asked:
        raise Interrupted(f"interrupted; what was trained lies in {output}: the same command with --resume goes on")
    return output
