"""A run: what is planned, asked and scored, through one engine for all jobs; continues where an earlier run stopped."""

from __future__ import annotations

import datetime
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vr1bench import engines, families, model
from vr1bench import protocol as protocols
from vr1bench.benchmark import chosen
from vr1bench.board import percent
from vr1bench.defaults import TIMEOUT_S, WINDOW
from vr1bench.engines import ENGINES
from vr1bench.engines.replay import answers_file
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.exchange import Open, ask
from vr1bench.job import Job, current
from vr1bench.journal import Journal
from vr1bench.model import Model
from vr1bench.ordering import Shard
from vr1bench.provenance import commit, versions
from vr1bench.readers import Dataset
from vr1bench.score import check_verifiable, check_written, score
from vr1bench.store import Result, RunInfo, Usage, read_result, write_result
from vr1bench.types import Pair

LOOKUP_ENGINES = ("oracle", "replay")
"""Engines that look answers up: they need neither weights nor images."""


def run(
    model: str,
    suite: str | None = None,
    benchmark: str | Sequence[str] | None = None,
    *,
    engine: str = "auto",
    family: str = "auto",
    protocol: str = "standard",
    split: str | None = None,
    limit: int | None = None,
    shard: str | None = None,
    scores: str | None = None,
    data_dir: str | Path | None = None,
    output: str | Path = "results",
    seed: int = 0,
    engine_args: Mapping[str, Any] | None = None,
    gen_args: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    window: int = WINDOW,
    timeout: float = TIMEOUT_S,
    verify: bool = False,
    progress: bool = False,
    on_result: Callable[[Result], None] | None = None,
    on_family: Callable[[str, str], None] | None = None,
    on_shard: Callable[[str], None] | None = None,
    on_hang: Callable[[str], None] | None = None,
) -> list[Result]:
    """Scores a model on a suite or on benchmarks; the Python twin of `vr1bench run`.

    Args:
        model: `demo`, a checkpoint folder, or a hub id.
        suite: Name of a suite; or
        benchmark: names or TOML paths of benchmarks.
        engine: `auto` takes vLLM where it is installed, else transformers; `oracle` and `replay` need no model.
        family: `auto` goes by the model's config and name.
        protocol: Name of a protocol.
        split: Of every benchmark; None takes each benchmark's own.
        limit: First samples only.
        shard: `1/4` asks only the first of four shares, into run folders of their own; see `vr1bench.merging.merge`.
        scores: Overrides where box scores come from: constant, logprob, order.
        data_dir: Folder that holds the data sets; None takes `$VR1BENCH_DATA` or `./data`.
        output: Folder of results; run folders lie under its `runs/`.
        seed: Of decoding, where it samples.
        engine_args: The engine's own options.
        gen_args: Changes to decoding, such as `{"temperature": 0.7}`.
        overrides: Changes to protocol fields (`--set`).
        window: Requests in flight at most.
        timeout: Seconds without any answer after which the engine is said to hang and is interrupted, its start not
            counted; 0 waits for ever, and so does a run in another thread than the main one.
        verify: Score again with pycocotools and faster-coco-eval, and store the largest differences.
        progress: Draw a progress bar on stderr.
        on_result: Called with each Result as soon as its benchmark is complete.
        on_family: Called with the family's name and why it was chosen, before anything is asked.
        on_shard: Called with a sentence for each benchmark whose share is complete.
        on_hang: Called, in another thread, with what to say where an engine that hangs cannot be interrupted, as it is
            blocked in C; should end the process, as the command does. None goes on waiting.

    Returns:
        One Result a benchmark, in the suite's order; none for a shard, which alone is no number.

    Raises:
        Vr1benchError: Something named is unknown, missing or wrong; nothing was asked yet.
        IncompleteError: Some answers are missing.
    """
    changes = dict(overrides or {}) | ({"scores": scores} if scores else {})
    jobs = plan(
        model, suite, benchmark, engine=engine, family=family, protocol=protocol, split=split, limit=limit,
        changes=changes, data_dir=data_dir, output=output, seed=seed, gen_args=gen_args or {},
        engine_args=engine_args or {}, verify=verify, shard=shard,
    )  # fmt: skip
    if on_family and jobs:
        on_family(jobs[0].family.name, jobs[0].family_because)
    return execute(
        jobs, engine_args=engine_args or {}, window=window, timeout=timeout, verify=verify, progress=progress,
        on_result=on_result, on_shard=on_shard, on_hang=on_hang,
    )  # fmt: skip


