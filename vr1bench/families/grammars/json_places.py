"""Where the items of a JSON value stand in its text: searched forward only, each number that stands apart by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from vr1bench.families.grammars.numbers import NUMBER
from vr1bench.families.reading import Place, Span

NEAR = 2000
"""Characters that are searched for one item: longer ones are no detection."""
QUOTE = "[\"'“”]?+"
BETWEEN = rf"{QUOTE}(?:\s*+,\s*+|\s++){QUOTE}"
LISTED = re.compile(rf"[\[(]\s*+{QUOTE}\s*+{BETWEEN.join([NUMBER] * 4)}\s*+{QUOTE}\s*+[\])]")
"""Four numbers in a list, perhaps each a string."""
KEYED = re.compile(rf"([^\"'“”\n:{{}}\[\],]{{1,40}}+){QUOTE}\s{{0,9}}+:\s{{0,9}}+{QUOTE}\s{{0,9}}+{NUMBER}")
CLOSE = re.compile(r"[\]}]")
NOWHERE = Place((0, 0))


class Places:
    """The places of a value's items, asked for in the order in which they stand."""

    def __init__(self, text: str, span: Span) -> None:
        self.text = text
        self.stop = span[1]
        self.done = span[0]
        """The end of the item before."""
        self.lists = LISTED.finditer(text, *span)
        self.next_list = next(self.lists, None)
        self.keyed = KEYED.finditer(text, *span)
        self.named: tuple[str | None, Span | None] = (None, None)

    def find(
        self, label: str | None, numbers: Sequence[float], box: object, keys: Sequence[str], *, again: bool
    ) -> Place:
        """Where an item stands: its numbers without the keys between them, and its label.

        Args:
            label: As read.
            numbers: In the order of the text, or of `keys`.
            box: As read.
            keys: The keys of the numbers; none where they are a list.
            again: Whether the label is written once for this item and the one before.
        """
        spans = self._under_keys(dict(zip(keys, numbers, strict=True))) if keys else self._in_list(numbers)
        spans = spans or [self._nearby(box)]
        end = max(self.done, spans[-1][1])
        if not again or self.named[0] != label:
            self.named = label, self._name(label, end) if label and len(label) < NEAR else None
        place = Place(spans[0], self.named[1], tuple(spans[1:]))
        self.done = max(end, place.label[1]) if place.label else end
        return place

    def _in_list(self, numbers: Sequence[float]) -> list[Span]:
        while self.next_list and self.next_list.start() < self.done:
            self.next_list = next(self.lists, None)
        match = self.next_list
        return [(match.start(1), match.end(4))] if match and [*map(float, match.groups())] == [*numbers] else []

    def _under_keys(self, numbers: dict[str, float]) -> list[Span]:
        found: dict[str, re.Match[str]] = {}
        for match in self.keyed:
            key = match[1].strip()
            if key in numbers:
                found[key] = match
                if len(found) == 4 and all(float(found[name][2]) == number for name, number in numbers.items()):
                    return sorted(each.span(2) for each in found.values())
        return []

    def _nearby(self, box: object) -> Span:
        """Where a box stands that is written in no usual way."""
        near = min(self.done + NEAR, self.stop)
        if isinstance(box, str) and (begin := self.text.find(box, self.done, near)) >= 0:
            return begin, begin + len(box)
        close = CLOSE.search(self.text, self.done, near)
        return self.done, close.start() if close else near

    def _name(self, label: str, end: int) -> Span | None:
        for name in _quoted(label):
            begin = self.text.find(name, self.done, min(end + 2 * NEAR, self.stop))
            if begin >= 0:
                return begin + 1, begin + len(name) - 1
        return None


def _quoted(label: str) -> Iterator[str]:
    yield json.dumps(label, ensure_ascii=False)
    yield f"'{label}'"
    yield f"“{label}”"
