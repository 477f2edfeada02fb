"""Runs in forms that other tools read, and back."""

from __future__ import annotations

import json

import pytest
from command_line import started, typed

import vr1bench
from vr1bench.errors import Vr1benchError
from vr1bench.exporting import lm_eval_json


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The demo suite by an oracle that writes in whole thousandths, so that some boxes are a little off."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VR1BENCH_CACHE", str(folder / "cache"))
        vr1bench.run("demo", suite="demo", engine="oracle", family="qwen3-vl", output=folder / "out", limit=30)
        yield folder / "out"


def run_of(output, name):
    (path,) = (output / "runs").glob(f"*/demo/{name}/*/run.json")
    return vr1bench.load(path.parent, limit=30)


def result_of(output, name):
    (path,) = (output / "demo" / name).glob("*/*.json")
    return vr1bench.read_result(path)


def test_rows_add_up_to_the_result(output):
    rows = list(run_of(output, "coco").rows())
    result = result_of(output, "coco")
    assert len(rows) == result.values.n == 30
    assert {row["status"] for row in rows} == {name for name, count in result.values.counts.items() if count}
    right, guessed, gold = (sum(row[name] for row in rows) for name in ("right", "guessed", "gold"))
    assert 2 * right / (guessed + gold) == pytest.approx(result.values.metrics["F1@0.5"].value)
    first = next(row for row in rows if row["boxes"])
    assert first["image"].endswith(".jpg")
    assert len(first["boxes"]) == len(first["labels"]) == len(first["scores"])
    assert first["text"].startswith('[{"bbox_2d"')


@pytest.mark.parametrize("name", ["rec", "qa"])
def test_rows_of_other_tasks(output, name):
    rows = list(run_of(output, name).rows())
    share = sum(row["correct"] for row in rows) / len(rows)
    assert share == result_of(output, name).primary.value == 1.0
    assert all(row["iou"] > 0.5 if name == "rec" else row["answer"] in row["answers"] for row in rows)


def test_tables_and_files_hold_the_same_rows(output, tmp_path):
    pa = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: uv sync --extra rows")
    run = run_of(output, "ovdeval")
    rows = list(run.rows())
    assert run.to_pandas().to_dict("records") == rows
    assert run.to_jsonl(tmp_path / "rows.jsonl") == len(rows)
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == rows
    assert run.to_parquet(tmp_path / "deep" / "rows.parquet") == len(rows)
    for read, row in zip(pa.read_table(tmp_path / "deep" / "rows.parquet").to_pylist(), rows, strict=True):
        assert {**read, "broken": row["broken"]} == row


@pytest.mark.parametrize("name", ["coco", "odinw-flat", "ovdeval"])
def test_coco_results_score_the_same_when_they_come_back(output, tmp_path, name):
    (path,) = (output / "runs").glob(f"*/demo/{name}/*/run.json")
    whole = vr1bench.load(path.parent, limit=30)
    boxes = sum(len(row["boxes"]) for row in whole.rows())
    assert whole.to_coco(tmp_path / "boxes.json") == (boxes, 0)
    found = json.loads((tmp_path / "boxes.json").read_text())
    assert set(found[0]) == {"image_id", "category_id", "bbox", "score"}
    assert all(isinstance(row["image_id"], int) for row in found)
    # The file holds the first 30 images only: the others count as missed there, so its recall is that share.
    (back,) = vr1bench.score_detections(
        tmp_path / "boxes.json", benchmark=f"demo/{name}", scores="constant", output=tmp_path / "out"
    )
    right = sum(row["right"] for row in whole.rows())
    counted = round(back.values.metrics["precision@0.5"].value * boxes)
    assert counted == right


