"""How checkpoints are scored: a recipe's `[score]`, and the options of the command line that say the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vr1bench import engines, protocol
from vr1bench.benchmark import chosen
from vr1bench.families import FAMILIES
from vr1bench.types import FrozenModel


class Scoring(FrozenModel):
    """How checkpoints are scored: a recipe's `[score]`. Names mean what they do in `vr1bench run`.

    Attributes:
        mode: `inline`: the trainer waits while its checkpoint is scored, on the GPU whose memory it holds itself: vLLM
            takes what `engine_args = {gpu_memory_utilization = 0.3}` leaves it. `queue`: somebody runs `vr1bench train
            watch`. `after`: all that stand at the training's end.
        suite: Suites or benchmarks joined by commas; or
        benchmark: names or TOMLs of benchmarks.
        split: Of every benchmark; None takes each benchmark's own.
        limit: First samples only.
        protocol: How the numbers are made.
        engine: What answers.
        engine_args: Its own options.
        gen_args: Changes to decoding.
        family: `auto` goes by the model's config and name.
        data_dir: Folder that holds the data sets.
        output: Folder of results.
        overrides: Changes to fields of the protocol (`--set`).
        base: Score the model that the training begins with as well, as step 0: what is lost before the first checkpoint
            shows against nothing else. The answers that it gave an earlier training in `output` are taken again.
        keep_best: Keep the best checkpoint as `best/`.
        timeout_s: A scoring that takes longer is ended, and has failed; None waits for ever.
    """

    mode: Literal["inline", "queue", "after"] = "inline"
    suite: str = ""
    benchmark: tuple[str, ...] = ()
    split: str | None = None
    limit: int | None = Field(default=None, ge=1)
    protocol: str = "standard"
    engine: str = "auto"
    engine_args: dict[str, Any] = Field(default_factory=dict[str, Any])
    gen_args: dict[str, Any] = Field(default_factory=dict[str, Any])
    family: str = "auto"
    data_dir: str | None = None
    output: str = "results"
    overrides: dict[str, Any] = Field(default_factory=dict[str, Any])
    base: bool = True
    keep_best: bool = False
    timeout_s: float | None = Field(default=None, gt=0)

    @property
    def asked(self) -> list[str]:
        """What decides the number, as options of `vr1bench run`; those that say nothing are left out."""
        return [
            *(f"--benchmark={name}" for name in self.benchmark),
            *_options(suite=self.suite, split=self.split, limit=self.limit),
            *_options(protocol=self.protocol if self.protocol != "standard" else None),
            *_options(family=self.family if self.family != "auto" else None),
            *_pairs("--gen-args", self.gen_args),
            *_pairs("--set", self.overrides),
        ]

    @property
    def options(self) -> list[str]:
        """All of it, as options of `vr1bench run`, which `vr1bench train watch` takes as well."""
        return [
            *self.asked,
            *_options(engine=self.engine if self.engine != "auto" else None, data_dir=self.data_dir),
            *_options(output=self.output if self.output != "results" else None),
            *_pairs("--engine-args", self.engine_args),
        ]

    @property
    def protocols(self) -> dict[str, str]:
        """The benchmarks that are scored, each with the name of its protocol.

        Raises:
            Vr1benchError: Something named is unknown.
        """
        found = chosen(self.suite or None, self.benchmark)
        return {one.name: protocol.protocol(self.protocol, self.overrides, one.name).name for one in found}


def check(scoring: Scoring) -> None:
    """Finds what would make every scoring fail, before a training begins; reads the annotations.

    Raises:
        Vr1benchError: Something named is unknown, or its data is not there.
    """
    _ = scoring.protocols
    name = engines.default() if scoring.engine == "auto" else scoring.engine
    engines.ENGINES.check(name)
    if scoring.family != "auto":
        _ = FAMILIES[scoring.family]
    for one in chosen(scoring.suite or None, scoring.benchmark):
        one.load(scoring.split or one.split, Path(scoring.data_dir).expanduser() if scoring.data_dir else None)


def watch_command(folder: Path, scoring: Scoring) -> list[str]:
    """What somebody types to have a training's checkpoints scored beside it."""
    options = [*scoring.options, *(["--no-base"] * (not scoring.base)), *(["--keep-best"] * scoring.keep_best)]
    options += _options(timeout=scoring.timeout_s)
    return ["vr1bench", "train", "watch", str(folder), *options, "--until-done"]


def _options(**values: object) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items() if value not in (None, "")]


def _pairs(option: str, values: Mapping[str, Any]) -> list[str]:
    return [f"{option}={name}={json.dumps(value)}" for name, value in values.items()]
