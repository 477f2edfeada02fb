"""What is noted of checkpoints, which one is kept, and how a trainer has them scored between its steps."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer
from checkpoint_folders import Gate, plug_in, save

from vr1bench.arguments import pairs
from vr1bench.errors import Vr1benchError
from vr1bench.trainers import attempting, best, scorer
from vr1bench.trainers.attempts import Attempt, Score, append, attempts, saved, standing
from vr1bench.trainers.scoring import Scoring, watch_command
from vr1bench.trainers.watch import app


def attempt(step=1, value=0.5, *, tie=None, status="scored", when="", split="val", benchmark="demo/coco", **more):
    """A line of `scores.jsonl`, made up."""
    metric = "AP" if tie is None else "AP_tie"
    score = Score(primary="AP", value=value, order_free=metric, order_free_value=value if tie is None else tie)
    done = status == "scored"
    return Attempt(
        step=step,
        checkpoint=f"checkpoint-{step}",
        status=status,
        results=(f"{benchmark}/{split}.standard.constant/m@1-{step}.json",) if done else (),
        metrics={benchmark: score} if done else {},
        date="2026-01-01",
        saved=when,
        **more,
    )


def scored(folder, step, value, **more):
    """A checkpoint that stands in a folder, and its line."""
    path = save(folder, step)
    append(folder, attempt(step, value, when=saved(path), **more))
    return path


def best_step(folder):
    return json.loads((folder / "best/best.json").read_text())["step"]


def test_half_a_line_is_passed_over_and_written_over(tmp_path):
    assert attempts(tmp_path) == []
    append(tmp_path, attempt(1))
    with (tmp_path / "scores.jsonl").open("a") as file:
        file.write('{"step": 2, "checkp')
    assert attempts(tmp_path) == [attempt(1)]
    append(tmp_path, attempt(3))
    assert attempts(tmp_path) == [attempt(1), attempt(3)]
    (tmp_path / "scores.jsonl").write_text('{"step": 2}\n')
    with pytest.raises(Vr1benchError, match="line 1 is damaged: checkpoint: Field required; remove that line"):
        attempts(tmp_path)


def test_what_stands_is_the_last_attempt_at_each_checkpoint_of_the_training_as_it_is_now():
    first = [attempt(1, when="a"), attempt(2, status="failed", when="b"), attempt(3, when="c"), attempt(2, when="b")]
    assert standing(first) == [first[0], first[3], first[2]]
    # It went on from step 1 anew: what was scored of steps 2 and 3 is of weights that are no more.
    again = attempt(2, when="d")
    assert standing([*first, again]) == [first[0], again]


def test_the_best_is_kept_by_links_without_what_only_resuming_needs(tmp_path):
    scored(tmp_path, 1, 0.9, tie=0.3)
    two = scored(tmp_path, 2, 0.5, tie=0.4)
    assert best.keep(tmp_path).step == 2, "by the order-free companion, not by the primary"
    kept = tmp_path / "best"
    assert {path.name for path in kept.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "best.json",
    }  # fmt: skip
    assert (kept / "model.safetensors").samefile(two / "model.safetensors")
    assert json.loads((kept / "best.json").read_text()) == {
        "step": 2, "checkpoint": "checkpoint-2", "value": 0.4, "metric": "AP_tie", "saved": saved(two),
        "columns": ["demo/coco/val.standard.constant"],
    }  # fmt: skip
    scored(tmp_path, 3, 0.5, tie=0.4)
    assert best.keep(tmp_path) is None, "of equal ones the earlier"
    four = scored(tmp_path, 4, 0.5, tie=0.5)
    (kept / "more").write_text("of the best before")
    best.hold(four)
    (four / "model.safetensors").unlink()  # rotation, after it was scored
    assert best.keep(tmp_path).step == 4
    assert (kept / "model.safetensors").read_text() == "weights of step 4"
    assert not (kept / "more").exists(), "replaced whole"
    best.release(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_only_what_compares_and_is_defined_competes_for_the_best(tmp_path):
    scored(tmp_path, 1, 0.9)
    best.keep(tmp_path)
    scored(tmp_path, 2, 0.3, split="val[:4]")
    assert best.keep(tmp_path).step == 2, "judged by other samples: the old best is of no use"
    scored(tmp_path, 3, None, split="val[:4]")
    append(tmp_path, attempt(4, status="failed"))
    assert best.keep(tmp_path) is None
    assert best_step(tmp_path) == 2


def test_a_folder_called_best_that_is_somebody_elses_stays(tmp_path, capsys):
    scored(tmp_path, 1, 0.9)
    (tmp_path / "best").mkdir()
    (tmp_path / "best/mine").write_text("mine")
    attempting.keep_best(tmp_path)
    assert "best is not what --keep-best wrote" in capsys.readouterr().err
    assert (tmp_path / "best/mine").read_text() == "mine"


def test_a_best_that_was_being_replaced_when_the_machine_stopped_is_brought_back(tmp_path):
    scored(tmp_path, 1, 0.5)
    best.keep(tmp_path)
    two = scored(tmp_path, 2, 0.6)
    best.hold(two)
    (tmp_path / "best").rename(tmp_path / ".best.old")
    for path in sorted(two.iterdir()):
        path.unlink()
    attempting.keep_best(tmp_path)
    assert best_step(tmp_path) == 2
    assert (tmp_path / "best/model.safetensors").read_text() == "weights of step 2"


def test_options_of_a_recipe_are_those_of_the_command():
    scoring = Scoring(
        benchmark=["demo/coco", "a.toml"], limit=4, engine="vllm", engine_args={"max_model_len": 99, "note": "a,b"},
        gen_args={"temperature": 0.5}, overrides={"ids": "as-shipped"}, keep_best=True, timeout_s=60,
    )  # fmt: skip
    words = watch_command(Path("out"), scoring)
    assert words[:4] == ["vr1bench", "train", "watch", "out"]
    context = typer.main.get_command(app).make_context("watch", words[3:])
    assert context.params["benchmark"] == ["demo/coco", "a.toml"]
    assert pairs(context.params["engine_args"], "") == scoring.engine_args
    assert pairs(context.params["gen_args"], "") == scoring.gen_args
    assert pairs(context.params["changes"], "") == scoring.overrides
    assert (context.params["limit"], context.params["timeout"], context.params["keep_best"]) == (4, 60, True)


def test_no_launcher_of_the_training_reaches_the_scoring(monkeypatch):
    mine = {"RANK": "1", "ACCELERATE_USE_FSDP": "true", "TORCHELASTIC_RUN_ID": "x", "MASTER_PORT": "1", "KEPT": "1"}
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    assert set(mine) & set(scorer.environment()) == {"KEPT"}


def test_a_scoring_that_takes_too_long_is_ended_and_noted(tmp_path, monkeypatch, capsys):
    plug_in(tmp_path, monkeypatch)
    path = save(Path("out"), 1)
    done = attempting.score(attempting.checkpoint(path), Scoring(suite="demo/coco", engine="obedient", timeout_s=0.01))
    assert (done.status, attempts(Path("out"))) == ("failed", [done])
    assert "it took longer than 0.01 s and was ended" in done.message
    assert "WARNING: checkpoint-1 is NOT scored" in capsys.readouterr().err


def test_ctrl_c_ends_the_scoring_where_the_trainer_takes_it_for_itself(tmp_path, monkeypatch):
    plug_in(tmp_path, monkeypatch)
    gate, heard = Gate(tmp_path / "gate"), []
    path = save(Path("out"), 1, gate=str(gate.path))

    def press() -> None:
        gate.wait()
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, lambda *_: heard.append("Ctrl-C"))
    try:
        hand = threading.Thread(target=press)
        hand.start()
        with pytest.raises(scorer.InterruptedScoring):
            attempting.score(attempting.checkpoint(path), Scoring(suite="demo/coco", engine="obedient"))
        hand.join()
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    gate.wait_for_end()
    assert heard == ["Ctrl-C", "Ctrl-C"], "the trainer's own handler is called, and stands again"
    assert attempts(Path("out")) == []


TRAINING = """
import json, os
from pathlib import Path
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from vr1bench.trainers.attempts import attempts
from vr1bench.trainers.callback import ScoreCheckpoints
from vr1bench.trainers.scoring import Scoring


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 1)

    def forward(self, x, labels):
        return {"loss": (self.line(x)[:, 0] - labels).pow(2).mean()}


