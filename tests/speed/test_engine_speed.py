"""The vLLM engine beside a bare `LLMEngine` loop, and its memory over many large photos.

CPU time of the whole process is compared, in pairs that take turns: on a shared machine wall time says little. The
model runs in this process, too, so that the harness's own time is the difference of the totals.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.tiny import ask, build_tiny_model
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from vr1bench import model
from vr1bench.engines import EngineOptions
from vr1bench.engines.vllm_start import set_environment
from vr1bench.families import FAMILIES
from vr1bench.types import Completion, PixelBudget, Request

set_environment()  # before vLLM and torch are imported: they read it only once
pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")
pytestmark = pytest.mark.slow

WINDOW = 32
PAIRS = 5
SMALL, LARGE = (320, 240), (2400, 1800)
MIB = 2**20


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An engine on the random-weight stand-in.

    Its key-value cache is small: pages of it become resident when they are first written, which is no growth.
    """
    from vr1bench.engines.vllm import open_engine

    folder = build_tiny_model(tmp_path_factory.mktemp("tiny"))
    args = {"kv_cache_memory_bytes": 12 * MIB}
    opened = open_engine(EngineOptions(model.load(str(folder)), FAMILIES["qwen2.5-vl"], args=args, window=WINDOW))
    yield opened
    opened.close()


def write_photo(path: Path, size: tuple[int, int], seed: int) -> Path:
    """A smooth picture of that size, another for each seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (size[1] // 50, size[0] // 50, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BILINEAR).save(path, quality=85)
    return path


def answers_of(engine: Any, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
    for request, answer in engine.generate(requests):
        assert isinstance(answer, Completion), answer
        yield request, answer


def bare_loop(llm: Any, requests: list[Request]) -> dict[str, list[int]]:
    """What one would write by hand: render, add_request, step, as `LLM.chat` does, with the same window."""
    from vllm import SamplingParams
    from vllm.renderers import ChatParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        temperature=0, max_tokens=requests[0].sampling.max_tokens, output_kind=RequestOutputKind.FINAL_ONLY
    )
    text = llm.renderer.default_chat_tok_params.with_kwargs(add_special_tokens=False)
    waiting, found = iter(requests), {}
    while True:
        while llm.get_num_unfinished_requests() < WINDOW and (request := next(waiting, None)) is not None:
            assert request.pixels is not None
            pixels = {"min_pixels": request.pixels.min_pixels, "max_pixels": request.pixels.max_pixels}
            chat = ChatParams(chat_template_kwargs={"add_generation_prompt": True, "tokenize": False})
            image = Image.open(request.images[0]).convert("RGB")
            words = request.messages[0]["content"][1]
            content = [{"type": "image_pil", "image_pil": image}, words]
            extras = {"mm_processor_kwargs": pixels}
            _, (prompt,) = llm.renderer.render_chat(
                [[{"role": "user", "content": content}]], chat, text, prompt_extras=extras
            )
            llm.add_request(request.sample_id, prompt, params)
        if not llm.has_unfinished_requests():
            return found
        for output in llm.step():
            found[output.request_id] = list(output.outputs[0].token_ids)


def test_own_cpu_time_beside_a_bare_step_loop(engine: Any, benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    llm = engine._started.engine  # the very engine, without the harness
    requests = [
        ask(write_photo(tmp_path / f"{n}.jpg", SMALL, n), SMALL, text=f"red {n}", max_tokens=48) for n in range(100)
    ]

    def cpu_seconds(run: Callable[[], dict[str, list[int]]]) -> tuple[float, dict[str, list[int]]]:
        llm.reset_prefix_cache()
        llm.reset_encoder_cache()
        gc.collect()
        start = time.process_time()
        found = run()
        return time.process_time() - start, found

    def with_harness() -> dict[str, list[int]]:
        return {request.sample_id: [answer.n_tokens] for request, answer in answers_of(engine, requests)}

    cpu_seconds(with_harness)
    bare: list[float] = []
    ours: list[float] = []
    for pair in range(PAIRS):
        for mine in (True, False) if pair % 2 else (False, True):
            seconds, found = cpu_seconds(with_harness if mine else lambda: bare_loop(llm, requests))
            (ours if mine else bare).append(seconds)
            if mine:
                lengths = {name: tokens[0] for name, tokens in found.items()}
            else:
                expected = {name: len(tokens) for name, tokens in found.items()}
        assert lengths == expected
    benchmark.pedantic(with_harness, rounds=1)
    shares = [mine / plain - 1 for mine, plain in zip(ours, bare, strict=True)]
    benchmark.extra_info |= {
        "own share of a bare loop's CPU time, pairs": [round(share, 4) for share in shares],
        "own share, median": round(statistics.median(shares), 4),
        "bare loop, CPU ms a sample": round(statistics.median(bare) * 1000 / len(requests), 2),
        "harness, CPU ms a sample": round(statistics.median(ours) * 1000 / len(requests), 2),
    }


def resident_bytes() -> int:
    """This process's resident memory as it stands."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


