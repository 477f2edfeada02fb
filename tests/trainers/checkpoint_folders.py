"""Checkpoint folders as transformers' Trainer leaves them, and an engine that does what a file in one says.

The engine is plugged in as anybody's is, by an entry point, so the whole way from the checkpoint to the row is the real
one; only nothing is computed.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

PATIENCE_S = 120

ENGINE = """
import json, os, pathlib, signal
from vr1bench.types import Completion


class Obedient:
    name, versions = "obedient", {}

    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(options.model.location)
        self.orders = json.loads((self.folder / "generation_config.json").read_text())

    def generate(self, requests):
        (self.folder.parent / "environment.json").write_text(json.dumps(dict(os.environ)))
        if "gate" in self.orders:
            with open(self.orders["gate"] + ".out", "w") as out:
                print(os.getpid(), file=out, flush=True)
                if os.fork() == 0:  # somebody that the engine started: deaf, and holds `out` open while it lives
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    signal.pause()
                with open(self.orders["gate"] + ".in") as gate:
                    gate.read()
        if "fail" in self.orders:
            raise RuntimeError(self.orders["fail"])
        (self.folder / "model.safetensors").read_bytes()
        for number, request in enumerate(requests):
            right = number < self.orders["right"]
            yield request, Completion(text=self.options.perfect(request) if right else "[]")

    def close(self):
        pass
"""


def plug_in(tmp_path: Path, monkeypatch) -> None:
    """Offers the engine `obedient` to every process that is started from here, in a folder of its own."""
    site = tmp_path / "site"
    about = site / "obedient-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: obedient\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[vr1bench.engines]\nobedient = obedient_engine:Obedient\n")
    (site / "obedient_engine.py").write_text(ENGINE)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)


def save(folder: Path, step: int, max_steps: int = 100, **orders: object) -> Path:
    """A checkpoint that is written to the end; `right=2` of its answers are, the others find nothing."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    (path / "generation_config.json").write_text(json.dumps({"right": 4} | orders))
    (path / "model.safetensors").write_text(f"weights of step {step}")
    (path / "optimizer.pt").write_text("moments")
    (path / "rng_state_0.pth").write_text("dice")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": max_steps}))
    return path


class Gate:
    """Where a scoring stops until it is let through: two pipes with names, so that nobody sleeps or guesses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for end in ("in", "out"):
            os.mkfifo(f"{path}.{end}")

    def wait(self) -> int:
        """Waits until the scoring is there; gives its process id."""
        self.out = os.open(f"{self.path}.out", os.O_RDONLY | os.O_NONBLOCK)
        return int(self._read())

    def open(self) -> None:
        """Lets it through."""
        with Path(f"{self.path}.in").open("w"):
            pass

    def wait_for_end(self) -> None:
        """Waits until the scoring, and all that it started, is gone."""
        assert self._read() == b""
        os.close(self.out)

    def _read(self) -> bytes:
        poll = select.poll()
        poll.register(self.out, select.POLLIN)
        assert poll.poll(PATIENCE_S * 1000), "the scoring does not come, or does not end"
        return os.read(self.out, 99)


class Watcher:
    """`vr1bench train watch`, started; ended with the `with`."""

    def __init__(self, folder: object, *options: object) -> None:
        plain = ["--benchmark", "demo/coco", "--limit", 4, "--engine", "obedient", "--every", 0.05]
        command = [sys.executable, "-m", "vr1bench.trainers.watch", folder, *plain, *options]
        self.process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it said."""
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said


def watched(folder: object, *options: object) -> tuple[int, str]:
    """`vr1bench train watch`, from its start to its end."""
    with Watcher(folder, *options) as watcher:
        return watcher.end()
