"""Watches whoever waits for an engine: where no answer comes for too long, that thread is interrupted."""

from __future__ import annotations

import faulthandler
import math
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from vr1bench.errors import Vr1benchError

GRACE_S = 10.0
"""What an interrupted engine may take to close; a shorter timeout gives it no longer."""
LONGEST_LOOK_S = 1.0


class Hang(KeyboardInterrupt):
    """No answer came; like Ctrl-C nothing that an engine catches, so that it ends as it does then."""


class Watchdog:
    """See the module; in another thread than the main one, which alone can be interrupted, it does nothing.

    The main thread is interrupted by SIGALRM, which ends what Python does and any wait that a signal ends. Where it is
    blocked in C, `on_hang` is called in another thread a little later. Nothing helps where C code holds the
    interpreter's lock. Time in which the process itself was stopped (Ctrl-Z, a scheduler) does not count.
    """

    def __init__(self, timeout_s: float, stacks: Path, on_hang: Callable[[], None] | None = None) -> None:
        """Watches from `with` on.

        Args:
            timeout_s: Seconds without an answer; 0 watches nothing.
            stacks: Where all threads stood when they were over is written to this file, which is replaced.
            on_hang: Called in a thread of its own; should end the process.

        Raises:
            Vr1benchError: `timeout_s` is negative or no number.
        """
        if not 0 <= timeout_s < math.inf:
            raise Vr1benchError(f"--timeout {timeout_s}: expected seconds without an answer, or 0 to wait for ever")
        self._timeout_s, self._stacks, self._on_hang = timeout_s, stacks, on_hang
        self._waits = self._waiting = self._expired = 0  # a wait is known by its number; 0 is none
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._timeout_s and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGALRM, self._interrupt)
            self._thread = threading.Thread(target=self._watch, name="vr1bench-watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting = 0
        self._over.set()
        if self._thread:
            self._thread.join()  # from here on no signal comes, which nobody would catch
            signal.signal(signal.SIGALRM, self._before)

    def wait(self) -> None:
        """The engine is waited for from now on."""
        self._waits += 1
        self._waiting = self._waits

    def rest(self) -> None:
        """It has answered."""
        self._waiting = 0

    def _watch(self) -> None:
        look_s = min(LONGEST_LOOK_S, self._timeout_s / 10)
        seen, waited_s = 0, 0.0
        while not self._over.wait(look_s):
            if self._waiting != seen:
                seen, waited_s = self._waiting, 0.0
            elif seen:
                waited_s += look_s
                if waited_s >= self._timeout_s:
                    self._end(seen)
                    waited_s = 0.0

    def _end(self, wait: int) -> None:
        with suppress(OSError), self._stacks.open("w") as file:  # a full disk: what follows matters more
            faulthandler.dump_traceback(file, all_threads=True)
        self._expired = wait
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        if not self._over.wait(min(GRACE_S, self._timeout_s)) and self._waiting == wait and self._on_hang:
            self._on_hang()

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        if not self._expired and callable(self._before):
            self._before(signum, frame)
        elif self._expired and self._expired == self._waiting:  # else the answer came meanwhile
            raise Hang
