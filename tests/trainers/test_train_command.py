"""The commands that a user types: a few steps, every checkpoint scored, its row on the leaderboard."""

import json
import os
import subprocess
import sys

import pytest
from training import GRPO, recipe_of, write_rows

from vr1bench.board import curves, leaderboard
from vr1bench.board.table import View
from vr1bench.store import read_results
from vr1bench.trainers.recipe import RECIPES, read_recipe

QUIET = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
SCORED = ["--set", "score.suite=demo/coco", "--set", "score.limit=12", "--set", "score.keep_best=true"]
LORA = f"""
extends = "{RECIPES}/demo-sft.toml"
[model]
weights = "lora"
[lora]
r = 4
target_modules = ["q_proj", "v_proj"]
"""


def vr1bench(*words: str, where) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vr1bench.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=QUIET, cwd=where)


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_two_checkpoints_are_two_rows(tmp_path, method):
    (tmp_path / "mine.toml").write_text(LORA)
    recipe = "demo-grpo" if method == "grpo" else "mine.toml"
    small = {"max_steps": 2, "save_steps": 1, "per_device_train_batch_size": 8}
    changes = [word for key, value in small.items() for word in ("--set", f"{method}.{key}={value}")]
    done = vr1bench("train", method, recipe, "--output-dir", "run", *changes, *SCORED, where=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "run"
    results = [result for _, result in read_results(tmp_path / "results")]
    assert sorted((result.key.model, result.key.step) for result in results) == [
        ("demo", None), ("run/checkpoint-1", 1), ("run/checkpoint-2", 2),
    ]  # fmt: skip
    trained = [result for result in results if result.key.step]
    for result in trained:
        assert result.primary.value > 0.3
        training = result.run.training
        assert (training.method, training.base_model) == (method, "demo")
        assert training.recipe == ("demo-grpo" if method == "grpo" else "mine")
    changed = {f"{method}.{key}": value for key, value in small.items()} | {f"{method}.output_dir": "run"}
    where = recipe if method == "grpo" else str(tmp_path / recipe)
    assert {result.run.training.recipe_sha256 for result in trained} == {read_recipe(where, changed).sha256}
    (curve,) = curves(leaderboard(results, view=View(history="run")))
    assert [(point.step, point.base) for point in curve.points] == [(0, True), (1, False), (2, False)]
    drawn = vr1bench("board", "results", "--history", str(tmp_path / "run"), where=tmp_path)
    assert "run/checkpoint-2" in drawn.stdout
    best = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    assert best["checkpoint"] in {"checkpoint-1", "checkpoint-2"}
    table = (tmp_path / "results" / "LEADERBOARD.md").read_text()
    assert "run/checkpoint-1" in table
    assert "run/checkpoint-2" in table
    attempts = [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
    assert [(one["step"], one["status"]) for one in attempts] == [(0, "scored"), (1, "scored"), (2, "scored")]


def test_two_processes_on_rows_of_every_kind(tmp_path):
    """One process may draw rows without pictures alone, and must not keep the other waiting."""
    settings = GRPO + "per_device_train_batch_size = 2\nmax_steps = 3\nsave_steps = 3"
    data = f'rows = ["{write_rows(tmp_path)}"]'
    recipe_of(tmp_path, "grpo", settings, "[rewards]\nvlm-r1-rec = 1.0", data)
    config = RECIPES.parent / "accelerate" / "two-cpus.yaml"
    words = ["--config_file", str(config), "-m", "vr1bench.trainers.grpo", str(tmp_path / "recipe.toml")]
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *words],
        capture_output=True, text=True, env=QUIET | {"OMP_NUM_THREADS": "1"}, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    state = json.loads((tmp_path / "out" / "checkpoint-3" / "trainer_state.json").read_text())
    assert state["global_step"] == 3
    assert (tmp_path / "out" / "checkpoint-3" / "rng_state_1.pth").exists()  # there were two


@pytest.mark.parametrize(
    ("words", "said"),
    [(("sft", "demo-stf"), "did you mean 'demo-sft'"), (("tune", "demo-sft"), "unknown trainer 'tune'")],
)
def test_mistakes_are_said(tmp_path, words, said):
    done = vr1bench("train", *words, where=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
