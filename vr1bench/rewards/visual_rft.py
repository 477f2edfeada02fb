"""Visual-RFT's rewards for detection: Liuziyu77/Visual-RFT@9486633, src/virft/src/open_r1/grpo.py:95-212.

A prediction's score is its confidence; labels play no part (that code asks for one class). Boxes that were given
before are left out. Where there is no gold, an answer that says so earns 1 and any other 0; the code has no such case.
"""

from __future__ import annotations

import numpy as np

from vr1bench.boxes import iou
from vr1bench.types import Floats, Prediction, Sample, Status

_THRESHOLD = 0.5
"""An IoU must exceed it (grpo.py:130)."""


def matched_iou(sample: Sample, prediction: Prediction) -> float:
    """Sum of the IoUs of hits over the larger of the numbers of gold boxes and predictions, in [0, 1]."""
    ious, _ = _matched(sample, prediction)
    return float(ious.sum()) / max(len(ious), len(sample.gold)) if len(ious) else _nothing(sample, prediction)


def confidence(sample: Sample, prediction: Prediction) -> float:
    """Mean over predictions of the confidence of hits and of 1 - confidence of others, in [0, 1].

    A model that gives no confidences has 1 everywhere: then it is the share of hits.
    """
    ious, sure = _matched(sample, prediction)
    if not len(ious):
        return _nothing(sample, prediction)
    return float(np.where(ious > 0, sure, 1 - sure).mean())


def _nothing(sample: Sample, prediction: Prediction) -> float:
    return float(not len(sample.gold) and prediction.status is Status.NONE)


def _matched(sample: Sample, prediction: Prediction) -> tuple[Floats, Floats]:
    """IoU with its gold box, 0 where it hits none, and confidence of every distinct box, the surest first.

    The surest chooses first, among the gold boxes that are left the one with the largest IoU, the first of equals.
    """
    found = prediction.detections
    if not len(found):
        return np.empty(0), np.empty(0)
    _, firsts = np.unique(found.boxes, axis=0, return_index=True)
    found = found.take(np.sort(firsts))
    order = np.argsort(-found.scores, kind="stable")
    sure = np.clip(found.scores[order], 0.0, 1.0)
    overlaps = iou(found.boxes[order], sample.gold.boxes)
    ious = np.zeros(len(order))
    for row in range(len(order) if len(sample.gold) else 0):
        best = int(overlaps[row].argmax())
        if overlaps[row, best] > _THRESHOLD:
            ious[row] = overlaps[row, best]
            overlaps[:, best] = -1.0
    return ious, sure
