"""`vr1bench.lock`: what a data folder holds, as it was first seen; and the lock that one process at a time takes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from vr1bench.errors import Vr1benchError
from vr1bench.store import write_text
from vr1bench.types import FrozenModel

NAME = "vr1bench.lock"


class Seen(FrozenModel):
    """A fetched file: its size, its sha256, and how many files it put into each folder, by where it was unpacked."""

    bytes: int
    sha256: str
    placed: dict[str, dict[str, int]] = Field(default_factory=dict[str, dict[str, int]])


class Lock(FrozenModel):
    """What the file holds: fetched files by address, and the sha256 of annotations by path."""

    schema_version: Literal[1] = 1
    files: dict[str, Seen] = Field(default_factory=dict[str, Seen])
    annotations: dict[str, str] = Field(default_factory=dict[str, str])


def read_lock(root: Path) -> Lock:
    """The lock of a data folder; an empty one where it has none.

    Raises:
        Vr1benchError: It is damaged or cannot be read.
    """
    path = root / NAME
    try:
        return Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected what `vr1bench prepare` wrote") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise Vr1benchError(
            f"{path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}; restore it, or delete it: then "
            "checksums are recorded anew"
        ) from error


def write_lock(root: Path, lock: Lock) -> bool:
    """Writes the lock whole; False where the folder is read-only.

    Raises:
        Vr1benchError: The disk is full.
    """
    if not os.access(root, os.W_OK):
        return False
    write_text(root / NAME, lock.model_dump_json(indent=1) + "\n")
    return True


@contextmanager
def held(root: Path) -> Generator[None, None, None]:
    """One process at a time works in a data folder; leaves nothing behind, however it ends.

    Raises:
        Vr1benchError: Another one does.
    """
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Vr1benchError(f"{root} is in use by another `vr1bench prepare`; wait for it") from None
        except OSError:  # a network file system that cannot lock a folder
            pass
        yield
    finally:
        os.close(folder)
