"""Pictures of coloured shapes, drawn from a seed.

A scene is a framed picture with a plain or mildly textured ground and up to six shapes that do not touch.
Picture sizes run over 100..180 pixels a side, so most are no multiple of 28: the frame that a Qwen-style processor
feeds to a model (each side rounded to a multiple of 28) differs from the picture's own, and boxes really have to be
converted.

Boxes are tight, xyxy, in pixels of the picture; the right and lower edge are exclusive, so ``x2 - x1`` is the width.

Seeds below ``TRAIN_SEED_START`` are held out: data sets and evaluations use them. Training uses only the rest.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from PIL import Image

from vr1bench.demo.looks import COLOURS, FRAME_PX, JITTER, PLAIN, SHAPES, Look, shape_mask

TRAIN_SEED_START: Final = 1_000_000_000
SUPERLATIVES: Final = ("leftmost", "rightmost", "topmost", "lowest", "largest", "smallest")
LABELS: Final = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
SIDES_PX: Final = PLAIN.sides_px
MAX_THINGS: Final = PLAIN.counts[1]
GAP_PX: Final = 2

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape.

    Attributes:
        colour: A key of `COLOURS`.
        shape: One of `SHAPES`.
        box: Tight xyxy in pixels of the picture, right and lower edge exclusive.
        form: How the shape is drawn, one of its `vr1bench.demo.looks.FORMS`.
    """

    colour: str
    shape: str
    box: Box
    form: str = "plain"

    @property
    def label(self) -> str:
        """The class name, such as ``red circle``."""
        return f"{self.colour} {self.shape}"

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the box's middle, in pixels of the picture."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def area_px(self) -> float:
        """Area of the box, not of the drawn shape, in square pixels."""
        x1, y1, x2, y2 = self.box
        return (x2 - x1) * (y2 - y1)


@dataclass(frozen=True)
class Scene:
    """A layout of things; the picture is drawn when it is first asked for.

    Attributes:
        seed: What the scene was made from; the ground and the colours' jitter follow it too.
        width: In pixels.
        height: In pixels.
        things: None touching another or the frame; zero to six in the plain look.
        look: How it is drawn.
    """

    seed: int
    width: int
    height: int
    things: tuple[Thing, ...]
    look: Look = field(default=PLAIN, hash=False)

    @cached_property
    def picture(self) -> Image.Image:
        """The RGB picture, (width, height)."""
        return _draw(self)


def make_scene(
    seed: int, *, size: tuple[int, int] | None = None, count: int | None = None, look: Look = PLAIN
) -> Scene:
    """Lay out a scene.

    Args:
        seed: Any int; the same seed and arguments give the same scene and the same pixels.
        size: (width, height) in pixels; drawn from the look's sides if not given.
        count: How many things to place, 0 or more; at random within the look's counts if not given.
            A thing for which no free place is found is left out.
        look: How it is laid out and drawn.

    Returns:
        The scene.
    """
    rng = random.Random(seed)  # noqa: S311 (repeatable, no secret)
    forms = random.Random(f"forms {seed}")  # noqa: S311 (a stream of its own: layouts of looks with one form stay)
    width, height = size or (rng.randint(*look.sides_px), rng.randint(*look.sides_px))
    wanted = rng.randint(*look.counts) if count is None else count
    most = int(look.share * min(width, height))
    sides = sorted((_pick_side(rng, look, most) for _ in range(wanted)), reverse=True)
    things: list[Thing] = []
    for side, least in sides:
        box = _free_place(rng, side, least, width, height, [thing.box for thing in things])
        if box is not None:
            colour, shape = _pick_label(rng, things)
            things.append(Thing(colour, shape, box, forms.choice(look.forms[shape])))
    return Scene(seed, width, height, tuple(things), look)


def category_list(scene: Scene, rng: random.Random, length: int | None = None) -> tuple[str, ...]:
    """Classes to ask for in one question, in random order, some of them absent and some present ones left out.

    Args:
        scene: The scene that will be asked about.
        rng: Source of the choice.
        length: How many classes, 1 to all of `LABELS`; at random if not given.

    Returns:
        Distinct labels. At least one is present as long as the scene holds anything, save in one list of ten.
    """
    length = length or rng.randint(1, len(LABELS))
    chosen = rng.sample(LABELS, length)
    present = sorted({thing.label for thing in scene.things})
    if present and rng.random() < 0.9:
        for label in rng.sample(present, rng.randint(1, min(len(present), length))):
            if label not in chosen:
                chosen[rng.randrange(length)] = label
    return tuple(dict.fromkeys(chosen))


