"""What can be kept of text that is no valid JSON: every object on its own, then every box in brackets.

No tolerant JSON library does this: of eight measured, the fast ones make a box of a number that was cut in its middle,
and the best at mending, json_repair, is quadratic and silent on what it mended (docs/measurements.md).
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from vr1bench.families.grammars.json_keys import POINT_KEYS, Keys, fold_key
from vr1bench.families.grammars.json_walk import SEPARATOR, collect
from vr1bench.families.grammars.numbers import NUMBER
from vr1bench.families.reading import Place, Reading, Span

LONGEST_OBJECT = 2000
"""Characters of one broken object that are worth mending: longer ones are no detection, and mending is not linear."""
MOST_MENDED = 10_000
"""Objects of one broken answer that are worth mending; of more, only those are read that are valid JSON."""
LENIENT = json.JSONDecoder(strict=False)
INSIDE = r'[^{}"]++|"(?:[^"\\]|\\.){0,2000}+"'
FLAT_OBJECT = re.compile(rf"\{{(?:{INSIDE}){{0,64}}+\}}", re.DOTALL)
OBJECT = re.compile(rf"\{{(?:{INSIDE}|\{{(?:{INSIDE}){{0,64}}+\}}){{0,64}}+\}}", re.DOTALL)
"""An object without, or with one level of others inside; bounded: an endless string would be tried from every quote."""
TYPOGRAPHIC = str.maketrans("“”„‘’", '"""\'\'')
COMMENT = re.compile(r"(?<!/)//[^\n\"]*+$", re.MULTILINE)
LONG_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
TRAILING_COMMA = re.compile(r",(\s*[\]}])")
BARE_KEY = re.compile(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)")
PAIR = SEPARATOR.join([NUMBER] * 2)
BARE_BOX = re.compile(
    rf"(?:[\[({{<‹]|<bbox>)\s*+{PAIR}"
    rf"(?:{SEPARATOR}{PAIR}\s*+(?:[\])}}>›]|</bbox>)|"
    rf"\s*+\)\s*+,?+\s*+\(\s*+{PAIR}\s*+\)\s*+<\|box_end\|>)"
)
"""Four numbers in brackets of any kind (GLM's vary), as Doubao writes them, or as Qwen's first models did."""
STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"|(")(?:[^"\\]++|\\.)*+\\?\Z', re.DOTALL)
"""A string, or what is begun of one at the end: from there on no other is tried."""
TAGS = {"<bbox>": "</bbox>", "<|box_start|>": "<|box_end|>"}
REFERENCE = re.compile(r"<\|object_ref_start\|>((?:(?!<\|).)*+)<\|object_ref_end\|>", re.DOTALL)
KEY = re.compile(r"(?:[\"'“]([^\"'“”\n]++)[\"'”]|[{,]\s*+([A-Za-z_]\w*+))\s*+:\s*+\[?\s*\Z")
MARK = r"[*_`\"']{0,3}+"
LINE_NAME = re.compile(
    rf"[\s,;.\])}}]*+(?:[-*•+]\s++|[0-9]{{1,4}}+[.)]\s++)?+{MARK}"
    rf"((?!and\b)[^\W_](?:[^:\uff1a<>\[\](){{}}\"*`]{{0,98}}[^\s:\uff1a<>\[\](){{}}\"*`_'])?){MARK}\s*+[:\uff1a]\s*+{MARK}\s*+"
)
"""A line in front of a box that holds nothing but a name: `- **dog**: [1, 2, 3, 4]`."""
NO_NAME = re.compile(
    r"\b(?:outputs?|results?|responses?|detections?|final|json|bbox\w*|sentence|image)\W*\Z", re.IGNORECASE
)
FURTHEST_NAME = 400
"""Characters in front of a box that are searched for its name."""


class Name(NamedTuple):
    """What stands in front of a box.

    Attributes:
        label: The name; None where it is a key that names nothing.
        span: Where the name stands.
        loose: Whether it is words that may hold more than a name.
        key: Whether it is the key of a box.
    """

    label: str | None = None
    span: Span | None = None
    loose: bool = False
    key: bool = False


NAMELESS = Name()


def read_pieces(body: str, reading: Reading, keys: Keys, *, located: bool) -> None:
    """Adds every object of text that is no valid JSON, or, where there is none, every box in brackets."""
    reading.mended = True
    reading.cut = _ends_inside(body)
    left = MOST_MENDED
    for match in OBJECT.finditer(body):
        left -= 1
        value = _tolerant(match.group(), mend=left >= 0)
        if isinstance(value, dict):
            collect(value, reading, body, match.span(), keys, located=located)
            continue
        inner = [*FLAT_OBJECT.finditer(body, match.start() + 1, match.end())]  # one object may not void those inside
        for part in inner or [match]:
            left -= 1
            value = _tolerant(part.group(), mend=left >= 0) if inner else None
            if isinstance(value, dict):
                collect(value, reading, body, part.span(), keys, located=located)
            elif not _rough(part.span(), reading, body, keys):
                reading.broken["unreadable item"] += 1
    if not reading.numbers and not reading.points and not reading.broken:
        read_boxes(body, reading, keys)


def read_boxes(body: str, reading: Reading, keys: Keys) -> None:
    """Adds lists of four numbers; a name in front of one is that of those that follow.

    In an object that was begun and not closed, a box is given up where its label is missing or may be cut.
    """
    name = NAMELESS
    end = 0
    inside = False
    begun = {opening: body.count(opening) for opening in TAGS}
    for numbers, span, outer in _boxes(body, keys, 0, len(body)):
        for opening in TAGS:
            begun[opening] -= body.startswith(opening, outer[0]) or body.startswith(opening, outer[0] - len(opening))
        inside = _inside_object(body, end, outer[0], before=inside)
        name = name_before(body, end, outer[0], keys) or (
            NAMELESS if name.loose and _words(body, end, outer[0]) else name
        )
        end = outer[1]
        if inside and reading.mended and keys.labelled and (name.key or keys.label_next.match(body, end)):
            reading.broken["unreadable item"] += not reading.cut
            continue
        reading.add(numbers, name.label, Place(span, name.span), loose=name.loose)
    for opening, closing in TAGS.items():
        if begun[opening] > 0 and body.find(closing, max(body.rfind(opening), end)) < 0 <= body.find(opening, end):
            reading.cut = True
            begun[opening] -= 1
        reading.broken["not four numbers"] += max(begun[opening], 0)
    reading.broken = +reading.broken


def name_before(body: str, start: int, end: int, keys: Keys) -> Name | None:
    """What stands at the end of a gap: a key, Qwen's reference, or a line that is a name; None where nothing does."""
    start = max(start, end - FURTHEST_NAME)
    if key := KEY.search(body, start, end):
        return _named(key, keys)
    if "<|" in body[start:end]:
        reference = REFERENCE.match(body, max(body.rfind("<|object_ref_start|>", start, end), start), end)
        none = NAMELESS if "<|object_ref" in body[start:end] else None
        return Name(reference[1].strip(), reference.span(1)) if reference else none
    stop = start + len(body[start:end].rstrip(" \t\r\n[("))
    line = LINE_NAME.fullmatch(body, max(start, body.rfind("\n", start, stop) + 1), stop)
    return _named(line, keys, loose=True) if line and keys.labelled and not NO_NAME.search(line[1]) else None


def _named(match: re.Match[str], keys: Keys, *, loose: bool = False) -> Name:
    group = match.lastindex or 1
    folded = fold_key(match[group])
    if folded in keys.wrappers or match[group] in POINT_KEYS:
        return Name(key=folded in keys.folded_box)
    return Name(match[group], match.span(group), loose)


def _words(body: str, start: int, end: int) -> bool:
    return any(map(str.isalnum, body[start:end]))


def _inside_object(body: str, start: int, end: int, *, before: bool) -> bool:
    """Whether the last brace of a gap opens an object; as before it where it has none."""
    opening, closing = body.rfind("{", start, end), body.rfind("}", start, end)
    return before if opening == closing else opening > closing


def _boxes(body: str, keys: Keys, start: int, end: int) -> Iterator[tuple[tuple[float, ...], Span, Span]]:
    """Boxes in brackets, or, where there are any, as the family spells them: numbers, where they stand, and all of it.

    A spelling without marks around the numbers is none to be found in text: its last number may be cut.
    """
    plain = BARE_BOX.fullmatch(keys.example)
    usual = not keys.framed or (plain is not None and _found(plain)[0] == (1, 2, 3, 4))
    pattern, groups = keys.spelled or (BARE_BOX, ())
    own = [] if usual else [_found(match, groups) for match in pattern.finditer(body, start, end)]
    return iter(own) if own else map(_found, BARE_BOX.finditer(body, start, end))


def _found(match: re.Match[str], groups: Sequence[int] = ()) -> tuple[tuple[float, ...], Span, Span]:
    written = [match[group] for group in groups] or match.groups()
    numbers = tuple(float(number) for number in written if number is not None)
    return numbers, (match.start(1), match.end(match.lastindex or 4)), match.span()


def _rough(span: Span, reading: Reading, body: str, keys: Keys) -> bool:
    """An object that nothing can parse, but that holds just one list of four numbers, and perhaps a label key."""
    boxes = [*islice(_boxes(body, keys, *span), 2)]
    if len(boxes) != 1:
        return False
    numbers, place, _ = boxes[0]
    label = keys.rough_label.search(body, *span)
    group = label.lastindex if label else None
    name, where = (label[group].strip(), label.span(group)) if label and group else (None, None)
    reading.add(numbers, name, Place(place, where))
    return True


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


def _ends_inside(body: str) -> bool:
    """True where brackets opened outside of strings are not closed at the end."""
    bare = STRING.sub(r"\1", body).strip()
    closed = bare.startswith("[") and bare.endswith("]")  # then a brace too many is a slip, not a cut
    braces = bare.count("{") > bare.count("}") and not closed
    return braces or bare.count("[") > bare.count("]") or '"' in bare
