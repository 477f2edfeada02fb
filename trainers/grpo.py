"""GRPO on a recipe: TRL's GRPOTrainer with the rewards, the reader and the frames of the evaluation.

    vr1bench train grpo demo-grpo
    accelerate launch --config_file trainers/accelerate/zero3.yaml -m vr1bench.trainers.grpo vlm-r1/rec-3b

Every checkpoint is scored as the recipe's [score] says, and stands on the leaderboard with its step.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vr1bench.trainers.command import configured, main
from vr1bench.trainers.loading import Start, as_dataset, freeze_vision, load_processor, model_options
from vr1bench.trainers.paid import reward_functions
from vr1bench.trainers.recipe import Recipe

if TYPE_CHECKING:
    from trl import GRPOTrainer


def train(recipe: Recipe, *, resume: bool = False) -> Path:
    """Trains, and scores every checkpoint; see `vr1bench.trainers.loop.train`."""
    from vr1bench.trainers import loop

    return loop.train(recipe, make_trainer, resume=resume)


def make_trainer(begun: Start) -> GRPOTrainer:
    """TRL's trainer, ready to train."""
    from trl import GRPOTrainer

    class MixedRows(GRPOTrainer):
        """Takes rows without images beside rows with them.

        TRL 1.16 gives the processor None for such a row's images, which it refuses; [] it takes. There is no hook.
        """

        def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, ...]:
            ids, images, fields = super()._tokenize_prompts(prompts)
            return ids, images and [one or [] for one in images], fields

    recipe = begun.recipe
    processor = load_processor(begun)
    functions, weights = reward_functions(begun, processor)
    adapter = configured("peft.LoraConfig", recipe.lora, "lora") if recipe.lora is not None else None
    defaults = {
        "report_to": "none",
        "logging_steps": 1,
        "model_init_kwargs": model_options(begun),
        # TRL 1.16 gathers images over processes only in those that have some: one with text alone would hang the rest.
        "log_multimodal": False,
    }
    settings = defaults | recipe.settings
    trainer = MixedRows(
        model=begun.model.location,
        reward_funcs=functions,
        args=configured("trl.GRPOConfig", settings | {"reward_weights": weights}, "grpo"),
        train_dataset=as_dataset(begun.rows, targets=False),
        processing_class=processor,
        peft_config=adapter,
    )
    if recipe.model.weights == "language":
        freeze_vision(trainer.model)
    return trainer


if __name__ == "__main__":
    main("grpo", train)
