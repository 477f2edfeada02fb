"""Commands about engines: parity, and what a run would cost on one."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from vr1bench.commands.options import (
    Benchmarks,
    Changes,
    DataDir,
    EngineArgs,
    FamilyName,
    GenArgs,
    Limit,
    Model,
    Protocol,
    Quiet,
    Seed,
    Split,
    Suite,
    Window,
)
from vr1bench.commands.printing import say
from vr1bench.defaults import WINDOW
from vr1bench.errors import Vr1benchError

FORMS = {"text": "simple", "md": "pipe", "json": ""}
"""`--format` to tabulate's name for it."""


def parity(
    model: Model = "",
    suite: Suite = None,
    benchmark: Benchmarks = None,
    engines: Annotated[str, typer.Option(help="Two or more, joined by commas; the first is the reference.")] = "",
    family: FamilyName = "auto",
    protocol: Protocol = "standard",
    split: Split = None,
    limit: Limit = None,
    at_least: Annotated[
        float, typer.Option(help="Exit code 1 where a smaller share of answers is identical.", min=0.0, max=1.0)
    ] = 1.0,
    top: Annotated[int, typer.Option(help="Differences shown of each benchmark and engine.", min=0)] = 10,
    form: Annotated[str, typer.Option("--format", help="text, md or json.")] = "text",
    data_dir: DataDir = None,
    seed: Seed = 0,
    engine_args: Annotated[
        Optional[list[str]], typer.Option(help="k=v[,k=v]: of all engines; hf.k=v is of hf, 2.k=v of the second only.")
    ] = None,
    gen_args: GenArgs = None,
    changes: Changes = None,
    window: Window = WINDOW,
    quiet: Quiet = False,
) -> None:
    """Ask several engines the same and say where answers part. Exit code 1 if too few are identical. Keeps nothing."""
    from vr1bench.arguments import pairs
    from vr1bench.parity import agreement, as_json, text

    _check(model, form)
    try:
        found = agreement(
            model,
            suite,
            benchmark,
            engines=[name.strip() for name in engines.split(",") if name.strip()],
            family=family,
            protocol=protocol,
            split=split,
            limit=limit,
            data_dir=data_dir,
            seed=seed,
            engine_args=pairs(engine_args, "--engine-args"),
            gen_args=pairs(gen_args, "--gen-args"),
            overrides=pairs(changes, "--set"),
            window=window,
            progress=not quiet,
            on_note=lambda note: typer.echo(f"note: {note}", err=True),
        )
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; nothing was kept", err=True)
        raise typer.Exit(130) from None
    say(as_json(found).rstrip("\n") if form == "json" else text(found, FORMS[form], top))
    if any(one.share < at_least for one in found):
        raise typer.Exit(1)


def plan(
    model: Model = "",
    suite: Suite = None,
    benchmark: Benchmarks = None,
    engine: Annotated[str, typer.Option(help="The engine that is probed; auto takes what `run` would take.")] = "auto",
    family: FamilyName = "auto",
    protocol: Annotated[
        Optional[list[str]], typer.Option(help="How the number is made; may be repeated [default: standard].")
    ] = None,
    split: Split = None,
    limit: Limit = None,
    probe: Annotated[int, typer.Option(help="Requests asked of each for the times; 0 starts no engine.", min=0)] = 8,
    form: Annotated[str, typer.Option("--format", help="text, md or json.")] = "text",
    data_dir: DataDir = None,
    engine_args: EngineArgs = None,
    gen_args: GenArgs = None,
    changes: Changes = None,
    window: Window = WINDOW,
    quiet: Quiet = False,
) -> None:
    """Say what a run would cost: requests, tokens, and time from a short probe. Exit code 1 if data is missing."""
    from vr1bench.arguments import pairs
    from vr1bench.costs import as_json, table
    from vr1bench.planning import estimate

    _check(model, form)
    try:
        found = estimate(
            model,
            suite,
            benchmark,
            engine=engine,
            family=family,
            protocols=protocol or ["standard"],
            split=split,
            limit=limit,
            probe=probe,
            data_dir=data_dir,
            engine_args=pairs(engine_args, "--engine-args"),
            gen_args=pairs(gen_args, "--gen-args"),
            overrides=pairs(changes, "--set"),
            window=window,
            progress=not quiet,
        )
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    say(as_json(found).rstrip("\n") if form == "json" else table(found, FORMS[form]))
    if found.memory:
        typer.echo(f"note: memory, in the checkpoint's precision: {found.memory.said}", err=True)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    for one in found.missing:
        typer.echo(f"error: {one.reason}", err=True)
    if found.missing:
        raise typer.Exit(1)


def _check(model: str, form: str) -> None:
    from vr1bench.registry import unknown

    if form not in FORMS:
        raise unknown("format", form, FORMS)
    if not model:
        raise Vr1benchError("--model is missing; expected 'demo', a checkpoint folder or a hub id")
