"""The audit names the frame that a model really wrote in, and is silent where nothing contradicts the family's."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vr1bench.audit import N_AUDITED, N_BOXES, N_PAIRS, Audit
from vr1bench.families import FAMILIES
from vr1bench.types import (
    Completion,
    Detections,
    Floats,
    Gold,
    Labels,
    Pair,
    PixelBudget,
    Prediction,
    Request,
    Sample,
    Sampling,
    Status,
)

Size = tuple[int, int]
Write = Callable[[Detections, Size], str]
NAMES = ("dog", "cat", "bird", "car", "boat")
GOOD, WEAK = 0.05, 0.4
"""Noise of a corner, as part of the box's sides: mean IoU 0.87 and 0.35."""


def objects(rng: np.random.Generator, size: Size) -> tuple[Floats, Labels]:
    """Boxes and labels of 1 to 6 objects somewhere in an image."""
    count = int(rng.integers(1, 7))
    sides = np.exp(rng.uniform(np.log(0.05), np.log(0.8), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * (1 - sides)
    return np.concatenate([corner, corner + sides], axis=1) * [*size, *size], rng.choice(NAMES, count)


def seen(rng: np.random.Generator, gold: Gold, size: Size, noise: float) -> Floats:
    """The gold as a model sees it, inside the image."""
    boxes = gold.boxes + rng.normal(0, noise, gold.boxes.shape) * np.tile(gold.boxes[:, 2:] - gold.boxes[:, :2], 2)
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    return np.clip(boxes, 0, [*size, *size])


def photos(rng: np.random.Generator) -> Size:
    return [(640, 480), (480, 640), (640, 427), (500, 375)][int(rng.integers(4))]


def mixed(rng: np.random.Generator) -> Size:
    return int(rng.integers(300, 2500)), int(rng.integers(300, 2500))


def tiny(rng: np.random.Generator) -> Size:
    return int(rng.integers(3, 9)) * 28, int(rng.integers(3, 9)) * 28


def square(rng: np.random.Generator) -> Size:
    return 1000, 1000


def writes(family: str, budget: PixelBudget | None = None) -> Write:
    """How a model of this family writes, fed by this budget."""
    return lambda found, size: FAMILIES[family].format(found, size, FAMILIES[family].fed_size(*size, budget))


def fractions(found: Detections, size: Size) -> str:
    rows = zip((found.boxes / [*size, *size]).round(3).tolist(), found.labels.tolist(), strict=True)
    return json.dumps([{"bbox_2d": box, "label": label} for box, label in rows])


def percent(found: Detections, size: Size) -> str:
    return writes("qwen3-vl")(Detections.of(found.boxes / 10, found.labels.tolist()), size)


def swapped(found: Detections, size: Size) -> str:
    return writes("qwen2.5-vl")(Detections.of(found.boxes[:, [1, 0, 3, 2]], found.labels.tolist()), size)


def square_of_448(found: Detections, size: Size) -> str:
    return writes("absolute")(Detections.of(found.boxes * 448 / [*size, *size], found.labels.tolist()), size)


def answered(
    family: str, text: str, size: Size, gold: Gold, number: int = 0, fed: Size | None = None, queries: tuple = NAMES
) -> Pair:
    fed = fed or FAMILIES[family].fed_size(*size, None)
    request = Request("", "", (), *size, queries, (), Sampling())
    prediction = FAMILIES[family].parse(Completion(text=text, fed_width=fed[0], fed_height=fed[1]), request)
    return Pair(Sample(f"{number}", (Path(f"{number}.jpg"),), *size, queries, gold), prediction)


def audited(
    family: str, write: Write, sizes: Callable, see: Callable | float = GOOD, count: int = 60, seed: int = 0, fed=None
) -> Audit:
    """A run over simulated images: `see` makes boxes of the gold, `write` the answer, `family` reads it."""
    rng = np.random.default_rng(seed)
    audit = Audit(FAMILIES[family])
    for number in range(count):
        size = sizes(rng)
        gold = Gold.of(*objects(rng, size))
        boxes = see(rng, gold, size) if callable(see) else seen(rng, gold, size, see)
        text = write(Detections.of(boxes, gold.labels.tolist()), size)
        audit.add(answered(family, text, size, gold, number, fed and fed(size)))
    return audit


LOW = PixelBudget(max_pixels=250_000)
HIGH = PixelBudget(min_pixels=800_000)


@pytest.mark.parametrize("noise", [GOOD, WEAK])
@pytest.mark.parametrize(
    ("family", "write", "sizes", "reading", "cause"),
    [
        ("qwen2.5-vl", writes("qwen3-vl"), photos, "numbers from 0 to 1000 across the image:", "another family"),
        ("qwen2.5-vl", writes("qwen3-vl"), mixed, "numbers from 0 to 1000 across the image:", "another family"),
        ("qwen3-vl", writes("qwen2.5-vl"), mixed, "pixels of the", "another family"),
        ("qwen3-vl", writes("gemini"), photos, "0 to 1000 across the image with x and y swapped", "x and y swapped"),
        ("qwen2.5-vl", writes("gemini"), photos, "x and y swapped", "x and y swapped, so another family"),
        ("qwen2.5-vl", swapped, photos, "pixels of the resized image with x and y swapped", "x and y swapped"),
        ("qwen2.5-vl", fractions, photos, "fractions of the image", "fractions instead of pixels"),
        ("qwen3-vl", fractions, photos, "fractions of the image", "fractions instead of pixels"),
        ("qwen3-vl", percent, mixed, "numbers from 0 to 100 across the image", "another family"),
        ("qwen2.5-vl", writes("qwen2.5-vl", LOW), mixed, "at most about 2", "the pixel budget"),
        ("qwen2.5-vl", writes("qwen2.5-vl", LOW), square, "at most about 2", "the pixel budget"),
        ("qwen2.5-vl", writes("qwen2.5-vl", HIGH), photos, "at least about 8", "the pixel budget"),
        ("qwen2.5-vl", square_of_448, photos, "numbers from 0 to about 4", "the pixel budget"),
        ("absolute", writes("qwen2.5-vl", LOW), mixed, "at most about 2", "the resize was not undone"),
    ],
)
def test_the_cause_is_named(family, write, sizes, reading, cause, noise):
    *facts, found = [f for f in audited(family, write, sizes, noise).findings() if not f.startswith("fitted")]
    assert found.startswith("boxes lie better on the gold")
    assert reading in found
    assert f"likely cause: {cause}" in found
    assert all("between 0 and 1" in fact or "past the image's edge" in fact for fact in facts)


def test_pixels_of_the_input_read_as_the_originals_when_the_fed_size_is_known():
    def fed(size: Size) -> Size:
        return FAMILIES["qwen2.5-vl"].fed_size(*size, LOW)

    right = audited("qwen2.5-vl", writes("qwen2.5-vl", LOW), mixed, fed=fed)
    wrong = audited("absolute", writes("qwen2.5-vl", LOW), mixed, fed=fed)
    undone = audited("qwen2.5-vl", writes("absolute"), mixed, fed=fed)
    assert right.findings() == ()
    assert "pixels of the resized image" in wrong.findings()[0]
    assert "the resize was not undone" in wrong.findings()[0]
    assert "past the image's edge" in undone.findings()[0]
    assert "the resize was already undone" in undone.findings()[1]


def unseeing(rng: np.random.Generator, gold: Gold, size: Size) -> Floats:
    rows = [objects(rng, size)[0][:1] for _ in range(len(gold))]
    return np.concatenate(rows)


def always(*shares: float) -> Callable:
    """A model that says the same part of every image: without lift, larger boxes would look like a better frame."""
    return lambda rng, gold, size: np.tile(np.array(shares) * [*size, *size], (len(gold), 1))


def half_as_large(rng: np.random.Generator, gold: Gold, size: Size) -> Floats:
    """Sees where things are, but always too small."""
    centre = np.tile((gold.boxes[:, :2] + gold.boxes[:, 2:]) / 2, 2)
    return centre + (seen(rng, gold, size, GOOD) - centre) / 2


@pytest.mark.parametrize("family", ["qwen2.5-vl", "qwen3-vl", "absolute", "gemini"])
@pytest.mark.parametrize("sizes", [photos, mixed, tiny, square])
@pytest.mark.parametrize(
    "see",
    [0.0, GOOD, 0.15, WEAK, 0.9, unseeing, half_as_large, always(0, 0, 0.3, 0.3), always(0.3, 0.3, 0.7, 0.7)],
)
def test_silence_where_nothing_is_wrong(family, sizes, see):
    for count in (12, 60):
        audit = audited(family, writes(family), sizes, see, count, seed=count)
        assert audit.findings() == ()
        assert audit.numbers()["samples"] == count


def test_silence_on_many_short_runs_by_chance():
    for seed in range(150):
        assert audited("qwen3-vl", writes("qwen3-vl"), photos, unseeing, 11, seed).findings() == ()


def test_silence_where_boxes_are_wrong_by_many_factors():
    def scaled(rng: np.random.Generator, gold: Gold, size: Size) -> Floats:
        return np.clip(gold.boxes * np.exp(rng.normal(np.log(0.7), 0.3)), 0, [*size, *size])

    audit = audited("qwen3-vl", writes("qwen3-vl"), square, scaled, 600)
    numbers = audit.numbers()
    assert numbers["scale x"] == pytest.approx(1 / 0.7, rel=0.1)
    assert numbers["IoU fitted scale"] > numbers["IoU own frame"] + 0.06
    assert audit.findings() == ()


def test_silence_where_frames_coincide():
    for see in (GOOD, WEAK):
        assert audited("qwen2.5-vl", writes("absolute"), tiny, see).findings() == ()
        assert audited("qwen3-vl", writes("qwen2.5-vl"), square, see).findings() == ()
        assert audited("absolute", writes("qwen3-vl"), square, see).findings() == ()


def test_a_scale_of_two_percent_is_found_on_a_good_model_only():
    def to_1023(found: Detections, size: Size) -> str:
        return writes("qwen3-vl")(Detections.of(found.boxes * 1.023, found.labels.tolist()), size)

    found = audited("qwen3-vl", to_1023, photos).findings()
    assert "when read as numbers from 0 to about 102" in found[-2]
    assert not any("gold" in sentence for sentence in audited("qwen3-vl", to_1023, photos, WEAK).findings())


def test_few_images_give_no_cause():
    assert all(
        "past the image's edge" in f for f in audited("qwen2.5-vl", writes("qwen3-vl"), photos, count=9).findings()
    )
    assert len(audited("qwen2.5-vl", writes("qwen3-vl"), photos, count=15).findings()) >= 2


def test_many_phrases_of_few_images_are_few_images():
    rng = np.random.default_rng(0)
    audit = Audit(FAMILIES["qwen3-vl"])
    for number in range(9):
        gold = Gold.of(objects(rng, (640, 480))[0][:1], ["x"])
        text = writes("gemini")(Detections.of(gold.boxes, ["x"]), (640, 480))
        for _ in range(20):
            audit.add(answered("qwen3-vl", text, (640, 480), gold, number, queries=("x",)))
    assert audit.numbers()["samples"] == 180
    assert audit.findings() == ()


def test_observations_need_no_gold():
    nothing = Gold.of([], [])
    audit = Audit(FAMILIES["qwen3-vl"])
    for _ in range(3):
        audit.add(answered("qwen3-vl", '[{"bbox_2d": [0.1, 0.2, 0.3, 1], "label": "dog"}]', (640, 480), nothing))
    for _ in range(3):
        audit.add(answered("qwen3-vl", '[{"bbox_2d": [10, 20, 30, 1100], "label": "dog"}]', (640, 480), nothing))
    assert audit.numbers() == {"samples": 6, "boxes": 6, "below one": 0.5, "past the edge": 0.5, "pairs": 0}
    below, past = audit.findings()
    assert below.startswith("3 of 6 boxes hold only numbers between 0 and 1, where numbers from 0 to 1000 across")
    assert past.startswith("3 of 6 boxes reach past the image's edge when read as numbers from 0 to 1000 across")
    assert "(family 'qwen3-vl')" in below


def test_what_is_no_observation():
    audit = Audit(FAMILIES["qwen3-vl"])
    boxes = ["[0, 0, 0, 0]", "[0, 0, 1, 1]"] * 5 + ["[0.5, 0.5, 0.9, 0.9]", "[0, 0, 1010, 1010]", "[5, 5, 2000, 9]"]
    for box in boxes:
        audit.add(answered("qwen3-vl", f'[{{"bbox_2d": {box}, "label": "dog"}}]', (640, 480), Gold.of([], [])))
    assert audit.numbers()["below one"] == audit.numbers()["past the edge"] == 1 / 13
    assert audit.findings() == ()


def test_fractions_are_no_news_where_fractions_are_expected():
    audit = Audit(FAMILIES["moondream"])
    text = '{"objects": [{"x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4}]}'
    for number in range(20):
        audit.add(answered("moondream", text, (100, 100), Gold.of([[10, 20, 30, 40]], ["x"]), number, queries=("x",)))
    assert audit.numbers()["below one"] == 1
    assert audit.findings() == ()


def test_numbers():
    audit = Audit(FAMILIES["absolute"])
    rng = np.random.default_rng(0)
    for number in range(20):
        corner = rng.integers(20, 60, 2)
        gold = Gold.of([[*corner, *(corner + 20)]], ["dog"])
        text = writes("absolute")(Detections.of(gold.boxes * [0.5, 0.25, 0.5, 0.25], ["dog"]), (100, 100))
        audit.add(answered("absolute", text, (100, 100), gold, number))
    numbers = audit.numbers()
    assert numbers["scale x"] == pytest.approx(2)
    assert numbers["scale y"] == pytest.approx(4)
    assert numbers["IoU fitted scale"] == pytest.approx(1)
    assert (numbers["samples"], numbers["boxes"], numbers["pairs"]) == (20, 20, 20)
    readings = (
        "own frame", "original pixels", "fed pixels", "resized pixels 28", "resized pixels 32", "fractions", "percent",
        "thousandths", "x and y swapped", "swapped thousandths", "fitted pixel budget", "fitted grid", "fitted scale",
    )  # fmt: skip
    measures = ["samples", "boxes", "below one", "past the edge", "pairs", "scale x", "scale y"]
    assert list(numbers) == measures + [f"IoU {reading}" for reading in readings]
    (found,) = audit.findings()
    assert "times 2 in x and 4 in y: mean IoU 1.00" in found
    assert "the resize was not undone" in found


def test_the_fitted_scale_is_told_beside_a_named_cause():
    audit = audited("qwen3-vl", percent, mixed)
    *_, scale = audit.findings()
    assert scale.startswith(
        "fitted to the gold, boxes would have to grow 9.99 times in x and 9.99 times in y (109 pairs)"
    )
    assert scale.endswith("pairs); reported only, never applied")


def test_what_does_not_count():
    audit = Audit(FAMILIES["absolute"])
    gold = Gold.of([[10, 10, 20, 20]], ["dog"])
    box = '{"bbox_2d": [10, 10, 20, 20], "label": "dog"}'
    audit.add(answered("absolute", "[]", (100, 100), gold))
    audit.add(answered("absolute", '[{"bbox_2d": [1, 2, 3, 4], "label": "unicorn"}]', (100, 100), gold))
    audit.add(Pair(Sample("a", (Path("a"),), 100, 100, NAMES, gold), None))
    assert audit.numbers() == {}
    assert audit.findings() == ()
    audit.add(answered("absolute", f"[{box}, {box}]", (100, 100), gold))  # a repeat
    assert audit.numbers()["boxes"] == 1
    crowd = Gold(gold.boxes, gold.labels, np.array([True]), gold.areas, gold.extents, gold.ids)
    audit.add(answered("absolute", f"[{box}]", (100, 100), crowd, number=1))
    assert audit.numbers()["boxes"] == 2
    assert audit.numbers()["pairs"] == 1
    # One phrase was asked: its box counts, whatever it is called.
    audit.add(answered("absolute", f"[{box}]", (100, 100), Gold.of([[0, 0, 9, 9]], ["my dog"]), queries=("my dog",)))
    assert audit.numbers()["boxes"] == 3


def test_rows_that_do_not_belong_together_or_are_not_finite_are_left_out():
    gold = Gold.of([[10, 10, 20, 20]], ["dog"])
    pair = answered("absolute", '[{"bbox_2d": [10, 10, 20, 20], "label": "dog"}]', (100, 100), gold)
    assert pair.prediction is not None
    audit = Audit(FAMILIES["absolute"])
    none = pair.prediction.detections.take(np.array([False]))
    audit.add(replace(pair, prediction=replace(pair.prediction, detections=none)))
    audit.add(replace(pair, prediction=replace(pair.prediction, written=[(10.0, 10.0, float("inf"), 20.0)])))
    assert audit.numbers() == {}


def test_a_reading_is_clipped_as_predictions_are():
    audit = Audit(FAMILIES["absolute"])
    gold = Gold.of([[10, 10, 100, 100]], ["dog"])
    audit.add(answered("absolute", '[{"bbox_2d": [10, 10, 1000, 1000], "label": "dog"}]', (100, 100), gold))
    assert audit.numbers()["IoU own frame"] == 1
    assert audit.numbers()["past the edge"] == 1


def test_the_fitted_scale_needs_pairs_and_coordinates_far_from_the_origin():
    def one(count: int) -> dict[str, float]:
        audit = Audit(FAMILIES["absolute"])
        gold = Gold.of([[2, 2, 50, 50]], ["dog"])
        for number in range(count):
            text = '[{"bbox_2d": [5, 5, 50, 50], "label": "dog"}]'
            audit.add(answered("absolute", text, (100, 100), gold, number))
        return audit.numbers()

    assert "scale x" not in one(9)
    assert "IoU fitted scale" not in one(9)
    assert one(10)["scale x"] == pytest.approx(1)


def test_the_audit_is_bounded():
    gold = Gold.of([[10, 10, 20, 20]], ["dog"])
    pair = answered("absolute", '[{"bbox_2d": [10, 10, 20, 20], "label": "dog"}]', (100, 100), gold)
    audit = Audit(FAMILIES["absolute"])
    for _ in range(N_AUDITED + 5):
        audit.add(pair)
    assert audit.numbers()["samples"] == N_AUDITED
    boxes = [[i, 0, i + 5, 5] for i in range(100)]
    many = Gold.of(boxes, ["dog"] * 100)
    text = writes("absolute")(Detections.of(boxes, ["dog"] * 100), (200, 200))
    pair = answered("absolute", text, (200, 200), many)
    audit = Audit(FAMILIES["absolute"])
    for _ in range(N_PAIRS // 1000):
        audit.add(pair)
    assert audit.numbers()["samples"] == N_PAIRS / (N_BOXES * 100)
    assert audit.numbers()["boxes"] == N_PAIRS / 100


def test_findings_may_be_asked_for_at_any_time():
    audit = audited("qwen2.5-vl", writes("qwen3-vl"), photos)
    assert audit.findings() == audit.findings() == audited("qwen2.5-vl", writes("qwen3-vl"), photos).findings()
    before = audit.numbers()
    audit.add(answered("qwen2.5-vl", '[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]', (640, 480), Gold.of([], [])))
    assert audit.numbers()["samples"] == before["samples"] + 1


number = st.floats(-1e300, 1e300) | st.integers(-5, 2000).map(float) | st.sampled_from([0.0, 1e300, -1e300, 5e-324])
side = st.integers(1, 3000)


@given(
    rows=st.lists(st.tuples(number, number, number, number), min_size=1, max_size=12),
    size=st.tuples(side, side),
    fed=st.tuples(side, side) | st.just((0, 0)),
    family=st.sampled_from(["qwen2.5-vl", "qwen3-vl", "gemini", "absolute", "moondream"]),
    golden=st.booleans(),
)
def test_wild_numbers_do_no_harm(rows, size, fed, family, golden):
    labels = [NAMES[0]] * len(rows)
    flags = np.zeros(len(rows), dtype=np.bool_)
    written = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in rows]
    found = Detections.of([[0, 0, 1, 1]] * len(rows), labels)
    prediction = Prediction("", found, flags, flags, Status.OK, written=written, fed=fed)
    gold = Gold.of([[0, 0, *size]] if golden else [], NAMES[:1] if golden else [])
    audit = Audit(FAMILIES[family])
    for i in range(15):
        audit.add(Pair(Sample(str(i), (Path(str(i)),), *size, NAMES[:1], gold), prediction))
    assert all(map(np.isfinite, audit.numbers().values()))
    assert all(isinstance(sentence, str) for sentence in audit.findings())


@given(row=st.tuples(number, number, number, number), size=st.tuples(side, side))
def test_wild_lone_boxes_do_no_harm(row, size):
    a, b, c, d = row
    audit = Audit(FAMILIES["qwen3-vl"])
    flags = np.zeros(1, dtype=np.bool_)
    found = Detections.of([[0, 0, 1, 1]], ["dog"])
    written = [(min(a, c), min(b, d), max(a, c), max(b, d))]
    prediction = Prediction("", found, flags, flags, Status.OK, written=written)
    for i in range(15):
        gold = Gold.of([[i, i, *size]], ["dog"])
        audit.add(Pair(Sample(str(i), (Path(str(i)),), *size, NAMES, gold), prediction))
    assert all(map(np.isfinite, audit.numbers().values()))
    audit.findings()
