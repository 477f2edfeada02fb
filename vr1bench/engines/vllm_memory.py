"""What to change where vLLM does not start for want of memory: which option, from what, to what.

The figures come from vLLM's own messages, as version 0.31 writes them (`v1/core/kv_cache_utils.py`,
`v1/worker/utils.py`, `v1/worker/cpu_worker.py`, `v1/worker/gpu_model_runner.py`), and from those of torch's allocators.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

UTILIZATION = 0.92
"""vLLM's default of `gpu_memory_utilization` (`CacheConfig`)."""
HIGHEST_UTILIZATION = 0.97
"""The rest of a device is CUDA's own: contexts, graphs, libraries."""
FREE_SHARE = 0.75
"""Share of the free memory that a cache may take on a CPU: weights and other programs need some, too."""
SPARE_BYTES = 2**28
"""Room beyond what a message says is needed: its figures are rounded, and one block of the cache stays unused."""
_GIB = 2**30
_SPACE = "VLLM_CPU_KVCACHE_SPACE"
_BYTES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": _GIB}

Advise = Callable[[re.Match[str], Mapping[str, Any]], str]


def advice(text: str, args: Mapping[str, Any]) -> str | None:
    """The next step, such as `lower max_model_len from 32768 to 352: --engine-args max_model_len=352 (...)`.

    Args:
        text: vLLM's error, on one line.
        args: The options that it was started with.

    Returns:
        None where the text does not speak of memory.
    """
    for pattern, advise in _FORMS:
        match = re.search(pattern, text)
        if match:
            return advise(match, args)
    return None


def _change(word: str, option: str, now: object, to: object, why: str) -> str:
    return f"{word} {option} from {now} to {to}: --engine-args {option}={to} ({why})"


def _utilization(args: Mapping[str, Any]) -> float:
    return float(args.get("gpu_memory_utilization", UTILIZATION))


def _startup(match: re.Match[str], args: Mapping[str, Any]) -> str:
    """A share of the device was asked for, and less is free."""
    free, total = float(match["free"]), float(match["total"])
    to = math.floor(100 * free / total) / 100 - 0.01
    if to < 0.05:
        return f"only {free} of {total} GiB are free: end what else runs there, or choose another device"
    return _change(
        "lower", "gpu_memory_utilization", _utilization(args), f"{to:.2f}", f"{free} of {total} GiB are free"
    )


def _cpu_cache(match: re.Match[str], args: Mapping[str, Any]) -> str:
    """A cache of a given size was asked for on a CPU, and less is free."""
    free = float(match["free"])
    to, space = FREE_SHARE * free, os.environ.get(_SPACE)
    why = f"three quarters of the {free} GiB that are free"
    if not space:
        return _change("lower", "kv_cache_memory_bytes", args.get("kv_cache_memory_bytes"), int(to * _GIB), why)
    if to >= 1:
        return f"lower {_SPACE} from {space} to {int(to)}: {_SPACE}={int(to)} in the environment ({why})"
    size = int(to * _GIB)
    return f"unset {_SPACE} (now {space}), and set --engine-args kv_cache_memory_bytes={size} ({why})"


def _cpu_share(match: re.Match[str], args: Mapping[str, Any]) -> str:
    """A share of the machine was asked for on a CPU; what weights and libraries left of it is none, or not free."""
    free, total, left, asked = (float(match[name]) for name in ("free", "total", "left", "asked"))
    taken = asked - left
    word, to = ("raise", taken + 1) if left <= 0 else ("lower", taken + FREE_SHARE * free)
    why = f"{taken:.2f} of {total} GiB are taken before the cache"
    return _change(word, "gpu_memory_utilization", _utilization(args), f"{math.ceil(100 * to / total) / 100:.2f}", why)


def _too_long(match: re.Match[str], args: Mapping[str, Any]) -> str:
    """The cache does not hold one prompt of the full length."""
    fits = re.search(r"estimated maximum model length is (\d+)", match.string)
    more = _more_room(args, _GIB * float(match["needed"]))
    if not fits:
        return more
    why = f"what a cache of {match['room']} GiB holds of prompt and answer together"
    return f"{_change('lower', 'max_model_len', match['length'], fits[1], why)}; or {more}"


def _no_room(_match: re.Match[str], args: Mapping[str, Any]) -> str:
    return _more_room(args, 0)


