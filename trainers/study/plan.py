"""What docs/study/plan.md plans, as constants: starts, arms, rates, seeds, and every training that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vr1bench.trainers.recipe import RECIPES, Method

RUNS = Path("runs/study")
"""Where everything that the study makes lies, relative to the folder where the command is typed."""
RESULTS = RUNS / "results"
DOCS = Path("docs/study")
GROUPS = ("starts", "rates", "order", "seeds", "staged", "labelled", "hacking")
STARTS = {
    "shipped": "demo",
    "short": f"{RUNS}/short-start/model",
    "incomplete": f"{RUNS}/incomplete/start/checkpoint-50",
}
"""The starts of SFT against GRPO, each with the model that it is."""
SLOPPY = f"{RUNS}/sloppy/start/checkpoint-40"
SLOPPY_ROWS = RUNS / "sloppy.jsonl"
SHORT_STEPS = 650
METHODS: tuple[Method, ...] = ("sft", "grpo")
RATES = ("1e-5", "4e-5", "1.6e-4")
"""As they are written in names; from low to high."""
SEEDS = (1, 2, 3)
REWARDS = {
    "staged": "vision-r1-step-1/2",
    "labelled": "vision-r1-labelled",
    "ap": "vlm-r1-ap",
    "ap50": "vlm-r1-ap50",
    "od-length": "vlm-r1-od-length",
}
"""What arms are paid that are not paid as their base is."""
HACKED = ("ap", "ap50", "od-length")
FILE_ORDER = "file-order"
"""SFT on targets that list boxes as the file does; added to the plan on its first day (docs/study/runs.md)."""
IN = ("study/plain", "study/plain-rec")
OUT = ("study/shades", "study/grounds", "study/forms", "study/sizes", "study/crowds", "study/phrases")
STEPS = 50
HACKED_STEPS = 24

Group = Literal["starts", "rates", "order", "seeds", "staged", "labelled", "hacking"]
Chosen = Mapping[tuple[str, Method], str]
"""The learning rate of each start and method."""


@dataclass(frozen=True, slots=True)
class Run:
    """One planned training.

    Attributes:
        group: As the plan's table calls it.
        start: What it starts from.
        arm: What is compared: `sft`, `grpo`, `FILE_ORDER` or a key of `REWARDS`; `start` makes a start.
        seed: Of the order of rows and of the answers drawn.
        rate: Of a run of `rates` and `order`, as written in its name; "" of others.
    """

    group: Group
    start: str
    arm: str
    seed: int
    rate: str = ""

    @property
    def name(self) -> str:
        """The recipe's name below `study/`, and the output folder's below `runs/study`."""
        if self.arm == "start":
            return f"{self.start}/start"
        return f"{self.start}/{f'rate-{self.arm}-{self.rate}' if self.rate else f'{self.arm}-{self.seed}'}"

    @property
    def recipe(self) -> str:
        """As `vr1bench train` takes it."""
        return f"study/{self.name}"

    @property
    def file(self) -> Path:
        """The recipe's TOML."""
        return RECIPES / f"{self.recipe}.toml"

    @property
    def folder(self) -> Path:
        """Where its checkpoints lie."""
        return RUNS / self.name

    @property
    def method(self) -> Method:
        """Which trainer it is for."""
        return "sft" if self.arm in {"sft", "start", FILE_ORDER} else "grpo"

    @property
    def steps(self) -> int:
        """The step that counts: its last."""
        return HACKED_STEPS if self.group == "hacking" else 40 if self.recipe == "study/sloppy/start" else STEPS


def runs() -> list[Run]:
    """Every planned training by `vr1bench train`, in the plan's order."""
    three = tuple(STARTS)
    return [
        Run("starts", "incomplete", "start", 0),
        Run("starts", "sloppy", "start", 0),
        *(Run("rates", start, method, 0, rate) for start in three for method in METHODS for rate in RATES),
        *(Run("order", start, FILE_ORDER, 0, rate) for start in ("shipped", "short") for rate in RATES),
        *(Run("seeds", start, method, seed) for start in three for seed in SEEDS for method in METHODS),
        *(Run("staged", "short", "staged", seed) for seed in SEEDS),
        *(Run("labelled", "incomplete", "labelled", seed) for seed in SEEDS),
        *(Run("hacking", "sloppy", arm, seed) for seed in SEEDS for arm in HACKED),
    ]


def base_of(run: Run) -> tuple[str, Method]:
    """The start and method whose chosen rate a run takes."""
    return run.start, run.method
