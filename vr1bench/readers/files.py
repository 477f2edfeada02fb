"""Reading JSON from outside: hostile until shown otherwise, with errors that say what to do next."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, cast

from vr1bench.errors import Vr1benchError


def read_json(path: Path) -> tuple[Any, str]:
    """A JSON file's value and the sha256 of its bytes.

    Raises:
        Vr1benchError: The file is missing, empty, or no JSON.
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
        return json.loads(data), hashlib.sha256(data).hexdigest()
    except (ValueError, RecursionError) as error:
        raise Vr1benchError(f"{path} is not valid JSON ({error}); fetch the file again or repair it") from error


def field(row: Any, name: str, where: str) -> Any:  # noqa: ANN401  any JSON
    """A field that must be there.

    Raises:
        Vr1benchError: The row is no object or lacks the field.
    """
    if not isinstance(row, dict) or name not in row:
        got = f"fields {', '.join(map(str, cast('dict[str, Any]', row)))}" if isinstance(row, dict) else repr(row)[:60]
        raise Vr1benchError(f"{where}: expected an object with the field {name!r}, got {got}")
    return cast("dict[str, Any]", row)[name]


def rows(value: Any, where: str) -> list[Any]:  # noqa: ANN401  any JSON
    """A value that must be a list.

    Raises:
        Vr1benchError: It is not.
    """
    if not isinstance(value, list):
        raise Vr1benchError(f"{where}: expected a list, got {type(value).__name__}")
    return cast("list[Any]", value)


def four_numbers(value: Any, where: str) -> list[float]:  # noqa: ANN401  any JSON
    """A box: four finite numbers.

    Raises:
        Vr1benchError: It is anything else; NaN and infinity are refused.
    """
    if (
        not isinstance(value, list)
        or len(cast("list[Any]", value)) != 4
        or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in cast("list[Any]", value))
        or not all(math.isfinite(v) for v in cast("list[float]", value))
    ):
        raise Vr1benchError(f"{where}: expected a box of four finite numbers, got {str(value)[:80]}; repair the file")
    return cast("list[float]", value)


def image_name(value: Any, folder: Path, where: str) -> str:  # noqa: ANN401  any JSON
    """A file name that stays inside its folder.

    Raises:
        Vr1benchError: It is no string, absolute, or climbs out with `..`.
    """
    if not isinstance(value, str) or not value:
        raise Vr1benchError(f"{where}: expected an image's file name, got {value!r}")
    if Path(value).is_absolute() or ".." in Path(value).parts:
        raise Vr1benchError(f"{where}: the file name {value!r} leaves the folder {folder}; refused")
    return value


def size(row: Any, where: str) -> tuple[int, int]:  # noqa: ANN401  any JSON
    """An image's (width, height) in pixels, both positive whole numbers."""
    width, height = field(row, "width", where), field(row, "height", where)
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise Vr1benchError(f"{where}: expected a positive width and height in pixels, got {width!r} x {height!r}")
    return width, height
