"""Runs end to end: the oracle meets the ceiling, a killed run goes on, nothing mixes, nothing is lost."""

import json
import re
from pathlib import Path

import pytest
from command_line import typed

import vr1bench
from vr1bench.errors import NotComparableError, Vr1benchError
from vr1bench.families import FAMILIES

CHESS = {"benchmark": "odinw/ChessPieces", "engine": "oracle", "model": "demo"}


def small(folder: Path, **options) -> list[vr1bench.Result]:
    chosen = {"model": "demo", "engine": "oracle", "family": "absolute"} | options
    return vr1bench.run(benchmark=str(folder / "small.toml"), data_dir=folder, output=folder / "out", **chosen)


def answers(folder: Path, rows: list[dict]) -> dict:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"engine": "replay", "engine_args": {"file": str(path)}, "model": "someone"}


def box(x1, y1, x2, y2, label) -> dict:
    return {"bbox_2d": [x1, y1, x2, y2], "label": label}


def test_oracle_on_chess(shared_data, tmp_path):
    (fixed,) = vr1bench.run(**CHESS, family="absolute", data_dir=shared_data, output=tmp_path, verify=True)
    (shipped,) = vr1bench.run(
        **CHESS, family="absolute", data_dir=shared_data, output=tmp_path, overrides={"ids": "as-shipped"}, verify=True
    )
    assert fixed.primary.value == 1.0
    assert round(shipped.primary.value, 4) == 0.9894
    assert shipped.key.protocol == "standard[ids=as-shipped]"
    assert fixed.values.counts == {"ok": 58}
    assert fixed.values.fingerprint != shipped.values.fingerprint
    for result in (fixed, shipped):
        assert set(result.values.verified.values()) == {0.0}


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("query", ["all", "one"])
def test_oracle_meets_the_ceiling_of_every_family(coco_folder, family, query):
    questions = FAMILIES[family].questions
    if not getattr(questions, query):
        with pytest.raises(Vr1benchError, match=f"nor family '{family}' has a question for '{query}'"):
            small(coco_folder, family=family, overrides={"query": query})
        return
    (result,) = small(coco_folder, family=family, overrides={"query": query})
    assert result.values.n == 3
    assert result.values.requests == (3 if query == "all" else 6)
    metrics = {name: metric.value for name, metric in result.values.metrics.items()}
    if FAMILIES[family].pointing:
        assert metrics == {"point F1": 1.0, "point precision": 1.0, "point recall": 1.0}
        return
    assert metrics["F1@0.5"] == metrics["AP50"] == metrics["AP50_tie"] == 1.0


def test_positive_mode_asks_for_what_is_there(coco_folder):
    (result,) = small(coco_folder, protocol="qwen2.5", overrides={"query": "positive", "ids": "fixed"})
    assert result.values.requests == 3
    assert result.values.counts == {"ok": 2, "unasked": 1}
    assert result.primary.value == 1.0


def test_every_sample_is_counted_by_what_was_said(coco_folder):
    rows = [
        {
            "sample_id": "3",
            "text": json.dumps([box(2, 3, 22, 13, "dog"), box(2, 3, 22, 13, "dog"), box(0, 0, 9, 9, "cow")]),
        },
        {"sample_id": "5", "text": "None"},
        {
            "sample_id": "7",
            "text": '[{"bbox_2d": [1, 1, 10, 10], "label": "dog"}, {"bbox_2d": [1, 1',
            "finish": "length",
        },
    ]
    (result,) = small(coco_folder, **answers(coco_folder, rows))
    assert result.values.counts == {"none": 1, "ok": 1, "truncated": 1}
    assert result.values.flags == {"duplicate": 1, "unknown label": 1}
    assert result.values.metrics["precision@0.5"].value == 2 / 4
    assert result.values.metrics["recall@0.5"].value == 2 / 3
    assert result.values.metrics["greedy precision"].value == 2 / 4
    assert result.values.metrics["greedy recall"].value == 2 / 4  # this count knows no crowd
    assert result.key.model == "someone"