def plan(
    model: str,
    suite: str | None,
    benchmark: str | Sequence[str] | None,
    *,
    engine: str,
    family: str,
    protocol: str,
    split: str | None,
    limit: int | None,
    changes: Mapping[str, Any],
    data_dir: str | Path | None,
    output: str | Path,
    seed: int,
    gen_args: Mapping[str, Any],
    engine_args: Mapping[str, Any],
    verify: bool = False,
    shard: str | None = None,
) -> list[Job]:
    """Everything that can be checked before a model is loaded, as jobs; arguments as in `run`.

    Raises:
        Vr1benchError: Something named is unknown, missing or wrong.
    """
    if limit is not None and limit < 1:
        raise Vr1benchError(f"--limit {limit}: expected 1 or more samples")
    share = None if shard is None else Shard.of(shard)
    chosen_engine = engines.default() if engine == "auto" else engine
    ENGINES.check(chosen_engine)
    subject = _subject(model, chosen_engine, engine_args)
    asks = chosen_engine not in LOOKUP_ENGINES
    config = subject.config if asks else _config_of(model) if family == "auto" else {}
    chosen_family, because = families.choose(family, subject.telling_name if asks else model, config)
    if chosen_engine == "oracle":
        name = chosen_family.name
        subject = Model(f"oracle-{name}", "", hashlib.sha256(name.encode()).hexdigest()[:40])
    root = Path(data_dir).expanduser().resolve() if data_dir else None
    jobs: list[Job] = []
    for definition in chosen(suite, benchmark):
        rule = protocols.protocol(protocol, changes, definition.name)
        check_written(rule)
        if verify:
            check_verifiable(rule)
        sampling = rule.sampling(gen_args, seed)
        part = split or definition.split
        dataset = definition.load(part, root)
        if asks:
            _check_images(definition.name, dataset)
        jobs.append(
            Job(
                definition, part, limit, rule, dataset, chosen_family, because, subject, chosen_engine, sampling,
                Path(output), root, share,
            )
        )  # fmt: skip
        jobs[-1].requests(dataset[0])  # a protocol without words for this task should fail now
    return jobs


def execute(
    jobs: Sequence[Job],
    *,
    engine_args: Mapping[str, Any],
    window: int = WINDOW,
    timeout: float = TIMEOUT_S,
    verify: bool = False,
    progress: bool = False,
    on_result: Callable[[Result], None] | None = None,
    on_shard: Callable[[str], None] | None = None,
    on_hang: Callable[[str], None] | None = None,
) -> list[Result]:
    """Asks what is not answered yet, and scores every job that is complete; arguments as in `run`.

    Raises:
        Vr1benchError: A run folder belongs to another run or cannot be written, or the engine cannot start.
        IncompleteError: Some answers are missing.
    """
    results: dict[str, Result] = {}
    missing: list[str] = []

    def finish(one: Open) -> None:
        if one.journal.failures:
            first = next(iter(one.journal.failures.values()))
            missing.append(f"{one.job.benchmark.name}: {len(one.journal.failures)} answers missing ({first})")
            return
        if one.job.shard:
            _tell(one, on_shard)
            return
        result = finished(one.job, one.journal, one.seconds, one.versions, verify=verify)
        results[one.job.benchmark.name] = result
        if progress:
            tqdm.write(f"{result.key.benchmark} {result.values.primary} {percent(result.primary)}", file=sys.stderr)
        if on_result:
            on_result(result)

    with ExitStack() as stack:
        doing = [_open(job, stack) for job in jobs]
        try:
            ask(doing, engine_args, window, progress, finish, timeout, on_hang)
        except IncompleteError as error:
            error.results = [results[job.benchmark.name] for job in jobs if job.benchmark.name in results]
            raise
    missing += [
        f"{one.job.benchmark.name}: {one.waiting} answers missing: engine {one.job.engine!r} ended without giving them"
        for one in doing
        if one.waiting
    ]
    ordered = [results[job.benchmark.name] for job in jobs if job.benchmark.name in results]
    if missing:
        raise IncompleteError("\n".join([*missing, "type the same command again to ask just these"]), ordered)
    return ordered


