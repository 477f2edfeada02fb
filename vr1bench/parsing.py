"""`vr1bench.parse`: the one box parser for a single text, without a benchmark around it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.types import Completion, Prediction, Request, Sampling


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
    chosen = FAMILIES[family]
    for name, pair in (("size", size), ("input_size", input_size or size)):
        if len(pair) != 2 or min(pair) <= 0:
            raise Vr1benchError(f"{name}: expected a positive (width, height) in pixels, got {pair}")
    try:
        fed = input_size or chosen.fed_size(*size, None)
    except ValueError as error:
        raise Vr1benchError(f"size {size}: {error}; pass input_size") from error
    request = Request("", "", (), *size, tuple(queries), (), Sampling())
    prediction = chosen.parse(Completion(text=text, fed_width=fed[0], fed_height=fed[1]), request)
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
        Vr1benchError: A line is no JSON of that kind, or nothing gives its size; names the line.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _row(line, number)
        own = _size(row, "width", "height", number) or size
        if own is None:
            raise Vr1benchError(f"line {number}: no width and height; expected them here or as --size")
        fed = _size(row, "fed_width", "fed_height", number)
        yield parse(row["text"], family=family, size=own, input_size=fed, queries=row.get("queries", queries))


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
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def _row(line: str, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise Vr1benchError(f"line {number}: not valid JSON: {error}") from error
    row = {"text": row} if isinstance(row, str) else row
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise Vr1benchError(f'line {number}: expected a JSON string, or an object with "text", got {line.strip()[:60]}')
    return row


def _size(row: Mapping[str, Any], width: str, height: str, number: int) -> tuple[int, int] | None:
    if width not in row and height not in row:
        return None
    pair = row.get(width), row.get(height)
    if not all(isinstance(value, int) for value in pair):
        raise Vr1benchError(f"line {number}: {width} and {height}: expected two whole numbers of pixels, got {pair}")
    return pair  # type: ignore[return-value]
