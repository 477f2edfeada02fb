"""A training that was stopped and goes on ends where one ends that was never stopped, to the bit."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from safetensors.torch import load_file
from training import GRPO, SFT, recipe_of

from vr1bench.trainers import grpo, sft

STEPS = "max_steps = 4\nsave_steps = 2\n"
TRAININGS = {
    "grpo": (grpo, GRPO + "num_iterations = 1\nper_device_train_batch_size = 4\n", "[rewards]\nvision-r1 = 1.0"),
    "sft": (sft, SFT + "per_device_train_batch_size = 2\n", ""),
    "lora": (sft, SFT + "per_device_train_batch_size = 2\n", '[lora]\nr = 4\ntarget_modules = ["q_proj", "qkv"]'),
}


@pytest.mark.parametrize("kind", TRAININGS)
def test_the_same_trajectory(tmp_path, kind):
    """transformers' own Trainer goes on with the base model's weights, and only warns of missing keys."""
    module, settings, rest = TRAININGS[kind]
    data = 'benchmarks = ["demo/coco"]\nlimit = 8'
    model = 'weights = "lora"' if kind == "lora" else ""
    recipe = recipe_of(tmp_path, module.__name__.rpartition(".")[2], settings + STEPS, rest, data, model)
    whole = module.train(recipe)
    weights = "adapter_model.safetensors" if kind == "lora" else "model.safetensors"
    expected = load_file(whole / "checkpoint-4" / weights)
    middle = load_file(whole / "checkpoint-2" / weights)
    assert any((expected[name] != middle[name]).any() for name in expected)
    shutil.rmtree(whole / "checkpoint-4")
    told = whole / "training.json"
    begun = told.read_text().replace('"base_revision": "', '"base_revision": "of then ')
    told.write_text(begun)
    module.train(recipe, resume=True)
    assert told.read_text() == begun, "what it began with is not what lies there now"
    resumed = load_file(whole / "checkpoint-4" / weights)
    assert expected.keys() == resumed.keys()
    assert all((expected[name] == resumed[name]).all() for name in expected)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_saves_and_resume_goes_on(tmp_path):
    _, settings, rest = TRAININGS["sft"]
    recipe_of(tmp_path, "sft", settings + "max_steps = 100000\nsave_steps = 100000\n", rest)
    command = [sys.executable, "-m", "vr1bench.cli", "train", "sft", str(tmp_path / "recipe.toml")]
    quiet = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=quiet,
    )
    heard = ""
    while "'loss'" not in heard:  # the first step is done
        heard = running.stdout.readline()
        assert heard, "it ended before it began"
    running.send_signal(signal.SIGINT)
    said = running.stdout.read()
    assert running.wait() == 130
    assert "saving a checkpoint after this step" in said
    assert "--resume goes on" in said
    (saved,) = (tmp_path / "out").glob("checkpoint-*")
    more = int(saved.name.rpartition("-")[2]) + 1
    again = subprocess.run(
        [*command, "--resume", f"--set=sft.max_steps={more}"], capture_output=True, text=True, env=quiet
    )
    assert again.returncode == 2
    assert "begun by another recipe: sft.max_steps 100000, now" in again.stderr
