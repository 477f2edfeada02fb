"""Engines beside each other: the same requests to each in turn, and where their answers part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tabulate import tabulate

from vr1bench.benchmark import Benchmark
from vr1bench.defaults import WINDOW
from vr1bench.errors import IncompleteError, NotComparableError, Vr1benchError
from vr1bench.families import Family
from vr1bench.job import Job, current
from vr1bench.journal import Journal
from vr1bench.protocol import Protocol
from vr1bench.readers import Dataset
from vr1bench.running import LOOKUP_ENGINES, execute, plan
from vr1bench.score import score
from vr1bench.types import Completion, Pair

AROUND = 24
"""Characters shown before and behind the place where two answers part."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two answers to one request that are not the same.

    Attributes:
        benchmark: Whose sample it is.
        sample_id: The sample's.
        query: The class or phrase, where the request asked for just one.
        unit: What `at` counts: "token" where both engines gave tokens, else "character".
        at: The first place that differs, from 0; the shorter one's length where it is the beginning of the other.
        before: What both say up to there, its last characters.
        reference: What the reference goes on with: the differing token first; "" where it ends.
        other: The same of the other engine.
        logprobs: Of the differing token, the reference's and the other's: much alike they were nearly a tie. None
            where there is no token.
        finish: How each ended: "stop", "length", or "failed" where there is no answer.
    """

    benchmark: str
    sample_id: str
    query: str
    unit: str
    at: int
    before: str
    reference: str
    other: str
    logprobs: tuple[float | None, float | None]
    finish: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far an engine answers as the reference does, on one benchmark.

    Attributes:
        benchmark: Which.
        protocol: How it was asked.
        reference: The first engine.
        engine: The other.
        requests: How many were asked of both.
        identical: How many were answered with the same text, and ended alike, by both.
        samples: Of the samples with an answer that differs, how many both engines answered whole.
        changed: How many of these have another score, each taken for itself.
        metric: The benchmark's primary one.
        scores: Of the reference and the other on these samples together; None where there is none, or no score.
        differences: One for each request that was not answered alike, in the order asked.
    """

    benchmark: str
    protocol: str
    reference: str
    engine: str
    requests: int
    identical: int
    samples: int
    changed: int
    metric: str
    scores: tuple[float | None, float | None]
    differences: tuple[Difference, ...]

    @property
    def share(self) -> float:
        """Of requests answered alike, 0 to 1; 1 where nothing is asked."""
        return self.identical / self.requests if self.requests else 1.0


def agreement(
    model: str,
    suite: str | None = None,
    benchmark: str | Sequence[str] | None = None,
    *,
    engines: Sequence[str],
    family: str = "auto",
    protocol: str = "standard",
    split: str | None = None,
    limit: int | None = None,
    data_dir: str | Path | None = None,
    seed: int = 0,
    engine_args: Mapping[str, Any] | None = None,
    gen_args: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    window: int = WINDOW,
    progress: bool = False,
    on_note: Callable[[str], None] | None = None,
) -> list[Agreement]:
    """Asks the same of several engines, each opened and closed in turn; the twin of `vr1bench parity`.

    Nothing is written to anybody's results. Decoding is greedy unless `gen_args` says otherwise, and tokens are asked
    for with their log-probabilities unless it says `logprobs` False.

    Of `engines`, two or more, the first is the reference; one may be named again, to see whether it agrees with
    itself. An option in `engine_args` is every engine's, one as `hf.batch_size` that engine's only, one as `2.dtype`
    only that of the second. `on_note` is told of an engine that left requests unanswered. The other arguments are as in
    `vr1bench.run`.

    Returns:
        One a benchmark and engine beside the first, benchmark by benchmark.

    Raises:
        Vr1benchError: Something named is unknown, missing or wrong, or an engine does not start.
        NotComparableError: Two engines would be asked as two families, or other questions.
        IncompleteError: An engine answered nothing of a benchmark.
    """
    if len(engines) < 2:
        raise Vr1benchError(f"expected two engines or more, the reference first, got {', '.join(engines) or 'none'}")
    with TemporaryDirectory(prefix="vr1bench-parity-") as folder, ExitStack() as stack:
        planned: list[tuple[list[Job], dict[str, Any]]] = []
        for place, engine in enumerate(engines):  # all before any starts: what is wrong should be said at once
            own = _own(engine_args or {}, place, engines)
            tokens = {} if engine in LOOKUP_ENGINES else {"logprobs": True}
            jobs = plan(
                model, suite, benchmark, engine=engine, family=family, protocol=protocol, split=split, limit=limit,
                changes=overrides or {}, data_dir=data_dir, output=Path(folder) / str(place), seed=seed,
                gen_args=tokens | dict(gen_args or {}), engine_args=own,
            )  # fmt: skip
            planned.append((jobs, own))
        answered = [_answered(jobs, own, window, progress, on_note, stack) for jobs, own in planned]
        return [_compared(first, other) for first, *others in zip(*answered, strict=True) for other in others]


