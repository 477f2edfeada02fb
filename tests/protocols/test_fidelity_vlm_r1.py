"""Protocols `vlm-r1` and `vlm-r1-direct` against om-ai-lab/VLM-R1@90052f4, src/eval: test_rec_r1.py for the one,
test_rec_baseline.py for the other; and `vlm-r1` on OVDEval against om-ai-lab/OVDEval@2ba0aa9, eval.py."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from protocols.public import asked, covered, kept, numbers, replayed, requests, rule
from protocols.reference import (
    by_class,
    coco_stats,
    in_original,
    ovdeval_asked,
    ovdeval_kept,
    plain_detections,
    same_boxes,
    smart_resize,
    vlm_r1_chosen,
    vlm_r1_first_box,
    vlm_r1_iou,
    vlm_r1_last_box,
)
from protocols.worlds import World, bare, chance, fenced, items, near, random_box, spoken, written

# test_rec_r1.py:111 and test_rec_baseline.py:104, around the row's `problem` (:134 and :127)
THINKING = (
    "{Question} First output the thinking process in <think> </think> tags and then output the final answer in "
    "<answer> </answer> tags. Output the final answer in JSON format."
)
DIRECT = "{Question} Please provide the bounding box coordinate in JSON format."
WORDS = {"vlm-r1": THINKING, "vlm-r1-direct": DIRECT}
READ: dict[str, Callable[[str], list[float]]] = {"vlm-r1": vlm_r1_last_box, "vlm-r1-direct": vlm_r1_first_box}
LEAST, MOST = 3136, 12845056  # the processor's own: both load it without bounds (:66 and :60)
OVDEVAL = ("ovdeval/logo", "ovdeval/color")
# What its post on detection shows, behind the words of the training code: no evaluation was released (issues 233, 250).
# qwen_module.py:76-83 in open_r1/vlm_modules; om-ai-lab.github.io@4640672, 2025_03_24.html:311-315
DETECT = (
    "First thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> "
    "reasoning process here </think><answer> answer here </answer>\n"
    "Please carefully check the image and detect the following objects: ['a', 'b']. Output the bbox coordinates of "
    "detected objects in <answer></answer>. The bbox coordinates in Markdown format should be: \n"
    '```json\n[{"bbox_2d": [x1, y1, x2, y2], "label": "object name"}]\n```\n'
    ' If no targets are detected in the image, simply respond with "None".'
)

FACTS = {
    "match": ">",  # :212 and :205
    "iou": "vlm-r1",  # :81-91 and :72-82
    "shuffle": 42,  # :107-108 and :100-101
    "first": 2000,  # :101, :109 and :92, :102
    "max_tokens": 256,  # :162 and :155
    "min_pixels": LEAST,
    "max_pixels": MOST,
}
OFFICIAL = {
    "scores": "constant",  # a language model gives none
    "max_detections": 100,  # eval.py:70-74, COCOeval's own
    "nms_ties": "last",  # eval.py:43-51: the last of equals in a reversed sort
    "ids": "as-shipped",  # eval.py:68, the file is loaded as it is
    "shuffle": None,
    "first": None,
}


@pytest.mark.parametrize(("name", "box"), [("vlm-r1", "last"), ("vlm-r1-direct", "first")])
def test_their_fields_are_the_published_ones(name: str, box: str) -> None:
    for where in ("refcoco", "refcoco+", "refcocog", "lisa"):  # test_rec_r1.py:49-53
        found = rule(name, where)
        assert {field: getattr(found, field) for field in FACTS} == FACTS
        assert found.boxes == box  # :71, a greedy expression, and :66, a plain search


def test_they_differ_in_words_and_box_alone() -> None:
    """test_rec_baseline.py is test_rec_r1.py but for :62-70 and :104; ids and ties play no part in referring."""
    aside = {"name", "about", "questions", "by_family", "boxes", "ids", "nms_ties"}
    for where in ("refcoco", "refcoco+", "refcocog", "lisa", "demo/rec"):
        thinking, direct = (rule(name, where).model_dump(exclude=aside) for name in WORDS)
        assert thinking == direct


def test_on_ovdeval_its_fields_are_those_of_the_official_metric() -> None:
    for where in OVDEVAL:
        found = rule("vlm-r1", where)
        assert {field: getattr(found, field) for field in OFFICIAL} == OFFICIAL


@pytest.mark.parametrize("name", WORDS)
def test_what_is_asked(world: World, name: str) -> None:
    rows = world["refcoco"]
    assert asked("refcoco", name, world.root) == [
        (str(n), rows[n]["normal_caption"], WORDS[name].replace("{Question}", rows[n]["problem"]))
        for n in vlm_r1_chosen(len(rows))
    ]


@pytest.mark.parametrize("family", ["internvl", "glm-4v"])
def test_other_families_are_not_told_of_json(drawn: World, family: str) -> None:
    """test_rec_r1_internvl.py:115; glm_module.py:82 has the same words."""
    rows, words = drawn["refcoco"], THINKING.removesuffix(" Output the final answer in JSON format.")
    texts = [text for _, _, text in asked("refcoco", "vlm-r1", drawn.root, family)]
    assert texts == [words.replace("{Question}", rows[n]["problem"]) for n in vlm_r1_chosen(len(rows))]


@pytest.mark.parametrize("name", WORDS)
def test_pictures_are_fed_within_the_processor_s_bounds(drawn: World, name: str) -> None:
    for request in requests("refcoco", name, drawn.root):
        assert (request.sampling.max_tokens, request.sampling.temperature) == (256, 0)
        assert request.pixels is not None
        assert (request.pixels.min_pixels, request.pixels.max_pixels) == (LEAST, MOST)


Spoken = Callable[[random.Random, list[str]], str]


def thought(draw: random.Random, said: list[str]) -> str:
    """A thinking answer: one object, a list, none, or cut before the end of the thinking."""
    thinking = "<think>Perhaps it is at [1, 2, 300, 400], but no.</think>\n"
    inside = draw.choice((fenced(said), fenced(said), bare(said), said[-1], "None", ""))
    text = draw.choice(("", thinking, thinking)) + f"<answer>{inside}</answer>"
    return draw.choice((text,) * 8 + (thinking[:30], ""))


def plain(draw: random.Random, said: list[str]) -> str:
    """An answer without thinking: JSON, words around a box, fractions, cut in the last item if it is not the first."""
    some = ", ".join(str(value / 2) for value in json.loads(said[0])["bbox_2d"])
    texts = (
        fenced(said),
        bare(said),
        said[0],
        f"It is at [{some}].",
        fenced(said)[: -12 * (len(said) > 1) or None],
        "None",
        "",
    )
    return draw.choice((*texts[:3], *texts))


@pytest.mark.parametrize(("name", "answer"), [("vlm-r1", thought), ("vlm-r1-direct", plain)])
def test_their_numbers(world: World, name: str, answer: Spoken) -> None:
    """test_rec_r1.py:203-230, test_rec_baseline.py:196-222: the share of those chosen whose box overlaps by more."""
    draw, rows = chance(1), world["refcoco"]
    answers: list[dict[str, Any]] = []
    ious: dict[int, float] = {}
    for number, row in enumerate(rows):
        size = (row["width"], row["height"])
        fed = smart_resize(*size, 28, LEAST, MOST)
        boxes = [
            near(draw, row["solution"], row, share) for share in draw.choices((0.02, 0.15, 0.3), k=draw.randint(1, 3))
        ]
        if draw.random() < 0.3:
            boxes.insert(draw.randint(0, len(boxes)), random_box(draw, *size))
        said = written([(box, row["normal_caption"]) for box in boxes], (fed[0] / size[0], fed[1] / size[1]))
        text = answer(draw, said)
        answers.append({"sample_id": str(number), "text": text})
        ious[number] = vlm_r1_iou(in_original(READ[name](text), fed, size), row["solution"])
    chosen = [ious[number] for number in vlm_r1_chosen(len(rows))]
    result = replayed("refcoco", name, world.root, answers)
    mine = numbers(result)
    assert mine["Acc@0.5"] == pytest.approx(fmean(iou > 0.5 for iou in chosen), abs=1e-9)
    assert mine["mean IoU"] == pytest.approx(fmean(chosen), abs=1e-9)
    assert result.values.n == min(2000, len(rows))
    assert 0.2 < (mine["Acc@0.5"] or 0) < 0.9


@pytest.mark.parametrize(
    ("name", "text", "theirs", "ours"),
    [
        ("vlm-r1", '{"bbox_2d": [100, 100, 300, 616]}', False, True),  # outside of <answer>
        ("vlm-r1", '<answer>{"bbox_2d": [100.0, 100.0, 300.0, 616.0]}</answer>', False, True),  # floats
        ("vlm-r1", "<answer>[100, 100, 300, 616]</answer>", False, True),  # no object around it
        ("vlm-r1-direct", '{"bbox_2d": ["100", "100", "300", "616"]}', False, True),  # numbers as strings
        ("vlm-r1-direct", '```json\n[{"bbox_2d": [100, 100, 300, 616], "lab', True, False),  # an item that is cut
        # A box that overruns the picture: clipped here, by both.
        ("vlm-r1", '<answer>{"bbox_2d": [100, 100, 300, 1200]}</answer>', False, True),
        ("vlm-r1-direct", '{"bbox_2d": [100, 100, 300, 1200]}', False, True),
    ],
)
def test_what_is_not_reproduced(tmp_path: Path, name: str, text: str, theirs: bool, ours: bool) -> None:
    gold = [100.0, 100.0, 300.0, 616.0]
    world = World(tmp_path)
    row = {"image": "train2014/x.jpg", "width": 616, "height": 616, "problem": "p", "normal_caption": "p"}
    world.write("refcoco", [{**row, "solution": gold}])
    assert (vlm_r1_iou(READ[name](text), gold) > 0.5) == theirs
    assert numbers(replayed("refcoco", name, tmp_path, [{"sample_id": "0", "text": text}]))["Acc@0.5"] == ours


# OVDEval


@pytest.mark.parametrize("where", OVDEVAL)
def test_ovdeval_is_asked_for_the_file_s_or_the_picture_s_own_names(world: World, where: str) -> None:
    gold = world[where]
    pictures = {row["id"]: row for row in gold["images"]}
    names = {number: ovdeval_asked(where.removeprefix("ovdeval/"), gold, pictures[number]) for number in pictures}
    expected = [
        (str(n), names[n][0] * (len(names[n]) == 1), DETECT.replace("['a', 'b']", str(names[n]))) for n in sorted(names)
    ]
    assert asked(where, "vlm-r1", world.root) == expected


@pytest.mark.parametrize("where", OVDEVAL)
@pytest.mark.parametrize("seed", [1, 2])
def test_its_nms_ap(world: World, where: str, seed: int) -> None:
    """eval.py over what was said, every score 1, and pycocotools over what it leaves."""
    gold, draw = world[where], chance(seed)
    answers: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in gold["images"]:
        size = (image["width"], image["height"])
        fed = smart_resize(*size, 28, LEAST, MOST)
        names = ovdeval_asked(where.removeprefix("ovdeval/"), gold, image)
        said = written(items(draw, gold, image, names), (fed[0] / size[0], fed[1] / size[1]))
        text, lines = spoken(draw, said)
        answers.append({"sample_id": str(image["id"]), "text": f"<think>Hm.</think><answer>{text}" if lines else text})
        found += plain_detections(lines, names, image, gold, fed)
    left = ovdeval_kept(gold, found)
    assert same_boxes(kept(where, "vlm-r1", world.root, answers), by_class(gold, left))
    stats, classes = coco_stats(gold, left)
    before, _ = coco_stats(gold, found)
    result = replayed(where, "vlm-r1", world.root, answers)
    mine = numbers(result)
    for name in ("AP", "AP50", "AP75"):
        assert mine[f"NMS-{name}"] == pytest.approx(stats[name], abs=1e-9)
    assert {name: mine[name] for name in before} == pytest.approx(before, abs=1e-9)
    assert result.values.per_class == pytest.approx(classes, abs=1e-9)
    assert covered(result)
    assert len(left) < len(found)


@pytest.mark.parametrize("where", ["ovdeval/logo", "ovdeval/material", "coco", "coco-filtered"])
def test_beyond_referring_the_direct_protocol_is_vlm_r1_without_thinking(where: str) -> None:
    aside = {"name", "about", "questions", "by_family", "boxes"}
    thinking, direct = (rule(name, where).model_dump(exclude=aside) for name in ("vlm-r1", "vlm-r1-direct"))
    assert thinking == direct