def settled_bytes() -> tuple[int, int, int]:
    """Bytes resident once what is free was given back, on Python's heap, and in live tensors."""
    import torch

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    tensors = [item for item in gc.get_objects() if isinstance(item, torch.Tensor)]
    in_tensors = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return resident_bytes(), tracemalloc.get_traced_memory()[0], in_tensors


def test_memory_does_not_grow_with_the_number_of_photos(
    engine: Any, benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    llm = engine._started.engine
    for n in range(500):
        write_photo(tmp_path / f"{n}.jpg", LARGE, n)
    flying: list[int] = []
    batch: list[int] = []

    def requests(count: int, label: str) -> Iterator[Request]:
        for n in range(count):
            text, pixels = f"{label} {n}", PixelBudget(max_pixels=16 * 28 * 28)
            yield ask(tmp_path / f"{n}.jpg", LARGE, text=text, pixels=pixels, max_tokens=8)

    def run(count: int, label: str) -> int:
        """Answers `count` photos; returns the highest resident memory meanwhile."""
        taken = answered = peak = 0

        def source() -> Iterator[Request]:
            nonlocal taken
            for request in requests(count, label):
                taken += 1
                if taken > WINDOW + 16:
                    flying.append(taken - answered)
                yield request

        for _ in answers_of(engine, source()):
            answered += 1
            batch.append(llm.get_num_unfinished_requests())
            peak = max(peak, resident_bytes())
        assert answered == count
        return peak

    bare_loop(llm, list(requests(100, "warm")))
    start = settled_bytes()
    bare_loop(llm, list(requests(450, "bare")))
    bare_growth = settled_bytes()[0] - start[0]
    tracemalloc.start()
    try:
        run(50, "warm")
        flying.clear()
        peak_50, after_50 = run(50, "few"), settled_bytes()
        peak_500, after_500 = benchmark.pedantic(run, args=(500, "many"), rounds=1), settled_bytes()
    finally:
        tracemalloc.stop()
    resident, heap, tensors = (later - earlier for earlier, later in zip(after_50, after_500, strict=True))
    benchmark.extra_info |= {
        "Python heap, bytes a photo from 50 to 500": round(heap / 450),
        "live tensors, bytes a photo from 50 to 500": round(tensors / 450),
        # Native caches of vLLM's kernels go on growing for some hundred photos, with the harness and without.
        "resident, bytes a photo from 50 to 500": round(resident / 450),
        "resident, bytes a photo, of a bare loop before that": round(bare_growth / 450),
        "highest resident over 50 photos, MiB": peak_50 // MIB,
        "highest resident over 500 photos, MiB": peak_500 // MIB,
        "requests in flight, least and most": [min(flying), max(flying)],
        "requests in the engine, median": statistics.median(batch),
    }
    assert min(flying) > WINDOW
    assert max(flying) <= WINDOW + 16
    assert heap / 450 < 2048
    assert tensors / 450 < 2048
    # 500 decoded photos are 6 GiB; the same few are in memory at a time.
    assert peak_500 - peak_50 < 10 * 3 * LARGE[0] * LARGE[1]
