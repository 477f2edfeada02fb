"""Reading JSON from outside: hostile until shown otherwise, with errors that say what to do next.

Typed decoding (msgspec) reads the fields that count, skips the rest without building it (COCO's polygons are most of
its file), refuses NaN, and names the place of what is wrong.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np

from vr1bench.boxes import area
from vr1bench.errors import Vr1benchError
from vr1bench.readers import Files
from vr1bench.types import Bools, Floats, Ints, boxes_of

T = TypeVar("T")
Box = tuple[float, float, float, float]
Side = Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
"""Width or height of an image in pixels."""


Corners = Literal["xywh", "xyxy"]
"""What the four numbers of a box are: x, y, width, height, or x1, y1, x2, y2."""

LONGEST_NAME = 4096
"""Bytes of a file name or an id: Linux takes no longer path (`PATH_MAX`)."""
LONGEST_TEXT = 20_000
"""Characters of a class name, a phrase, a question: a longer one is a picture in the wrong column."""
LARGEST_BLOCK = 2**30
"""Bytes of one column of texts, where each takes the room of the longest: 536,870 phrases of 500 characters."""
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of characters that UTF-8 cannot write."""
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL, which numpy's strings lose at the end, and halves of characters; questions may hold tabs and line ends."""
_SHOWN = 200
"""Characters of a bad value that a message shows."""
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*(<!--.{0,200}?-->\s*)?<(!doctype\s+html|html|head)\b", re.I | re.S)
HEAD = 512
"""Bytes that are looked at to tell a web page."""


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