def referrals(scene: Scene) -> tuple[tuple[str, int], ...]:
    """Every expression of the world's small grammar that means exactly one thing of the scene.

    A class or a shape that occurs once is named plainly (`the red circle`, `the circle`). Among several, the leftmost,
    rightmost, topmost and lowest are named when the next one's centre is 8 pixels or more away, the largest and the
    smallest when the areas differ by a factor of 1.5 or more.

    Returns:
        (phrase, index into `scene.things`), in a fixed order.
    """
    groups: dict[str, list[int]] = {}
    for index, thing in enumerate(scene.things):
        groups.setdefault(thing.label, []).append(index)
        groups.setdefault(thing.shape, []).append(index)
    found: list[tuple[str, int]] = []
    for name, members in sorted(groups.items()):
        if len(members) == 1:
            found.append((f"the {name}", members[0]))
        else:
            found += [(f"the {word} {name}", index) for word, index in extremes(scene, members)]
    return tuple(found)


def extremes(scene: Scene, members: list[int]) -> list[tuple[str, int]]:
    """(superlative, index) of the members that stand clear of the next."""
    things = scene.things
    keys: dict[str, tuple[dict[int, float], float]] = {
        "leftmost": ({i: things[i].centre[0] for i in members}, 8.0),
        "rightmost": ({i: -things[i].centre[0] for i in members}, 8.0),
        "topmost": ({i: things[i].centre[1] for i in members}, 8.0),
        "lowest": ({i: -things[i].centre[1] for i in members}, 8.0),
        "largest": ({i: -math.log(things[i].area_px) for i in members}, math.log(1.5)),
        "smallest": ({i: math.log(things[i].area_px) for i in members}, math.log(1.5)),
    }
    clear: list[tuple[str, int]] = []
    for word, (key, margin) in keys.items():
        first, second = sorted(members, key=key.__getitem__)[:2]
        if key[second] - key[first] >= margin:
            clear.append((word, first))
    return clear


def _pick_side(rng: random.Random, look: Look, most: int) -> tuple[int, int]:
    """The side of a thing's box in pixels, and the least to which it may shrink."""
    least, longest = look.thing_px[0] if len(look.thing_px) == 1 else rng.choice(look.thing_px)
    return rng.randint(least, min(longest, most)), least


def _free_place(rng: random.Random, side: int, least: int, width: int, height: int, taken: list[Box]) -> Box | None:
    """A box of `least` to `side` pixels that keeps `GAP_PX` from the taken ones and from the frame, or None."""
    margin = FRAME_PX + 1
    while True:
        for _ in range(40):
            x1, y1 = rng.randint(margin, width - margin - side), rng.randint(margin, height - margin - side)
            box = (float(x1), float(y1), float(x1 + side), float(y1 + side))
            if not any(_near(box, other) for other in taken):
                return box
        if side == least:
            return None
        side = max(least, int(side * 0.8))


def _near(a: Box, b: Box) -> bool:
    return a[0] < b[2] + GAP_PX and b[0] < a[2] + GAP_PX and a[1] < b[3] + GAP_PX and b[1] < a[3] + GAP_PX


def _pick_label(rng: random.Random, things: list[Thing]) -> tuple[str, str]:
    """A colour and a shape; now and then those of a thing already there, so that classes and shapes repeat."""
    colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
    if things and (luck := rng.random()) < 0.4:
        twin = rng.choice(things)
        shape = twin.shape
        colour = twin.colour if luck < 0.25 else colour
    return colour, shape


def _draw(scene: Scene) -> Image.Image:
    rng = np.random.Generator(np.random.PCG64(scene.seed))
    shades = random.Random(f"shades {scene.seed}")  # noqa: S311 (repeatable, no secret)
    picture = Image.fromarray(scene.look.ground(rng, scene.width, scene.height))
    for thing in scene.things:
        x1, y1, x2, _ = (int(edge) for edge in thing.box)
        shade = shades.choice(scene.look.palette[thing.colour])
        jitter = rng.integers(-JITTER, JITTER + 1, 3)
        red, green, blue = (int(min(255, max(0, c + j))) for c, j in zip(shade, jitter, strict=True))
        picture.paste((red, green, blue), (x1, y1), shape_mask(thing.shape, x2 - x1, thing.form))
    return picture
