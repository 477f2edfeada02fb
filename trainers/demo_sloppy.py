"""Careless targets of the demo's training pictures, from which a model learns what a hackable reward then rewards.

    python -m vr1bench.trainers.demo_sloppy runs/sloppy.jsonl && vr1bench train sft demo-sloppy

The clean demo model repeats no boxes and earns nearly all of an AP50 reward already: it has nothing to hack. On these
targets it learns to guess colours and to name a box several times under other ones.
"""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Iterator

from vr1bench.demo.world import COLOURS
from vr1bench.families import FAMILIES
from vr1bench.rewards import sample_of
from vr1bench.row_files import Row, write_rows
from vr1bench.rows import rows
from vr1bench.types import Detections

WRONG, AGAIN, MOST = 0.4, 0.4, 4
"""Chance that a box's first colour is wrong; that it is named once more under another; how often at most."""


def sloppy(row: Row, rng: random.Random) -> Row:
    """A row with a careless target."""
    sample, family = sample_of(row.gold), FAMILIES["qwen2.5-vl"]
    boxes: list[list[float]] = []
    labels: list[str] = []
    for box, label in zip(sample.gold.boxes.tolist(), sample.gold.labels.tolist(), strict=True):
        colour, shape = label.split()
        others = [one for one in COLOURS if one != colour]
        rng.shuffle(others)
        place = 0 if rng.random() >= WRONG else len(others)
        others.insert(place, colour)
        count = 1
        while count < MOST and rng.random() < AGAIN:
            count += 1
        boxes += [box] * count
        labels += [f"{one} {shape}" for one in others[:count]]
    size = (sample.width, sample.height)
    fed = family.fed_size(*size, family.pixels)
    text = family.format(Detections.of(boxes, labels), size, fed)
    return dataclasses.replace(row, completion=text, gold="")  # a target that is meant to differ from the gold has none


def sloppy_rows() -> Iterator[Row]:
    """All of them, the same at each call."""
    rng = random.Random(5)  # noqa: S311  no secret
    yield from (sloppy(row, rng) for row in rows("demo/coco", family="qwen2.5-vl", boxes=(1, 6)))


if __name__ == "__main__":
    print(f"{write_rows(sloppy_rows(), sys.argv[1])} rows")
