"""Definitions that people write as TOML: files to pydantic values, with errors in our words."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from vr1bench.errors import Vr1benchError
from vr1bench.registry import unknown
from vr1bench.types import FrozenModel

M = TypeVar("M", bound=FrozenModel)
SHIPPED = Path(__file__).parent / "_benchmarks"
"""Benchmarks, protocols and suites that come with the package."""


def validated(model: type[M], values: Any, where: str) -> M:  # noqa: ANN401  any TOML
    """A pydantic value, or an error in our words.

    Raises:
        Vr1benchError: A field is unknown or has a bad value; names the first.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown(f"field of {where}", place, model.model_fields) from None
        raise Vr1benchError(f"{where}: {place}: {first['msg']}, got {first.get('input')!r}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file.

    Raises:
        Vr1benchError: It is missing or no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Vr1benchError(f"{path} is not valid TOML: {error}") from error
