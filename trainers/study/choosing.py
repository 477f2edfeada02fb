"""Which learning rate each start and method takes: the plan's rule, on the dev splits in domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vr1bench.trainers.recipe import Method
from vr1bench.trainers.study.evidence import DEV, Value
from vr1bench.trainers.study.plan import FILE_ORDER, IN, METHODS, RATES, STARTS, STEPS


@dataclass(frozen=True, slots=True)
class Tried:
    """A learning rate that was tried.

    Attributes:
        start: What was trained.
        arm: How: a method, or `FILE_ORDER`, of which none is chosen.
        rate: As the plan writes it.
        plain: AP_tie of study/plain on dev, a fraction.
        plain_rec: Acc@0.5 of study/plain-rec on dev.
    """

    start: str
    arm: str
    rate: str
    plain: float
    plain_rec: float

    @property
    def mean(self) -> float:
        """What decides, rounded so that the order of sums cannot."""
        return round((self.plain + self.plain_rec) / 2, 7)


def tried(values: Sequence[Value]) -> list[Tried]:
    """The rates of which both numbers are there, in the plan's order."""
    held = {
        (one.start, one.arm, one.rate, one.benchmark): one.value
        for one in values
        if one.split == DEV and one.step == STEPS and one.seed == "0"
    }
    return [
        Tried(start, arm, rate, *(held[start, arm, rate, name] for name in IN))
        for start in STARTS
        for arm in (*METHODS, FILE_ORDER)
        for rate in RATES
        if all((start, arm, rate, name) in held for name in IN)
    ]


def chosen(found: Sequence[Tried]) -> dict[tuple[str, Method], str]:
    """The rate of the highest mean, of equal ones the smaller; where all rates of a start and method were tried."""
    best: dict[tuple[str, Method], str] = {}
    for start in STARTS:
        for method in METHODS:
            same = [one for one in found if (one.start, one.arm) == (start, method)]
            if {one.rate for one in same} == set(RATES):
                best[start, method] = max(same, key=lambda one: (one.mean, -float(one.rate))).rate
    return best


def at_edge(rate: str) -> str:
    """Whether a rate is the smallest or the largest that was tried; "" where it is neither."""
    return {RATES[0]: "smallest tried", RATES[-1]: "largest tried"}.get(rate, "")
