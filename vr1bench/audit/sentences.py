"""What an audit tells people, and how sure it must be to say it."""

from __future__ import annotations

import math

from vr1bench.audit.measuring import Level, Measured
from vr1bench.audit.readings import words_of
from vr1bench.families import Family
from vr1bench.families.frames import Frame
from vr1bench.types import Floats

RESIZED = ("resized pixels 28", "resized pixels 32", "fitted pixel budget", "fitted scale")
"""Readings in which an image was fed at some other size."""
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


def sentences(measured: Measured, family: Family) -> list[str]:
    """What contradicts the family's frame, observations first; empty where nothing does."""
    frame, count = family.frame, len(measured.table.written)
    own_words = f"{words_of(frame)} (family {family.name!r})"
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


def _on_gold(measured: Measured, frame: Frame, own_words: str) -> list[str]:
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


def _whole(level: Level) -> bool:
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
    if frame.of == "original" and name in (
        "fed pixels",
        "resized pixels 28",
        "resized pixels 32",
        "fitted pixel budget",
        "fitted scale",
    ):
        return "the resize was not undone: the numbers count pixels of the resized image"
    if frame.of == "fed" and name == "original pixels":
        return "the resize was already undone, a pixel budget that leaves images as they are, or another family"
    if frame.of == "fed" and name in (
        "resized pixels 28",
        "resized pixels 32",
        "fitted pixel budget",
        "fitted grid",
        "fitted scale",
    ):
        return "the pixel budget: the model was fed another size than assumed"
    return "another family"
