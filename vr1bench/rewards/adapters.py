"""Rewards in the forms that trainers call; all read completions as the evaluation does.

The gold is a `Sample`, or where a trainer carries only strings the text of one (`gold_text`). The forms were read in
TRL 1.16.0 (trl/trainer/grpo_trainer.py, `_calculate_rewards`), modelscope/ms-swift@3602360
(swift/rewards/orm.py, swift/rl_core/grpo_algorithm.py:47-70, swift/rlhf_trainers/grpo_trainer.py:2205-2210),
hiyouga/EasyR1@b44b311 (verl/workers/reward/function.py) and volcengine/verl@b178a3c
(docs/preparation/reward_function.rst, verl/workers/reward_manager/naive.py). What TRL, ms-swift and EasyR1 call them
with was run, not a whole training; verl's was only read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES, Family
from vr1bench.rewards.gold_text import sample_of
from vr1bench.rewards.reward import Reward, at, changes
from vr1bench.types import Completion, PixelBudget, Prediction, Request, Sample, Sampling


class _TrainerState(Protocol):
    """What transformers' TrainerState says of the step."""

    global_step: int
    max_steps: int


Completed = Callable[[Sequence[int]], Completion]
"""Token ids of an answer as an engine gives it: special tokens kept, the ending one gone, and whether there was one."""
TrlReward = Callable[..., list[float | None]]
SwiftReward = Callable[..., TrlReward]
EasyR1Reward = Callable[..., list[dict[str, float]]]
VerlReward = Callable[..., float]


def as_trl(
    reward: Reward,
    family: str | Family,
    pixels: PixelBudget | None = None,
    name: str = "",
    completed: Completed | None = None,
) -> TrlReward:
    """A reward in the form that TRL's GRPOTrainer calls: one float a completion.

    A reward that changes with training is told how far it is, from the `trainer_state` that TRL passes.

    Args:
        reward: What to pay for a prediction.
        family: Reads the completions: itself, its name, or the path of its TOML file.
        pixels: Bounds on the area that the trainer's processor feeds; None takes the family's own.
        name: What the trainer logs it under; "" takes the function's own name, "reward" where it has none.
        completed: Makes answers of `completion_ids`. None takes the trainer's texts, from which TRL leaves out the
            special tokens that some families write boxes with, and whether an answer was cut.

    Returns:
        A function of `completions` (texts, or lists of chat messages) and `sample` (a Sample for each, or its text).
        A row without gold has the text "": it gets None, which TRL takes for "this reward does not apply".

    Raises:
        Vr1benchError: The family is unknown.
    """
    reader = FAMILIES[family] if isinstance(family, str) else family

    def rewards(
        completions: Sequence[Any],
        sample: Sequence[Sample | str],
        trainer_state: _TrainerState | None = None,
        completion_ids: Sequence[Sequence[int]] = (),
        **_: object,
    ) -> list[float | None]:
        now = _now(reward, trainer_state)

        def paid(completion: Completion, one: Sample) -> float:
            return now(one, read(reader, completion, one, pixels))

        pairs = zip(answers(completions, completion_ids, completed), sample, strict=True)
        return [None if given == "" else paid(completion, gold_of(given)) for completion, given in pairs]

    rewards.__name__ = name or _name(reward)
    return rewards


def as_swift(reward: Reward, family: str | Family, pixels: PixelBudget | None = None, name: str = "") -> SwiftReward:
    """A reward for ms-swift, to be entered in its dict `orms` by a file that `--external_plugins` names.

    Args:
        reward: See `as_trl`.
        family: See `as_trl`.
        pixels: See `as_trl`.
        name: See `as_trl`.

    Returns:
        What ms-swift calls once with its arguments, to get the function of `completions` (texts), the data set's
        columns, of which `sample` holds texts of `gold_text`, and `trainer_state`.

    Raises:
        Vr1benchError: The family is unknown.
    """
    rewards = as_trl(reward, family, pixels, name)

    def made(args: object = None, **_: object) -> TrlReward:
        return rewards

    return made


