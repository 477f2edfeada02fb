"""Merging: the shards of `vr1bench run --shard i/n` as one run with one Result."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vr1bench.benchmark import benchmarks
from vr1bench.errors import IncompleteError, NotComparableError, Vr1benchError
from vr1bench.job import Job, current
from vr1bench.journal import Journal, difference, read_run
from vr1bench.ordering import Shard
from vr1bench.rescoring import job_of, output_of
from vr1bench.running import finished
from vr1bench.store import Result
from vr1bench.types import Completion, Record, Request

_CHANCE = {"seconds": 0.0, "n_cached": 0, "image_reused": False}
"""What two runs of one question may differ in."""
SHOWN = 5
"""Samples that a message names of those that miss an answer."""


@dataclass(frozen=True)
class _Share:
    """A shard's run folder, what its `run.json` says, which shard it is, and the identity of the whole run."""

    folder: Path
    run: Mapping[str, Any]
    shard: Shard
    whole: Mapping[str, Any]


@dataclass
class _Gap:
    """What a shard lacks: how many answers, of how many samples, and the first of those."""

    answers: int = 0
    count: int = 0
    samples: list[str] = field(default_factory=list[str])

    def add(self, sample: str, answers: int) -> None:
        self.answers += answers
        self.count += 1
        if self.count <= SHOWN:
            self.samples.append(sample)


def merge(
    output: str | Path,
    folders: Iterable[str | Path],
    *,
    limit: int | None = None,
    family: str | None = None,
    data_dir: str | Path | None = None,
    verify: bool = False,
) -> list[Result]:
    """Makes one run of each benchmark's shards, and scores it; the twin of `vr1bench merge`.

    The journals of the shards stay as they are. What `output` already holds of the run counts as one more shard. The
    Result's values are those of a run without shards; its `run` has 0 seconds and no versions of an engine.

    Args:
        output: Folder of results that the run and its Result go to.
        folders: Folders of results, or run folders, that hold shards of one model; runs without shards beside them are
            passed over.
        limit: First samples only, as the shards were asked.
        family: The TOML of a family that is not known here.
        data_dir: Where the data lies here; None takes where it lay.
        verify: See `vr1bench.run`.

    Returns:
        One Result for each benchmark, split, protocol and score rule, in the order found.

    Raises:
        Vr1benchError: A folder holds no shard, is in use, or cannot be read or written; the data is missing or another.
        NotComparableError: Shards are of two runs, are shares of different sizes, or answer one question differently.
        IncompleteError: Answers are missing; the other benchmarks are merged.
    """
    if limit is not None and limit < 1:
        raise Vr1benchError(f"--limit {limit}: expected 1 or more samples")
    results: list[Result] = []
    missing: list[str] = []
    root = Path(data_dir).expanduser().resolve() if data_dir else None
    for shares in _by_run(_found(map(Path, folders))):
        first = shares[0]
        run = {**first.run, "identity": first.whole}
        job = job_of(first.folder, run, Path(output), data_dir=root, family=family, limit=limit)
        try:
            results.append(_merged(job, shares, family, verify=verify))
        except IncompleteError as error:
            missing.append(str(error))
    if missing:
        raise IncompleteError("\n".join(missing), results)
    return results


def _merged(job: Job, shares: Sequence[_Share], family: str | None, *, verify: bool) -> Result:
    """Nothing is written before everything is there."""
    with ExitStack() as stack:
        sources = [stack.enter_context(Journal(s.folder, s.run["identity"], read_only=True)) for s in shares]
        whole = stack.enter_context(_whole(job)) if (job.folder / "run.json").exists() else None
        gaps = _gaps(job, [*sources, *([whole] if whole else [])], shares[0].shard.count)
        if gaps:
            raise IncompleteError("\n".join(_told(job, shares, family, gaps)))
        whole = whole or stack.enter_context(_whole(job))
        whole.extend(_lacking(job, whole, sources))
        return finished(job, whole, 0.0, {}, verify=verify)


def _whole(job: Job) -> Journal:
    return Journal(job.folder, job.identity, str(job.data_dir or ""), current, training=job.model.training)


def _gaps(job: Job, sources: Sequence[Journal], count: int) -> dict[int, _Gap]:
    """What is missing, by the shard that asks it; empty where all is there.

    Raises:
        NotComparableError: Two journals answer one question differently.
    """
    gaps: dict[int, _Gap] = {}
    for picture, sample in zip(job.pictures, job.samples(), strict=True):
        missing = 0
        for request in job.requests(sample):
            holders = [one for one in sources if request.key in one]
            missing += not holders
            if len(holders) > 1:
                _check_equal(request, holders)
        if missing:
            gaps.setdefault(1 + int(picture) % count, _Gap()).add(sample.id, missing)
    return dict(sorted(gaps.items()))


def _check_equal(request: Request, holders: Sequence[Journal]) -> None:
    first, *others = holders
    wanted = _answer(first, request)
    for other in others:
        if _answer(other, request) != wanted:
            raise NotComparableError(
                f"sample {request.sample_id} has two different answers, in {first.path.parent} and in "
                f"{other.path.parent}; name one of the two folders, and an OUTPUT without the other's answers"
            )


