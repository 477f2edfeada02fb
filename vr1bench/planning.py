"""What a run would cost before anybody starts one: requests, images, tokens, and the time from a short probe."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vr1bench import engines, families
from vr1bench import model as weights
from vr1bench import protocol as rules
from vr1bench.benchmark import Benchmark, chosen
from vr1bench.costs import Cost, Estimate, Memory, Missing
from vr1bench.defaults import WINDOW
from vr1bench.engines import ENGINES, Engine, EngineOptions
from vr1bench.errors import Vr1benchError
from vr1bench.footprint import cache_bytes_a_token, weight_bytes
from vr1bench.job import Job
from vr1bench.model import Model
from vr1bench.protocol import Protocol
from vr1bench.running import LOOKUP_ENGINES
from vr1bench.score import check_written
from vr1bench.types import Completion, Failure, Request, Sampling

NAMED = (*LOOKUP_ENGINES, "openai")
"""Engines to which a model is a name: its weights are elsewhere, or there are none."""
BYTES_A_TOKEN = 4
"""Of English text, roughly, where no tokenizer is at hand."""
TEXTS = 2**16
"""Questions whose tokens are remembered: most are asked of many images."""


def estimate(
    model: str,
    suite: str | None = None,
    benchmark: str | Sequence[str] | None = None,
    *,
    engine: str = "auto",
    family: str = "auto",
    protocols: Sequence[str] = ("standard",),
    split: str | None = None,
    limit: int | None = None,
    probe: int = 8,
    data_dir: str | Path | None = None,
    engine_args: Mapping[str, Any] | None = None,
    gen_args: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    window: int = WINDOW,
    progress: bool = False,
) -> Estimate:
    """Counts what `vr1bench run` would ask, and measures a few requests; the twin of `vr1bench plan`.

    Everything of `protocols` is planned, each on every benchmark. `probe` requests of each are asked, spread over its
    samples; with 0, or where the engine looks answers up or cannot run here, nothing is measured. Nothing is written.
    The other arguments are as in `vr1bench.run`.

    Raises:
        Vr1benchError: Something named is unknown or wrong. What only one benchmark lacks is in `Estimate.missing`.
    """
    if probe < 0 or (limit is not None and limit < 1):
        raise Vr1benchError(f"--probe {probe} and --limit {limit}: expected 0 or more requests and 1 or more samples")
    notes: list[str] = []
    name = _engine(engine, notes)
    subject = _subject(model, name)
    knows = bool(subject.location) and (family == "auto" or name not in LOOKUP_ENGINES)
    asked_as, because = families.choose(family, subject.telling_name, subject.config if knows else {})
    notes.append(f"family {asked_as.name}: {because}")
    words = _Words.of(subject)
    if not words.counted:
        notes.append(
            f"text tokens are guessed, one for {BYTES_A_TOKEN} bytes: the model's tokenizer cannot be had here"
        )
    pairs = [(one, protocol) for one in chosen(suite, benchmark) for protocol in protocols]
    asked: list[tuple[Benchmark, Protocol, Sampling]] = []
    for one, protocol in pairs:  # what is misspelt fails before any data is read
        rule = rules.protocol(protocol, overrides or {}, one.name)
        check_written(rule)
        asked.append((one, rule, rule.sampling(gen_args or {}, 0)))
    root = Path(data_dir).expanduser().resolve() if data_dir else None
    measures = bool(probe) and name not in ("", *LOOKUP_ENGINES)
    planned: list[_Planned] = []
    missing: list[Missing] = []
    for one, rule, sampling in tqdm(asked, unit=" benchmarks", disable=not progress, leave=False, file=sys.stderr):
        part = split or one.split
        try:
            data = one.load(part, root, lay_out=False)  # nothing is written
            job = Job(one, part, limit, rule, data, asked_as, because, subject, name, sampling, Path("results"), root)
            planned.append(_counted(job, words, probe if measures else 0))
        except Vr1benchError as error:
            missing.append(Missing(one.name, rule.name, str(error)))
    bare = Estimate(
        tuple(one.cost for one in planned), tuple(missing), counted=words.counted,
        memory=_memory(planned, subject, window), notes=tuple(notes),
    )  # fmt: skip
    if measures and planned:
        return _probed(bare, planned, name, subject, engine_args or {}, window, progress)
    return bare


@dataclass(frozen=True)
class _Planned:
    """A cost without times, and the requests that would be asked for them.

    Attributes:
        cost: Without times.
        job: Of which.
        probed: What is measured.
        spare: Others that warm the engine up, as its caches know nothing of what is measured then.
    """

    cost: Cost
    job: Job
    probed: Sequence[Request]
    spare: Sequence[Request]


@dataclass(frozen=True)
class _Words:
    """Tokens of a question's words.

    Attributes:
        count: Tokens of a text.
        around: Tokens that the chat template puts around a question, less those that stand for the picture.
        counted: Whether this is the model's own tokenizer.
    """

    count: Callable[[str], int]
    around: int = 0
    counted: bool = False

    @classmethod
    def of(cls, subject: Model) -> _Words:
        """The model's own; a guess where there is no tokenizer, or no transformers to load it."""
        origin = subject.base or subject
        if not origin.location:
            return cls(_guessed)
        revision = None if Path(origin.location).is_dir() else origin.revision
        try:
            loaded: Any = import_module("transformers").AutoTokenizer.from_pretrained(
                origin.location, revision=revision
            )
        except Exception:  # whatever a foreign tokenizer needs: a package, a network, code that is not trusted
            return cls(_guessed)

        def count(text: str) -> int:
            return len(loaded.encode(text, add_special_tokens=False))

        around = 0
        with suppress(Exception):  # a tokenizer without a chat template, or with one that takes no pictures
            content = [{"type": "image"}, {"type": "text", "text": "x"}]
            filled = loaded.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            around = max(0, count(filled) - count("x") - 1)
        return cls(lru_cache(TEXTS)(count), around, counted=True)