def joint_sha256(*digests: str) -> str:
    """The sha256 of what stands in several files: that of their hex digests in a row; of one file its own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def is_web_page(head: bytes) -> bool:
    """Whether a file begins like an HTML page: what a host sends instead of a file that moved or needs a login."""
    return _WEB_PAGE.match(head) is not None


def as_utf8(data: bytes, path: Path | str) -> bytes:
    """The bytes of a JSON text without UTF-8's mark of byte order.

    Raises:
        Vr1benchError: They are a web page, or UTF-16; `path` says where they stood.
    """
    if is_web_page(data[:HEAD]):
        raise Vr1benchError(
            f"{path} is a web page, not JSON; it begins with {data[:60]!r}: the address may have moved or need a "
            "login; open it in a browser and put the real file there"
        )
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Vr1benchError(f"{path} is not valid JSON: it is UTF-16, expected UTF-8; save it as UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)


def decoded(data: bytes, kind: type[T], path: Path | str) -> T:
    """JSON, typed.

    Raises:
        Vr1benchError: It is no JSON, or not of this type; `path` says where it stood.
    """
    try:
        return msgspec.json.decode(as_utf8(data, path), type=kind)
    except msgspec.ValidationError as error:
        raise Vr1benchError(f"{path}: {error}; repair the file") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = ", and holds NaN or Infinity, which no box may be" if b"NaN" in data or b"Infinity" in data else ""
        raise Vr1benchError(f"{path} is not valid JSON ({error}){hint}; fetch the file again or repair it") from error


def refuse(
    path: Path | str, bad: Bools | np.bool_, rows: str, why: str, values: Sequence[object] | Floats | Ints
) -> None:
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
        got = repr(values[first].tolist() if isinstance(values, np.ndarray) else values[first])
        got = got if len(got) <= _SHOWN else f"{got[:_SHOWN]}... ({len(got)} characters)"
        more = f" (and {int(np.sum(bad)) - 1} more)" if np.sum(bad) > 1 else ""
        raise Vr1benchError(f"{path}: {rows}[{first}]: expected {why}, got {got}{more}; repair the file")


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


def read_boxes(path: Path, values: Sequence[Box] | Floats, corners: Corners, rows: str, what: str) -> Floats:
    """Boxes as xyxy, shape (n, 4); none gives (0, 4).

    Args:
        path: The file.
        values: Four numbers a box.
        corners: What they are.
        rows: What a row is called.
        what: What the field is called.

    Raises:
        Vr1benchError: A corner or an area is not finite, or a size is negative.
    """
    raw = boxes_of(values)
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = raw[:, 2:] if corners == "xywh" else raw[:, 2:] - raw[:, :2]
        boxes = np.concatenate([raw[:, :2], raw[:, :2] + raw[:, 2:]], axis=1) if corners == "xywh" else raw
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(sizes.prod(axis=1)) & np.isfinite(area(boxes))
    words = "[x1, y1, x2, y2] with x2 >= x1 and y2 >= y1"
    if corners == "xywh":
        words = "[x, y, width, height] with sizes of 0 or more"
    insane = ~finite | (sizes < 0).any(axis=1)
    refuse(path, insane, rows, f"{what} {words}, corners and area finite", values)
    return boxes


def is_file_below(name: str) -> bool:
    """Whether a file name is a path below a folder, not absolute and not climbing out with `..`; see `is_name`."""
    return is_name(name) and not name.startswith("/") and ".." not in Path(name).parts


def is_name(text: str) -> bool:
    """Whether a text can be a file name or an id: not empty, `LONGEST_NAME`, no control character."""
    return bool(text) and not _CONTROL.search(text) and len(text.encode()) <= LONGEST_NAME


def file_below(folder: Path) -> str:
    """What `is_file_below` expects, for messages."""
    return (
        f"an image's file name that does not leave the folder {folder}, of at most {LONGEST_NAME} bytes and without "
        "control characters"
    )


def refuse_names(path: Path, names: Sequence[str], rows: str, folder: Path) -> None:
    """Refuses a file that names images outside of its folder, or nothing that a file can be called.

    Raises:
        Vr1benchError: See `is_file_below`; or the names take more than `LARGEST_BLOCK`.
    """
    refuse(path, np.array([not is_file_below(name) for name in names], np.bool_), rows, file_below(folder), names)
    _refuse_block(path, names, rows)


def refuse_ids(path: Path, ids: Sequence[str], rows: str) -> None:
    """Refuses ids that two samples could come to share, or that fill the memory.

    Raises:
        Vr1benchError: One is empty, longer than `LONGEST_NAME`, or holds a control character; see `_refuse_block`.
    """
    bad = np.array([not is_name(text) for text in ids], np.bool_)
    refuse(path, bad, rows, f"an id of 1 to {LONGEST_NAME} bytes without control characters", ids)
    _refuse_block(path, ids, rows)


def refuse_labels(path: Path | str, names: Sequence[str], rows: str) -> None:
    """Refuses names of classes that cannot be told apart, or that fill the memory.

    Raises:
        Vr1benchError: One is empty, longer than `LONGEST_TEXT`, or holds a control character; see `_refuse_block`.
    """
    bad = np.array([not name or len(name) > LONGEST_TEXT or bool(_CONTROL.search(name)) for name in names], np.bool_)
    refuse(path, bad, rows, f"a name of 1 to {LONGEST_TEXT} characters without control characters", names)
    _refuse_block(path, names, rows)


def refuse_texts(path: Path | str, texts: Sequence[str], rows: str, what: str, *, blank: bool = False) -> None:
    """Refuses sentences that say nothing, or that fill the memory.

    Args:
        path: The file.
        texts: The sentences.
        rows: What a row is called.
        what: What a text is called, with where it stands.
        blank: Whether one may be blank.

    Raises:
        Vr1benchError: One is blank, longer than `LONGEST_TEXT`, or holds NUL; see `_refuse_block`.
    """
    bad = [len(text) > LONGEST_TEXT or bool(_UNWRITABLE.search(text)) or not (blank or text.strip()) for text in texts]
    length = f"at most {LONGEST_TEXT}" if blank else f"1 to {LONGEST_TEXT}"
    refuse(path, np.array(bad, np.bool_), rows, f"{what} of {length} characters without NUL", texts)
    _refuse_block(path, texts, rows)


def _refuse_block(path: Path | str, texts: Sequence[str], rows: str) -> None:
    """Refuses texts whose column, in which each takes the room of the longest, exceeds `LARGEST_BLOCK`."""
    longest = max(map(len, texts), default=0)
    if len(texts) * longest * 4 > LARGEST_BLOCK:  # numpy keeps four bytes a character
        raise Vr1benchError(
            f"{path}: {rows}: {len(texts)} texts of up to {longest} characters take {len(texts) * longest * 4} bytes "
            f"as a column; expected at most {LARGEST_BLOCK}: shorten the longest, or split the file"
        )


def plain_ids(ids: Sequence[int]) -> Ints:
    """Annotation ids, shape (n,); those beyond 64 bits become -1, for all that is ever asked is whether one is 0."""
    return np.fromiter((i if -(2**63) <= i < 2**63 else -1 for i in ids), np.int64, len(ids))


def odd_boxes(boxes: Floats, sizes: Ints, extents: Floats) -> dict[str, int]:
    """Gold boxes that real files have and that are kept: counted, for the result."""
    over = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > sizes).any(axis=1)
    counts = {"gold boxes without size": int((extents == 0).sum()), "gold boxes overrunning the image": int(over.sum())}
    return {what: count for what, count in counts.items() if count}