def text(found: Sequence[Agreement], form: str = "simple", top: int = 10) -> str:
    """How far the engines agree, and the first places where they do not, as tables.

    Args:
        found: What `agreement` gives.
        form: `simple` or `pipe`, as tabulate names them.
        top: Differences shown of each benchmark and engine.
    """
    rows = [
        {"benchmark": one.benchmark, "engine": f"{one.reference}, {one.engine}", "requests": str(one.requests),
         "identical": f"{one.identical} ({100 * one.share:.1f} %)", "samples that differ": str(one.samples),
         "other score": str(one.changed), one.metric + " of these": ", ".join(map(_percent, one.scores))}
        for one in found
    ]  # fmt: skip
    tables = [tabulate(rows, headers="keys", tablefmt=form, disable_numparse=True)]
    for one in found:
        if not one.differences:
            continue
        more = f"; the first {top}" if len(one.differences) > top else ""
        shown = [
            {"sample": each.sample_id, "asked": each.query[:30], "at": f"{each.unit} {each.at}",
             "both": repr(each.before), one.reference: _told(each, 0),
             one.engine if one.engine != one.reference else f"{one.engine} again": _told(each, 1)}
            for each in one.differences[:top]
        ]  # fmt: skip
        if form == "pipe":  # what a model says may look like a table
            shown = [
                {name: cell.replace("|", "\\|").replace("<", "&lt;") for name, cell in row.items()} for row in shown
            ]
        title = f"{one.benchmark}: {len(one.differences)} answers of {one.engine} differ{more}"
        tables.append(f"{title}\n\n" + tabulate(shown, headers="keys", tablefmt=form, disable_numparse=True))
    return "\n\n".join(tables)


