"""The size at which Qwen's vision processors feed an image."""

from __future__ import annotations

import math

from vr1bench.types import PixelBudget

MAX_ASPECT = 200
"""Qwen's `smart_resize` refuses longer images (transformers, `image_processing_qwen2_vl.py`)."""


def smart_resize(width: int, height: int, factor: int, pixels: PixelBudget) -> tuple[int, int]:
    """(width, height) in pixels after Qwen's resize: multiples of `factor`, within the budget, aspect nearly kept.

    Follows `smart_resize` of transformers' Qwen2-VL image processor, which takes and gives (height, width); Python's
    round-half-to-even is part of it.

    Raises:
        ValueError: One side is more than 200 times the other.
    """
    if max(width, height) / min(width, height) > MAX_ASPECT:
        raise ValueError(f"image of {width}x{height}: the longer side must be at most {MAX_ASPECT} times the shorter")
    fed_width = round(width / factor) * factor
    fed_height = round(height / factor) * factor
    if fed_width * fed_height > pixels.max_pixels:
        beta = math.sqrt(width * height / pixels.max_pixels)
        fed_width = max(factor, math.floor(width / beta / factor) * factor)
        fed_height = max(factor, math.floor(height / beta / factor) * factor)
    elif fed_width * fed_height < pixels.min_pixels:
        beta = math.sqrt(pixels.min_pixels / (width * height))
        fed_width = math.ceil(width * beta / factor) * factor
        fed_height = math.ceil(height * beta / factor) * factor
    return fed_width, fed_height
