"""COCO's AP of one image, whose detections all have the same score: what a detection reward needs, quickly.

The evaluation's `vr1bench.metrics.ap` is made for whole benchmarks and takes a millisecond to start; an answer has a
few dozen boxes. Both give the same number, which a test holds.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vr1bench.boxes import iou
from vr1bench.match import THRESHOLDS
from vr1bench.metrics.ap import RECALLS
from vr1bench.types import Detections, Floats, Gold

_MAX_DETS = 100
"""Detections that count a class: pycocotools' default, which VLM-R1's reward keeps."""


def image_ap(gold: Gold, found: Detections, *, thresholds: int = 10, tied: bool = False) -> float:
    """AP of one image, in [0, 1]; 0 where either side is empty.

    Plain, it is what COCOeval gives for constant scores: detections count in order of emission, and those whose class
    has no gold are left out, unpunished. With `tied` all detections enter at once, match in order of their corners
    (`AP_tie` of the evaluation), and those whose class has no gold lower the precision of every class: then neither
    the order of boxes nor a class that is not there can raise it.

    Args:
        gold: Crowds are ordinary boxes here, as VLM-R1's code knows none.
        found: In order of emission.
        thresholds: How many of 0.5, 0.55, ... to average over: 10 for AP, 1 for AP50.
        tied: See above.
    """
    if not len(gold) or not len(found):
        return 0.0
    gold_boxes, gold_labels, boxes, labels = gold.boxes, gold.labels.tolist(), found.boxes, found.labels.tolist()
    if tied:
        by_corners = np.lexsort(gold_boxes.T[::-1])
        gold_boxes, gold_labels = gold_boxes[by_corners], [gold_labels[row] for row in by_corners.tolist()]
        by_corners = np.lexsort(boxes.T[::-1])
        boxes, labels = boxes[by_corners], [labels[row] for row in by_corners.tolist()]
    # Per class: number of gold boxes, and the thresholds (as bits) at which each detection hits.
    counts: dict[str, int] = {}
    for label in gold_labels:
        counts[label] = counts.get(label, 0) + 1
    hits: dict[str, list[int]] = {label: [] for label in counts}
    close = _close(boxes, gold_boxes, thresholds)
    free = [(1 << thresholds) - 1] * len(gold_labels)
    for row, label in enumerate(labels):
        if label in hits and len(hits[label]) < _MAX_DETS:
            hits[label].append(_taken(close.get(row, ()), label, gold_labels, free))
    strays = sum(label not in hits for label in labels) if tied else 0
    found_ap = (_class_ap(bits, counts[label], thresholds, tied, strays) for label, bits in hits.items())
    return sum(found_ap) / len(counts)


_Candidates = list[tuple[float, int, int]]


def _close(boxes: Floats, gold_boxes: Floats, thresholds: int) -> dict[int, _Candidates]:
    """For each detection the gold boxes of any class at IoU 0.5 and more, best first: (-IoU, -row, bits reached).

    Among equal IoUs the last gold box comes first, as pycocotools has it.
    """
    overlaps = iou(boxes, gold_boxes)
    rows, places = np.nonzero(overlaps >= THRESHOLDS[0])
    values = overlaps[rows, places]
    levels = np.minimum(np.searchsorted(THRESHOLDS, values, side="right"), thresholds)
    close: dict[int, _Candidates] = {}
    for row, place, value, level in zip(rows.tolist(), places.tolist(), values.tolist(), levels.tolist(), strict=True):
        close.setdefault(row, []).append((-value, -place, (1 << level) - 1))
    for candidates in close.values():
        candidates.sort()
    return close


def _taken(candidates: _Candidates | tuple[()], label: str, gold_labels: list[str], free: list[int]) -> int:
    """The thresholds at which this detection hits, as bits; what it takes is free no longer."""
    hit = 0
    for _, place, reached in candidates:
        if gold_labels[-place] == label:
            got = reached & free[-place] & ~hit
            free[-place] ^= got
            hit |= got
    return hit


def _class_ap(bits: list[int], gold: int, thresholds: int, tied: bool, strays: int) -> float:
    """Mean over thresholds of one class's interpolated precision; most thresholds fare alike and are summed once."""
    known: dict[tuple[int, ...], float] = {}
    total = 0.0
    for level in range(thresholds):
        ranks = tuple(rank for rank, word in enumerate(bits, 1) if word >> level & 1)
        if ranks not in known:
            ends = (len(bits) + strays,) * len(ranks) if tied else ranks
            known[ranks] = _interpolated(ends, gold)
        total += known[ranks]
    return total / thresholds


def _interpolated(ranks: tuple[int, ...], gold: int) -> float:
    """Mean over the recall grid of the best precision at or beyond each recall.

    Args:
        ranks: Detections down to and including each true positive.
        gold: Gold boxes.
    """
    weights = _weights(gold)
    best = total = 0.0
    for nth in range(len(ranks), 0, -1):
        best = max(best, nth / ranks[nth - 1])
        total += weights[nth - 1] * best
    return total / len(RECALLS)


@lru_cache(maxsize=1024)
def _weights(gold: int) -> list[int]:
    """How many recalls of the grid are first reached with the n-th true positive, n from 1."""
    reached = np.searchsorted(np.arange(1, gold + 1) / gold, RECALLS, side="left")
    return np.bincount(reached, minlength=gold).tolist()
