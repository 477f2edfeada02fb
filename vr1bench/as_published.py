"""What published code computes where it differs from the plain definitions; used only by protocols that say so."""

from __future__ import annotations

import numpy as np

from vr1bench.boxes import area
from vr1bench.types import Floats


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
