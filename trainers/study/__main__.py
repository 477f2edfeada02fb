"""The command line of the study: `python -m vr1bench.trainers.study COMMAND`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from vr1bench.errors import Vr1benchError
from vr1bench.trainers.study.plan import DOCS, GROUPS

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
LOG = DOCS / "runs.csv"
RUN_EXAMPLES = """\b
Examples: everything; two groups; one run again; nothing new after an hour:
  python -m vr1bench.trainers.study run
  python -m vr1bench.trainers.study run starts rates
  python -m vr1bench.trainers.study run short/grpo-2
  python -m vr1bench.trainers.study run --minutes 60
"""


@app.callback()
def study() -> None:
    """SFT against GRPO in miniature (docs/study/plan.md). Paths count from the folder where this is typed."""


@app.command(epilog=RUN_EXAMPLES)
def run(
    what: Annotated[Optional[list[str]], typer.Argument(help=f"Groups ({', '.join(GROUPS)}) or recipes; all.")] = None,
    lanes: Annotated[int, typer.Option(help="Runs at a time, one thread each.", min=1)] = 2,
    minutes: Annotated[Optional[float], typer.Option(help="Start nothing new after so many.", min=0)] = None,
    log: Annotated[Path, typer.Option(help="Every attempt gets a line here.")] = LOG,
) -> None:
    """Run what is not finished yet, in the plan's order; leftovers of a failed attempt are moved aside.

    Exit code 1 where something is not finished then; Ctrl-C lets the runs save and end.
    """
    from vr1bench.trainers.study import jobs, runner

    for group in jobs.unwritten(what or ()):
        typer.echo(f"{group}: some recipes are not written yet: python -m vr1bench.trainers.study rates --write")
    left, signalled = runner.run(jobs.jobs(what or ()), log, lanes, minutes)
    raise typer.Exit(128 + signalled if signalled else int(left > 0))


@app.command(epilog="Example: python -m vr1bench.trainers.study rates --write")
def rates(
    write: Annotated[
        bool, typer.Option("--write", help="Write the recipes that follow from it, and all others.")
    ] = False,
) -> None:
    """Show how the rates that were tried fare on dev, and which the plan's rule takes."""
    from vr1bench.trainers.study import choosing, evidence, recipes, words

    found = choosing.tried(evidence.values([one for one in evidence.checkpoints() if one.seed == 0]))
    taken = choosing.chosen(found)
    typer.echo(words.rates_table(found))
    for (start, method), rate in taken.items():
        if edge := choosing.at_edge(rate):
            typer.echo(f"{start}, {method}: the best rate, {rate}, is the {edge}; the page is to say so")
    for path in recipes.write(taken) if write else []:
        typer.echo(f"wrote {path}")


@app.command(epilog="Example: python -m vr1bench.trainers.study report")
def report(
    docs: Annotated[Path, typer.Option(help="Folder of the tables, figures and pages.")] = DOCS,
) -> None:
    """Write tables, figures and pages from the runs; without runs draw them anew from the tables that are there."""
    from vr1bench.trainers.study import report

    written = report.write(docs)
    if not written.gathered:
        typer.echo(f"no runs here: drawn from the tables in {docs}")
    for path in written.files:
        typer.echo(f"wrote {path}")


def main() -> None:
    """The command."""
    try:
        app(prog_name="python -m vr1bench.trainers.study")
    except Vr1benchError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
