"""A training from its recipe to its last checkpoint: what both trainers do around TRL's own loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vr1bench.model import TRAINING
from vr1bench.trainers.callback import ScoreCheckpoints
from vr1bench.trainers.command import Interrupted
from vr1bench.trainers.hacking import HackingWatch
from vr1bench.trainers.idle import IdleWatch
from vr1bench.trainers.loading import Start, last_checkpoint, note, start
from vr1bench.trainers.recipe import Recipe
from vr1bench.trainers.saying import say
from vr1bench.trainers.stopping import StopOnInterrupt

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback


def train(recipe: Recipe, make_trainer: Callable[[Start], Trainer], *, resume: bool = False) -> Path:
    """Trains, and scores every checkpoint as the recipe says.

    Args:
        recipe: What is trained on what, and how.
        make_trainer: TRL's trainer for it.
        resume: Go on from the last checkpoint.

    Returns:
        The folder of the checkpoints.

    Raises:
        Vr1benchError: Something named is unknown, missing or wrong; nothing was trained.
        Interrupted: Ctrl-C; what was trained is saved.
    """
    output = Path(recipe.settings["output_dir"])
    begun = start(recipe)
    checkpoint = last_checkpoint(begun, output, resume=resume)
    trainer = make_trainer(begun)
    stop = StopOnInterrupt()
    hung: list[TrainerCallback] = [stop]
    if recipe.method == "grpo":
        hung.append(IdleWatch())
    if recipe.scoring is not None:
        hung.append(ScoreCheckpoints(recipe.scoring, lambda: stop.asked))
        if recipe.method == "grpo":
            hung.append(HackingWatch(output, Path(recipe.scoring.output)))
    # In front of those that print and report, so that they see what the watch adds to the log.
    trainer.callback_handler.callbacks[:0] = hung
    if trainer.is_world_process_zero() and (checkpoint is None or not (output / TRAINING).exists()):
        note(begun, output)
    if checkpoint is not None and recipe.lora is None:
        _restore(trainer, checkpoint)
        say("the checkpoint's weights are loaded; what transformers now says of missing keys no longer holds")
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_state()  # tells `vr1bench train watch` that it is done, and holds the whole log
    if stop.asked:
        raise Interrupted(f"interrupted; what was trained lies in {output}: the same command with --resume goes on")
    return output


def _restore(trainer: Trainer, checkpoint: str) -> None:
    """Puts a checkpoint's weights into the model.

    transformers 5.17's Trainer looks for them under the model's names, and for Qwen2.5-VL and its like
    `save_pretrained` writes others: it warns of missing keys, and goes on with the base model. `from_pretrained` knows
    both. Shards of FSDP and DeepSpeed are theirs to load.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    saved = type(model).from_pretrained(checkpoint, dtype=model.dtype)
    model.load_state_dict(saved.state_dict())
