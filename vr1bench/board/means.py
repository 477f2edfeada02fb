"""Means over suites: which of them the results hold whole, and their values and intervals."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from vr1bench.benchmark import READINGS, benchmarks, suite, suites
from vr1bench.board.table import Place
from vr1bench.metrics.aspects import ASPECTS, PREFIX, weights
from vr1bench.metrics.bootstrap import Z
from vr1bench.store import Metric


def mean_metric(metrics: Mapping[str, Metric]) -> tuple[Metric, str]:
    """The mean over benchmarks, OVDEval's by aspect, with its interval; and what it is a mean of.

    Args:
        metrics: Benchmark to a metric that is defined; at least one. Benchmarks draw their images apart, so their
            errors are independent: the squares of their weighted standard deviations add up. Without an interval where
            one of them has none.
    """
    weight, title = weights(metrics)
    value = sum(weight[name] * (metric.value or 0.0) for name, metric in metrics.items())
    parts = [weight[name] * metric.sd for name, metric in metrics.items() if metric.sd is not None]
    if len(parts) < len(metrics):
        return Metric(value=value), title
    sd = math.hypot(*parts)
    return Metric(value=value, low=max(0.0, value - Z * sd), high=min(1.0, value + Z * sd), sd=sd), title


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean over a suite, or an aspect, in one protocol's columns.

    Attributes:
        name: Of the suite.
        split: That all its benchmarks share; "" for each one's own.
        places: The columns of its benchmarks, in the suite's order.
    """

    name: str
    split: str
    places: tuple[Place, ...]

    @property
    def key(self) -> Place:
        """Where its column stands among others."""
        return self.name, self.split, *self.places[0][2:]


def members_of(name: str) -> dict[str, tuple[str, ...]]:
    """Suites that have a mean, of two benchmarks or more, to their benchmarks; of equal ones the first.

    Args:
        name: A suite or benchmark: it, the suites in it, and OVDEval's aspects of several files; "" for all suites.
    """
    found: dict[str, tuple[str, ...]] = {}
    for one in _within(name) if name else suites():
        members = tuple(dict.fromkeys(member.name for member in suite(one)))
        if len(members) > 1 and one not in READINGS and set(members) not in map(set, found.values()):
            found[one] = members
            if name and weights(members)[1].endswith("aspects"):
                found |= {
                    f"{one} {aspect}": tuple(PREFIX + file for file in files)
                    for aspect, files in ASPECTS.items()
                    if len(files) > 1
                }
    return found


def _within(name: str) -> list[str]:
    inner = [one for one in suites().get(name, ()) if one in suites() and one not in benchmarks()]
    return [name, *(deeper for one in inner for deeper in _within(one))]


def means(rows: Iterable[Collection[Place]], name: str) -> list[Mean]:
    """The means that at least one row has whole: all benchmarks of a suite under one protocol, score rule and metric.

    Args:
        rows: Of each, the columns in which it has a defined number.
        name: See `members_of`.
    """
    rows = list(rows)
    found: dict[tuple[Place, ...], Mean] = {}
    for one, members in members_of(name).items():
        there = {place for row in rows for place in row if place[0] in members}
        for how in sorted({place[2:] for place in there}):
            for split, splits in _splits(members, {place[1] for place in there}).items():
                places = tuple((member, part, *how) for member, part in zip(members, splits, strict=True))
                if any(all(place in row for place in places) for row in rows):
                    found.setdefault(places, Mean(one, split, places))
    return list(found.values())


def _splits(members: Iterable[str], seen: Iterable[str]) -> dict[str, list[str]]:
    """Which splits make one suite: the same of all, or each benchmark's own; with `[:n]` where all are cut so."""
    members = list(members)
    found = {split: [split] * len(members) for split in sorted(seen)}
    cuts = sorted({split[len(split.partition("[")[0]) :] for split in found})
    return found | {cut: [benchmarks()[member].split + cut for member in members] for cut in cuts}
