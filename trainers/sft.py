"""SFT on a recipe: TRL's SFTTrainer on targets that the family writes, in the frame that the model is fed.

    vr1bench train sft demo-sft
    accelerate launch --config_file trainers/accelerate/zero2.yaml -m vr1bench.trainers.sft vlm-r1/rec-3b-sft

The question is masked: only the answer is learned. Every checkpoint is scored as the recipe's [score] says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vr1bench.trainers.command import configured, main
from vr1bench.trainers.loading import Start, as_dataset, freeze_vision, load_processor, model_options
from vr1bench.trainers.recipe import Recipe

if TYPE_CHECKING:
    from trl import SFTTrainer


def train(recipe: Recipe, *, resume: bool = False) -> Path:
    """Trains, and scores every checkpoint; see `vr1bench.trainers.loop.train`."""
    from vr1bench.trainers import loop

    return loop.train(recipe, make_trainer, resume=resume)


def make_trainer(begun: Start) -> SFTTrainer:
    """TRL's trainer, ready to train."""
    from trl import SFTTrainer

    recipe = begun.recipe
    defaults = {
        "report_to": "none",
        "logging_steps": 1,
        "model_init_kwargs": model_options(begun),
        "max_length": None,  # cutting a prompt would cut image tokens off
        "completion_only_loss": True,
        "remove_unused_columns": False,  # the rows make their columns when they are read
    }
    trainer = SFTTrainer(
        model=begun.model.location,
        args=configured("trl.SFTConfig", defaults | recipe.settings, "sft"),
        train_dataset=as_dataset(begun.rows, targets=True),
        processing_class=load_processor(begun),
        peft_config=configured("peft.LoraConfig", recipe.lora, "lora") if recipe.lora is not None else None,
    )
    if recipe.model.weights == "language":
        freeze_vision(trainer.model)
    return trainer


if __name__ == "__main__":
    main("sft", train)
