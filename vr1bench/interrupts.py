"""What asks a command to end: Ctrl-C, SIGTERM, and SIGHUP of a terminal that has gone; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 1.0
"""A signal that comes sooner after the first is the same one: GNU `timeout` sends SIGTERM to its child and to its
child's process group, and a shell passes the kernel's SIGHUP on."""


@dataclass
class Heard:
    """Which signal came.

    Attributes:
        first: Its number; 0 where none did.
    """

    first: int = 0
    _before: dict[int, Any] = field(default_factory=dict[int, Any])

    def code(self, status: int) -> int:
        """The exit code of a command that ended with `status`: 128 + the signal's number where one interrupted it."""
        return 128 + self.first if status == 128 + signal.SIGINT and self.first else status

    def interrupt(self, signum: int, frame: FrameType | None) -> None:
        """Handles a signal; only the first raises, so that closing is not disturbed."""
        if self.first:
            return
        self.first = signum
        if signum == signal.SIGHUP:
            _let_go_of_the_terminal()
        raise KeyboardInterrupt

    def follow(self, pipe: int) -> None:
        """Reads the numbers of signals as they come: also while the main thread is in C, and can handle none."""
        first = None
        while some := os.read(pipe, 64):
            numbers = [number for number in some if number in self._before]
            first = first or (time.monotonic() if numbers else None)
            if first and numbers and time.monotonic() - first >= AGAIN_S:
                leave(
                    "\ninterrupted again: ended at once; what a run had answered is kept: type the same command again "
                    "to continue",
                    128 + numbers[-1],
                )
        os.close(pipe)

    def take(self) -> None:
        """Handles the signals that nobody handles; one that is ignored, as by nohup, stays so."""
        for number in SIGNALS:
            if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
                self._before[number] = signal.signal(number, self.interrupt)

    def give_back(self) -> None:
        """Leaves them as they were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


@contextmanager
def heeded() -> Generator[Heard]:
    """SIGTERM and SIGHUP end what is done inside as Ctrl-C does; not in another thread than the main one."""
    heard = Heard()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    heard.take()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=heard.follow, args=(reading,), name="vr1bench-signals", daemon=True).start()
    _HEARD.append(heard)
    try:
        yield heard
    finally:
        _HEARD.remove(heard)
        signal.set_wakeup_fd(before)
        heard.give_back()
        os.close(writing)


def leave(message: str, code: int) -> NoReturn:
    """Ends this process at once, with all that it started.

    But for multiprocessing's resource tracker, which ends with its parent and first removes the shared memory that it
    left.
    """
    with suppress(OSError, ValueError):
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
    for child in descendants():
        with suppress(OSError):
            if b"multiprocessing.resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
    os._exit(code)


def descendants() -> list[int]:
    """The processes that this one started, and theirs, by `/proc`; none where there is no such thing."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [os.getpid()]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


_HEARD: list[Heard] = []
"""Those that handle signals now, for a process that is forked meanwhile."""


def _forget() -> None:
    """A forked process, such as a worker of an engine, dies of signals as ever, and tells its parent of none."""
    if _HEARD:
        signal.set_wakeup_fd(-1)
    for heard in _HEARD:
        heard.give_back()
    _HEARD.clear()


os.register_at_fork(after_in_child=_forget)


def _let_go_of_the_terminal() -> None:
    """Points stdout and stderr elsewhere where the terminal behind them has gone: writing there would fail."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
