"""What the watches say of the study's checkpoints once the start counts as step 0, to which the study led."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vr1bench.store import Result
from vr1bench.trainers.falling import held_out, is_sure
from vr1bench.trainers.hacking import judge
from vr1bench.trainers.study.evidence import Checkpoint, Step

Run = tuple[str, str, str, int]
"""Start, arm, rate and seed."""


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
        worse: 1 where `vr1bench.trainers.falling` warns.
        hacked: 1 where `vr1bench.trainers.hacking` warns.
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
    worse: int
    hacked: int


def falls(found: Sequence[Checkpoint], logged: Sequence[Step]) -> list[Fall]:
    """Every scored checkpoint against its start, in the plan's order.

    Args:
        found: See `vr1bench.trainers.study.evidence.checkpoints`.
        logged: See `vr1bench.trainers.study.evidence.steps`.

    Raises:
        Vr1benchError: See `vr1bench.trainers.falling.held_out`.
    """
    starts = {one.start: one for one in found if one.arm == "start"}
    trained = [one for one in found if one.arm != "start" and one.start in starts]
    runs: dict[Run, list[Checkpoint]] = {}
    for one in trained:
        runs.setdefault(_run(one), []).append(one)
    rewards: dict[Run, list[dict[str, float]]] = {}
    for step in logged:
        rewards.setdefault(_run(step), []).append({"step": step.step, "reward": step.reward})
    return [
        fall
        for run, checkpoints in runs.items()
        for fall in _of_run(run, starts[run[0]], checkpoints, rewards.get(run, []))
    ]


def _run(one: Checkpoint | Step) -> Run:
    return one.start, one.arm, one.rate, one.seed


def _of_run(
    run: Run, start: Checkpoint, checkpoints: Sequence[Checkpoint], rewards: Sequence[dict[str, float]]
) -> Iterator[Fall]:
    own = bool(checkpoints[0].results)  # runs of `rates` and `order` are scored on dev alone
    begun = start.results if own else start.dev
    seen: list[tuple[int, Mapping[str, Result]]] = [(0, begun)]
    for one in checkpoints:
        new = one.results if own else one.dev
        change = held_out(begun, new)
        if change is None:
            continue
        seen.append((one.step, new))
        worse, hacked = is_sure(change, len(seen) - 1), judge(rewards, seen) is not None
        split = next(iter(new.values())).key.split
        yield Fall(*run, one.step, split, change.old, change.new, change.p_drop, int(worse), int(hacked))
