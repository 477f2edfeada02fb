"""Commands about data and what can be named: prepare, list, show, doctor."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from vr1bench.commands.options import DataDir
from vr1bench.commands.printing import say
from vr1bench.errors import Vr1benchError


def prepare(
    names: Annotated[
        Optional[list[str]],
        typer.Argument(help="Suites, benchmarks, or their TOMLs, also joined by commas; see `vr1bench list`."),
    ] = None,
    data_dir: DataDir = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only verify what is there: no network, nothing written to the data. Exit code 1 if some is missing.",
        ),
    ] = False,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Leave the archives in downloads/ of the data folder.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what went wrong.")] = False,
) -> None:
    """Bring the data: download, checksum, unpack, verify. Continues where an earlier call stopped."""
    from vr1bench.prepare import failure, table
    from vr1bench.prepare import prepare as bring

    if not names:
        raise Vr1benchError("expected suites or benchmarks to prepare; see `vr1bench list`")
    try:
        rows = bring(names, data_dir, check=check, keep_archives=keep_archives, progress=not quiet)
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; what was fetched is kept: type the same command again to continue", err=True)
        raise typer.Exit(130) from None
    say(table(rows))
    for row in rows:
        for note in row.notes:
            typer.echo(f"warning: {row.benchmark}: {note}", err=True)
    failed = failure(rows)
    if failed is not None:
        raise failed


def list_(
    what: Annotated[
        str, typer.Argument(help="suites, benchmarks, protocols, families, engines, recipes or rewards.")
    ] = "",
) -> None:
    """Show what can be named on the command line."""
    from vr1bench.listing import SECTIONS
    from vr1bench.registry import unknown

    if what and what not in SECTIONS:
        raise unknown("kind of thing", what, SECTIONS)
    say("\n\n".join(SECTIONS[name]() for name in ([what] if what else SECTIONS)))


def show(
    benchmark: Annotated[str, typer.Argument(help="A benchmark's name or TOML, or a suite.")],
) -> None:
    """Print all that is known of a benchmark: definition, protocols, sources, quirks, what papers report."""
    from vr1bench.showing import describe

    say(describe(benchmark))


def doctor(data_dir: DataDir = None) -> None:
    """Say what is installed, what this machine can run, and what is missing. Exit code 1 if something is."""
    from vr1bench.doctor import examine, table

    findings = examine(data_dir)
    say(table(findings))
    if any(finding.verdict == "missing" for finding in findings):
        raise typer.Exit(1)
