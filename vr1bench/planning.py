"""What a run would cost before anybody starts one: requests, images, tokens, and the time from a short probe."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from vr1bench import engines, families
from vr1bench import model as weights
from vr1bench import protocol as rules
from vr1bench.benchmark import Benchmark, chosen
from vr1bench.engines import ENGINES, Engine, EngineOptions
from vr1bench.errors import Vr1benchError
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


@dataclass(frozen=True, slots=True)
class Cost:
    """What one benchmark under one protocol would cost.

    Attributes:
        benchmark: Which.
        split: Which of its splits.
        protocol: How it would be asked.
        samples: How many.
        requests: How many, one class a prompt counted one by one.
        images: Different picture files.
        image_tokens: Input tokens of pictures, over all requests; None where the family cannot tell.
        text_tokens: Input tokens of words, over all requests.
        output_tokens: Over all requests: from the probe, else the most that the protocol allows.
        measured: Whether the output tokens are from the probe.
        probed: Requests that the probe had answered.
        rate: Requests a second in the probe; None where nothing was measured.
    """

    benchmark: str
    split: str
    protocol: str
    samples: int
    requests: int
    images: int
    image_tokens: int | None
    text_tokens: int
    output_tokens: int
    measured: bool = False
    probed: int = 0
    rate: float | None = None

    @property
    def seconds(self) -> float | None:
        """Of asking everything at the probe's rate, start-up apart; None where there is none."""
        return self.requests / self.rate if self.rate else None


@dataclass(frozen=True, slots=True)
class Missing:
    """A benchmark that cannot be planned, and why: most often its data is not there."""

    benchmark: str
    protocol: str
    reason: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would cost.

    Attributes:
        costs: One a benchmark and protocol, protocols of a benchmark side by side.
        missing: Those that could not be planned.
        engine: The engine that was probed; "" where none was.
        start: Seconds until the engine had answered its first requests; None where nothing was measured.
        counted: Whether the words were counted by the model's tokenizer; where not, `text_tokens` are guessed.
        notes: What a reader of the numbers should know.
    """

    costs: tuple[Cost, ...]
    missing: tuple[Missing, ...]
    engine: str = ""
    start: float | None = None
    counted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """All of it, start-up among it; None where some time is not known."""
        times = [one.seconds for one in self.costs]
        known = [value for value in times if value is not None]
        if self.start is None or len(known) < len(times):
            return None
        return self.start + sum(known)


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
    window: int = 128,
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
    if measures and planned:
        return _probed(planned, missing, name, subject, words, engine_args or {}, window, notes, progress)
    return Estimate(tuple(one.cost for one in planned), tuple(missing), counted=words.counted, notes=tuple(notes))


def table(found: Estimate, form: str = "simple") -> str:
    """The costs as a table with their total; `~` is before what is guessed, `≤` before what is a bound.

    Args:
        found: What `estimate` gives.
        form: `simple` or `pipe`, as tabulate names them.
    """
    about = "" if found.counted else "~"
    rows = [
        {"benchmark": f"{one.benchmark} {one.split}", "protocol": one.protocol, "samples": _thousands(one.samples),
         "requests": _thousands(one.requests), "images": _thousands(one.images),
         "image tokens": "?" if one.image_tokens is None else _thousands(one.image_tokens),
         "text tokens": about + _thousands(one.text_tokens),
         "output tokens": ("~" if one.measured else "≤") + _thousands(one.output_tokens),
         "requests/s": "-" if one.rate is None else f"{one.rate:.2f}", "time": _duration(one.seconds)}
        for one in found.costs
    ]  # fmt: skip
    rows += [{"benchmark": one.benchmark, "protocol": one.protocol, "samples": "missing"} for one in found.missing]
    if len(found.costs) > 1:
        rows.append(_total(found))
    if found.start is not None:
        rows.append({"benchmark": f"start-up of {found.engine}", "time": _duration(found.start)})
        rows.append({"benchmark": "all", "time": _duration(found.seconds)})
    align = ["left"] * 2 + ["right"] * 8
    columns = ["benchmark", "protocol", "samples", "requests", "images", "image tokens", "text tokens"]
    columns += ["output tokens", "requests/s", "time"]
    cells = [[row.get(name, "") for name in columns] for row in rows]
    return tabulate(cells, headers=columns, tablefmt=form, disable_numparse=True, colalign=align)


def as_json(found: Estimate) -> str:
    """The same as JSON; seconds are numbers."""
    whole = asdict(found) | {
        "costs": [asdict(one) | {"seconds": one.seconds} for one in found.costs],
        "seconds": found.seconds,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


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
    requests = texts = pictures = 0
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
        texts += sum(words.around + words.count(_text(request)) for request in asked)
        if place in places:
            picked.append(asked[place % len(asked)])
    cost = Cost(
        job.benchmark.name, job.key.split, job.protocol.name, job.count, requests, len(images),
        pictures if known else None, texts, requests * job.sampling.max_tokens,
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


def _text(request: Request) -> str:
    return "".join(
        part["text"] for message in request.messages for part in message["content"] if part["type"] == "text"
    )


def _probed(
    planned: Sequence[_Planned],
    missing: Sequence[Missing],
    name: str,
    subject: Model,
    words: _Words,
    args: Mapping[str, Any],
    window: int,
    notes: list[str],
    progress: bool,
) -> Estimate:
    """The costs with what one engine measured; where it cannot start, without."""
    costs: list[Cost] = [one.cost for one in planned]
    bare = Estimate(tuple(costs), tuple(missing), counted=words.counted)
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


def _total(found: Estimate) -> dict[str, str]:
    """The sums over all rows."""
    costs = found.costs
    pictures = [one.image_tokens for one in costs]
    known = [value for value in pictures if value is not None]
    times = [one.seconds for one in costs]
    measured = [value for value in times if value is not None]
    bound = "~" if all(one.measured for one in costs) else "≤"
    return {
        "benchmark": "total",
        "samples": _thousands(sum(one.samples for one in costs)),
        "requests": _thousands(sum(one.requests for one in costs)),
        "image tokens": _thousands(sum(known)) if len(known) == len(pictures) else "?",
        "text tokens": ("" if found.counted else "~") + _thousands(sum(one.text_tokens for one in costs)),
        "output tokens": bound + _thousands(sum(one.output_tokens for one in costs)),
        "time": _duration(sum(measured) if len(measured) == len(times) else None),
    }


def _thousands(value: int) -> str:
    return f"{value:,}"


def _duration(seconds: float | None) -> str:
    """`0:03:20`; "-" where nobody knows."""
    return "-" if seconds is None else str(timedelta(seconds=math.ceil(seconds)))
