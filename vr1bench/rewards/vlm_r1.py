"""VLM-R1's rewards (arXiv 2504.07615), read from om-ai-lab/VLM-R1@90052f4, src/open-r1-multimodal/src/open_r1/.

Boxes and labels come from the reader of the evaluation, not from that code's own expressions; where the code pays
otherwise than here, `vr1bench.rewards.published` says so. Crowds are ordinary gold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from vr1bench.assignment import greedy
from vr1bench.metrics.pointwise import referring_ious
from vr1bench.rewards import templates
from vr1bench.rewards.image_ap import image_ap
from vr1bench.rewards.reward import Reward
from vr1bench.types import Pair, Prediction, Sample, Status

_ITEM_WORDS = 6
"""Words of the repeated pieces of an answer without boxes (grpo_jsonl.py:657)."""


def referring_iou(sample: Sample, prediction: Prediction) -> float:
    """IoU of the first box with the gold box, in [0, 1]; 0 without one (its IoU counts pixels; ours does not)."""
    return float(referring_ious([Pair(sample, prediction)])[0])


def referring_format(sample: Sample, prediction: Prediction) -> float:
    """1 for thinking and answer tags, nothing around them, and a box in the answer that reads cleanly; else 0."""
    return float(
        templates.tagged(prediction.text.strip())
        and prediction.status is Status.OK
        and not prediction.broken
        and len(prediction.detections) > 0
    )


def tags_format(sample: Sample, prediction: Prediction) -> float:
    """1 for thinking and answer tags and nothing around them, whatever is in them: the format reward of the code."""
    return float(templates.tagged(prediction.text))


def detection_format(sample: Sample, prediction: Prediction) -> float:
    """1 for tags with markdown JSON inside of the answer, its numbers within the image: the paper's format reward."""
    clean = prediction.status in (Status.OK, Status.NONE) and not prediction.broken
    return float(clean and templates.markdown_json(prediction.text))


@dataclass(frozen=True, slots=True)
class DetectionAP:
    """COCO's AP of the completion, in [0, 1], all scores alike; 1 where nothing is there and nothing was said.

    Attributes:
        thresholds: IoU thresholds averaged over: 10 for AP, 1 for AP50.
        length: odLength: times min(1, gold boxes / predicted boxes), where broken items count as predicted.
        strict: The order of boxes plays no part, and boxes of a class without gold count as wrong: see `image_ap`.
    """

    thresholds: int = 10
    length: bool = False
    strict: bool = False

    def __call__(self, sample: Sample, prediction: Prediction) -> float:
        """The AP."""
        gold, found = sample.gold, prediction.detections
        said = emitted(prediction)
        if not len(gold):
            return float(not said and prediction.status is Status.NONE)
        value = image_ap(gold, found, thresholds=self.thresholds, tied=self.strict)
        return value * min(1.0, len(gold) / said) if value and self.length else value


AP, AP50, OD_LENGTH = DetectionAP(), DetectionAP(thresholds=1), DetectionAP(length=True)
OD_LENGTH_STRICT = DetectionAP(length=True, strict=True)


def emitted(prediction: Prediction) -> int:
    """Items in the answer, whether they could be kept or not."""
    return len(prediction.detections) + sum(n for reason, n in prediction.broken.items() if reason != "clipped")


def weighted_sum(sample: Sample, prediction: Prediction) -> float:
    """0.7 of where, 0.3 of how completely, in [0, 1] (grpo_jsonl.py:431-563; its weight of labels is 0).

    Pairs go by the largest IoU from 0.5 up, over all labels; a pair with different labels uses up both boxes and
    counts for nothing. Where: the pairs' IoUs over the number of gold boxes. Completely: 1 less the mean of the
    shares of gold boxes and of predictions that are in no pair. Without gold, 1 for an answer that says that nothing
    is there.
    """
    gold, found = sample.gold, prediction.detections
    if not len(gold):
        return float(not emitted(prediction) and prediction.status is Status.NONE)
    if not len(found):
        return 0.0
    pairs = greedy(found.boxes, gold.boxes, floor=0.5)
    equal = found.labels[pairs.a] == gold.labels[pairs.b]
    where = float(pairs.iou[equal].sum()) / len(gold)
    missed, false = 1 - len(pairs) / len(gold), 1 - len(pairs) / max(emitted(prediction), 1)
    return 0.7 * where + 0.3 * (1 - (missed + false) / 2)


def repetition(sample: Sample, prediction: Prediction) -> float:
    """Minus the share of repeated items, in [-1, 0]: of boxes with their labels, else of runs of six words.

    grpo_jsonl.py:592-685; less than six words repeat nothing.
    """
    if len(prediction.duplicate):
        return -float(prediction.duplicate.mean())
    words = prediction.text.lower().split()
    total = len(words) - _ITEM_WORDS + 1
    if total <= 0:
        return 0.0
    return len({tuple(words[i : i + _ITEM_WORDS]) for i in range(total)}) / total - 1.0


@dataclass(frozen=True, slots=True)
class CosineLength:
    """Short right answers earn more than long ones, in [-0.5, 1] (arXiv 2502.03373; grpo_jsonl.py:565-590).

    A right answer earns 1 at no tokens and 0.5 at `longest`; a wrong one -0.5 and 0: it is to think on.

    Attributes:
        count: Number of tokens of a text, such as `lambda text: len(tokenizer.encode(text))`.
        accuracy: What tells right from wrong, at 0.7; None takes every answer as right, as the released code does.
        longest: Tokens at which the curve ends.
        returning: The released code's curve goes on: from 0.5 at `longest` up to 1 again at twice that.
    """

    count: Callable[[str], int]
    accuracy: Reward | None = None
    longest: int = 1024
    returning: bool = False

    def __call__(self, sample: Sample, prediction: Prediction) -> float:
        """The reward."""
        length = self.count(prediction.text)
        if not self.returning:
            length = min(length, self.longest)
        right = self.accuracy is None or self.accuracy(sample, prediction) >= 0.7
        short, long = (1.0, 0.5) if right else (-0.5, 0.0)
        return short - (short - long) * (1 - math.cos(length * math.pi / self.longest)) / 2
