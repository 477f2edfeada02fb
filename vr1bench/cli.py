"""The command line: parsing of arguments only.

Exit codes: 0 good, 1 incomplete, 2 usage or data, 3 not comparable, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from vr1bench.errors import IncompleteError, Vr1benchError

if TYPE_CHECKING:
    from vr1bench.store import Result

app = typer.Typer(
    name="vr1bench",
    help="One command scores a vision-language model on detection and grounding benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Example: vr1bench run --model demo --suite demo",
)

DataDir = Annotated[
    Optional[Path], typer.Option(help="Folder that holds the data sets [default: $VR1BENCH_DATA or ./data].")
]
Output = Annotated[Path, typer.Option(help="Folder of results; run folders lie under its runs/.")]
Changes = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="FIELD=VALUE: change one field of the protocol; the result's name says so."),
]
Scores = Annotated[Optional[str], typer.Option(help="Where box scores come from: constant, logprob or order.")]


@app.command(epilog="Example: vr1bench run --model Qwen/Qwen2.5-VL-7B-Instruct --suite odinw --data-dir data")
def run(
    model: Annotated[str, typer.Option(help="'demo', a checkpoint folder, or a hub id.")] = "",
    suite: Annotated[
        Optional[str], typer.Option(help="A suite, or benchmarks joined by commas; see `vr1bench list`.")
    ] = None,
    benchmark: Annotated[Optional[list[str]], typer.Option(help="A benchmark's name or TOML; may be repeated.")] = None,
    engine: Annotated[str, typer.Option(help="auto, vllm, hf, oracle or replay.")] = "auto",
    family: Annotated[str, typer.Option(help="A family, its TOML, or auto: by the model's config and name.")] = "auto",
    protocol: Annotated[str, typer.Option(help="How the number is made; see `vr1bench list protocols`.")] = "standard",
    split: Annotated[
        Optional[str], typer.Option(help="Split of every benchmark [default: each benchmark's own].")
    ] = None,
    limit: Annotated[Optional[int], typer.Option(help="First samples only.")] = None,
    scores: Scores = None,
    data_dir: DataDir = None,
    output: Output = Path("results"),
    seed: Annotated[int, typer.Option(help="Seed of decoding, where it samples.")] = 0,
    engine_args: Annotated[
        Optional[list[str]], typer.Option(help="k=v[,k=v]: the engine's own options, passed through.")
    ] = None,
    gen_args: Annotated[Optional[list[str]], typer.Option(help="k=v[,k=v]: decoding, such as temperature=0.7.")] = None,
    changes: Changes = None,
    window: Annotated[int, typer.Option(help="Requests in flight at most.", min=1)] = 128,
    verify: Annotated[
        bool, typer.Option("--verify", help="Score again with pycocotools and faster-coco-eval.")
    ] = False,
    batch_size: Annotated[
        Optional[str], typer.Option(help="Taken by --engine hf; vLLM batches on its own and ignores it.")
    ] = None,
    config: Annotated[
        Optional[Path], typer.Option(help="TOML with any of these options; the command line wins.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Score a model: ask, read, score, print a table. Continues where an earlier run stopped."""
    from vr1bench.arguments import pairs
    from vr1bench.running import run as run_model

    if not model:
        raise Vr1benchError("--model is missing; expected 'demo', a checkpoint folder or a hub id")
    engine_options = pairs(engine_args, "--engine-args")
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
            scores=scores,
            data_dir=data_dir,
            output=output,
            seed=seed,
            engine_args=engine_options,
            gen_args=pairs(gen_args, "--gen-args"),
            overrides=pairs(changes, "--set"),
            window=window,
            verify=verify,
            progress=not quiet,
            on_family=lambda name, because: typer.echo(f"note: family {name}: {because}", err=True),
        )
    except IncompleteError as error:
        _report(error.results, output)
        raise
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; what was answered is kept: type the same command again to continue", err=True)
        raise typer.Exit(130) from None
    _report(results, output)


@app.command(
    epilog="Example: vr1bench score --benchmark odinw/Raccoon --coco-results detections.json --model GroundingDINO-T"
)
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
    _say("[" + ",\n".join(r.model_dump_json() for r in results) + "]" if as_json else run_table(results))
    for line in notes(results):
        typer.echo(line, err=True)


@app.command(
    epilog='Example: echo \'[{"bbox_2d": [9, 9, 50, 40], "label": "dog"}]\' | vr1bench parse --family qwen2.5-vl '
    "--size 640x480 --input-size 644x476"
)
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
            _say(as_json(prediction))
        return
    if original is None:
        raise Vr1benchError("--size is missing; expected WIDTHxHEIGHT of the original image, such as 640x480")
    _say(as_json(read(sys.stdin.read(), family=family, size=original, input_size=fed, queries=names)))


