"""Reading JSON from outside: hostile until shown otherwise, with errors that say what to do next.

Typed decoding (msgspec) reads the fields that count, skips the rest without building it (COCO's polygons are most of
its file), refuses NaN, and names the place of what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.types import Bools, Floats, Ints

T = TypeVar("T")
Box = tuple[float, float, float, float]
Side = Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
"""Width or height of an image in pixels."""


class Row(msgspec.Struct, gc=False):
    """One row of a file: only the fields that count."""


def read_json(path: Path, kind: type[T]) -> tuple[T, str]:
    """A JSON file's value, typed, and the sha256 of its bytes.

    Raises:
        Vr1benchError: The file is missing, empty, no JSON, or not of this type.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected an annotation file") from error
    if not data.strip():
        raise Vr1benchError(
            f"{path} is empty ({len(data)} bytes); expected JSON; a download probably broke off: fetch the file again"
        )
    try:
        return msgspec.json.decode(data, type=kind), hashlib.sha256(data).hexdigest()
    except msgspec.ValidationError as error:
        raise Vr1benchError(f"{path}: {error}; repair the file") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = ", and holds NaN or Infinity, which no box may be" if b"NaN" in data or b"Infinity" in data else ""
        raise Vr1benchError(f"{path} is not valid JSON ({error}){hint}; fetch the file again or repair it") from error


def refuse(path: Path, bad: Bools | np.bool_, rows: str, why: str, values: Sequence[object] | Floats | Ints) -> None:
    """Refuses a file for its first bad row.

    Args:
        path: The file.
        bad: (n,) which rows are bad.
        rows: What a row is called: `annotations`.
        why: What was expected.
        values: (n, ...) what the rows hold.

    Raises:
        Vr1benchError: At least one row is bad; says which, what it holds, and how many more there are.
    """
    if np.any(bad):
        first = int(np.argmax(bad))
        got = values[first].tolist() if isinstance(values, np.ndarray) else values[first]
        more = f" (and {int(np.sum(bad)) - 1} more)" if np.sum(bad) > 1 else ""
        raise Vr1benchError(f"{path}: {rows}[{first}]: expected {why}, got {got!r}{more}; repair the file")


def refuse_names(path: Path, names: Sequence[str], rows: str, folder: Path) -> None:
    """Refuses a file that names images outside of its folder, or nothing.

    Raises:
        Vr1benchError: A name is empty, absolute, or climbs out with `..`.
    """
    bad = np.array(
        [not name or name.startswith("/") or "\0" in name or ".." in Path(name).parts for name in names], np.bool_
    )
    refuse(path, bad, rows, f"an image's file name that does not leave the folder {folder}", names)


def odd_boxes(boxes: Floats, sizes: Ints, extents: Floats) -> dict[str, int]:
    """Gold boxes that real files have and that are kept: counted, for the result."""
    over = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > sizes).any(axis=1)
    counts = {"gold boxes without size": int((extents == 0).sum()), "gold boxes overrunning the image": int(over.sum())}
    return {what: count for what, count in counts.items() if count}
