"""The vLLM engine beyond the contract: options, sampling, what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engines.quantised import write_int8
from engines.tiny import SIZES, ask

from vr1bench.engines import ENGINES, Engine, EngineOptions
from vr1bench.engines.vllm_start import engine_args
from vr1bench.errors import Vr1benchError
from vr1bench.types import Completion, PixelBudget, Request

pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")

Options = Callable[..., EngineOptions]
Photos = dict[tuple[int, int], Path]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"max_modle_len": 100}, "max_modle_len: vLLM has no such option; did you mean max_model_len?"),
        ({"qqqq": 1}, "qqqq: vLLM has no such option; vLLM's EngineArgs lists them"),
        ({"model": "other/model"}, "model: cannot be set here: --model chooses the model"),
        ({"mm_processor_cache_gb": 4}, "mm_processor_cache_gb: cannot be set here"),
        ({"data_parallel_size": 2}, "data_parallel_size=2: .*--engine ray --engine-args replicas=2, or .*--shard 1/2"),
        ({"mm_processor_kwargs": {"max_pixels": 100}}, "the pixel budget is the protocol's"),
        ({"max_model_len": 10**7}, r"vLLM does not start.*10000000"),
        ({"dtype": "float31"}, "vLLM does not start.*float31"),
    ],
)
def test_options_that_cannot_be(options: Options, args: dict[str, object], message: str) -> None:
    with pytest.raises(Vr1benchError, match=message):
        ENGINES["vllm"](options(**args))


def test_a_pipeline_on_a_cpu_is_refused_and_elsewhere_passed_on(options: Options) -> None:
    split = options(pipeline_parallel_size=2)
    assert engine_args(split, on_cpu=False)["pipeline_parallel_size"] == 2
    with pytest.raises(Vr1benchError, match=r"pipeline_parallel_size=2: .* next: tensor_parallel_size"):
        engine_args(split, on_cpu=True)


def test_a_quantised_checkpoint_is_computed_as_it_says(options: Options, tmp_path: Path) -> None:
    plain = options()
    int8 = write_int8(Path(plain.model.location), tmp_path / "int8")
    assert engine_args(plain, on_cpu=True)["dtype"] == "float32"
    quantised = EngineOptions(type(plain.model)("int8", str(int8), "0" * 40), plain.family)
    assert engine_args(quantised, on_cpu=True)["dtype"] == "auto"
    assert engine_args(options(quantization="fp8"), on_cpu=True)["dtype"] == "auto"


def test_several_workers_are_processes(options: Options) -> None:
    assert engine_args(options(), on_cpu=True)["distributed_executor_backend"] == "uni"
    assert engine_args(options(tensor_parallel_size=2), on_cpu=True)["distributed_executor_backend"] == "mp"
    assert "distributed_executor_backend" not in engine_args(options(tensor_parallel_size=2), on_cpu=False)


def test_a_checkpoint_without_weights_is_an_error(options: Options, tmp_path: Path) -> None:
    plain = options()
    for file in Path(plain.model.location).iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    hollow = type(plain.model)("hollow", str(tmp_path), "0" * 40)
    with pytest.raises(Vr1benchError, match="vLLM does not start with hollow"):
        ENGINES["vllm"](EngineOptions(hollow, plain.family))


def test_requests_in_flight_stay_at_the_window_until_the_tail(vllm_engine: Engine, photos: Photos) -> None:
    requests = [ask(photos[size], size, text=f"red {n}") for n in range(30) for size in SIZES]
    taken = answered = 0
    seen: list[tuple[int, int]] = []

    def source() -> Iterator[Request]:
        nonlocal taken
        for request in requests:
            taken += 1
            seen.append((taken, taken - answered))
            yield request

    for _ in vllm_engine.generate(source()):
        answered += 1
    # Each time one is taken, all that may be are on their way but for those that ended in the same step.
    in_flight = [flying for at, flying in seen if at > 24]
    assert max(in_flight) == 8 + 16
    assert min(in_flight) > 8


def test_a_picture_is_encoded_once_and_its_prompts_share_what_was_computed(vllm_engine: Engine, photos: Photos) -> None:
    encoded = 0

    def count(_module: object, _args: object, _output: object) -> None:
        nonlocal encoded
        encoded += 1

    visual = vllm_engine._started.engine.model_executor.driver_worker.get_model().visual  # type: ignore[attr-defined]
    hook = visual.register_forward_hook(count)
    try:
        # More pictures than the window: each leaves the engine before the last comes.
        sizes, budget = ((640, 480), (333, 257), (300, 200)), PixelBudget(min_pixels=200 * 784, max_pixels=220 * 784)
        requests = [
            ask(photos[size], size, text=f"Locate every {colour} circle", pixels=budget, max_tokens=4)
            for size in sizes
            for colour in "abcdefghijklmnop"
        ]
        found = [answer for _, answer in vllm_engine.generate(requests) if isinstance(answer, Completion)]
    finally:
        hook.remove()
    assert len(found) == len(requests)
    assert encoded == len(sizes)
    # All but the last block or two of a prompt, by all but the first of each picture.
    cached = [answer.n_cached for answer in found if answer.n_cached]
    assert len(cached) == len(requests) - len(sizes)
    assert min(n.n_cached / n.n_prompt for n in found if n.n_cached) > 0.8


def test_one_seed_draws_one_answer(vllm_engine: Engine, photos: Photos) -> None:
    def texts(seed: int) -> list[str]:
        requests = [ask(photos[size], size, text=f"seed {size}", temperature=1.0, seed=seed) for size in SIZES]
        found = {request.sample_id: answer for request, answer in vllm_engine.generate(requests)}
        answers = [found[request.sample_id] for request in requests]
        return [answer.text for answer in answers if isinstance(answer, Completion)]

    assert len(texts(1)) == len(SIZES)
    assert texts(1) == texts(1) != texts(2)


PROGRAM = """
import json, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from engines.tiny import ask
from vr1bench import model
from vr1bench.engines import ENGINES, EngineOptions
from vr1bench.families import FAMILIES

