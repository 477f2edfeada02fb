"""The process that scores one checkpoint: it knows nothing of the training that started it, and ends with it.

    python -m vr1bench.trainers.scorer run --model out/checkpoint-50 --suite demo

is `vr1bench run ...`, but for the pipe on its stdin. When that closes, whoever started it is gone, by SIGKILL too, and
it ends with all that it started itself. A process of its own gives GPU memory back, and can crash alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

GRACE_S = 10.0
"""How long a process may take to close its engine after Ctrl-C, before it is killed."""

_LAUNCHED = {
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "FORK_LAUNCHED",
}  # fmt: skip
_LAUNCHERS = (
    "ACCELERATE_", "TORCHELASTIC_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "PMI_", "OMPI_COMM_WORLD_",
    "MV2_COMM_WORLD_",
)  # fmt: skip
"""What torchrun (torch 2.13, `elastic/agent/server/local_elastic_agent.py`), accelerate 1.15 (`utils/launch.py`,
`utils/environment.py`) and MPI tell each process of a training; an engine would take it for its own."""


class InterruptedScoring(KeyboardInterrupt):
    """Ctrl-C while a checkpoint was scored, where somebody else decides what that means for the training."""


def environment() -> dict[str, str]:
    """The environment without what makes a process one of a distributed training."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _LAUNCHED and not name.startswith(_LAUNCHERS)
    }  # fmt: skip


def run(arguments: Sequence[str], log: Path, timeout_s: float | None = None) -> int | None:
    """Runs `vr1bench ARGUMENTS` in a process of its own and waits for it.

    Args:
        arguments: Of `vr1bench`.
        log: What it prints goes here; the file is replaced.
        timeout_s: It is ended after so many seconds; None waits for ever.

    Returns:
        Its exit code, negative where a signal killed it; None where it took longer than `timeout_s`.

    Raises:
        InterruptedScoring: Ctrl-C, which somebody else takes care of; the process has ended.
        KeyboardInterrupt: Ctrl-C; the process has ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out, _ctrl_c():
        child = subprocess.Popen(  # noqa: S603  our own command
            [sys.executable, "-m", "vr1bench.trainers.scorer", *arguments],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,  # a group of its own, which can be ended whole
        )
        try:
            return child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(child)


def main() -> None:
    """`vr1bench`, until the pipe on stdin closes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a trainer in the background ignores it, and so would we
    pipe = os.dup(0)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  a name, not a file
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    from vr1bench.cli import main as vr1bench

    vr1bench()


def _end_with_parent(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a process, if it has not, with all that it started: first as Ctrl-C would, then for sure."""
    try:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_S)
    finally:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left; a zombie's group (macOS)
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdin:
            child.stdin.close()


@contextmanager
def _ctrl_c() -> Generator[None]:
    """Ctrl-C ends the scoring too where the trainer takes it for itself, to save a checkpoint and stop."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        before(signum, frame)
        raise InterruptedScoring

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    main()
