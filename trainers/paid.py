"""The rewards of a recipe as TRL calls them: those of `vr1bench.rewards`, and a user's own from a file."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vr1bench.errors import Vr1benchError
from vr1bench.registry import unknown
from vr1bench.rewards import REWARDS, CosineLength, as_trl
from vr1bench.rewards.adapters import TrlReward
from vr1bench.trainers.loading import Start

if TYPE_CHECKING:
    from transformers import ProcessorMixin

LENGTHS: dict[str, Callable[[Callable[[str], int]], CosineLength]] = {
    "vlm-r1-length": lambda count: CosineLength(count, REWARDS["vlm-r1-od-length"]),
    "vlm-r1-length-as-published": lambda count: CosineLength(count, returning=True),
}
"""Rewards that count tokens, and so need the model's tokenizer."""


def reward_functions(begun: Start, processor: ProcessorMixin) -> tuple[list[TrlReward], list[float]]:
    """TRL's `reward_funcs` and `reward_weights`, in the recipe's order.

    Raises:
        Vr1benchError: A reward is unknown, or its file cannot be loaded.
    """

    def count(text: str) -> int:
        return len(processor.tokenizer.encode(text, add_special_tokens=False))

    def named(name: str) -> TrlReward:
        own = re.fullmatch(r"(.+\.py):(\w+)", name)
        if own:
            return _own(Path(own[1]), own[2], begun)
        if name in LENGTHS:
            return as_trl(LENGTHS[name](count), begun.family, begun.pixels, name)
        if name not in REWARDS:
            raise unknown("reward", name, [*REWARDS, *LENGTHS])
        return as_trl(REWARDS[name], begun.family, begun.pixels, name)

    rewards = begun.recipe.rewards
    return [named(name) for name in rewards], list(rewards.values())


def _own(path: Path, name: str, begun: Start) -> TrlReward:
    """A function of a user's file: of (sample, prediction), or in TRL's own form, with `completions`."""
    spec = importlib.util.spec_from_file_location(f"vr1bench_reward_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise Vr1benchError(f"reward {path}:{name}: there is no such file; expected FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's code raises what it likes
        raise Vr1benchError(f"reward {path}:{name}: the file does not load: {type(error).__name__}: {error}") from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        known = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
        raise unknown(f"function of {path}", name, known)
    if "completions" in inspect.signature(function).parameters:
        return function
    return as_trl(function, begun.family, begun.pixels, name)
