"""Whether a training lost what the model could do before: held-out AP surely below the base model's.

A reward need not rise for that, and SFT has none. In the study (docs/study), SFT on targets in another order
than the model's own fell from 94 to 58 AP_tie in 50 steps, and GRPO at too high a rate from 94 to 87 while its reward
stayed.

The rule. The k-th checkpoint of a training that is scored has fallen where its held-out mean lost more than the gate
lets pass, with a one-sided p, paired over images, below alpha / (k (k + 1)): these levels add up to alpha over any
number of checkpoints, so that a training that loses nothing is warned of at most with chance alpha, on each suite.

Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vr1bench.gating import Rules
from vr1bench.paired import Difference, difference, mean_difference, order_free
from vr1bench.store import Result, read_result
from vr1bench.trainers.attempts import Attempt, attempts, scored_alike

ALPHA = 0.05
"""Chance of a false warning in a whole training."""


def fallen(folder: Path, output: Path, attempt: Attempt) -> str:
    """The warning that a checkpoint is surely worse than the base model; "" where it is not, or nobody can tell.

    Of the base model itself, where it is scored after checkpoints: that they are.

    Args:
        folder: The training's output folder.
        output: Folder of Results.
        attempt: At one of them, scored and not noted yet.

    Raises:
        Vr1benchError: `scores.jsonl` or a Result is damaged, or a Result lacks what models are compared by.
        NotComparableError: Two were not scored alike.
    """
    base, *checkpoints = scored_alike([*attempts(folder), attempt], attempt.asked)
    if base.step:
        return ""
    old = results_of(output, base)
    judged = checkpoints if not attempt.step else [attempt]
    told: list[str] = []
    for k, one in enumerate(judged, len(checkpoints) - len(judged) + 1):
        change = held_out(old, results_of(output, one))
        if change is not None and is_sure(change, k):
            told.append(_told(one, change))
    return f"{'; '.join(told)}. {_ADVICE}" if told else ""


def is_sure(change: Difference, k: int) -> bool:
    """Whether the k-th scored checkpoint, from 1, has surely fallen below the base model by the rule above."""
    return change.value < -Rules().tolerance / 100 and change.p_drop < ALPHA / (k * (k + 1))


def held_out(old: Mapping[str, Result], new: Mapping[str, Result]) -> Difference | None:
    """What changed from one checkpoint to another in the mean over benchmarks; None where they have none in common.

    Benchmarks with metrics of two kinds have no mean that a leaderboard would show. Here each counts the same, with the
    mean of their standard deviations, as if all moved together: the largest that it can be.

    Raises:
        Vr1benchError: See `vr1bench.paired.difference`.
        NotComparableError: See there.
    """
    pairs = {name: (old[name], new[name]) for name in new if name in old}
    metrics = {name: order_free(after) for name, (_, after) in pairs.items()}
    parts = [difference(*pair, metrics[name]) for name, pair in pairs.items()]
    if len(parts) < 2:
        return parts[0] if parts else None
    mean = mean_difference(pairs, metrics)
    if mean is not None:
        return mean
    before, after, sd = (float(np.mean([getattr(one, of) for one in parts])) for of in ("old", "new", "sd"))
    names = "/".join(dict.fromkeys(metrics.values()))
    n, df = sum(one.n for one in parts), min(one.df for one in parts)
    return Difference(f"mean of {len(parts)}", names, before, after, sd, n, df)


def results_of(output: Path, attempt: Attempt) -> dict[str, Result]:
    """The Results of an attempt, by benchmark.

    Args:
        output: Folder of Results.
        attempt: Which.

    Raises:
        Vr1benchError: A file is gone or damaged.
    """
    found = [read_result(output / file) for file in attempt.results]
    return {one.key.benchmark: one for one in found}


_ADVICE = (
    "Try a lower learning_rate; for SFT look whether the targets list boxes in the model's own order ([data] targets); "
    "for GRPO a larger beta"
)


def _told(one: Attempt, change: Difference) -> str:
    low, high = change.interval
    return (
        f"{one.checkpoint} is WORSE than the base model: held-out {change.metric} on {change.name} fell "
        f"{100 * change.old:.1f} -> {100 * change.new:.1f} (95 % {100 * low:+.1f} to {100 * high:+.1f}, n {change.n}, "
        f"p {change.p_drop:.1g})"
    )