@app.command(epilog="Example: vr1bench questions --family griffon --benchmark odinw/Raccoon > questions.jsonl")
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
        _say(json.dumps(row, ensure_ascii=False))


@app.command(epilog="Example: vr1bench board results --suite odinw --format html > odinw.html")
def board(
    results: Annotated[Path, typer.Argument(help="Folder of results.")] = Path("results"),
    form: Annotated[str, typer.Option("--format", help="md, csv, json, latex or html.")] = "md",
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
        str, typer.Option(help="One model, or the folder of its checkpoints: its steps and revisions in order.")
    ] = "",
    with_published: Annotated[
        bool, typer.Option("--with-published", help="Add what papers report of the same benchmarks, marked so.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Write LEADERBOARD.md there instead of printing.")] = False,
) -> None:
    """Draw the leaderboard from every result under a folder."""
    from vr1bench.board import FORMATS, View, leaderboard, write_leaderboard
    from vr1bench.published import published
    from vr1bench.registry import unknown
    from vr1bench.store import read_results

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if not results.is_dir():
        raise Vr1benchError(f"{results} is no folder; expected one that `vr1bench run --output` wrote")
    view = View(suite, sort, by, tuple(filters or ()), history)
    if write and (form != "md" or with_published or view != View()):
        raise Vr1benchError(
            "--write goes with no other option: LEADERBOARD.md holds own numbers only, all of them, as Markdown; leave "
            "--write out and redirect what is printed: > FILE"
        )
    if write:
        _say(str(write_leaderboard(results)))
    else:
        found = (result for _, result in read_results(results))
        drawn = leaderboard(found, published() if with_published else (), view)
        _say(FORMATS[form](drawn).rstrip("\n"))


@app.command(epilog="Example: vr1bench prepare odinw --data-dir data")
def prepare(
    names: Annotated[
        Optional[list[str]], typer.Argument(help="Suites, benchmarks, or benchmarks' TOMLs; see `vr1bench list`.")
    ] = None,
    data_dir: DataDir = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only verify what is there: no network. Exit code 1 if something is missing."),
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
    _say(table(rows))
    for row in rows:
        for note in row.notes:
            typer.echo(f"warning: {row.benchmark}: {note}", err=True)
    failed = failure(rows)
    if failed is not None:
        raise failed


@app.command(name="list", epilog="Example: vr1bench list benchmarks")
def list_(
    what: Annotated[str, typer.Argument(help="suites, benchmarks, protocols, families or engines.")] = "",
) -> None:
    """Show what can be named on the command line."""
    from vr1bench.listing import SECTIONS
    from vr1bench.registry import unknown

    if what and what not in SECTIONS:
        raise unknown("kind of thing", what, SECTIONS)
    _say("\n\n".join(SECTIONS[name]() for name in ([what] if what else SECTIONS)))


@app.command(epilog="Example: vr1bench show refcoco")
def show(
    benchmark: Annotated[str, typer.Argument(help="A benchmark's name or TOML, or a suite.")],
) -> None:
    """Print all that is known of a benchmark: definition, protocols, sources, quirks, what papers report."""
    from vr1bench.showing import describe

    _say(describe(benchmark))


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Say what is installed, what this machine can run, and what is missing. Exit code 1 if something is."""
    from vr1bench.doctor import examine, table

    findings = examine(data_dir)
    _say(table(findings))
    if any(finding.verdict == "missing" for finding in findings):
        raise typer.Exit(1)


def _report(results: Sequence[Result], output: Path) -> None:
    from vr1bench.board import notes, run_table, write_leaderboard

    if not results:
        return
    path = write_leaderboard(output)
    _say(run_table(results))
    for line in notes(results):
        typer.echo(line, err=True)
    typer.echo(f"\nresults in {output}/, records in {output}/runs/, leaderboard {path}", err=True)


def _say(text: str) -> None:
    """Prints to stdout; a reader that left (`| head`) is no error, nor is a letter that the terminal cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


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
        _say(json.dumps(numbers, indent=1))
    else:
        rows = [[name, f"{value:.4f}"] for name, value in numbers.items()]
        _say(tabulate(rows, headers=["metric", "value"], disable_numparse=True))


def main() -> None:
    """The `vr1bench` command."""
    from vr1bench.arguments import normalised, with_config

    try:
        status = app(with_config(normalised(sys.argv[1:])), standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except Exception as error:
        sys.exit(_exit_code(error))


def _exit_code(error: Exception) -> int:
    """Says what went wrong and gives the exit code; an error of our own making keeps its traceback."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        error = Vr1benchError(f"cannot write: {error.strerror}; free space and type the same command again")
    if isinstance(error, Vr1benchError):
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    show = getattr(error, "show", None)  # typer's own usage errors know how to print themselves
    if show is None:
        raise error
    show()
    return 2


if __name__ == "__main__":
    main()
