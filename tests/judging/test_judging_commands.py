"""`compare`, `gate` and `power` as people type them, on files, folders, runs and names."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from command_line import started, typed
from judging.made import coin, made

from vr1bench import run
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.lookup import by_benchmark, results_of
from vr1bench.rescoring import rescore
from vr1bench.store import write_result


@pytest.fixture
def results(tmp_path):
    """Two models on two benchmarks, the second ten points worse on one."""
    right = coin(0.7)
    for model, worse in (("old", 0), ("new", 40)):
        for name in ("a", "b"):
            changed = np.where((np.arange(400) < worse) & (name == "a"), False, right)
            result = made(changed, name, model, revision=f"{model[0]}1" * 20)
            write_result(tmp_path / "results" / result.key.path, result)
    return tmp_path / "results"


def test_a_model_by_name(results):
    assert [one.key.benchmark for one in results_of("old", results)] == ["a", "b"]
    assert {one.key.model for one in results_of("new@n1n1", results)} == {"new"}
    with pytest.raises(Vr1benchError, match=r"did you mean 'old@o1o1o1o1'"):
        results_of("olt@o1o1o1o1", results)
    with pytest.raises(Vr1benchError, match="several models: new@n1n1n1n1, old@o1o1o1o1"):
        results_of(str(results), results)
    write_result(results / "x.json", made(coin(0.5), "z", "older"))
    with pytest.raises(Vr1benchError, match="may mean old@o1o1o1o1, older@aaaaaaaa"):
        results_of("old", results)


def test_a_file_and_a_folder(results, tmp_path):
    (path,) = results.rglob("a/*/old*.json")
    assert [one.key.benchmark for one in results_of(str(path), results)] == ["a"]
    alone = tmp_path / "alone"
    shutil.copytree(path.parent, alone, ignore=lambda _, names: [n for n in names if n.startswith("new")])
    assert len(results_of(str(alone), results)) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(Vr1benchError, match="holds no result"):
        results_of(str(tmp_path / "empty"), results)


def test_several_results_of_a_benchmark_are_not_guessed(results):
    write_result(results / "more.json", made(coin(0.5), "a", "old", protocol="vlm-r1", revision="o1" * 20))
    with pytest.raises(Vr1benchError, match="a has several results: val standard constant and val vlm-r1 constant"):
        by_benchmark(results_of("old", results), "old")


@pytest.fixture
def run_folder(tmp_path, coco_folder):
    """A run of three images and its result."""
    run(
        "nobody", benchmark=str(coco_folder / "small.toml"), engine="oracle", family="absolute", data_dir=coco_folder,
        output=tmp_path / "out",
    )  # fmt: skip
    (folder,) = {path.parent for path in (tmp_path / "out/runs").rglob("run.json")}
    return folder


def test_run_folders(run_folder, tmp_path):
    for name in (run_folder, run_folder.parent, tmp_path / "out/runs"):
        (found,) = results_of(str(name), tmp_path / "out")
        assert found.key.model == "oracle-absolute"
    for path in (tmp_path / "out").rglob("oracle*.json"):
        path.unlink()
    with pytest.raises(IncompleteError, match="its run did not end"):
        results_of(str(run_folder), tmp_path / "out")


def test_a_run_stands_for_its_own_result(run_folder, tmp_path):
    rescore(run_folder, changes={"scores": "order"})
    rescore(run_folder, limit=2)
    (found,) = results_of(str(run_folder), tmp_path)
    assert (found.key.split, found.key.scores) == ("val", "constant")
    (tmp_path / "out" / found.key.path).unlink()
    (found,) = results_of(str(run_folder), tmp_path)
    assert (found.key.split, found.key.scores) == ("val[:2]", "constant")
    rescore(run_folder, limit=1)
    with pytest.raises(Vr1benchError, match="several results"):
        by_benchmark(results_of(str(run_folder), tmp_path), "it")


def test_a_run_of_points_stands_for_its_points(coco_folder, tmp_path):
    run(
        "nobody", benchmark=str(coco_folder / "small.toml"), engine="oracle", family="molmo", data_dir=coco_folder,
        output=tmp_path / "out", overrides={"query": "one"},
    )  # fmt: skip
    (found,) = results_of(str(tmp_path / "out/runs"), tmp_path)
    assert found.key.scores == "points"


def test_a_run_can_be_compared_with_itself(run_folder):
    done = typed("compare", run_folder, run_folder)
    assert done.returncode == 0, done.stderr
    assert "samples answered worse: 0, better: 0" in done.stdout


def test_a_folder_is_what_it_holds_whatever_it_is_called(results, tmp_path):
    (path,) = results.rglob("a/*/old*.json")
    named = tmp_path / "runs" / "a"
    shutil.copytree(path.parent, named, ignore=lambda _, names: [n for n in names if n.startswith("new")])
    assert len(results_of(str(named), results)) == 1
    (named / "mine").mkdir()
    (named / "mine" / "run.json").write_text("{}")
    assert len(results_of(str(named), results)) == 1


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_folder(results, name, monkeypatch):
    monkeypatch.chdir(results / "a")
    with pytest.raises(Vr1benchError, match="empty name"):
        results_of(name, results)


def test_the_gate_ends_with_its_verdict(results, tmp_path):
    files = [tmp_path / name for name in ("gate.xml", "summary.md", "gate.json")]
    files[1].write_text("above\n")
    words = ["--results", results, "--junit", files[0], "--markdown", files[1], "--json", files[2]]
    done = started("gate", "new", "--baseline", "old", *words)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "FAIL: 2 of 5 checks"
    assert "<failure" in files[0].read_text()
    assert files[1].read_text().startswith("above\n## vr1bench gate: FAIL")
    assert json.loads(files[2].read_text())["passed"] is False
    assert typed("gate", "old", "--baseline", "new", "--results", results).returncode == 0
    assert typed("gate", "new", "--baseline", "old", "--results", results, "--tolerance", "20").returncode == 0
    assert typed("gate", "new", "--results", results).returncode == 2
    assert typed("gate", "new", "--baseline", "nobody", "--results", results).returncode == 2
    write_result(results / "a.json", made(coin(0.7), "a", "other", protocol="vlm-r1"))
    done = typed("gate", "other", "--baseline", "old", "--results", results, "--protocol", "vlm-r1")
    assert done.returncode == 2
    assert "no result under protocol 'vlm-r1'" in done.stderr
    assert typed("gate", "other", "--baseline", "old", "--results", results).returncode == 3


def test_the_rules_file_and_the_command_line(results, tmp_path):
    rules = tmp_path / "gate.toml"
    rules.write_text("tolerance = 20.0\n")
    words = ["gate", "new", "--baseline", "old", "--results", results, "--rules", rules]
    assert typed(*words).returncode == 0
    assert typed(*words, "--tolerance", "1").returncode == 1
    assert typed(*words, "--alpha", "7").returncode == 2


def test_compare_and_power_print_tables(results):
    done = started("compare", "old", "new", "--results", results)
    assert done.returncode == 0
    values = [results_of(name, results)[0].primary.value for name in ("old", "new")]
    assert done.stdout.splitlines()[2].split()[:5] == ["a", "Acc@0.5", "400", *(f"{100 * one:.1f}" for one in values)]
    rows = json.loads(typed("compare", "old", "new", "--results", results, "--format", "json").stdout)
    assert [row["benchmark"] for row in rows["differences"]] == ["a", "b", "mean of 2"]
    assert "| a" in typed("compare", "old", "new", "--results", results, "--format", "md").stdout
    assert typed("compare", "old", "new", "--results", results, "--format", "pdf").returncode == 2
    done = started("power", "old", "--results", results)
    assert done.stdout.splitlines()[-1].split()[:3] == ["mean", "of", "2"]
    assert "name a second" in done.stderr
    assert typed("power", "old", "new", "--results", results).stderr == ""


def test_samples_that_flipped_are_found_beside_the_results(coco_folder, tmp_path):
    right = [{"box": [2, 3, 22, 13], "label": "dog"}, {"box": [5, 5, 35.5, 25], "label": "cat"}]
    for model, said in (("one", right), ("two", right[:1])):
        lines = [{"sample_id": "3", "text": json.dumps(said)}, *({"sample_id": i, "text": "[]"} for i in ("5", "7"))]
        (tmp_path / f"{model}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        run(
            model, benchmark=str(coco_folder / "small.toml"), engine="replay", family="absolute",
            engine_args={"file": str(tmp_path / f"{model}.jsonl")}, data_dir=coco_folder, output=tmp_path / "out",
        )  # fmt: skip
    done = typed("compare", "one", "two", "--results", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "samples answered worse: 1, better: 0" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["small", "3", "a", "3.png", "dog,", "cat", "100", "67"]
    told = json.loads(typed("compare", "one", "two", "--results", tmp_path / "out", "--format", "json").stdout)
    assert [flip["id"] for flip in told["flips"]] == ["3"]
    assert "runs/ folders" not in done.stderr
    shutil.rmtree(tmp_path / "out" / "runs")
    done = typed("compare", "one", "two", "--results", tmp_path / "out")
    assert "runs/ folders" in done.stderr
    assert "answered worse" not in done.stdout
