"""Pixel masks of the world's things, as COCO writes them: polygons, areas and run lengths."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vr1bench.demo.looks import shape_mask
from vr1bench.demo.world import Thing

CIRCLE_CORNERS = 24


def area_px(thing: Thing) -> int:
    """How many pixels the thing covers."""
    return int(np.count_nonzero(_mask(thing)))


def paint(thing: Thing, mask: NDArray[np.bool_]) -> None:
    """Set the thing's pixels in a (height, width) mask of the whole picture, in place."""
    x1, y1, x2, y2 = (int(edge) for edge in thing.box)
    mask[y1:y2, x1:x2] |= _mask(thing) > 0


def polygon(thing: Thing) -> list[float]:
    """The outline as COCO's flat list x, y, x, y, ... in pixels of the picture; a circle has 24 corners."""
    x1, y1, x2, y2 = thing.box
    side = x2 - x1
    if thing.shape == "circle":
        turns = [math.tau * corner / CIRCLE_CORNERS for corner in range(CIRCLE_CORNERS)]
        unit = [(0.5 + 0.5 * math.cos(turn), 0.5 + 0.5 * math.sin(turn)) for turn in turns]
    elif thing.shape == "square":
        unit = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    elif thing.shape == "triangle":
        unit = [(0.0, 1.0), (0.5, 0.0), (1.0, 1.0)]
    else:
        low = round(side * 0.34) / side
        high = 1 - low
        unit = [(low, 0.0), (high, 0.0), (high, low), (1.0, low), (1.0, high), (high, high)]
        unit += [(high, 1.0), (low, 1.0), (low, high), (0.0, high), (0.0, low), (low, low)]
    return [round(value, 2) for x, y in unit for value in (x1 + x * side, y1 + y * (y2 - y1))]


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed RLE counts of a (height, width) mask: down the columns, zeros first."""
    flat = mask.flatten(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
    return [0, *lengths] if flat[0] else lengths


def _mask(thing: Thing) -> NDArray[np.uint8]:
    return np.asarray(shape_mask(thing.shape, int(thing.box[2] - thing.box[0]), thing.form))
