"""One file of answers under two protocols: other numbers where a published difference is at work, and only there.

Each cause stands beside a control: data that lacks it, on which the same two protocols agree.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from protocols.public import numbers, replayed
from protocols.reference import vlm_r1_chosen, vlm_r1_iou
from protocols.worlds import Item, World, bare, chance, items, pictures_of, written

ODINW = "odinw/VehiclesOpenImages"
A, B, C = (100, 100, 300, 300), (350, 100, 550, 300), (100, 350, 300, 550)
D = (350, 350, 550, 550)
Answers = list[dict[str, Any]]
FED = {"fed_width": 616, "fed_height": 616}
"""Pictures fed as they are, whatever a protocol's bounds would make of them."""


def says(picture: int, found: Sequence[Item], query: str = "") -> dict[str, Any]:
    return {"sample_id": str(picture), "query": query, "text": bare(written(found)), **FED}


def detection(root: Path, gold: Sequence[Sequence[Item]], names: Sequence[str] = ("Car",), first_id: int = 1) -> None:
    World(root).write(ODINW, pictures_of(gold, names, first_id=first_id))


# Annotation id 0


@pytest.mark.parametrize("boxes", [5, 19])
def test_annotation_id_0_costs_a_true_positive_where_ids_are_as_shipped(tmp_path: Path, boxes: int) -> None:
    """Perfect boxes of one class: the first of n counts as false (pycocotools; cocoapi issue 332)."""
    gold = [[(A, "Car")] for _ in range(boxes)]
    answers = [says(picture, found) for picture, found in enumerate(gold)]
    cap = ((100 * (boxes - 1) // boxes) + 1) / 101 * (boxes - 1) / boxes
    for first_id, shipped in ((0, cap), (1, 1.0)):
        detection(tmp_path, gold, first_id=first_id)
        for name in ("qwen2.5", "qwen3", "vision-r1"):
            assert numbers(replayed(ODINW, name, tmp_path, answers))["AP"] == pytest.approx(shipped)
            assert numbers(replayed(ODINW, name, tmp_path, answers, ids="fixed"))["AP"] == pytest.approx(1)
        assert numbers(replayed(ODINW, "standard", tmp_path, answers))["AP"] == pytest.approx(1)


# The order of pictures


def renumbered(gold: Any, answers: Answers, draw: random.Random) -> tuple[Any, Answers]:
    """The same pictures and answers under other ids."""
    ids = [row["id"] for row in gold["images"]]
    to = dict(zip(ids, draw.sample(range(10_000), len(ids)), strict=True))
    data = copy.deepcopy(gold)
    for row in data["images"]:
        row["id"] = to[row["id"]]
    for row in data["annotations"]:
        row["image_id"] = to[row["image_id"]]
    return data, [{**row, "sample_id": str(to[int(row["sample_id"])])} for row in answers]


@pytest.mark.parametrize("name", ["standard", "qwen3"])
def test_the_order_of_pictures_moves_ap_and_not_ap_tie(drawn: World, tmp_path: Path, name: str) -> None:
    """With one score for every box, who stands first is decided by the picture's id."""
    draw, gold = chance(4), drawn[ODINW]
    names = [row["name"] for row in gold["categories"]]
    scale = {row["id"]: (1000 / row["width"], 1000 / row["height"]) for row in gold["images"]}
    answers: Answers = []
    right: Answers = []
    for image in gold["images"]:
        for kept, found in ((answers, items(draw, gold, image, names)), (right, gold_of(gold, image["id"]))):
            kept.append({"sample_id": str(image["id"]), "text": bare(written(found, scale[image["id"]]))})
    for said, moves in ((answers, True), (right, False)):
        seen: list[dict[str, float | None]] = []
        for seed in range(3):
            world = World(tmp_path / f"{seed} {moves}")
            data, same = renumbered(gold, said, chance(seed))
            for row in data["annotations"]:
                row["id"] += 1  # so that id 0 plays no part
            world.write(ODINW, data)
            seen.append(numbers(replayed(ODINW, name, world.root, same, "qwen3-vl")))
        assert (len({found["AP"] for found in seen}) > 1) == moves
        for still in ("AP_tie", "AP50_tie", "F1@0.5"):
            assert [found[still] for found in seen] == pytest.approx([seen[0][still]] * 3, abs=1e-12)


def gold_of(gold: Any, image_id: int) -> list[Item]:
    names = {row["id"]: row["name"] for row in gold["categories"]}
    rows = [(row["bbox"], names[row["category_id"]]) for row in gold["annotations"] if row["image_id"] == image_id]
    return [((x, y, x + w, y + h), name) for (x, y, w, h), name in rows]


# What is asked


def test_asking_only_for_what_is_there_hides_false_positives(tmp_path: Path) -> None:
    """`vision-r1` asks for the classes of the gold, `qwen2.5` for every one; the second picture has no gold."""
    gold: list[list[Item]] = [[(A, "Car"), (B, "Bus")], [], [(A, "Car")]]
    detection(tmp_path, gold, ("Bus", "Car"))
    there = [says(0, [(A, "Car")], "Car"), says(0, [(B, "Bus")], "Bus"), says(2, [(A, "Car")], "Car")]
    nothing = [says(1, [], "Car"), says(1, [], "Bus"), says(2, [], "Bus")]
    invented = [says(1, [(A, "Car")], "Car"), says(1, [], "Bus"), says(2, [(B, "Bus")], "Bus")]
    for absent, precision in ((invented, 3 / 5), (nothing, 1)):
        oracle = replayed(ODINW, "vision-r1", tmp_path, there + absent)
        every = replayed(ODINW, "qwen2.5", tmp_path, there + absent)
        assert numbers(oracle)["precision@0.5"] == 1
        assert numbers(every)["precision@0.5"] == pytest.approx(precision)
        assert (numbers(oracle)["AP"] == numbers(every)["AP"]) == (absent is nothing)
        assert (oracle.values.n, oracle.values.requests, every.values.requests) == (3, 3, 6)
        assert oracle.values.counts["unasked"] == 1


def test_names_that_were_not_asked_cost_precision_only_where_they_stay(tmp_path: Path) -> None:
    detection(tmp_path, [[(A, "Car")]])
    for found, stays in (([(A, "Car"), (B, "unicorn")], 0.5), ([(A, "Car")], 1)):
        for name, precision in (("standard", stays), ("qwen2.5", stays), ("qwen3", 1), ("vision-r1", 1)):
            mine = numbers(replayed(ODINW, name, tmp_path, [says(0, found)]))
            assert (mine["precision@0.5"], mine["AP"]) == (precision, pytest.approx(1))


def test_a_name_that_only_another_prompt_asks_for_is_no_detection(tmp_path: Path) -> None:
    """One class a prompt; where one prompt asks for both, it is one."""
    detection(tmp_path, [[(A, "Bus"), (B, "Car")]], ("Bus", "Car"))
    both = [(A, "Bus"), (B, "Car")]
    answers = [says(0, both), says(0, both, "Bus"), says(0, [], "Car")]
    for name, found in (("standard", 1), ("qwen3", 1), ("qwen2.5", 0.5), ("vision-r1", 0.5)):
        assert numbers(replayed(ODINW, name, tmp_path, answers))["AP50"] == pytest.approx(found)


# The fed size


def test_bounds_on_the_fed_size_decide_where_the_answers_do_not_say_it(tmp_path: Path) -> None:
    """Qwen2.5-VL counts pixels of the fed image: `qwen3` feeds at least 786,432 of them, the others 616 x 616."""
    detection(tmp_path, [[(A, "Car")]])
    told = says(0, [(A, "Car")])
    untold = {name: value for name, value in told.items() if name not in FED}
    for name, other in (("standard", 1), ("qwen2.5", 1), ("vision-r1", 1), ("qwen3", 0)):
        assert numbers(replayed(ODINW, name, tmp_path, [told]))["AP50"] == pytest.approx(1)
        assert numbers(replayed(ODINW, name, tmp_path, [untold]))["AP50"] == pytest.approx(other)


# Referring


def referring(root: Path, boxes: Sequence[Sequence[float]]) -> None:
    """A sentence about each box, in pictures whose pixels are those of the fed image."""
    row = {"image": "train2014/x.jpg", "width": 616, "height": 616, "problem": "Where is it?", "normal_caption": "it"}
    World(root).write("refcoco", [{**row, "solution": box} for box in boxes])


def thought(found: Sequence[Sequence[float]]) -> Answers:
    """An answer each, as VLM-R1's scripts both read it."""
    inside = bare(written([(box, "it") for box in found]))
    return [{"sample_id": "0", "text": f"<think>Hm.</think><answer>{inside}</answer>"}]


@pytest.mark.parametrize(
    ("gold", "found", "changes", "strict", "other"),
    [
        # The last box of an answer, or the first.
        (A, [A, D], {"boxes": "first"}, 0, 1),
        (A, [D, A], {"boxes": "first"}, 1, 0),
        (A, [A], {"boxes": "first"}, 1, 1),
        (A, [D, A, A], {"boxes": "all"}, 1, 0),
        # An overlap of exactly one half, or a little more and less.
        ((64, 64, 128, 128), [(64, 64, 128, 96)], {"match": ">="}, 0, 1),
        ((64, 64, 128, 128), [(64, 64, 128, 97)], {"match": ">="}, 1, 1),
        ((64, 64, 128, 128), [(64, 64, 128, 95)], {"match": ">="}, 0, 0),
        # An overlap of one pixel across counts as none; of two it does not matter.
        ((100, 100, 101, 300), [(100, 100, 101, 300)], {"iou": "plain"}, 0, 1),
        ((100, 100, 102, 300), [(100, 100, 102, 300)], {"iou": "plain"}, 1, 1),
    ],
)
def test_one_rule_of_vlm_r1_changed(
    tmp_path: Path, gold: Any, found: Any, changes: dict[str, Any], strict: float, other: float
) -> None:
    referring(tmp_path, [gold])
    answers = thought(found)
    assert numbers(replayed("refcoco", "vlm-r1", tmp_path, answers))["Acc@0.5"] == strict
    assert numbers(replayed("refcoco", "vlm-r1", tmp_path, answers, **changes))["Acc@0.5"] == other


@pytest.mark.parametrize(
    ("gold", "found", "thinking", "direct", "standard"),
    [
        (A, [A, D], 0, 1, 1),  # which box
        (A, [D, A], 1, 0, 0),
        ((64, 64, 128, 128), [(64, 64, 128, 96)], 0, 0, 1),  # how an overlap of one half is compared
        ((100, 100, 101, 300), [(100, 100, 101, 300)], 0, 0, 1),  # how overlaps are measured
        (A, [A], 1, 1, 1),  # no cause
        (A, [D], 0, 0, 0),
    ],
)
def test_three_protocols_of_referring(
    tmp_path: Path, gold: Any, found: Any, thinking: float, direct: float, standard: float
) -> None:
    referring(tmp_path, [gold])
    answers = thought(found)
    for name, expected in (("vlm-r1", thinking), ("vlm-r1-direct", direct), ("standard", standard)):
        assert numbers(replayed("refcoco", name, tmp_path, answers))["Acc@0.5"] == expected


def test_the_overlap_is_the_plain_one_wherever_it_is_wider_than_a_pixel(tmp_path: Path) -> None:
    draw = chance(5)
    boxes = [[x, y, x + draw.randint(10, 300), y + draw.randint(10, 300)] for x, y in [(7, 9)] * 200]
    referring(tmp_path, boxes)
    answers = [
        {"sample_id": str(n), "text": f"<answer>{bare(written([(box, 'it')]))}</answer>"}
        for n, box in enumerate(draw.sample(boxes, len(boxes)))
    ]
    plain = numbers(replayed("refcoco", "vlm-r1", tmp_path, answers, iou="plain"))
    theirs = numbers(replayed("refcoco", "vlm-r1", tmp_path, answers))
    assert plain == pytest.approx(theirs, abs=1e-12)
    assert 0.1 < (theirs["mean IoU"] or 0) < 0.9


def test_2000_of_more_sentences_count_by_a_shuffle(tmp_path: Path) -> None:
    """The first half of the file is answered right: the share of those among the chosen is the accuracy."""
    for count in (2100, 2000):
        referring(tmp_path, [A] * count)
        answers = [{**thought([A if n < count / 2 else D])[0], "sample_id": str(n)} for n in range(count)]
        chosen = vlm_r1_chosen(count)
        among = sum(n < count / 2 for n in chosen) / len(chosen)
        assert numbers(replayed("refcoco", "vlm-r1", tmp_path, answers))["Acc@0.5"] == pytest.approx(among)
        assert numbers(replayed("refcoco", "standard", tmp_path, answers))["Acc@0.5"] == 0.5
        assert (among == 0.5) == (count == 2000)


def test_a_box_of_no_size_is_no_overlap_under_either(tmp_path: Path) -> None:
    referring(tmp_path, [A])
    assert vlm_r1_iou([0.0] * 4, list(A)) == 0
    for name in ("vlm-r1", "vlm-r1-direct", "standard"):
        assert numbers(replayed("refcoco", name, tmp_path, thought([(0, 0, 0, 0)])))["Acc@0.5"] == 0


# NMS-AP


def test_the_tie_rule_of_nms_ap(drawn: World, tmp_path: Path) -> None:
    """Of boxes around one gold box the last stays with `vlm-r1`, the first with the rule changed; both lie between the
    bounds, which meet where nothing competes."""
    draw, gold, where = chance(6), drawn["ovdeval/color"], "ovdeval/color"
    sizes = {row["id"]: (row["width"], row["height"]) for row in gold["images"]}
    competing: Answers = []
    alone: Answers = []
    for image in gold["images"]:
        names = image["text"] + image["neg_text"]
        some = gold_of(gold, image["id"])[:1]
        for kept, found in ((competing, items(draw, gold, image, names)), (alone, some)):
            scale = (1000 / sizes[image["id"]][0], 1000 / sizes[image["id"]][1])
            kept.append({"sample_id": str(image["id"]), "text": bare(written(found, scale))})
    world = World(tmp_path)
    world.write(where, gold)
    for answers, differ in ((competing, True), (alone, False)):
        last = numbers(replayed(where, "vlm-r1", tmp_path, answers, "qwen3-vl"))
        first = numbers(replayed(where, "vlm-r1", tmp_path, answers, "qwen3-vl", nms_ties="first"))
        low, high = last["NMS-AP worst"] or 0, last["NMS-AP best"] or 0
        assert (last["NMS-AP"] != first["NMS-AP"]) == differ
        assert (low < high) == differ
        assert all(low <= (found["NMS-AP"] or 0) <= high for found in (first, last))
        assert last["AP"] == first["AP"]  # without suppression there is nothing to break
