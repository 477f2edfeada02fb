"""Qwen2-VL: boxes between special tokens, on a 0 to 1000 grid.

`<|object_ref_start|>dog<|object_ref_end|><|box_start|>(221,423),(569,886)<|box_end|>`. Engines that drop special
tokens leave `dog(221,423),(569,886)`; both read alike. JSON, which newer prompts bring out of it, is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vr1bench.families import json_boxes
from vr1bench.families.definition import FamilyDefinition
from vr1bench.families.reading import Item, Reading, plain_number
from vr1bench.types import Floats

NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
BOX = re.compile(rf"(?:<\|box_start\|>)?\({NUMBER},{NUMBER}\)\s*,\s*\({NUMBER},{NUMBER}\)(?:<\|box_end\|>)?")
OPEN_BOX = re.compile(r"<\|box_start\|>|\(\s*-?\d")
NAMED = re.compile(r"<\|object_ref_start\|>(.*?)<\|object_ref_end\|>\s*$", re.DOTALL)
PLAIN = re.compile(r"([^<>()|]*?)\s*$")
AROUND = " ,;&.\n"


def read(text: str) -> Reading:
    """Items of a Qwen2-VL answer; a box without a name of its own takes that of the box before it."""
    boxes = list(BOX.finditer(text))
    if not boxes and json_boxes.BARE_BOX.search(text):
        return json_boxes.read(text)
    reading = Reading()
    label: str | None = None
    end = 0
    for match in boxes:
        name, place = _name(text, end, match.start())
        if name:
            label = name
        span = (place, place + len(name)) if name else None
        x1, y1, x2, y2 = (float(group) for group in match.groups())
        reading.items.append(Item((x1, y1, x2, y2), label, match.span(), span))
        end = match.end()
    reading.cut = bool(OPEN_BOX.search(text, end))
    return reading


def _name(text: str, start: int, end: int) -> tuple[str, int]:
    """The name between two boxes and where it stands: verbatim inside its tokens, else what words there are."""
    named = NAMED.search(text, start, end)
    if named:
        return named[1], named.start(1)
    plain = PLAIN.search(text, start, end)
    words = plain[1] if plain else ""
    name = words.strip(AROUND)
    return name, (plain.start(1) if plain else start) + words.find(name)


def write(labels: Sequence[str], boxes: Floats) -> str:
    """The answer in Qwen2-VL's special tokens; "None" where there is nothing."""
    parts = [
        f"<|object_ref_start|>{label}<|object_ref_end|><|box_start|>"
        f"({plain_number(x1)},{plain_number(y1)}),({plain_number(x2)},{plain_number(y2)})<|box_end|>"
        for label, (x1, y1, x2, y2) in zip(labels, boxes, strict=True)
    ]
    return "".join(parts) or "None"


FAMILY = FamilyDefinition(
    name="qwen2-vl",
    read=read,
    write=write,
    frame="norm1000",
    factor=28,
    model_types=("qwen2_vl",),
    name_pattern=r"qwen2-?vl",
)
