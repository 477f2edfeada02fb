"""The text grammars: labels and boxes between tags, brackets, braces or location tokens, or in running words.

A family spells one object by example: `item = "<ref>{label}</ref><box>{box}</box>"`, `box = "({x1},{y1}),({x2},{y2})"`.
The example both writes and reads. Reading finds the boxes first; what stands between two of them says whose they are.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from vr1bench.families.grammars.json_boxes import JSON
from vr1bench.families.grammars.numbers import CORNERS, NUMBER
from vr1bench.families.reading import Place, Reading, Span, plain_number
from vr1bench.types import Floats, FrozenModel

FIELD = re.compile(r"\{(x1|y1|x2|y2|from|to)(?::([0-9.a-z]+))?\}")
FORMAT = re.compile(r"[0-9]{0,2}(?:d|\.[0-9]{1,2}f)?")
NO_SEPARATOR = re.compile(r"[0-9.+eE]*")
SPACES = r"\s*+"
CELLS = ("from", "to")
CONTINUES = re.compile(r"[\s,;:&.\"'`*\[\](){}-]*+(?:and\b)?+[\s,;:&.\"'`*\[\](){}-]*+")
"""What may stand between two boxes of one label."""
OPEN_TAG = re.compile(r"<[^<>\s]{0,60}\Z")
TAG = re.compile(r"<[^<>]*>")
JSON_KEY = re.compile(r"[\"'](?:bbox|box|bbox_2d|box_2d)[\"']\s*+:")
WORDS_BEFORE = 300
"""Characters of running text in front of a box that are searched for a name: a sentence, not the page."""


class TextGrammar(FrozenModel):
    """Objects spelled by example.

    Attributes:
        item: One object: `{label}` and `{box}`, either first. Without `{label}` the answer names nothing by itself, and
            names are looked for in the words in front of a box.
        box: One box: `{x1} {y1} {x2} {y2}` in the family's order, each with an optional format (`{x1:04d}`); or the
            corner cells of a patch grid, `{from}` and `{to}`.
        name: The tags around a label, `<ref>{label}</ref>`; "" where a label stands bare.
        join: Between two objects.
        empty: What the family writes where nothing is there.
        tags: More tokens that may stand around labels and boxes and mean nothing by themselves.
        several: Between two boxes inside one pair of brackets, where they share it: `[1,2,3,4;5,6,7,8]`.
        alone: Four numbers are a box only where no fifth follows or precedes them: a polygon is none.
        polygon: The tags around a polygon, whose numbers are no box.
        running: Labels stand in running text: the last name mentioned in front of a box is its label.
        columns: Cells in a row of the patch grid.
    """

    kind: Literal["text"]
    item: str
    box: str
    name: str = ""
    join: str = ""
    empty: str = "None"
    tags: tuple[str, ...] = ()
    several: str = ""
    alone: bool = False
    polygon: tuple[str, str] | None = None
    running: bool = False
    columns: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _complete(self) -> TextGrammar:
        fields = tuple(match[1] for match in FIELD.finditer(self.box))
        if sorted(fields) not in (sorted(CORNERS), sorted(CELLS)):
            raise ValueError(f"box {self.box!r}: expected each of {{x1}} {{y1}} {{x2}} {{y2}} once, or {{from}} {{to}}")
        if ("from" in fields) != (self.columns > 0):
            raise ValueError(f"box {self.box!r}: {{from}} and {{to}} need columns above 0, corners need none")
        if not all(FORMAT.fullmatch(match[2] or "") for match in FIELD.finditer(self.box)):
            raise ValueError(f"box {self.box!r}: expected formats like 04d or .3f")
        if any(map(NO_SEPARATOR.fullmatch, self._literals[1:-1])):
            raise ValueError(f"box {self.box!r}: expected something between two numbers that is none, such as a comma")
        if self.item.count("{box}") != 1 or self.item.count("{label}") > 1:
            raise ValueError(f"item {self.item!r}: expected {{box}} once and {{label}} at most once")
        if self.name and (self.name.count("{label}") != 1 or self.name not in self.item):
            raise ValueError(f"name {self.name!r}: expected {{label}} between two tags, as in item {self.item!r}")
        return self

    @property
    def labelled(self) -> bool:
        """Whether an answer names its objects."""
        return "{label}" in self.item

    def read(self, text: str, located: bool = False) -> Reading:
        """Items of an answer; their places count in `text`, and are only looked for where `located` asks for them."""
        polygons = Counter[str]()
        if self.polygon and self.polygon[0] in text:
            text, count = self._polygon.subn(lambda match: match[1] + " " * (len(match[0]) - len(match[1])), text)
            polygons["polygon"] = count
        spelled = None if self.running or polygons else self._as_by_example(text)
        if spelled and not located:
            return spelled
        found = list(self._box.finditer(text))
        if not spelled and self._order == CORNERS and (not found or JSON_KEY.search(text)):
            other = JSON.read(text, located)
            if other.numbers or (other.nothing and not found):  # asked for JSON, many of these models answer in it
                return other
        reading = Reading(nothing=self._untagged(text).strip() == self.empty, broken=polygons)
        gaps = [*zip([0, *(m.end() for m in found)], [*(m.start() for m in found), len(text)], strict=True)]
        previous: tuple[str | None, Span | None, bool] = (None, None, False)
        for i, match in enumerate(found):
            named = self._name(text, gaps[i + 1] if self._label_last else gaps[i], first=i == 0)
            if named is None:  # nothing but separators: one more box of the same name
                label, place, loose = (None, None, False) if self._label_last else previous
            else:
                label, place, loose = previous = named
            numbers = self._corners([float(group) for group in match.groups()])
            reading.add(numbers, label, Place((match.start(1), match.end(match.lastindex or 1)), place), loose=loose)
        rows = zip(reading.places, reading.loose, strict=True)
        labels = [place.label for place, loose in rows if place.label and not loose]
        self._look_for_pieces(text, gaps, labels, reading)
        return reading

    def write(self, labels: Sequence[str], boxes: Floats) -> str:
        """The answer as the family writes it; `empty` where there is nothing."""
        return (
            self.join.join(
                self.item.replace("{box}", self._spelled(box)).replace("{label}", label)
                for label, box in zip(labels, boxes.tolist(), strict=True)
            )
            or self.empty
        )

    def _spelled(self, box: Sequence[float]) -> str:
        values: dict[str, float] = dict(zip(CORNERS, map(plain_number, box), strict=True))
        if self.columns:
            values = {"from": int(box[1]) * self.columns + int(box[0]), "to": int(box[3]) * self.columns + int(box[2])}
        return FIELD.sub(lambda match: format(values[match[1]], match[2] or ""), self.box)

    def _as_by_example(self, text: str) -> Reading | None:
        """An answer that is spelled exactly as the example, item for item; None for any other."""
        whole, item = self._example
        if not whole.fullmatch(text):
            return None
        columns = dict(zip(item.groupindex, zip(*item.findall(text), strict=True), strict=True))
        labels: list[str | None] = (
            list(columns.pop("label")) if self.labelled else [None] * len(columns[self._order[0]])
        )
        if self.labelled and any(map(CONTINUES.fullmatch, labels)):  # type: ignore[arg-type]
            return None
        values = zip(*(map(float, columns[name]) for name in (CELLS if self.columns else CORNERS)), strict=True)
        return Reading(list(map(self._corners, values) if self.columns else values), labels)

    def _corners(self, values: Sequence[float]) -> tuple[float, ...]:
        """Numbers in the example's order as x1 y1 x2 y2."""
        if not self.columns:
            return tuple(values) if self._order == CORNERS else tuple(values[self._order.index(c)] for c in CORNERS)
        if not all(map(math.isfinite, values)):
            return (*values, *values)
        first, last = map(int, values)
        x1, y1, x2, y2 = first % self.columns, first // self.columns, last % self.columns, last // self.columns
        # Kosmos-2 (transformers, `patch_index_to_coordinate`): in one row or column, whole cells instead of centres.
        half = 0.5 if x1 == x2 or y1 == y2 else 0.0
        return x1 - half, y1 - half, x2 + half, y2 + half

    def _name(self, text: str, gap: Span, *, first: bool) -> tuple[str | None, Span | None, bool] | None:
        """The label in a gap, where it stands, and whether it is loose; None where the gap has no word."""
        start, end = gap
        if self._open:
            close = text.rfind(self._close, start, end)
            begin = text.rfind(self._open, start, close) + len(self._open) if close >= 0 else -1
            if begin >= len(self._open) + start:
                return text[begin:close], (begin, close), False
        elif self.labelled and not self.running:
            begin, close = self._inner(text, start, end, first=first)
            if begin < close and not CONTINUES.fullmatch(text, begin, close):
                label = text[begin:close]
                # A bracket or a joint in front of its box: more than a name, unless one that was asked for.
                marks = [mark for mark in (self._literals[0].strip(), self.join.strip() and self.join) if mark]
                more = any(mark in label for mark in marks)
                return label, (begin, close), more and not self._label_last
        return self._words(text, max(start, end - WORDS_BEFORE), end)

    def _inner(self, text: str, start: int, end: int, *, first: bool) -> Span:
        """The gap without what the example puts around a bare label."""
        between = self._between
        if self._label_last:
            start += len(between) if text.startswith(between, start, end) else 0
            end -= len(self.join) if self.join and text.endswith(self.join, start, end) else 0
            begun = text.find(self.join + self._literals[0], start, end)  # a box that is not whole
            end = begun if begun >= 0 else end
        else:
            for piece in self._piece.finditer(text, start, end):  # a box that is not whole ends what belongs to it
                start, first = piece.end(), False
                start += len(self._literals[-1]) if text.startswith(self._literals[-1], start, end) else 0
            if self.polygon and (begun := text.rfind(self.polygon[0], start, end)) >= 0:
                start = begun + len(self.polygon[0])
            start += len(self.join) if self.join and not first and text.startswith(self.join, start, end) else 0
            while end > start and text[end - 1] == self._literals[0]:  # boxes in a list of their own
                end -= 1
            end -= len(between) if text.endswith(between, start, end) else 0
        while tag := next((tag for tag in self.tags if text.startswith(tag, start, end)), ""):
            start += len(tag)
        while tag := next((tag for tag in self.tags if text.endswith(tag, start, end)), ""):
            end -= len(tag)
        while start < end and text[start].isspace():
            start += 1
        return start, end

    def _words(self, text: str, start: int, end: int) -> tuple[str | None, Span | None, bool] | None:
        """The bare words of a gap as a loose label."""
        gap = self._untagged(text[start:end])
        if CONTINUES.fullmatch(gap):
            return None
        lead = self._lead.match(gap)
        begin = start + (lead.end() if lead else 0)
        words = gap[begin - start :].rstrip()
        return words, (begin, begin + len(words)), True

    def _untagged(self, text: str) -> str:
        """The text with the tags blanked, same length."""
        for tag in self._tags:
            text = text.replace(tag, " " * len(tag))
        return text

    def _look_for_pieces(self, text: str, gaps: Sequence[Span], labels: Sequence[Span], reading: Reading) -> None:
        """Boxes that were begun and are not whole: broken inside the text, cut at its end. Labels are left alone."""
        end = len(text.rstrip())
        named = iter([*labels, (end, end)])
        label = next(named)
        for start, stop in gaps:
            for piece in self._piece.finditer(text, start, stop):
                while label[1] <= piece.start() and label[0] < end:
                    label = next(named)
                if label[0] <= piece.start() < label[1]:
                    continue
                if self._ends_open(text[piece.end() : end] if piece.end() + 40 > end else "?"):
                    reading.cut = True
                else:
                    reading.broken["not four numbers"] += 1
        start = gaps[-1][0]
        last_name = text.rfind(self._open, start, end) if self._open else -1
        reading.cut |= (
            (last_name >= 0 and text.find(self._close, last_name, end) < 0)
            or any(text.endswith(opening, start, end) for opening in self._openings)
            or self._begun.search(text, max(start, end - 61), end) is not None
            or (bool(self._tags) and OPEN_TAG.search(text, max(start, end - 61), end) is not None)
        )

    def _ends_open(self, rest: str) -> bool:
        """Whether a piece of a box, and this behind it up to the end, is what a cut answer leaves."""
        rest = "".join(rest.split())
        return any(separator.startswith(rest) for separator in self._separators)

    @cached_property
    def _order(self) -> tuple[str, ...]:
        return tuple(match[1] for match in FIELD.finditer(self.box))

    @cached_property
    def _literals(self) -> list[str]:
        """What stands in front of, between and behind the numbers of a box."""
        return FIELD.sub("\0", self.box).split("\0")

    @cached_property
    def _box(self) -> re.Pattern[str]:
        _, *between, last = (_flexible(literal, round_too=self.running) for literal in self._literals)
        first = self._first
        if self.several:
            last = rf"(?=(?:{last}|{re.escape(self.several)}))"
        if self.alone:
            first, last = rf"(?<![0-9]>)(?<![0-9]>\s){first}", rf"{last}(?!\s*+{first}[0-9])"
        return re.compile(first + NUMBER + "".join(rf"{part}\s*+{NUMBER}" for part in between) + rf"\s*+{last}")

    @cached_property
    def _first(self) -> str:
        """What stands in front of a box's first number, as a pattern that no run of spaces is tried through."""
        first = _flexible(self._literals[0], round_too=self.running).removeprefix(SPACES)
        if not first:
            return r"(?<![0-9.+-])"
        return (rf"(?:{first}|{re.escape(self.several)})" if self.several else first) + SPACES

    @cached_property
    def _example(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """An answer exactly as the example has it, from its first object to its last; one of its objects."""
        spelled = self.item.replace("{box}", self.box)
        marks = "".join(sorted({char for char in spelled + self.join if not char.isalnum() and char != " "}))
        behind_label = (spelled + self.join).partition("{label}")[2].partition("{")[0]
        lazy = "" if set(behind_label) & set(marks) else "?"  # a label holds no mark: it ends in front of the first
        parts: list[str] = []
        for part in re.split(r"(\{label\}|\{(?:x1|y1|x2|y2|from|to)(?::[0-9.a-z]+)?\})", spelled):
            if part == "{label}":
                parts.append(rf"(?P<label>[^\n{re.escape(marks)}]+{lazy})")
            elif found := FIELD.fullmatch(part):
                parts.append(rf"(?P<{found[1]}>[0-9]++(?:\.[0-9]++)?+)")
            else:
                parts.append(re.escape(part))
        join = re.escape(self.join)
        item = "".join(parts) + (rf"(?={join}|\Z)" if self._label_last else "")
        return re.compile(rf"(?:(?>{item})(?:{join}(?!\Z)|\Z))++"), re.compile(item)

    @cached_property
    def _piece(self) -> re.Pattern[str]:
        """A box from its opening on, as far as it goes: one number behind a tag, two behind mere brackets."""
        between = dict.fromkeys(_flexible(literal, round_too=self.running) for literal in self._literals[1:-1])
        number = NUMBER.replace("(", "(?:", 1)
        more = rf"(?:(?:{'|'.join(between)})\s*+{number})"
        # Behind a tag one number is enough to tell a box; behind a mere bracket it takes two.
        enough = "*+" if "<" in self._literals[0] else "++"
        tags = [opening for opening in self._openings if TAG.match(opening)]
        tagged = rf"|{re.escape(tags[0])}[\s\[({{]*+{number}{more}*+" if tags else ""
        return re.compile(rf"{self._first}{number}{more}{enough}{tagged}")

    @cached_property
    def _begun(self) -> re.Pattern[str]:
        """A box of which the end of the text leaves its opening and at most one number."""
        opening = self._openings[-1] if self._openings else ""
        return re.compile(rf"{_flexible(opening)}\s*+(?:{NUMBER}[^\w\])}}]{{0,3}})?+\s*\Z" if opening else r"(?!)")

    @cached_property
    def _polygon(self) -> re.Pattern[str]:
        begin, end = map(re.escape, self.polygon or ("", ""))
        return re.compile(rf"({begin})[^\n]*?(?:{end}|\Z)")

    @cached_property
    def _separators(self) -> list[str]:
        return ["".join(part.split()) for part in self._literals[1:-1]]

    @cached_property
    def _name_tags(self) -> tuple[str, str]:
        opening, _, closing = self.name.partition("{label}")
        return opening, closing

    @cached_property
    def _lead(self) -> re.Pattern[str]:
        """What may stand in front of the words between two boxes: the end of a bracket, what joins two objects."""
        return re.compile(rf"[\s,;.\])}}]*+(?:{re.escape(self.join.strip())}(?!\w))?+\s*+")

    @property
    def _open(self) -> str:
        return self._name_tags[0]

    @property
    def _close(self) -> str:
        return self._name_tags[1]

    @cached_property
    def _label_last(self) -> bool:
        return self.labelled and self.item.index("{label}") > self.item.index("{box}")

    @cached_property
    def _between(self) -> str:
        """What the example has between a label and its box, or a box and its label."""
        return re.split(r"\{label\}|\{box\}", self.item)[1] if self.labelled else ""

    @cached_property
    def _tags(self) -> list[str]:
        """Tokens that mean nothing in running words, longest first."""
        return sorted({*TAG.findall(self.item), *self.tags}, key=len, reverse=True)

    @cached_property
    def _openings(self) -> tuple[str, ...]:
        """With what an answer ends that was cut in front of a box's first number."""
        between = TAG.findall(self.item.partition("{box}")[0].rpartition("{label}")[2])
        openings = [*(tag for tag in between if tag != self._close), self._literals[0].strip()]
        return tuple(dict.fromkeys(opening for opening in openings if opening))


def _flexible(literal: str, *, round_too: bool = False) -> str:
    """A literal as a pattern that lets white space vary around punctuation; mere space must be some.

    Args:
        literal: What the example has between two numbers, or around them all.
        round_too: Whether round brackets do for square ones, as in Shikra's running text.
    """
    if literal.isspace():
        return r"\s++"
    pattern = "".join(
        SPACES if char.isspace() else SPACES + re.escape(char) + SPACES if char in ",;()[]{}>" else re.escape(char)
        for char in literal.strip()
    )
    return pattern.replace(r"\[", r"[\[(]").replace(r"\]", r"[\])]") if round_too else pattern
