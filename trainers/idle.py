"""The watch over groups that teach nothing: a question whose answers are all paid alike has no advantage to learn from.

TRL logs their share as `frac_reward_zero_std`. In the study's runs of 50 steps (docs/study/rewards.csv) 80 to 87 % of
the groups were idle where the model could do all that it was asked already (6 runs), 44 to 75 % where it lacked a
little (9), and 6 to 15 % where it lacked nearly all (9); in their worst ten steps 87 to 93 %, 62 to 88 % and 9 to 24 %.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from vr1bench.trainers.saying import say

IDLE = "frac_reward_zero_std"
STEPS, SHARE = 10, 0.85
"""So many logged steps of which this share of the groups was idle are warned of; chosen by the runs above."""


class IdleWatch(TrainerCallback):
    """Warns, once in a training, of steps whose groups hardly teach."""

    def __init__(self) -> None:
        """Has seen nothing."""
        self._seen: deque[float] = deque(maxlen=STEPS)
        self._warned = False

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,  # noqa: ANN401  HF's own
    ) -> None:
        """Takes in what a step logged."""
        share = (logs or {}).get(IDLE)
        if self._warned or not state.is_world_process_zero or not isinstance(share, int | float):
            return
        self._seen.append(float(share))
        mean = sum(self._seen) / len(self._seen)
        if len(self._seen) == STEPS and mean >= SHARE:
            self._warned = True
            say(
                f"WARNING: in the last {STEPS} steps {100 * mean:.0f} % of the groups taught nothing: all answers to a "
                "question were paid alike. Take rows that the model gets partly wrong ([data] hard, boxes, negatives), "
                "a reward that tells more apart, a higher temperature, or more answers a question (num_generations)"
            )
