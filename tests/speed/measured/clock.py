"""CPU and wall time by stage, and Markdown rows: what the scripts of this folder measure and print with."""

from __future__ import annotations

import functools
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Clock:
    """Seconds of each stage, exclusive: what a stage calls that is a stage itself counts there alone.

    CPU seconds are those of the calling threads (`time.thread_time`), so that the threads of a matrix product, which
    no stage starts, stay out. All threads add to the same stages.

    Attributes:
        cpu: CPU seconds by stage.
        main: Those of them that the thread spent which made the clock.
        wall: Wall seconds by stage, summed over threads.
        calls: How often each was entered.
    """

    def __init__(self) -> None:
        self.cpu: Counter[str] = Counter()
        self.main: Counter[str] = Counter()
        self.wall: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._local = threading.local()
        self._home = threading.get_ident()

    def clear(self) -> None:
        """Forgets all times; no stage may be open."""
        for counts in (self.cpu, self.main, self.wall, self.calls):
            counts.clear()

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Counts what happens inside, in this thread."""
        stack: list[list[Any]] = self._local.__dict__.setdefault("stack", [])
        now = self._pause(stack)
        stack.append([name, *now])
        try:
            yield
        finally:
            now = self._pause(stack)
            stack.pop()
            if stack:
                stack[-1][1:] = now
            with self._lock:
                self.calls[name] += 1

    def watch(self, name: str, owner: type[Any], *methods: str) -> None:
        """Makes methods of a class a stage."""
        for method in methods:
            setattr(owner, method, self._timed(name, getattr(owner, method)))

    def watch_function(self, name: str, function: Callable[..., Any]) -> None:
        """Makes a function of vr1bench a stage, under whatever name its modules have imported it."""
        timed = self._timed(name, function)
        for module in [module for key, module in sys.modules.items() if key.partition(".")[0] == "vr1bench"]:
            for attribute in [key for key, value in vars(module).items() if value is function]:
                setattr(module, attribute, timed)

    def watch_iterator(self, name: str, owner: type[Any], method: str) -> None:
        """Makes each step of the iterator that a method returns a stage."""
        plain = getattr(owner, method)

        @functools.wraps(plain)
        def steps(*args: object, **kwargs: object) -> Iterator[Any]:
            return self._steps(name, plain(*args, **kwargs))

        setattr(owner, method, steps)

    def watch_threads(self, name: str, prefix: str) -> None:
        """Makes all that threads do whose names begin so a stage."""
        plain = threading.Thread.run

        def run(thread: threading.Thread) -> None:
            if not thread.name.startswith(prefix):
                return plain(thread)
            with self.stage(name):
                return plain(thread)

        setattr(threading.Thread, "run", run)  # noqa: B010  its parameter is called `self`

    def _timed(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def timed(*args: object, **kwargs: object) -> object:
            with self.stage(name):
                return plain(*args, **kwargs)

        return timed

    def _steps(self, name: str, source: Any) -> Generator[Any]:
        try:
            while True:
                with self.stage(name):
                    try:
                        item = next(source)
                    except StopIteration:
                        return
                yield item
        finally:
            source.close()

    def _pause(self, stack: list[list[Any]]) -> tuple[float, float]:
        """Books what the open stage used so far; gives the time of both clocks."""
        now = time.thread_time(), time.perf_counter()
        if stack:
            name, cpu, wall = stack[-1]
            with self._lock:
                self.cpu[name] += now[0] - cpu
                self.wall[name] += now[1] - wall
                if threading.get_ident() == self._home:
                    self.main[name] += now[0] - cpu
        return now


def median_and_range(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Such as `1.25 (1.19 to 1.31)`."""
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def row(*cells: object) -> None:
    """Prints one row of a Markdown table, at once."""
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def head(*cells: str) -> None:
    """Prints the head of a Markdown table."""
    row(*cells)
    row(*["---"] * len(cells))


def alternating(pairs: int, names: Sequence[str]) -> Iterable[tuple[int, str]]:
    """(pair, who) with the order turned round in every other pair."""
    for pair in range(pairs):
        yield from ((pair, name) for name in (reversed(names) if pair % 2 else names))
