# pyright: basic
"""One vLLM for two drivers: an `LLM` object, whose engine `vr1bench.run` borrows instead of starting its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vr1bench import model
from vr1bench.engines import EngineOptions, vllm_start
from vr1bench.families import FAMILIES


def engine_arguments(max_image_tokens: int = 0) -> dict[str, Any]:
    """What vr1bench starts vLLM with for the demo model."""
    vllm_start.set_environment()  # before vLLM and torch are imported: they read it only once
    from vllm.platforms import current_platform

    options = EngineOptions(model.load("demo"), FAMILIES["qwen2.5-vl"], max_image_tokens=max_image_tokens)
    return vllm_start.engine_args(options, current_platform.is_cpu())


def open_llm(max_image_tokens: int = 0) -> Any:
    """vLLM's own offline class on the demo model, with the options that vr1bench would start it with."""
    arguments = engine_arguments(max_image_tokens)
    from vllm import LLM

    return LLM(**arguments)


def lend(llm: Any) -> None:
    """Has every engine `vllm` of vr1bench run on that object's from here on, and give it back as it was."""
    import torch
    from vllm.exceptions import VLLMClientError

    from vr1bench.engines import vllm

    cache = llm.llm_engine.renderer._mm_processor_cache  # the engine of vr1bench puts one of its own there

    @dataclass(frozen=True)
    class Borrowed(vllm_start.StartedEngine):
        def stop(self) -> None:
            self.engine.renderer._mm_processor_cache = cache

    vllm.start = lambda _: Borrowed(llm.llm_engine, (ValueError, VLLMClientError), torch.set_num_threads)


def forget(llm: Any) -> None:
    """Empties every cache of the engine, so that the next run computes all that it is asked."""
    llm.reset_prefix_cache()
    llm.reset_mm_cache()
    llm.llm_engine.reset_encoder_cache()
