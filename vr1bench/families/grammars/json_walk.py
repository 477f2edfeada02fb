"""From a JSON value to its items: which key holds a box, which names it, and where both stand in the text.

All numbers are in the family's own order, as in the lists that it writes; the grammar turns them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from vr1bench.families.grammars.json_keys import POINT_KEYS, SCORE_KEYS, Keys, fold_key
from vr1bench.families.grammars.json_places import NOWHERE, Places
from vr1bench.families.grammars.numbers import NUMBER
from vr1bench.families.reading import Reading, Span

LONGEST_BOX = 2000
"""Characters of a box that is spelled in text."""
DEEPEST = 50
"""Lists and objects inside each other; Python's own bound on calls is not far above."""
NUMERIC = re.compile(rf"\s*+{NUMBER}\s*+")
SEPARATOR = r"(?:\s*+,\s*+|\s++)"
FOUR = SEPARATOR.join([NUMBER] * 4)
SPELLED_BOX = re.compile(rf"\s*+(?:<bbox>|[\[(])?+\s*+{FOUR}\s*+(?:</bbox>|[\])])?+\s*+")


class Entry(NamedTuple):
    """An object that should have a box, valid or not.

    Attributes:
        label: None where it has none.
        box: What should be its box; None where there is none.
        many: How many numbers that should have.
        corners: The keys of its numbers, as written; () where they are a list.
        again: Whether the label is that of the entry before, written once for both.
        score: How sure it says to be; None where it does not.
    """

    label: str | None
    box: Any
    many: int = 4
    corners: tuple[str, ...] = ()
    again: bool = False
    score: float | None = None


def collect(value: Any, reading: Reading, text: str, span: Span, keys: Keys, *, located: bool) -> None:  # noqa: ANN401
    """Adds all of a JSON value that stands at `span`: a list of objects, one object, boxes, or labels with boxes."""
    places = Places(text, span) if located else None
    for entry in _entries(value, keys):
        numbers = numbers_in(entry.box, entry.many, keys)
        if numbers is None:
            reading.broken[_defect(entry)] += 1
            continue
        reading.add(
            numbers,
            entry.label,
            places.find(entry.label, numbers, entry.box, entry.corners, again=entry.again) if places else NOWHERE,
            score=entry.score,
        )


def holds_box(value: Any, keys: Keys, depth: int = 0) -> bool:  # noqa: ANN401  any JSON
    """Whether a value, or one not far inside of it, should be read as boxes."""
    if depth > 4:
        return False
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        return _own_box(mapping, keys) is not None or any(holds_box(v, keys, depth + 1) for v in mapping.values())
    if isinstance(value, list):
        rows = cast("list[Any]", value)
        return is_numbers(rows) or any(holds_box(v, keys, depth + 1) for v in rows)
    return False


def says_nothing(value: Any, keys: Keys, depth: int = 0) -> bool:  # noqa: ANN401  any JSON
    """Whether a value is empty all through, but for labels: `{"objects": []}`, `[{"bbox": null, "label": "dog"}]`."""
    if depth > DEEPEST:
        return False
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        held = [v for key, v in mapping.items() if fold_key(str(key)) not in keys.folded_labels or _label(v) is None]
        return bool(held or not mapping) and all(says_nothing(v, keys, depth + 1) for v in held)
    if isinstance(value, list):
        return all(says_nothing(v, keys, depth + 1) for v in cast("list[Any]", value))
    return value is None


def is_numbers(value: Any) -> bool:  # noqa: ANN401  any JSON
    """Whether a value is a list of numbers and nothing else."""
    return isinstance(value, list) and bool(value) and all(_number(v) is not None for v in cast("list[Any]", value))


def numbers_in(box: Any, count: int, keys: Keys) -> tuple[float, ...] | None:  # noqa: ANN401  any JSON
    """The `count` numbers of a box or point; None where it is none."""
    if isinstance(box, str):
        return _numbers_in_text(box, keys) if count == 4 and len(box) < LONGEST_BOX else None
    if not isinstance(box, list | tuple) or len(cast("Sequence[Any]", box)) != count:
        return None
    values = [_number(v) for v in cast("Sequence[Any]", box)]
    return None if None in values else cast("tuple[float, ...]", tuple(values))


