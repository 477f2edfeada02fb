"""The command that draws the leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from vr1bench.commands.printing import pour, say
from vr1bench.errors import Vr1benchError


def board(
    results: Annotated[Path, typer.Argument(help="Folder of results.")] = Path("results"),
    form: Annotated[
        str,
        typer.Option(
            "--format", help="md, csv, json, latex or html; with --history also svg or png: its curves over steps."
        ),
    ] = "md",
    suite: Annotated[
        str, typer.Option(help="A suite or benchmark: its mean, all its members, OVDEval's aspects, and nothing else.")
    ] = "",
    filters: Annotated[
        Optional[list[str]],
        typer.Option(
            "--filter",
            help="KEY=PATTERN, such as protocol=vlm-r1 or model=Qwen/*: model, benchmark, suite, protocol, scores or "
            "step; may be repeated.",
        ),
    ] = None,
    sort: Annotated[str, typer.Option(help="model, date, or a part of one column's heading [default: model].")] = "",
    by: Annotated[str, typer.Option(help="What a row is: model or benchmark.")] = "model",
    history: Annotated[
        str,
        typer.Option(
            help="One model, or a training's folder of checkpoints: its steps and revisions in order, and the best."
        ),
    ] = "",
    with_published: Annotated[
        bool, typer.Option("--with-published", help="Add what papers report of the same benchmarks, marked so.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Write LEADERBOARD.md there instead of printing.")] = False,
) -> None:
    """Draw the leaderboard from every result under a folder."""
    from vr1bench.board import FORMATS, PICTURES, View, leaderboard, write_leaderboard
    from vr1bench.published import published
    from vr1bench.registry import unknown
    from vr1bench.store import read_results

    if form not in {**FORMATS, **PICTURES}:
        raise unknown("format", form, [*FORMATS, *PICTURES])
    if not results.is_dir():
        raise Vr1benchError(f"{results} is no folder; expected one that `vr1bench run --output` wrote")
    view = View(suite, sort, by, tuple(filters or ()), _training(history))
    if write and (form != "md" or with_published or view != View()):
        raise Vr1benchError(
            "--write goes with no other option: LEADERBOARD.md holds own numbers only, all of them, as Markdown; leave "
            "--write out and redirect what is printed: > FILE"
        )
    if write:
        say(str(write_leaderboard(results)))
    else:
        found = (result for _, result in read_results(results))
        drawn = leaderboard(found, published() if with_published else (), view)
        if form in PICTURES:
            pour(PICTURES[form](drawn))
        else:
            say(FORMATS[form](drawn).rstrip("\n"))


def _training(history: str) -> str:
    """A training's folder as its rows are called: from the current folder on, where it lies below that."""
    path = Path(history)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return history.rstrip("/")
