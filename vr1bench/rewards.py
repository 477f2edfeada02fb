"""Rewards: values of (sample, prediction) in [0, 1], from the very reader, matching and IoU of the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vr1bench.families import FAMILIES
from vr1bench.metrics.pointwise import referring_ious
from vr1bench.types import Completion, Pair, PixelBudget, Prediction, Request, Sample, Sampling

Reward = Callable[[Sample, Prediction], float]
TrlReward = Callable[..., list[float]]


def referring_iou(sample: Sample, prediction: Prediction) -> float:
    """IoU of the first box with the gold box, as VLM-R1 rewards referring (its IoU counts pixels; ours does not)."""
    return float(referring_ious([Pair(sample, prediction)])[0])


def as_trl(reward: Reward, family: str, pixels: PixelBudget | None = None) -> TrlReward:
    """A reward in the form that TRL's GRPOTrainer calls: one float a completion.

    Args:
        reward: What to pay for a prediction.
        family: Reads the completions; a name or the path of a TOML file.
        pixels: Bounds on the area that the trainer's processor feeds; None takes the family's own.

    Returns:
        A function of `completions` (texts, or lists of chat messages) and `sample` (a Sample for each).

    Raises:
        Vr1benchError: The family is unknown.
    """
    reader = FAMILIES[family]

    def rewards(completions: Sequence[Any], sample: Sequence[Sample], **_: object) -> list[float]:
        return [reward(one, _read(completion, one)) for completion, one in zip(completions, sample, strict=True)]

    def _read(completion: Any, sample: Sample) -> Prediction:  # noqa: ANN401  TRL's own two forms
        request = Request(
            "", sample.id, sample.images, sample.width, sample.height, sample.queries, (), Sampling(), pixels
        )
        return reader.parse(Completion(text=_text(completion)), request)

    rewards.__name__ = getattr(reward, "__name__", "reward")  # TRL logs it under this name
    return rewards


def _text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """What the model said: a plain text, or the contents of its messages."""
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)
