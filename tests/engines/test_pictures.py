"""The memory of the last pictures: read once, by whichever thread comes first, a few at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vr1bench.engines.pictures import Pictures

SIZE = (4, 3)
A, B, C = Path("a"), Path("b"), Path("c")


def test_a_picture_is_read_once_and_known_by_path_and_size() -> None:
    read: list[tuple[Path, tuple[int, int]]] = []
    pictures = Pictures(lambda path, size: read.append((path, size)) or f"{path}{size}")
    assert pictures(A, SIZE) == ("a(4, 3)", False)
    assert pictures(A, SIZE) == ("a(4, 3)", True)
    assert pictures(A, (3, 4)) == ("a(3, 4)", False)
    assert len(read) == 2


def test_those_asked_for_last_are_kept() -> None:
    pictures = Pictures(lambda path, _: path.name, kept=2)
    assert [pictures(path, SIZE)[1] for path in (A, B, A, C, A, B)] == [False, False, True, False, True, False]
    pictures.clear()
    assert pictures(A, SIZE) == ("a", False)


def test_threads_that_meet_on_one_picture_read_it_once() -> None:
    entered, release = threading.Event(), threading.Event()
    reads = 0

    def read(_path: Path, _size: tuple[int, int]) -> object:
        nonlocal reads
        reads += 1
        entered.set()
        assert release.wait(10)
        return object()

    pictures = Pictures(read)
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(pictures, A, SIZE)]
        assert entered.wait(10)
        found += [pool.submit(pictures, A, SIZE) for _ in range(3)]
        release.set()
        answers = [one.result(10) for one in found]
    assert reads == 1
    assert len({id(picture) for picture, _ in answers}) == 1
    assert [known for _, known in answers] == [False, True, True, True]


def test_what_cannot_be_read_is_tried_again() -> None:
    tries = 0

    def read(_path: Path, _size: tuple[int, int]) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("not yet")
        return "there"

    pictures = Pictures(read)
    with pytest.raises(OSError, match="not yet"):
        pictures(A, SIZE)
    assert pictures(A, SIZE) == ("there", False)
