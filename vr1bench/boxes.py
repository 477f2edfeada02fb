"""Box arithmetic: the only IoU in the repository. Boxes are (n, 4) float64, xyxy pixels."""

from __future__ import annotations

import numpy as np

from vr1bench.types import Bools, Floats


def area(boxes: Floats) -> Floats:
    """Width times height of each box, shape (n,); negative where one side is inverted."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlap(a: Floats, b: Floats) -> Floats:
    """Intersection areas of broadcastable box arrays (..., 4); 0 where they do not meet."""
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    return np.where((width > 0) & (height > 0), width * height, 0.0)


def iou_aligned(a: Floats, b: Floats, area_a: Floats, area_b: Floats, crowd_b: Bools | None = None) -> Floats:
    """IoU of row i of `a` with row i of `b`, shape (n,), in [0, 1].

    Areas are given because a file's width times height may differ from the corners' in the last bit, and
    pycocotools (`maskApi.c`, `bbIou`) uses the former. Against a crowd box the union is the prediction's own area.
    Two boxes without overlap give 0, also when both have no size.
    """
    inter = overlap(a, b)
    union = area_a + area_b - inter
    if crowd_b is not None:
        union = np.where(crowd_b, area_a, union)
    return np.divide(inter, union, out=np.zeros_like(inter), where=inter > 0)


def iou(a: Floats, b: Floats) -> Floats:
    """IoU of every box of `a` with every box of `b`: (n, 4), (m, 4) -> (n, m); empty inputs give an empty matrix."""
    inter = overlap(a[:, None], b[None])
    union = area(a)[:, None] + area(b)[None] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=inter > 0)


def clip(boxes: Floats, width: float, height: float) -> Floats:
    """Boxes cut to the image [0, width] x [0, height]."""
    return np.clip(boxes, 0.0, np.array([width, height, width, height]))


def rescale(boxes: Floats, source: tuple[float, float], target: tuple[float, float]) -> Floats:
    """Boxes of a frame `source` (width, height) in the frame `target`."""
    factor = np.array([target[0] / source[0], target[1] / source[1]] * 2)
    return boxes * factor
