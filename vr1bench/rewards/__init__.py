"""Rewards: values of (sample, prediction), from the very reader, matching and IoU of the evaluation.

`REWARDS` names them for recipes, `mix` adds some up, and `as_trl`, `as_swift`, `as_easyr1`, `as_verl` give them the
form that a trainer calls.
"""

from __future__ import annotations

from collections.abc import Mapping

from vr1bench.registry import Registry
from vr1bench.rewards.adapters import as_easyr1, as_swift, as_trl, as_verl
from vr1bench.rewards.gold_text import gold_text, sample_of
from vr1bench.rewards.reward import Mix, Reward, Staged, at, mixed
from vr1bench.rewards.vlm_r1 import CosineLength, referring_iou

__all__ = [
    "REWARDS",
    "CosineLength",
    "Mix",
    "Reward",
    "Staged",
    "as_easyr1",
    "as_swift",
    "as_trl",
    "as_verl",
    "at",
    "gold_text",
    "mix",
    "referring_iou",
    "sample_of",
]

REWARDS: Registry[Reward] = Registry(
    "reward",
    "vr1bench.rewards",
    {
        "vision-r1": "vr1bench.rewards.vision_r1:TOTAL",
        "vision-r1-strict": "vr1bench.rewards.vision_r1:STRICT",
        "vision-r1-labelled": "vr1bench.rewards.vision_r1:LABELLED",
        "vision-r1-step-1/2": "vr1bench.rewards.vision_r1:HALF",
        "vision-r1-step-1/3": "vr1bench.rewards.vision_r1:THIRD",
        "vision-r1-griffon": "vr1bench.rewards.vision_r1:GRIFFON",
        "vision-r1-format": "vr1bench.rewards.vision_r1:FORMAT",
        "vision-r1-recall": "vr1bench.rewards.vision_r1:RECALL",
        "vision-r1-precision": "vr1bench.rewards.vision_r1:PRECISION",
        "vision-r1-count": "vr1bench.rewards.vision_r1:prediction_count",
        "vision-r1-as-published": "vr1bench.rewards.published:VISION_R1",
        "vision-r1-as-published-adaptive": "vr1bench.rewards.published:VISION_R1_ADAPTIVE",
        "format": "vr1bench.rewards.vlm_r1:tags_format",
        "repetition": "vr1bench.rewards.vlm_r1:repetition",
        "vlm-r1-rec": "vr1bench.rewards.vlm_r1:referring_iou",
        "vlm-r1-rec-format": "vr1bench.rewards.vlm_r1:referring_format",
        "vlm-r1-rec-as-published": "vr1bench.rewards.published:referring_iou_as_published",
        "vlm-r1-rec-format-as-published": "vr1bench.rewards.published:referring_format_as_published",
        "vlm-r1-od-format": "vr1bench.rewards.vlm_r1:detection_format",
        "vlm-r1-ap": "vr1bench.rewards.vlm_r1:AP",
        "vlm-r1-ap50": "vr1bench.rewards.vlm_r1:AP50",
        "vlm-r1-od-length": "vr1bench.rewards.vlm_r1:OD_LENGTH",
        "vlm-r1-od-length-strict": "vr1bench.rewards.vlm_r1:OD_LENGTH_STRICT",
        "vlm-r1-weighted-sum": "vr1bench.rewards.vlm_r1:weighted_sum",
        "vlm-r1-ap-as-published": "vr1bench.rewards.published:AP",
        "vlm-r1-ap50-as-published": "vr1bench.rewards.published:AP50",
        "vlm-r1-od-length-as-published": "vr1bench.rewards.published:OD_LENGTH",
        "visual-rft-iou": "vr1bench.rewards.visual_rft:matched_iou",
        "visual-rft-confidence": "vr1bench.rewards.visual_rft:confidence",
    },
)


def mix(weights: Mapping[str, float], known: Mapping[str, Reward] = REWARDS) -> Mix:
    """The weighted sum of named rewards, such as `mix({"vision-r1": 1.0, "format": 0.5})`.

    Args:
        weights: Name to weight; a negative weight turns a reward into a penalty.
        known: Name to reward.

    Raises:
        Vr1benchError: There is no name, a name is unknown or a weight is no finite number.
    """
    return mixed(weights, known)
