"""The JSON grammar: a list of objects, each with a box and mostly a label, in a fence, in prose, or bare.

Three readers, from strict to tolerant, each for what the one before it does not know: a list of plain objects (what
nearly every answer is), whole or cut; any valid JSON (json_walk); and pieces of text that is no valid JSON
(json_salvage), so that one broken item does not void the answer. Never guesses the frame: the numbers come back as
written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, cast

import msgspec

from vr1bench.families.grammars.json_keys import BOX_KEYS, LABEL_KEYS, Keys
from vr1bench.families.grammars.json_salvage import name_before, read_boxes, read_pieces
from vr1bench.families.grammars.json_walk import collect, holds_box, is_numbers, says_nothing
from vr1bench.families.reading import Reading, Span, plain_number
from vr1bench.types import Floats, FrozenModel

FENCE_BEGIN = re.compile(r"```[a-zA-Z0-9]*+[ \t]*+\n")
FENCE = re.compile(r"```[a-zA-Z0-9]*+[ \t]*+\n?(.*?)(?:```|\Z)", re.DOTALL)
VALUE = re.compile(r"\{|\[(?!\s*+[A-Za-z(<])")
"""Where JSON may begin; `[x1, y1, x2, y2]` in prose about the format does not."""
BEGUN = re.compile(r"\s*+(?:,\s*+(?:\{[^{}]*+)?)?\Z")
"""What a cut leaves behind the last whole object."""
ESCAPED_END = re.compile(r'\\"(?=\s*+[:,}\]])')
STRUCTURE_TAG = re.compile(r"<(?=/?(?:think|thinking|answer)>)", re.IGNORECASE)
NULL = re.compile(r"\s*+null\s*+(?:<[|/\w]{1,30}>\s*+)*+")
"""Perhaps with the tokens that end an answer."""


class JsonGrammar(FrozenModel):
    """Objects as JSON; every usual key is read, these are written.

    Attributes:
        order: Of the four numbers in a list; corner keys say theirs by themselves.
        box_key: Holds the box; "" writes bare lists.
        label_key: Holds the label; "" where the family writes none.
        corners: Four keys instead of a list, left, top, right, bottom.
        inside: The key of an object around the list.
        spelling: How a box is spelled where it is no list but text: `<bbox>{x1} {y1} {x2} {y2}</bbox>`.
    """

    kind: Literal["json"]
    order: Literal["xyxy", "yxyx"] = "xyxy"
    box_key: str = "bbox_2d"
    label_key: str = "label"
    corners: tuple[str, str, str, str] | None = None
    inside: str = ""
    spelling: str = ""

    @property
    def labelled(self) -> bool:
        """Whether an answer names its objects."""
        return bool(self.label_key)

    def read(self, text: str, located: bool = False) -> Reading:
        """Items of an answer; their places count in `text`, and are only looked for where `located` asks for them."""
        reading = (None if located else _whole_list(text, *_only_fence(text), self._decoder)) or _structured(
            text, self._keys, located=located
        )
        if self.order == "yxyx":
            reading.numbers = [(x1, y1, x2, y2) for y1, x1, y2, x2 in reading.numbers]
            reading.points = [((x, y), label) for (y, x), label in reading.points]
        unlabelled = reading.labels.count(None)
        if 0 < unlabelled < len(reading.labels):
            reading.broken["no label"] += unlabelled
            reading.keep([row for row, label in enumerate(reading.labels) if label is not None])
        return reading

    @cached_property
    def _keys(self) -> Keys:
        swapped = self.order == "yxyx"
        return Keys(self.box_key, self.label_key, self.corners, self.spelling, self.inside, swapped=swapped)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[list[Any]]:
        """Reads objects of the family's own two keys and nothing else."""
        box = tuple[float, float, float, float]
        names = {"box": self.box_key or BOX_KEYS[0], "label": self.label_key or LABEL_KEYS[0]}
        row = msgspec.defstruct(
            "Row", [("box", box), ("label", str | None, None)], rename=names, forbid_unknown_fields=True, gc=False
        )
        return msgspec.json.Decoder(list[row])

    def write(self, labels: Sequence[str], boxes: Floats) -> str:
        """The answer on one line and without a fence; an empty list where there is nothing."""
        rows = [self._row(label, box) for label, box in zip(labels, boxes.tolist(), strict=True)]
        text = json.dumps({self.inside: rows} if self.inside else rows, ensure_ascii=False)
        # A label that holds `</answer>` would end the answer: JSON has an escape for that.
        return STRUCTURE_TAG.sub(r"\\u003c", text)

    def _row(self, label: str, box: Sequence[float]) -> Any:  # noqa: ANN401  any JSON
        x1, y1, x2, y2 = map(plain_number, box)
        named = {self.label_key: label} if self.label_key else {}
        if self.corners:
            return {**dict(zip(self.corners, (x1, y1, x2, y2), strict=True)), **named}
        numbers: Any = [x1, y1, x2, y2] if self.order == "xyxy" else [y1, x1, y2, x2]
        if self.spelling:
            numbers = self.spelling.format(x1=x1, y1=y1, x2=x2, y2=y2)
        return {self.box_key: numbers, **named} if self.box_key else numbers


