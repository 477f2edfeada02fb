"""The Results that somebody means by a file, a folder, or a model's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.exporting import Run
from vr1bench.families import FAMILIES
from vr1bench.journal import read_run
from vr1bench.registry import unknown
from vr1bench.rescoring import output_of
from vr1bench.store import Key, Result, file_name, read_result, read_results


def results_of(name: str, folder: Path) -> list[Result]:
    """One model's Results.

    Args:
        name: A Result's file; a run folder; a folder of results of one model, or without any, of run folders of one
            model; or a model as the leaderboard names it, of which the beginning is enough (`demo@3e93`). A run folder
            stands for the result under its own protocol and score rule, of the whole split where there is one.
        folder: Where a model's name is looked for.

    Raises:
        Vr1benchError: The name is empty, there is nothing there, or what is there belongs to several models.
        IncompleteError: A run folder has no Result: its run did not end.
    """
    if not name.strip():
        raise Vr1benchError(
            f"got an empty name {name!r}; expected a file, a folder or a model (is a variable of the shell unset?)"
        )
    path = Path(name)
    if path.is_file():
        return [read_result(path)]
    if (path / "run.json").is_file():
        return _of_runs(path)
    if path.is_dir():
        found = [result for _, result in read_results(path)]
        return _of_runs(path) if not found and any(path.rglob("run.json")) else _of_one_model(found, f"{path}")
    return _named(name, folder)


def by_benchmark(results: Iterable[Result], where: str) -> dict[str, Result]:
    """Results by their benchmark.

    Raises:
        Vr1benchError: One benchmark has several: under several protocols, splits or score rules.
    """
    found: dict[str, Result] = {}
    for result in results:
        other = found.setdefault(result.key.benchmark, result)
        if other is not result:
            raise Vr1benchError(
                f"{where}: {result.key.benchmark} has several results: {_column(other.key)} and {_column(result.key)}; "
                "name the file of one, or narrow them with --protocol or --scores"
            )
    return found


def run_of(result: Result, name: str, folder: Path) -> Run | None:
    """The run that a Result was scored from; None where its records are not there.

    Args:
        result: One of those that `results_of` found.
        name: What it was found by.
        folder: Where a model's name was looked for.
    """
    path, key = Path(name), result.key
    split, _, cut = key.split.partition("[:")
    below = Path("runs", key.slug, key.benchmark, file_name(f"{split}.{key.protocol}.{key.scores}"))
    if (path / "run.json").is_file():
        roots = [output_of(path)]
    else:
        roots = [path, *path.resolve().parents] if path.exists() else [folder]
    limit = {"limit": int(cut.rstrip("]"))} if cut else {}
    return next((Run(root / below, limit) for root in roots if (root / below / "run.json").is_file()), None)


def _column(key: Key) -> str:
    return " ".join((key.split, key.protocol, key.scores))


def _of_runs(path: Path) -> list[Result]:
    folders = sorted(found.parent for found in path.rglob("run.json"))
    known = [result for _, result in read_results(output_of(folders[0]))]
    results: list[Result] = []
    for folder in folders:
        found = _of_run(read_run(folder)["identity"], known)
        if not found:
            raise IncompleteError(
                f"{folder} has no result: its run did not end; finish it with the command that began it, or score it: "
                f"vr1bench score {folder}"
            )
        results += found
    return _of_one_model(results, f"{path}")


def _of_run(identity: Mapping[str, Any], known: Iterable[Result]) -> list[Result]:
    """The run's own result: of the whole split where there is one, else those of its first samples."""
    model, protocol, split = identity["model"], identity["protocol"], identity["split"]
    kept = [
        result for result in known
        if (result.key.model, result.key.revision, result.key.step)
        == (model["name"], model["revision"], model["step"])
        and (result.key.benchmark, result.key.protocol) == (identity["benchmark"]["name"], protocol["name"])
        and result.key.scores == _scores(identity)
    ]  # fmt: skip
    whole = [result for result in kept if result.key.split == split]
    return whole or [result for result in kept if result.key.split.startswith(f"{split}[:")]


def _scores(identity: Mapping[str, Any]) -> str:
    """The score rule that the results of a run are named by; see `Job.key`."""
    family = identity["family"]
    points = family in FAMILIES and FAMILIES[family].pointing and identity["benchmark"]["task"] != "qa"
    return "points" if points else identity["protocol"]["scores"]


def _of_one_model(results: Sequence[Result], where: str) -> list[Result]:
    names = sorted({result.key.title for result in results})
    if not names:
        raise Vr1benchError(f"{where} holds no result; expected those of `vr1bench run --output`")
    if len(names) > 1:
        raise Vr1benchError(
            f"{where} holds results of several models: {', '.join(names)}; name one of them instead, with --results "
            f"{where}"
        )
    return list(results)


def _named(name: str, folder: Path) -> list[Result]:
    if not folder.is_dir():
        raise Vr1benchError(f"{name!r} is no file or folder, and {folder}, where models are looked for, is no folder")
    results = [result for _, result in read_results(folder)]
    names = sorted({result.key.title for result in results})
    meant = [one for one in names if one == name] or [one for one in names if one.startswith(name)]
    if not meant:
        raise unknown(f"file, folder, or model of {folder}", name, names)
    if len(meant) > 1:
        raise Vr1benchError(f"{name!r} may mean {', '.join(meant)}; write more of it")
    return [result for result in results if result.key.title == meant[0]]
