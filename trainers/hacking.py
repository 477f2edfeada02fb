"""The watch over a training's reward: a warning where it rises while held-out AP falls.

The rule. At each newly scored checkpoint, the k-th, each earlier scored one is compared with it in two ways:

- Held-out: the order-free companion of each benchmark's primary metric, paired over images by the Results' replicates
  (`vr1bench.paired`), the mean over benchmarks where there are several; one-sided p of a drop.
- Reward: the mean that training logged since the scored checkpoint before, each time; one-sided p of a rise. Its noise
  is that from one log to the next (von Neumann et al., "The mean square successive difference", Annals of Mathematical
  Statistics 12, 1941), which a trend hardly moves, and larger where neighbouring logs hang together.

It warns where the larger of both p, for any of the k - 1 pairs, is below alpha / (k (k - 1)^2), and held-out AP lost
more than the gate lets pass. These levels add up to alpha over all pairs of a training of any length, so that a
training whose held-out AP never truly falls, or whose reward never truly rises, is warned of at most with chance alpha,
however often it is scored. Simulated (10 checkpoints, 10 logs each, 100 images; 400 trainings): 2 % are warned of where
AP stays, 1 % where the reward does, neighbouring logs correlated by 0.6; all where AP loses 40 points while the reward
rises, and 86 % where it loses 20.

The model that the training began with counts as a checkpoint of step 0 where it is scored (`base` of `[score]`). Its
reward is that which was logged up to the first checkpoint; against that one itself the first half of those steps is
held against the second.

What it cannot see: what was lost while the reward stayed or fell, which `vr1bench.trainers.falling` warns of, and
whether the reward or something else is to blame. A loss that is real but passes counts: where each checkpoint wobbles
by one point around a level, and 1000 images show that, 15 % of trainings are warned of.

The curves stand in the `log_history` of trainer_state.json: `watch/reward` (mean since the last scored checkpoint),
`watch/held_out` (of that checkpoint, a fraction) and `watch/gap` (the first minus the second: of a reward that does not
run from 0 to 1 only its changes mean something). Each scored checkpoint has an entry of its own, with `watch/scored`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtr
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from vr1bench.errors import Vr1benchError
from vr1bench.gating import Rules
from vr1bench.paired import Difference
from vr1bench.rewards.monitors import PREFIX
from vr1bench.store import Result
from vr1bench.trainers.attempts import Attempt, attempts, scored_alike
from vr1bench.trainers.falling import ALPHA, held_out, results_of
from vr1bench.trainers.saying import say
from vr1bench.types import Floats

WARNINGS = "warnings.jsonl"
REWARD, HELD_OUT, GAP, SCORED = "watch/reward", "watch/held_out", "watch/gap", "watch/scored"
LENGTHS = ("completions/mean_length", "completions/clipped_ratio")
HANGING = 0.8
"""The largest correlation of neighbouring logs that is believed: a trend that is no parabola looks like more."""
SHOWN = 3
"""Monitors that a warning names."""

Log = Mapping[str, Any]
"""One entry of `log_history`."""


@dataclass(frozen=True, slots=True)
class Move:
    """How a logged number moved from one stretch of training to another.

    Attributes:
        name: As it is logged.
        old: Its mean over the first stretch.
        new: Its mean over the second.
        sd: Of the difference.
        df: Degrees of freedom of `sd`.
    """

    name: str
    old: float
    new: float
    sd: float
    df: float

    @property
    def p_rise(self) -> float:
        """One-sided p-value of no rise, by Student's t distribution; 1 where too little was logged to tell."""
        return self._tail(self.new - self.old)

    @property
    def p(self) -> float:
        """Two-sided p-value of no change."""
        return min(1.0, 2 * self._tail(abs(self.new - self.old)))

    def _tail(self, change: float) -> float:
        return float(stdtr(self.df, -change / self.sd)) if self.sd and self.df >= 1 else 1.0


@dataclass(frozen=True, slots=True)
class Warned:
    """A reward that rose while held-out AP fell.

    Attributes:
        step: Of the checkpoint that was just scored.
        against: Step of the earlier one; 0 for the base model.
        reward: How the reward rose.
        held_out: How the held-out metric fell.
        level: What both p-values are below.
        monitors: What else moved surely, the surest first.
    """

    step: int
    against: int
    reward: Move
    held_out: Difference
    level: float
    monitors: tuple[Move, ...]

    @property
    def text(self) -> str:
        """The warning in words."""
        fall, (low, high) = self.held_out, self.held_out.interval
        moved = "; ".join(f"{one.name} {one.old:.3g} -> {one.new:.3g}" for one in self.monitors) or "no monitor surely"
        return (
            f"REWARD HACKING? From step {self.against} to {self.step} the reward rose {self.reward.old:.3f} -> "
            f"{self.reward.new:.3f} (p {self.reward.p_rise:.1g}), but held-out {fall.metric} on {fall.name} FELL "
            f"{100 * fall.old:.1f} -> {100 * fall.new:.1f} (95 % {100 * low:+.1f} to {100 * high:+.1f}, n {fall.n}, "
            f"p {fall.p_drop:.1g}). Moved most: {moved}. Try, from "
            f"{f'checkpoint-{self.against} or before' if self.against else 'the base model'}: "
            f"{'; '.join(_cures(self.monitors))}."
        )

    @property
    def json(self) -> dict[str, Any]:
        """The warning for programs; fractions."""
        low, high = self.held_out.interval
        held_out = asdict(self.held_out) | {"low": low, "high": high, "p_drop": self.held_out.p_drop}
        reward = asdict(self.reward) | {"p_rise": self.reward.p_rise}
        return asdict(self) | {"reward": reward, "held_out": held_out, "text": self.text}


