"""One replica of a model: an actor of Ray's that keeps an engine of its own full."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from queue import Empty, SimpleQueue

from vr1bench.engines import Engine, EngineOptions, Open
from vr1bench.types import Completion, Failure, Request

LINGER_S = 0.05
"""How long an engine waits for another request before it finishes what it has: some round trips through Ray."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request and where its answer goes."""

    request: Request
    answer: Future[Completion | Failure] = field(default_factory=Future["Completion | Failure"])


class Replica:
    """An engine in a process of Ray's choosing.

    One thread opens the engine and asks it: vLLM on a CPU binds the cores of whoever starts it. The calls, one a
    request, wait in the actor's event loop meanwhile, so that the engine batches them as on a single machine.
    """

    def __init__(self, open_engine: Open, options: EngineOptions) -> None:
        """Begins to open the engine; `opened` tells when it is done."""
        self._inbox: SimpleQueue[_Asked | None] = SimpleQueue()
        self._taken: dict[int, _Asked] = {}
        self._versions: Mapping[str, str] = {}
        self._broken: BaseException | None = None
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(open_engine, options), daemon=True)
        self._thread.start()

    async def opened(self) -> dict[str, str]:
        """The engine's versions, once it is open; raises what kept it from opening."""
        await asyncio.to_thread(self._opened.wait)
        if self._broken:
            raise self._broken
        return dict(self._versions)

    async def ask(self, request: Request) -> Completion | Failure:
        """The engine's answer; raises what broke the engine, now or earlier."""
        asked = _Asked(request)
        self._inbox.put(asked)
        if self._broken:  # looked at behind the put: an engine that breaks later finds the request in the inbox
            raise self._broken
        return await asyncio.wrap_future(asked.answer)

    async def close(self) -> None:
        """Ends the engine, behind what was asked before."""
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self, open_engine: Open, options: EngineOptions) -> None:
        engine: Engine | None = None
        try:
            engine = open_engine(options)
            self._versions = dict(engine.versions)
            self._opened.set()
            while (first := self._inbox.get()) is not None:
                self._answer(engine, first)
        except BaseException as error:  # raised again by every call
            self._broken = error
            self._give_up(error)
        finally:
            self._opened.set()
            if engine:
                engine.close()

    def _answer(self, engine: Engine, first: _Asked) -> None:
        """Answers what is in the inbox, until it is found empty."""
        for request, answer in engine.generate(self._requests(first)):
            self._taken.pop(id(request)).answer.set_result(answer)

    def _requests(self, first: _Asked) -> Iterator[Request]:
        """What is asked, as the engine takes it; ends where nothing comes, for only then does a batch run out."""
        for asked in chain([first], self._inbox_until_empty()):
            if asked.answer.set_running_or_notify_cancel():
                self._taken[id(asked.request)] = asked
                yield asked.request

    def _inbox_until_empty(self) -> Iterator[_Asked]:
        with suppress(Empty):
            while (asked := self._inbox.get(timeout=LINGER_S)) is not None:
                yield asked
            self._inbox.put(None)  # for `_work`

    def _give_up(self, error: BaseException) -> None:
        for asked in self._taken.values():
            asked.answer.set_exception(error)
        with suppress(Empty):
            while True:
                asked = self._inbox.get_nowait()
                if asked and asked.answer.set_running_or_notify_cancel():
                    asked.answer.set_exception(error)