class Orders(TrainerCallback):  # what makes this a checkpoint of a model that can be asked
    def on_save(self, args, state, control, **_):
        if state.is_world_process_zero:
            folder = args.output_dir + f"/checkpoint-{state.global_step}/"
            orders = {"right": 4} | ({"fail": "no such kernel"} if state.global_step == 1 and mode == "inline" else {})
            open(folder + "config.json", "w").write('{"model_type": "qwen2_5_vl"}')
            open(folder + "generation_config.json", "w").write(json.dumps(orders))


class Seen(TrainerCallback):  # what a process finds scored when it goes on
    def on_save(self, args, state, control, **_):
        seen.append([f"{one.step} {one.status}" for one in attempts(Path(args.output_dir))])


child = os.fork()  # two processes for the price of one import
rank = 0 if child else 1
os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
os.dup2(os.open(f"said-{rank}", os.O_WRONLY | os.O_CREAT), 2)
rows, report = [{"x": torch.ones(2), "labels": torch.tensor(1.0)}] * 8, {}
for mode in ("inline", "after"):
    seen = []
    args = TrainingArguments(
        mode, max_steps=2, save_steps=1, save_total_limit=1 if mode == "after" else None, use_cpu=True,
        report_to="none", disable_tqdm=True, per_device_train_batch_size=1,
    )
    scoring = Scoring(mode=mode, suite="demo/coco", limit=4, engine="obedient")
    trainer = Trainer(Net(), args, train_dataset=rows, callbacks=[Orders(), ScoreCheckpoints(scoring), Seen()])
    steps = trainer.train().global_step
    report[mode] = {"steps": steps, "processes": args.world_size, "seen": seen}
    report[mode]["end"] = [f"{one.step} {one.status}" for one in attempts(Path(mode))]
