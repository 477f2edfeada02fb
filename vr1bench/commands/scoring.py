"""Commands that score what was answered: score, parse."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from vr1bench.commands.options import Changes, DataDir
from vr1bench.commands.printing import say
from vr1bench.errors import Vr1benchError

if TYPE_CHECKING:
    from vr1bench.store import Result


def score(
    run_dirs: Annotated[Optional[list[Path]], typer.Argument(help="Run folders (they hold records.jsonl).")] = None,
    protocol: Annotated[
        Optional[str],
        typer.Option(help="Judge by another protocol that asks the same; detections by any [default: standard]."),
    ] = None,
    family: Annotated[
        Optional[str], typer.Option(help="Read by another family or its TOML, which must ask the same.")
    ] = None,
    scores: Annotated[
        Optional[str],
        typer.Option(help="Where box scores come from: constant, logprob or order; for detections own is the default."),
    ] = None,
    changes: Changes = None,
    limit: Annotated[Optional[int], typer.Option(help="First samples only.")] = None,
    data_dir: DataDir = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Score again with pycocotools and faster-coco-eval.")
    ] = False,
    coco_results: Annotated[
        Optional[Path],
        typer.Option(help="Anybody's detections, a COCO result file; for several benchmarks a folder with one each."),
    ] = None,
    benchmark: Annotated[
        Optional[list[str]], typer.Option(help="What --coco-results are of: a benchmark's name or TOML.")
    ] = None,
    suite: Annotated[Optional[str], typer.Option(help="What a folder of --coco-results is of.")] = None,
    model: Annotated[
        Optional[str], typer.Option(help="What the row of --coco-results is called [default: the file's name].")
    ] = None,
    split: Annotated[
        Optional[str], typer.Option(help="Split of --coco-results [default: each benchmark's own].")
    ] = None,
    output: Annotated[
        Optional[Path], typer.Option(help="Folder of results for the row of --coco-results [default: results].")
    ] = None,
    coco_gt: Annotated[
        Optional[Path], typer.Option(help="Anybody's COCO annotations: numbers of --coco-results without a row.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Parse and score stored answers again without a model, or score anybody's COCO result file.

    A result file is scored under a benchmark's protocol, as a row of the leaderboard, or against any annotations.
    """
    from vr1bench.arguments import pairs

    overrides = pairs(changes, "--set")
    row = bool(benchmark or suite or model or split or output)
    if not (coco_gt or coco_results or row):
        from vr1bench.rescoring import rescore

        overrides |= {"scores": scores} if scores else {}
        found = [
            rescore(folder, protocol, overrides, data_dir, family=family, limit=limit, verify=verify)
            for folder in run_dirs or ()
        ]
        if not found:
            raise Vr1benchError("expected run folders, or --coco-results with --benchmark, --suite or --coco-gt")
        _show([result for result, _ in found], [folder for _, folder in found], as_json)
    elif run_dirs or family or limit is not None:
        raise Vr1benchError(
            "run folders, --family and --limit are of stored answers, --coco-results is not; expected one of the two "
            "and nothing else"
        )
    elif coco_results and (benchmark or suite) and not coco_gt:
        from vr1bench.detections import score_detections

        folder = output or Path("results")
        results = score_detections(
            coco_results, suite, benchmark, model=model, protocol=protocol or "standard", split=split, scores=scores,
            data_dir=data_dir, output=folder, overrides=overrides, verify=verify,
        )  # fmt: skip
        _show(results, [folder], as_json)
    elif coco_results and coco_gt and not (row or protocol or scores or data_dir or verify):
        _score_coco(coco_gt, coco_results, overrides, as_json)
    else:
        raise Vr1benchError(
            "--coco-gt and --coco-results go together, with --set and --json and nothing else; for a row of the "
            "leaderboard --coco-results goes with --benchmark or --suite"
        )


def _show(results: Sequence[Result], outputs: Sequence[Path], as_json: bool) -> None:
    """Prints what was scored without a model, and draws the leaderboards that it belongs to."""
    from vr1bench.board import notes, run_table, write_leaderboard

    for output in dict.fromkeys(outputs):
        write_leaderboard(output)
    say("[" + ",\n".join(r.model_dump_json() for r in results) + "]" if as_json else run_table(results))
    for line in notes(results):
        typer.echo(line, err=True)


def _score_coco(gt: Path, results: Path, changes: dict[str, Any], as_json: bool) -> None:
    import json

    from tabulate import tabulate

    from vr1bench.coco import coco_eval
    from vr1bench.registry import unknown

    for field in changes:
        if field != "ids":
            raise unknown("field for COCO files", field, ["ids"])
    numbers = coco_eval(gt, results, **changes)
    if as_json:
        say(json.dumps(numbers, indent=1))
    else:
        rows = [[name, f"{value:.4f}"] for name, value in numbers.items()]
        say(tabulate(rows, headers=["metric", "value"], disable_numparse=True))


def parse(
    family: Annotated[str, typer.Option(help="A family's name, or the path of its TOML.")] = "",
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the original image in pixels.")] = "",
    input_size: Annotated[
        str, typer.Option(help="WIDTHxHEIGHT at which the model was fed [default: the family's own resize].")
    ] = "",
    queries: Annotated[str, typer.Option(help="Names that were asked, joined by commas.")] = "",
    lines: Annotated[
        bool, typer.Option("--lines", help='Each line is an answer: a JSON string, or {"text": …, "width": …, …}.')
    ] = False,
) -> None:
    """Read answers from stdin, print JSON lines: boxes in pixels of the original image, labels, status."""
    from vr1bench.arguments import pixels
    from vr1bench.parsing import as_json, parse_lines
    from vr1bench.parsing import parse as read

    if not family:
        raise Vr1benchError("--family is missing; see `vr1bench list families`")
    names = [name.strip() for name in queries.split(",") if name.strip()]
    sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")  # type: ignore[union-attr]  any bytes are an answer
    original, fed = pixels(size, "--size"), pixels(input_size, "--input-size")
    if lines:
        if fed:
            raise Vr1benchError("--input-size goes with one answer; with --lines each line says fed_width, fed_height")
        for prediction in parse_lines(sys.stdin, family=family, size=original, queries=names):
            say(as_json(prediction))
        return
    if original is None:
        raise Vr1benchError("--size is missing; expected WIDTHxHEIGHT of the original image, such as 640x480")
    say(as_json(read(sys.stdin.read(), family=family, size=original, input_size=fed, queries=names)))