def _guessed(text: str) -> int:
    return math.ceil(len(text.encode()) / BYTES_A_TOKEN)


def _engine(name: str, notes: list[str]) -> str:
    """The engine that would be probed; "" where none is installed.

    Raises:
        Vr1benchError: Nobody has this name.
    """
    if name != "auto":
        ENGINES.check(name)
        return name
    try:
        return engines.default()
    except Vr1benchError as error:
        notes.append(f"nothing is measured: {error}")
        return ""


def _subject(name: str, engine: str) -> Model:
    """The model, with its weights where the engine loads them.

    Raises:
        Vr1benchError: The engine would load it, and it is not to be found.
    """
    if engine not in NAMED:
        return weights.load(name)
    with suppress(Vr1benchError):
        if engine != "openai":
            return weights.load(name)
    return Model(name, "", "")


def _counted(job: Job, words: _Words, wanted: int) -> _Planned:
    """Counts what a job asks, and picks so many of its requests to measure, and others, spread over its samples."""
    most = min(2 * wanted, job.count)
    places = {place * job.count // most for place in range(most)}
    images: set[Path] = set()
    requests = texts = pictures = longest = 0
    known = True
    picked: list[Request] = []
    for place, sample in enumerate(job.samples()):
        asked = job.requests(sample)
        requests += len(asked)
        if not asked:
            continue
        images.update(sample.images)
        cost = _image_tokens(job, sample.width, sample.height)
        known = known and cost is not None
        pictures += (cost or 0) * len(sample.images) * len(asked)
        lengths = [words.around + words.count(_text(request)) for request in asked]
        texts += sum(lengths)
        longest = max(longest, (cost or 0) * len(sample.images) + max(lengths))
        if place in places:
            picked.append(asked[place % len(asked)])
    cost = Cost(
        job.benchmark.name, job.key.split, job.protocol.name, job.count, requests, len(images),
        pictures if known else None, texts, requests * job.sampling.max_tokens,
        longest + job.sampling.max_tokens if requests else 0,
    )  # fmt: skip
    ordered = picked[::2] + picked[1::2]
    return _Planned(cost, job, ordered[:wanted], ordered[wanted:])


def _image_tokens(job: Job, width: int, height: int) -> int | None:
    """Of one picture; 0 for one that cannot be fed, which no engine is asked about."""
    try:
        fed = job.family.fed_size(width, height, job.pixels)
    except ValueError:
        return 0
    return job.family.image_tokens(*fed)


def _memory(planned: Sequence[_Planned], subject: Model, window: int) -> Memory | None:
    """None where nothing of the model is here: an endpoint's is its own business."""
    weights_of = subject.base or subject
    if not weights_of.location or not planned:
        return None
    return Memory(
        weight_bytes(weights_of.location), cache_bytes_a_token(weights_of.config), window,
        max(one.cost.longest for one in planned), window * max(one.job.max_picture_bytes for one in planned),
    )  # fmt: skip


def _text(request: Request) -> str:
    return "".join(
        part["text"] for message in request.messages for part in message["content"] if part["type"] == "text"
    )


def _probed(
    bare: Estimate,
    planned: Sequence[_Planned],
    name: str,
    subject: Model,
    args: Mapping[str, Any],
    window: int,
    progress: bool,
) -> Estimate:
    """The estimate with what one engine measured; where it cannot start, with the reason."""
    costs = list(bare.costs)
    notes = list(bare.notes)
    askable = [_with_pictures(one, notes) for one in planned]
    first = next((one for one in askable if one.probed), None)
    if first is None:
        return replace(bare, notes=tuple(notes))
    options = EngineOptions(
        subject, planned[0].job.family, args, window, any(one.job.sampling.logprobs for one in planned),
        max(one.job.max_image_tokens for one in planned),
    )  # fmt: skip
    began = time.perf_counter()
    try:
        engine = ENGINES[name](options)
    except Vr1benchError as error:
        return replace(bare, notes=(*notes, f"nothing is measured: {error}"))
    try:
        # What is compiled, or allocated, at the first requests belongs to the start.
        list(engine.generate(first.spare or first.probed))
        start = time.perf_counter() - began
        bar = tqdm(askable, desc=f"probe of {name}", disable=not progress, leave=False, file=sys.stderr)
        costs = [_measured(one, engine, notes) for one in bar]
    except Exception as error:  # a foreign engine's own
        return replace(bare, notes=(*notes, f"nothing is measured: {name} broke: {type(error).__name__}: {error}"))
    finally:
        engine.close()
    notes.append(
        f"times are by a probe of {max(one.probed for one in costs)} requests; a run keeps up to {window} in flight, "
        "and an engine that batches is faster then"
    )
    return replace(bare, costs=tuple(costs), engine=name, start=start, notes=tuple(notes))


def _with_pictures(one: _Planned, notes: list[str]) -> _Planned:
    """Without the requests whose pictures are not there."""
    there, spare = (
        [request for request in some if all(path.is_file() for path in request.images)]
        for some in (one.probed, one.spare)
    )
    if one.probed and not there:
        notes.append(
            f"{one.cost.benchmark}: not measured: the images are not there as files, such as "
            f"{one.probed[0].images[0]}; bring them with `vr1bench prepare {one.cost.benchmark}`, or name the folder "
            "that holds them with --data-dir"
        )
    return replace(one, probed=there, spare=spare)


def _measured(one: _Planned, engine: Engine, notes: list[str]) -> Cost:
    """A cost with the rate and the output tokens of its probe."""
    if not one.probed:
        return one.cost
    began = time.perf_counter()
    answers = [answer for _, answer in engine.generate(one.probed)]
    seconds = time.perf_counter() - began
    good = [answer for answer in answers if isinstance(answer, Completion)]
    failed = [answer for answer in answers if isinstance(answer, Failure)]
    if failed:
        notes.append(f"{one.cost.benchmark}: {len(failed)} of {len(answers)} probed requests failed: {failed[0].error}")
    if not good:
        return one.cost
    measured = replace(one.cost, probed=len(good), rate=len(good) / seconds)
    if not all(answer.n_tokens for answer in good):
        return measured
    mean = sum(answer.n_tokens for answer in good) / len(good)
    return replace(measured, output_tokens=round(mean * one.cost.requests), measured=True)
