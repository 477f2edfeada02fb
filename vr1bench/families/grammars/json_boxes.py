"""The JSON grammar: a list of objects, each with a box and mostly a label, in a fence, in prose, or bare.

Three readers, from strict to tolerant, each for what the one before it does not know: a list of plain objects (what
nearly every answer is), whole or cut; any valid JSON; and pieces of text that is no valid JSON, so that one broken item
does not void the answer. Never guesses the frame: the numbers come back as written.

No tolerant JSON library does the last: of eight measured, the fast ones make a box of a number that was cut in its
middle, and the best at mending, json_repair, is quadratic and silent on what it mended (docs/measurements.md).
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Literal, cast

import msgspec

from vr1bench.families.grammars.numbers import NUMBER
from vr1bench.families.reading import Place, Reading, Span, plain_number
from vr1bench.types import Floats, FrozenModel

BOX_KEYS = ("bbox_2d", "box_2d", "bbox", "box", "bounding_box", "coordinates")
POINT_KEYS = ("point_2d", "point")
CORNER_KEYS = (("x_min", "y_min", "x_max", "y_max"), ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))
LABEL_KEYS = ("label", "category", "name", "class", "object", "description", "phrase")
LONGEST_OBJECT = 2000
"""Characters of one broken object that are worth mending: longer ones are no detection, and mending is not linear."""
MOST_MENDED = 10_000
"""Objects of one broken answer that are worth mending; of more, only those are read that are valid JSON."""
DEEPEST = 50
"""Lists and objects inside each other; Python's own bound on calls is not far above."""
LENIENT = json.JSONDecoder(strict=False)

Entry = tuple[str | None, Any, int]
"""A label, what should be its box (None where there is none), and how many numbers that should have."""