Path(f"report-{rank}.json").write_text(json.dumps(report))
assert not child or os.waitpid(child, 0)[1] == 0
"""


def test_a_trainer_of_two_processes_waits_for_its_scores_and_survives_those_that_fail(tmp_path, monkeypatch):
    pytest.importorskip("accelerate", reason="needs a trainer: uv sync --inexact --extra cpu --extra train")
    plug_in(tmp_path, monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = os.environ | {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", TRAINING], env=shared, timeout=120)
    said = [Path(f"said-{rank}").read_text() for rank in range(2)]
    assert done.returncode == 0, said
    for rank in range(2):
        report = json.loads(Path(f"report-{rank}.json").read_text())
        assert report["inline"] == {
            "steps": 2, "processes": 2, "seen": [["1 failed"], ["1 failed", "2 scored"]],
            "end": ["1 failed", "2 scored"],
        }  # fmt: skip
        assert report["after"] == {"steps": 2, "processes": 2, "seen": [[], []], "end": ["1 gone", "2 scored"]}
    assert "WARNING: checkpoint-1 is NOT scored: exit code 1:" in said[0]
    assert "no such kernel" in said[0]
    assert "NOT scored" not in said[1]
    assert not {"RANK", "WORLD_SIZE", "ACCELERATE_USE_CPU"} & set(
        json.loads(Path("inline/environment.json").read_text())
    )