JSON = JsonGrammar(kind="json")
"""What models of other grammars use when they are asked for JSON."""


def _structured(text: str, keys: Keys, *, located: bool) -> Reading:
    """Any valid JSON, else pieces; inside of fences first."""
    if '{\\"' in text and '{"' not in text:  # JSON inside of a JSON string; a space for each backslash keeps the places
        text = ESCAPED_END.sub('" ', text).replace('\\"', ' "')
    body = _fenced(text)
    reading = _read_body(body, keys, located=located)
    if body is not text and not reading.numbers and not reading.points and not reading.nothing:
        return _read_body(text, keys, located=located)
    return reading


def _whole_list(text: str, start: int, end: int, decoder: msgspec.json.Decoder[list[Any]]) -> Reading | None:
    """A list of plain objects in the family's own keys, or what a cut left of one; None for anything else."""
    body = text[start:end].strip()
    cut = not body.endswith("]")
    if cut:  # up to the last whole object; nothing but one more object may have been begun behind it
        last = body.rfind("}") + 1
        if not last or "]" in body[last:].rpartition("{")[0] or not BEGUN.match(body, last):
            return None
        body = body[:last] + "]"
    try:
        rows = decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return Reading([row.box for row in rows], [row.label for row in rows], cut=cut, mended=cut, nothing=not rows)


def _only_fence(text: str) -> tuple[int, int]:
    """Where the content of the one fence in the text stands, or all of the text; (0, 0) where it is not as simple."""
    first = text.find("```")
    if first < 0:
        return 0, len(text)
    opening = FENCE_BEGIN.match(text, first)
    begin = opening.end() if opening else 0
    second = text.find("```", first + 3)
    end = len(text) if second < 0 else second
    return (begin, end) if 0 < begin <= end and text.find("```", end + 3) < 0 else (0, 0)


def _read_body(body: str, keys: Keys, *, located: bool) -> Reading:
    reading = Reading()
    values = _values(body, keys)
    if values is None:
        read_pieces(body, reading, keys, located=located)
        return reading
    end = 0
    for value, span in values:
        rows = len(reading.numbers)
        collect(value, reading, body, span, keys, located=located)
        if _bare(value):
            _name_rows(rows, (end, span[0]), reading, body, keys)
        end = span[1]
    if not values:
        read_boxes(body, reading, keys)
    reading.nothing = bool(values) and not reading.numbers and not reading.points and not reading.broken
    return reading


def _bare(value: Any) -> bool:  # noqa: ANN401  any JSON
    """Whether a value is a box, or a list of boxes, and nothing else."""
    return is_numbers(value) or (isinstance(value, list) and all(map(is_numbers, cast("list[Any]", value))))


def _name_rows(first: int, gap: Span, reading: Reading, body: str, keys: Keys) -> None:
    """Names bare boxes from row `first` on by what stands in front of them: `dog: [1, 2, 3, 4]`."""
    name = name_before(body, *gap, keys)
    if name is None and first and not any(map(str.isalnum, body[slice(*gap)])):  # one more of the same name
        label, loose, span = reading.labels[first - 1], reading.loose[first - 1], reading.places[first - 1].label
    else:
        label, loose, span = (name.label, name.loose, name.span) if name else (None, False, None)
    for row in range(first, len(reading.numbers)):
        reading.labels[row], reading.loose[row] = label, loose
        reading.places[row] = reading.places[row]._replace(label=span)


def _fenced(text: str) -> str:
    """The text with everything outside of code fences blanked, same length; all of it where there is no fence."""
    if "```" not in text:
        return text
    parts: list[str] = []
    place = 0
    for match in FENCE.finditer(text):
        parts += (" " * (match.start(1) - place), match.group(1))
        place = match.end(1)
    parts.append(" " * (len(text) - place))
    return "".join(parts)


def _values(body: str, keys: Keys) -> list[tuple[Any, Span]] | None:
    """The JSON values in the text that hold boxes or say that there are none, with their places.

    None where a bracket opens something that is not valid JSON: then only tolerant reading is safe.
    """
    if NULL.fullmatch(body):
        return [(None, (0, 0))]
    decoder = json.JSONDecoder()
    values: list[tuple[Any, Span]] = []
    place = 0
    while (match := VALUE.search(body, place)) is not None:
        try:
            value, place = decoder.raw_decode(body, match.start())
        except (ValueError, RecursionError):
            return None
        if says_nothing(value, keys):
            values += [] if values else [(None, (0, 0))]
        elif holds_box(value, keys):
            values.append((value, (match.start(), place)))
    return values
