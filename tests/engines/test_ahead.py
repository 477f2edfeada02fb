"""Requests prepared ahead: order, bounds, errors, the end of the threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from engines.tiny import ask

from vr1bench.engines.ahead import Ahead
from vr1bench.types import Request


def numbered(count: int, taken: list[int] | None = None) -> Iterator[Request]:
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield ask(None, (0, 0), text=str(number))


def text(request: Request) -> str:
    return request.messages[0]["content"][0]["text"]


def test_everything_comes_once_in_order() -> None:
    with Ahead(numbered(50), text, depth=7) as ahead:
        found = [ahead.take(wait=True) for _ in range(50)]
        assert found == [str(number) for number in range(50)]
        assert ahead.exhausted
        assert ahead.take(wait=True) is None


def test_the_source_is_asked_late_and_never_beyond_the_depth() -> None:
    taken: list[int] = []
    with Ahead(numbered(50, taken), text, depth=3) as ahead:
        assert taken == []
        for count in range(1, 20):
            ahead.take(wait=True)
            assert len(taken) <= count + 2
        ahead.depth = 10
        ahead.take(wait=True)
        assert len(taken) == 20 - 1 + 10


def test_what_is_not_ready_is_not_waited_for() -> None:
    gate = threading.Event()

    def slow(request: Request) -> str:
        gate.wait(60)
        return text(request)

    with Ahead(numbered(2), slow, depth=2) as ahead:
        assert ahead.take(wait=False) is None
        assert not ahead.exhausted
        gate.set()
        assert ahead.take(wait=True) == "0"


def test_an_error_of_preparing_is_raised_to_the_caller_and_the_others_still_come() -> None:
    def fragile(request: Request) -> str:
        if text(request) == "1":
            raise RuntimeError("broken")
        return text(request)

    with Ahead(numbered(3), fragile, depth=3) as ahead:
        assert ahead.take(wait=True) == "0"
        with pytest.raises(RuntimeError, match="broken"):
            ahead.take(wait=True)
        assert ahead.take(wait=True) == "2"


def test_closing_ends_the_threads_with_work_left() -> None:
    ahead = Ahead(numbered(1000), text, depth=500)
    ahead.take(wait=True)
    ahead.close()
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vr1bench-ahead")]