def test_the_protocol_judges_stored_answers(coco_folder):
    row = json.dumps([box(0, 0, 5, 5, "dog"), box(2, 3, 22, 13, "dog"), box(2, 3, 22, 13, "dog")])
    rows = [{"sample_id": "3", "text": row}, {"sample_id": "5", "text": "None"}, {"sample_id": "7", "text": "None"}]
    (kept,) = small(coco_folder, **answers(coco_folder, rows))
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    dropped, output = vr1bench.rescore(run, changes={"duplicates": "drop"}, data_dir=coco_folder)
    assert output == coco_folder / "out"
    assert kept.values.metrics["precision@0.5"].value == 1 / 3
    assert dropped.values.metrics["precision@0.5"].value == 1 / 2
    late, _ = vr1bench.rescore(run, changes={"scores": "order"}, data_dir=coco_folder)
    assert late.key.scores == "order"
    with pytest.raises(NotComparableError, match="query differs"):
        vr1bench.rescore(run, "qwen2.5", data_dir=coco_folder)
    with pytest.raises(NotComparableError, match="did not keep"):
        vr1bench.rescore(run, changes={"scores": "logprob"}, data_dir=coco_folder)
    assert len(list(vr1bench.read_results(output))) == 3


def test_scoring_again_gives_the_same_values(coco_folder):
    (first,) = small(coco_folder)
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    assert vr1bench.rescore(run)[0].values == first.values
    assert small(coco_folder)[0].values == first.values


def test_changed_gold_is_refused(coco_folder):
    small(coco_folder)
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    path = coco_folder / "gold.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(Vr1benchError, match="annotations changed"):
        vr1bench.rescore(run)
    with pytest.raises(Vr1benchError, match="belongs to another run: its data_sha256"):
        small(coco_folder)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"gen_args": {"temperature": 0.5}}, "sampling.temperature"),
        ({"seed": 3}, "sampling.seed"),
    ],
)
def test_a_changed_run_never_mixes_with_old_records(coco_folder, change, place):
    small(coco_folder)
    with pytest.raises(Vr1benchError, match=re.escape(place)):
        small(coco_folder, **change)


def older(folder: Path, **changes) -> Path:
    """The run folder as a version without two fields wrote it, with other fields changed."""
    (run,) = (folder / "out").glob("runs/*/small/*")
    stored = json.loads((run / "run.json").read_text())
    del stored["identity"]["protocol"]["boxes"], stored["identity"]["benchmark"]["generated"]
    stored["identity"]["protocol"].update(changes)
    (run / "run.json").write_text(json.dumps(stored))
    return run


def test_a_run_of_a_version_with_fewer_fields_goes_on(coco_folder):
    small(coco_folder, limit=2)
    run = older(coco_folder)
    (whole,) = small(coco_folder)
    assert whole.values.n == 3
    assert len((run / "records.jsonl").read_text().splitlines()) == 3
    assert vr1bench.rescore(run)[0].values == whole.values


@pytest.mark.parametrize("changes", [{"max_detections": 5}, {"max_detections": "many"}, {"of_tomorrow": 1}])
def test_a_run_of_another_version_that_differs_is_refused(coco_folder, changes):
    small(coco_folder)
    older(coco_folder, **changes)
    with pytest.raises(Vr1benchError, match="belongs to another run: its protocol"):
        small(coco_folder)


def test_a_missing_answer_is_not_scored(coco_folder):
    rows = [{"sample_id": "3", "text": "None"}, {"sample_id": "5", "text": "None"}]
    options = answers(coco_folder, rows)
    with pytest.raises(vr1bench.IncompleteError, match="1 answers missing"):
        small(coco_folder, **options)
    assert not list(vr1bench.read_results(coco_folder / "out"))