def finished(job: Job, journal: Journal, seconds: float, of_engine: Mapping[str, str], *, verify: bool) -> Result:
    """Scores a complete job and writes its Result.

    Raises:
        IncompleteError: The journal lacks a record.
    """
    spent: Counter[str] = Counter()
    values = score(_counted(job.pairs(journal), spent), job, verify=verify)
    if not seconds and job.result_path.exists():  # nothing was asked this time: the time is that of the asking
        with suppress(Vr1benchError):  # of an older schema: scoring again is how it becomes a new one
            seconds = read_result(job.result_path).run.seconds
    info = RunInfo(
        family=job.family.name,
        family_because=job.family_because,
        engine=job.engine,
        sampling=job.sampling,
        versions={**versions(), **of_engine},
        commit=commit(),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        usage=Usage.model_validate(spent),
        training=job.model.training,
    )
    result = Result(key=job.key, values=values, run=info)
    write_result(job.result_path, result)
    return result


def _counted(pairs: Iterable[Pair], spent: Counter[str]) -> Iterator[Pair]:
    """The same pairs; adds up what their answers took, by `Usage`'s names, as they go by."""
    for pair in pairs:
        for answer in pair.completions:
            spent["requests"] += 1
            spent["prompt_tokens"] += answer.n_prompt
            spent["cached_tokens"] += answer.n_cached
            spent["output_tokens"] += answer.n_tokens
            spent["reused_images"] += answer.image_reused
        yield pair


def _tell(one: Open, on_shard: Callable[[str], None] | None) -> None:
    """Says that a shard is complete, to whoever listens."""
    if on_shard:
        on_shard(
            f"{one.job.benchmark.name}: shard {one.job.shard} is complete: {one.job.count} samples, "
            f"{len(one.journal)} answers in {one.job.folder}"
        )


def _open(job: Job, stack: ExitStack) -> Open:
    journal = stack.enter_context(
        Journal(job.folder, job.identity, str(job.data_dir or ""), current, training=job.model.training)
    )
    return Open(job, journal, *job.lacking(journal))


def _subject(name: str, engine: str, engine_args: Mapping[str, Any]) -> Model:
    """The model; a file of answers stands for its own model."""
    if engine == "oracle":
        return Model("oracle", "", "")
    if engine == "replay":
        return Model(name, "", hashlib.sha256(answers_file(engine_args).read_bytes()).hexdigest()[:40])
    if engine == "openai":  # an endpoint tells no commit: other weights under the same name pass for the same model
        return Model(name, "", hashlib.sha256(name.encode()).hexdigest()[:40])
    return model.load(name)


def _config_of(name: str) -> Mapping[str, Any]:
    """A model's config where it can be had without a network; the oracle only needs it to choose a family."""
    try:
        return model.load(name).config
    except Vr1benchError:
        return {}


def _check_images(name: str, dataset: Dataset) -> None:
    """Fails early where the pictures are not there at all; single missing ones become failures of their requests."""
    first = dataset[0].images[0]
    if not first.is_file() and not any(path.is_file() for sample in dataset[:20] for path in sample.images):
        raise Vr1benchError(
            f"{name}: the annotations are there, but the images are missing; expected {first} and its like; "
            "put them there, or name the folder that holds the data with --data-dir"
        )