image = Path({image!r})
for _ in range({times}):
    engine = ENGINES["vllm"](EngineOptions(model.load({model!r}), FAMILIES["qwen2.5-vl"]))
    answers = [answer.text for _, answer in engine.generate([ask(image, (300, 200)) for _ in range(4)])]
    print(json.dumps(answers), flush=True)
    if {wait}:
        list(engine.generate(ask(image, (300, 200), text=str(i), max_tokens=900) for i in range(10**6)))
    engine.close()
    engine.close()
"""


def program(tiny_model: Path, image: Path, times: int, wait: bool) -> subprocess.Popen[str]:
    text = textwrap.dedent(PROGRAM).format(
        tests=str(Path(__file__).parents[1]), image=str(image), model=str(tiny_model), times=times, wait=wait
    )
    return subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("VLLM")},
    )


@pytest.mark.slow
def test_an_engine_can_be_opened_again_and_says_nothing(tiny_model: Path, photos: Photos) -> None:
    child = program(tiny_model, photos[300, 200], times=2, wait=False)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    first, second = out.splitlines()  # and nothing else on stdout
    assert first == second
    assert err == ""


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_no_process(tiny_model: Path, photos: Photos, kill: signal.Signals) -> None:
    child = program(tiny_model, photos[300, 200], times=1, wait=True)
    assert child.stdout is not None
    assert child.stdout.readline().startswith("[")
    os.kill(child.pid, kill)
    _, err = child.communicate(timeout=60)
    assert child.returncode != 0
    assert err == "" if kill is signal.SIGKILL else err.splitlines()[-1] == "KeyboardInterrupt"
    with pytest.raises(ProcessLookupError):  # the child led a process group of its own: nobody is left in it
        os.killpg(child.pid, 0)
