"""What to watch while a reward is being maximised: numbers of a step's answers that move when the reward is hacked.

TRL logs some by itself, and they are not logged twice: the length of completions in tokens
(`completions/mean_length`), the share that the token limit cut (`completions/clipped_ratio`), the share of groups whose
rewards are all alike, so that their advantage is zero (`frac_reward_zero_std`), and each reward's mean
(`rewards/NAME/mean`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from vr1bench.families import FAMILIES, Family
from vr1bench.rewards.adapters import Completed, answers, gold_of, read
from vr1bench.rewards.presence import presence
from vr1bench.rewards.vlm_r1 import emitted
from vr1bench.types import PixelBudget, Prediction, Sample, Status

PREFIX = "monitor/"
"""In front of a monitor's name in a log."""
Answered = tuple[Sample, Prediction]


def watched(
    reward_function: Callable[..., Any],
    family: str | Family,
    pixels: PixelBudget | None = None,
    completed: Completed | None = None,
) -> Callable[..., Any]:
    """A reward function that also logs the monitors of what it is shown, as `monitor/NAME`, by TRL's `log_metric`.

    It pays what the function pays, under its name: no reward is added. One function of a trainer is enough, for all are
    shown the same completions. Over several processes TRL takes the mean of theirs.

    Args:
        reward_function: In TRL's form, such as `vr1bench.rewards.as_trl` makes; may be a coroutine function.
        family: Reads the completions: itself, its name, or the path of its TOML file.
        pixels: Bounds on the area that the trainer's processor feeds; None takes the family's own.
        completed: See `vr1bench.rewards.as_trl`.

    Returns:
        A function that takes what the given one takes. Rows whose `sample` is "" or missing have no gold, and are not
        looked at.

    Raises:
        Vr1benchError: The family is unknown.
    """
    reader = FAMILIES[family] if isinstance(family, str) else family

    def log(given: Mapping[str, Any]) -> None:
        log_metric: Callable[[str, float], None] | None = given.get("log_metric")
        if log_metric is None:  # called by hand, or by another trainer
            return
        said = answers(given["completions"], given.get("completion_ids") or (), completed)
        rows = ((one, gold_of(gold)) for one, gold in zip(said, given.get("sample") or (), strict=False) if gold)
        answered = [(gold, read(reader, one, gold, pixels)) for one, gold in rows]
        for name, value in monitors(answered).items():
            log_metric(PREFIX + name, value)

    if inspect.iscoroutinefunction(reward_function):

        @wraps(reward_function)
        async def waiting(*args: Any, **given: Any) -> Any:  # noqa: ANN401  whatever the function takes and gives
            log(given)
            return await reward_function(*args, **given)

        return waiting

    @wraps(reward_function)
    def paying(*args: Any, **given: Any) -> Any:  # noqa: ANN401
        log(given)
        return reward_function(*args, **given)

    return paying


def monitors(answered: Sequence[Answered]) -> dict[str, float]:
    """The monitors of some answers, such as those of one training step, by name; see the parts for their meaning.

    One that has nothing to stand on (no box, no gold, no thinking) is left out, and {} comes of no answers.

    Args:
        answered: Samples, each with one answer to it as the evaluation reads it.
    """
    return counting(answered) | reading(answered) | sorting(answered)


def counting(answered: Sequence[Answered]) -> dict[str, float]:
    """Of boxes: how many, and those that a reward may fail to punish.

    - `predicted_over_gold`: items in all answers, broken ones included, over gold boxes; 1 is right.
    - `duplicates`: share of boxes that repeat an earlier box and label of their answer.
    - `unknown_labels`: share of boxes with a label that was not asked.
    - `absent_labels`: share of boxes with a label that was asked and that no gold box has. AP as a reward of one image
      does not see them (`vr1bench.rewards.image_ap`), which the AP of a benchmark does.
    """
    gold = sum(len(sample.gold) for sample, _ in answered)
    boxes = sum(len(one.detections) for _, one in answered)
    found: dict[str, float] = {}
    if gold:
        found["predicted_over_gold"] = sum(emitted(one) for _, one in answered) / gold
    if boxes:
        found["duplicates"] = sum(int(one.duplicate.sum()) for _, one in answered) / boxes
        found["unknown_labels"] = sum(int(one.unknown.sum()) for sample, one in answered if sample.queries) / boxes
        found["absent_labels"] = sum(_absent(sample, one) for sample, one in answered) / boxes
    return found


def reading(answered: Sequence[Answered]) -> dict[str, float]:
    """Of answers: shares that add up to 1 (see `vr1bench.types.Status`).

    - `format`: read as they stand, boxes or a clear "nothing there".
    - `salvaged`: read in part, or tolerantly.
    - `truncated`: end inside of their structure.
    - `malformed`: nothing to read: no grammar's answer, a refusal, no text.
    """
    statuses = [one.status for _, one in answered]
    return {
        name: sum(status in among for status in statuses) / len(statuses) for name, among in _KINDS.items() if statuses
    }


def sorting(answered: Sequence[Answered]) -> dict[str, float]:
    """Of thinking: whether it sorts the asked names into present and absent (`vr1bench.rewards.presence`).

    - `thinking`: share of answers that have a thinking part.
    - `presence_decided`: of all names asked in those, the share that the thinking calls present or absent.
    - `presence_right`: of all names asked in those, the share that it calls rightly; so at most `presence_decided`.
    """
    found = [presence(sample, one.text) for sample, one in answered if sample.queries]
    sorted_out = [one for one in found if one is not None]
    shares = {"thinking": len(sorted_out) / len(found)} if found else {}
    asked = sum(one.asked for one in sorted_out)
    if asked:
        shares["presence_decided"] = sum(one.decided for one in sorted_out) / asked
        shares["presence_right"] = sum(one.right for one in sorted_out) / asked
    return shares


_KINDS = {
    "format": (Status.OK, Status.NONE),
    "salvaged": (Status.SALVAGED,),
    "truncated": (Status.TRUNCATED,),
    "malformed": (Status.MALFORMED, Status.REFUSED, Status.EMPTY),
}


def _absent(sample: Sample, prediction: Prediction) -> int:
    there = set(sample.gold.labels.tolist())
    return sum(label not in there for label in prediction.detections.labels[~prediction.unknown].tolist())
