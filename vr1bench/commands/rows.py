"""The command that makes training rows: rows."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from vr1bench.commands.options import Changes, DataDir
from vr1bench.commands.printing import say
from vr1bench.errors import Vr1benchError

if TYPE_CHECKING:
    from vr1bench.leakage import HeldOut
    from vr1bench.rows import Row, TrainingRows

SHARED = ("refuse", "drop", "warn")


def rows(
    benchmark: Annotated[str, typer.Argument(help="A benchmark's name or TOML; see `vr1bench list benchmarks`.")],
    family: Annotated[str, typer.Option(help="Whose questions, grammar and frame: a family's name or TOML.")] = "",
    split: Annotated[
        Optional[str], typer.Option(help="[default: the one that is there to be trained on, such as train2017].")
    ] = None,
    protocol: Annotated[str, typer.Option(help="How it is asked; see `vr1bench list protocols`.")] = "standard",
    changes: Changes = None,
    boxes: Annotated[str, typer.Option(help="LOW-HIGH: samples with so many boxes; Vision-R1 takes 1-30.")] = "",
    negatives: Annotated[
        str,
        typer.Option(
            help="LOW-HIGH: ask what is there and so many names that are not; VLM-R1 takes 1-3. Without: all names."
        ),
    ] = "",
    hard: Annotated[Optional[float], typer.Option(help="Share of samples with --hard-boxes boxes or more.")] = None,
    hard_boxes: Annotated[int, typer.Option(help="See --hard; Vision-R1's loader takes 10.", min=1)] = 10,
    limit: Annotated[Optional[int], typer.Option(help="So many samples, drawn by --seed.")] = None,
    order: Annotated[str, typer.Option(help="file, boxes (fewest first, as Vision-R1 sorts) or shuffled.")] = "file",
    incomplete: Annotated[
        float, typer.Option(help="Share of samples that keep one box a class: careless labels, for studies.")
    ] = 0.0,
    targets: Annotated[
        str, typer.Option(help="Order of an answer's boxes: file, or reading (row by row, from left to right).")
    ] = "file",
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    form: Annotated[str, typer.Option(help="rows, or vlm-r1: conversations, boxes in original pixels.")] = "rows",
    output: Annotated[Optional[Path], typer.Option(help="The file to write [default: stdout].")] = None,
    check_against: Annotated[
        Optional[str],
        typer.Option(
            help="Suites, benchmarks or a TOML that you evaluate on: no image of theirs may be trained on "
            "[default: the benchmark's own evaluation split]."
        ),
    ] = None,
    shared: Annotated[str, typer.Option(help="Where images are: refuse (exit code 1), drop their rows, or warn.")] = (
        SHARED[0]
    ),
    data_dir: DataDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Make GRPO and SFT rows of a benchmark: its questions, perfect answers in the family's frame, and the gold.

    What was left out, and how many rows there are, is said on stderr.
    """
    from vr1bench.arguments import pairs
    from vr1bench.curation import Curation
    from vr1bench.registry import unknown
    from vr1bench.rows import training_rows

    for option, got, known in (("--form", form, ("rows", "vlm-r1")), ("--shared", shared, SHARED)):
        if got not in known:
            raise unknown(option, got, known)
    if not family:
        raise Vr1benchError("--family is missing: whose rows? see `vr1bench list families`")
    wanted = _span(boxes, "--boxes"), _span(negatives, "--negatives")
    how = Curation(*wanted, hard, hard_boxes, limit, order, incomplete, targets, seed)  # type: ignore[arg-type]  refused
    try:
        made = training_rows(
            benchmark, family=family, split=split, protocol=protocol, data_dir=data_dir,
            overrides=pairs(changes, "--set"), curation=how,
        )  # fmt: skip
        made = _checked(made, _against(made, check_against, data_dir), shared, quiet)
        count = _write(made, form, output, quiet)
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; no file was written", err=True)
        raise typer.Exit(130) from None
    for what, number in made.counts.items():
        typer.echo(f"note: {number} {what}", err=True)
    job = made.job
    where = f" written to {output}" if output else ""
    typer.echo(f"{count} rows of {job.benchmark.name} {job.split}, family {job.family.name}{where}", err=True)


def _span(text: str, option: str) -> tuple[int, int] | None:
    """`1-30` as (1, 30), `3` as (3, 3); None where nothing was given."""
    match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text)
    if text and not match:
        raise Vr1benchError(f"{option} {text}: expected LOW-HIGH, such as 1-30")
    return (int(match[1]), int(match[2] or match[1])) if match else None


def _against(made: TrainingRows, named: str | None, data_dir: Path | None) -> list[HeldOut]:
    """What the rows are held against: what was named, else the benchmark's own evaluation split where it is there."""
    from vr1bench.benchmark import chosen
    from vr1bench.leakage import held_out

    root = data_dir.expanduser().resolve() if data_dir else None
    if named:
        return held_out(chosen(None, [named]) if named.endswith(".toml") else chosen(named, None), root)
    own = made.job.benchmark
    name = f"{own.name} {own.split}"
    if own.split.startswith("train"):
        _warn(f"{own.name} has nothing to evaluate on, so images were not compared; name what you evaluate on with "
              "--check-against")  # fmt: skip
        return []
    try:
        return held_out([own], root)
    except Vr1benchError as error:
        _warn(f"images were not compared with {name}, which cannot be read: {error}")
        return []


def _checked(made: TrainingRows, against: list[HeldOut], shared: str, quiet: bool) -> TrainingRows:
    """The rows, if no image of theirs is evaluated, or as `--shared` says."""
    import dataclasses

    from vr1bench.leakage import LeakageError, shared_images

    images = made.images
    if not Path(images[0]).is_file():
        _warn(f"{images[0]} is not there: the rows name images that training will not find")
    if not against:
        return made
    found = shared_images(images, against, progress=not quiet)
    if found.unseen:
        _warn(f"{found.unseen} image files are not there, and were compared by name alone")
    if not found.shared:
        return made
    first, where = next(iter(found.shared.items()))
    said = f"{len(found.shared)} of {len(images)} images to train on are evaluated, such as {first} ({where})"
    if shared == "refuse":
        raise LeakageError(
            f"{said}; choose another --split or benchmark, leave their rows out with --shared drop, or, if no number "
            "on them will count, keep them with --shared warn"
        )
    if shared == "drop" and len(found.shared) == len(images):
        raise LeakageError(f"{said}; no row is left: choose another --split or benchmark")
    _warn(f"{said}; {'their rows are left out' if shared == 'drop' else 'numbers on them will say nothing'}")
    return dataclasses.replace(made, without=frozenset(found.shared)) if shared == "drop" else made


def _write(made: TrainingRows, form: str, output: Path | None, quiet: bool) -> int:
    from tqdm import tqdm

    from vr1bench.row_files import line_of, write_rows

    task = made.job.benchmark.task
    told: Iterable[Row] = tqdm(made, unit=" rows", delay=2, disable=quiet, dynamic_ncols=True, file=sys.stderr)
    if output is not None:
        return write_rows(told, output, form, task=task)  # type: ignore[arg-type]  checked
    count = 0
    for row in told:
        say(line_of(row, form, task=task))  # type: ignore[arg-type]  checked
        count += 1
    return count


def _warn(text: str) -> None:
    typer.echo(f"warning: {text}", err=True)
