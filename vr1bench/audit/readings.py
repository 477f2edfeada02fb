"""Ways to read the numbers of a run: the family's own frame, other frames, and frames fitted to the gold."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vr1bench.audit.table import Table, twice
from vr1bench.families.frames import Frame
from vr1bench.families.inputs import SmartResize
from vr1bench.types import Floats, Ints


class Reading(NamedTuple):
    """One way to read the numbers: pixel = number * scale + shift, by sample.

    Attributes:
        name: For `Audit.numbers`.
        words: For people.
        scale: (s, 2) pixels of the original a number, in x and y.
        shift: (s, 2) pixels.
        swapped: True where y is taken to stand in front of x.
        tight: False for a fit whose spread is wide.
    """

    name: str
    words: str
    scale: Floats
    shift: Floats
    swapped: bool = False
    tight: bool = True

    def place(self, table: Table) -> Floats:
        """The boxes in pixels of the original, (n, 4), not clipped."""
        written = table.written[:, [1, 0, 3, 2]] if self.swapped else table.written
        return written * twice(self.scale)[table.sample] + twice(self.shift)[table.sample]


THOUSANDTHS = Frame(of="grid", extent=1000)
RESIZED = {"resized pixels 28": 28, "resized pixels 32": 32}
"""Qwen's resizes, to multiples of a number: tried whatever the family is fed."""
OTHERS = {
    "original pixels": Frame(of="original"),
    "fed pixels": Frame(of="fed"),
    **dict.fromkeys(RESIZED, Frame(of="fed")),
    "fractions": Frame(of="grid", extent=1),
    "percent": Frame(of="grid", extent=100),
    "thousandths": THOUSANDTHS,
}
"""Readings tried beside the family's own; grids to 999 and 1023 lie too near to 1000 to need their own."""


def readings_of(own: Frame, table: Table) -> list[Reading]:
    """The family's own reading, then the others, the likeliest of equal ones first."""
    sizes = list(zip(table.size.tolist(), table.fed.tolist(), strict=True))

    def reading(name: str, words: str, frame: Frame, swapped: bool = False) -> Reading:
        factor = RESIZED.get(name, 0)
        rows = np.array([frame.placing((w, h), _resized(w, h, factor) or (fw, fh))[:4] for (w, h), (fw, fh) in sizes])
        return Reading(name, words, rows[:, :2], rows[:, 2:], swapped)

    found = [reading("own frame", words_of(own), own)]
    found += [reading(name, words_of(frame), frame) for name, frame in OTHERS.items()]
    found += [
        reading("x and y swapped", f"{words_of(own)} with x and y swapped", own, swapped=True),
        reading("swapped thousandths", f"{words_of(THOUSANDTHS)} with x and y swapped", THOUSANDTHS, swapped=True),
    ]
    return found


def _resized(width: float, height: float, factor: int) -> tuple[int, int] | None:
    """The size that Qwen's processors feed by themselves; None without a factor, or where they refuse the image."""
    try:
        return SmartResize(factor=factor).fed_size(int(width), int(height), None) if factor else None
    except ValueError:
        return None


def words_of(frame: Frame) -> str:
    """What a frame's numbers count, for people."""
    if frame.of in ("original", "fed"):
        return f"pixels of the {'original' if frame.of == 'original' else 'resized'} image"
    whole = "the image" if frame.of == "grid" else "the image padded to a square"
    return f"fractions of {whole}" if frame.extent == 1 else f"numbers from 0 to {frame.extent or 0:g} across {whole}"


MIN_PAIRS = 10
"""Lone pairs that a fit needs."""
TENTH = 0.1
"""Part of a side that a gold coordinate must lie from the origin to tell a scale: nearer ones tell the noise."""
SAME_SCALE = 0.02
"""Log of a scale that passes for 1: rounding to multiples of 28 pixels alone moves a side of 700 by that much."""

SPREAD = 0.5
"""Largest spread of a fit, as part of its distance from 1: a resize is one factor; boxes that are wrong by many factors
with a common trend are a weak model's."""
WILD = 50.0
"""Log of the largest scale that is told apart from larger ones: keeps its power finite."""