def test_limits_have_columns_of_their_own_and_share_records(coco_folder):
    (two,) = small(coco_folder, limit=2)
    (three,) = small(coco_folder)
    assert (two.values.n, two.key.split) == (2, "val[:2]")
    assert (three.values.n, three.key.split) == (3, "val")
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    assert len((run / "records.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "vlm"}, "did you mean 'vllm'"),
        ({"family": "qwen"}, "unknown family"),
        ({"protocol": "standart"}, "did you mean 'standard'"),
        ({"split": "test"}, "unknown split of small 'test'"),
        ({"overrides": {"idz": 1}}, "did you mean 'ids'"),
        ({"overrides": {"ids": "new"}}, "--set: ids"),
        ({"gen_args": {"temprature": 1}}, "did you mean 'temperature'"),
        ({"gen_args": {"temperature": -1}}, "--gen-args: temperature"),
        ({"limit": 0}, "1 or more"),
        ({"engine": "hf", "model": "no/such/model"}, "no such folder"),
        ({"engine": "replay"}, "needs a file of answers"),
        ({"suite": "demo"}, "not both"),
        ({"verify": True, "overrides": {"max_detections": 10}}, "cannot verify"),
    ],
)
def test_what_is_named_wrong_is_said(coco_folder, options, words):
    with pytest.raises(Vr1benchError, match=words):
        small(coco_folder, **options)
    assert not list((coco_folder / "out").rglob("records.jsonl"))


def test_scoring_needs_no_pictures_and_the_answers_replay(coco_folder):
    (first,) = small(coco_folder)
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    for picture in coco_folder.glob("*.png"):
        picture.unlink()
    assert vr1bench.rescore(run)[0].values == first.values
    options = {"engine": "replay", "model": "twin", "engine_args": {"file": str(run / "records.jsonl")}}
    (again,) = small(coco_folder, **options)
    assert again.values.metrics == first.values.metrics


def test_answers_of_one_class_a_prompt_replay(coco_folder):
    one = {"protocol": "qwen2.5", "overrides": {"ids": "fixed"}}
    (first,) = small(coco_folder, **one)
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    options = {"engine": "replay", "model": "twin", "engine_args": {"file": str(run / "records.jsonl")}}
    assert small(coco_folder, **one, **options)[0].values.metrics == first.values.metrics


def test_a_box_of_another_class_than_the_prompts_counts_for_none(coco_folder):
    cat = json.dumps([box(5, 5, 35.5, 25, "cat")])
    rows = [{"sample_id": i, "query": q, "text": "[]"} for i in "357" for q in ("dog", "cat")]
    rows[0]["text"] = cat
    (result,) = small(coco_folder, protocol="qwen2.5", **answers(coco_folder, rows))
    assert result.values.per_class["cat"] == 0.0
    assert result.values.metrics["recall@0.5"].value == 0.0
    assert result.values.flags == {"unknown label": 1}


def test_what_was_finished_is_told_when_another_benchmark_is_not(coco_folder):
    (coco_folder / "two.toml").write_text((coco_folder / "small.toml").read_text().replace("small", "two"))
    image = json.loads((coco_folder / "gold.json").read_text())["images"][0]
    other = {"images": [{**image, "id": 99}], "annotations": [], "categories": [{"id": 1, "name": "dog"}]}
    (coco_folder / "other.json").write_text(json.dumps(other))
    (coco_folder / "two.toml").write_text((coco_folder / "two.toml").read_text().replace("gold.json", "other.json"))
    options = answers(coco_folder, [{"sample_id": i, "text": "[]"} for i in "357"])
    with pytest.raises(vr1bench.IncompleteError, match="two: 1 answers missing") as caught:
        vr1bench.run(
            benchmark=[str(coco_folder / name) for name in ("two.toml", "small.toml")],
            data_dir=coco_folder, output=coco_folder / "out", family="absolute", **options,
        )  # fmt: skip
    assert [result.key.benchmark for result in caught.value.results] == ["small"]


