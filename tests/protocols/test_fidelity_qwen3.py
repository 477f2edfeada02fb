"""Protocol `qwen3` against QwenLM/Qwen3-VL@9658872, evaluation/ODinW-13.

The files are dataset_utils.py, run_odinw.py and eval_utils.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from protocols.public import asked, covered, kept, numbers, replayed, requests, rule
from protocols.reference import by_class, coco_stats, qwen3_detections, same_boxes
from protocols.worlds import Item, World, bare, chance, fenced, items, pictures_of, written

# dataset_utils.py:153-156
PROMPT = (
    "Locate every instance that belongs to the following categories: '{obj_names}'. "
    "Report bbox coordinates in JSON format."
)
# Issue 1721, comment of 2025-10-31
PHRASE = (
    'Locate every object that matches the description "{ref_sentence}" in the image. '
    "Report bbox coordinates in JSON format."
)
LEAST, MOST = 768 * 32 * 32, 12800 * 32 * 32  # dataset_utils.py:112-116
TOKENS = 32768  # run_odinw.py:361
LIMITS = (100, 300, 1000)  # eval_utils.py:77
ODINW = ("odinw/VehiclesOpenImages", "odinw/pistols")
FAMILIES = ("qwen3-vl", "qwen2.5-vl")

FACTS = {
    "query": "all",  # dataset_utils.py:134-156, one prompt a picture
    "scores": "constant",  # run_odinw.py:280, 1.0 for every box
    "max_detections": 100,  # eval_utils.py:144: mAP is stats[0], which pycocotools takes at 100
    "ids": "as-shipped",  # eval_utils.py:107, the file is loaded as it is
    "unknown": "drop",  # run_odinw.py:256-257
    "duplicates": "keep",  # run_odinw.py:251-261
    "min_pixels": LEAST,
    "max_pixels": MOST,
    "max_tokens": TOKENS,
    "shuffle": None,
    "first": None,
}


def test_its_fields_are_the_published_ones() -> None:
    for where in ODINW:
        found = rule("qwen3", where)
        assert {name: getattr(found, name) for name in FACTS} == FACTS


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("where", ["coco", *ODINW])
def test_every_picture_is_asked_for_all_names(world: World, where: str, family: str) -> None:
    gold = world[where]
    text = PROMPT.replace("{obj_names}", ", ".join(row["name"] for row in gold["categories"]))
    pictures = sorted(row["id"] for row in gold["images"])
    only = gold["categories"][0]["name"] if len(gold["categories"]) == 1 else ""
    assert asked(where, "qwen3", world.root, family) == [(str(number), only, text) for number in pictures]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_phrase_is_asked_in_the_words_of_the_issue(world: World, family: str) -> None:
    expected = [(str(n), row["normal_caption"]) for n, row in enumerate(world["refcoco"])]
    expected = [(number, phrase, PHRASE.replace("{ref_sentence}", phrase)) for number, phrase in expected]
    assert asked("refcoco", "qwen3", world.root, family) == expected


def test_pictures_are_fed_within_its_own_bounds(drawn: World) -> None:
    for where in ODINW:
        for request in requests(where, "qwen3", drawn.root, "qwen3-vl"):
            assert request.sampling.max_tokens == TOKENS
            assert request.sampling.repetition_penalty == 1  # run_odinw.py:369
            assert request.sampling.temperature == 0  # not reproduced: .7 (run_odinw.py:363)
            assert request.pixels is not None
            assert (request.pixels.min_pixels, request.pixels.max_pixels) == (LEAST, MOST)


def answered(world: World, where: str, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Random answers to what is asked there, and what that script reads from them."""
    gold, draw = world[where], chance(seed)
    rows: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in gold["images"]:
        names = [row["name"] for row in gold["categories"]]
        scale = (1000 / image["width"], 1000 / image["height"])
        said = written(items(draw, gold, image, names, spellings=1, flood=0), scale)
        text = draw.choice((fenced, fenced, bare))(said)
        cut = fenced(said)[: draw.randint(1, 30)]  # before the first box is whole
        text = draw.choice((text,) * 7 + (f"<think>[1, 2, 3, 4] or so.</think>\n\n{text}", "None", "", cut))
        rows.append({"sample_id": str(image["id"]), "text": text})
        found += qwen3_detections(text, image, gold["categories"])
    return rows, found


@pytest.mark.parametrize("where", ["coco", *ODINW])
def test_its_numbers(world: World, where: str) -> None:
    """What it prints (eval_utils.py:139-145): AP, AP50, AP75 and those of small, medium and large."""
    answers, found = answered(world, where, 1)
    assert same_boxes(kept(where, "qwen3", world.root, answers, "qwen3-vl"), by_class(world[where], found))
    stats, classes = coco_stats(world[where], found, limits=LIMITS)
    result = replayed(where, "qwen3", world.root, answers, "qwen3-vl")
    mine = numbers(result)
    for name in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
        assert mine[name] == pytest.approx(stats[name], abs=1e-9)
    assert result.values.per_class == pytest.approx(classes, abs=1e-9)
    assert covered(result)
    assert 0.1 < (mine["AP"] or 0) < 0.9


A, B = (62, 62, 308, 308), (369, 369, 554, 554)
PER_PIXEL = (1000 / 616, 1000 / 616)


Numbers = dict[str, float | None]


def tiny(root: Path, gold: list[Item], names: list[str], text: str) -> tuple[Numbers, Numbers]:
    """What that script and vr1bench make of one answer about one picture; ids from 1, so that nothing else is lost."""
    world, where = World(root), "odinw/VehiclesOpenImages"
    content = pictures_of([gold], names, first_id=1)
    world.write(where, content)
    found = qwen3_detections(text, content["images"][0], content["categories"])
    theirs: Numbers = coco_stats(content, found, limits=LIMITS)[0] if found else {"AP50": 0.0}
    return theirs, numbers(replayed(where, "qwen3", root, [{"sample_id": "0", "text": text}], "qwen3-vl"))


@pytest.mark.parametrize(
    ("names", "gold", "text", "theirs", "ours"),
    [
        # one item without a label voids the answer
        (["Car"], [(A, "Car")], bare([*written([(A, "Car")], PER_PIXEL), '{"bbox_2d": [1, 2, 3, 4]}']), 0, 1),
        # so does a cut, and a word around the fence
        (["Car"], [(A, "Car")], fenced(written([(A, "Car"), (B, "Car")], PER_PIXEL))[:-30], 0, 1),
        (["Car"], [(A, "Car")], "Sure:\n" + fenced(written([(A, "Car")], PER_PIXEL)), 0, 1),
        # labels folded to lower case: of q and Q it knows the first
        (["q", "Q"], [(A, "Q")], bare(written([(A, "Q")], PER_PIXEL)), 0, 1),
    ],
    ids=["no label", "cut", "words", "Q and q"],
)
def test_what_is_not_reproduced(
    tmp_path: Path, names: list[str], gold: list[Item], text: str, theirs: float, ours: float
) -> None:
    published, mine = tiny(tmp_path, gold, names, text)
    assert published["AP50"] == pytest.approx(theirs)
    assert mine["AP50"] == pytest.approx(ours)


def test_a_hundred_boxes_count_for_ap_but_a_thousand_for_its_ap50(tmp_path: Path) -> None:
    text = bare(written([*[(B, "Car")] * 120, (A, "Car")], PER_PIXEL))
    published, mine = tiny(tmp_path, [(A, "Car")], ["Car"], text)
    assert published["AP"] == mine["AP"] == 0
    assert published["AP50"] == pytest.approx(1 / 121)
    assert mine["AP50"] == 0
