"""What a runner starts: trainings, the makings of starts, and scorings of starts; each knows whether it is finished."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vr1bench.benchmark import chosen
from vr1bench.errors import Vr1benchError
from vr1bench.store import slug
from vr1bench.trainers.attempts import STATE, standing
from vr1bench.trainers.attempts import attempts as attempts_at
from vr1bench.trainers.checkpoints import Backlog, checkpoints
from vr1bench.trainers.recipe import BEGUN, Recipe, read_recipe, read_training
from vr1bench.trainers.scoring import watch_command
from vr1bench.trainers.study import plan


class Job(Protocol):
    """Something to run once.

    Attributes:
        name: As it is logged.
        sha256: Of its recipe; "" where it has none.
        needs: What must be finished before.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def needs(self) -> tuple[Job, ...]: ...  # noqa: D102

    def lacking(self) -> str:
        """What is missing yet, in words; "" where it is finished."""
        ...

    def blocking(self) -> str:
        """What those that need it still wait for; "" where they may start."""
        ...

    def command(self) -> list[str]:
        """What runs it, once leftovers of an attempt that failed are out of its way."""
        ...


@dataclass(frozen=True)
class Training:
    """A training by its recipe, each of its checkpoints scored.

    Attributes:
        name: The recipe's name, or its TOML.
        recipe: As read.
        needs: What makes its start.
    """

    name: str
    recipe: Recipe
    needs: tuple[Job, ...] = ()

    @property
    def sha256(self) -> str:
        """Of everything that changes the training."""
        return self.recipe.sha256

    @property
    def folder(self) -> Path:
        """Where its checkpoints lie."""
        return Path(self.recipe.settings["output_dir"])

    def lacking(self) -> str:
        """What is missing yet.

        Raises:
            Vr1benchError: It was run with another recipe.
        """
        if missing := self.blocking():
            return missing
        if read_training(self.folder / BEGUN) != self.recipe.training:
            raise Vr1benchError(
                f"{self.folder} was trained by another recipe than {self.name} says now; restore the recipe, or move "
                "the folder aside: then it is trained anew"
            )
        if not checkpoints(self.folder):
            return f"{self.folder} holds no checkpoint"
        if self.recipe.scoring is not None and (left := Backlog(self.folder, self.recipe.scoring).unscored()):
            said = {one.checkpoint: one.message for one in standing(attempts_at(self.folder)) if one.message}
            return "; ".join(f"{name} is not scored{f': {said[name]}' if name in said else ''}" for name in left)
        return ""

    def blocking(self) -> str:
        """Its end; a model that is not scored can be trained on."""
        return "" if self._ended() else f"{self.folder} holds no training that came to its end"

    def command(self) -> list[str]:
        """The trainer, or of a training that ended the scoring of what is not scored."""
        if self._ended() and checkpoints(self.folder) and self.recipe.scoring is not None:
            return [
                sys.executable,
                "-m",
                "vr1bench.trainers.watch",
                *watch_command(self.folder, self.recipe.scoring)[3:],
            ]
        if self.folder.exists():
            move_aside(self.folder)
        return [sys.executable, "-m", f"vr1bench.trainers.{self.recipe.method}", self.name]

    def _ended(self) -> bool:
        """Whether it came to its last step; one that was interrupted wrote its state as well."""
        try:
            state: dict[str, Any] = json.loads((self.folder / STATE).read_bytes())
            return int(state["global_step"]) >= int(state["max_steps"])
        except (OSError, ValueError, KeyError, TypeError):
            return False


@dataclass(frozen=True)
class Scoring:
    """A start that no training scores, on a suite.

    Attributes:
        name: What is scored on what.
        model: As `vr1bench run` takes it.
        suite: Suite.
        split: Of every benchmark; "" takes each one's own.
        needs: What makes the model.
    """

    name: str
    model: str
    suite: str
    split: str = ""
    needs: tuple[Job, ...] = ()
    sha256: str = ""

    def lacking(self) -> str:
        """The benchmarks without a Result."""
        missing = [
            one.name
            for one in chosen(self.suite, None)
            if not any(
                (plan.RESULTS / one.name).glob(
                    f"{self.split or one.split}.standard.*/{slug(self.model, '*', None)}.json"
                )
            )
        ]
        return f"{self.model} is not scored on {', '.join(missing)}" if missing else ""

    def blocking(self) -> str:
        """The same."""
        return self.lacking()

    def command(self) -> list[str]:
        """`vr1bench run`, as checkpoints are scored: it goes on where it stopped."""
        options = [f"--model={self.model}", f"--suite={self.suite}", "--engine=hf", f"--output={plan.RESULTS}"]
        split = [f"--split={self.split}"] if self.split else []
        return [sys.executable, "-m", "vr1bench.trainers.scorer", "run", *options, *split, "--quiet"]