def as_easyr1(reward: Reward, family: str, pixels: PixelBudget | None = None) -> EasyR1Reward:
    """A reward for EasyR1, as a `compute_score` of its `batch` kind.

    Args:
        reward: See `as_trl`; none that changes with training, for EasyR1 does not tell how far that is.
        family: See `as_trl`.
        pixels: See `as_trl`.

    Returns:
        A function of a list of `{"response", "response_length", "ground_truth"}` to a list of `{"overall"}`; the
        ground truth is a text of `gold_text`.

    Raises:
        Vr1benchError: The family is unknown, or the reward changes with training.
    """
    reader, fixed = FAMILIES[family], _fixed(reward, "EasyR1")

    def compute_score(reward_inputs: Sequence[Mapping[str, Any]], **_: object) -> list[dict[str, float]]:
        rows = ((Completion(text=str(row["response"])), gold_of(row["ground_truth"])) for row in reward_inputs)
        return [{"overall": fixed(sample, read(reader, said, sample, pixels))} for said, sample in rows]

    return compute_score


def as_verl(reward: Reward, family: str, pixels: PixelBudget | None = None) -> VerlReward:
    """A reward for verl, as its `custom_reward_function`.

    Args:
        reward: See `as_trl`; none that changes with training, for verl does not tell how far that is.
        family: See `as_trl`.
        pixels: See `as_trl`.

    Returns:
        A function of `data_source`, `solution_str`, `ground_truth` (a text of `gold_text`) and `extra_info` to a float.

    Raises:
        Vr1benchError: The family is unknown, or the reward changes with training.
    """
    reader, fixed = FAMILIES[family], _fixed(reward, "verl")

    def compute_score(
        data_source: object, solution_str: str, ground_truth: str, extra_info: object = None, **_: object
    ) -> float:
        sample = gold_of(ground_truth)
        return fixed(sample, read(reader, Completion(text=solution_str), sample, pixels))

    return compute_score


def _now(reward: Reward, state: _TrainerState | None) -> Reward:
    """The reward at the present step."""
    if not changes(reward):
        return reward
    if state is None or state.max_steps <= 0:
        raise Vr1benchError(
            f"{_name(reward)} changes with training, and trainer_state does not say how long that is; "
            "expected its global_step and max_steps, or a reward that does not change (switch = 1)"
        )
    return at(reward, min(1.0, state.global_step / state.max_steps))


def _fixed(reward: Reward, trainer: str) -> Reward:
    """The reward, where it can be paid without knowing the step.

    Raises:
        Vr1benchError: It cannot.
    """
    if changes(reward):
        raise Vr1benchError(
            f"{_name(reward)} changes with training, and {trainer} tells a reward no step; "
            "expected one that does not (switch = 1)"
        )
    return reward


def answers(
    completions: Sequence[Any], ids: Sequence[Sequence[int]] = (), completed: Completed | None = None
) -> list[Completion]:
    """What the model said, of token ids where somebody can make answers of them, else of a trainer's texts or messages.

    Args:
        completions: Texts, or lists of chat messages.
        ids: Token ids of each; () where the trainer gives none.
        completed: See `as_trl`.
    """
    if completed is not None and ids:
        return [completed(one) for one in ids]
    return [Completion(text=_text(one)) for one in completions]


def gold_of(given: Sample | str) -> Sample:
    """A Sample, given as itself or as its text."""
    return given if isinstance(given, Sample) else sample_of(given)


def read(reader: Family, completion: Completion, sample: Sample, pixels: PixelBudget | None) -> Prediction:
    """A completion as the evaluation reads it."""
    request = Request("", sample.id, sample.images, sample.width, sample.height, sample.queries, (), Sampling(), pixels)
    return reader.parse(completion, request)


def _text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)


def _name(reward: Reward) -> str:
    return getattr(reward, "__name__", "reward")
