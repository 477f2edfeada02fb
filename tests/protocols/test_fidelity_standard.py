"""Protocols `standard` and `qwen2.5`: plain COCO evaluation of all classes in one prompt, and of one class a prompt."""

from __future__ import annotations

from typing import Any

import pytest
from protocols.public import asked, covered, kept, numbers, replayed, requests, rule
from protocols.reference import by_class, coco_stats, names_in_gold, plain_detections, same_boxes, smart_resize
from protocols.worlds import World, chance, items, spoken, written

# Qwen2.5-VL's preprocessor_config.json: 4 to 16384 tokens of 28 x 28 px
LEAST, MOST = 4 * 28 * 28, 16384 * 28 * 28
# The family's own words: jefferyZhan/Griffon@9866875, Vision-R1/eval/eval_localization.sh:4
ALL = (
    "Locate every item from the category list in the image and output the coordinates in JSON format. "
    "The category set includes {}."
)
ONE = "Locate every {} in the image and output the coordinates in JSON format."  # QwenLM/Qwen3-VL issue 839
# om-ai-lab/VLM-R1@90052f4: the data set's own sentence, then src/eval/test_rec_baseline.py:104
PHRASE = (
    "Please provide the bounding box coordinate of the region this sentence describes: {}. "
    "Please provide the bounding box coordinate in JSON format."
)
DETECTION = ("coco", "odinw/VehiclesOpenImages", "odinw/pistols")

SHARED: dict[str, Any] = {
    "boxes": "first", "duplicates": "keep", "unknown": "keep", "scores": "constant", "match": ">=",
    "max_detections": 100, "max_tokens": 2048, "shuffle": None, "first": None, "iou": "plain",
}  # fmt: skip
FACTS: dict[str, dict[str, Any]] = {
    # Reproduces no paper: gold numbered anew, the family's own bounds.
    "standard": {**SHARED, "query": "all", "ids": "fixed", "min_pixels": None, "max_pixels": None},
    # Issue 839: names one by one, mmdetection's ODinW-13 configuration, whose CocoMetric loads the file as it is.
    "qwen2.5": {**SHARED, "query": "one", "ids": "as-shipped", "min_pixels": LEAST, "max_pixels": MOST},
}


@pytest.mark.parametrize("name", FACTS)
def test_their_fields(name: str) -> None:
    for where in (*DETECTION, "ovdeval/logo", "refcoco"):
        found = rule(name, where)
        assert {field: getattr(found, field) for field in FACTS[name]} == FACTS[name]


@pytest.mark.parametrize("where", DETECTION)
def test_what_is_asked(world: World, where: str) -> None:
    gold = world[where]
    names = [row["name"] for row in gold["categories"]]
    pictures = sorted(row["id"] for row in gold["images"])
    only = names[0] if len(names) == 1 else ""
    assert asked(where, "standard", world.root) == [(str(n), only, ALL.format(", ".join(names))) for n in pictures]
    assert asked(where, "qwen2.5", world.root) == [
        (str(number), name, ONE.format(name)) for number in pictures for name in names
    ]


@pytest.mark.parametrize("name", FACTS)
def test_every_sentence_is_asked_in_the_order_of_the_file(world: World, name: str) -> None:
    phrases = [row["normal_caption"] for row in world["refcoco"]]
    expected = [(str(number), phrase, PHRASE.format(phrase)) for number, phrase in enumerate(phrases)]
    assert asked("refcoco", name, world.root) == expected


@pytest.mark.parametrize("name", FACTS)
def test_pictures_are_fed_within_the_bounds_of_the_family(drawn: World, name: str) -> None:
    for request in requests("odinw/VehiclesOpenImages", name, drawn.root):
        assert request.sampling.max_tokens == 2048
        assert request.pixels is not None
        assert (request.pixels.min_pixels, request.pixels.max_pixels) == (LEAST, MOST)


def answered(world: World, where: str, name: str, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Random answers to what is asked there, and the boxes in them that count; now and then of what is not there."""
    gold, draw = world[where], chance(seed)
    rows: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    everything = [row["name"] for row in gold["categories"]]
    prompts = [everything] if name == "standard" else [[one] for one in everything]
    for image in gold["images"]:
        size = (image["width"], image["height"])
        fed = smart_resize(*size, 28, LEAST, MOST)
        there = {*names_in_gold(gold, image["id"])}
        for names in prompts:
            text, lines = "[]", ()
            if there & {*names} or draw.random() < 0.5 / len(prompts):
                said = items(draw, gold, image, names)
                text, lines = spoken(draw, written(said, (fed[0] / size[0], fed[1] / size[1])))
            rows.append({"sample_id": str(image["id"]), "query": names[0] * (name == "qwen2.5"), "text": text})
            found += plain_detections(lines, names, image, gold, fed)
    return rows, found


@pytest.mark.parametrize("where", DETECTION)
@pytest.mark.parametrize("name", FACTS)
def test_their_numbers(world: World, where: str, name: str) -> None:
    answers, found = answered(world, where, name, 3)
    assert same_boxes(kept(where, name, world.root, answers), by_class(world[where], found))
    stats, classes = coco_stats(world[where], found, renumbered=name == "standard")
    result = replayed(where, name, world.root, answers)
    mine = numbers(result)
    assert {each: mine[each] for each in stats} == pytest.approx(stats, abs=1e-9)
    assert result.values.per_class == pytest.approx(classes, abs=1e-9)
    assert covered(result)
    assert 0.05 < (mine["AP"] or 0) < 0.9
