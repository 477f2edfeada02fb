"""The model that a training begins with, as step 0, and the warning about checkpoints that are worse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoint_folders import plug_in, save, watched
from scorings import Scorings, attempt, judged, tied

from vr1bench.model import load
from vr1bench.store import Result, read_results, write_text
from vr1bench.trainers.attempts import append, attempts
from vr1bench.trainers.checkpoints import Backlog
from vr1bench.trainers.falling import ALPHA, fallen, held_out
from vr1bench.trainers.scoring import Scoring
from vr1bench.types import Training


@pytest.fixture(scope="module")
def scorings(tmp_path_factory) -> Scorings:
    return Scorings(tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def good(scorings) -> Result:
    return scorings.result(0, 0.1)


@pytest.fixture(scope="module")
def bad(scorings) -> Result:
    return scorings.result(10, 0.95)


def test_a_checkpoint_that_is_surely_worse_than_the_base_model_is_warned_of(tmp_path, scorings, good, bad):
    output, new = scorings.folder / "results", {"demo/coco": bad}
    assert fallen(tmp_path, output, attempt(10, bad), new) == "", "no base model was scored"
    append(tmp_path, attempt(0, good))
    assert fallen(tmp_path, output, attempt(0, good), {"demo/coco": good}) == ""
    said = fallen(tmp_path, output, attempt(10, bad), new)
    assert (
        f"checkpoint-10 is WORSE than the base model: held-out AP_tie on demo/coco fell {100 * tied(good):.1f}" in said
    )
    assert fallen(tmp_path, output, attempt(10, good), {"demo/coco": good}) == ""


def test_a_gain_and_a_loss_that_the_gate_lets_pass_are_none(tmp_path, scorings, good, bad):
    append(tmp_path, attempt(0, bad))
    assert fallen(tmp_path, scorings.folder / "results", attempt(10, good), {"demo/coco": good}) == ""
    right = np.arange(4000) < 3000
    few = held_out({"b": judged(good, right, 0)}, {"b": judged(good, right & (np.arange(4000) >= 16), 0)})
    assert few is not None
    assert few.p_drop < 1e-3
    assert -0.005 < few.value < 0


def test_other_samples_and_failed_scorings_are_not_compared(tmp_path, scorings, good, bad):
    output, new = scorings.folder / "results", {"demo/coco": bad}
    fewer = attempt(0, good).model_copy(update={"results": ("demo/coco/val[:4].standard.constant/m@1.json",)})
    append(tmp_path, fewer)
    assert fallen(tmp_path, output, attempt(10, bad), new) == ""
    append(tmp_path, attempt(0, status="failed"))
    assert fallen(tmp_path, output, attempt(10, bad), new) == ""
    append(tmp_path, attempt(0, good))
    assert fallen(tmp_path, output, attempt(10, bad), new)


def test_a_training_that_loses_nothing_is_warned_of_at_most_with_chance_alpha(tmp_path, good):
    """200 trainings of 6 checkpoints on 100 images: neither this nor the sum of the levels may exceed alpha."""
    rng, warned = np.random.default_rng(2), 0
    for training in range(200):
        hard = rng.beta(2, 1.5, 100)
        folder = tmp_path / str(training)
        folder.mkdir()
        told = False
        for step in range(7):
            result = judged(good, rng.random(100) < hard, training)
            key = result.key.model_copy(update={"model": f"{training}/checkpoint-{step}", "step": step})
            result = result.model_copy(update={"key": key})
            one = attempt(step, good).model_copy(update={"results": (str(key.path),)})
            if not step:
                write_text(folder / key.path, result.model_dump_json())
            told = told or bool(fallen(folder, folder, one, {"demo/coco": result}))
            append(folder, one)
        warned += told
    assert 0 < warned <= 200 * ALPHA


@pytest.fixture
def out(tmp_path, monkeypatch) -> Path:
    """The output folder of a training that `vr1bench train` began from a model beside it, which finds every box."""
    plug_in(tmp_path, monkeypatch)
    base = save(Path("begun"), 7, right=100).rename("begun/model")
    begun = load(str(base))
    told = Training(
        method="sft", recipe="r", recipe_sha256="0" * 64, base_model=begun.name, base_revision=begun.revision
    )
    write_text(Path("out/training.json"), told.model_dump_json())
    return Path("out")


def test_the_base_model_is_scored_first_and_once_and_what_is_worse_is_said(out):
    save(out, 5, right=100)
    save(out, 9, right=40)
    code, said = watched(out, "--idle", 0, "--limit", 100, "--keep-best")
    assert code == 0, said
    found = attempts(out)
    assert [(one.step, one.checkpoint, one.status) for one in found] == [
        (0, "begun/model", "scored"), (5, "checkpoint-5", "scored"), (9, "checkpoint-9", "scored"),
    ]  # fmt: skip
    assert [bool(one.message) for one in found] == [False, False, True]
    before = 100 * found[0].metrics["demo/coco"].order_free_value
    assert f"WARNING: checkpoint-9 is WORSE than the base model: held-out AP_tie on demo/coco fell {before:.1f}" in said
    assert said.count("WARNING") == 1
    assert {(result.key.model, result.key.step) for _, result in read_results(Path("results"))} == {
        ("begun/model", None), ("out/checkpoint-5", 5), ("out/checkpoint-9", 9),
    }  # fmt: skip
    assert json.loads((out / "best/best.json").read_text())["step"] == 5, "of equal ones the one that can be kept"
    code, said = watched(out, "--idle", 0, "--limit", 100)
    assert code == 0, said
    assert len(attempts(out)) == 3


def test_a_base_model_that_cannot_be_scored_ends_nothing(out):
    (Path("begun/model") / "generation_config.json").write_text('{"right": 4, "fail": "no such kernel"}')
    save(out, 5)
    code, said = watched(out, "--idle", 0)
    assert code == 1
    assert "WARNING: begun/model is NOT scored" in said
    assert [(one.step, one.status) for one in attempts(out)] == [(0, "failed"), (5, "scored")]
    assert (out / "scoring/base.log").exists()


def test_the_base_model_can_be_left_out(out):
    save(out, 5)
    code, said = watched(out, "--idle", 0, "--no-base")
    assert code == 0, said
    assert [one.step for one in attempts(out)] == [5]
    left = Backlog(out, Scoring(benchmark=("demo/coco",), limit=4))
    assert left.unscored() == ["begun/model"]
    assert Backlog(out, left.scoring.model_copy(update={"base": False})).unscored() == []


def test_a_checkpoint_of_step_0_stands_for_the_base_model(out):
    save(out, 0)
    assert Backlog(out, Scoring(benchmark=("demo/coco",))).unscored() == ["checkpoint-0"]
