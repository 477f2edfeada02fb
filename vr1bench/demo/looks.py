"""How a scene is laid out and drawn: the look that the small model was trained on, and others that it never saw.

A look changes the drawing and never the words: a thing of any look is still one of the 24 classes of
`vr1bench.demo.world`, and a person would name it so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Ground = Callable[[np.random.Generator, int, int], NDArray[np.uint8]]
"""From a stream, width and height in pixels to the (height, width, 3) picture before any thing is drawn."""
Pen = Callable[[ImageDraw.ImageDraw, int], None]
"""Draws a form on a square mask of this side in pixels, so that it touches all four edges."""

COLOURS: Final[dict[str, RGB]] = {
    "red": (215, 30, 30),
    "green": (25, 165, 45),
    "blue": (30, 60, 225),
    "yellow": (248, 218, 25),
    "purple": (190, 40, 220),
    "white": (250, 250, 250),
}
SHAPES: Final = ("circle", "square", "triangle", "cross")
FRAME_PX: Final = 3
FRAME_TONE: Final = 25
JITTER: Final = 14
"""A thing's colour lies at most this far from its palette's, in each channel."""


def _circle(pen: ImageDraw.ImageDraw, side: int) -> None:
    pen.ellipse((0, 0, side - 1, side - 1), fill=255)


def _square(pen: ImageDraw.ImageDraw, side: int) -> None:
    pen.rectangle((0, 0, side - 1, side - 1), fill=255)


def _triangle(pen: ImageDraw.ImageDraw, side: int) -> None:
    last = side - 1
    pen.polygon(((0, last), (last, last), (last // 2, 0)), fill=255)


def _cross(pen: ImageDraw.ImageDraw, side: int) -> None:
    _upright(pen, side, round(side * 0.34))


def _upright(pen: ImageDraw.ImageDraw, side: int, arm: int) -> None:
    """A cross of an upright and a level bar that begin `arm` pixels from the corners."""
    last = side - 1
    pen.rectangle((0, arm, last, last - arm), fill=255)
    pen.rectangle((arm, 0, last - arm, last), fill=255)


def _line_px(side: int) -> int:
    """Width of the lines of hollow forms."""
    return round(side * 0.4)


def _ring(pen: ImageDraw.ImageDraw, side: int) -> None:
    pen.ellipse((0, 0, side - 1, side - 1), outline=255, width=_line_px(side))


def _hollow_square(pen: ImageDraw.ImageDraw, side: int) -> None:
    pen.rectangle((0, 0, side - 1, side - 1), outline=255, width=_line_px(side))


def _rounded_square(pen: ImageDraw.ImageDraw, side: int) -> None:
    pen.rounded_rectangle((0, 0, side - 1, side - 1), radius=side // 5, fill=255)


def _leaning(pen: ImageDraw.ImageDraw, side: int) -> None:
    last = side - 1
    pen.polygon(((0, last), (last, last), (side // 5, 0)), fill=255)


def _right_angled(pen: ImageDraw.ImageDraw, side: int) -> None:
    last = side - 1
    pen.polygon(((0, 0), (0, last), (last, last)), fill=255)


def _thin_cross(pen: ImageDraw.ImageDraw, side: int) -> None:
    _upright(pen, side, round(side * 0.42))


FORMS: Final[Mapping[str, Mapping[str, Pen]]] = {
    "circle": {"plain": _circle, "ring": _ring},
    "square": {"plain": _square, "hollow": _hollow_square, "rounded": _rounded_square},
    "triangle": {"plain": _triangle, "leaning": _leaning, "right-angled": _right_angled},
    "cross": {"plain": _cross, "thin": _thin_cross},
}
"""The drawn forms of each shape word."""


def shape_mask(shape: str, side: int, form: str = "plain") -> Image.Image:
    """The drawn shape as an ``L`` mask of (side, side) pixels: 255 inside, 0 outside, touching all four edges.

    Args:
        shape: One of `SHAPES`.
        side: In pixels.
        form: One of the shape's `FORMS`.

    Returns:
        The mask.

    Raises:
        ValueError: If the shape or the form is unknown.
    """
    if shape not in FORMS:
        raise ValueError(f"shape: got {shape!r}, expected one of {SHAPES}")
    if form not in FORMS[shape]:
        raise ValueError(f"form: got {form!r}, expected one of {tuple(FORMS[shape])} for a {shape}")
    mask = Image.new("L", (side, side), 0)
    FORMS[shape][form](ImageDraw.Draw(mask), side)
    return mask


def plain_ground(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Mid grey with a faint tint, sometimes soft blotches, and a dark frame."""
    tone = (rng.integers(85, 160) + rng.integers(-10, 11, 3)).astype(np.uint8)
    blotch = rng.integers(-18, 19, (4, 4)).astype(np.float32) if rng.random() < 0.6 else np.zeros((4, 4), np.float32)
    soft = np.asarray(Image.fromarray(blotch).resize((width, height), Image.Resampling.BILINEAR)).astype(np.int8)
    grain = rng.integers(-5, 6, (height, width), dtype=np.int8)
    # Stays within 75 - 23 and 169 + 23, so wrapping around as uint8 adds signed offsets exactly.
    return _framed((soft + grain).view(np.uint8)[..., None] + tone)


