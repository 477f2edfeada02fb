"""Rewards as the released codes pay them, where they differ from the papers. For reproducing, not for training.

Boxes and labels are those of the evaluation's reader, in pixels of the original image: what the codes' own readers
lose or cut is not reproduced.

Vision-R1 is jefferyZhan/Griffon@9866875, Vision-R1/vision_r1/visionr1_qwen.py; VLM-R1 is om-ai-lab/VLM-R1@90052f4,
src/open-r1-multimodal/src/open_r1/.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

import numpy as np

from vr1bench.as_published import vision_r1_pairs, vlm_r1_iou
from vr1bench.metrics.pointwise import referring_ious
from vr1bench.rewards import templates
from vr1bench.rewards.vision_r1 import Part
from vr1bench.rewards.vlm_r1 import DetectionAP
from vr1bench.types import Floats, Pair, Prediction, Sample

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FENCE = re.compile(r"```json\n|\n```")


@dataclass(frozen=True, slots=True)
class VisionR1AsPublished:
    """Vision-R1's total as its code pays it, in [0, number of parts].

    It takes GIoU for IoU, pairs by distance in pixels, divides precision by the number of pairs and not of
    predictions, so that eight more false boxes or wrong labels everywhere still earn 3 of 3, and leaves f(x) and the
    stages out unless started with `--adaptive true`, which its script is not (:128, :241-404).

    Attributes:
        parts: What is summed.
        adaptive: With f(x), and the criteria of precision and the threshold of matches change at `switch`.
        switch: Share of training; the code has it at step 1500, whatever the length of training (:251, :322).
        progress: Share of training done.
    """

    parts: tuple[Part, ...] = ("format", "recall", "precision")
    adaptive: bool = False
    switch: float = 0.5
    progress: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether it must be told how far training is."""
        return self.adaptive

    def at(self, progress: float) -> VisionR1AsPublished:
        """The reward at this share of training; see `Staged`."""
        return replace(self, progress=progress)

    def __call__(self, sample: Sample, prediction: Prediction) -> float:
        """The sum of the parts."""
        return sum(self.values(sample, prediction).values())

    def values(self, sample: Sample, prediction: Prediction) -> dict[Part, float]:
        """Each part, in [0, 1]. Gold without boxes, which the code's data do not have, turns the format round."""
        found, gold = prediction.detections, sample.gold
        form = _parses(prediction.text)
        every: dict[Part, float] = {"format": form if len(gold) else 1 - form, "recall": 0.0, "precision": 0.0}
        if not len(found):
            every |= {"recall": float(not len(gold)), "precision": float(not len(gold))}
        elif len(gold):
            equal = found.labels[:, None] == gold.labels[None]
            values = vision_r1_pairs(found.boxes, gold.boxes, equal)
            every |= {"recall": self._recall(values, len(gold)), "precision": self._precision(values)}
        return {part: every[part] for part in self.parts}

    @property
    def _late(self) -> bool:
        return self.adaptive and self.progress >= self.switch

    def _recall(self, values: Floats, gold: int) -> float:
        """:242-311; a GIoU of exactly the threshold counts for what it is, not for 1."""
        threshold = 0.75 if self._late else 0.5
        recall = float(_stepped(values, threshold, threshold).sum()) / gold
        return float(_stepped(np.array(recall), 0.5, 0.75)) if self.adaptive else recall

    def _precision(self, values: Floats) -> float:
        """:316-404."""
        if not self.adaptive:
            return float(_stepped(values, 0.0, 1.0).mean())
        return float(_stepped(values, *((0.75, 0.9) if self._late else (0.5, 0.75))).mean())


def _stepped(values: Floats, low: float, high: float) -> Floats:
    """The code's f(x) (:191-196, :232-239): 1 only above `high`, where the paper has it from `high` on."""
    return np.where(values > high, 1.0, np.where(values < low, 0.0, values))


def _parses(text: str) -> float:
    """The code's format (:198-230): it parses as JSON, and a box that stands beside a label is a list of four."""
    try:
        data = json.loads(_FENCE.sub("", text).strip())
    except (ValueError, RecursionError):
        return 0.0
    items = data if isinstance(data, list) else []
    boxes = [item["bbox_2d"] for item in items if isinstance(item, dict) and "bbox_2d" in item and "label" in item]
    return float(all(isinstance(box, list) and len(box) == 4 for box in boxes))


def referring_iou_as_published(sample: Sample, prediction: Prediction) -> float:
    """VLM-R1's REC reward with its own IoU, by which boxes of up to a pixel overlap nothing (`vlm_r1_iou`)."""
    return float(referring_ious([Pair(sample, prediction)], vlm_r1_iou)[0])


def referring_format_as_published(sample: Sample, prediction: Prediction) -> float:
    """VLM-R1's REC format as the code looks for it: anywhere in the text (vlm_modules/qwen_module.py:90-98)."""
    return float(templates.tagged_box(prediction.text))


@dataclass(frozen=True, slots=True)
class DetectionAPAsPublished:
    """VLM-R1's AP rewards as their code pays them (grpo_jsonl.py:238-416).

    Boxes count only in a fence of lower-case `json` inside of the answer's tags. An answer without tags earns 0; one
    without boxes earns 1 where there is no gold, whatever it says.

    Attributes:
        reward: The AP that is paid for boxes.
    """

    reward: DetectionAP

    def __call__(self, sample: Sample, prediction: Prediction) -> float:
        """The AP."""
        text = prediction.text
        answers = _ANSWER.findall(text[: text.rfind("</answer>") + len("</answer>")])
        if not answers:
            return 0.0
        fence = answers[-1].find("```json")
        if not len(prediction.detections) or fence < 0 or answers[-1].find("```", fence + len("```json")) < 0:
            return float(not len(sample.gold))
        return self.reward(sample, prediction)


VISION_R1 = VisionR1AsPublished()
VISION_R1_ADAPTIVE = VisionR1AsPublished(adaptive=True)
AP, AP50, OD_LENGTH = (
    DetectionAPAsPublished(one) for one in (DetectionAP(), DetectionAP(thresholds=1), DetectionAP(length=True))
)
