"""Reading JSON from outside: hostile until shown otherwise, with errors that say what to do next.

Typed decoding (msgspec) reads the fields that count, skips the rest without building it (COCO's polygons are most of
its file), refuses NaN, and names the place of what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Files
from vr1bench.types import Bools, Floats, Ints, boxes_of

T = TypeVar("T")
Box = tuple[float, float, float, float]
Side = Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
"""Width or height of an image in pixels."""


Corners = Literal["xywh", "xyxy"]
"""What the four numbers of a box are: x, y, width, height, or x1, y1, x2, y2."""


class Row(msgspec.Struct, gc=False):
    """One row of a file: only the fields that count."""


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """What a reader must be told; a field without a default must be given."""


O = TypeVar("O", bound=Options)  # noqa: E741


def read_options(source: Files, kind: type[O] = Options) -> O:
    """The split's options, typed.

    Raises:
        Vr1benchError: One is missing, unknown, or has a value that the reader does not know; lists those that it does.
    """
    try:
        return msgspec.convert(dict(source.options), type=kind)
    except msgspec.ValidationError as error:
        known = ", ".join(kind.__struct_fields__) or "none"
        raise Vr1benchError(
            f"{source.annotations}: options of the split: {error}, got {dict(source.options)!r} (the reader knows: "
            f"{known}); mend `options` in the benchmark's TOML"
        ) from None


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        Vr1benchError: It is missing, unreadable or empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected an annotation file") from error
    if not data.strip():
        raise Vr1benchError(
            f"{path} is empty ({len(data)} bytes); expected annotations; a download probably broke off: fetch the file "
            "again"
        )
    return data


def read_json(path: Path, kind: type[T]) -> tuple[T, str]:
    """A JSON file's value, typed, and the sha256 of its bytes.

    Raises:
        Vr1benchError: The file is missing, empty, no JSON, or not of this type.
    """
    data = read_bytes(path)
    return decoded(data, kind, path), hashlib.sha256(data).hexdigest()


def decoded(data: bytes, kind: type[T], path: Path | str) -> T:
    """JSON, typed.

    Raises:
        Vr1benchError: It is no JSON, or not of this type; `path` says where it stood.
    """
    try:
        return msgspec.json.decode(data, type=kind)
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


def converted(value: Any, kind: type[T], path: Path | str, *, strict: bool = True) -> T:  # noqa: ANN401  anything
    """A value from a table or a pickle, typed.

    Args:
        value: Anything.
        kind: The type; fields that it does not name are skipped.
        path: Where it stood, for the message.
        strict: Whether numbers written as text are refused.

    Raises:
        Vr1benchError: It is not of this type.
    """
    try:
        return msgspec.convert(value, type=kind, strict=strict, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise Vr1benchError(f"{path}: {error}; repair the file, or name the reader of its format") from error


def read_boxes(path: Path, values: Sequence[Box], corners: Corners, rows: str, what: str) -> Floats:
    """Boxes as xyxy, shape (n, 4); none gives (0, 4).

    Args:
        path: The file.
        values: Four numbers a box.
        corners: What they are.
        rows: What a row is called.
        what: What the field is called.

    Raises:
        Vr1benchError: A box is not finite, or has a negative size.
    """
    boxes = boxes_of(values)
    if corners == "xywh":
        boxes[:, 2:] += boxes[:, :2]
    insane = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    words = "[x1, y1, x2, y2] with x2 >= x1 and y2 >= y1"
    if corners == "xywh":
        words = "[x, y, width, height] with sizes of 0 or more"
    refuse(path, insane, rows, f"{what} {words}, finite", values)
    return boxes


def leaves_folder(name: str) -> bool:
    """Whether a file name is no path below a folder: empty, absolute, or climbing out with `..`."""
    return not name or name.startswith("/") or "\0" in name or ".." in Path(name).parts


def refuse_names(path: Path, names: Sequence[str], rows: str, folder: Path) -> None:
    """Refuses a file that names images outside of its folder, or nothing.

    Raises:
        Vr1benchError: A name is empty, absolute, or climbs out with `..`.
    """
    bad = np.array([leaves_folder(name) for name in names], np.bool_)
    refuse(path, bad, rows, f"an image's file name that does not leave the folder {folder}", names)


def plain_ids(ids: Sequence[int]) -> Ints:
    """Annotation ids, shape (n,); those beyond 64 bits become -1, for all that is ever asked is whether one is 0."""
    return np.fromiter((i if -(2**63) <= i < 2**63 else -1 for i in ids), np.int64, len(ids))


def odd_boxes(boxes: Floats, sizes: Ints, extents: Floats) -> dict[str, int]:
    """Gold boxes that real files have and that are kept: counted, for the result."""
    over = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > sizes).any(axis=1)
    counts = {"gold boxes without size": int((extents == 0).sum()), "gold boxes overrunning the image": int(over.sum())}
    return {what: count for what, count in counts.items() if count}