TONES: Final[tuple[RGB, ...]] = (
    (192, 192, 192),
    (186, 190, 168),
    (45, 45, 45),
    (30, 45, 60),
    (125, 85, 50),
    (20, 105, 115),
    (95, 115, 150),
    (200, 150, 125),
    (100, 100, 45),
    (95, 45, 75),
)
"""Light, dark and tinted grounds; each at least 50 from every plain colour in some channel."""


def patterned_ground(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """One of `TONES`, plain, in stripes or chequers with a darker self, or fading into another; the grain and frame."""
    first, other = (np.array(TONES[place], np.float32) for place in rng.choice(len(TONES), 2, replace=False))
    darker = first * rng.uniform(0.6, 0.8)
    rows, columns = np.mgrid[:height, :width]
    period = int(rng.integers(8, 21))
    slope = float(rng.uniform(-1, 1))
    patterns = (
        (np.zeros((height, width)), first),
        ((rows + slope * columns) // period % 2, darker),
        ((columns + slope * rows) // period % 2, darker),
        ((rows // period + columns // period) % 2, darker),
        (rows / height, other),
        (columns / width, other),
    )
    share, second = patterns[int(rng.integers(len(patterns)))]
    grain = rng.integers(-5, 6, (height, width, 1))
    return _framed((first + (second - first) * share[..., None] + grain).round().astype(np.uint8))


def _framed(ground: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same array with the frame painted on it, without which the small model knows no position."""
    ground[:FRAME_PX] = ground[-FRAME_PX:] = FRAME_TONE
    ground[:, :FRAME_PX] = ground[:, -FRAME_PX:] = FRAME_TONE
    return ground


@dataclass(frozen=True)
class Look:
    """How scenes are laid out and drawn.

    Attributes:
        name: Of the look; the draws of forms and shades follow it.
        palette: Colour word to the RGB values that it may have.
        ground: Draws the picture before the things.
        sides_px: Shortest and longest side of a picture.
        thing_px: Ranges of the side of a thing's box, each with the shortest and the longest. A thing that finds no
            place shrinks inside its range.
        share: A thing's side is at most this share of the picture's shorter side.
        counts: The fewest and the most things that are wanted.
        forms: Shape word to the drawn `FORMS` that it may have.
    """

    name: str
    palette: Mapping[str, tuple[RGB, ...]]
    ground: Ground
    sides_px: tuple[int, int]
    thing_px: tuple[tuple[int, int], ...]
    share: float
    counts: tuple[int, int]
    forms: Mapping[str, tuple[str, ...]]


PLAIN: Final = Look(
    name="plain",
    palette={word: (rgb,) for word, rgb in COLOURS.items()},
    ground=plain_ground,
    sides_px=(100, 180),
    thing_px=((17, 46),),
    share=0.4,
    counts=(1, 6),
    forms=dict.fromkeys(SHAPES, ("plain",)),
)
"""What the small model was trained on."""

SHADES: Final = replace(
    PLAIN,
    name="shades",
    palette={
        "red": ((120, 5, 15), (255, 95, 85)),
        "green": ((10, 80, 25), (140, 230, 130)),
        "blue": ((15, 20, 120), (80, 170, 250)),
        "yellow": ((255, 180, 20), (255, 245, 130)),
        "purple": ((85, 15, 115), (215, 140, 245)),
        "white": ((225, 225, 225),),
    },
)
"""Darker and lighter colours of the same words."""
GROUNDS: Final = replace(PLAIN, name="grounds", ground=patterned_ground)
"""Light, dark, tinted, striped, chequered and shaded grounds."""
OTHER_FORMS: Final = replace(
    PLAIN,
    name="forms",
    forms={shape: tuple(form for form in forms if form != "plain") for shape, forms in FORMS.items()},
)
"""Other drawings of the same shape words."""
SIZES: Final = replace(PLAIN, name="sizes", sides_px=(150, 180), thing_px=((12, 16), (47, 56)))
"""Things smaller and larger than any plain one."""
CROWDS: Final = replace(PLAIN, name="crowds", sides_px=(130, 180), thing_px=((17, 34),), counts=(7, 12))
"""More things than any plain picture holds."""

LOOKS: Final = (PLAIN, SHADES, GROUNDS, OTHER_FORMS, SIZES, CROWDS)