def test_a_fields_own_value_changes_no_name(coco_folder):
    (first,) = small(coco_folder, overrides={"ids": "fixed", "max_detections": 100}, scores="constant")
    (second,) = small(coco_folder, scores="order")
    (third,) = small(coco_folder, overrides={"max_detections": 10, "max_pixels": 400_000})
    assert first.key.protocol == second.key.protocol == "standard"
    assert (first.key.scores, second.key.scores) == ("constant", "order")
    assert third.key.protocol == "standard[max_detections=10,max_pixels=400000]"
    whole = small(coco_folder, limit=3)[0]
    assert whole.values.fingerprint == first.values.fingerprint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("detect", "refer"), "no question"),
        (('"detect"', '"detect"\nprimary = "foo"'), "unknown metric"),
        (('"small"', '"../escape"'), "name"),
        (('"small"', '"runs/x"'), "is taken"),
        (('["gold.json"]', "[]"), "annotations"),
        (('"coco"', '"cocoa"'), "did you mean 'coco'"),
        (('"coco"', '"coco"\ncolour = 1'), "unknown field"),
        (("=", ":"), "not valid TOML"),
    ],
)
def test_a_wrong_definition_is_refused(coco_folder, change, words):
    path = coco_folder / "small.toml"
    path.write_text(path.read_text().replace(*change))
    if words == "no question":  # a referring set is read by another reader
        words = "Expected `array`"
        path.write_text(path.read_text().replace('"coco"', '"rec"'))
    with pytest.raises(Vr1benchError, match=words):
        small(coco_folder)
    assert not list((coco_folder / "out").rglob("records.jsonl"))


def test_two_benchmarks_of_one_name_are_refused(coco_folder):
    (coco_folder / "two.toml").write_text((coco_folder / "small.toml").read_text() + "samples = 3\n")
    with pytest.raises(Vr1benchError, match="two different benchmarks"):
        vr1bench.run(
            "demo", benchmark=[str(coco_folder / name) for name in ("two.toml", "small.toml")], data_dir=coco_folder,
            engine="oracle", family="absolute", output=coco_folder / "out",
        )  # fmt: skip


def test_an_empty_run_folder_is_incomplete(coco_folder):
    small(coco_folder)
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    (run / "records.jsonl").unlink()
    with pytest.raises(vr1bench.IncompleteError, match="3 answers are missing"):
        vr1bench.rescore(run)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected an object"),
        ('{"text": "x"}', "expected `sample_id`"),
        ('{"sample_id": 3}', "text: Field required"),
        ('{"sample_id": 3, "text": "x", "finish": "foo"}', "finish"),
        ('{"sample_id": 3, "text": "x", "fed_width": -1}', "fed_width"),
    ],
)
def test_a_wrong_row_of_answers_is_said(coco_folder, row, words):
    options = answers(coco_folder, [])
    (coco_folder / "answers.jsonl").write_text(row + "\n")
    with pytest.raises(Vr1benchError, match=words):
        small(coco_folder, **options)


def test_half_a_surrogate_in_an_answer_is_kept_as_a_question_mark(coco_folder):
    rows = [{"sample_id": i, "text": "None \ud800"} for i in "357"]
    assert small(coco_folder, **answers(coco_folder, rows))[0].values.counts == {"none": 3}


def test_somebodys_own_json_among_the_results_is_passed_over(coco_folder):
    small(coco_folder)
    (coco_folder / "out" / "notes.json").write_text("{}")
    assert len(list(vr1bench.read_results(coco_folder / "out"))) == 1


def test_missing_data_says_where_to_put_it(tmp_path):
    with pytest.raises(Vr1benchError, match=r"expected .*Raccoon.*--data-dir"):
        vr1bench.run("demo", benchmark="odinw/Raccoon", engine="oracle", data_dir=tmp_path, output=tmp_path)


def test_an_image_too_long_for_the_family_is_a_missing_answer_and_the_others_are_asked(coco_folder):
    data = json.loads((coco_folder / "gold.json").read_text())
    data["images"][2]["width"] = 20_000
    (coco_folder / "gold.json").write_text(json.dumps(data))
    with pytest.raises(vr1bench.IncompleteError, match=r"1 answers missing .*at most 200 times"):
        small(coco_folder, family="qwen2.5-vl")
    (records,) = (coco_folder / "out").rglob("records.jsonl")
    assert len(records.read_text().splitlines()) == 3


