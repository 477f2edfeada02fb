"""`LEADERBOARD.md`: drawn anew from the folder's results whenever one was written."""

from __future__ import annotations

import fcntl
from pathlib import Path

from vr1bench.board.build import leaderboard
from vr1bench.board.markdown import markdown
from vr1bench.errors import Vr1benchError
from vr1bench.store import read_results, write_text

LOCK = ".leaderboard.lock"


def write_leaderboard(folder: Path) -> Path:
    """Draws `LEADERBOARD.md` from every Result under a folder.

    Writers take turns from reading to writing, so that whoever is last has read what all others wrote: a process that
    writes its Result before it calls this will find it on the board.

    Raises:
        Vr1benchError: The folder cannot be written, or holds a damaged Result.
    """
    path = folder / "LEADERBOARD.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise Vr1benchError(
            f"cannot write {path}: {error.strerror}; expected a folder of results that can be written"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_text(path, markdown(leaderboard(result for _, result in read_results(folder))))
    return path
