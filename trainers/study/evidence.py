"""What the runs left behind: the Results of every checkpoint, and what every step of GRPO logged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vr1bench.benchmark import find
from vr1bench.errors import NotComparableError, Vr1benchError
from vr1bench.metrics.bootstrap import Z
from vr1bench.paired import differing, images, order_free, replicates, spread
from vr1bench.store import Result, read_result, slug
from vr1bench.trainers.attempts import STATE, attempts, standing
from vr1bench.trainers.hacking import WARNINGS
from vr1bench.trainers.recipe import BEGUN, read_training
from vr1bench.trainers.study.inference import Part
from vr1bench.trainers.study.plan import IN, OUT, RATES, RESULTS, SLOPPY, STARTS, Run, runs
from vr1bench.types import Floats

DEV = "dev"
MEANS = {"in": IN, "out": OUT, "all": IN + OUT}
"""Means over benchmarks, unweighted."""


@dataclass(frozen=True)
class Checkpoint:
    """A scored checkpoint; a start is step 0 of every arm from it.

    Attributes:
        start: What the training started from.
        arm: See `Run`.
        rate: Its learning rate, as the plan writes it; "" of a start.
        seed: Of the training; 0 in `rates` alone, from 1 on elsewhere.
        step: Of the training.
        results: By benchmark, each on its own split.
        dev: By benchmark, on the split `dev`.
    """

    start: str
    arm: str
    rate: str
    seed: int
    step: int
    results: Mapping[str, Result]
    dev: Mapping[str, Result]


@dataclass(frozen=True, slots=True)
class Value:
    """A number of a checkpoint, or of the mean over seeds; fractions.

    Attributes:
        start: See `Checkpoint`.
        arm: Likewise; `start` is the start itself.
        rate: Likewise.
        seed: Likewise; `mean` for the mean over seeds.
        step: Likewise.
        split: Of the benchmark.
        benchmark: Its name; `in`, `out` or `all` for an unweighted mean.
        metric: What is measured.
        value: The number.
        low: Lower end of its 95 % interval over images, cut at 0.
        high: Upper end, cut at 1.
    """

    start: str
    arm: str
    rate: str
    seed: str
    step: int
    split: str
    benchmark: str
    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a GRPO run logged.

    Attributes:
        start: What the training started from.
        arm: See `Run`.
        rate: See `Checkpoint`.
        seed: Likewise.
        step: From 1.
        reward: Mean over the step's answers.
        reward_std: Standard deviation within groups, as TRL logs it.
        frac_reward_zero_std: Share of groups whose answers are all paid alike: they teach nothing.
        kl: To the start; None where it has no weight and is not computed.
        entropy: Of the answers' tokens.
        mean_length: Of the answers, in tokens.
        clipped_ratio: Share of answers that the token limit cut.
        predicted_over_gold: Boxes named for each box that is there.
        duplicates: Boxes named again, as the monitor counts them.
        absent_labels: Boxes of classes that the picture has not, likewise.
        format: Share of answers in the family's format.
        warned: 1 where the hacking watch warned at this step.
    """

    start: str
    arm: str
    rate: str
    seed: int
    step: int
    reward: float
    reward_std: float | None
    frac_reward_zero_std: float | None
    kl: float | None
    entropy: float | None
    mean_length: float | None
    clipped_ratio: float | None
    predicted_over_gold: float | None
    duplicates: float | None
    absent_labels: float | None
    format: float | None
    warned: int


_LOGGED = {
    "reward_std": "reward_std",
    "frac_reward_zero_std": "frac_reward_zero_std",
    "kl": "kl",
    "entropy": "entropy",
    "mean_length": "completions/mean_length",
    "clipped_ratio": "completions/clipped_ratio",
    "predicted_over_gold": "monitor/predicted_over_gold",
    "duplicates": "monitor/duplicates",
    "absent_labels": "monitor/absent_labels",
    "format": "monitor/format",
}
"""Columns to TRL's names, and to those of our monitors."""


def checkpoints() -> list[Checkpoint]:
    """The starts, then the scored checkpoints of every planned run, by step.

    Raises:
        Vr1benchError: A Result or `scores.jsonl` is damaged, or a start was scored as two models.
    """
    starts = {**STARTS, "sloppy": SLOPPY}
    found = [
        Checkpoint(start, "start", "", 0, 0, _of_model(model, IN + OUT, ""), _of_model(model, IN, DEV))
        for start, model in starts.items()
    ]
    return [one for one in found if one.results or one.dev] + [
        one for run in runs() if run.arm != "start" for one in _of_run(run)
    ]


def values(found: Sequence[Checkpoint]) -> list[Value]:
    """Every number: of each checkpoint and of the mean over seeds, on each benchmark and on their means.

    Raises:
        NotComparableError: Results of one benchmark were not made alike.
        Vr1benchError: A Result lacks its replicates.
    """
    groups: dict[tuple[str, str, bool, str, int], list[Checkpoint]] = {}
    for one in found:
        groups.setdefault((one.start, one.arm, one.seed > 0, one.rate, one.step), []).append(one)
    rows: list[Value] = []
    for same in groups.values():
        for one in same:
            rows += _values([one], str(one.seed), dev=False) + _values([one], str(one.seed), dev=True)
        if len(same) > 1:
            rows += _values(same, "mean", dev=False)
    return rows


