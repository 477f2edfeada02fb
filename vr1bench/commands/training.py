"""The command that starts a trainer: a process of its own, for the product never imports the trainers."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Optional

import typer

from vr1bench.registry import unknown

TRAINERS = ("grpo", "sft", "watch")
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Of the command: what stands behind the trainer's name is that trainer's, `--help` too."""


def train(
    context: typer.Context,
    what: Annotated[Optional[str], typer.Argument(help="grpo, sft, or watch.")] = None,
) -> None:
    """Train with GRPO or SFT, or score the checkpoints of a training as they come (watch)."""
    if what in {None, "--help"}:
        typer.echo(
            "Usage: vr1bench train grpo|sft RECIPE [OPTIONS]\n       vr1bench train watch OUTPUT_DIR [OPTIONS]\n\n"
            f"{train.__doc__} Each has its own --help; `vr1bench list recipes` shows what ships.\n"
        )
        return
    if what not in TRAINERS:
        raise unknown("trainer", str(what), TRAINERS)
    sys.stdout.flush()
    sys.stderr.flush()
    # The trainer takes this process's place: signals and exit codes are its own.
    os.execv(sys.executable, [sys.executable, "-m", f"vr1bench.trainers.{what}", *context.args])  # noqa: S606
