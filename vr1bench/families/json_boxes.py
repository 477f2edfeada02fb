"""The JSON grammar: a list of objects, each with a box and mostly a label, in a fence, in prose, or bare.

Reads strictly first and tolerantly after: a whole JSON value, else every `{...}` on its own, so that one broken item
or a cut end does not void the answer. Never guesses the frame: the numbers come back as written.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from vr1bench.families.reading import Item, Reading, Span, plain_number
from vr1bench.types import Floats

BOX_KEYS = ("bbox_2d", "bbox", "box", "bounding_box", "coordinates")
LABEL_KEYS = ("label", "category", "name", "class", "object", "description", "phrase")
FENCE = re.compile(r"```[a-zA-Z0-9]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
FLAT_OBJECT = re.compile(r'\{(?:[^{}"]|"(?:[^"\\\n]|\\.)*")*\}')
COMMENT = re.compile(r"//[^\n\"]*$|/\*.*?\*/", re.MULTILINE | re.DOTALL)
TRAILING_COMMA = re.compile(r",(\s*[\]}])")
BARE_KEY = re.compile(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)")
BARE_BOX = re.compile(
    r"\[\s*(-?\d[\d.eE+-]*)\s*,\s*(-?\d[\d.eE+-]*)\s*,\s*(-?\d[\d.eE+-]*)\s*,\s*(-?\d[\d.eE+-]*)\s*\]"
)


def read(text: str) -> Reading:
    """Items of a JSON answer; spans count in `text`."""
    reading = Reading()
    body = _fenced(text)
    values = _values(body)
    if values is None:
        _read_pieces(body, reading)
    else:
        for value, start in values:
            _collect(value, reading, text, start)
        reading.nothing = not reading.items and any(value in ([], {}, None) for value, _ in values)
    if any(item.label is not None for item in reading.items):
        nameless = [item for item in reading.items if item.label is None]
        reading.items = [item for item in reading.items if item.label is not None]
        reading.broken.update({"no label": len(nameless)} if nameless else {})
    return reading


def _fenced(text: str) -> str:
    """The text with everything outside of code fences blanked, same length; all of it where there is no fence."""
    fences = list(FENCE.finditer(text))
    if not fences:
        return text
    body = [" "] * len(text)
    for match in fences:
        body[match.start(1) : match.end(1)] = match.group(1)
    return "".join(body)


def _values(body: str) -> list[tuple[Any, int]] | None:
    """The JSON values in the text that hold boxes or say that there are none, with their places.

    None where a bracket opens something that is not valid JSON: then only tolerant reading is safe.
    """
    if body.strip() == "null":
        return [(None, 0)]
    decoder = json.JSONDecoder()
    values: list[tuple[Any, int]] = []
    place = 0
    while (match := re.compile(r"[\[{]").search(body, place)) is not None:
        try:
            value, place = decoder.raw_decode(body, match.start())
        except (ValueError, RecursionError):
            return None
        if value in ([], {}) or _holds_box(value):
            values.append((value, match.start()))
    return values


def _read_pieces(body: str, reading: Reading) -> None:
    """Every object on its own, then every bare box: what can be kept of text that is no valid JSON."""
    reading.mended = True
    reading.cut = _ends_inside(body)
    for match in FLAT_OBJECT.finditer(body):
        value = _tolerant(match.group())
        if isinstance(value, dict):
            _object(cast("dict[str, Any]", value), reading, match.span(), body)
        else:
            reading.broken["unreadable item"] += 1
    if not reading.items and not reading.broken:
        _bare_boxes(body, reading)


def _holds_box(value: Any, depth: int = 0) -> bool:  # noqa: ANN401  any JSON
    if depth > 4:
        return False
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        return any(key in mapping for key in BOX_KEYS) or any(_holds_box(v, depth + 1) for v in mapping.values())
    if isinstance(value, list):
        rows = cast("list[Any]", value)
        return _is_numbers(rows) or any(_holds_box(v, depth + 1) for v in rows)
    return False


def _collect(value: Any, reading: Reading, text: str, start: int) -> None:  # noqa: ANN401  any JSON
    """Walks a valid JSON value: a list of objects, one object, a list of boxes, or labels mapped to boxes."""
    cursor = start
    for label, box in _entries(value):
        if box is None:
            reading.broken["no box"] += 1
            continue
        numbers = _numbers(box)
        if numbers is None:
            reading.broken["not four numbers"] += 1
            continue
        span, label_span = _locate(text, cursor, label, box)
        cursor = max(span[1] if label_span is None else min(span[1], label_span[1]), cursor)
        reading.items.append(Item(numbers, label, span, label_span))


def _entries(value: Any) -> Iterator[tuple[str | None, Any]]:  # noqa: ANN401  any JSON
    """Pairs of a label and what should be its box; None where an object has no box."""
    if isinstance(value, dict):
        yield from _object_entries(cast("dict[str, Any]", value))
    elif _is_numbers(value):
        yield None, value
    elif isinstance(value, list):
        for row in cast("list[Any]", value):
            yield from _entries(row)
    elif value is not None:
        yield None, None


def _object_entries(mapping: dict[str, Any]) -> Iterator[tuple[str | None, Any]]:
    """An object with a box, or one whose keys are labels (`{"dog": [[...]]}`) or wrappers (`{"objects": [{...}]}`)."""
    box = next((mapping[key] for key in BOX_KEYS if key in mapping), None)
    if box is not None:
        label = next((_label(mapping[key]) for key in LABEL_KEYS if key in mapping), None)
        yield from ((label, row) for row in _rows(box))
        return
    holders = {name: value for name, value in mapping.items() if _holds_box(value)}
    if not holders and not all(value in (None, []) for value in mapping.values()):
        yield None, None
    for name, value in holders.items():
        for row in [value] if isinstance(value, dict) or _is_numbers(value) else cast("list[Any]", value):
            yield from [(name, row)] if _is_numbers(row) else _entries(row)


def _label(value: Any) -> str | None:  # noqa: ANN401  any JSON
    """A label as text: models write digits bare, and some put it into a list."""
    if isinstance(value, list) and len(cast("list[Any]", value)) == 1:
        value = cast("list[Any]", value)[0]
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _rows(box: Any) -> list[Any]:  # noqa: ANN401  any JSON
    """One box, or the boxes of a list of boxes."""
    if isinstance(box, list):
        rows = cast("list[Any]", box)
        if rows and all(isinstance(row, list) for row in rows):
            return rows
    return [box]


def _is_numbers(value: Any) -> bool:  # noqa: ANN401  any JSON
    return isinstance(value, list) and bool(value) and all(_number(v) is not None for v in cast("list[Any]", value))


def _number(value: Any) -> float | None:  # noqa: ANN401  any JSON
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e300 else float("inf")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None


def _numbers(box: Any) -> tuple[float, float, float, float] | None:  # noqa: ANN401  any JSON
    if not isinstance(box, list | tuple):
        return None
    values = [_number(v) for v in cast("Sequence[Any]", box)]
    if len(values) != 4 or any(v is None for v in values):
        return None
    return cast("tuple[float, float, float, float]", tuple(values))


def _object(value: Mapping[str, Any], reading: Reading, span: Span, text: str) -> None:
    for label, box in _entries(dict(value)):
        numbers = None if box is None else _numbers(box)
        if numbers is None:
            reading.broken["no box" if box is None else "not four numbers"] += 1
            continue
        place = text.find(label, *span) if label else -1
        reading.items.append(Item(numbers, label, span, (place, place + len(label)) if label and place >= 0 else None))


def _locate(text: str, cursor: int, label: str | None, box: Any) -> tuple[Span, Span | None]:  # noqa: ANN401
    """Where an item of valid JSON stands: its box from the first number on, and its label, each searched forward."""
    first = str(cast("list[Any]", box)[0])
    begin = max(text.find(first, cursor), cursor)
    end = text.find("]", begin) + 1 or len(text)
    if not label:
        return (begin, end), None
    quoted = json.dumps(label, ensure_ascii=False)[1:-1]
    place = text.find(f'"{quoted}"', cursor)
    return (begin, end), ((place + 1, place + 1 + len(quoted)) if place >= 0 else None)


def _tolerant(text: str) -> Any:  # noqa: ANN401  any JSON
    """One object with the slips that models make: quotes, trailing commas, comments, bare keys; None if hopeless."""
    for candidate in (text, _mended(text)):
        try:
            return json.loads(candidate)
        except ValueError:
            pass
        try:
            return ast.literal_eval(candidate)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def _mended(text: str) -> str:
    plain = COMMENT.sub("", text)
    return BARE_KEY.sub(r'\1"\2"\3', TRAILING_COMMA.sub(r"\1", plain))


def _bare_boxes(body: str, reading: Reading) -> None:
    for match in BARE_BOX.finditer(body):
        values = tuple(_number(group) for group in match.groups())
        if any(value is None for value in values):
            reading.broken["not four numbers"] += 1
            continue
        numbers = cast("tuple[float, float, float, float]", values)
        reading.items.append(Item(numbers, None, match.span()))


def _ends_inside(body: str) -> bool:
    """True where brackets opened outside of strings are not closed at the end."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", body)
    return bare.count("{") > bare.count("}") or bare.count("[") > bare.count("]") or bare.count('"') % 2 == 1


def write(labels: Sequence[str], boxes: Floats) -> str:
    """The answer as Qwen2.5-VL writes it, on one line and without a fence; `[]` where there is nothing."""
    rows = [
        {"bbox_2d": [plain_number(v) for v in box], "label": label} for label, box in zip(labels, boxes, strict=True)
    ]
    return json.dumps(rows, ensure_ascii=False)
