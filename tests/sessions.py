"""Who is left of a session of processes, by `/proc`."""

import contextlib
import os
import select
from pathlib import Path


def left(session: int, patience_s: float = 10.0) -> list[str]:
    """The command lines of those that have not ended after a while: what was killed takes its time to die."""
    for pid in _living(session):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            select.select([descriptor], [], [], patience_s)
            os.close(descriptor)
    return list(_living(session).values())


def _living(session: int) -> dict[int, str]:
    """By process id; a dead one that init has not fetched yet is none."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state not in "ZX":
                found[int(path.parent.name)] = (path.parent / "cmdline").read_text()
    return found
