"""The model that a training begins with, as step 0, and the warning about checkpoints that are worse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoint_folders import plug_in, save, watched
from scorings import Scorings, attempt, judged, tied
from transformers import TrainerControl, TrainerState, TrainingArguments

from vr1bench.engines import ENGINES
from vr1bench.model import load
from vr1bench.store import Result, read_results, write_text
from vr1bench.trainers.attempts import append, attempts
from vr1bench.trainers.callback import ScoreCheckpoints
from vr1bench.trainers.checkpoints import Backlog
from vr1bench.trainers.falling import ALPHA, fallen, held_out, is_sure
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


@pytest.fixture
def asked(tmp_path, scorings):
    """What is said of one more attempt in a training's folder, which is then noted."""

    def ask(step: int, result: Result | None, **more: str) -> str:
        one = attempt(step, result, status="scored" if result else "failed").model_copy(update=more)
        said = fallen(tmp_path, scorings.folder / "results", one) if result else ""
        append(tmp_path, one)
        return said

    return ask


def test_a_checkpoint_that_is_surely_worse_than_the_base_model_is_warned_of(asked, good, bad):
    assert asked(0, good) == ""
    assert asked(10, good) == ""
    said = asked(20, bad)
    worse = "checkpoint-20 is WORSE than the base model: held-out AP_tie on demo/coco fell"
    assert f"{worse} {100 * tied(good):.1f} -> {100 * tied(bad):.1f} (95 % -" in said
    assert "Try a lower learning_rate" in said


def test_a_base_model_that_is_scored_late_tells_of_the_checkpoints_before_it(asked, good, bad):
    assert asked(10, bad) == ""
    assert asked(20, good) == ""
    assert asked(30, bad) == ""
    said = asked(0, good)
    assert said.count("WORSE") == 2
    assert "checkpoint-10 is WORSE" in said
    assert "checkpoint-30 is WORSE" in said


def test_a_gain_and_a_loss_that_the_gate_lets_pass_are_none(asked, good, bad):
    asked(0, bad)
    assert asked(10, good) == ""
    right = np.arange(4000) < 3000
    few, more = (
        held_out({"b": judged(good, right, 0)}, {"b": judged(good, right & (np.arange(4000) >= by), 0)})
        for by in (16, 40)
    )
    assert few is not None
    assert more is not None
    assert few.p_drop < 1e-3
    assert (is_sure(few, 1), is_sure(more, 1)) == (False, True)


def test_other_suites_and_failed_scorings_neither_count_nor_hide(asked, good, bad):
    assert asked(0, None) == ""
    assert asked(10, bad) == ""
    asked(0, good, asked="--suite=other")
    assert asked(20, bad) == ""
    assert "checkpoint-10" in asked(0, good)
    asked(0, bad, asked="--suite=other")
    assert "checkpoint-30 is WORSE" in asked(30, bad)


def test_a_training_that_loses_nothing_is_warned_of_at_most_with_chance_alpha(tmp_path, good):
    """200 trainings of 6 checkpoints on 100 images: neither this nor the sum of the levels may exceed alpha."""
    rng, warned = np.random.default_rng(2), 0
    for training in range(200):
        hard, folder, told = rng.beta(2, 1.5, 100), tmp_path / str(training), False
        for step in range(7):
            result = judged(good, rng.random(100) < hard, training)
            key = result.key.model_copy(update={"model": f"{training}/checkpoint-{step}", "step": step})
            write_text(folder / key.path, result.model_copy(update={"key": key}).model_dump_json())
            one = attempt(step, good).model_copy(update={"results": (str(key.path),)})
            told = told or bool(fallen(folder, folder, one))
            append(folder, one)
        warned += told
    assert 0 < warned <= 200 * ALPHA


def begun_from(**orders: object) -> Path:
    """The output folder of a training that `vr1bench train` began from a model beside it."""
    base = save(Path("begun"), 7, **orders).rename("begun/model")
    model = load(str(base))
    told = Training(
        method="sft", recipe="r", recipe_sha256="0" * 64, base_model=model.name, base_revision=model.revision
    )
    write_text(Path("out/training.json"), told.model_dump_json())
    return Path("out")


@pytest.fixture
def out(tmp_path, monkeypatch) -> Path:
    """The output folder of a training from a model that finds every box."""
    plug_in(tmp_path, monkeypatch)
    return begun_from(right=100)


