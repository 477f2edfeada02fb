"""Commands that ask a model: run, and questions for a model that somebody else runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

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
    Output,
    Protocol,
    Quiet,
    Scores,
    Seed,
    Split,
    Suite,
    Timeout,
    Window,
)
from vr1bench.commands.printing import say
from vr1bench.defaults import TIMEOUT_S, WINDOW
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.interrupts import leave

if TYPE_CHECKING:
    from vr1bench.store import Result

OF_ENGINE = {"base_url": "openai", "address": "ray", "replicas": "ray"}
"""Options that only one engine takes; `--engine-args` of the same name is the same."""


def run(
    model: Model = "",
    suite: Suite = None,
    benchmark: Benchmarks = None,
    engine: Annotated[str, typer.Option(help="auto, vllm, hf, openai, ray, oracle or replay.")] = "auto",
    family: FamilyName = "auto",
    protocol: Protocol = "standard",
    split: Split = None,
    limit: Limit = None,
    shard: Annotated[
        Optional[str], typer.Option(help="i/n: ask only every n-th picture, from the i-th; see `vr1bench merge`.")
    ] = None,
    scores: Scores = None,
    data_dir: DataDir = None,
    output: Output = Path("results"),
    seed: Seed = 0,
    engine_args: EngineArgs = None,
    gen_args: GenArgs = None,
    changes: Changes = None,
    window: Window = WINDOW,
    timeout: Timeout = TIMEOUT_S,
    verify: Annotated[
        bool, typer.Option("--verify", help="Score again with pycocotools and faster-coco-eval.")
    ] = False,
    batch_size: Annotated[
        Optional[str], typer.Option(help="Taken by --engine hf; vLLM batches on its own and ignores it.")
    ] = None,
    base_url: Annotated[
        Optional[list[str]], typer.Option(help="Of --engine openai: http://HOST:8000/v1; repeated for replicas.")
    ] = None,
    address: Annotated[Optional[str], typer.Option(help="Of --engine ray: auto, or HOST:6379 of a cluster.")] = None,
    replicas: Annotated[Optional[int], typer.Option(help="Of --engine ray: copies of the model.", min=1)] = None,
    config: Annotated[
        Optional[Path], typer.Option(help="TOML with any of these options; the command line wins.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score a model: ask, read, score, print a table. Continues where an earlier run stopped."""
    from vr1bench.arguments import pairs
    from vr1bench.running import run as run_model

    if not model:
        raise Vr1benchError("--model is missing; expected 'demo', a checkpoint folder or a hub id")
    own = {"base_url": base_url, "address": address, "replicas": replicas}
    engine, own = _of_engine(engine, own)
    engine_options = own | pairs(engine_args, "--engine-args")
    if batch_size is not None and engine == "hf":
        engine_options = pairs([f"batch_size={batch_size}"], "--batch-size") | engine_options
    elif batch_size is not None:
        typer.echo("note: --batch-size is ignored: this engine fills its batches continuously (see --window)", err=True)
    try:
        results = run_model(
            model,
            suite,
            benchmark,
            engine=engine,
            family=family,
            protocol=protocol,
            split=split,
            limit=limit,
            shard=shard,
            scores=scores,
            data_dir=data_dir,
            output=output,
            seed=seed,
            engine_args=engine_options,
            gen_args=pairs(gen_args, "--gen-args"),
            overrides=pairs(changes, "--set"),
            window=window,
            timeout=timeout,
            on_hang=lambda message: leave(f"\nerror: {message}", IncompleteError.exit_code),
            verify=verify,
            progress=not quiet,
            on_family=lambda name, because: typer.echo(f"note: family {name}: {because}", err=True),
            on_shard=say,
        )
    except IncompleteError as error:
        with suppress(Vr1benchError):  # where the disk is full, what ended the run is to be said
            _report(error.results, output)
        raise
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; what was answered is kept: type the same command again to continue", err=True)
        raise typer.Exit(130) from None
    if shard:
        say("a shard alone is no number; when all of them are there: vr1bench merge OUTPUT FOLDER...")
    _report(results, output)


def _of_engine(engine: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The engine, which such an option names where `auto` stands, and those that were given, as its arguments.

    Raises:
        Vr1benchError: One is of another engine.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        engine = OF_ENGINE[name] if engine == "auto" else engine
        if OF_ENGINE[name] != engine:
            option = "--" + name.replace("_", "-")
            raise Vr1benchError(
                f"{option} is of --engine {OF_ENGINE[name]}, got --engine {engine}; leave one of them out, on the "
                "command line or in --config"
            )
    return engine, given


def merge(
    output: Annotated[Path, typer.Argument(help="Folder of results that the whole run and its result go to.")],
    folders: Annotated[list[Path], typer.Argument(help="Folders of results, or run folders, that hold the shards.")],
    limit: Annotated[Optional[int], typer.Option(help="First samples only, as the shards were asked.")] = None,
    family: Annotated[Optional[str], typer.Option(help="The TOML of a family of your own.")] = None,
    data_dir: DataDir = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Score again with pycocotools and faster-coco-eval.")
    ] = False,
) -> None:
    """Make one run of the shards of `run --shard i/n`, and score it. Refuses gaps, overlaps and shards of two runs."""
    from vr1bench.merging import merge as merged

    try:
        results = merged(output, folders, limit=limit, family=family, data_dir=data_dir, verify=verify)
    except IncompleteError as error:
        _report(error.results, output)
        raise
    _report(results, output)


def _report(results: Sequence[Result], output: Path) -> None:
    from vr1bench.board import notes, run_table, write_leaderboard

    if not results:
        return
    say(run_table(results))
    for line in notes(results):
        typer.echo(line, err=True)
    path = write_leaderboard(output)
    typer.echo(f"\nresults in {output}/, records in {output}/runs/, leaderboard {path}", err=True)


def questions(
    family: Annotated[str, typer.Option(help="A family's name, or the path of its TOML.")] = "",
    benchmark: Annotated[str, typer.Option(help="A benchmark's name or TOML.")] = "",
    protocol: Annotated[str, typer.Option(help="How the number is made.")] = "standard",
    split: Annotated[Optional[str], typer.Option(help="[default: the benchmark's own].")] = None,
    limit: Annotated[Optional[int], typer.Option(help="First samples only.")] = None,
    data_dir: DataDir = None,
    changes: Changes = None,
) -> None:
    """Print what would be asked, as JSON lines, for a model that you run yourself; see --engine replay."""
    import json

    from vr1bench.arguments import pairs
    from vr1bench.asking import questions as asked

    if not family or not benchmark:
        raise Vr1benchError("--family and --benchmark are needed; see `vr1bench list`")
    for row in asked(
        benchmark, family=family, protocol=protocol, split=split, limit=limit, data_dir=data_dir,
        overrides=pairs(changes, "--set"),
    ):  # fmt: skip
        say(json.dumps(row, ensure_ascii=False))