def _more_room(args: Mapping[str, Any], needed: float) -> str:
    """More memory for the cache, where `needed` bytes of it are known to be needed."""
    given = args.get("kv_cache_memory_bytes")
    if os.environ.get(_SPACE):
        to = math.ceil((needed + SPARE_BYTES) / _GIB)
        return f"raise {_SPACE} from {os.environ[_SPACE]} to {to}: {_SPACE}={to} in the environment"
    if given is not None:
        why = "the cache's size, which is given here and not measured"
        return _change("raise", "kv_cache_memory_bytes", given, int(needed + SPARE_BYTES), why)
    now = _utilization(args)
    if now < HIGHEST_UTILIZATION:
        why = "the weights and one batch take all of the share; by how much too little, vLLM does not say"
        return _change("raise", "gpu_memory_utilization", now, f"{(now + HIGHEST_UTILIZATION) / 2:.2f}", why)
    return _more_devices(args, "the weights and one batch take the whole device")


def _more_devices(args: Mapping[str, Any], why: str) -> str:
    now = int(args.get("tensor_parallel_size", 1))
    return _change("raise", "tensor_parallel_size", now, 2 * now, f"{why}; or take a quantised checkpoint")


def _torch_gpu(match: re.Match[str], args: Mapping[str, Any]) -> str:
    """torch found no room for one tensor on a GPU."""
    now, total = _utilization(args), float(match["total"]) * _BYTES[match["total_unit"]]
    lacking = float(match["tried"]) * _BYTES[match["tried_unit"]] - float(match["free"]) * _BYTES[match["free_unit"]]
    to = math.floor(100 * (now - lacking / total)) / 100 - 0.02
    devices = _more_devices(args, "where the weights alone do not fit")
    if to < 0.1 or "kv_cache_memory_bytes" in args:
        return devices
    why = f"{lacking / _GIB:.2f} GiB were lacking, and some to spare"
    return f"{_change('lower', 'gpu_memory_utilization', now, f'{to:.2f}', why)}; or {devices}"


def _sampler(match: re.Match[str], _args: Mapping[str, Any]) -> str:
    """The first batch of all requests did not fit."""
    now = int(match["requests"])
    return _change("lower", "max_num_seqs", now, max(1, now // 2), "half: vLLM does not say how much is lacking")


def _halved(match: re.Match[str], args: Mapping[str, Any]) -> str:
    """Memory, without the figure of what there is."""
    why = f"half: {match[0]!r} does not say how much there is"
    cache = args.get("kv_cache_memory_bytes")
    if os.environ.get(_SPACE) and int(os.environ[_SPACE]) > 1:
        now = int(os.environ[_SPACE])
        return f"lower {_SPACE} from {now} to {now // 2}: {_SPACE}={now // 2} in the environment ({why})"
    if cache is not None:
        return _change("lower", "kv_cache_memory_bytes", cache, int(cache) // 2, why)
    now = _utilization(args)
    return _change("lower", "gpu_memory_utilization", now, f"{now / 2:.2f}", why)


_UNITS = "|".join(_BYTES)
_FREE = r"\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\)"
_FORMS: tuple[tuple[str, Advise], ...] = (
    (rf"Free memory on device .*?{_FREE} on startup is less than desired GPU memory utilization", _startup),
    (rf"Available memory on node .*?{_FREE} on startup is less than desired CPU memory utilization", _startup),
    (rf"Available memory on node .*?{_FREE} on kv cache allocation .*? for kv \([\d.]+ GiB\)", _cpu_cache),
    (
        rf"Available memory on node .*?{_FREE} on kv cache allocation .*? for kv "
        r"\((?P<left>-?[\d.]+)/(?P<asked>[\d.]+) GiB\)",
        _cpu_share,
    ),
    (
        r"max seq len \((?P<length>\d+)\), \((?P<needed>[\d.]+) GiB KV cache is needed, .*? memory "
        r"\((?P<room>[\d.]+) GiB\)",
        _too_long,
    ),
    (r"No available memory for the cache blocks|Cannot auto-fit max_model_len", _no_room),
    (
        rf"Tried to allocate (?P<tried>[\d.]+) (?P<tried_unit>{_UNITS}).*? total capacity of (?P<total>[\d.]+) "
        rf"(?P<total_unit>{_UNITS}) of which (?P<free>[\d.]+) (?P<free_unit>{_UNITS}) is free",
        _torch_gpu,
    ),
    (r"out of memory occurred when warming up \w+ with (?P<requests>\d+) dummy requests", _sampler),
    (r"(not enough|can't allocate) memory: you tried to allocate \d+ bytes", _halved),
    (r"(?i:out of memory)|MemoryError|Cannot allocate memory", _halved),
)
