"""Protocol `vision-r1` against jefferyZhan/Griffon@9866875, Vision-R1/eval: eval_localization.py and its .sh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from protocols.public import asked, covered, kept, numbers, replayed, requests, rule
from protocols.reference import by_class, coco_stats, names_in_gold, same_boxes, smart_resize, vision_r1_detections
from protocols.worlds import COCO80, Item, World, bare, chance, fenced, items, pictures_of, written

# eval_localization.sh:4, :6, :10, :12, :16, :19
COCO_QWEN = (
    "Locate every item from the category list in the image and output the coordinates in JSON format. "
    "The category set includes <category set>."
)
ODINW_QWEN = "Locate every <category set> in the image and output the coordinates in JSON format."
COCO_GRIFFON = (
    "Examine the image for any objects from the category set. Report the coordinates of each detected object. "
    "The category set includes <category set>."
)
ODINW_GRIFFON = "Locate the exact position of <category set> in the picture, if possible."
ODINW_INTERNVL = (
    "Please provide the bounding box coordinate of the region this sentence describes: <ref><category set></ref>"
)
ODINW_FERRET = "What are the locations of <category set>?"
# :816 and :926
LEAST, MOST, TOKENS = 28 * 28, 12800 * 28 * 28, 512
ODINW = ("odinw/VehiclesOpenImages", "odinw/pistols")

FACTS = {
    "scores": "constant",  # :1088, .99 for every box
    "max_detections": 100,  # :1263-1266, COCOeval's own
    "ids": "as-shipped",  # :1261, the file is loaded as it is
    "unknown": "drop",  # :1083 and :1091, a label that no category has is passed over
    "duplicates": "keep",  # :1076-1090, every item becomes a detection
    "min_pixels": LEAST,
    "max_pixels": MOST,
    "max_tokens": TOKENS,
    "shuffle": None,
    "first": None,
}


def test_its_fields_are_the_published_ones() -> None:
    for benchmark in ("coco", *ODINW):
        found = rule("vision-r1", benchmark)
        assert {name: getattr(found, name) for name in FACTS} == FACTS
        assert found.query == ("all" if benchmark == "coco" else "positive")  # .sh:22-23


@pytest.mark.parametrize(("family", "words"), [("qwen2.5-vl", COCO_QWEN), ("griffon", COCO_GRIFFON)])
def test_coco_is_asked_for_all_names_at_once(world: World, family: str, words: str) -> None:
    """:454; for all of COCO's 80 names. Fewer are padded there with others of COCO, in an order that no two processes
    share (:452): here they are not."""
    gold = world["coco"]
    text = words.replace("<category set>", ", ".join(row["name"] for row in gold["categories"]))
    assert asked("coco", "vision-r1", world.root, family) == [
        (str(number), "", text) for number in sorted(row["id"] for row in gold["images"])
    ]


def test_the_80_names_are_written_out(drawn: World) -> None:
    (_, _, text), *_ = asked("coco", "vision-r1", drawn.root)
    assert text.startswith(COCO_QWEN.partition("<")[0] + "person, bicycle, car, motorcycle, airplane, bus, train,")
    assert text.endswith("teddy bear, hair drier, toothbrush.")
    assert text.count(", ") == len(COCO80) - 1


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("qwen2.5-vl", ODINW_QWEN),
        ("griffon", ODINW_GRIFFON),
        ("internvl", ODINW_INTERNVL),
        ("ferret", ODINW_FERRET),
    ],
)
@pytest.mark.parametrize("where", ODINW)
def test_odinw_is_asked_for_what_the_gold_holds(world: World, where: str, family: str, words: str) -> None:
    """:564-572: in the order of the file's categories; a picture without gold is not asked about."""
    gold = world[where]
    expected = [
        (str(number), name, words.replace("<category set>", name))
        for number in sorted(row["id"] for row in gold["images"])
        for name in names_in_gold(gold, number)
    ]
    assert asked(where, "vision-r1", world.root, family) == expected
    assert len({number for number, *_ in expected}) < len(gold["images"])


