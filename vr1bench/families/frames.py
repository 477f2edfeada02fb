"""Coordinate frames: from the numbers that a family writes to pixels of the original image, and back, exactly.

A frame is known from the family, never guessed from the values or from the gold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from vr1bench.types import Floats, FrozenModel

Size = tuple[int, int]


class Placing(NamedTuple):
    """A frame laid over one image: pixel = number * scale + shift on each axis, then clipped to the image.

    `step` is the distance of two neighbouring numbers that the family can write.
    """

    scale_x: float
    scale_y: float
    shift_x: float
    shift_y: float
    width: int
    height: int
    step: float = 1.0

    def boxes(self, numbers: Sequence[tuple[float, ...]]) -> tuple[list[float], dict[int, str], int]:
        """Boxes in pixels, four floats a box; the rows that are no boxes, and why; how many boxes had to be clipped.

        Plain floats: an answer has ten boxes, and an array of ten costs more than its sums. Half a step over the edge
        is rounding of the grid, not a claim about what lies outside: clipped, and counted only beyond one step.
        """
        scale_x, scale_y, shift_x, shift_y, width, height, step = self
        step_x, step_y = step * scale_x, step * scale_y
        found: list[float] = []
        defects: dict[int, str] = {}
        clipped = 0
        for row, (x1, y1, x2, y2) in enumerate(numbers):
            if not (x1 <= x2 and y1 <= y2):
                defects[row] = "inverted" if math.isfinite(x1 + y1 + x2 + y2) else "non-finite"
                continue
            left, right = x1 * scale_x + shift_x, x2 * scale_x + shift_x
            top, bottom = y1 * scale_y + shift_y, y2 * scale_y + shift_y
            if left < 0 or top < 0 or right > width or bottom > height:
                if not math.isfinite(x1 + y1 + x2 + y2):
                    defects[row] = "non-finite"
                    continue
                clipped += left < -step_x or top < -step_y or right > width + step_x or bottom > height + step_y
                left, right = min(max(left, 0.0), width), min(max(right, 0.0), width)
                top, bottom = min(max(top, 0.0), height), min(max(bottom, 0.0), height)
            found += (left, top, right, bottom)
        return found, defects, clipped


class Frame(FrozenModel):
    """What a family's numbers count.

    Attributes:
        of: `original` pixels; `fed` pixels, after the processor's resize; `grid`: parts of the original's width and
            height; `square`: parts of the image padded to a square.
        extent: The number of the far edge, in `grid` and `square`: 1, 100, 999, 1000, 1024 ...
        offset: Added to a number before it is scaled: 0.5 where a number is a bin and its centre is meant.
        decimals: Digits behind the point that `format` keeps; None writes floats in full.
        highest: The largest number that the model has a word for; None where there is no such bound.
        pad: Where the padding of `square` stands: on both sides, or behind the image.
        source: Who says so.
    """

    of: Literal["original", "fed", "grid", "square"]
    extent: float | None = Field(default=None, gt=0)
    offset: float = 0.0
    decimals: int | None = Field(default=0, ge=0, le=12)
    highest: float | None = Field(default=None, gt=0)
    pad: Literal["center", "corner"] = "center"
    source: str = ""

    @model_validator(mode="after")
    def _extent_where_it_counts(self) -> Frame:
        if (self.extent is None) == (self.of in ("grid", "square")):
            raise ValueError(f"frame of {self.of!r}: extent is {self.extent}; grids and squares need one, pixels none")
        return self

    def placing(self, size: Size, fed: Size) -> Placing:
        """This frame over an image of `size` (width, height) that was fed at `fed`."""
        width, height = size
        step = 10.0 ** -(self.decimals or 0)
        if self.of == "original":
            return Placing(1.0, 1.0, self.offset, self.offset, width, height, step)
        if self.of == "square" and fed[0] == fed[1]:
            side = max(size)
            scale = side / (self.extent or 1)
            spare = ((side - width) // 2, (side - height) // 2) if self.pad == "center" else (0, 0)
            shift = self.offset * scale
            return Placing(scale, scale, shift - spare[0], shift - spare[1], width, height, step)
        # Fed at another shape than a square, the image was not padded: then its own width and height count.
        far = fed if self.of == "fed" else (self.extent or 1, self.extent or 1)
        scale_x, scale_y = width / far[0], height / far[1]
        return Placing(scale_x, scale_y, self.offset * scale_x, self.offset * scale_y, width, height, step)

    def numbers(self, boxes: Floats, size: Size, fed: Size) -> Floats:
        """The numbers nearest to boxes (n, 4) in original pixels: the inverse of `placing` to one step."""
        at = self.placing(size, fed)
        scale = np.array([at.scale_x, at.scale_y] * 2)
        shift = np.array([at.shift_x, at.shift_y] * 2)
        exact = (boxes - shift) / scale
        rounded = exact if self.decimals is None else np.round(exact, self.decimals)
        return rounded if self.highest is None else np.clip(rounded, 0, self.highest)
