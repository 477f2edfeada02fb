"""What to change where vLLM has not the memory: its own words of 0.31, and real starts on a CPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vr1bench.engines.vllm_memory import advice

# As vLLM and torch write them; only the figures are made up.
NO_DEVICE_SHARE = (
    "ValueError: Free memory on device cuda:0 (65.03/79.1 GiB) on startup is less than desired GPU memory utilization "
    "(0.92, 72.77 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
)
NO_MACHINE_SHARE = (
    "ValueError: Available memory on node 0 (11.35/15.21 GiB) on startup is less than desired CPU memory utilization "
    "(0.92, 14.0 GiB). On the CPU backend, the `--gpu-memory-utilization` flag controls the fraction of CPU memory "
    "reserved (despite its name). To resolve: decrease `--gpu-memory-utilization` (e.g. `--gpu-memory-utilization "
    "0.5`) or reduce CPU memory used by other processes."
)
NO_CPU_CACHE = (
    "ValueError: Available memory on node 0 (11.0/15.21 GiB) on kv cache allocation is less than requested memory for "
    "kv (5000.0 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other "
    "processes."
)
NO_CPU_REST = (
    "ValueError: Available memory on node 0 (11.33/15.21 GiB) on kv cache allocation is less than requested memory "
    "for kv (-1.13/0.76 GiB). Reduce CPU memory used by other processes."
)
TOO_LONG = (
    "ValueError: To serve at least one request with the model's max seq len (128000), (7.0 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (0.22 GiB). Based on the available memory, the estimated "
    "maximum model length is 4096. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU "
    "backend) or decreasing `max_model_len` when initializing the engine."
)
NO_ROOM = (
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
    "the engine (this flag also controls CPU memory reservation on the CPU backend, despite its name)."
)
NOT_ONE = (
    "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token. Try "
    "increasing `gpu_memory_utilization`."
)
CUDA = (
    "OutOfMemoryError: CUDA out of memory. Tried to allocate 4.00 GiB. GPU 0 has a total capacity of 80.00 GiB of "
    "which 800.00 MiB is free. Including non-PyTorch memory, this process has 78.33 GiB memory in use. Of the "
    "allocated memory 77.02 GiB is allocated by PyTorch, and 312.11 MiB is reserved by PyTorch but unallocated."
)
SAMPLER = (
    "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try lowering "
    "`max_num_seqs` or `gpu_memory_utilization` when initializing the engine."
)
CPU_TENSOR = (
    "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
    "to allocate 35184372088832 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("text", "args", "step"),
    [
        (NO_DEVICE_SHARE, {}, "lower gpu_memory_utilization from 0.92 to 0.81: --engine-args gpu_memory_utilization"),
        (NO_DEVICE_SHARE.replace("65.03", "1.2"), {}, "only 1.2 of 79.1 GiB are free: end what else runs there"),
        (NO_MACHINE_SHARE, {"gpu_memory_utilization": 0.9}, "lower gpu_memory_utilization from 0.9 to 0.73:"),
        (NO_CPU_CACHE, {"kv_cache_memory_bytes": 2**42}, f"from {2**42} to {33 * 2**28}: "),
        (NO_CPU_REST, {"gpu_memory_utilization": 0.05}, "raise gpu_memory_utilization from 0.05 to 0.20:"),
        (NO_CPU_REST.replace("-1.13/0.76", "12.0/13.5"), {}, "lower gpu_memory_utilization from 0.92 to 0.66:"),
        (TOO_LONG, {}, "lower max_model_len from 128000 to 4096: --engine-args max_model_len=4096 (what a cache of "),
        (TOO_LONG, {}, "; or raise gpu_memory_utilization from 0.92 to 0.95"),
        (TOO_LONG, {"kv_cache_memory_bytes": 2**28}, f"; or raise kv_cache_memory_bytes from {2**28} to {29 * 2**28}:"),
        (NO_ROOM, {}, "raise gpu_memory_utilization from 0.92 to 0.95"),
        (NO_ROOM, {"kv_cache_memory_bytes": 4096}, f"raise kv_cache_memory_bytes from 4096 to {2**28}:"),
        (NOT_ONE, {"gpu_memory_utilization": 0.97}, "raise tensor_parallel_size from 1 to 2: "),
        (CUDA, {}, "lower gpu_memory_utilization from 0.92 to 0.85: --engine-args gpu_memory_utilization=0.85 (3.22 G"),
        (CUDA, {"tensor_parallel_size": 2}, "; or raise tensor_parallel_size from 2 to 4: "),
        (SAMPLER, {}, "lower max_num_seqs from 1024 to 512: --engine-args max_num_seqs=512 (half: "),
        (CPU_TENSOR, {"kv_cache_memory_bytes": 2**45}, f"lower kv_cache_memory_bytes from {2**45} to {2**44}: "),
        ("RuntimeError: HIP out of memory.", {}, "lower gpu_memory_utilization from 0.92 to 0.46: "),
    ],
)
def test_the_step_names_the_option_and_both_values(text: str, args: dict[str, object], step: str) -> None:
    found = advice(text, args)
    assert found is not None
    assert step in found


@pytest.mark.parametrize(
    ("text", "step"),
    [
        (NO_CPU_CACHE, "lower VLLM_CPU_KVCACHE_SPACE from 5000 to 8: VLLM_CPU_KVCACHE_SPACE=8 in the environment"),
        (NO_CPU_CACHE.replace("11.0/", "1.0/"), f"unset VLLM_CPU_KVCACHE_SPACE .now 5000., and .*={3 * 2**28} "),
        (TOO_LONG, "; or raise VLLM_CPU_KVCACHE_SPACE from 5000 to 8"),
        (CPU_TENSOR, "lower VLLM_CPU_KVCACHE_SPACE from 5000 to 2500"),
    ],
)
def test_on_a_cpu_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch, text: str, step: str) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "5000")
    found = advice(text, {"kv_cache_memory_bytes": 2**42})
    assert found is not None
    assert step in found or re.search(step, found)


def test_another_error_has_no_such_step() -> None:
    assert advice("ValueError: dtype float31 is unknown", {}) is None


def test_torch_speaks_as_it_did() -> None:
    torch = pytest.importorskip("torch", reason="needs torch: uv sync --inexact --extra cpu")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.int8)
    found = advice(str(caught.value), {"kv_cache_memory_bytes": 2**60})
    assert found is not None
    assert found.startswith(f"lower kv_cache_memory_bytes from {2**60} to {2**59}: ")


PROGRAM = """
import json, os, re, sys
from vr1bench import model
from vr1bench.engines import ENGINES, EngineOptions
from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES

def opened(args):
    ENGINES["vllm"](EngineOptions(model.load(sys.argv[1]), FAMILIES["qwen2.5-vl"], args=args)).close()

if __name__ == "__main__":
    args = json.loads(sys.argv[2])
    try:
        opened(args)
    except Vr1benchError as error:
        text = str(error)
    option, value = re.search(r"--engine-args (\\w+)=(\\d+)", text).groups()
    opened(args | {option: int(value)})
    print(json.dumps([text, option]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "option"),
    [
        ({"kv_cache_memory_bytes": 2**18, "max_model_len": 1024}, "max_model_len"),
        ({"kv_cache_memory_bytes": 2**10}, "kv_cache_memory_bytes"),
        ({"kv_cache_memory_bytes": 2**10, "max_model_len": 512}, "kv_cache_memory_bytes"),
    ],
)
def test_the_step_taken_word_for_word_starts(tiny_model: Path, args: dict[str, int], option: str) -> None:
    pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")
    env = {name: value for name, value in os.environ.items() if not name.startswith("VLLM")}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_model), json.dumps(args)],
        capture_output=True, text=True, timeout=300, check=False, env=env,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    text, followed = json.loads(ran.stdout)
    assert text.startswith("vLLM has not the memory for ")
    assert followed == option