def test_pictures_are_fed_within_its_own_bounds(drawn: World) -> None:
    for where in ("coco", *ODINW):
        for request in requests(where, "vision-r1", drawn.root):
            assert request.sampling.max_tokens == TOKENS
            assert request.sampling.temperature == 0
            assert request.pixels is not None
            assert (request.pixels.min_pixels, request.pixels.max_pixels) == (LEAST, MOST)
    for family in ("internvl", "griffon"):  # not reproduced: 1024 and 2048 (:952 and :1021)
        assert {request.sampling.max_tokens for request in requests("coco", "vision-r1", drawn.root, family)} == {
            TOKENS
        }


def answered(world: World, where: str, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Random answers to what is asked there, and what that script reads from them."""
    gold, draw = world[where], chance(seed)
    rows: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    everything = [row["name"] for row in gold["categories"]]
    for image in gold["images"]:
        size = (image["width"], image["height"])
        fed = smart_resize(*size, 28, LEAST, MOST)
        for names in [everything] if where == "coco" else [[name] for name in names_in_gold(gold, image["id"])]:
            said = written(items(draw, gold, image, names), (fed[0] / size[0], fed[1] / size[1]))
            text = draw.choice((fenced, fenced, bare))(said)
            text = draw.choice(
                (text, text, text, text, "Here they are:\n" + fenced(said) + "\nThat is all.", "None", "")
            )
            if draw.random() < 0.15:
                text = text[: draw.randint(0, len(text))]
            query = names[0] if len(names) == 1 and where != "coco" else ""
            rows.append({"sample_id": str(image["id"]), "query": query, "text": text})
            found += vision_r1_detections(text, image, gold["categories"], fed)
    return rows, found


@pytest.mark.parametrize("where", ["coco", *ODINW])
def test_its_numbers(world: World, where: str) -> None:
    answers, found = answered(world, where, 1)
    assert same_boxes(kept(where, "vision-r1", world.root, answers), by_class(world[where], found))
    stats, classes = coco_stats(world[where], found)
    result = replayed(where, "vision-r1", world.root, answers)
    mine = numbers(result)
    assert {name: mine[name] for name in stats} == pytest.approx(stats, abs=1e-9)
    assert result.values.per_class == pytest.approx(classes, abs=1e-9)
    assert 0.1 < (mine["AP"] or 0) < 0.9
    assert covered(result)


A, B = (100, 100, 300, 300), (350, 350, 550, 550)


@pytest.mark.parametrize(
    ("names", "gold", "answers", "theirs", "ours"),
    [
        # "its parser": words in front, and no line that is just ```json
        (["Car"], [(A, "Car")], {"Car": "Here: " + bare(written([(A, "Car")]))}, 0, 1),
        # "labels folded to lower case": of Q and q it knows the one that stands last
        (["Q", "q"], [(A, "Q")], {"Q": fenced(written([(A, "Q")]))}, 0, 1),
        # a box that overruns the picture is scored as it is there; here every box is clipped to the picture
        (["Car"], [((0, 0, 300, 616), "Car")], {"Car": fenced(written([((0, 0, 300, 1300), "Car")]))}, 0, 1),
        # a name of the file that this prompt did not ask for is a detection there
        (["Bus", "Car"], [(A, "Bus"), (B, "Car")],
         {"Bus": fenced(written([(A, "Bus"), (B, "Car")])), "Car": fenced([])}, 1, 0.5),
    ],
    ids=["no fence", "Q and q", "clipped", "name of another prompt"],
)  # fmt: skip
def test_what_is_not_reproduced(
    tmp_path: Path, names: list[str], gold: list[Item], answers: dict[str, str], theirs: float, ours: float
) -> None:
    """With annotation ids from 1, so that nothing else is lost."""
    world = World(tmp_path)
    where = "odinw/VehiclesOpenImages"
    content = pictures_of([gold], names, first_id=1)
    world.write(where, content)
    found = [
        row
        for text in answers.values()
        for row in vision_r1_detections(text, content["images"][0], content["categories"], (616, 616))
    ]
    assert (coco_stats(content, found)[0]["AP50"] if found else 0) == pytest.approx(theirs)
    rows = [{"sample_id": "0", "query": name, "text": text} for name, text in answers.items()]
    assert numbers(replayed(where, "vision-r1", tmp_path, rows))["AP50"] == pytest.approx(ours)
