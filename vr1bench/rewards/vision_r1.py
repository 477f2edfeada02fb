"""Vision-R1's rewards (arXiv 2503.18013): dual format, recall and precision, differentiated, stricter as training goes.

For a completion with M predicted boxes, paired one to one with the gold by the largest sum of IoUs:

- dual format: 1 where the answer holds the template and its numbers lie within the image, else 0;
- recall: f(pairs with IoU >= xi0, over the number of gold boxes);
- precision: sum of f(IoU) over pairs with IoU >= xi0, over M;
- f(x): 1 from xi2 up, 0 below xi1, x between.

xi0, xi1, xi2 are `FIRST`, and `THEN` after the share STEP of training. The paper leaves M open; it is the number of
predicted boxes here, while the released code divides by the number of pairs (`vr1bench.rewards.published`).
Crowds are ordinary gold: the paper knows none. Where there is no gold, recall and precision are 1 for an answer
without boxes and 0 for any other (the paper's data have 1 to 30 boxes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from vr1bench.assignment import hungarian
from vr1bench.boxes import iou
from vr1bench.errors import Vr1benchError
from vr1bench.registry import unknown
from vr1bench.rewards import templates
from vr1bench.rewards.templates import Template
from vr1bench.types import Floats, Prediction, Sample, Status

Part = Literal["format", "recall", "precision"]
Matching = Literal["boxes", "boxes-and-labels", "strict"]


@dataclass(frozen=True, slots=True)
class Criteria:
    """The thresholds of one stage.

    Attributes:
        matched: xi0: IoU that a pair must reach to count.
        low: xi1: below it f is 0.
        high: xi2: from it on f is 1.
    """

    matched: float
    low: float
    high: float


FIRST = Criteria(0.5, 0.5, 0.75)
THEN = Criteria(0.75, 0.75, 0.9)


def differentiated(values: Floats, criteria: Criteria) -> Floats:
    """f of the paper, for values in [0, 1] of any shape."""
    return np.where(values >= criteria.high, 1.0, np.where(values >= criteria.low, values, 0.0))


@dataclass(frozen=True, slots=True)
class VisionR1:
    """The sum of the parts, in [0, number of parts].

    Attributes:
        parts: What is summed, unweighted.
        matching: "boxes" pairs by IoU alone, as the paper does. "boxes-and-labels" pairs only equal labels. "strict"
            pairs equal labels, for recall as many as reach xi0 and for precision those with the largest sum of f: then
            neither the order of boxes nor a tie decides, and a box that is no hit can only lower it. It pays the format
            only to an answer that found something, or rightly nothing: an empty list earns nothing.
        switch: STEP, the share of training after which the criteria change, in [0, 1]; 1 is never. Best in the paper:
            1 for Qwen2.5-VL-7B, 1/2 for Griffon-G-7B.
        first: Criteria before.
        then: Criteria after.
        template: How the family spells an answer.
        progress: Share of training done, in [0, 1]; `at` sets it.

    Raises:
        Vr1benchError: A part or matching is unknown, or a share is outside of [0, 1].
    """

    parts: tuple[Part, ...] = ("format", "recall", "precision")
    matching: Matching = "boxes"
    switch: float = 1.0
    first: Criteria = FIRST
    then: Criteria = THEN
    template: Template = templates.qwen
    progress: float = 0.0

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in get_args(Part):
                raise unknown("part of Vision-R1's reward", part, get_args(Part))
        if self.matching not in get_args(Matching):
            raise unknown("matching", self.matching, get_args(Matching))
        for name, share in (("switch", self.switch), ("progress", self.progress)):
            if not 0 <= share <= 1:
                raise Vr1benchError(
                    f"{name} of Vision-R1's reward: expected a share of training in [0, 1], got {share}"
                )

    @property
    def changes(self) -> bool:
        """Whether the criteria change at all."""
        return self.switch < 1 and self.first != self.then

    @property
    def criteria(self) -> Criteria:
        """Those of the present stage."""
        return self.then if self.switch < 1 and self.progress >= self.switch else self.first

    def at(self, progress: float) -> VisionR1:
        """The reward at this share of training; see `Staged`."""
        return replace(self, progress=progress)

    def __call__(self, sample: Sample, prediction: Prediction) -> float:
        """The sum of the parts."""
        return sum(self.values(sample, prediction).values())

    def values(self, sample: Sample, prediction: Prediction) -> dict[Part, float]:
        """Each part, in [0, 1]."""
        found = self._found(sample, prediction)
        every: dict[Part, float] = {"format": 0.0, "recall": found[0], "precision": found[1]}
        if "format" in self.parts and (self.matching != "strict" or found[2]):
            every["format"] = float(well_formed(sample, prediction, self.template))
        return {part: every[part] for part in self.parts}

    def _found(self, sample: Sample, prediction: Prediction) -> tuple[float, float, bool]:
        """Recall, precision, and whether anything was rightly said."""
        predicted, gold = len(prediction.detections), len(sample.gold)
        if not (predicted and gold):
            right = predicted == gold
            return float(right), float(right), right
        criteria = self.criteria
        paired = _strict if self.matching == "strict" else self._plain
        hits, worth = paired(sample, prediction, criteria)
        recall = float(differentiated(np.array(hits / gold), criteria))
        return recall, worth / predicted, hits > 0

    def _plain(self, sample: Sample, prediction: Prediction, criteria: Criteria) -> tuple[int, float]:
        """Pairs that count, and the sum of their f."""
        found, gold = prediction.detections, sample.gold
        labels = (found.labels, gold.labels) if self.matching == "boxes-and-labels" else (None, None)
        pairs = hungarian(found.boxes, gold.boxes, *labels, floor=criteria.matched)
        return len(pairs), float(differentiated(pairs.iou, criteria).sum())


def _strict(sample: Sample, prediction: Prediction, criteria: Criteria) -> tuple[int, float]:
    """The most pairs that can count, and the largest sum of f that pairs can have: both single numbers, ties or not."""
    from scipy.optimize import linear_sum_assignment

    found, gold = prediction.detections, sample.gold
    overlaps = iou(found.boxes, gold.boxes) * (found.labels[:, None] == gold.labels[None])
    hit = overlaps >= criteria.matched
    worth = np.where(hit, differentiated(overlaps, criteria), 0.0)
    hits = int(hit[linear_sum_assignment(hit, maximize=True)].sum())
    return hits, math.fsum(worth[linear_sum_assignment(worth, maximize=True)].tolist())


def well_formed(sample: Sample, prediction: Prediction, template: Template = templates.qwen) -> bool:
    """Whether the answer holds the template and its numbers hold: finite, in order, and inside of the image.

    An answer without boxes holds it only where there is no gold. An answer that was cut holds nothing.
    """
    if prediction.broken or prediction.status not in (Status.OK, Status.NONE):
        return False
    count = template(prediction.text)
    return count is not None and (count > 0 or not len(sample.gold))


def prediction_count(sample: Sample, prediction: Prediction) -> float:
    """1 where there are as many boxes as gold boxes, else 0: the binary reward that recall replaces in Table 4."""
    return float(len(prediction.detections) == len(sample.gold))


TOTAL = VisionR1()
HALF, THIRD = VisionR1(switch=1 / 2), VisionR1(switch=1 / 3)
GRIFFON = VisionR1(switch=1 / 2, template=templates.griffon)
LABELLED = VisionR1(matching="boxes-and-labels")
STRICT = VisionR1(matching="strict")
FORMAT, RECALL, PRECISION = (VisionR1(parts=(part,)) for part in get_args(Part))
