"""A process beside a training, which scores its checkpoints as they come."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from checkpoint_folders import Gate, Watcher, plug_in, save, watched

from vr1bench.store import read_results
from vr1bench.trainers.attempts import attempts
from vr1bench.trainers.watch import is_done


@pytest.fixture
def out(tmp_path, monkeypatch):
    """The output folder of a training, below the current folder."""
    plug_in(tmp_path, monkeypatch)
    Path("out").mkdir()
    return Path("out")


def noted(folder):
    return [(one.step, one.status) for one in attempts(folder)]


def test_what_comes_is_scored_once_in_order_until_the_training_is_done(out):
    gate = Gate(out / "gate")
    save(out, 30)
    save(out, 5, gate=str(gate.path), right=2)
    half = out / "checkpoint-40"
    half.mkdir()
    (half / "trainer_state.json").write_text('{"global_step": 40,')
    with Watcher(out, "--until-done", "--keep-best") as watcher:
        gate.wait()
        code, said = watched(out)
        assert code == 2
        assert "another process scores the checkpoints of out" in said
        save(out, 100)
        gate.open()
        code, said = watcher.end()
    assert code == 0, said
    assert noted(out) == [(5, "scored"), (30, "scored"), (100, "scored")]
    assert "checkpoint-40 passed over: it was never written to the end" in said
    # As rows of the leaderboard: called by the path from here, with their step.
    found = {result.key.step: result for _, result in read_results(Path("results"))}
    assert {step: found[step].key.model for step in found} == {
        step: f"out/checkpoint-{step}" for step in (5, 30, 100)
    }  # fmt: skip
    assert "out/checkpoint-30" in Path("results/LEADERBOARD.md").read_text()
    first = attempts(out)[0]
    assert Path("results", *first.results).is_file()
    assert first.metrics["demo/coco"].order_free == "AP_tie"
    assert first.metrics["demo/coco"].value == found[5].primary.value < found[30].primary.value
    assert json.loads((out / "best/best.json").read_text())["step"] == 30


def test_killed_in_the_middle_it_goes_on_and_leaves_no_process(out):
    gate = Gate(out / "gate")
    save(out, 1)
    save(out, 2, gate=str(gate.path))
    with Watcher(out) as watcher:
        gate.wait()
        watcher.process.kill()
        gate.wait_for_end()
    assert noted(out) == [(1, "scored")]
    (out / "checkpoint-2/generation_config.json").write_text('{"right": 4}')
    save(out, 3)
    code, said = watched(out, "--idle", 0)
    assert code == 0, said
    assert noted(out) == [(1, "scored"), (2, "scored"), (3, "scored")]


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_scoring_too(out, number):
    gate = Gate(out / "gate")
    save(out, 2, gate=str(gate.path))
    with Watcher(out) as watcher:
        gate.wait()
        watcher.process.send_signal(number)
        gate.wait_for_end()
        code, said = watcher.end()
    assert code == 130
    assert "type the same command again" in said
    assert noted(out) == []


def test_what_rotation_deletes_is_said_and_passed_over(out):
    gate = Gate(out / "gate")
    now, later = save(out, 1, gate=str(gate.path)), save(out, 2)
    save(out, 3)
    with Watcher(out, "--idle", 0) as watcher:
        gate.wait()
        shutil.rmtree(now)
        shutil.rmtree(later)
        gate.open()
        code, said = watcher.end()
    assert code == 0, said
    assert noted(out) == [(1, "gone"), (2, "gone"), (3, "scored")]
    assert said.count("passed over: deleted before it was scored") == 2


def test_a_checkpoint_that_fails_is_said_and_tried_again_only_so_often(out):
    save(out, 1, fail="no such kernel")
    save(out, 2)
    for start in range(3):
        code, said = watched(out, "--idle", 0, "--tries", 2)
        assert code == 1
        assert ("no such kernel" in said) == (start < 2)
    assert "checkpoint-1 failed 2 times; passed over (--tries 3 tries it again)" in said
    assert "not scored: checkpoint-1" in said
    assert noted(out) == [(1, "failed"), (2, "scored"), (1, "failed")]


@pytest.mark.parametrize(
    ("where", "options", "words"),
    [
        ("out", ["--suite", "demo"], "expected a suite or benchmarks, and not both"),
        ("out", ["--split", "tset"], "unknown split of demo/coco 'tset'"),
        ("out", ["--engine", "obedeint"], "did you mean 'obedient'"),
        ("out/checkpoint-1", [], "expected the folder that it lies in: out"),
        ("nowhere", [], "nowhere is no folder; expected the output folder of a training"),
    ],
)
def test_what_would_fail_every_time_is_said_before_the_first(out, where, options, words):
    save(out, 1)
    code, said = watched(where, "--idle", 0, *options)
    assert code == 2
    assert words in said
    assert noted(out) == []


def test_a_training_is_done_when_its_last_step_is_saved_or_its_trainer_says_so(out):
    assert not is_done(out)
    save(out, 50, max_steps=60)
    assert not is_done(out)
    state = out / "trainer_state.json"
    state.write_text('{"global_step": 40, "max_steps": 60}')  # an earlier training's
    assert not is_done(out)
    state.write_text('{"global_step": 50, "max_steps": 60}')  # it stopped early
    assert is_done(out)
    state.unlink()
    save(out, 60, max_steps=60)
    assert is_done(out)
