# pyright: basic
"""The cluster that replicas run on: one that is there already, or a small one of this machine alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from vr1bench.engines import ENGINES, default
from vr1bench.errors import Vr1benchError

OBJECT_STORE_BYTES = 100 * 2**20
"""Of a local cluster's object store, in shared memory. Requests and answers are smaller than what Ray puts there
(100 KiB, `max_direct_call_object_size`), so that little more than Ray's least (75 MiB) serves."""
NOT_ON_A_CLUSTER = ("ray", "oracle", "replay", "openai")
"""Engines that hold no model."""
LOCAL = "local"
"""Ray's own word for a cluster of this machine alone."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would pack the folder, and call uv for every worker
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as Ray is going to do by default; until then it prints so
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what Ray says of a dead worker goes to stdout, which belongs to the table
}
"""Read when ray is imported."""
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Without clusters Ray listens on the loopback only: so on Windows and macOS (`get_node_ip_address`), and here."""
_JOINING = {
    "RAY_NUM_REDIS_GET_RETRIES": "1",  # of Ray's 20 each takes half a minute where nothing is at the address
    "RAY_py_gcs_connect_timeout_s": "5",
    "RAY_BACKEND_LOG_LEVEL": "error",
}
_INSTALL = "install it on every machine of the cluster: uv sync --inexact --extra ray, beside an engine's extra"


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class Options:
    """See `vr1bench.engines.ray.open_engine`; `engine` is never empty, and `inner` are that engine's own options."""

    engine: str
    inner: Mapping[str, Any]
    address: str = ""
    replicas: Annotated[int, Field(ge=1)] = 1
    num_cpus: Annotated[float, Field(gt=0)] | None = None
    num_gpus: Annotated[float, Field(ge=0)] | None = None


_OURS = ("address", "replicas", "engine", "num_cpus", "num_gpus")


def options_of(args: Mapping[str, Any]) -> Options:
    """Reads `--engine-args`; what is none of this engine's own goes to the replicas' engine unread.

    Raises:
        Vr1benchError: An option has a bad value, or no replica can run the named engine.
    """
    ours = {name: value for name, value in args.items() if name in _OURS}
    inner = {name: value for name, value in args.items() if name not in _OURS}
    engine = str(ours.pop("engine", None) or default())
    ENGINES.check(engine)
    if engine in NOT_ON_A_CLUSTER:
        choices = ", ".join(name for name in ENGINES if name not in NOT_ON_A_CLUSTER)
        raise Vr1benchError(f"--engine-args engine={engine}: holds no model; expected one of {choices}")
    try:
        return TypeAdapter(Options).validate_python({"engine": engine, "inner": inner, **ours})
    except ValidationError as error:
        first = error.errors()[0]
        raise Vr1benchError(f"--engine-args {first['loc'][0]}: {first['msg']}, got {first['input']!r}") from None


@dataclass
class Cluster:
    """A connection to Ray; `ours` where nobody else needs it, so that it ends with the engine."""

    ours: bool

    def leave(self) -> None:
        """Ends the connection, and a cluster that was started for this engine; may be called twice."""
        import ray

        if self.ours:
            self.ours = False
            ray.shutdown()


def set_environment(address: str) -> None:
    """Sets the environment variables that ray reads when it is imported; what the user set, stays."""
    for name, value in (_QUIET | (_ON_LOOPBACK if address == LOCAL else _JOINING)).items():
        os.environ.setdefault(name, value)


def join(address: str) -> Cluster:
    """Connects to the cluster at `address` or $RAY_ADDRESS; where neither is given, starts one on this machine.

    A program that is connected already stays so. A local cluster speaks on the loopback only, has no dashboard and
    tells Ray's makers nothing; what the user has set in the environment, stays.

    Raises:
        Vr1benchError: Ray is missing, or nothing answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS", "") or LOCAL
    set_environment(address)
    try:
        import ray
    except ImportError as error:
        raise Vr1benchError(f"engine ray cannot be imported ({error}); {_INSTALL}") from error
    if ray.is_initialized():
        return Cluster(ours=False)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        quiet |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        text = " ".join(str(error).split())
        raise Vr1benchError(
            f"--engine-args address={address}: no Ray cluster answers ({text}); start one with `ray start --head`, and "
            "run this command on one of its machines with address=auto, or leave the address out for this machine alone"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own ends the process before answers are saved
    return Cluster(ours=True)


def place(options: Options) -> dict[str, float]:
    """What each replica reserves, as arguments of an actor: `num_cpus` and `num_gpus`.

    GPUs: those that the engine's tensor and pipeline parallelism take, on a cluster that has any. CPUs: as many
    whole ones as leave room for all replicas; Ray lets torch use no more threads than that.

    Raises:
        Vr1benchError: The cluster has no room for the replicas, ever or at the moment.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = options.num_gpus
    if gpus is None:
        any_gpu = any(node.get("GPU", 0) for node in nodes)
        sizes = [options.inner.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline")]
        # What is no number is for the engine to refuse.
        gpus = float(prod(size for size in sizes if isinstance(size, int)) if any_gpu else 0)
    cpus = options.num_cpus
    if cpus is None:
        largest = int(max((node.get("CPU", 0) for node in nodes), default=0))
        wide = (count for count in range(largest, 1, -1) if _room(nodes, count, gpus) >= options.replicas)
        cpus = float(next(wide, 1))
    room = _room(nodes, cpus, gpus)
    need = f"{options.replicas} replicas of {cpus:g} CPUs and {gpus:g} GPUs each"
    if room < options.replicas:
        has = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise Vr1benchError(
            f"the cluster has room for {room} of {need} (its machines: {has}); lower --engine-args replicas, "
            "num_cpus or tensor_parallel_size, or add machines"
        )
    free = ray.available_resources()
    for kind, each in (("CPU", cpus), ("GPU", gpus)):
        if free.get(kind, 0) < each * options.replicas:
            raise Vr1benchError(
                f"of the cluster's {kind}s {free.get(kind, 0):g} are free, but {need} are to start; wait for what else "
                "runs there (`ray status`), or lower --engine-args replicas"
            )
    return {"num_cpus": cpus, "num_gpus": gpus}


def _room(nodes: Sequence[Mapping[str, float]], cpus: float, gpus: float) -> int:
    """Replicas that fit, none across two machines."""
    return sum(
        min(int(node.get(kind, 0) // each) for kind, each in (("CPU", cpus), ("GPU", gpus)) if each) for node in nodes
    )
