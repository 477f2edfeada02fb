"""`vr1bench.parse`: the one box parser for a single text, without a benchmark around it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ConfigDict, Field

from vr1bench.definitions import validated
from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES, Family
from vr1bench.types import Completion, FrozenModel, Prediction, Request, Sampling


class _Row(FrozenModel):
    """A line; what else it holds is somebody's own. A null is as good as nothing."""

    model_config = ConfigDict(extra="ignore", strict=True)

    text: str
    width: int | None = Field(default=None, gt=0)
    height: int | None = Field(default=None, gt=0)
    fed_width: int | None = Field(default=None, gt=0)
    fed_height: int | None = Field(default=None, gt=0)
    queries: list[str] | None = None


def parse(
    text: str,
    *,
    family: str,
    size: tuple[int, int],
    input_size: tuple[int, int] | None = None,
    queries: Sequence[str] = (),
) -> Prediction:
    """Reads a model's answer.

    Args:
        text: What the model said, thinking and fences included.
        family: Name of the family whose grammar and frame it uses, or the path of its TOML file.
        size: (width, height) of the original image in pixels; boxes come back in this frame.
        input_size: (width, height) at which the model was fed; None takes the family's own resize of `size`.
        queries: The names that were asked; without any, no label counts as unknown.

    Raises:
        Vr1benchError: The family is unknown or a size is not positive. No text raises.
    """
    return _read(text, FAMILIES[family], size, input_size, queries)


def _read(
    text: str, family: Family, size: tuple[int, int], input_size: tuple[int, int] | None, queries: Sequence[str]
) -> Prediction:
    for name, pair in (("size", size), ("input_size", input_size or size)):
        if len(pair) != 2 or min(pair) <= 0:
            raise Vr1benchError(f"{name}: expected a positive (width, height) in pixels, got {pair}")
    try:
        fed = input_size or family.fed_size(*size, None)
    except ValueError as error:
        raise Vr1benchError(f"size {size}: {error}; pass input_size") from error
    request = Request("", "", (), *size, tuple(queries), (), Sampling())
    prediction = family.parse(Completion(text=text, fed_width=fed[0], fed_height=fed[1]), request)
    if not queries:
        prediction.unknown[:] = False
    return prediction


def parse_lines(
    lines: Iterable[str], *, family: str, size: tuple[int, int] | None, queries: Sequence[str] = ()
) -> Iterator[Prediction]:
    """Reads many answers: each line is JSON, a string or an object with `text`.

    Args:
        lines: An object may say its own `width` and `height`, `fed_width` and `fed_height` (pixels), and `queries`.
        family: As in `parse`.
        size: For lines that say none.
        queries: For lines that say none.

    Raises:
        Vr1benchError: The family is unknown, a line is no JSON of that kind, or nothing gives its size; names the line.
    """
    chosen = FAMILIES[family]
    for number, line in enumerate(lines, 1):
        said = line.removeprefix("\ufeff").strip()
        if not said:
            continue
        try:
            prediction = _read_line(said, chosen, size, queries)
        except Vr1benchError as error:
            raise Vr1benchError(f"line {number}: {error}") from error
        yield prediction


def _read_line(line: str, family: Family, size: tuple[int, int] | None, queries: Sequence[str]) -> Prediction:
    row = _row(line)
    own = _size(row, "width", "height") or size
    if own is None:
        raise Vr1benchError("no width and height; expected them here or as --size")
    fed = _size(row, "fed_width", "fed_height")
    return _read(row.text, family, own, fed, queries if row.queries is None else row.queries)


def as_json(prediction: Prediction) -> str:
    """A Prediction on one line of JSON: what was read, without the text."""
    found, points = prediction.detections, prediction.points
    row: dict[str, Any] = {
        "status": str(prediction.status),
        "boxes": found.boxes.tolist(),
        "labels": found.labels.tolist(),
        "scores": found.scores.tolist(),
        "unknown": prediction.unknown.tolist(),
        "duplicate": prediction.duplicate.tolist(),
        "broken": dict(prediction.broken),
    }
    if points is not None:
        row |= {"points": points.xy.tolist(), "point_labels": points.labels.tolist()}
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="replace").decode()  # half a surrogate pair can be no label of a file


def _row(line: str) -> _Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Vr1benchError(f"not valid JSON: {error}") from error
    row = {"text": row} if isinstance(row, str) else row
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise Vr1benchError(f'expected a JSON string, or an object with "text", got {line[:60]}')
    return validated(_Row, row, "")


def _size(row: _Row, width: str, height: str) -> tuple[int, int] | None:
    pair = getattr(row, width), getattr(row, height)
    if pair == (None, None):
        return None
    if None in pair:
        raise Vr1benchError(f"{width} and {height}: expected two whole numbers of pixels, got {pair}")
    return pair
