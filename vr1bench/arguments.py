"""Arguments of the command line as values: `k=v` lists and TOML configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from vr1bench.errors import Vr1benchError

ALIASES = {
    "--tasks": "--suite",
    "--model-args": "--engine-args",
    "--gen-kwargs": "--gen-args",
    "--output-path": "--output",
}
"""lm-evaluation-harness's names for the same things; `_` and `-` are one in every option."""

WHAT = {"--suite", "--benchmark"}
"""Two ways to say what to run: either on the command line replaces both in a file."""


def normalised(arguments: Sequence[str]) -> list[str]:
    """Arguments with lm-eval's names and underscores turned to ours; values are left alone."""
    plain: list[str] = []
    for argument in arguments:
        if not argument.startswith("--"):
            plain.append(argument)
            continue
        name, equals, value = argument.partition("=")
        name = name.replace("_", "-")
        plain.append(ALIASES.get(name, name) + equals + value)
    return plain


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, Any]:
    """`["a=1,b=true", "c=[2]"]` as `{"a": 1, "b": True, "c": [2]}`; a later one wins.

    Values are read as JSON where they are JSON, else kept as text. A comma inside brackets or quotes splits nothing.

    Raises:
        Vr1benchError: A part holds no `=`.
    """
    found: dict[str, Any] = {}
    for text in texts or ():
        for part in _split(text):
            name, equals, value = part.partition("=")
            if not equals or not name.strip():
                raise Vr1benchError(f"{option} {part!r}: expected name=value")
            found[name.strip()] = _value(value)
    return found


def with_config(arguments: list[str]) -> list[str]:
    """Arguments with the options of `--config FILE` put before them, so that the command line wins.

    Raises:
        Vr1benchError: The file is missing or no TOML.
    """
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--config" and (equals or place + 1 < len(arguments)):
            path = Path(value if equals else arguments[place + 1])
            rest = arguments[:place] + arguments[place + (1 if equals else 2) :]
            return rest[:1] + _options(path, rest) + rest[1:]
    return arguments


def _options(path: Path, given: Sequence[str]) -> list[str]:
    """A TOML's entries as options; those that the command line names are left out, so that lists do not add up."""
    from vr1bench.definitions import read_toml

    named = {argument.partition("=")[0] for argument in given}
    if named & WHAT:
        named |= WHAT
    options: list[str] = []
    for name, value in read_toml(path).items():
        (option,) = normalised([f"--{name}"])
        if isinstance(value, dict):  # added up: what the command line says comes later and wins
            options += [part for k, v in cast("dict[str, Any]", value).items() for part in (option, f"{k}={_text(v)}")]
        elif option in named:
            continue
        elif isinstance(value, bool):
            options += [option] if value else []
        else:
            options += [part for v in (value if isinstance(value, list) else [value]) for part in (option, str(v))]
    return options


def _text(value: Any) -> str:  # noqa: ANN401  any TOML
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:  # noqa: ANN401  any JSON
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _split(text: str) -> list[str]:
    """Parts between commas that stand outside of brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for place, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted and char in "[{(":
            depth += 1
        elif not quoted and char in "]})":
            depth -= 1
        elif char == "," and not quoted and depth <= 0:
            parts.append(text[start:place])
            start = place + 1
    return [part for part in [*parts, text[start:]] if part.strip()]


def pixels(text: str, option: str) -> tuple[int, int] | None:
    """`640x480` as (width, height); None where nothing was given.

    Raises:
        Vr1benchError: It is not two whole numbers above 0.
    """
    if not text:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,5})[xX]([1-9][0-9]{0,5})", text)
    if not match:
        raise Vr1benchError(f"{option} {text}: expected WIDTHxHEIGHT in pixels, such as 640x480")
    return int(match[1]), int(match[2])
