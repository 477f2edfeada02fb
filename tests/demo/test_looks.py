"""Every look draws what it says, in words that stay true; the plain one draws what the small model was trained on."""

from __future__ import annotations

import colorsys
import hashlib
import itertools

import numpy as np
import pytest

from vr1bench.demo.looks import (
    COLOURS,
    CROWDS,
    FORMS,
    FRAME_PX,
    FRAME_TONE,
    GROUNDS,
    JITTER,
    LOOKS,
    OTHER_FORMS,
    PLAIN,
    SHADES,
    SHAPES,
    SIZES,
    TONES,
    Look,
    shape_mask,
)
from vr1bench.demo.masks import area_px
from vr1bench.demo.world import Scene, Thing, make_scene

PER_LOOK = 40
CONTRAST = 45
"""The least distance of a ground's pixel from a thing's colour, in the channel where they differ most."""
SCENES = {look.name: [make_scene(seed, look=look) for seed in range(PER_LOOK)] for look in LOOKS}
by_look = pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)


def distance(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(..., colours): how far pixels lie from colours in the channel where they differ most."""
    return np.abs(pixels[..., None, :].astype(int) - colours.astype(int)).max(-1)


def painted(scene: Scene, thing: Thing) -> np.ndarray:
    """Where a thing's box holds one of its colour's shades."""
    x1, y1, x2, y2 = (int(edge) for edge in thing.box)
    shades = np.array(scene.look.palette[thing.colour])
    return distance(np.asarray(scene.picture)[y1:y2, x1:x2], shades).min(-1) <= JITTER


def test_the_plain_look_is_what_the_model_was_trained_on() -> None:
    """Layouts and pixels as they were before there were other looks."""
    for size, count, digest in (
        (None, None, "563afd775a1826eac13a468c93ca79bed5802310fe0a9e758bcf4befb30371a1"),
        ((131, 150), 5, "ae04eaf4df6d1f3f75be9923c058e091a711678d5b3f5c93fa9b764a3487d63c"),
    ):
        seen = hashlib.sha256()
        for seed in range(50):
            scene = make_scene(seed, size=size, count=count)
            things = [(thing.colour, thing.shape, thing.box) for thing in scene.things]
            seen.update(repr((seed, scene.width, scene.height, things)).encode())
            seen.update(scene.picture.tobytes())
        assert seen.hexdigest() == digest


@by_look
def test_boxes_are_tight_on_the_drawn_pixels_of_the_named_colour(look: Look) -> None:
    for scene in SCENES[look.name]:
        for thing in scene.things:
            drawn = painted(scene, thing)
            rows, columns = np.nonzero(drawn)
            assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (0, drawn.shape[0]) * 2
            mask = np.asarray(shape_mask(thing.shape, drawn.shape[0], thing.form)) > 0
            assert (drawn == mask).all(), (scene.seed, thing)
            assert area_px(thing) == mask.sum()


@by_look
def test_nothing_else_has_the_colour_of_a_thing(look: Look) -> None:
    colours = np.array([shade for shades in look.palette.values() for shade in shades])
    for scene in SCENES[look.name]:
        ground = np.ones((scene.height, scene.width), dtype=bool)
        for thing in scene.things:
            x1, y1, x2, y2 = (int(edge) for edge in thing.box)
            ground[y1:y2, x1:x2] = ~painted(scene, thing)
        assert distance(np.asarray(scene.picture)[ground], colours).min() > JITTER
        for thing in scene.things:
            own = np.array(look.palette[thing.colour])
            assert distance(np.asarray(scene.picture)[ground], own).min() >= CONTRAST - JITTER


@by_look
def test_things_keep_clear_of_each_other_and_of_the_frame(look: Look) -> None:
    for scene in SCENES[look.name]:
        taken = np.zeros((scene.height, scene.width), dtype=int)
        for thing in scene.things:
            x1, y1, x2, y2 = (int(edge) for edge in thing.box)
            taken[y1 - 1 : y2 + 1, x1 - 1 : x2 + 1] += 1  # so that a pixel of ground parts any two
        assert taken.max() <= 1
        assert not any(edge.any() for edge in (taken[:FRAME_PX], taken[-FRAME_PX:], taken[:, :FRAME_PX]))
        assert (np.asarray(scene.picture)[:FRAME_PX] == FRAME_TONE).all()


@by_look
def test_scenes_repeat_and_every_colour_and_shape_comes(look: Look) -> None:
    for scene in SCENES[look.name][:5]:
        again = make_scene(scene.seed, look=look)
        assert again == scene
        assert again.picture.tobytes() == scene.picture.tobytes()
    words = {word for scene in SCENES[look.name] for thing in scene.things for word in thing.label.split()}
    assert words == {*COLOURS, *SHAPES}


def named(red: int, green: int, blue: int) -> str:
    """The colour word whose hue is nearest; white where there is hardly any hue."""
    hue, saturation, _ = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    if saturation < 0.2:
        return "white"
    hues = {word: colorsys.rgb_to_hsv(*(value / 255 for value in rgb))[0] for word, rgb in COLOURS.items()}
    del hues["white"]
    return min(hues, key=lambda word: min(abs(hues[word] - hue), 1 - abs(hues[word] - hue)))


@by_look
def test_every_shade_is_still_called_by_its_word(look: Look) -> None:
    assert list(look.palette) == list(COLOURS)
    for word, shades in look.palette.items():
        for shade, jitter in itertools.product(shades, itertools.product((-JITTER, JITTER), repeat=3)):
            red, green, blue = (min(255, max(0, value + off)) for value, off in zip(shade, jitter, strict=True))
            assert named(red, green, blue) == word
            assert max(red, green, blue) >= 60  # no near black


def test_shades_are_none_that_was_trained_on() -> None:
    for word, shades in SHADES.palette.items():
        far = distance(np.array(shades), np.array([COLOURS[word]]))
        assert far.min() > (JITTER if word == "white" else 2 * JITTER), word


def test_grounds_vary_more_than_any_that_was_trained_on() -> None:
    """A plain ground's middle lies within 10 of a grey of 85 to 159, and its blotches and grain span 46 at most."""
    assert distance(np.array(TONES), np.array(list(COLOURS.values()))).min() >= CONTRAST
    trained = 0
    for scene in SCENES["grounds"]:
        bare = make_scene(scene.seed, look=GROUNDS, size=(scene.width, scene.height), count=0).picture
        inner = np.asarray(bare)[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX].reshape(-1, 3).astype(int)
        low, high = np.percentile(inner, (2, 98), axis=0)
        middle = (low + high) / 2
        grey = middle.max() - middle.min() <= 20 and middle.min() >= 75 and middle.max() <= 169
        trained += bool(grey and (high - low).max() <= 46)
    assert trained == 0


def test_no_form_is_the_plain_one() -> None:
    for shape, forms in OTHER_FORMS.forms.items():
        assert set(forms) == set(FORMS[shape]) - {"plain"}
        for form in forms:
            assert shape_mask(shape, 30, form).tobytes() != shape_mask(shape, 30).tobytes()
    drawn = {(thing.shape, thing.form) for scene in SCENES["forms"] for thing in scene.things}
    assert drawn == {(shape, form) for shape, forms in OTHER_FORMS.forms.items() for form in forms}


@pytest.mark.parametrize("shape", FORMS)
def test_forms_touch_all_four_edges_at_every_side(shape: str) -> None:
    for form, side in itertools.product(FORMS[shape], range(11, 61)):
        mask = np.asarray(shape_mask(shape, side, form))
        assert set(np.unique(mask)) <= {0, 255}
        assert all(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])), (form, side)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'ring', expected one of \('plain', 'hollow'"):
        shape_mask("square", 20, "ring")


def test_sizes_are_none_that_was_trained_on() -> None:
    sides = [thing.box[2] - thing.box[0] for scene in SCENES["sizes"] for thing in scene.things]
    assert all(any(low <= side <= high for low, high in SIZES.thing_px) for side in sides)
    low, high = PLAIN.thing_px[0]
    assert {side < low for side in sides} == {True, False}
    assert not any(low <= side <= high for side in sides)


def test_crowds_hold_more_than_any_plain_picture() -> None:
    assert CROWDS.counts[0] > PLAIN.counts[1]
    assert {len(scene.things) for scene in SCENES["crowds"]} <= set(range(CROWDS.counts[1] + 1))
