"""Scoring a run folder again: parsing and judging without a model."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vr1bench.benchmark import Benchmark
from vr1bench.definitions import validated
from vr1bench.errors import IncompleteError, NotComparableError, Vr1benchError
from vr1bench.families import FAMILIES, Family
from vr1bench.job import ASKING_FIELDS, Job
from vr1bench.journal import Journal, read_run
from vr1bench.model import Model
from vr1bench.protocol import Protocol, changed, protocol
from vr1bench.running import finished
from vr1bench.score import check_verifiable, check_written
from vr1bench.store import Result
from vr1bench.types import Sampling, Training


def rescore(
    folder: Path,
    protocol_name: str | None = None,
    changes: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
    *,
    family: str | None = None,
    limit: int | None = None,
    verify: bool = False,
) -> tuple[Result, Path]:
    """Parses and scores stored answers; the twin of `vr1bench score RUN_DIR`.

    Args:
        folder: A run folder (it holds `run.json` and `records.jsonl`).
        protocol_name: Judge by another protocol, which must ask the same; None keeps the run's.
        changes: Protocol fields to change.
        data_dir: Where the data lies now; None takes where it lay.
        family: Read answers by another family, or its TOML, which must ask the same; None keeps the run's.
        limit: First samples only.
        verify: See `run`.

    Returns:
        The Result, and the folder of results that it was written to.

    Raises:
        Vr1benchError: The folder is no run folder, the data is missing or another, or the family came from a file.
        NotComparableError: The protocol or the family asks other questions than the run did.
        IncompleteError: Records are missing.
    """
    with opened(folder, protocol_name, changes, data_dir, family=family, limit=limit) as (job, journal):
        if verify:
            check_verifiable(job.protocol)
        return finished(job, journal, 0.0, {}, verify=verify), job.output


@contextmanager
def opened(
    folder: Path,
    protocol_name: str | None = None,
    changes: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
    *,
    family: str | None = None,
    limit: int | None = None,
) -> Generator[tuple[Job, Journal]]:
    """A complete run folder as its job and the journal of its answers; arguments and errors of `rescore`.

    While it is open no other process can write the journal, and any number can read it.
    """
    if limit is not None and limit < 1:
        raise Vr1benchError(f"--limit {limit}: expected 1 or more samples")
    run = read_run(folder)
    if "shard" in run["identity"]:
        raise IncompleteError(
            f"{folder} is shard {run['identity']['shard']} of a run: alone it is no number; bring the shards together: "
            "vr1bench merge OUTPUT FOLDER..."
        )
    job = job_of(folder, run, output_of(folder), protocol_name, changes, data_dir, family=family, limit=limit)
    with Journal(folder, run["identity"], read_only=True) as journal:
        missing = sum(1 for _ in job.pending(journal))
        if missing:
            raise IncompleteError(
                f"{folder}: {missing} answers are missing; finish the run first, with the command that began it, or "
                "score fewer samples with --limit"
            )
        yield job, journal


def job_of(
    folder: Path,
    run: Mapping[str, Any],
    output: Path,
    protocol_name: str | None = None,
    changes: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
    *,
    family: str | None = None,
    limit: int | None = None,
) -> Job:
    """The job that a run folder was made for; of a shard's folder, the job of the whole.

    `run` is what its `run.json` says, `output` the folder that its Result would go to; other arguments as of `rescore`.

    Raises:
        Vr1benchError: The data is missing or another, or the family came from a file.
        NotComparableError: The protocol or the family asks other questions than the run did.
    """
    identity = run["identity"]
    benchmark = validated(Benchmark, identity["benchmark"], str(folder))
    stored = validated(Protocol, identity["protocol"], str(folder))
    wanted = _judging(stored, protocol_name, changes or {}, benchmark)
    training = validated(Training, run["training"], str(folder)) if run["training"] else None
    root = data_dir or (Path(run["data_dir"]) if run["data_dir"] else None)
    dataset = benchmark.load(identity["split"], root)
    if dataset.sha256 != identity["data_sha256"]:
        raise Vr1benchError(
            f"{folder}: the annotations changed since the run: sha256 was {identity['data_sha256'][:12]}, is "
            f"{dataset.sha256[:12]}; bring the old file back, or run again into another --output"
        )
    job = Job(
        benchmark, identity["split"], limit, wanted, dataset, _family(family, identity["family"]), "as in the run",
        Model(
            identity["model"]["name"], "", identity["model"]["revision"], identity["model"]["step"], training=training
        ),
        identity["engine"], validated(Sampling, identity["sampling"], str(folder)), output, root,
    )  # fmt: skip
    if job.question != identity["question"]:
        raise NotComparableError(
            f"family {job.family.name!r} asks {job.question!r}, the run asked {identity['question']!r}; "
            "run it anew, or pass a family file with the run's questions"
        )
    return job


def output_of(folder: Path) -> Path:
    """The folder of results above a run folder: what holds `runs/`.

    Raises:
        Vr1benchError: The folder does not lie under a `runs/`.
    """
    resolved = folder.resolve()
    for parent in resolved.parents:
        if parent.name == "runs":
            return parent.parent
    raise Vr1benchError(f"{folder} does not lie under a folder named runs/; expected OUTPUT/runs/MODEL/BENCHMARK/...")


def _family(wanted: str | None, of_run: str) -> Family:
    if wanted is None and of_run not in FAMILIES:
        raise Vr1benchError(f"the run's family {of_run!r} is not known here; pass its file: --family FILE.toml")
    return FAMILIES[wanted or of_run]


def _judging(stored: Protocol, name: str | None, changes: Mapping[str, Any], benchmark: Benchmark) -> Protocol:
    """The protocol to judge by.

    Raises:
        NotComparableError: It asks something else, or needs log-probabilities that were not kept.
    """
    wanted = protocol(name, changes, benchmark.name) if name else changed(stored, changes, benchmark.name)
    wanted = wanted.asking(benchmark.task)  # as the stored one: another task's words may change
    for field in ASKING_FIELDS:
        if getattr(wanted, field) != getattr(stored, field):
            raise NotComparableError(
                f"protocol {wanted.name!r} asks other questions than the run's {stored.name!r}: {field} differs; "
                "run it with `vr1bench run --protocol`"
            )
    if wanted.scores == "logprob" and stored.scores != "logprob":
        raise NotComparableError(
            "scores 'logprob' need token log-probabilities, which this run did not keep; "
            "run again with --scores logprob"
        )
    check_written(wanted)
    return wanted
