"""How well each reading lies on the gold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vr1bench.audit.readings import MIN_PAIRS, Reading, fits_of, lone_of, readings_of
from vr1bench.audit.table import Table, twice
from vr1bench.boxes import area, iou_aligned
from vr1bench.families.frames import Frame
from vr1bench.types import Bools, Floats


class Level(NamedTuple):
    """How well a reading lies on the gold.

    Attributes:
        reading: Which.
        iou: (t,) of each image with pairs: mean over its boxes of the best IoU with gold of the same label. An image
            that several phrases were asked of counts once, or their answers would pass for independent.
        lift: (t,) that, less the same with gold of other samples.
    """

    reading: Reading
    iou: Floats
    lift: Floats


def _levels(table: Table, readings: Sequence[Reading]) -> list[Level]:
    """A level of each reading, in order; none where no box has gold."""
    if not len(table.box):
        return []
    starts = np.flatnonzero(np.diff(table.box, prepend=-1))
    _, place, count = np.unique(table.image[table.sample[table.box[starts]]], return_inverse=True, return_counts=True)
    sides = twice(table.size)[table.sample]
    gold_area = area(table.gold)
    levels: list[Level] = []
    for reading in readings:
        clipped = np.clip(reading.place(table), 0.0, sides)
        overlaps = iou_aligned(clipped[table.box], table.gold, area(clipped)[table.box], gold_area)
        best = np.maximum.reduceat(overlaps, starts, axis=1)
        real, *chance = (np.bincount(place, row) / count for row in best)
        levels.append(Level(reading, real, real - np.mean(chance, axis=0)))
    return levels


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured.

    Attributes:
        table: The samples.
        below_one: (n,) True where a box's numbers lie between 0 and 1 and are not whole.
        past: (n,) True where a box reaches past the image's edge in the family's frame.
        lone: Number of lone pairs.
        scale: Fitted to the gold in x and y, relative to the family's frame; None where there are too few pairs.
        levels: The family's own reading first; none without gold.
    """

    table: Table
    below_one: Bools
    past: Bools
    lone: int
    scale: tuple[float, float] | None
    levels: list[Level]


PAST = 0.02
"""Part of a side that lies past the edge before it counts: grids of 999, 1000 and 1023 pass for each other."""


def measure(table: Table, frame: Frame) -> Measured:
    """Every reading of the table's boxes against the gold; `frame` is the family's own."""
    readings = readings_of(frame, table)
    own = readings[0]
    written, placed = table.written, own.place(table)
    sides = twice(table.size)[table.sample]
    within, outside = (written >= 0) & (written <= 1), (placed < -PAST * sides) | (placed > (1 + PAST) * sides)
    lone = lone_of(table, own)
    scale = None
    if table.lone.sum() >= MIN_PAIRS and set(lone.axis.tolist()) == {0, 1}:
        readings += fits_of(table, own, lone)
        x, y = (readings[-1].scale / own.scale)[0].tolist()
        scale = (x, y)
    return Measured(
        table,
        below_one=np.all(within, axis=1) & np.any(written % 1 > 0, axis=1),
        past=np.any(outside, axis=1),
        lone=int(table.lone.sum()),
        scale=scale,
        levels=_levels(table, readings),
    )