def steps() -> list[Step]:
    """What every step of every GRPO run logged, of runs that came to their end.

    Raises:
        Vr1benchError: A trainer state cannot be read.
    """
    return [step for run in runs() if run.method == "grpo" for step in _steps(run)]


def part(new: Sequence[Result], old: Sequence[Result], share: float) -> Part:
    """One benchmark's part of a comparison: the mean over the new Results against that over the old.

    Raises:
        NotComparableError: They were not made alike.
        Vr1benchError: One lacks the metric or its replicates.
    """
    check_alike([*new, *old])
    (after, moved), (before, still) = (_mean(side) for side in (new, old))
    return Part(share, before, after, moved - still, min(map(images, (*new, *old))))


def check_alike(results: Sequence[Result]) -> None:
    """Refuses Results of one benchmark that do not compare.

    Raises:
        NotComparableError: They were not made alike.
    """
    first = results[0]
    for other in results:
        if reasons := differing(first, other):
            raise NotComparableError(
                f"{first.key.benchmark}: {first.key.title} and {other.key.title} differ ({'; '.join(reasons)}); score "
                "both alike"
            )


def value_of(result: Result) -> float:
    """The number that the plan compares: AP_tie, or Acc@0.5.

    Raises:
        Vr1benchError: It is undefined.
    """
    value = result.values.metrics[order_free(result)].value
    if value is None:
        raise Vr1benchError(f"{result.key.benchmark}: {order_free(result)} of {result.key.title} is undefined")
    return value


def _mean(results: Sequence[Result]) -> tuple[float, Floats]:
    """Of several Results of one benchmark: the mean value, and its replicates, (1000,)."""
    kept = [replicates(one, order_free(one)) for one in results]
    return float(np.mean([value_of(one) for one in results])), np.mean(kept, axis=0)


def _values(same: Sequence[Checkpoint], seed: str, *, dev: bool) -> list[Value]:
    """The numbers of the mean over some checkpoints of one arm and step."""
    first, rows, held = same[0], list[Value](), dict[str, tuple[float, Floats]]()
    at = (first.start, first.arm, first.rate, seed, first.step)
    sides = [one.dev if dev else one.results for one in same]
    for name in (name for name in IN + OUT if all(name in side for side in sides)):
        results = [side[name] for side in sides]
        check_alike(results)
        held[name] = value, kept = _mean(results)
        low, high = _interval(value, spread(kept))
        rows.append(Value(*at, results[0].key.split, name, order_free(results[0]), value, low, high))
    for mean, members in MEANS.items():
        if all(name in held for name in members):
            value = float(np.mean([held[name][0] for name in members]))
            sd = float(np.linalg.norm([spread(held[name][1]) for name in members])) / len(members)
            split = DEV if dev else next(iter(sides[0].values())).key.split
            rows.append(Value(*at, split, mean, "mean", value, *_interval(value, sd)))
    return rows


def _interval(value: float, sd: float) -> tuple[float, float]:
    return max(0.0, value - Z * sd), min(1.0, value + Z * sd)


def _of_model(model: str, benchmarks: Sequence[str], split: str) -> dict[str, Result]:
    """The Results of a model that no training scored, by benchmark."""
    found: dict[str, Result] = {}
    for name in benchmarks:
        where = split or find(name).split
        files = sorted((RESULTS / name).glob(f"{where}.standard.*/{slug(model, '*', None)}.json"))
        if len(files) > 1:
            raise Vr1benchError(
                f"{model} was scored on {name} as {len(files)} models: {', '.join(map(str, files))}; move those away "
                "that are not the start that the trainings had"
            )
        if files:
            found[name] = read_result(files[0])
    return found


def _of_run(run: Run) -> Iterator[Checkpoint]:
    for one in standing(attempts(run.folder)):
        if one.status == "scored":
            results = [read_result(RESULTS / file) for file in one.results]
            dev = {result.key.benchmark: result for result in results if result.key.split == DEV}
            rest = {result.key.benchmark: result for result in results if result.key.split != DEV}
            yield Checkpoint(run.start, run.arm, _rate(run), run.seed, one.step, rest, dev)


def _steps(run: Run) -> Iterator[Step]:
    path = run.folder / STATE
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise Vr1benchError(f"cannot read {path}: {error}; expected what the trainer wrote at its end") from error
    if int(state["global_step"]) < int(state["max_steps"]):
        return  # interrupted
    warned, rate = _warned(run.folder / WARNINGS), _rate(run)
    for entry in state["log_history"]:
        if "reward" in entry:
            logged = {name: _number(entry.get(key)) for name, key in _LOGGED.items()}
            at = int(entry["step"])
            yield Step(
                run.start, run.arm, rate, run.seed, at, float(entry["reward"]), **logged, warned=int(at in warned)
            )


def _rate(run: Run) -> str:
    """The learning rate that a run was begun with, as the plan writes it."""
    rate = float(read_training(run.folder / BEGUN)[run.method]["learning_rate"])
    return next((one for one in RATES if float(one) == rate), f"{rate:g}")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _warned(path: Path) -> set[int]:
    try:
        return {int(json.loads(line)["step"]) for line in path.read_text().splitlines()}
    except FileNotFoundError:
        return set()
