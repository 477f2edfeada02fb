"""What the watch over falls, which the study led to (`vr1bench.trainers.falling`), says of the study's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vr1bench.trainers.falling import held_out, is_sure
from vr1bench.trainers.study.evidence import Checkpoint


@dataclass(frozen=True, slots=True)
class Fall:
    """A checkpoint held against the start; fractions.

    Attributes:
        start: What was trained.
        arm: See `vr1bench.trainers.study.plan.Run`.
        rate: The learning rate.
        seed: Of the training.
        step: Of the training.
        split: What the run's checkpoints are scored on.
        old: The start's mean over benchmarks.
        new: The checkpoint's.
        p: One-sided, of a drop.
        warned: 1 where the watch warns.
    """

    start: str
    arm: str
    rate: str
    seed: int
    step: int
    split: str
    old: float
    new: float
    p: float
    warned: int


def falls(found: Sequence[Checkpoint]) -> list[Fall]:
    """Every scored checkpoint against its start, in the plan's order.

    Args:
        found: See `vr1bench.trainers.study.evidence.checkpoints`.

    Raises:
        Vr1benchError: See `vr1bench.trainers.falling.held_out`.
    """
    starts = {one.start: one for one in found if one.arm == "start"}
    rows: list[Fall] = []
    seen: dict[tuple[str, str, str, int], int] = {}
    for one in found:
        begun = starts.get(one.start)
        if one.arm == "start" or begun is None:
            continue
        change = held_out(begun.results, one.results) if one.results else held_out(begun.dev, one.dev)
        if change is None:
            continue
        run = (one.start, one.arm, one.rate, one.seed)
        seen[run] = seen.get(run, 0) + 1
        split = next(iter((one.results or one.dev).values())).key.split
        warned = int(is_sure(change, seen[run]))
        rows.append(Fall(*run, one.step, split, change.old, change.new, change.p_drop, warned))
    return rows
