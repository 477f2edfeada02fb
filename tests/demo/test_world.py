"""The embedded world: what it draws is what it says."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from vr1bench.demo.world import (
    COLOURS,
    FRAME_PX,
    LABELS,
    MAX_THINGS,
    SHAPES,
    SIDES_PX,
    Scene,
    category_list,
    make_scene,
    referrals,
    shape_mask,
)

SCENES = [make_scene(seed) for seed in range(120)]


def nearest_colour(pixels: np.ndarray) -> np.ndarray:
    """Index of the nearest of the world's colours, or the number of colours where none is near."""
    palette = np.array(list(COLOURS.values()), dtype=int)
    distance = np.abs(pixels[..., None, :].astype(int) - palette).max(-1)
    return np.where(distance.min(-1) <= 14, distance.argmin(-1), len(palette))


def test_a_seed_gives_the_same_scene_and_pixels() -> None:
    first, again, other = make_scene(5), make_scene(5), make_scene(6)
    assert first == again
    assert first.picture.tobytes() == again.picture.tobytes()
    assert first.picture.tobytes() != other.picture.tobytes()


@pytest.mark.parametrize("scene", SCENES[:40], ids=lambda scene: f"seed{scene.seed}")
def test_boxes_are_tight_on_the_drawn_pixels(scene: Scene) -> None:
    pixels = np.asarray(scene.picture)
    assert pixels.shape == (scene.height, scene.width, 3)
    found = nearest_colour(pixels)
    covered = np.zeros(found.shape, dtype=bool)
    for thing in scene.things:
        x1, y1, x2, y2 = (int(edge) for edge in thing.box)
        covered[y1:y2, x1:x2] = True
        rows, columns = np.nonzero(found[y1:y2, x1:x2] == list(COLOURS).index(thing.colour))
        assert (rows.min(), rows.max() + 1) == (0, y2 - y1)
        assert (columns.min(), columns.max() + 1) == (0, x2 - x1)
    assert (found[~covered] == len(COLOURS)).all()


def test_things_keep_clear_of_each_other_and_of_the_frame() -> None:
    for scene in SCENES:
        taken = np.zeros((scene.height, scene.width), dtype=int)
        for thing in scene.things:
            x1, y1, x2, y2 = (int(edge) for edge in thing.box)
            taken[y1:y2, x1:x2] += 1
        assert taken.max() <= 1
        assert not taken[:FRAME_PX].any()
        assert not taken[:, -FRAME_PX:].any()


def test_counts_classes_and_sizes_vary() -> None:
    assert {len(scene.things) for scene in SCENES} == set(range(1, MAX_THINGS + 1))
    assert {thing.label for scene in SCENES for thing in scene.things} == set(LABELS)
    sizes = {(scene.width, scene.height) for scene in SCENES}
    assert len({size for size in sizes if size[0] % 28 and size[1] % 28}) >= 4
    assert all(SIDES_PX[0] <= side <= SIDES_PX[1] for size in sizes for side in size)
    fed = {(round(width / 28), round(height / 28)) for width, height in sizes}
    assert fed == {(columns, rows) for columns in (4, 5, 6) for rows in (4, 5, 6)}


def test_a_given_size_and_count_are_kept() -> None:
    scene = make_scene(3, size=(131, 102), count=0)
    assert (scene.width, scene.height, scene.things) == (131, 102, ())
    assert scene.picture.size == (131, 102)


def holds(scene: Scene, phrase: str, index: int) -> bool:
    """Whether the phrase, read independently of the generator, means this thing and no other."""
    words = phrase.split()
    name = " ".join(word for word in words if word in COLOURS or word in SHAPES)
    members = [i for i, thing in enumerate(scene.things) if name in (thing.label, thing.shape)]
    boxes = {i: scene.things[i].box for i in members}
    measures = {
        "leftmost": lambda i: boxes[i][0] + boxes[i][2],
        "rightmost": lambda i: -boxes[i][0] - boxes[i][2],
        "topmost": lambda i: boxes[i][1] + boxes[i][3],
        "lowest": lambda i: -boxes[i][1] - boxes[i][3],
        "largest": lambda i: -(boxes[i][2] - boxes[i][0]),
        "smallest": lambda i: boxes[i][2] - boxes[i][0],
    }
    if words[1] not in measures:
        return members == [index]
    ranked = sorted(measures[words[1]](i) for i in members)
    return len(ranked) > 1 and ranked[0] < ranked[1] and measures[words[1]](index) == ranked[0]


def test_referring_expressions_mean_one_thing() -> None:
    forms: Counter[str] = Counter()
    for scene in SCENES:
        phrases = referrals(scene)
        assert len({phrase for phrase, _ in phrases}) == len(phrases)
        for phrase, index in phrases:
            assert holds(scene, phrase, index), (scene.seed, phrase)
            forms[phrase.split()[1] if len(phrase.split()) > 2 else "shape"] += 1
    assert {"leftmost", "rightmost", "topmost", "lowest", "largest", "smallest", "shape", "red"} <= set(forms)


def test_category_lists_mix_present_and_absent_classes() -> None:
    absent, left_out = 0, 0
    for scene in SCENES:
        rng = random.Random(scene.seed)  # noqa: S311
        listed = category_list(scene, rng)
        present = {thing.label for thing in scene.things}
        assert len(set(listed)) == len(listed)
        assert set(listed) <= set(LABELS)
        absent += not set(listed) <= present
        left_out += not present <= set(listed)
        assert set(category_list(scene, rng, len(LABELS))) == set(LABELS)
    assert absent > 60
    assert left_out > 20


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="hexagon"):
        shape_mask("hexagon", 20)
