"""What a protocol judges: which box counts, exact thresholds, repeats, unknown labels."""

import json
from pathlib import Path

import pytest

import vr1bench
from vr1bench.benchmark import suite
from vr1bench.families import FAMILIES
from vr1bench.families.several import merged
from vr1bench.protocol import protocols
from vr1bench.score import judged

SIZE = 100


@pytest.fixture
def rec(tmp_path):
    """Runs stored answers to three sentences about boxes of one form, and gives the metrics."""
    rows = [
        {
            "image": f"{i}.png", "width": SIZE, "height": SIZE, "solution": [10, 10, 50, 50],
            "problem": f"Where is thing {i}?", "normal_caption": f"thing {i}.",
        }
        for i in range(3)
    ]  # fmt: skip
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "val.json").write_text(json.dumps(rows))
    (tmp_path / "things.toml").write_text(
        'name = "things"\ntask = "refer"\nreader = "rec"\n[splits.val]\nannotations = ["rec/val.json"]\nimages = ".."\n'
    )

    def run(texts, **options):
        path = Path(tmp_path / "answers.jsonl")
        path.write_text("".join(json.dumps({"sample_id": i, "text": text}) + "\n" for i, text in enumerate(texts)))
        replay = {"engine": "replay", "engine_args": {"file": str(path)}, "family": "absolute"}
        (result,) = vr1bench.run(
            "x",
            benchmark=str(tmp_path / "things.toml"),
            data_dir=tmp_path,
            output=tmp_path / "out",
            **(replay | options),
        )
        return result.values

    return run


def values_of(result) -> dict[str, float]:
    return {name: round(metric.value, 6) for name, metric in result.metrics.items()}


def test_referring_accuracy(rec):
    exact, half, off = "[[10, 10, 50, 50]]", "[[10, 10, 50, 30]]", "[[60, 60, 70, 70]]"
    assert values_of(rec([exact, half, off])) == {"Acc@0.5": 0.666667, "Acc@0.75": 0.333333, "mean IoU": 0.5}


def test_an_iou_of_exactly_the_threshold_counts_unless_the_protocol_is_strict(rec):
    half = "[[10, 10, 50, 30]]"
    assert values_of(rec([half] * 3))["Acc@0.5"] == 1.0


def test_a_strict_protocol(rec):
    assert values_of(rec(["[[10, 10, 50, 30]]"] * 3, overrides={"match": ">"}))["Acc@0.5"] == 0.0


def test_the_first_box_counts(rec):
    assert values_of(rec(["[[10, 10, 50, 50], [0, 0, 5, 5]]"] * 3))["Acc@0.5"] == 1.0


def test_the_last_box_counts_where_the_protocol_says_so(rec):
    two = ["[[10, 10, 50, 50], [0, 0, 5, 5]]"] * 3
    assert values_of(rec(two, overrides={"boxes": "last"}))["Acc@0.5"] == 0.0


def test_no_box_is_no_hit(rec):
    found = rec(["None", "", "[[10, 10, 50, 50]]"])
    assert found.counts == {"empty": 1, "none": 1, "ok": 1}
    assert values_of(found)["Acc@0.5"] == 0.333333


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_oracle_refers_perfectly(rec, family):
    found = rec([], engine="oracle", engine_args={}, family=family, verify=True)
    assert values_of(found)["point in box" if FAMILIES[family].pointing else "Acc@0.75"] == 1.0
    assert found.verified == {}  # nothing there that another engine could score


def test_scores_by_order_count_within_each_answer():
    parts = [
        vr1bench.parse("[[1, 1, 9, 9], [2, 2, 9, 9]]", family="absolute", size=(9, 9), queries=[name]) for name in "ab"
    ]
    judging = protocols()["standard"].model_copy(update={"scores": "order"})
    assert judged(merged(parts), judging).detections.scores.tolist() == [1.0, 0.5, 1.0, 0.5]
    assert judged(parts[0], judging).detections.scores.tolist() == [1.0, 0.5]


def test_unknown_labels_may_be_dropped(rec):
    dog = {"box": [0, 0, 5, 5], "label": "a dog"}
    rows = [json.dumps([dog, {"box": [10, 10, 50, 50], "label": f"thing {i}"}]) for i in range(3)]
    assert values_of(rec(rows, overrides={"unknown": "drop"}))["Acc@0.5"] == 1.0


def test_every_form_of_the_demo_meets_its_ceiling(tmp_path, monkeypatch):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    results = vr1bench.run("demo", suite="demo", engine="oracle", output=tmp_path / "out")
    assert [result.key.benchmark for result in results] == [one.name for one in suite("demo")]
    for one, result in zip(suite("demo"), results, strict=True):
        metrics = result.values.metrics
        assert metrics.get("AP50", result.primary).value == 1.0
        assert result.values.n == one.splits["val"].samples
