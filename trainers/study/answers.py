"""The plan's questions A to F, answered from checkpoints and steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vr1bench.paired import Difference, holm
from vr1bench.trainers.study.evidence import MEANS, Checkpoint, Step, part, value_of
from vr1bench.trainers.study.inference import (
    OverSeeds,
    Part,
    Rise,
    over_images,
    over_seeds,
    rise,
    side,
    verdict,
)
from vr1bench.trainers.study.plan import HACKED, HACKED_STEPS, IN, OUT, SEEDS, STARTS, STEPS

STRETCH, HACKED_STRETCH = 10, 8
"""Steps at each end of a training that its reward's rise is taken from."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One number that answers a question, or a part of it; scores as fractions.

    Attributes:
        question: `A` to `F`, or `labelled`.
        start: What was trained.
        what: What the estimate is, such as `grpo - sft`.
        over: Benchmarks: `in`, `out`, `all` or a name; "" where it is of training.
        seeds: How many it is a mean of.
        estimate: The number.
        se: Its standard error, of a reward's rise.
        low: Lower end of the 95 % interval by images.
        high: Upper end.
        p: Two-sided p-value by images.
        holm: The same among the starts, after Holm.
        seeds_low: Lower end of the 95 % interval by seeds.
        seeds_high: Upper end.
        verdict: In the plan's words; "" where it gives none.
    """

    question: str
    start: str
    what: str
    over: str
    seeds: int
    estimate: float
    se: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    holm: float | None = None
    seeds_low: float | None = None
    seeds_high: float | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One arm against another, or against the start, on one benchmark or a mean of several; fractions.

    Attributes:
        start: What was trained.
        what: Such as `grpo - sft`.
        over: A benchmark, or `in`, `out`, `all`.
        seeds: How many both are means of.
        estimate: The difference.
        low: Lower end of its 95 % interval by images.
        high: Upper end.
        seeds_low: The same by seeds; None with one seed.
        seeds_high: Likewise.
    """

    start: str
    what: str
    over: str
    seeds: int
    estimate: float
    low: float
    high: float
    seeds_low: float | None
    seeds_high: float | None


@dataclass(frozen=True)
class Evidence:
    """What questions are answered from.

    Attributes:
        checkpoints: See `vr1bench.trainers.study.evidence.checkpoints`.
        steps: See `vr1bench.trainers.study.evidence.steps`.
    """

    checkpoints: Sequence[Checkpoint]
    steps: Sequence[Step]

    def of(self, start: str, arm: str, step: int) -> dict[int, Checkpoint]:
        """By seed; of the start the same one for all."""
        if arm == "start":
            begun = [one for one in self.checkpoints if (one.start, one.arm) == (start, arm)]
            return {seed: one for one in begun for seed in SEEDS}
        return {
            one.seed: one
            for one in self.checkpoints
            if (one.start, one.arm, one.step) == (start, arm, step) and one.seed > 0
        }

    def compared(
        self, start: str, new: str, old: str, names: Sequence[str], step: int = STEPS
    ) -> tuple[Difference, OverSeeds, int] | None:
        """One arm against another over the seeds that both have scored on all benchmarks; None without such a seed."""
        sides = [self.of(start, arm, step) for arm in (new, old)]
        seeds = [
            seed
            for seed in sorted(sides[0])
            if all(seed in one and all(name in one[seed].results for name in names) for one in sides)
        ]
        if not seeds:
            return None
        parts: list[Part] = []
        changes = dict.fromkeys(seeds, 0.0)
        for name in names:
            after, before = ([one[seed].results[name] for seed in seeds] for one in sides)
            parts.append(part(after, before, 1 / len(names)))
            for seed, last, first in zip(seeds, after, before, strict=True):
                changes[seed] += (value_of(last) - value_of(first)) / len(names)
        return over_images(parts), over_seeds(list(changes.values())), len(seeds)

    def rise(self, start: str, arm: str, stretch: int, last: int) -> tuple[Rise, int] | None:
        """How much the reward rose, over the seeds that logged every step of both stretches; None without any."""
        runs = self._logged(start, arm).values()
        ends = [
            (
                [run[at].reward for at in range(1, stretch + 1)],
                [run[at].reward for at in range(last - stretch + 1, last + 1)],
            )
            for run in runs
            if all(at in run for at in (*range(1, stretch + 1), *range(last - stretch + 1, last + 1)))
        ]
        return (rise(ends), len(ends)) if ends else None

    def boxes(self, start: str, arm: str, stretch: int, last: int) -> dict[int, float]:
        """Predicted over gold boxes, the mean over the last steps, by seed."""
        window = range(last - stretch + 1, last + 1)
        found: dict[int, float] = {}
        for seed, run in self._logged(start, arm).items():
            kept = [run[at].predicted_over_gold for at in window if at in run]
            known = [one for one in kept if one is not None]
            if len(known) == stretch:
                found[seed] = sum(known) / stretch
        return found

    def _logged(self, start: str, arm: str) -> dict[int, dict[int, Step]]:
        """The steps of an arm, by seed and number."""
        runs: dict[int, dict[int, Step]] = {}
        for one in self.steps:
            if (one.start, one.arm) == (start, arm) and one.seed:
                runs.setdefault(one.seed, {})[one.step] = one
        return runs


