"""Coordinate audit: do the boxes of a run contradict the family's frame, and what is the likely cause?

Reported only: no number of a result is ever changed by what is found here.

Three observations: numbers between 0 and 1 where larger ones are expected, values past the image's edge, and a reading
of the same numbers in another frame that lies clearly better on the gold. The last is judged by lift: the mean best IoU
with gold of the same label, less the same against gold of other samples. A model that does not see the image has no
lift in any frame, however large or central its boxes come out there, so it never speaks for one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vr1bench.boxes import area, iou_aligned
from vr1bench.families import Family
from vr1bench.families.frames import Frame
from vr1bench.types import Bools, Floats, Ints, Pair

N_AUDITED = 1000
"""Samples with boxes that are looked at: a wrong frame shows in the first hundred; the rest is for weak models."""
N_PAIRS = 50_000
"""Pairs of a box and a gold box of its label, over all samples: bounds memory where images hold hundreds of objects."""
N_BOXES = 50
"""Boxes looked at in one sample: a model that loops says nothing new."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of one sample.

    Attributes:
        images: Paths; samples with equal ones count as one.
        size: (width, height) pixels of the original.
        fed: (width, height) at which the model saw it.
        written: (n, 4) numbers in the family's frame, xyxy.
        gold: (m, 4) pixels of the original.
        box: (p,) ascending rows of `written`, beside
        target: (p,) rows of `gold` with the same label.
    """

    images: tuple[Path, ...]
    size: tuple[int, int]
    fed: tuple[int, int]
    written: Floats
    gold: Floats
    box: Ints
    target: Ints


class Audit:
    """Collects samples as they pass by; see the module."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._seen: list[_Seen] = []
        self._pairs = 0
        self._measured: _Measured | None = None

    def add(self, pair: Pair) -> None:
        """Takes a sample into account, if it has boxes with a known label and is among the first `N_AUDITED`.

        Args:
            pair: As answered: the protocol must not have dropped rows of its detections.
        """
        if len(self._seen) >= N_AUDITED or self._pairs >= N_PAIRS:
            return
        seen = _seen(pair)
        if seen is not None:
            self._seen.append(seen)
            self._pairs += len(seen.box)
            self._measured = None

    def findings(self) -> tuple[str, ...]:
        """What contradicts the frame, in sentences for people; () where nothing does."""
        measured = self._measure()
        return () if measured is None else tuple(_sentences(measured, self._family))

    def numbers(self) -> dict[str, float]:
        """What was measured; {} without any box, and without names whose measure needs gold that is not there.

        `samples` and `boxes` looked at; shares of boxes `below one` and `past the edge`; `pairs` of a label's only box
        and only gold box; `scale x` and `scale y` by which those boxes would fit; `IoU <reading>`, mean over images.
        """
        measured = self._measure()
        if measured is None:
            return {}
        table = measured.table
        numbers = {
            "samples": float(len(table.size)),
            "boxes": float(len(table.written)),
            "below one": float(measured.below_one.mean()),
            "past the edge": float(measured.past.mean()),
            "pairs": float(measured.lone),
        }
        scale = measured.scale
        numbers |= {} if scale is None else {"scale x": scale[0], "scale y": scale[1]}
        numbers |= {f"IoU {level.reading.name}": float(level.iou.mean()) for level in measured.levels}
        return {name: value for name, value in numbers.items() if math.isfinite(value)}

    def _measure(self) -> _Measured | None:
        if self._measured is None and self._seen:
            with np.errstate(over="ignore"):  # an answer may hold 1e300; it is clipped to the image like any other
                self._measured = _measure(_table(self._seen), self._family.frame)
        return self._measured


def _seen(pair: Pair) -> _Seen | None:
    """What to keep of a sample; None where it has no box of a known label.

    Where one name or phrase was asked, every box answers it, whatever it is called.
    """
    prediction, sample = pair.prediction, pair.sample
    if prediction is None or len(prediction.written) == 0 or len(prediction.written) != len(prediction.detections):
        return None
    written = np.array(prediction.written[:N_BOXES], dtype=np.float64)
    count = len(written)
    keep = ~prediction.duplicate[:count] & np.isfinite(written).all(axis=1)
    gold = sample.gold
    real = ~gold.crowd & (gold.boxes[:, 2:] > gold.boxes[:, :2]).all(axis=1)
    if len(sample.queries) == 1:
        same = np.broadcast_to(real, (count, len(gold)))
    else:
        keep &= ~prediction.unknown[:count]
        same = (prediction.detections.labels[:count, None] == gold.labels[None]) & real
    if not keep.any():
        return None
    box, target = np.nonzero(same[keep])
    size = (sample.width, sample.height)
    fed = prediction.fed if all(prediction.fed) else size
    return _Seen(sample.images, size, fed, written[keep], gold.boxes, box, target)


