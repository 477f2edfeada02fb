"""Definitions that people write as TOML: files to pydantic values, with errors in our words."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

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
        Vr1benchError: A field is unknown or has a bad value; names one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _said(model, error, where) from None


def _said(model: type[FrozenModel], error: ValidationError, where: str) -> Vr1benchError:
    """One thing that is wrong."""
    found = error.errors()
    first = next(
        (one for one in found if one["type"] == "extra_forbidden"), found[0]
    )  # a typo, before what it left out
    kind, got = first["type"], first.get("input")
    place, models = _walked(model, first["loc"])
    if kind in ("union_tag_not_found", "union_tag_invalid"):  # one field of a table says what the others may be
        context = first.get("ctx", {})
        place.append(context["discriminator"].strip("'"))
        known = [tag for one in models for tag in _tags(one)]
        if kind == "union_tag_invalid":
            return unknown(f"{'.'.join(place)} of {where}", context["tag"], known)
        return Vr1benchError(f"{where}: {'.'.join(place)}: Field required; expected one of {', '.join(known)}")
    if kind == "extra_forbidden":
        *table, name = place
        inside = f"[{'.'.join(table)}] in " if table else ""
        return unknown(f"field of {inside}{where}", name, dict.fromkeys(n for one in models for n in one.model_fields))
    value = "" if kind == "missing" or isinstance(got, dict) else f", got {got!r}"
    said = first["msg"].removeprefix("Value error, ") + value
    return Vr1benchError(": ".join(part for part in (where, ".".join(place), said) if part))


def _walked(model: type[FrozenModel], loc: Sequence[int | str]) -> tuple[list[str], list[type[FrozenModel]]]:
    """The place that pydantic names, as the file spells it, and what the table there may be.

    Pydantic puts the tag of the table that it tried between the table's name and its fields.
    """
    place: list[str] = []
    models = [model]
    for part in loc:
        tagged = [one for one in models if part in _tags(one)]
        if tagged and len(models) > 1:
            models = tagged
            continue
        place.append(str(part))
        fields = [one.model_fields[part] for one in models if isinstance(part, str) and part in one.model_fields]
        models = [inner for field in fields for inner in _models(field.annotation)] or models
    return place, models


def _models(annotation: Any) -> Iterator[type[FrozenModel]]:  # noqa: ANN401  any type
    """The models inside an annotation: of a union, a list, a mapping's values."""
    if isinstance(annotation, type) and issubclass(annotation, FrozenModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _tags(model: type[FrozenModel]) -> tuple[str, ...]:
    """What the `kind` or `rule` of a table must be for it to be this model."""
    field = model.model_fields.get("kind") or model.model_fields.get("rule")
    return get_args(field.annotation) if field else ()


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