FENCE_BEGIN = re.compile(r"```[a-zA-Z0-9]*+[ \t]*+\n")
FENCE = re.compile(r"```[a-zA-Z0-9]*+[ \t]*+\n?(.*?)(?:```|\Z)", re.DOTALL)
INSIDE = r'[^{}"]++|"(?:[^"\\]|\\.){0,2000}+"'
FLAT_OBJECT = re.compile(rf"\{{(?:{INSIDE}){{0,64}}+\}}", re.DOTALL)
OBJECT = re.compile(rf"\{{(?:{INSIDE}|\{{(?:{INSIDE}){{0,64}}+\}}){{0,64}}+\}}", re.DOTALL)
"""An object without, or with one level of others inside; bounded: an endless string would be tried from every quote."""
VALUE = re.compile(r"\{|\[(?!\s*+[A-Za-z(<])")
"""Where JSON may begin; `[x1, y1, x2, y2]` in prose about the format does not."""
BEGUN = re.compile(r"\s*+(?:,\s*+(?:\{[^{}]*+)?)?\Z")
"""What a cut leaves behind the last whole object."""
TYPOGRAPHIC = str.maketrans("“”„‘’", '"""\'\'')
COMMENT = re.compile(r"(?<!/)//[^\n\"]*+$", re.MULTILINE)
LONG_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
TRAILING_COMMA = re.compile(r",(\s*[\]}])")
BARE_KEY = re.compile(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)")
NUMERIC = re.compile(rf"\s*+{NUMBER}\s*+")
SEPARATOR = r"(?:\s*+,\s*+|\s++)"
FOUR = SEPARATOR.join([NUMBER] * 4)
BARE_BOX = re.compile(rf"(?:[\[({{<‹]|<bbox>)\s*+{FOUR}\s*+(?:[\])}}>›]|</bbox>)")
"""Four numbers in brackets of any kind (GLM's vary), or as Doubao writes them."""
SPELLED_BOX = re.compile(rf"\s*+(?:<bbox>|[\[(])?+\s*+{FOUR}\s*+(?:</bbox>|[\])])?+\s*+")
ROUGH_LABEL = re.compile(
    rf"\b(?:{'|'.join(LABEL_KEYS)})\b[\"']?\s*+:\s*+(?:\"([^\"\n]*)\"|'([^'\n]*)'|(\w[\w .-]*+))\s*+(?=[,}}])"
)
"""A label in an object that is no JSON: what follows its key, up to where an object goes on or ends."""
ESCAPED_END = re.compile(r'\\"(?=\s*+[:,}\]])')
CLOSE = re.compile(r"[\]}]")
STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"|(")(?:[^"\\]++|\\.)*+\\?\Z', re.DOTALL)
"""A string, or what is begun of one at the end: from there on no other is tried."""
GROUP_KEY = re.compile(r"[\"']([^\"'\n]++)[\"']\s*+:\s*+\[?\s*\Z")
STRUCTURE_TAG = re.compile(r"<(?=/?(?:think|thinking|answer)>)", re.IGNORECASE)


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
        reading = (None if located else _whole_list(text, *_only_fence(text), self._decoder)) or _structured(text)
        if self.order == "yxyx":
            reading.numbers = [(x1, y1, x2, y2) for y1, x1, y2, x2 in reading.numbers]
            reading.points = [((x, y), label) for (y, x), label in reading.points]
        unlabelled = reading.labels.count(None)
        if 0 < unlabelled < len(reading.labels):
            reading.broken["no label"] += unlabelled
            reading.keep([row for row, label in enumerate(reading.labels) if label is not None])
        return reading

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


def _structured(text: str) -> Reading:
    """Any valid JSON, else pieces; inside of fences first."""
    if '{\\"' in text and '{"' not in text:  # JSON inside of a JSON string; a space for each backslash keeps the places
        text = ESCAPED_END.sub('" ', text).replace('\\"', ' "')
    body = _fenced(text)
    reading = _read_body(body)
    if body is not text and not reading.numbers and not reading.points and not reading.nothing:
        return _read_body(text)
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


def _read_body(body: str) -> Reading:
    reading = Reading()
    values = _values(body)
    if values is None:
        _read_pieces(body, reading)
        return reading
    for value, span in values:
        _collect(value, reading, body, span)
    if not values:
        _bare_boxes(body, reading)
    reading.nothing = bool(values) and not reading.numbers and not reading.points and not reading.broken
    return reading


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


def _values(body: str) -> list[tuple[Any, Span]] | None:
    """The JSON values in the text that hold boxes or say that there are none, with their places.

    None where a bracket opens something that is not valid JSON: then only tolerant reading is safe.
    """
    if body.strip() == "null":
        return [(None, (0, 0))]
    decoder = json.JSONDecoder()
    values: list[tuple[Any, Span]] = []
    place = 0
    while (match := VALUE.search(body, place)) is not None:
        try:
            value, place = decoder.raw_decode(body, match.start())
        except (ValueError, RecursionError):
            return None
        if _holds_box(value):
            values.append((value, (match.start(), place)))
        elif not values and _says_nothing(value):
            values.append((None, (0, 0)))
    return values


def _read_pieces(body: str, reading: Reading) -> None:
    """Every object on its own, then every bare box: what can be kept of text that is no valid JSON."""
    reading.mended = True
    reading.cut = _ends_inside(body)
    left = MOST_MENDED
    for match in OBJECT.finditer(body):
        left -= 1
        value = _tolerant(match.group(), mend=left >= 0)
        if isinstance(value, dict):
            _collect(value, reading, body, match.span())
            continue
        inner = [*FLAT_OBJECT.finditer(body, match.start() + 1, match.end())]  # one object may not void those inside
        for part in inner or [match]:
            left -= 1
            value = _tolerant(part.group(), mend=left >= 0) if inner else None
            if isinstance(value, dict):
                _collect(value, reading, body, part.span())
            elif not _rough(part.span(), reading, body):
                reading.broken["unreadable item"] += 1
    if not reading.numbers and not reading.points and not reading.broken:
        _bare_boxes(body, reading)


def _rough(span: Span, reading: Reading, body: str) -> bool:
    """An object that nothing can parse, but that holds just one list of four numbers, and perhaps a label key."""
    boxes = [*islice(BARE_BOX.finditer(body, *span), 2)]
    if len(boxes) != 1:
        return False
    label = ROUGH_LABEL.search(body, *span)
    group = label.lastindex if label else None
    name, place = (label[group].strip(), label.span(group)) if label and group else (None, None)
    reading.add(tuple(map(float, boxes[0].groups())), name, Place((boxes[0].start(1), boxes[0].end(4)), place))
    return True


def _holds_box(value: Any, depth: int = 0) -> bool:  # noqa: ANN401  any JSON
    if depth > 4:
        return False
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        return _own_box(mapping) is not None or any(_holds_box(v, depth + 1) for v in mapping.values())
    if isinstance(value, list):
        rows = cast("list[Any]", value)
        return _is_numbers(rows) or any(_holds_box(v, depth + 1) for v in rows)
    return False


def _says_nothing(value: Any) -> bool:  # noqa: ANN401  any JSON
    """An empty list or object, or one whose values are all empty: `{"objects": []}`."""
    if isinstance(value, dict):
        return all(inner in ([], None) for inner in cast("dict[str, Any]", value).values())
    return value == []


def _own_box(mapping: Mapping[str, Any]) -> tuple[Any, int] | None:
    """What an object gives as its box or point, and how many numbers that should have; None where it has none."""
    for key in (*BOX_KEYS, *POINT_KEYS) if mapping else ():
        if key in mapping:
            return mapping[key], 4 if key in BOX_KEYS else 2
    corners = next((keys for keys in CORNER_KEYS if mapping.keys() >= set(keys)), None) if len(mapping) > 3 else None
    return ([mapping[key] for key in corners], 4) if corners else None


def _collect(value: Any, reading: Reading, text: str, span: Span) -> None:  # noqa: ANN401  any JSON
    """Walks a JSON value: a list of objects, one object, a list of boxes, or labels mapped to boxes."""
    written = BARE_BOX.finditer(text, *span)
    match = next(written, None)
    cursor = span[0]
    for label, box, count in _entries(value):
        numbers = _numbers(box, count)
        if numbers is None:
            reading.broken[_defect(box, count)] += 1
            continue
        while match and match.start() < cursor:
            match = next(written, None)
        place = _locate(text, (cursor, span[1]), match, label, box)
        cursor = max(min(part[1] for part in place if part), cursor)
        reading.add(numbers, label, place)


def _entries(value: Any, depth: int = 0) -> Iterator[Entry]:  # noqa: ANN401  any JSON
    """Every object that should have a box, valid or not."""
    if depth > DEEPEST:
        yield None, None, 4
    elif isinstance(value, dict):
        yield from _object_entries(cast("dict[str, Any]", value), depth)
    elif _is_numbers(value):
        yield None, value, 4
    elif isinstance(value, list):
        for row in cast("list[Any]", value):
            yield from _entries(row, depth + 1)
    elif value is not None:
        yield None, None, 4


def _object_entries(mapping: dict[str, Any], depth: int) -> Iterator[Entry]:
    """An object with a box, or one whose keys are labels (`{"dog": [[...]]}`) or wrappers (`{"objects": [{...}]}`)."""
    own = _own_box(mapping)
    if own is not None:
        label = next((_label(mapping[key]) for key in LABEL_KEYS if key in mapping), None)
        yield from ((label, row, own[1]) for row in _rows(own[0]))
        return
    holders = {name: value for name, value in mapping.items() if _holds_box(value)}
    if not holders and not all(value in (None, []) for value in mapping.values()):
        yield None, None, 4
    for name, value in holders.items():
        for row in [value] if isinstance(value, dict) or _is_numbers(value) else cast("list[Any]", value):
            yield from [(str(name), row, 4)] if _is_numbers(row) else _entries(row, depth + 1)


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
        try:
            return float(value)
        except OverflowError:  # an int of 400 digits
            return float("inf")
    if isinstance(value, str):
        return float(value) if NUMERIC.fullmatch(value) else None  # Python's own float() reads more: "1_0"
    return None


def _numbers(box: Any, count: int) -> tuple[float, ...] | None:  # noqa: ANN401  any JSON
    """The `count` numbers of a box or point; None where it is none."""
    if isinstance(box, str) and len(box) < LONGEST_OBJECT and (spelled := SPELLED_BOX.fullmatch(box)):
        box = list(spelled.groups())
    if not isinstance(box, list | tuple):
        return None
    values = [_number(v) for v in cast("Sequence[Any]", box)]
    return None if len(values) != count or None in values else cast("tuple[float, ...]", tuple(values))


def _defect(box: Any, count: int) -> str:  # noqa: ANN401  any JSON
    if box is None:
        return "no box"
    return "not four numbers" if count == 4 else "not two numbers"


def _locate(
    text: str,
    within: Span,
    match: re.Match[str] | None,
    label: str | None,
    box: Any,  # noqa: ANN401  any JSON
) -> Place:
    """Where an item stands: its box from the first number on, and its label, each searched forward and not far.

    Args:
        text: The answer.
        within: What is left of the JSON value.
        match: The first box in brackets there.
        label: As read.
        box: As read.
    """
    cursor, stop = within
    if match is None or [float(n) for n in match.groups()] != box:  # corner keys, or numbers as strings
        near = min(cursor + LONGEST_OBJECT, stop)
        begin = max(text.find(str(box[0]), cursor, near), cursor)
        close = CLOSE.search(text, begin, near)
        end = close.start() if close else near
    else:
        begin, end = match.start(1), match.end(4)
    if label and len(label) < LONGEST_OBJECT:
        quoted = json.dumps(label, ensure_ascii=False)
        for name in (quoted, f"'{label}'", f"“{label}”"):
            place = text.find(name, cursor, min(end + 2 * LONGEST_OBJECT, stop))
            if place >= 0:
                return Place((begin, end), (place + 1, place + len(name) - 1))
    return Place((begin, end))


def _tolerant(text: str, *, mend: bool) -> Any:  # noqa: ANN401  any JSON
    """One object with the slips that models make: quotes, trailing commas, comments, bare keys; None if hopeless."""
    try:
        return LENIENT.decode(text)
    except (ValueError, RecursionError):
        if not mend or len(text) > LONGEST_OBJECT or ":" not in text:
            return None
    for candidate in dict.fromkeys((text, _mended(text), _mended(text.translate(TYPOGRAPHIC)))):
        try:
            return LENIENT.decode(candidate)
        except (ValueError, RecursionError):
            pass
        try:
            with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
                return ast.literal_eval(candidate)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def _mended(text: str) -> str:
    closed = text.rfind("*/") + 2 if "*/" in text else 0
    plain = COMMENT.sub("", LONG_COMMENT.sub(" ", text[:closed]) + text[closed:])
    return BARE_KEY.sub(r'\1"\2"\3', TRAILING_COMMA.sub(r"\1", plain))


def _bare_boxes(body: str, reading: Reading) -> None:
    """Lists of four numbers; a key in front of them names those that follow."""
    label: str | None = None
    end = 0
    for match in BARE_BOX.finditer(body):
        key = GROUP_KEY.search(body, max(end, match.start() - 200), match.start())
        label = (key[1] if key[1] not in (*BOX_KEYS, *POINT_KEYS) else None) if key else label
        end = match.end()
        reading.add(tuple(map(float, match.groups())), label, Place((match.start(1), match.end(4))))
    begun = body.count("<bbox>") - len(reading.numbers)
    if begun > 0 and "<bbox>" in body[end:] and body.find("</bbox>", body.rfind("<bbox>")) < 0:
        reading.cut = True
        begun -= 1
    if begun > 0:
        reading.broken["not four numbers"] += begun


def _ends_inside(body: str) -> bool:
    """True where brackets opened outside of strings are not closed at the end."""
    bare = STRING.sub(r"\1", body).strip()
    closed = bare.startswith("[") and bare.endswith("]")  # then a brace too many is a slip, not a cut
    braces = bare.count("{") > bare.count("}") and not closed
    return braces or bare.count("[") > bare.count("]") or '"' in bare
