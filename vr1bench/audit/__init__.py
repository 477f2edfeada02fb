"""Coordinate audit: do the boxes of a run contradict the family's frame, and what is the likely cause?

Reported only: no number of a result is ever changed by what is found here.

Three observations: numbers between 0 and 1 where larger ones are expected, values past the image's edge, and a reading
of the same numbers in another frame that lies clearly better on the gold. The last is judged by lift: the mean best IoU
with gold of the same label, less the same against gold of other samples. A model that does not see the image has no
lift in any frame, however large or central its boxes come out there, so it never speaks for one.
"""

from __future__ import annotations

import math

import numpy as np

from vr1bench.audit.measuring import Measured, measure
from vr1bench.audit.sentences import sentences
from vr1bench.audit.table import N_BOXES, Seen, seen_of, table_of
from vr1bench.families import Family
from vr1bench.types import Pair

__all__ = ["N_AUDITED", "N_BOXES", "N_PAIRS", "Audit"]

N_AUDITED = 1000
"""Samples with boxes that are looked at: a wrong frame shows in the first hundred; the rest is for weak models."""
N_PAIRS = 50_000
"""Pairs of a box and a gold box of its label, over all samples: bounds memory where images hold hundreds of objects."""


class Audit:
    """Collects samples as they pass by; see the module."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._seen: list[Seen] = []
        self._pairs = 0
        self._measured: Measured | None = None

    def add(self, pair: Pair) -> None:
        """Takes a sample into account, if it has boxes with a known label and is among the first `N_AUDITED`.

        Args:
            pair: As answered: the protocol must not have dropped rows of its detections.
        """
        if len(self._seen) >= N_AUDITED or self._pairs >= N_PAIRS:
            return
        seen = seen_of(pair)
        if seen is not None:
            self._seen.append(seen)
            self._pairs += len(seen.box)
            self._measured = None

    def findings(self) -> tuple[str, ...]:
        """What contradicts the frame, in sentences for people; () where nothing does."""
        measured = self._measurement()
        return () if measured is None else tuple(sentences(measured, self._family))

    def numbers(self) -> dict[str, float]:
        """What was measured; {} without any box, and without names whose measure needs gold that is not there.

        `samples` and `boxes` looked at; shares of boxes `below one` and `past the edge`; `pairs` of a label's only box
        and only gold box; `scale x` and `scale y` by which those boxes would fit; `IoU <reading>`, mean over images.
        """
        measured = self._measurement()
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

    def _measurement(self) -> Measured | None:
        if self._measured is None and self._seen:
            with np.errstate(over="ignore"):  # an answer may hold 1e300; it is clipped to the image like any other
                self._measured = measure(table_of(self._seen), self._family.frame)
        return self._measured