class Lone(NamedTuple):
    """Corner coordinates of lone pairs, k of them, as logarithms.

    Attributes:
        sample: (k,) rows.
        axis: (k,) 0 for x, 1 for y.
        needed: (k,) pixels of the original a number, such that the number lies on the gold.
        missing: (k,) the same, relative to where the family's own frame places it: 0 where it lies on the gold.
    """

    sample: Ints
    axis: Ints
    needed: Floats
    missing: Floats


def lone_of(table: Table, own: Reading) -> Lone:
    """The lone pairs of a table, where a label has one box and one gold box in a sample."""
    box = table.box[table.lone]
    gold, written, placed = table.gold[0, table.lone], table.written[box], own.place(table)[box]
    sides = twice(table.size[table.sample[box]])
    told = (gold > TENTH * sides) & (written > 0) & (placed > 0) & np.isfinite(placed)
    row, corner = np.nonzero(told)
    needed, missing = (np.clip(np.log(gold[told]) - np.log(part[told]), -WILD, WILD) for part in (written, placed))
    return Lone(table.sample[box][row], corner % 2, needed, missing)


def fits_of(table: Table, own: Reading, lone: Lone) -> list[Reading]:
    """Readings with one number fitted to the gold: a pixel budget, a grid's extent, a scale on each axis."""
    log_size = np.log(table.size)
    cap, of_area = _budget(log_size.sum(axis=1), lone)
    extent = float(np.median(log_size[lone.sample, lone.axis] - lone.needed))
    scale = np.array([np.median(lone.missing[lone.axis == axis]) for axis in (0, 1)])
    side = math.exp(extent)
    zero = np.zeros_like(own.shift)
    fits = [
        Reading("fitted pixel budget", f"pixels of images resized to {cap}", np.exp(of_area), zero),
        Reading("fitted grid", f"numbers from 0 to about {side:.4g} across the image", table.size / side, zero),
        Reading(
            "fitted scale",
            f"{own.words} times {math.exp(scale[0]):.3g} in x and {math.exp(scale[1]):.3g} in y",
            own.scale * np.exp(scale),
            own.shift * np.exp(scale),
        ),
    ]
    return [fit._replace(tight=_tight(fit, own, lone)) for fit in fits]


def _tight(fit: Reading, own: Reading, lone: Lone) -> bool:
    """Whether the fit's spread (median absolute error, logarithmic) is small against what it moves the boxes."""
    moved = np.abs(np.log(fit.scale) - np.log(own.scale))[lone.sample, lone.axis]
    moved = moved[moved > SAME_SCALE]
    if not len(moved):
        return False
    error = np.abs(lone.needed - np.log(fit.scale)[lone.sample, lone.axis])
    if fit.name == "fitted scale":  # the only one whose own frame may have a shift
        error = np.abs(lone.missing - np.log(fit.scale / own.scale)[lone.sample, lone.axis])
    return bool(np.median(error) < SPREAD * np.median(moved))


def _budget(log_area: Floats, lone: Lone) -> tuple[str, Floats]:
    """The bound on the resized image's area, upper or lower, that explains the numbers best.

    Candidates are the areas that single numbers imply; the error of one is bounded, so that wild boxes do not decide.

    Args:
        log_area: (s,) of the originals.
        lone: The pairs to explain.

    Returns:
        The bound in words, and (s, 2) log of the pixels of the original that one of the resized stands for.
    """
    candidates = np.quantile(log_area[lone.sample] - 2 * lone.needed, np.linspace(0.01, 0.99, 50))
    best = (math.inf, "", np.zeros((len(log_area), 2)))
    for bound in candidates.tolist():
        half = (log_area - bound) / 2
        for words, step in (("at most", np.maximum(half, 0)), ("at least", np.minimum(half, 0))):
            error = float(np.minimum(np.abs(lone.needed - step[lone.sample]), 0.5).mean())
            if error < best[0]:
                best = (
                    error,
                    f"{words} about {float(f'{math.exp(bound):.2g}'):,.0f} pixels",
                    np.stack([step, step], axis=1),
                )
    return best[1], best[2]
