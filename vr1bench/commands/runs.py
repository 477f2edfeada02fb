"""Commands that look into a run: errors, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from vr1bench.commands.options import Changes
from vr1bench.commands.printing import say
from vr1bench.errors import Vr1benchError

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

    from vr1bench.exporting import lm_eval_json, load
    from vr1bench.lookup import results_of
    from vr1bench.registry import unknown
    from vr1bench.store import write_text

    if form not in {"jsonl", "parquet", "coco", "lm-eval"}:
        raise unknown("format", form, ["jsonl", "parquet", "coco", "lm-eval"])
    if form == "lm-eval":
        text = lm_eval_json(results_of(str(run_dir), run_dir))
        if to:
            write_text(to, text)
        else:
            say(text.rstrip("\n"))
        return
    run = load(run_dir, data_dir=data_dir, limit=limit)
    if to is None:
        if form != "jsonl":
            raise Vr1benchError(f"--to is missing; expected the file that the {form} goes to")
        for row in run.rows():
            say(json.dumps(row, ensure_ascii=False))
        return
    write = {"jsonl": run.to_jsonl, "parquet": run.to_parquet, "coco": run.to_coco}[form]
    typer.echo(f"{write(to)} rows written to {to}", err=True)
