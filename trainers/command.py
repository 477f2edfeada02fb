"""The command line of both trainers, and what it makes of mistakes."""

from __future__ import annotations

import difflib
import importlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from vr1bench.arguments import pairs
from vr1bench.errors import Vr1benchError
from vr1bench.trainers.recipe import Method, Recipe, read_recipe

RecipeName = Annotated[str, typer.Argument(help="A recipe's name (`vr1bench list recipes`) or its TOML.")]
Changes = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="TABLE.KEY=VALUE: change the recipe, such as model.name=Qwen/Qwen2.5-VL-3B-Instruct."),
]
OutputDir = Annotated[Optional[Path], typer.Option(help="Folder of the checkpoints [default: the recipe's].")]
FIRST = os.environ.get("RANK", "0") == "0"
"""Whether this process speaks for all of a distributed training."""
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]


class Interrupted(Exception):
    """Somebody pressed Ctrl-C, and what was trained is saved."""


def configured(config: str, values: Mapping[str, Any], table: str) -> Any:  # noqa: ANN401  a config of TRL or peft
    """A config of another library from a table of the recipe.

    Args:
        config: Its path, such as `trl.GRPOConfig`.
        values: What the table says.
        table: Its name, for messages.

    Raises:
        Vr1benchError: The library knows no such field, or refuses a value.
    """
    module, _, name = config.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    for field, value in values.items():
        _check_number(f"[{table}] {field}", value, getattr(kind, field, None))
    try:
        return kind(**values)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        near = difflib.get_close_matches(unknown[1], kind.__dataclass_fields__, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Vr1benchError(f"[{table}] {unknown[1]}: {config} has no such field{hint}") from error
    except (ValueError, ImportError) as error:
        raise Vr1benchError(f"[{table}]: {config} refuses it: {error}") from error


def _check_number(place: str, value: object, default: object) -> None:
    """Refuses words where the library has a number: some it only stumbles over in the first step."""
    if isinstance(default, int | float) and not isinstance(default, bool) and isinstance(value, str):
        try:
            float(value)
        except ValueError:
            raise Vr1benchError(f"{place}: got {value!r}; expected a number such as {default}") from None


def main(method: Method, train: Callable[..., Path]) -> None:
    """Runs the trainer's command line and exits with its code."""

    def command(
        recipe: RecipeName, changes: Changes = None, output_dir: OutputDir = None, resume: Resume = False
    ) -> None:
        given = pairs(changes, "--set")
        if output_dir is not None:
            given[f"{method}.output_dir"] = str(output_dir)
        read: Recipe = read_recipe(recipe, given, method)
        try:
            folder = train(read, resume=resume)
        except Interrupted as stop:
            if FIRST:
                typer.echo(f"{stop}", err=True)
            raise typer.Exit(130) from None
        if FIRST:
            typer.echo(str(folder))

    command.__doc__ = {
        "grpo": "Train with GRPO: answers are drawn, paid by the recipe's rewards, and compared within their group.",
        "sft": "Train on targets: the perfect answers, as the model's family writes them.",
    }[method]
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(epilog=f"Example: vr1bench train {method} demo-{method} --set {method}.max_steps=20")(command)
    try:
        app(prog_name=f"vr1bench train {method}")
    except Vr1benchError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