def as_json(found: Sequence[Agreement]) -> str:
    """The same as JSON, with every difference; fractions."""
    return json.dumps([{**asdict(one), "share": one.share} for one in found], indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class _Answered:
    """A job and its answers."""

    job: Job
    journal: Journal

    def completions(self) -> Iterator[tuple[str, str, Completion | None]]:
        """(sample id, query, answer) of every request, in order."""
        for sample in self.job.samples():
            for request in self.job.requests(sample):
                record = self.journal.read(request.key)
                query = request.queries[0] if len(request.queries) == 1 else ""
                yield sample.id, query, record.completion if record else None


@dataclass(frozen=True)
class _Part:
    """Some samples of a job, as `score` takes them."""

    job: Job
    count: int

    @property
    def benchmark(self) -> Benchmark:
        return self.job.benchmark

    @property
    def protocol(self) -> Protocol:
        return self.job.protocol

    @property
    def dataset(self) -> Dataset:
        return self.job.dataset

    @property
    def family(self) -> Family:
        return self.job.family

    @property
    def fingerprint(self) -> str:
        return self.job.fingerprint


def _own(args: Mapping[str, Any], place: int, engines: Sequence[str]) -> dict[str, Any]:
    """Of all engines' options those of one: `hf.batch_size` is every `hf`'s, `2.dtype` the second engine's."""
    known = {*engines, *(str(number) for number in range(1, len(engines) + 1))}
    found: dict[str, Any] = {}
    for name, value in args.items():
        head, _, rest = name.partition(".")
        if not rest or head not in known:
            found.setdefault(name, value)
        elif head in (engines[place], str(place + 1)):
            found[rest] = value
    return found


def _answered(
    jobs: Sequence[Job],
    args: Mapping[str, Any],
    window: int,
    progress: bool,
    on_note: Callable[[str], None] | None,
    stack: ExitStack,
) -> list[_Answered]:
    """Asks one engine, and opens what it answered.

    Raises:
        IncompleteError: It answered nothing of a benchmark.
    """
    lacking = ""
    try:
        execute(jobs, engine_args=args, window=window, progress=progress)
    except IncompleteError as error:  # single failures are differences
        lacking = str(error).partition("; type the same")[0].partition("\n")[0]
    found = [
        _Answered(job, stack.enter_context(Journal(job.folder, job.identity, "", current, read_only=True)))
        for job in jobs
    ]
    if lacking and not all(len(one.journal) for one in found):
        raise IncompleteError(f"engine {jobs[0].engine!r} gave nothing to compare: {lacking}")
    if lacking and on_note:
        on_note(f"engine {jobs[0].engine!r}: {lacking}")
    return found


def _compared(first: _Answered, second: _Answered) -> Agreement:
    _check_alike(first.job, second.job)
    name = first.job.benchmark.name
    requests = identical = 0
    differences: list[Difference] = []
    for (sample, query, one), (other_sample, other_query, other) in zip(
        first.completions(), second.completions(), strict=True
    ):
        if (sample, query) != (other_sample, other_query):
            raise NotComparableError(
                f"{name}: the engines were asked for {sample} and {other_sample}; is the data new?"
            )
        requests += 1
        if one is not None and other is not None and (one.text, one.finish) == (other.text, other.finish):
            identical += 1
        else:
            differences.append(_difference(name, sample, query, one, other))
    samples = {one.sample_id for one in differences}
    pairs = list(_pairs(first, second, samples))
    changed = sum(len({_value(one, [pair]) for one, pair in zip((first, second), both, strict=True)}) > 1
                  for both in pairs)  # fmt: skip
    return Agreement(
        benchmark=name,
        protocol=first.job.protocol.name,
        reference=first.job.engine,
        engine=second.job.engine,
        requests=requests,
        identical=identical,
        samples=len(pairs),
        changed=changed,
        metric=_metric(first.job),
        scores=(_value(first, [one for one, _ in pairs]), _value(second, [other for _, other in pairs])),
        differences=tuple(differences),
    )


def _check_alike(first: Job, second: Job) -> None:
    """Refuses engines that are not asked the same words in the same way.

    Raises:
        NotComparableError: See above.
    """
    for what, one, other in (
        ("family", first.family.name, second.family.name),
        ("question", first.question, second.question),
        ("pixel budget", first.pixels, second.pixels),
    ):
        if one != other:
            raise NotComparableError(
                f"{first.benchmark.name}: the {what} is {one!r} with engine {first.engine!r} and {other!r} with "
                f"{second.engine!r}; expected the same: pass --family"
            )


def _pairs(first: _Answered, second: _Answered, samples: set[str]) -> Iterator[tuple[Pair, Pair]]:
    """Samples beside both predictions, of those that both answered whole."""
    ones = {pair.sample.id: pair for pair in first.job.pairs(first.journal) if pair.sample.id in samples}
    for pair in second.job.pairs(second.journal):
        if pair.sample.id in ones:
            yield ones[pair.sample.id], pair


def _value(answered: _Answered, pairs: Sequence[Pair]) -> float | None:
    """The primary metric of some samples; None where there are none, or where nothing in them counts for it."""
    if not pairs:
        return None
    values = score(pairs, _Part(answered.job, len(pairs)))
    return values.metrics[values.primary].value


def _metric(job: Job) -> str:
    return "point F1" if job.family.pointing and job.benchmark.task != "qa" else job.benchmark.primary


def _difference(
    benchmark: str, sample: str, query: str, one: Completion | None, other: Completion | None
) -> Difference:
    """Where two answers part; a missing one is as one that says nothing."""
    texts = (one.text if one else "", other.text if other else "")
    finish = (one.finish if one else "failed", other.finish if other else "failed")
    tokens = (one.tokens if one else None, other.tokens if other else None)
    if tokens[0] is None or tokens[1] is None:
        unit, at = "character", _first_difference(*texts)
        start, logprobs = at, (None, None)
    else:
        unit, at = "token", _first_difference(*([token.text for token in some] for some in tokens if some is not None))
        start = len("".join(token.text for token in tokens[0][:at]))
        logprobs = tuple(some[at].logprob if at < len(some) else None for some in (tokens[0], tokens[1]))
    shown = [said[start : start + AROUND] for said in texts]
    before = texts[0][max(0, start - AROUND) : start]
    return Difference(
        benchmark, sample, query, unit, at, before, shown[0], shown[1], (logprobs[0], logprobs[1]), finish
    )


def _first_difference(one: Sequence[str], other: Sequence[str]) -> int:
    """The first place where two sequences differ; the length where they do not."""
    places = (at for at, (a, b) in enumerate(zip_longest(one, other)) if a != b)
    return next(places, len(one))


def _told(one: Difference, side: int) -> str:
    """What one side goes on with, quoted, and how sure it was of its token."""
    said = (one.reference, one.other)[side]
    logprob = one.logprobs[side]
    words = repr(said) if said else f"({one.finish[side]})"
    return words if logprob is None else f"{words} {logprob:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