def _numbers_in_text(box: str, keys: Keys) -> tuple[float, ...] | None:
    if keys.spelled and (match := keys.spelled[0].fullmatch(box.strip())):
        return tuple(float(match[group]) for group in keys.spelled[1])
    match = SPELLED_BOX.fullmatch(box)
    return tuple(map(float, match.groups())) if match else None


def _own_box(mapping: Mapping[str, Any], keys: Keys) -> Entry | None:
    """What an object gives as its box or point, without the label; None where it has none."""
    for key in (*keys.box, *POINT_KEYS) if mapping else ():
        if key in mapping:
            box = mapping[key]
            inner = _of_corners(cast("dict[str, Any]", box), keys) if isinstance(box, dict) else None
            return inner or Entry(None, box, 4 if key in keys.box else 2)
    return _of_corners(mapping, keys) or _only_box(mapping, keys)


def _of_corners(mapping: Mapping[str, Any], keys: Keys) -> Entry | None:
    if len(mapping) < 4:
        return None
    folded = {fold_key(str(key)): key for key in mapping}
    names = next((names for names in keys.corners if folded.keys() >= set(names)), ())
    written = tuple(folded[name] for name in names)
    return Entry(None, [mapping[name] for name in written], 4, written) if written else None


def _only_box(mapping: Mapping[str, Any], keys: Keys) -> Entry | None:
    """The only value of four numbers, beside a label or under what is a box's key but for its case."""
    folded = {key: fold_key(str(key)) for key in mapping}
    boxes = [key for key, name in folded.items() if name not in keys.folded_labels and _is_box(mapping[key], keys)]
    if len(boxes) != 1:
        return None
    known = folded[boxes[0]] in keys.folded_box or _label_in(mapping, keys) is not None
    return Entry(None, mapping[boxes[0]]) if known else None


def _is_box(value: Any, keys: Keys) -> bool:  # noqa: ANN401  any JSON
    return all(numbers_in(row, 4, keys) is not None for row in _rows(value))


def _label_in(mapping: Mapping[str, Any], keys: Keys) -> str | None:
    """The label of an object, by the family's key, then the usual ones, then these in other case."""
    for key in keys.labels:
        if key in mapping:
            return _label(mapping[key])
    return next((_label(value) for key, value in mapping.items() if fold_key(str(key)) in keys.folded_labels), None)


def _score_in(mapping: Mapping[str, Any]) -> float | None:
    value = next((_number(mapping[key]) for key in SCORE_KEYS if key in mapping), None)
    return value if value is not None and math.isfinite(value) else None


def _entries(value: Any, keys: Keys, depth: int = 0) -> Iterator[Entry]:  # noqa: ANN401  any JSON
    """Every object that should have a box, valid or not."""
    if depth > DEEPEST:
        yield Entry(None, None)
    elif isinstance(value, dict):
        yield from _object_entries(cast("dict[str, Any]", value), keys, depth)
    elif is_numbers(value):
        yield Entry(None, value)
    elif isinstance(value, list):
        for row in cast("list[Any]", value):
            yield from _entries(row, keys, depth + 1)
    elif value is not None:
        yield Entry(None, None)


def _object_entries(mapping: dict[str, Any], keys: Keys, depth: int) -> Iterator[Entry]:
    """An object with a box, or one whose keys are labels (`{"dog": [[...]]}`) or wrappers (`{"objects": [{...}]}`)."""
    own = _own_box(mapping, keys)
    if own is not None:
        label, score = _label_in(mapping, keys), _score_in(mapping)
        yield from (
            own._replace(label=label, box=row, again=i > 0, score=score) for i, row in enumerate(_rows(own.box))
        )
        return
    holders = {str(name): value for name, value in mapping.items() if holds_box(value, keys)}
    if not holders and not says_nothing(mapping, keys):
        yield Entry(None, None)
    for name, value in holders.items():
        inner = list(_entries(value, keys, depth + 1))
        wrapper = fold_key(name) in (keys.wrappers if len(holders) == 1 else keys.lists)
        if wrapper or any(entry.label is not None for entry in inner):
            yield from inner
        else:  # the key is the name of all that it holds
            yield from (entry._replace(label=name, again=i > 0) for i, entry in enumerate(inner))


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


def _defect(entry: Entry) -> str:
    if entry.box is None:
        return "no box"
    return "not four numbers" if entry.many == 4 else "not two numbers"
