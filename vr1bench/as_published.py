"""What published code computes where it differs from the plain definitions; used only where a name says so."""

from __future__ import annotations

import numpy as np

from vr1bench.boxes import area, iou
from vr1bench.types import Bools, Floats


def vlm_r1_iou(a: Floats, b: Floats) -> Floats:
    """VLM-R1's overlap of boxes, (n, 4), (m, 4) -> (n, m): om-ai-lab/VLM-R1@90052f4, src/eval/test_rec_r1.py:79-89.

    The far corners of the intersection are a pixel short and a pixel is added to its sides, which cancels out, except
    that overlaps of up to one pixel in width or height count as none; so boxes from 0 to 1 never overlap. Two boxes
    without size divide by zero there; here they give 0.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:]) - 1
    inter = np.where((low < high).all(axis=2), (high - low + 1).prod(axis=2), 0.0)
    union = area(a)[:, None] + area(b)[None] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=inter > 0)


def generalised_iou(a: Floats, b: Floats) -> Floats:
    """GIoU of every box of `a` with every box of `b`, (n, 4), (m, 4) -> (n, m), in [-1, 1] (arXiv 1902.09630).

    Vision-R1's code takes it for the IoU: jefferyZhan/Griffon@9866875, Vision-R1/vision_r1/visionr1_qwen.py:173,187.
    Two boxes whose hull has no area divide by zero there; here they give -1.
    """
    plain = iou(a, b)
    union = area(a)[:, None] + area(b)[None]
    union = union / (1 + plain)  # IoU i of areas that sum to s: the union is s / (1 + i)
    low = np.minimum(a[:, None, :2], b[None, :, :2])
    high = np.maximum(a[:, None, 2:], b[None, :, 2:])
    hull = (high - low).prod(axis=2)
    share = np.divide(union, hull, out=np.zeros_like(hull), where=hull > 0)
    return plain - (1 - share)


def vision_r1_pairs(a: Floats, b: Floats, equal: Bools) -> Floats:
    """GIoUs of Vision-R1's pairs: Vision-R1/vision_r1/visionr1_qwen.py:131-189 at the commit above.

    The cost is the sum of the corners' distances in pixels, less 1 for equal labels, less the GIoU: the distances
    decide, so boxes pair whatever they are called, and also where they do not overlap.

    Args:
        a: (n, 4) predicted boxes.
        b: (m, 4) gold boxes.
        equal: (n, m) True where the labels are equal.

    Returns:
        (min(n, m),) values in [-1, 1].
    """
    from scipy.optimize import linear_sum_assignment

    values = generalised_iou(a, b)
    cost = np.abs(a[:, None] - b[None]).sum(axis=2) - equal - values
    return values[linear_sum_assignment(cost)]