@dataclass(frozen=True)
class SloppyRows:
    """The rows from which the start `sloppy` learns."""

    name: str = "make sloppy rows"
    sha256: str = ""
    needs: tuple[Job, ...] = ()

    def lacking(self) -> str:
        """The file."""
        return "" if plan.SLOPPY_ROWS.exists() else f"{plan.SLOPPY_ROWS} is not there"

    def blocking(self) -> str:
        """The same."""
        return self.lacking()

    def command(self) -> list[str]:
        """What writes it."""
        plan.SLOPPY_ROWS.parent.mkdir(parents=True, exist_ok=True)
        return [sys.executable, "-m", "vr1bench.trainers.demo_sloppy", str(plan.SLOPPY_ROWS)]


@dataclass(frozen=True)
class ShortPretraining:
    """The start `short`: two processes; a killed one goes on where it stood."""

    name: str = "make short start"
    sha256: str = ""
    needs: tuple[Job, ...] = ()

    def lacking(self) -> str:
        """Whether it came to its end; a folder whose training state was deleted is taken for finished."""
        model, state = Path(plan.STARTS["short"]), Path(plan.STARTS["short"]).parent / "state.pt"
        if not (model / "config.json").exists():
            return f"{model} is not there"
        if not state.exists():
            return ""
        import torch

        steps = int(torch.load(state, weights_only=True, mmap=True)["steps"])
        return f"{model} stands at step {steps} of {plan.SHORT_STEPS}" if steps != plan.SHORT_STEPS else ""

    def blocking(self) -> str:
        """The same."""
        return self.lacking()

    def command(self) -> list[str]:
        """The pretraining.

        Raises:
            Vr1benchError: There is one that has not come to its end: perhaps it runs.
        """
        folder = Path(plan.STARTS["short"]).parent
        words = ["-m", "vr1bench.trainers.pretrain_demo", "--steps", str(plan.SHORT_STEPS), "--out", str(folder)]
        if folder.exists():
            raise Vr1benchError(
                f"{self.lacking() or folder}: a pretraining that has not come to its end, or another one; wait for it, "
                f"move it away, or where nobody runs it go on with: python {' '.join(words)}"
            )
        return [sys.executable, *words]


def jobs(what: Sequence[str]) -> list[Job]:
    """What is asked for, each once, in the plan's order where groups are named.

    Args:
        what: Groups; recipes, by name with or without `study/`, or as TOML; none for all groups.

    Raises:
        Vr1benchError: There is no such group or recipe.
    """
    found: dict[str, Job] = {}
    for word in what or plan.GROUPS:
        for job in _group(word) if word in plan.GROUPS else [training(word)]:
            found.setdefault(job.name, job)
    return list(found.values())


def unwritten(what: Sequence[str]) -> list[str]:
    """The asked-for groups of which a recipe is not written yet."""
    return [
        group
        for group in (what or plan.GROUPS)
        if any(run.group == group and not run.file.exists() for run in plan.runs())
    ]


def training(name: str) -> Training:
    """A training by its recipe.

    Raises:
        Vr1benchError: There is no such recipe.
    """
    known = {run.name: run for run in plan.runs()}
    run = known.get(name.removeprefix("study/"))
    if run is None:
        return Training(name, read_recipe(name))
    return Training(run.recipe, read_recipe(run.recipe), _before(run))


def move_aside(folder: Path) -> Path:
    """Renames a folder to the first free NAME.failed-K; gives it."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.failed-{number}")).exists():
        number += 1
    return folder.rename(aside)


def _group(group: str) -> list[Job]:
    named = [training(run.name) for run in plan.runs() if run.group == group and run.file.exists()]
    if group != "starts":
        return list(named)
    makers = {"short": (ShortPretraining(),), "incomplete": tuple(one for one in named if "incomplete" in one.name)}
    scorings = [
        Scoring(f"score {start} on {suite}{f' {split}' if split else ''}", model, suite, split, makers.get(start, ()))
        for start, model in plan.STARTS.items()
        for suite, split in (("study", ""), ("study-in", "dev"))
        if start != "incomplete" or split  # its training scores it on the suite
    ]
    return [SloppyRows(), ShortPretraining(), *named, *scorings]


def _before(run: plan.Run) -> tuple[Job, ...]:
    """What makes the start of a planned run."""
    if run.arm == "start":
        return (SloppyRows(),) if run.start == "sloppy" else ()
    if run.start == "short":
        return (ShortPretraining(),)
    return () if run.start == "shipped" else (training(f"{run.start}/start"),)
