"""OVDEval in its real layout, end to end: what its two protocols make of one file of answers."""

import json

import pytest

import vr1bench
from vr1bench.benchmark import benchmarks, suite

SIZES = {"width": 100, "height": 100}


@pytest.fixture
def folder(tmp_path):
    """Two images of `negation`, ids from 0; each is asked for its own two names."""
    names = ["lit lamp", "unlit lamp"]
    images = [
        {"id": i, "file_name": f"{i}.jpg", **SIZES, "text": [names[i]], "neg_text": [names[1 - i]]} for i in range(2)
    ]
    annotations = [
        {"id": i, "image_id": i, "category_id": i, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0}
        for i in range(2)
    ]
    categories = [{"id": i, "name": name, "supercategory": "object"} for i, name in enumerate(names)]
    path = tmp_path / "ovdeval" / "annotations" / "negation.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return tmp_path


def score(folder, protocol, orders, **changes):
    """Answers that give the right box under both names, in the orders told: NMS-AP keeps one of each pair."""
    rows = []
    for i, order in enumerate(orders):
        names = ["lit lamp", "unlit lamp"] if order == "right first" else ["unlit lamp", "lit lamp"]
        names = names[:: -1 if i else 1]
        boxes = [{"bbox_2d": [10, 10, 50, 50], "label": name} for name in names]
        rows.append({"sample_id": str(i), "text": json.dumps(boxes)})
    answers = folder / "answers.jsonl"
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (result,) = vr1bench.run(
        "x", benchmark="ovdeval/negation", family="absolute", engine="replay", engine_args={"file": str(answers)},
        protocol=protocol, data_dir=folder, output=folder / "out", overrides=changes,
    )  # fmt: skip
    return result


def test_the_tie_rule_decides_and_the_bounds_say_by_how_much(folder):
    for order, first_wins, last_wins in (("right first", 1.0, 0.0), ("wrong first", 0.0, 1.0)):
        standard = score(folder, "standard", [order] * 2)
        assert standard.values.primary == "NMS-AP"
        assert standard.primary.value == pytest.approx(first_wins)
        metrics = standard.values.metrics
        assert (metrics["NMS-AP worst"].value, metrics["NMS-AP best"].value) == (0.0, pytest.approx(1.0))
        assert metrics["recall@0.5"].value == 1.0  # without the suppression both names stand
        assert score(folder, "vlm-r1", [order] * 2, ids="fixed").primary.value == pytest.approx(last_wins)


def test_ids_as_shipped_cost_the_gold_box_with_id_0(folder):
    official = score(folder, "vlm-r1", ["wrong first"] * 2)
    assert official.key.protocol == "vlm-r1"
    assert official.primary.value == pytest.approx(0.5)


def test_each_image_is_asked_for_its_own_names(folder):
    rows = vr1bench.questions("ovdeval/negation", family="griffon", data_dir=folder)
    asked = [row["text"].rpartition("includes ")[2] for row in rows]
    assert asked == ["lit lamp, unlit lamp.", "unlit lamp, lit lamp."]


def test_the_suite_is_the_eight_files():
    assert len(suite("ovdeval")) == 8
    assert {benchmarks()[one.name].primary for one in suite("ovdeval")} == {"NMS-AP"}
    everything = {one.name for one in suite("ovdeval") if one.splits["test"].options.get("labels") == "all"}
    assert everything == {"ovdeval/celebrity", "ovdeval/logo", "ovdeval/landmark"}
    assert [one.name for one in suite("refcoco-val")] == ["refcoco", "refcoco+", "refcocog"]
    assert len(suite("refcoco")) == 8