def _answer(source: Journal, request: Request) -> Completion | None:
    """Without the time that it took, and what its engine had in its caches."""
    record = source.read(request.key)
    return record.completion.model_copy(update=_CHANCE) if record and record.completion else None


def _lacking(job: Job, whole: Journal, sources: Sequence[Journal]) -> Iterator[Record]:
    for request in job.pending(whole):
        record = next(filter(None, (source.read(request.key) for source in sources)), None)
        if record:
            yield record


def _found(folders: Iterable[Path]) -> list[_Share]:
    """The shards in folders, each folder once."""
    found: dict[Path, _Share] = {}
    for folder in folders:
        own = (folder / "run.json").is_file()
        places = [folder] if own else sorted(path.parent for path in folder.rglob("run.json"))
        shares = [share for place in places if (share := _share(place))]
        if not shares:
            raise Vr1benchError(
                f"{folder} {'is no shard: it is a run of its own' if own else 'holds no shard'}; expected what "
                "`vr1bench run --shard i/n` wrote: its --output, or a run folder below"
            )
        found |= {share.folder.resolve(): share for share in shares}
    if not found:
        raise Vr1benchError("expected the folders that hold the shards: vr1bench merge OUTPUT FOLDER...")
    return list(found.values())


def _share(folder: Path) -> _Share | None:
    run = read_run(folder)
    whole = {name: value for name, value in run["identity"].items() if name != "shard"}
    if len(whole) == len(run["identity"]):
        return None
    return _Share(folder, run, Shard.of(run["identity"]["shard"]), current(whole))


def _by_run(shares: Iterable[_Share]) -> Iterable[Sequence[_Share]]:
    """Shards by what their result would be of, models apart.

    Raises:
        NotComparableError: They are of two models, or otherwise of two runs.
    """
    groups: dict[tuple[str, ...], list[_Share]] = {}
    for share in shares:
        whole = share.whole
        key = (whole["benchmark"]["name"], whole["split"], whole["protocol"]["name"], whole["protocol"]["scores"])
        groups.setdefault(key, []).append(share)
    for first, *others in groups.values():
        for other in others:
            _check_one_run(first, other)
    return groups.values()


def _check_one_run(first: _Share, other: _Share) -> None:
    here, there = first.whole, other.whole
    if here == there and first.shard.count == other.shard.count:
        return
    place, one, two = difference(here, there) if here != there else ("shard", str(first.shard), str(other.shard))
    raise NotComparableError(
        f"{first.folder} and {other.folder} are no shards of one run: {place} is {one!r} and {two!r}; "
        "name the folders of the shards that belong together"
    )


def _told(job: Job, shares: Sequence[_Share], family: str | None, gaps: Mapping[int, _Gap]) -> Iterator[str]:
    """What is missing, and the commands that ask it."""
    folders = {share.shard.index: share.folder for share in shares}
    count = shares[0].shard.count
    for index, gap in gaps.items():
        where = f"in {folders[index]}" if index in folders else "and no folder of it is given"
        more = ", ..." if gap.count > SHOWN else ""
        yield f"{job.benchmark.name}: shard {index}/{count} lacks {gap.answers} answers, {where}: samples " + (
            ", ".join(gap.samples) + more
        )
        yield "  " + _command(job, Shard(index, count), folders.get(index, shares[0].folder), family)
    yield (
        "ask them, each with the other options of its run such as --engine-args, and merge again; or merge fewer "
        "samples with --limit"
    )


def _command(job: Job, shard: Shard, beside: Path, family: str | None) -> str:
    """The command that asks what a shard lacks, as far as its `run.json` tells."""
    name, _, changes = job.protocol.name.partition("[")
    usual = job.protocol.sampling({}, 0).model_dump()
    decoding = {k: v for k, v in job.sampling.model_dump().items() if v != usual[k]}
    seed = decoding.pop("seed", None)
    known = job.benchmark.name in benchmarks()
    options: dict[str, Any] = {
        "model": job.model.name,
        "benchmark": job.benchmark.name if known else f"{job.benchmark.name}.toml",
        "split": None if job.split == job.benchmark.split else job.split,
        "engine": job.engine,
        "family": family or job.family.name,
        "protocol": name,
        "set": changes.removesuffix("]") or None,
        "scores": job.protocol.scores,
        "gen-args": ",".join(f"{k}={v}" for k, v in decoding.items()) or None,
        "seed": seed,
        "limit": job.limit,
        "shard": shard,
        "data-dir": job.data_dir,
        "output": _output(beside) or job.output,
    }
    told = [word for option, value in options.items() if value is not None for word in (f"--{option}", str(value))]
    return shlex.join(["vr1bench", "run", *told])


def _output(folder: Path) -> Path | None:
    try:
        return output_of(folder)
    except Vr1benchError:  # a run folder that was brought here alone
        return None
