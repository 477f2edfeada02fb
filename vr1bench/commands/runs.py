"""Commands that look into a run: errors, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from vr1bench.commands.options import Changes
from vr1bench.commands.printing import say
from vr1bench.errors import Vr1benchError

if TYPE_CHECKING:
    from vr1bench.exporting import Run

RunDir = Annotated[Path, typer.Argument(help="A run folder (it holds records.jsonl).")]
DataDir = Annotated[Optional[Path], typer.Option(help="Where the data lies now [default: where it lay].")]


def errors(
    run_dir: RunDir,
    protocol: Annotated[Optional[str], typer.Option(help="Judge by another protocol that asks the same.")] = None,
    family: Annotated[
        Optional[str], typer.Option(help="Read by another family or its TOML, which must ask the same.")
    ] = None,
    changes: Changes = None,
    limit: Annotated[Optional[int], typer.Option(help="First samples only.")] = None,
    data_dir: DataDir = None,
    top: Annotated[int, typer.Option(help="Classes shown, those with most mistakes first.", min=0)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is wrong with a run's answers: what each kind of mistake costs, by size, class, crowding and status."""
    from vr1bench.arguments import pairs
    from vr1bench.diagnosing import mistakes
    from vr1bench.diagnosis import table

    found = mistakes(run_dir, protocol, pairs(changes, "--set"), data_dir, family=family, limit=limit)
    say(found.model_dump_json(indent=1) if as_json else table(found, top))


def export(
    run_dir: RunDir,
    form: Annotated[str, typer.Option("--format", help="jsonl, parquet, coco or lm-eval.")] = "jsonl",
    to: Annotated[
        Optional[Path], typer.Option(help="The file to write [default: stdout, for jsonl and lm-eval].")
    ] = None,
    limit: Annotated[Optional[int], typer.Option(help="First samples only.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a run in forms that other tools read: a row a sample, COCO results, or lm-evaluation-harness' results."""
    import json

    from vr1bench.exporting import load
    from vr1bench.registry import unknown

    if form not in {"jsonl", "parquet", "coco", "lm-eval"}:
        raise unknown("format", form, ["jsonl", "parquet", "coco", "lm-eval"])
    if form == "lm-eval":
        if limit is not None or data_dir is not None:
            raise Vr1benchError(
                "--format lm-eval writes results as they are, and scores nothing: --limit and --data-dir do not go "
                "with it; score the run with them first: vr1bench score RUN_DIR"
            )
        _lm_eval(run_dir, to)
        return
    run = load(run_dir, data_dir=data_dir, limit=limit)
    if to is not None:
        _write(run, form, to)
        return
    if form != "jsonl":
        raise Vr1benchError(f"--to is missing; expected the file that the {form} goes to")
    for row in run.rows():
        say(json.dumps(row, ensure_ascii=False))


def _lm_eval(run_dir: Path, to: Path | None) -> None:
    from vr1bench.exporting import lm_eval_json
    from vr1bench.lookup import results_of
    from vr1bench.store import write_text

    text = lm_eval_json(results_of(str(run_dir), run_dir))
    if to:
        write_text(to, text)
    else:
        say(text.rstrip("\n"))


def _write(run: Run, form: str, to: Path) -> None:
    note = ""
    if form == "coco":
        count, left_out = run.to_coco(to)
        note = f"; {left_out} boxes of no class of the benchmark left out" if left_out else ""
    else:
        count = run.to_parquet(to) if form == "parquet" else run.to_jsonl(to)
    typer.echo(f"{count} rows written to {to}{note}", err=True)