def test_the_base_model_is_scored_first_and_once_and_what_is_worse_is_said(out):
    save(out, 5, right=99)
    save(out, 9, right=40)
    code, said = watched(out, "--idle", 0, "--limit", 100, "--keep-best")
    assert code == 0, said
    found = attempts(out)
    assert [(one.step, one.checkpoint, one.status) for one in found] == [
        (0, "begun/model", "scored"), (5, "checkpoint-5", "scored"), (9, "checkpoint-9", "scored"),
    ]  # fmt: skip
    assert [bool(one.warning) for one in found] == [False, False, True]
    before = 100 * found[0].metrics["demo/coco"].order_free_value
    assert f"WARNING: checkpoint-9 is WORSE than the base model: held-out AP_tie on demo/coco fell {before:.1f}" in said
    assert said.count("WARNING") == 1
    assert {(result.key.model, result.key.step) for _, result in read_results(Path("results"))} == {
        ("begun/model", None), ("out/checkpoint-5", 5), ("out/checkpoint-9", 9),
    }  # fmt: skip
    assert json.loads((out / "best/best.json").read_text())["step"] == 5, "the best that was trained"
    code, said = watched(out, "--idle", 0, "--limit", 100)
    assert code == 0, said
    assert len(attempts(out)) == 3


def test_a_base_model_that_cannot_be_scored_ends_nothing(tmp_path, monkeypatch):
    plug_in(tmp_path, monkeypatch)
    out = begun_from(fail="no such kernel")
    save(out, 5)
    code, said = watched(out, "--idle", 0)
    assert code == 1
    assert "WARNING: begun/model is NOT scored" in said
    assert [(one.step, one.status) for one in attempts(out)] == [(0, "failed"), (5, "scored")]
    assert "no such kernel" in (out / "scoring/base.log").read_text()
    code, said = watched(out, "--idle", 0, "--no-base")
    assert code == 0, said


def test_a_base_model_that_has_changed_is_not_taken_for_the_one_that_the_training_began_with(out):
    (Path("begun/model") / "model.safetensors").write_text("other weights")
    save(out, 5)
    code, said = watched(out, "--idle", 0)
    assert code == 1
    assert "begun/model is revision" in said
    assert "or --no-base, leaves the base model out" in said
    assert [(one.step, one.status) for one in attempts(out)] == [(0, "failed"), (5, "scored")]


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


@pytest.fixture
def known_here(monkeypatch) -> None:
    """The engine that is plugged in is known to this process too, whatever it looked up before."""
    monkeypatch.setitem(ENGINES.builtin, "obedient", "obedient_engine:Obedient")


@pytest.mark.usefixtures("known_here")
def test_a_trainer_scores_the_base_model_before_its_first_step_unless_it_is_asked_to_stop(out):
    args = TrainingArguments(output_dir=str(out), use_cpu=True)
    scoring = Scoring(benchmark=("demo/coco",), limit=4, engine="obedient")
    for stopped in (True, False):
        trainer = ScoreCheckpoints(scoring, lambda stopped=stopped: stopped)
        trainer.on_train_begin(args, TrainerState(), TrainerControl())
        scored = [(one.checkpoint, one.status) for one in attempts(out)]
        assert scored == ([] if stopped else [("begun/model", "scored")])


@pytest.mark.usefixtures("known_here")
def test_a_trainer_tries_the_base_model_again_with_the_next_checkpoint(out):
    args = TrainingArguments(output_dir=str(out), use_cpu=True)
    scoring = Scoring(benchmark=("demo/coco",), limit=4, engine="obedient")
    right = Path("begun/model/model.safetensors").read_text()
    Path("begun/model/model.safetensors").write_text("not there yet")
    trainer = ScoreCheckpoints(scoring)
    trainer.on_train_begin(args, TrainerState(), TrainerControl())
    Path("begun/model/model.safetensors").write_text(right)
    save(out, 5)
    trainer.on_save(args, TrainerState(global_step=5), TrainerControl())
    assert [(one.step, one.status) for one in attempts(out)] == [(0, "failed"), (0, "scored"), (5, "scored")]


@pytest.mark.usefixtures("known_here")
def test_a_trainer_gives_a_base_model_up_once_and_scores_its_checkpoints_all_the_same(out, capsys):
    args = TrainingArguments(output_dir=str(out), use_cpu=True)
    Path("begun/model/model.safetensors").write_text("other weights")
    trainer = ScoreCheckpoints(Scoring(benchmark=("demo/coco",), limit=4, engine="obedient"))
    trainer.on_train_begin(args, TrainerState(), TrainerControl())
    for step in range(1, 5):
        save(out, step)
        trainer.on_save(args, TrainerState(global_step=step), TrainerControl())
    found = [(one.step, one.status) for one in attempts(out)]
    assert found.count((0, "failed")) == 3
    assert [step for step, status in found if status == "scored"] == [1, 2, 3, 4]
    assert capsys.readouterr().err.count("begun/model failed 3 times; passed over") == 1