def answers(evidence: Evidence) -> list[Answer]:
    """All that can be answered of what is there, in the plan's order.

    Raises:
        Vr1benchError: Results that are compared were not made alike.
    """
    rises = {start: evidence.rise(start, "grpo", STRETCH, STEPS) for start in STARTS}
    trained = {start: found is not None and found[0].sure for start, found in rises.items()}
    found: list[Answer] = []
    for start, one in rises.items():
        if one is not None:
            found.append(_risen("A", start, "grpo: reward, last ten steps - first ten", one))
    for question, over, new, old in (
        ("B", "out", "grpo", "sft"), ("C", "in", "grpo", "sft"), ("D", "out", "sft", "start"),
        ("D", "out", "grpo", "start"),
    ):  # fmt: skip
        gated = question in {"B", "C"}
        same = [_compared(evidence, question, start, new, old, over, not gated or trained[start]) for start in STARTS]
        found += _after_holm([one for one in same if one is not None])
    found += [one for one in [_compared(evidence, "E", "short", "staged", "grpo", "all", trained["short"])] if one]
    found += _hacking(evidence)
    for over in ("out", "in"):
        one = _compared(evidence, "labelled", "incomplete", "labelled", "grpo", over, trained=True)
        found += [replace(one, verdict="")] if one else []
    return found


def contrasts(evidence: Evidence) -> list[Contrast]:
    """Both methods against each other and against the start: on each benchmark, and on the means.

    Raises:
        Vr1benchError: Results that are compared were not made alike.
    """
    found: list[Contrast] = []
    for start in STARTS:
        for new, old in (("grpo", "sft"), ("sft", "start"), ("grpo", "start")):
            for over in (*IN, *OUT, *MEANS):
                one = evidence.compared(start, new, old, MEANS.get(over, (over,)))
                if one is not None:
                    images, seeds, n = one
                    ends = (*images.interval, seeds.low, seeds.high)
                    found.append(Contrast(start, f"{new} - {old}", over, n, images.value, *ends))
    return found


def _compared(
    evidence: Evidence, question: str, start: str, new: str, old: str, over: str, trained: bool, step: int = STEPS
) -> Answer | None:
    one = evidence.compared(start, new, old, MEANS.get(over, (over,)), step)
    if one is None:
        return None
    images, seeds, n = one
    named = [{"grpo": "unstaged" if new == "staged" else "GRPO", "sft": "SFT"}.get(arm, arm) for arm in (new, old)]
    said = verdict(images, seeds, *named, trained=trained)
    return Answer(
        question, start, f"{new} - {old}", over, n, images.value, None, *images.interval, images.p, None, seeds.low,
        seeds.high, said,
    )  # fmt: skip


def _risen(question: str, start: str, what: str, found: tuple[Rise, int]) -> Answer:
    one, seeds = found
    return Answer(
        question, start, what, "", seeds, one.value, one.se, verdict="rose" if one.sure else "did not surely rise"
    )


def _after_holm(same: Sequence[Answer]) -> list[Answer]:
    adjusted = holm([1.0 if one.p is None else one.p for one in same])
    return [replace(one, holm=p) for one, p in zip(same, adjusted, strict=True)]


def _hacking(evidence: Evidence) -> Iterator[Answer]:
    start, name, last = "sloppy", IN[0], HACKED_STEPS
    boxes = {arm: evidence.boxes(start, arm, HACKED_STRETCH, last) for arm in HACKED}
    for arm in HACKED:
        risen = evidence.rise(start, arm, HACKED_STRETCH, last)
        if risen is not None:
            yield _risen("F", start, f"{arm}: reward, last eight steps - first eight", risen)
        if boxes[arm]:
            yield _over_seeds(f"{arm}: predicted over gold boxes, last eight steps", boxes[arm])
        fallen = evidence.compared(start, arm, "start", (name,), last)
        answer = _compared(evidence, "F", start, arm, "start", name, True, last)
        if answer is not None and fallen is not None:
            hacked = risen is not None and risen[0].sure and side(fallen[0], fallen[1]) < 0
            yield replace(answer, verdict="hacked" if hacked else "not shown to be hacked")
        yield from _warnings(evidence, arm)
    for other in ("ap", "ap50"):
        answer = _compared(evidence, "F", start, "od-length", other, name, True, last)
        yield from [answer] if answer else []
        both = {
            seed: boxes["od-length"][seed] - boxes[other][seed] for seed in boxes[other] if seed in boxes["od-length"]
        }
        if both:
            yield _over_seeds(f"od-length - {other}: predicted over gold boxes, last eight steps", both)


def _over_seeds(what: str, by_seed: dict[int, float]) -> Answer:
    one = over_seeds(list(by_seed.values()))
    return Answer("F", "sloppy", what, "", len(by_seed), one.value, seeds_low=one.low, seeds_high=one.high)


def _warnings(evidence: Evidence, arm: str) -> Iterator[Answer]:
    """How many runs of an arm the hacking watch warned of, and at which steps."""
    steps = [one for one in evidence.steps if (one.start, one.arm) == ("sloppy", arm)]
    seeds, warned = {one.seed for one in steps}, dict[int, list[str]]()
    for one in steps:
        if one.warned:
            warned.setdefault(one.seed, []).append(str(one.step))
    said = "; ".join(f"seed {seed} at step {' and '.join(at)}" for seed, at in sorted(warned.items()))
    if seeds:
        yield Answer(
            "F", "sloppy", f"{arm}: runs that the hacking watch warned of", "", len(seeds), len(warned), verdict=said
        )