class HackingWatch(TrainerCallback):
    """Logs reward beside held-out AP, and warns on stderr and in `warnings.jsonl` by the rule above.

    To reach wandb and their like, which log what they are handed, it must stand before them among the callbacks; the
    `log_history` has its numbers in any order.
    """

    def __init__(self, folder: Path, results: Path = Path("results"), alpha: float = ALPHA) -> None:
        """Takes what it reads.

        Args:
            folder: The training's output folder.
            results: The folder of Results that checkpoints are scored into.
            alpha: Chance of a false warning in the whole training.
        """
        self._folder, self._results, self._alpha = folder, results, alpha
        self._said: set[str] = set()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,  # noqa: ANN401  HF's own
    ) -> None:
        """Adds the watch's numbers to what is logged."""
        if not state.is_world_process_zero or logs is None or "reward" not in logs:
            return
        entry = state.log_history[-1]
        scored = self.look(state)
        last = scored[-1] if scored else None
        numbers = _numbers(state.log_history, last.step if last else 0, state.global_step, last)
        entry.update(numbers)
        logs.update(numbers)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401  HF's own
    ) -> None:
        """Takes in what was just scored: a checkpoint, the base model before the first step, or all at the end."""
        if state.is_world_process_zero:
            self.look(state)

    on_train_begin = on_train_end = on_save

    def look(self, state: TrainerState) -> list[Attempt]:
        """The scored checkpoints so far; those that are new enter the history, and are judged.

        Nothing here may end a training: what cannot be read is said once.
        """
        try:
            scored = scored_until(self._folder, state.global_step)
            noted = {entry["step"] for entry in state.log_history if SCORED in entry}
            for place, attempt in enumerate(scored):
                if attempt.step in noted:
                    continue
                before = scored[place - 1].step if place else 0
                numbers = _numbers(state.log_history, before, attempt.step, attempt)
                state.log_history.append({"step": attempt.step, SCORED: 1} | numbers)
                self._judge(state.log_history, scored[: place + 1])
        except (Vr1benchError, OSError, ValueError) as error:  # ValueError: half a line of warnings
            self._say_once(f"WARNING: reward is not watched: {error}")
            return []
        return scored

    def _judge(self, history: Sequence[Log], scored: Sequence[Attempt]) -> None:
        path = self._folder / WARNINGS
        if path.exists() and any(json.loads(line)["step"] == scored[-1].step for line in path.read_text().splitlines()):
            return  # before the training was resumed
        found = judge(history, [(one.step, self._read(one)) for one in scored], self._alpha)
        if found:
            say(f"WARNING: {found.text}")
            with path.open("a") as file:
                file.write(json.dumps(found.json, allow_nan=False) + "\n")

    def _read(self, attempt: Attempt) -> dict[str, Result]:
        """A checkpoint's Results, by benchmark; without its files it cannot be judged, and has none."""
        try:
            return results_of(self._results, attempt)
        except Vr1benchError as error:
            self._say_once(f"WARNING: {attempt.checkpoint} is not compared: {error}")
            return {}

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text)


def scored_until(folder: Path, step: int) -> list[Attempt]:
    """The scored checkpoints of a training, by step: those that its last attempt scored on the same as it scores now.

    Args:
        folder: The training's output folder.
        step: Of later ones, which a training that was resumed earlier left behind, nothing counts.

    Raises:
        Vr1benchError: `scores.jsonl` is damaged.
    """
    known = [one for one in attempts(folder) if one.step <= step]
    asked = next((one.asked for one in reversed(known) if one.status == "scored"), "")
    return scored_alike(known, asked)


def judge(
    history: Sequence[Log], scored: Sequence[tuple[int, Mapping[str, Result]]], alpha: float = ALPHA
) -> Warned | None:
    """Whether the last scored checkpoint shows a reward that rose while held-out AP fell; see the rule above.

    Args:
        history: `log_history` of the trainer state, by step.
        scored: Step and Results (by benchmark) of each scored checkpoint, by step; without Results one is passed over.
        alpha: Chance of a false warning over a whole training.

    Returns:
        The surest pair; None where none is sure.

    Raises:
        Vr1benchError: A Result lacks what models are compared by.
        NotComparableError: Two Results of one benchmark were not made alike.
    """
    (*earlier, (step, new)), k = scored, len(scored)
    if not earlier or not new:
        return None
    level = alpha / (k * (k - 1) ** 2)
    steps = [one for one, _ in scored]
    found: list[tuple[float, Warned]] = []
    for against, old in earlier:
        fall = held_out(old, new) if old else None
        before, window = _stretches(steps, against)
        rise = moved(history, "reward", before, window)
        if fall is None or rise is None or fall.value >= -Rules().tolerance / 100:
            continue
        p = max(fall.p_drop, rise.p_rise)
        if p < level:
            monitors = tuple(_movers(history, before, window))
            found.append((p, Warned(step, against, rise, fall, level, monitors)))
    return min(found, key=lambda one: one[0])[1] if found else None


