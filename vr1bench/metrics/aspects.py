"""OVDEval's overall number: the mean of five aspects, not of the eight files."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

PREFIX = "ovdeval/"

ASPECTS: dict[str, tuple[str, ...]] = {
    "object": ("celebrity", "logo", "landmark"),
    "attribute": ("color", "material"),
    "position": ("position",),
    "relationship": ("relationship",),
    "negation": ("negation",),
}
"""The files that each aspect averages. Unwritten anywhere; inferred: it gives 11 of the 12 overall numbers that VLM-R1
(arXiv 2504.07615, Tables 4 to 7) prints, to .01 points; a mean of the eight files gives none."""


def mean(values: Mapping[str, float]) -> tuple[float, str]:
    """The mean over a suite's benchmarks, and what it is one of: over OVDEval's eight files, their aspects.

    Args:
        values: By the benchmark's name; at least one.
    """
    files = {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}
    if len(files) == len(values) and set(files) == {name for names in ASPECTS.values() for name in names}:
        return overall(files), f"mean of {len(ASPECTS)} aspects"
    return fmean(values.values()), f"mean of {len(values)}"


def overall(values: Mapping[str, float]) -> float:
    """Mean over the aspects of the mean over their files.

    Args:
        values: NMS-AP by file name, in any unit, all eight.

    Raises:
        KeyError: A file is missing: an overall number of fewer would not compare.
    """
    return fmean(fmean(values[name] for name in names) for names in ASPECTS.values())
