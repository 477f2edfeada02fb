"""The rewards of a recipe as TRL calls them: those of `vr1bench.rewards`, and a user's own from a file."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vr1bench.errors import Vr1benchError
from vr1bench.registry import unknown
from vr1bench.rewards import REWARDS, CosineLength, as_trl
from vr1bench.rewards.adapters import Completed, TrlReward
from vr1bench.rewards.monitors import watched
from vr1bench.rewards.reward import Reward
from vr1bench.trainers.loading import Start, revision
from vr1bench.types import Completion

if TYPE_CHECKING:
    from transformers import ProcessorMixin

LENGTHS: dict[str, Callable[[Callable[[str], int]], CosineLength]] = {
    "vlm-r1-length": lambda count: CosineLength(count, REWARDS["vlm-r1-od-length"]),
    "vlm-r1-length-as-published": lambda count: CosineLength(count, returning=True),
}
"""Rewards that count tokens, and so need the model's tokenizer."""
BY_ROW = "vlm-r1-accuracy"
METHODS = {
    "default": "vlm-r1-rec",
    "iou": "vlm-r1-rec",
    "map": "vlm-r1-ap",
    "od_ap": "vlm-r1-ap",
    "od_ap50": "vlm-r1-ap50",
    "odLength": "vlm-r1-od-length",
    "weighted_sum": "vlm-r1-weighted-sum",
}
"""What the reward `vlm-r1-accuracy` pays a row by its column `accu_reward_method`, VLM-R1's own name for it
(grpo_jsonl.py:830-861), of those that are about boxes; a row without the column is `default`."""


def completed(begun: Start, processor: ProcessorMixin) -> Completed:
    """Makes answers of token ids as the engines do, so that the same tokens are read alike in reward and evaluation."""
    from transformers import GenerationConfig

    tokenizer, ends = processor.tokenizer, None
    with suppress(OSError):  # a model without a generation config ends with its tokenizer's token
        ends = GenerationConfig.from_pretrained(begun.model.location, **revision(begun)).eos_token_id
    stops = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id}

    def made(ids: Sequence[int]) -> Completion:
        stopped = bool(ids) and ids[-1] in stops
        text = tokenizer.decode(ids[:-1] if stopped else ids, skip_special_tokens=False)
        return Completion(text=text, finish="stop" if stopped else "length", n_tokens=len(ids))

    return made


def reward_functions(begun: Start, processor: ProcessorMixin) -> tuple[list[TrlReward], list[float]]:
    """TRL's `reward_funcs` and `reward_weights`, in the recipe's order.

    Raises:
        Vr1benchError: A reward is unknown, or its file cannot be loaded.
    """

    def count(text: str) -> int:
        return len(processor.tokenizer.encode(text, add_special_tokens=False))

    def named(name: str) -> TrlReward:
        def paying(reward: Reward, title: str = name) -> TrlReward:
            return as_trl(reward, begun.family, begun.pixels, title, whole)

        own = re.fullmatch(r"(.+\.py):(\w+)", name)
        if own:
            function = _own(Path(own[1]), own[2])
            return function if "completions" in inspect.signature(function).parameters else paying(function, own[2])
        if name == BY_ROW:
            return _by_row(paying)
        if name in LENGTHS:
            return paying(LENGTHS[name](count))
        if name not in REWARDS:
            raise unknown("reward", name, [*REWARDS, *LENGTHS, BY_ROW])
        return paying(REWARDS[name])

    whole = completed(begun, processor)
    rewards = begun.recipe.rewards
    functions = [named(name) for name in rewards]
    # All functions are shown the same answers, so that one of them is enough to watch them by.
    functions[0] = watched(functions[0], begun.family, begun.pixels, whole)
    return functions, list(rewards.values())


def _by_row(paying: Callable[[Reward, str], TrlReward]) -> TrlReward:
    """VLM-R1's accuracy reward: each row says which one it is paid by."""
    functions = {method: paying(REWARDS[name], name) for method, name in METHODS.items()}

    def accuracy(
        completions: Sequence[Any],
        sample: Sequence[str],
        completion_ids: Sequence[Sequence[int]] = (),
        accu_reward_method: Sequence[str | None] = (),
        **given: Any,  # noqa: ANN401  TRL's own
    ) -> list[float | None]:
        chosen = [method or "default" for method in accu_reward_method] or ["default"] * len(sample)
        paid: list[float | None] = [None] * len(sample)
        for method in dict.fromkeys(chosen):
            if method not in functions:
                raise unknown("accu_reward_method of a row", str(method), METHODS)
            mine = [place for place, one in enumerate(chosen) if one == method]
            ids = [completion_ids[place] for place in mine] if completion_ids else ()
            found = functions[method](
                completions=[completions[place] for place in mine],
                sample=[sample[place] for place in mine],
                completion_ids=ids,
                **given,
            )
            for place, value in zip(mine, found, strict=True):
                paid[place] = value
        return paid

    accuracy.__name__ = BY_ROW
    return accuracy


def _own(path: Path, name: str) -> Callable[..., Any]:
    """A function of a user's file: of (sample, prediction), or in TRL's own form, with `completions`."""
    spec = importlib.util.spec_from_file_location(f"vr1bench_reward_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise Vr1benchError(f"reward {path}:{name}: there is no such file; expected FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's code raises what it likes
        raise Vr1benchError(f"reward {path}:{name}: the file does not load: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
        raise unknown(f"function of {path}", name, known)
    return function