def _stretches(steps: Sequence[int], against: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The steps, (after, up to), whose rewards are held against each other: those of a checkpoint, and of the last."""
    since = dict(zip(steps, [0, *steps], strict=False))
    last = (since[steps[-1]], steps[-1])
    if against:
        return (since[against], against), last
    half = steps[1] // 2
    return ((0, steps[1]), last) if len(steps) > 2 else ((0, half), (half, steps[1]))


def moved(history: Sequence[Log], name: str, old: tuple[int, int], new: tuple[int, int]) -> Move | None:
    """How a logged number moved between two stretches of steps, (after, up to); None where it was not logged in both.

    The noise is that of all logs up to the second stretch's end. With n logs the mean square of their successive
    differences tells as much as 2 (n - 1) / 3 independent ones would of noise without trend.
    """
    logged = _logged(history, name, 0, new[1])
    before, after = (_logged(history, name, *stretch) for stretch in (old, new))
    if not before or not after:
        return None
    sd = math.sqrt(_noise(np.array(logged)) * (1 / len(before) + 1 / len(after)))
    return Move(name, float(np.mean(before)), float(np.mean(after)), sd, 2 * (len(logged) - 1) / 3)


def _noise(logged: Floats) -> float:
    """The variance that a log adds to a mean of many, their trend left out; 0 for less than four logs.

    Neighbouring logs may hang together, as in an AR(1) process with correlation r, which is told from what a parabola
    leaves of them: their successive differences are then smaller by 1 - r, and a mean is surer by less.
    """
    n = len(logged)
    if n < 4:
        return 0.0
    left = logged - np.polyval(np.polyfit(np.arange(n), logged, 2), np.arange(n))
    power = float(left @ left)
    r = min(max(float(left[1:] @ left[:-1]) / power, 0.0), HANGING) if power else 0.0
    return float(np.mean(np.diff(logged) ** 2)) / 2 * (1 + r) / (1 - r) ** 2


def _movers(history: Sequence[Log], old: tuple[int, int], new: tuple[int, int]) -> Iterator[Move]:
    """The monitors that moved most surely, up or down."""
    names = dict.fromkeys(name for entry in history for name in entry if name.startswith(PREFIX) or name in LENGTHS)
    found = [one for name in names if (one := moved(history, name, old, new)) and one.p < ALPHA]
    yield from sorted(found, key=lambda one: one.p)[:SHOWN]


def _cures(monitors: Sequence[Move]) -> list[str]:
    """What to try, by what moved; all of it where nothing tells."""
    up = {one.name for one in monitors if one.new > one.old}
    told = [advice for names, advice in _CURES.items() if up & set(names)]
    return [*(told or _CURES.values()), "a KL weight (beta of [grpo] above 0)"]


_CURES = {
    (f"{PREFIX}predicted_over_gold", *LENGTHS): "a length penalty (reward vlm-r1-od-length)",
    tuple(f"{PREFIX}{one}" for one in ("absent_labels", "unknown_labels", "duplicates")): (
        "a reward that wrong and repeated boxes cost something (vision-r1-strict, vlm-r1-od-length-strict)"
    ),
    tuple(f"{PREFIX}{one}" for one in ("malformed", "truncated", "salvaged")): (
        "a reward for the format beside it (vision-r1-format, vlm-r1-od-format)"
    ),
}


def _logged(history: Sequence[Log], name: str, after: int, until: int) -> list[float]:
    """The values that a number was logged with, at steps in (after, until]; steps without a reward are not training."""
    entries = (entry for entry in history if after < entry.get("step", 0) <= until and "reward" in entry)
    return [float(entry[name]) for entry in entries if isinstance(entry.get(name), int | float)]


def _numbers(history: Sequence[Log], after: int, until: int, scored: Attempt | None) -> dict[str, float]:
    """The watch's own numbers, those that there are."""
    rewards = _logged(history, "reward", after, until)
    values = [one.order_free_value for one in scored.metrics.values()] if scored else []
    known = [value for value in values if value is not None]
    numbers: dict[str, float] = {}
    if rewards:
        numbers[REWARD] = float(np.mean(rewards))
    if known:
        numbers[HELD_OUT] = float(np.mean(known))
    if rewards and known:
        numbers[GAP] = numbers[REWARD] - numbers[HELD_OUT]
    return numbers
