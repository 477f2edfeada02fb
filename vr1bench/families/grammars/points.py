"""The points of Molmo (`<point x="61.5" y="40.4" alt="dog">dog</point>`, `<points x1= y1= ...>`) and Molmo2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape, unescape
from typing import Literal

from vr1bench.families.grammars.numbers import NUMBER
from vr1bench.families.reading import Place, Reading, plain_number
from vr1bench.types import Floats, FrozenModel

ELEMENT = re.compile(r"<points?\b([^<>]*+)>(?:([^<>]*+)</points?>)?")
X = re.compile(rf"\bx([0-9]*+)\s*+=\s*+[\"']?+\s*+{NUMBER}")
Y = re.compile(rf"\by([0-9]*+)\s*+=\s*+[\"']?+\s*+{NUMBER}")
ALT = re.compile(r"\balt\s*=\s*\"([^\"]*+)\"|\balt\s*=\s*'([^']*+)'")
COORDS = re.compile(r"\bcoords\s*=\s*[\"']([^\"']*+)[\"']")
OPEN = re.compile(r"<points?\b[^<>]*+\Z|<[a-z/]{0,7}\Z")


class PointGrammar(FrozenModel):
    """Points in XML-like elements, one or many to an element.

    Attributes:
        coords: Whether `coords="IMAGE ID X Y ID X Y"` holds them, as Molmo2 writes; else x and y attributes.
    """

    kind: Literal["points"]
    coords: bool = False
    labelled: Literal[True] = True

    def read(self, text: str, located: bool = False) -> Reading:
        """Points; nobody asks for their places."""
        reading = Reading()
        for match in ELEMENT.finditer(text):
            label = _label(match)
            rows = _coords(match[1]) if COORDS.search(match[1]) else _attributes(match[1])
            if not rows:
                reading.broken["not two numbers"] += 1
            for row in rows:
                if row is None:
                    reading.broken["not two numbers"] += 1
                else:
                    reading.add(row, label, Place(match.span()))
        reading.cut = OPEN.search(text) is not None if "<" in text[-20_000:] else False
        return reading

    def write(self, labels: Sequence[str], boxes: Floats) -> str:
        """The centres of the boxes, an element each; a sentence where there is nothing."""
        elements: list[str] = []
        for label, (x1, y1, x2, y2) in zip(labels, boxes.tolist(), strict=True):
            x, y, name = plain_number((x1 + x2) / 2), plain_number((y1 + y2) / 2), escape(label)
            place = f'coords="1 1 {round(x)} {round(y)}"' if self.coords else f'x="{x:.1f}" y="{y:.1f}" alt="{name}"'
            tag = "points" if self.coords else "point"
            elements.append(f"<{tag} {place}>{name}</{tag}>")
        return " ".join(elements) or "There are none."


def _label(match: re.Match[str]) -> str | None:
    """The words between the tags, else the `alt` attribute."""
    if match[2] and match[2].strip():
        return unescape(match[2])
    alt = ALT.search(match[1])
    return unescape(alt[1] or alt[2] or "") if alt else None


def _attributes(text: str) -> list[tuple[float, float] | None]:
    """Points of x and y attributes, paired by their number: x1 with y1; None for one without its pair."""
    ys = {match[1]: float(match[2]) for match in Y.finditer(text)}
    xs = {match[1]: float(match[2]) for match in X.finditer(text)}
    return [(x, ys[name]) if name in ys else None for name, x in xs.items()]


def _coords(text: str) -> list[tuple[float, float] | None]:
    """Points of Molmo2's list: frames apart by ";" or tab, each an image number and then id, x, y; None for a rest."""
    match = COORDS.search(text)
    rows: list[tuple[float, float] | None] = []
    for frame in re.split(r"[;:,\t]", match[1]) if match else ():
        numbers = [float(number) for number in re.findall(NUMBER, frame)][1:]
        rows += [(x, y) for x, y in zip(numbers[1::3], numbers[2::3], strict=False)]
        if len(numbers) % 3 or not numbers:
            rows.append(None)
    return rows
