"""The last few pictures, read once: requests for one picture that follow each other share it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Generic, TypeVar

KEPT = 4
"""Pictures that are kept. Threads are at work on neighbouring requests, so that few pictures are in use at a time."""

Read = TypeVar("Read")


class Pictures(Generic[Read]):
    """A picture by its path and annotated size; safe to call from several threads.

    Of threads that ask for one picture at a time, the first reads it and the others wait. What cannot be read is not
    remembered, so that a later request tries again.
    """

    def __init__(self, read: Callable[[Path, tuple[int, int]], Read], kept: int = KEPT) -> None:
        """Takes what reads a picture, and how many to keep: those asked for last."""
        self._read = read
        self._kept = kept
        self._lock = threading.Lock()
        self._pictures: OrderedDict[tuple[Path, tuple[int, int]], Future[Read]] = OrderedDict()

    def __call__(self, path: Path, size: tuple[int, int]) -> tuple[Read, bool]:
        """The picture, and whether an earlier request had read it, or was at it.

        Args:
            path: Of the file.
            size: (width, height) in pixels, as the annotations say.

        Raises:
            Exception: What reading raises; of threads that waited for it, to each.
        """
        key = path, size
        with self._lock:
            known = self._pictures.get(key)
            future = known or self._pictures.setdefault(key, Future())
            self._pictures.move_to_end(key)
            if len(self._pictures) > self._kept:
                self._pictures.popitem(last=False)
        if known is not None:
            return known.result(), True
        try:
            picture = self._read(path, size)
        except BaseException as error:
            with self._lock:
                if self._pictures.get(key) is future:
                    del self._pictures[key]
            future.set_exception(error)
            raise
        future.set_result(picture)
        return picture, False

    def clear(self) -> None:
        """Forgets all, and frees their memory."""
        with self._lock:
            self._pictures.clear()