def test_a_protocol_without_words_for_the_task_is_refused(coco_folder):
    with pytest.raises(Vr1benchError, match=r"nor family 'cogvlm' has a question for 'all'.*--set query=one"):
        small(coco_folder, family="cogvlm")


def test_repeats_may_be_dropped_and_pieces_scored_with_a_limit(coco_folder):
    small(coco_folder, limit=2)
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    with pytest.raises(vr1bench.IncompleteError, match="1 answers are missing"):
        vr1bench.rescore(run)
    assert vr1bench.rescore(run, limit=2)[0].values.n == 2
    with pytest.raises(Vr1benchError, match="cannot verify"):
        vr1bench.rescore(run, changes={"max_detections": 5}, limit=2, verify=True)


def test_an_engine_option_that_nobody_knows_is_refused(coco_folder):
    with pytest.raises(Vr1benchError, match="unknown option of engine oracle 'foo'"):
        small(coco_folder, engine_args={"foo": 1})


def test_a_run_says_that_the_boxes_contradict_the_frame(tmp_path, monkeypatch):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    options = {"benchmark": "demo/coco", "limit": 60, "output": tmp_path / "out"}
    (right,) = vr1bench.run("x", engine="oracle", family="qwen2.5-vl", **options)
    assert right.values.audit == ()
    assert right.values.audited["IoU own frame"] > 0.9
    (records,) = (tmp_path / "out").glob("runs/*/demo/coco/*/records.jsonl")
    replay = {"engine": "replay", "engine_args": {"file": str(records)}}
    (wrong,) = vr1bench.run("x", family="qwen3-vl", **replay, **options)
    assert wrong.primary.value == 0.0  # reported, never applied
    assert any("pixels of the resized image" in finding for finding in wrong.values.audit)
    assert any("another family" in finding for finding in wrong.values.audit)
    options = f"--engine replay --engine-args file={records} --family qwen3-vl --benchmark demo/coco --limit 60"
    done = typed("run", "--model", "x", *options.split(), "--output", tmp_path / "out")
    assert "warning: demo/coco: boxes lie better on the gold when read as pixels of the resized image" in done.stderr


def test_the_audit_knows_a_resize_that_was_not_undone(tmp_path, monkeypatch):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    options = {"benchmark": "demo/coco", "limit": 80, "output": tmp_path / "out"}
    vr1bench.run("x", engine="oracle", family="qwen2.5-vl", **options)
    (records,) = (tmp_path / "out").glob("runs/*/demo/coco/*/records.jsonl")
    (result,) = vr1bench.run("x", family="absolute", engine="replay", engine_args={"file": str(records)}, **options)
    assert any("the resize was not undone" in finding for finding in result.values.audit)


def test_points_stand_in_columns_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    (result,) = vr1bench.run("x", benchmark="demo/rec", engine="oracle", family="molmo", limit=5, output=tmp_path)
    assert result.values.primary == "point in box"
    assert result.primary.value == 1.0
    assert result.key.column == ("demo/rec", "val[:5]", "standard", "points")
    assert result.values.boxes == 5


def test_braces_in_the_data_are_no_placeholders(tmp_path):
    names = ["{list}", "a {label}", "{width} px"]
    gold = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
        "categories": [{"id": place, "name": name} for place, name in enumerate(names, 1)],
    }
    (tmp_path / "gold.json").write_text(json.dumps(gold))
    (tmp_path / "b.toml").write_text(
        'name = "b"\ntask = "detect"\nreader = "coco"\n[splits.val]\nannotations = ["gold.json"]\n'
    )
    for protocol, shown in (("standard", ", ".join(names)), ("vlm-r1", repr(names)), ("qwen2.5", names[0])):
        row = next(
            iter(
                vr1bench.questions(str(tmp_path / "b.toml"), family="qwen2.5-vl", protocol=protocol, data_dir=tmp_path)
            )
        )
        assert shown in row["text"], protocol
