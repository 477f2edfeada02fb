"""Requests prepared by background threads while an engine generates: bounded, lazy, ended on any way out."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

from vr1bench.types import Request

Ready = TypeVar("Ready")


def thread_count() -> int:
    """Threads for decoding: half of the cores that this process may use, 1 to 8; the model needs the others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // 2))


class Ahead(Generic[Ready]):
    """Prepares requests a bounded number ahead, and gives them out in the order of the source.

    The source is advanced in the caller's thread only, so that it need not be thread-safe. A kept order makes the
    batches, and with them the last bits of a model's numbers, depend on as little as can be.
    """

    def __init__(self, source: Iterable[Request], prepare: Callable[[Request], Ready], depth: int) -> None:
        """Starts the threads; nothing is taken from `source` before the first `take`.

        Args:
            source: Requests, taken one by one.
            prepare: Called in a background thread; what it raises is raised again by `take`.
            depth: Requests being prepared or ready at most, 1 or more; may be set anew while it runs.
        """
        self._source = iter(source)
        self._prepare = prepare
        self.depth = depth
        self._todo: SimpleQueue[tuple[Request, Future[Ready]] | None] = SimpleQueue()
        self._slots: deque[Future[Ready]] = deque()
        self._dry = False
        self._stop = threading.Event()
        # Daemons, unlike an executor's threads: the interpreter's end need not wait for a large photo.
        self._threads = [
            threading.Thread(target=self._work, name=f"vr1bench-ahead-{index}", daemon=True)
            for index in range(min(thread_count(), depth))
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def exhausted(self) -> bool:
        """True once the source has ended and all of it was taken from here."""
        return self._dry and not self._slots

    def take(self, *, wait: bool) -> Ready | None:
        """The next prepared request, or None: it is not ready (`wait=False`), or all were taken."""
        self._fill()
        if not self._slots or not (wait or self._slots[0].done()):
            return None
        return self._slots.popleft().result()

    def put_back(self, ready: Ready) -> None:
        """Gives back what was taken last: the next `take` takes it again."""
        slot: Future[Ready] = Future()
        slot.set_result(ready)
        self._slots.appendleft(slot)

    def close(self) -> None:
        """Ends the threads, each after the image in hand; may be called twice."""
        self._stop.set()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join(timeout=1.0)

    def _fill(self) -> None:
        while not self._dry and len(self._slots) < self.depth:
            try:
                request = next(self._source)
            except StopIteration:
                self._dry = True
                return
            slot: Future[Ready] = Future()
            self._slots.append(slot)
            self._todo.put((request, slot))

    def _work(self) -> None:
        while (item := self._todo.get()) is not None and not self._stop.is_set():
            request, slot = item
            try:
                slot.set_result(self._prepare(request))
            except BaseException as error:  # handed to the caller's thread by `take`
                slot.set_exception(error)
            del item, request, slot  # a waiting thread must not keep the last image alive
