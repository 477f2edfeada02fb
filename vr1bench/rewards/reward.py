"""What a reward is, those that change while training goes on, and sums of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

from vr1bench.errors import Vr1benchError
from vr1bench.types import Prediction, Sample

Reward = Callable[[Sample, Prediction], float]


@runtime_checkable
class Staged(Protocol):
    """A reward whose rules change with training."""

    @property
    def changes(self) -> bool:
        """False where it pays alike from the first step to the last."""
        ...

    def at(self, progress: float) -> Self:
        """The reward as it pays at this share of the training's steps, from 0 to 1."""
        ...

    def __call__(self, sample: Sample, prediction: Prediction) -> float:
        """What it pays."""
        ...


def at(reward: Reward, progress: float) -> Reward:
    """The reward at this share of the training's steps, from 0 to 1; one that has no stages is itself."""
    return reward.at(progress) if isinstance(reward, Staged) else reward


def changes(reward: Reward) -> bool:
    """Whether the reward must be told how far training is."""
    return isinstance(reward, Staged) and reward.changes


@dataclass(frozen=True, slots=True)
class Mix:
    """A weighted sum of rewards; its range is the weighted sum of theirs.

    Attributes:
        parts: Name, weight and reward of each.
    """

    parts: tuple[tuple[str, float, Reward], ...]

    def __call__(self, sample: Sample, prediction: Prediction) -> float:
        """The sum."""
        return sum(weight * reward(sample, prediction) for _, weight, reward in self.parts)

    @property
    def changes(self) -> bool:
        """Whether a part must be told how far training is."""
        return any(changes(reward) for _, _, reward in self.parts)

    def at(self, progress: float) -> Mix:
        """Every part at this progress."""
        return replace(self, parts=tuple((name, weight, at(reward, progress)) for name, weight, reward in self.parts))


def mixed(weights: Mapping[str, float], known: Mapping[str, Reward]) -> Mix:
    """The weighted sum of named rewards.

    Args:
        weights: Name to weight; a negative weight turns a reward into a penalty.
        known: Name to reward.

    Raises:
        Vr1benchError: There is no name, a name is unknown or a weight is no finite number.
    """
    if not weights:
        raise Vr1benchError("no rewards to mix; expected names with their weights, such as {'vision-r1': 1.0}")
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise Vr1benchError(f"weight of reward {name!r}: expected a finite number, got {weight!r}")
    return Mix(tuple((name, float(weight), known[name]) for name, weight in weights.items()))
