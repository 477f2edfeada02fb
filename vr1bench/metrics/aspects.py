"""How much each benchmark weighs in a suite's mean: alike, but for OVDEval, whose overall number is that of aspects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PREFIX = "ovdeval/"
ASPECTS: dict[str, tuple[str, ...]] = {
    "proper noun": ("celebrity", "logo", "landmark"),
    "attribute": ("color", "material"),
    "position": ("position",),
    "relationship": ("relationship",),
    "negation": ("negation",),
}
"""The files that each aspect averages. Unwritten anywhere; inferred: it gives 11 of the 12 overall numbers that VLM-R1
(arXiv 2504.07615, Tables 4 to 7) prints, to .01 points; a mean of the eight files gives none."""


def weights(names: Iterable[str]) -> tuple[dict[str, float], str]:
    """The weight of each benchmark in the mean over all, and what that is a mean of.

    Args:
        names: Benchmarks, at least one. OVDEval's eight files together weigh by aspect; fewer of them, or others beside
            them, weigh alike: an overall number of fewer would not compare.
    """
    names = list(names)
    aspect_of = {f"{PREFIX}{file}": files for files in ASPECTS.values() for file in files}
    if set(names) == set(aspect_of):
        found = {name: 1 / len(ASPECTS) / len(aspect_of[name]) for name in names}
        return found, f"mean of {len(ASPECTS)} aspects"
    return dict.fromkeys(names, 1 / len(names)), f"mean of {len(names)}"


def mean(values: Mapping[str, float]) -> tuple[float, str]:
    """The weighted mean of benchmarks' values, and what it is one of; see `weights`."""
    weight, title = weights(values)
    return sum(weight[name] * value for name, value in values.items()), title
