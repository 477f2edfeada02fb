"""What goes wrong in a run: answers of which every mistake is known, through runs as people make them."""

import json
from pathlib import Path

import pytest

import vr1bench
from vr1bench.diagnosing import mistakes
from vr1bench.diagnosis import Diagnosis, Group, table
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.families import FAMILIES

KINDS = ("class", "box", "both", "duplicate", "background", "missed")


def replayed(folder: Path, benchmark: str, texts: dict[str, str], **options) -> Path:
    """The run folder of stored answers, one a sample; a text that breaks off was cut by the token limit."""
    path = folder / "answers.jsonl"
    rows = [
        {"sample_id": name, "text": text} | ({} if text.count("[") == text.count("]") else {"finish": "length"})
        for name, text in texts.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    replay = {"engine": "replay", "engine_args": {"file": str(path)}, "family": "absolute"} | options
    vr1bench.run("someone", benchmark=benchmark, data_dir=folder, output=folder / "out", **replay)
    (run,) = (folder / "out").glob("runs/*/*/*")
    return run


def box(x1, y1, x2, y2, label) -> dict:
    return {"bbox_2d": [x1, y1, x2, y2], "label": label}


DOG, CAT = box(2, 3, 22, 13, "dog"), box(5, 5, 35, 25, "cat")


@pytest.fixture
def run(coco_folder) -> Path:
    """A dog right, its cat called a cow, an invented dog; a dog right and one in the crowd of a cut answer."""
    texts = {
        "3": json.dumps([DOG, CAT | {"label": "cow"}]),
        "5": json.dumps([box(0, 0, 9, 9, "dog")]),
        "7": json.dumps([box(1, 1, 10, 10, "dog"), box(30, 30, 60, 40, "dog")])[:-1] + ', {"bbox',
    }
    return replayed(coco_folder, str(coco_folder / "small.toml"), texts)


def numbers(group: Group) -> tuple[int, ...]:
    """Samples, gold, found, boxes, then the mistakes that there are, by name."""
    return group.samples, group.gold, group.found, group.guessed


def named(groups: tuple[Group, ...]) -> dict[str, tuple]:
    return {g.name: (*numbers(g), {kind: n for kind, n in g.mistakes.items() if n}) for g in groups}


def test_every_mistake_of_a_detection_run(run):
    found = mistakes(run)
    assert numbers(found.whole) == (3, 3, 2, 4)
    assert (found.whole.recall, found.whole.precision, found.ignored) == (2 / 3, 2 / 4, 1)
    assert named(found.by["size"]) == {"small": (2, 3, 2, 4, {"class": 1, "background": 1})}
    assert named(found.by["class"]) == {
        "dog": (2, 2, 2, 3, {"background": 1}),
        "cat": (1, 1, 0, 0, {"class": 1}),
        "(no such class)": (0, 0, 0, 1, {}),
    }
    assert named(found.by["objects"]) == {
        "0": (1, 0, 0, 1, {"background": 1}),
        "1": (1, 1, 1, 1, {}),
        "2-3": (1, 2, 1, 2, {"class": 1}),
    }
    assert named(found.by["status"]) == {
        "ok": (2, 2, 1, 3, {"class": 1, "background": 1}),
        "truncated": (1, 1, 1, 1, {}),
    }


def test_a_mistake_about_gold_has_the_size_of_the_gold(coco_folder):
    texts = {
        "3": json.dumps([DOG, box(0, 0, 50, 40, "cat")]),  # medium, about a small cat
        "5": json.dumps([box(0, 0, 60, 40, "dog")]),  # medium, about nothing
        "7": "None",  # misses a small dog; the crowd around it is medium, and no gold
    }
    found = mistakes(replayed(coco_folder, str(coco_folder / "small.toml"), texts))
    assert named(found.by["size"]) == {
        "small": (2, 3, 1, 2, {"box": 1, "missed": 1}),
        "medium": (0, 0, 0, 1, {"background": 1}),
    }


def test_what_they_cost(run):
    found = mistakes(run)
    # The dogs in order of images: right, wrong, right; the cat was not found.
    dogs = (51 + 50 * 2 / 3) / 101
    assert found.whole.ap50 == pytest.approx(dogs / 2)
    assert found.whole.costs == pytest.approx(
        dict.fromkeys(KINDS, 0.0)
        | {"class": 1 / 2, "background": (1 - dogs) / 2, "false positives": (1 - dogs) / 2, "false negatives": dogs / 2}
    )
    by_class = {group.name: group for group in found.by["class"]}
    assert by_class["dog"].ap50 == pytest.approx(dogs)
    assert by_class["dog"].costs == pytest.approx(dict.fromkeys(KINDS, 0.0) | {"background": 1 - dogs})
    assert by_class["cat"].costs == pytest.approx(dict.fromkeys(KINDS, 0.0) | {"class": 1})
    assert by_class["(no such class)"].costs == {}
    by_objects = {group.name: group.costs for group in found.by["objects"]}
    assert by_objects["0"] == pytest.approx(dict.fromkeys(KINDS, 0.0) | {"background": (1 - dogs) / 2})
    assert by_objects["2-3"] == pytest.approx(dict.fromkeys(KINDS, 0.0) | {"class": 1 / 2})


def test_the_same_records_and_another_judgement(run, coco_folder):
    result, _ = vr1bench.rescore(run)
    found = mistakes(run)
    assert found.key == result.key
    assert found.whole.ap50 == result.values.metrics["AP50"].value
    assert found.model_dump_json() == mistakes(run).model_dump_json()
    assert Diagnosis.model_validate_json(found.model_dump_json()) == found
    dropped = mistakes(run, changes={"unknown": "drop"}, data_dir=coco_folder)
    assert dropped.key.protocol == "standard[unknown=drop]"
    assert {kind: n for kind, n in dropped.whole.mistakes.items() if n} == {"background": 1, "missed": 1}
    assert mistakes(run, limit=1).whole.samples == 1
    with pytest.raises(Vr1benchError, match="--limit 0: expected 1 or more samples"):
        mistakes(run, limit=0)


def test_the_table_of_a_detection_run(run):
    found = mistakes(run)
    text = table(found)
    assert "small val, someone, protocol standard, scores constant: 3 samples, AP50 41.7\n" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["class", "1", "50.0"] in lines
    assert ["false", "positives", "2", "8.3"] in lines
    assert ["dog", "2", "2", "2", "100.0", "66.7", "83.5", "0", "0", "0", "0", "1", "(16.5)", "0"] in lines
    assert ["cat", "1", "1", "0", "0.0", "-", "0.0", "1", "(100.0)", *"00000"] in lines
    assert ["(no", "such", "class)", "0", "0", "0", "-", "0.0", "-", *"000000"] in lines
    assert text.endswith("are no mistakes: 1.")
    assert "(no such class)" not in table(found, top=2)
    assert "and 1 more classes" in table(found, top=2)


SIZE = 400
PHRASES = ("the dog", "dog", "the dog left of the cat", "cat", "a big cow")


@pytest.fixture
def phrases_of(tmp_path):
    """Runs stored answers to phrases about a small box (the last one about a large one)."""

    def run(texts: dict[str, str]) -> Path:
        rows = [
            {
                "image": f"{i}.png", "width": SIZE, "height": SIZE,
                "solution": [10, 10, 30, 30] if i < 4 else [0, 0, 300, 300],
                "problem": f"Where is {phrase}?", "normal_caption": phrase,
            }
            for i, phrase in enumerate(PHRASES[: len(texts)])
        ]  # fmt: skip
        (tmp_path / "rec").mkdir()
        (tmp_path / "rec" / "val.json").write_text(json.dumps(rows))
        (tmp_path / "things.toml").write_text(
            'name = "things"\ntask = "refer"\nreader = "rec"\n'
            '[splits.val]\nannotations = ["rec/val.json"]\nimages = ".."\n'
        )
        return replayed(tmp_path, str(tmp_path / "things.toml"), texts)

    return run


@pytest.fixture
def phrases(phrases_of) -> Path:
    """Right, loose and then right, elsewhere, nothing, cut."""
    texts = ("[[10, 10, 30, 30]]", "[[10, 10, 30, 18], [10, 10, 30, 30]]", "[[31, 10, 50, 30]]", "None", "[[0, 0")
    return phrases_of({str(i): text for i, text in enumerate(texts)})


def test_every_mistake_of_a_referring_run(phrases):
    found = mistakes(phrases)
    assert (found.whole.recall, found.whole.precision, found.whole.costs) == (1 / 5, 1 / 3, {})
    assert vr1bench.rescore(phrases)[0].primary.value == found.whole.recall
    assert named((found.whole,)) == {"all": (5, 5, 1, 3, {"no box": 2, "wrong place": 1, "loose box": 1})}
    assert named(found.by["size"]) == {
        "small": (4, 4, 1, 3, {"no box": 1, "wrong place": 1, "loose box": 1}),
        "large": (1, 1, 0, 0, {"no box": 1}),
    }
    assert named(found.by["words"]) == {
        "1": (2, 2, 0, 1, {"no box": 1, "loose box": 1}),
        "2-3": (2, 2, 1, 1, {"no box": 1}),
        "4-7": (1, 1, 0, 1, {"wrong place": 1}),
    }
    statuses = {name: row[0] for name, row in named(found.by["status"]).items()}
    assert sum(statuses.values()) == 5
    assert statuses["none"] == 1
    text = table(found)
    assert "things val, someone, protocol standard, scores constant: 5 phrases, 20.0 right" in text
    assert ["small", "4", "1", "(25.0)", "1", "(25.0)", "1", "(25.0)", "1", "(25.0)"] in [
        line.split() for line in text.splitlines()
    ]


def test_the_box_that_counts_is_the_protocols(phrases):
    assert mistakes(phrases, changes={"boxes": "last"}).whole.found == 2


def test_an_iou_of_exactly_half_is_loose_where_the_protocol_is_strict(phrases_of):
    run = phrases_of({"0": "[[10, 10, 30, 20]]"})
    assert mistakes(run).whole.found == 1
    assert mistakes(run, changes={"match": ">"}).whole.mistakes == {"no box": 0, "wrong place": 0, "loose box": 1}


def test_an_oracle_of_the_demo_makes_no_mistake(tmp_path, monkeypatch):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    names = ["demo/coco", "demo/odinw", "demo/rec"]
    vr1bench.run("demo", benchmark=names, engine="oracle", output=tmp_path / "out")
    for run in [next((tmp_path / "out").glob(f"runs/*/{name}/*")) for name in names]:
        found = mistakes(run)
        assert set(found.whole.mistakes.values()) == {0}
        assert found.whole.found == found.whole.gold > 0
        for groups in found.by.values():
            assert sum(group.found for group in groups) == found.whole.found
            assert sum(group.gold for group in groups) == found.whole.gold
            assert sum(group.guessed for group in groups) == found.whole.guessed
        if found.task == "detect":
            assert set(found.whole.costs.values()) == {0.0}


def test_points_have_no_kinds(coco_folder):
    name = next(name for name, family in sorted(FAMILIES.items()) if family.pointing)
    vr1bench.run(
        "demo", benchmark=str(coco_folder / "small.toml"), engine="oracle", family=name, data_dir=coco_folder,
        output=coco_folder / "out", overrides={"query": "one"},
    )  # fmt: skip
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    with pytest.raises(Vr1benchError, match="its answers are points"):
        mistakes(run)


def test_texts_have_no_kinds(tmp_path, monkeypatch):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    vr1bench.run("demo", benchmark="demo/qa", engine="oracle", output=tmp_path / "out")
    with pytest.raises(Vr1benchError, match="its answers are texts"):
        mistakes(next((tmp_path / "out").glob("runs/*/demo/qa/*")))


def test_an_incomplete_run_and_changed_gold_are_refused(run, coco_folder):
    records = run / "records.jsonl"
    records.write_text("".join(records.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(IncompleteError, match="1 answers are missing"):
        mistakes(run)
    gold = coco_folder / "gold.json"
    gold.write_text(gold.read_text() + " ")
    with pytest.raises(Vr1benchError, match="annotations changed"):
        mistakes(run)
