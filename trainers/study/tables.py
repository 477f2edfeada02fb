"""Rows of one kind as CSV files, written whole: what is reported, and what tables and figures are drawn from."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar

from vr1bench.errors import Vr1benchError
from vr1bench.store import write_text

Kind = TypeVar("Kind")
_READ: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "float | None": lambda text: float(text) if text else None,
}
"""How a field is read, by its annotation."""


def write(path: Path, kind: type[Any], rows: Sequence[Any]) -> None:
    """Writes rows, numbers to eight digits, None as nothing.

    Args:
        path: The file.
        kind: A dataclass of strings, ints, floats, and floats or None; its fields are the columns.
        rows: Of that kind.

    Raises:
        Vr1benchError: It cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(kind))
    table.writerows(map(_shown, astuple(row)) for row in rows)
    write_text(path, text.getvalue())


def read(path: Path, kind: type[Kind]) -> list[Kind]:
    """The rows of a file; [] where there is none.

    Raises:
        Vr1benchError: It holds other columns, or something that is no number where one belongs.
    """
    try:
        with path.open(newline="") as file:
            lines = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    columns = {field.name: _READ[str(field.type)] for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    try:
        return [kind(**{name: convert(line[name]) for name, convert in columns.items()}) for line in lines]
    except (KeyError, ValueError, TypeError) as error:
        raise Vr1benchError(
            f"{path} is not as it was written ({error!r}); expected the columns {', '.join(columns)}: restore it from "
            "git, or write it anew"
        ) from error


def _shown(value: object) -> str:
    return "" if value is None else f"{value:.8g}" if isinstance(value, float) else str(value)
