# pyright: basic
"""Starts a vLLM engine: which options it gets, what it may print, and what its failures mean."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import gc
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Generator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vr1bench.engines import EngineOptions, adapters, hf_start, vllm_memory
from vr1bench.engines.weights import are_small
from vr1bench.errors import Vr1benchError

if TYPE_CHECKING:
    from vllm.v1.engine.llm_engine import LLMEngine

KV_CACHE_BYTES = 2**30
"""Key-value cache of a small model on a CPU; a larger model gets four times as much."""
_INSTALL = "install it: uv sync --inexact --extra vllm (NVIDIA GPU) or --extra cpu (any machine)"
_FIXED = {
    "model": "--model chooses the model",
    "revision": "--model chooses the model, and its revision is part of every result",
    "mm_processor_cache_gb": "images are rendered ahead and out of order, which that cache does not survive",
    "disable_log_stats": "nothing reads the statistics",
}
_DATA_PARALLEL = (
    "one engine in one process cannot run several replicas; next: --engine ray --engine-args replicas={n}, or "
    "`vr1bench run --shard 1/{n}` to --shard {n}/{n} on as many machines and `vr1bench merge`, or a server with "
    "`--data-parallel-size {n}` and --engine openai"
)
_PIXELS = {"min_pixels", "max_pixels", "size"}


def set_environment() -> None:
    """Sets the environment variables that vLLM and torch read when they are imported; what the user set, stays."""
    if "VLLM_LOGGING_LEVEL" not in os.environ and _is_cpu_build():
        for name in ("torch.utils.cpp_extension", "vllm.triton_utils.importing"):  # no CUDA, and no Triton: of course
            logging.getLogger(name).setLevel(logging.ERROR)
    for name, value in {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # On a CPU every warning is about a choice made here (eager mode, no Triton, thread binding), and one of them
        # comes with each rendered image.
        "VLLM_LOGGING_LEVEL": "ERROR" if _is_cpu_build() else "WARNING",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # stdout belongs to the table
        "VLLM_NO_USAGE_STATS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TOKENIZERS_PARALLELISM": "false",  # the rendering threads are threads enough
    }.items():
        os.environ.setdefault(name, value)
    if _is_cpu_build():
        # Threads that spin while they wait take the cores from rendering and from other work: with one of two cores
        # busy a step of the small model took 11.8 s instead of 1.1 s.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@dataclasses.dataclass(frozen=True)
class StartedEngine:
    """A running vLLM.

    Attributes:
        engine: vLLM's own.
        refusals: What it raises on a request that it will not take.
        set_num_threads: torch's function of that name: on a CPU, in-process, vLLM puts one that only warns there.
        folder: Of a LoRA checkpoint merged into its base; None where the model is a whole one.
    """

    engine: LLMEngine
    refusals: tuple[type[Exception], ...]
    set_num_threads: Callable[[int], None]
    folder: TemporaryDirectory[str] | None = None

    def stop(self) -> None:
        """Ends the workers and frees the memory, so that another engine can start in this process."""
        import torch
        from vllm.distributed import parallel_state

        self.engine.renderer.shutdown()
        self.engine.engine_core.shutdown()
        parallel_state.destroy_model_parallel()
        parallel_state.destroy_distributed_environment()
        torch.set_num_threads = self.set_num_threads
        if self.folder:
            self.folder.cleanup()
        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()


def start(options: EngineOptions) -> StartedEngine:
    """Starts vLLM in this process.

    In-process, because a child that holds the model outlives a parent killed by SIGKILL; workers of tensor
    parallelism, which must be processes, watch a pipe and end with their parent. Setting
    `VLLM_ENABLE_V1_MULTIPROCESSING=1` in the environment moves the engine into a child all the same.

    A LoRA checkpoint is merged into its base first, as a folder of its own: vLLM's own LoRA leaves the vision tower
    of most models as it was (`LoRAConfig.enable_tower_connector_lora`), and trained parts that are no LoRA out.

    Raises:
        Vr1benchError: vLLM is missing, an option is unknown, or the engine does not start.
    """
    set_environment()
    with _stdout_to_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            import torch
            from vllm.engine.arg_utils import EngineArgs
            from vllm.exceptions import VLLMClientError
            from vllm.platforms import current_platform
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.llm_engine import LLMEngine
        except ImportError as error:
            raise Vr1benchError(f"engine vllm cannot be imported ({error}); {_INSTALL}") from error
        on_cpu = current_platform.is_cpu()
        args = engine_args(options, on_cpu)
        workers = _workers(args)
        if on_cpu and workers > 1:
            _leave_threads_unbound(workers)
        set_num_threads, excepthook = torch.set_num_threads, sys.excepthook
        folder = _merged(options, on_cpu) if options.model.base else None
        if folder:
            args |= {"model": folder.name, "revision": None}
        try:
            # As vLLM's offline `LLM`, whose batches are larger than those of a bare engine.
            engine = LLMEngine.from_engine_args(EngineArgs(**args), UsageContext.LLM_CLASS)
        except Exception as error:  # vLLM raises many kinds, from pydantic's to CUDA's; `_explained` reads the text
            if folder:
                folder.cleanup()
            raise _explained(error, options.model.name, args) from error
        finally:
            sys.excepthook = excepthook  # torch.distributed's marks every traceback with a rank
    return StartedEngine(engine, (ValueError, VLLMClientError), set_num_threads, folder)


def engine_args(options: EngineOptions, on_cpu: bool) -> dict[str, Any]:
    """The keyword arguments of vLLM's `EngineArgs`: our defaults, and over them what the user asked for.

    Raises:
        Vr1benchError: An option is not one of vLLM's, or must stay as it is.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext

    known = {field.name for field in dataclasses.fields(EngineArgs)}
    for name, value in options.args.items():
        _check_option(name, value, known)
    if on_cpu and options.args.get("pipeline_parallel_size", 1) != 1:
        # Its workers skip the first run for which they would allocate what they pass on, and fail an assertion later.
        raise Vr1benchError(
            f"--engine-args pipeline_parallel_size={options.args['pipeline_parallel_size']}: vLLM 0.31 cannot do this "
            "on a CPU; next: tensor_parallel_size, which it can"
        )
    weights = adapters.weights_of(options.model)
    defaults: dict[str, Any] = {
        "model": weights.location,
        "revision": None if Path(weights.location).is_dir() else weights.revision,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "max_model_len": -1,  # the model's own, or what the memory holds where that is less
        "mm_processor_cache_gb": 0,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    batches, _ = EngineArgs.get_batch_defaults(world_size=1)
    if options.max_image_tokens > batches[UsageContext.LLM_CLASS]:
        # vLLM sizes its encoder cache by the checkpoint's own pixel budget; the protocol's may be larger.
        defaults["max_num_batched_tokens"] = options.max_image_tokens
    if on_cpu:
        small = are_small(weights.location)
        # vLLM's CPU kernels for int8 take bfloat16 and float16 only.
        quantised = "quantization" in options.args or _is_quantised(weights.location)
        defaults |= {
            "dtype": "float32" if small and not quantised else "auto",
            "enforce_eager": True,
            "block_size": 32,  # of vLLM's 128 tokens a small picture's prompt fills none, and none can be shared
            "distributed_executor_backend": "uni" if _workers(options.args) == 1 else "mp",
            # VLLM_CPU_KVCACHE_SPACE (in GiB), where the user has set it, overrides this inside vLLM.
            "kv_cache_memory_bytes": KV_CACHE_BYTES if small else 4 * KV_CACHE_BYTES,
        }
    return defaults | dict(options.args)


def _is_quantised(location: str) -> bool:
    """Whether a checkpoint folder's config says so; a hub id is not asked."""
    config = Path(location) / "config.json"
    return config.is_file() and "quantization_config" in json.loads(config.read_text("utf-8"))


def _workers(args: Mapping[str, Any]) -> int:
    """Processes that share the model, one where there is just this one."""
    sizes = (args.get("tensor_parallel_size", 1), args.get("pipeline_parallel_size", 1))
    return math.prod(size for size in sizes if isinstance(size, int))  # what is none, vLLM refuses


def _leave_threads_unbound(workers: int) -> None:
    """vLLM binds each worker's threads to a memory node of its own, and refuses where there are fewer nodes."""
    from vllm.utils.cpu_resource_utils import get_visible_memory_node

    if len(get_visible_memory_node()) < workers:
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


def _merged(options: EngineOptions, on_cpu: bool) -> TemporaryDirectory[str]:
    """A LoRA checkpoint merged into its base, on the CPU, in the precision that vLLM will compute or store it in."""
    import torch

    args: dict[str, Any] = {"device": "cpu"}
    if "trust_remote_code" in options.args:
        args["trust_remote_code"] = options.args["trust_remote_code"]
    threads = torch.get_num_threads()
    if not on_cpu:
        args["dtype"] = "auto"
        torch.set_num_threads(1)  # tensor parallelism may fork its workers, and OpenMP's threads do not survive a fork
    try:
        loaded = hf_start.start(dataclasses.replace(options, args=args))
        return adapters.written(loaded.model, loaded.processor)
    finally:
        torch.set_num_threads(threads)


def _is_cpu_build() -> bool:
    """Whether the installed vLLM is one for CPUs, told without importing it."""
    for name in ("vllm-cpu", "vllm"):
        with contextlib.suppress(PackageNotFoundError):
            return "cpu" in f"{name} {version(name)}"
    return False


def _check_option(name: str, value: object, known: set[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"did you mean {near[0]}?" if near else "vLLM's EngineArgs lists them"
        raise Vr1benchError(f"--engine-args {name}: vLLM has no such option; {hint}")
    if name in _FIXED:
        raise Vr1benchError(f"--engine-args {name}: cannot be set here: {_FIXED[name]}; leave it out")
    if name == "data_parallel_size" and value != 1:
        raise Vr1benchError(f"--engine-args data_parallel_size={value}: {_DATA_PARALLEL.format(n=value)}")
    if name == "mm_processor_kwargs" and isinstance(value, Mapping) and _PIXELS & set(value):
        raise Vr1benchError(
            "--engine-args mm_processor_kwargs: the pixel budget is the protocol's, so that boxes are read in the "
            "frame that was fed; change it there, with --set"
        )


def _explained(error: Exception, name: str, args: Mapping[str, Any]) -> Vr1benchError:
    text = _one_line(error)
    step = vllm_memory.advice(text, args)
    if step is not None:
        return Vr1benchError(f"vLLM has not the memory for {name}; {step}. It says: {text}")
    if "initialization failed" in text:  # of a child process: what was wrong, it has printed itself
        step = "lower --engine-args gpu_memory_utilization or max_model_len where it speaks of memory"
        return Vr1benchError(f"vLLM does not start with {name} ({text}); the cause stands above: {step}")
    return Vr1benchError(f"vLLM does not start with {name} ({text}); its log says more: set VLLM_LOGGING_LEVEL=INFO")


def _one_line(error: Exception) -> str:
    """An error's text without line breaks; of pydantic's what was given and what is wrong with it."""
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    parts = error.errors()
    fields = {part["loc"][0]: f"{part['loc'][0]}={part['input']!r}: {part['msg']}" for part in parts if part["loc"]}
    return "; ".join(fields.values()) or "; ".join(part["msg"] for part in parts)


@contextlib.contextmanager
def _stdout_to_stderr() -> Generator[None]:
    """Sends what anything below Python prints on descriptor 1 (gloo does) to descriptor 2 meanwhile."""
    try:
        kept = os.dup(1)
    except OSError:  # started without a stdout
        yield
        return
    sys.stdout.flush()
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