def test_what_has_no_boxes_gives_no_coco_file(output, tmp_path):
    with pytest.raises(Vr1benchError, match="expected a detection benchmark"):
        run_of(output, "rec").to_coco(tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


@pytest.fixture
def asked(coco_folder, tmp_path):
    """Runs stored answers, or an oracle's, on the small set, and gives the run's folder."""

    def run(texts=None, **options):
        if texts:
            rows = [json.dumps({"sample_id": name, "text": text}) for name, text in texts.items()]
            (tmp_path / "answers.jsonl").write_text("\n".join(rows) + "\n")
            options = {"engine": "replay", "engine_args": {"file": str(tmp_path / "answers.jsonl")}} | options
        options = {"engine": "oracle", "benchmark": str(coco_folder / "small.toml"), "family": "absolute"} | options
        vr1bench.run("someone", data_dir=coco_folder, output=tmp_path / "out", **options)
        (path,) = (tmp_path / "out" / "runs").rglob("run.json")
        return path.parent

    return run


def box(label):
    return {"bbox_2d": [2, 3, 22, 13], "label": label}


@pytest.mark.parametrize("unknown", ["keep", "drop"])
def test_boxes_of_no_class_are_left_out_and_counted(asked, tmp_path, unknown):
    texts = {"3": json.dumps([box("dog"), box("cow")]), "5": json.dumps([box("hen")]), "7": "[]"}
    whole = vr1bench.load(asked(texts), changes={"unknown": unknown})
    assert whole.to_coco(tmp_path / "boxes.json") == (1, 2)
    assert len(json.loads((tmp_path / "boxes.json").read_text())) == 1
    words = ["export", whole.folder, "--format", "coco", "--to", tmp_path / "x.json"]
    done = typed(*words)
    assert done.stderr == f"1 rows written to {tmp_path / 'x.json'}; 2 boxes of no class of the benchmark left out\n"


def test_points_are_scored_as_points(asked, tmp_path):
    folder = asked(family="molmo", overrides={"query": "one"})
    rows = list(vr1bench.load(folder).rows())
    result, _ = vr1bench.rescore(folder)
    right, guessed, gold = (sum(row[name] for row in rows) for name in ("right", "guessed", "gold"))
    assert (right, guessed, gold) == (3, 3, 3)
    assert 2 * right / (guessed + gold) == result.values.metrics["point F1"].value
    with pytest.raises(Vr1benchError, match="'molmo' answers in points, COCO results need boxes"):
        vr1bench.load(folder).to_coco(tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_a_phrase_that_is_pointed_at_is_correct(asked, monkeypatch, tmp_path):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    vr1bench.run("x", benchmark="demo/rec", engine="oracle", family="molmo", limit=5, output=tmp_path / "demo")
    (path,) = (tmp_path / "demo" / "runs").rglob("run.json")
    rows = list(vr1bench.load(path.parent, limit=5).rows())
    assert [row["correct"] for row in rows] == [True] * 5
    assert not any("iou" in row for row in rows)


def test_a_file_is_whole_and_no_folder(asked, tmp_path):
    pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: uv sync --extra rows")
    folder = asked()
    done = typed("export", folder, "--format", "parquet", "--to", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "it is a folder; expected the name of a file" in done.stderr
    (tmp_path / "there.parquet").write_text("old")
    (tmp_path / "link.parquet").symlink_to(tmp_path / "there.parquet")
    assert vr1bench.load(folder).to_parquet(tmp_path / "link.parquet") == 3
    assert (tmp_path / "there.parquet").read_bytes()[:4] == b"PAR1"


@pytest.mark.parametrize("words", [["export"], ["errors"], ["score"]])
@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_is_one_or_more(asked, words, limit):
    done = typed(*words, asked(), "--limit", limit)
    assert done.returncode == 2
    assert f"--limit {limit}: expected 1 or more samples" in done.stderr


def test_results_are_written_as_they_are(asked, tmp_path):
    folder = asked()
    for more in (["--limit", "1"], ["--data-dir", tmp_path]):
        done = typed("export", folder, "--format", "lm-eval", *more)
        assert (done.returncode, done.stdout) == (2, "")
        assert "do not go with it" in done.stderr


def test_two_may_read_a_run_at_once(asked):
    run = vr1bench.load(asked())
    both = [(one["id"], two["id"]) for one, two in zip(run.rows(), run.rows(), strict=True)]
    assert both == [(name, name) for name in ("3", "5", "7")]


def test_lm_eval_form(output):
    results = [result for _, result in vr1bench.read_results(output)]
    whole = json.loads(lm_eval_json(results))
    name = "demo/coco val[:30] standard constant"
    metrics = result_of(output, "coco").values.metrics
    assert whole["results"][name]["AP,none"] == metrics["AP"].value
    assert whole["results"][name]["AP_stderr,none"] == metrics["AP"].sd
    assert "APl,none" not in whole["results"][name]  # nothing large: undefined
    assert whole["n-samples"][name] == {"original": 30, "effective": 30}
    assert set(whole["results"]) == set(whole["configs"]) == set(whole["versions"])
    other = results[0].model_copy(update={"key": results[0].key.model_copy(update={"model": "other"})})
    with pytest.raises(Vr1benchError, match="of one model, got 2"):
        lm_eval_json([*results, other])


def test_what_cannot_be_loaded_is_told(output, tmp_path):
    with pytest.raises(Vr1benchError, match=r"no run\.json"):
        vr1bench.load(tmp_path)
    with pytest.raises(Vr1benchError, match="unknown option 'limits'"):
        vr1bench.load(tmp_path, limits=3)


def test_the_command(output, tmp_path):
    (path,) = (output / "runs").glob("*/demo/rec/*/run.json")

    def export(*words):
        return typed("export", path.parent, *words)

    done = started("export", path.parent, "--limit", "30")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 30
    assert json.loads(export("--format", "lm-eval").stdout)["model_name"].startswith("oracle")
    done = export("--limit", "30", "--format", "parquet", "--to", tmp_path / "x.parquet")
    assert (done.returncode, done.stderr) == (0, f"30 rows written to {tmp_path / 'x.parquet'}\n")
    assert export("--format", "coco").returncode == 2
    assert export("--format", "pdf").returncode == 2
    assert export().returncode == 1  # 70 answers were never asked for