@dataclass(frozen=True, slots=True)
class _Table:
    """All samples behind each other.

    Attributes:
        image: (s,) number of each sample's image.
        size: (s, 2) width and height in pixels of each sample's original.
        fed: (s, 2) width and height as fed.
        written: (n, 4) numbers of all boxes.
        sample: (n,) row of `size` that each box belongs to.
        box: (p,) ascending rows of `written`: the first half of each pair.
        gold: (1 + c, p, 4) pixels of the original. First the other half, a gold box of the same label; then, for
            chance, gold boxes of other samples in its place, at the same part of the image.
        lone: (p,) True where its label has this one box and this one gold box in the sample.
    """

    image: Ints
    size: Floats
    fed: Floats
    written: Floats
    sample: Ints
    box: Ints
    gold: Floats
    lone: Bools


def _table(seen: Sequence[_Seen]) -> _Table:
    size = np.array([one.size for one in seen], dtype=np.float64)
    sample = np.repeat(np.arange(len(seen)), [len(one.written) for one in seen])
    gold = np.concatenate([one.gold for one in seen])
    gold_sample = np.repeat(np.arange(len(seen)), [len(one.gold) for one in seen])
    first_box = np.cumsum([0, *(len(one.written) for one in seen)])
    first_gold = np.cumsum([0, *(len(one.gold) for one in seen)])
    box = np.concatenate([one.box + start for one, start in zip(seen, first_box[:-1], strict=True)])
    target = np.concatenate([one.target + start for one, start in zip(seen, first_gold[:-1], strict=True)])
    # Quarters of the data away: neighbours may show one image, or one box under several phrases.
    others = [(target + len(gold) * quarter // 4) % max(len(gold), 1) for quarter in (1, 2, 3)]
    chance = [gold[other] / _twice(size[gold_sample[other]]) * _twice(size[sample[box]]) for other in others]
    lone = (np.bincount(box)[box] == 1) & (np.bincount(target)[target] == 1)
    numbers: dict[tuple[Path, ...], int] = {}
    return _Table(
        image=np.array([numbers.setdefault(one.images, len(numbers)) for one in seen]),
        size=size,
        fed=np.array([one.fed for one in seen], dtype=np.float64),
        written=np.concatenate([one.written for one in seen]),
        sample=sample, box=box, gold=np.stack([gold[target], *chance]), lone=lone,
    )  # fmt: skip


class _Reading(NamedTuple):
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

    def place(self, table: _Table) -> Floats:
        """The boxes in pixels of the original, (n, 4), not clipped."""
        written = table.written[:, [1, 0, 3, 2]] if self.swapped else table.written
        return written * _twice(self.scale)[table.sample] + _twice(self.shift)[table.sample]


OTHERS = (
    ("original pixels", Frame(of="original")),
    ("fed pixels", Frame(of="fed")),
    ("fractions", Frame(of="grid", extent=1)),
    ("percent", Frame(of="grid", extent=100)),
    ("thousandths", Frame(of="grid", extent=1000)),
)
"""Readings tried beside the family's own; grids to 999 and 1023 lie too near to 1000 to need their own."""


def _readings(own: Frame, table: _Table) -> list[_Reading]:
    """The family's own reading, then the others, the likeliest of equal ones first."""
    sizes = list(zip(table.size.tolist(), table.fed.tolist(), strict=True))

    def reading(name: str, words: str, frame: Frame, swapped: bool = False) -> _Reading:
        rows = np.array([frame.placing((w, h), (fw, fh))[:4] for (w, h), (fw, fh) in sizes])
        return _Reading(name, words, rows[:, :2], rows[:, 2:], swapped)

    found = [reading("own frame", _words(own), own)]
    found += [reading(name, _words(frame), frame) for name, frame in OTHERS]
    thousandths = OTHERS[-1][1]
    found += [
        reading("x and y swapped", f"{_words(own)} with x and y swapped", own, swapped=True),
        reading("swapped thousandths", f"{_words(thousandths)} with x and y swapped", thousandths, swapped=True),
    ]
    return found


def _words(frame: Frame) -> str:
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


class _Lone(NamedTuple):
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


def _lone(table: _Table, own: _Reading) -> _Lone:
    box = table.box[table.lone]
    gold, written, placed = table.gold[0, table.lone], table.written[box], own.place(table)[box]
    sides = _twice(table.size[table.sample[box]])
    told = (gold > TENTH * sides) & (written > 0) & (placed > 0) & np.isfinite(placed)
    row, corner = np.nonzero(told)
    needed, missing = (np.clip(np.log(gold[told]) - np.log(part[told]), -WILD, WILD) for part in (written, placed))
    return _Lone(table.sample[box][row], corner % 2, needed, missing)


def _fits(table: _Table, own: _Reading, lone: _Lone) -> list[_Reading]:
    """Readings with one number fitted to the gold: a pixel budget, a grid's extent, a scale on each axis."""
    log_size = np.log(table.size)
    cap, of_area = _budget(log_size.sum(axis=1), lone)
    extent = float(np.median(log_size[lone.sample, lone.axis] - lone.needed))
    scale = np.array([np.median(lone.missing[lone.axis == axis]) for axis in (0, 1)])
    side = math.exp(extent)
    zero = np.zeros_like(own.shift)
    fits = [
        _Reading("fitted pixel budget", f"pixels of images resized to {cap}", np.exp(of_area), zero),
        _Reading("fitted grid", f"numbers from 0 to about {side:.4g} across the image", table.size / side, zero),
        _Reading(
            "fitted scale",
            f"{own.words} times {math.exp(scale[0]):.3g} in x and {math.exp(scale[1]):.3g} in y",
            own.scale * np.exp(scale),
            own.shift * np.exp(scale),
        ),
    ]
    return [fit._replace(tight=_tight(fit, own, lone)) for fit in fits]


def _tight(fit: _Reading, own: _Reading, lone: _Lone) -> bool:
    """Whether the fit's spread (median absolute error, logarithmic) is small against what it moves the boxes."""
    moved = np.abs(np.log(fit.scale) - np.log(own.scale))[lone.sample, lone.axis]
    moved = moved[moved > SAME_SCALE]
    if not len(moved):
        return False
    error = np.abs(lone.needed - np.log(fit.scale)[lone.sample, lone.axis])
    if fit.name == "fitted scale":  # the only one whose own frame may have a shift
        error = np.abs(lone.missing - np.log(fit.scale / own.scale)[lone.sample, lone.axis])
    return bool(np.median(error) < SPREAD * np.median(moved))


def _budget(log_area: Floats, lone: _Lone) -> tuple[str, Floats]:
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


class _Level(NamedTuple):
    """How well a reading lies on the gold.

    Attributes:
        reading: Which.
        iou: (t,) of each image with pairs: mean over its boxes of the best IoU with gold of the same label. An image
            that several phrases were asked of counts once, or their answers would pass for independent.
        lift: (t,) that, less the same with gold of other samples.
    """

    reading: _Reading
    iou: Floats
    lift: Floats


def _levels(table: _Table, readings: Sequence[_Reading]) -> list[_Level]:
    """A level of each reading, in order; none where no box has gold."""
    if not len(table.box):
        return []
    starts = np.flatnonzero(np.diff(table.box, prepend=-1))
    _, place, count = np.unique(table.image[table.sample[table.box[starts]]], return_inverse=True, return_counts=True)
    sides = _twice(table.size)[table.sample]
    gold_area = area(table.gold)
    levels: list[_Level] = []
    for reading in readings:
        clipped = np.clip(reading.place(table), 0.0, sides)
        overlaps = iou_aligned(clipped[table.box], table.gold, area(clipped)[table.box], gold_area)
        best = np.maximum.reduceat(overlaps, starts, axis=1)
        real, *chance = (np.bincount(place, row) / count for row in best)
        levels.append(_Level(reading, real, real - np.mean(chance, axis=0)))
    return levels


@dataclass(frozen=True, slots=True)
class _Measured:
    """Everything that was measured.

    Attributes:
        table: The samples.
        below_one: (n,) True where a box's numbers lie between 0 and 1 and are not whole.
        past: (n,) True where a box reaches past the image's edge in the family's frame.
        lone: Number of lone pairs.
        scale: Fitted to the gold in x and y, relative to the family's frame; None where there are too few pairs.
        levels: The family's own reading first; none without gold.
    """

    table: _Table
    below_one: Bools
    past: Bools
    lone: int
    scale: tuple[float, float] | None
    levels: list[_Level]


PAST = 0.02
"""Part of a side that lies past the edge before it counts: grids of 999, 1000 and 1023 pass for each other."""


def _measure(table: _Table, frame: Frame) -> _Measured:
    readings = _readings(frame, table)
    own = readings[0]
    written, placed = table.written, own.place(table)
    sides = _twice(table.size)[table.sample]
    within, outside = (written >= 0) & (written <= 1), (placed < -PAST * sides) | (placed > (1 + PAST) * sides)
    lone = _lone(table, own)
    scale = None
    if table.lone.sum() >= MIN_PAIRS and set(lone.axis.tolist()) == {0, 1}:
        readings += _fits(table, own, lone)
        x, y = (readings[-1].scale / own.scale)[0].tolist()
        scale = (x, y)
    return _Measured(
        table,
        below_one=np.all(within, axis=1) & np.any(written % 1 > 0, axis=1),
        past=np.any(outside, axis=1),
        lone=int(table.lone.sum()),
        scale=scale,
        levels=_levels(table, readings),
    )


MIN_SHARE = 0.05
"""Part of the boxes that makes an observation: single wild boxes are the model's, many are the frame's."""
MIN_BOXES = 3
"""Boxes that make an observation."""
MIN_IMAGES = 10
"""Images that a cause needs."""
GOOD_IOU = 0.7
"""Mean IoU at which a fit needs no small spread: 2% between 1000 and 1023 are less than the noise of a good model."""
MIN_GAIN = 0.05
"""Mean lift that another reading must gain: a scale that is 1% off costs a good model about as much, and no less is
worth a reader's time. Families whose frames nearly coincide (1000 x 1000 pixels) stay below."""
MIN_SURE = 5.0
"""Standard errors by which it must gain it. Of 8400 simulated good, weak, random and constant models none came above
3.8 with a gain of 0.03; a wrong family comes to 9 and more in 25 images, even where the model only reaches IoU 0.4."""
TIE = 0.01
"""Lift that does not decide between readings: then the one that was tried first is told."""


def _sentences(measured: _Measured, family: Family) -> list[str]:
    frame, count = family.frame, len(measured.table.written)
    own_words = f"{_words(frame)} (family {family.name!r})"
    found: list[str] = []
    below = int(measured.below_one.sum())
    if frame.extent != 1 and _many(below, count):
        found.append(
            f"{below} of {count} boxes hold only numbers between 0 and 1, where {own_words} are expected; "
            "likely cause: fractions instead of pixels or grid numbers, so another family"
        )
    past = int(measured.past.sum())
    if _many(past, count):
        found.append(
            f"{past} of {count} boxes reach past the image's edge when read as {own_words}; "
            "likely causes: another family, or another fed size than assumed"
        )
    return found + _on_gold(measured, frame, own_words)


def _many(part: int, whole: int) -> bool:
    return part >= MIN_BOXES and part >= MIN_SHARE * whole


def _on_gold(measured: _Measured, frame: Frame, own_words: str) -> list[str]:
    """What the gold says: the reading that lies best on it, and the fitted scale."""
    if not measured.levels:
        return []
    own = measured.levels[0]
    clear = [level for level in measured.levels[1:] if _whole(level) and _clear(level.lift - own.lift)]
    if not clear:
        return []
    most = max(float(level.lift.mean()) for level in clear)
    best = next(level for level in clear if level.lift.mean() >= most - TIE)
    found = [
        f"boxes lie better on the gold when read as {best.reading.words}: mean IoU {best.iou.mean():.2f}, against "
        f"{own.iou.mean():.2f} as {own_words}, over {len(own.iou)} images; "
        f"likely cause: {_cause(frame, best.reading.name)}"
    ]
    if best.reading.name != "fitted scale" and clear[-1].reading.name == "fitted scale" and measured.scale is not None:
        found.append(
            f"fitted to the gold, boxes would have to grow {measured.scale[0]:.3g} times in x and "
            f"{measured.scale[1]:.3g} times in y ({measured.lone} pairs); reported only, never applied"
        )
    return found


def _whole(level: _Level) -> bool:
    """Whether the reading may stand for all boxes, not just for a trend of theirs."""
    return level.reading.tight or float(level.iou.mean()) >= GOOD_IOU


def _clear(gain: Floats) -> bool:
    """Whether lifts gained image by image are large and sure."""
    if len(gain) < MIN_IMAGES:
        return False
    mean = float(gain.mean())
    return mean >= MIN_GAIN and mean >= MIN_SURE * float(gain.std(ddof=1)) / math.sqrt(len(gain))


def _cause(frame: Frame, name: str) -> str:
    """What usually makes a family's boxes lie better in the named reading."""
    if "swapped" in name:
        return "x and y swapped" + (", so another family" if name != "x and y swapped" else "")
    if name == "fractions":
        return "fractions instead of pixels or grid numbers, so another family"
    if frame.of == "original" and name in ("fed pixels", "fitted pixel budget", "fitted scale"):
        return "the resize was not undone: the numbers count pixels of the resized image"
    if frame.of == "fed" and name == "original pixels":
        return "the resize was already undone, a pixel budget that leaves images as they are, or another family"
    if frame.of == "fed" and name in ("fitted pixel budget", "fitted grid", "fitted scale"):
        return "the pixel budget: the model was fed another size than assumed"
    return "another family"


def _twice(xy: Floats) -> Floats:
    """(n, 2) as (n, 4), for corners."""
    return np.concatenate([xy, xy], axis=-1)
