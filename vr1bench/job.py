"""A job: one benchmark's split under one protocol for one model: its questions, its answers, its place on disk."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from vr1bench.benchmark import Benchmark, fingerprint
from vr1bench.errors import Vr1benchError
from vr1bench.families import Family
from vr1bench.families.answers import read_answer
from vr1bench.families.several import merged
from vr1bench.journal import Journal
from vr1bench.metrics.qa import options
from vr1bench.model import Model
from vr1bench.ordering import Shard, largest_first, numbered, together
from vr1bench.protocol import Protocol
from vr1bench.readers import Dataset, text_of
from vr1bench.readers.refer import PROBLEM_PREFIX
from vr1bench.store import Key, file_name
from vr1bench.types import (
    Completion,
    Detections,
    Ints,
    Kind,
    Pair,
    PixelBudget,
    Prediction,
    Request,
    Sample,
    Sampling,
)

ASKING_FIELDS = ("query", "questions", "by_family", "min_pixels", "max_pixels", "max_tokens")
"""Protocol fields that decide what is asked; the others judge, so records serve any value of them."""

PREPROCESSED = 24
"""Bytes that a processor makes of a pixel: three channels of float32, twice in Qwen's patches of two frames."""
TEXTS = 1024
"""Questions that are remembered in the form that they are asked in."""


@dataclass(frozen=True)
class Job:
    """What is asked of whom, and how it is judged.

    Attributes:
        benchmark: What is measured.
        split: Which of its splits.
        limit: First samples only; None takes all.
        protocol: How.
        dataset: The split's samples.
        family: How this model is asked and read.
        family_because: Why this family.
        model: The model.
        engine: Name of the engine that answers; records of two engines never mix.
        sampling: How it decodes.
        output: The folder of results.
        data_dir: Where the data lies; None where the benchmark generates it or the default was taken.
        shard: The share of the samples that is asked about; None asks about all, and only such a job has a number.
    """

    benchmark: Benchmark
    split: str
    limit: int | None
    protocol: Protocol
    dataset: Dataset
    family: Family
    family_because: str
    model: Model
    engine: str
    sampling: Sampling
    output: Path
    data_dir: Path | None = None
    shard: Shard | None = None

    @property
    def count(self) -> int:
        """Samples to answer."""
        return len(self._rows)

    @cached_property
    def _order(self) -> Sequence[int]:
        """Rows of the dataset that the protocol scores, in its order."""
        return self.protocol.order(len(self.dataset))

    @cached_property
    def _limited(self) -> Ints:
        return np.array(self._order[: self.limit], dtype=np.int64)

    @property
    def pictures(self) -> Ints:
        """(samples,) Which picture each sample shows, numbered from 0 as they first come; of a shard, of the whole."""
        return numbered(self.dataset.names[self._limited])

    @cached_property
    def _rows(self) -> Ints:
        """Those of them that this job asks about."""
        return self._limited[self.pictures % self.shard.count == self.shard.index - 1] if self.shard else self._limited

    @property
    def key(self) -> Key:
        """What this job's number belongs to; a limited split has a name of its own, and so have points for boxes."""
        count = len(self._limited)
        split = self.split if count == len(self._order) else f"{self.split}[:{count}]"
        return Key(
            benchmark=self.benchmark.name,
            split=split,
            protocol=self.protocol.name,
            scores="points" if self.family.pointing and self.benchmark.task != "qa" else self.protocol.scores,
            model=self.model.name,
            revision=self.model.revision,
            step=self.model.step,
        )

    @property
    def folder(self) -> Path:
        """The run folder: journal and identity. Outlives a changed limit, so that a longer run reuses a shorter one."""
        name = file_name(f"{self.split}.{self.protocol.name}.{self.protocol.scores}")
        if self.shard:
            name += f".shard-{self.shard.index}-of-{self.shard.count}"
        return self.output / "runs" / self.key.slug / self.benchmark.name / name

    @property
    def result_path(self) -> Path:
        """Where the Result goes: one file a key."""
        return self.output / self.key.path

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two records of this job comparable: everything that decides what is asked, of whom.

        A shard's also holds `shard`; without it, it is that of the whole.
        """
        share = {"shard": str(self.shard)} if self.shard else {}
        return share | {
            "benchmark": self.benchmark.of_split(self.split).model_dump(mode="json"),
            "split": self.split,
            "data_sha256": self.dataset.sha256,
            "protocol": self.protocol.rule(self.benchmark.task).model_dump(mode="json"),
            "model": {"name": self.model.name, "revision": self.model.revision, "step": self.model.step},
            "family": self.family.name,
            "question": self.question,
            "engine": self.engine,
            "sampling": self.sampling.model_dump(mode="json"),
        }

    @property
    def fingerprint(self) -> str:
        """sha256 of everything in the definitions that can change the score."""
        return fingerprint(
            self.benchmark.of_split(self.split),
            self.key.split,
            self.protocol.rule(self.benchmark.task),
            dict(self.family.identity),
            self.question,
            self.sampling,
        )

    @cached_property
    def pixels(self) -> PixelBudget | None:
        """Bounds on the fed area: the protocol's, else the family's own; None where its processor knows none."""
        own = self.family.pixels
        if own is None:
            return None
        return PixelBudget(
            min_pixels=self.protocol.min_pixels or own.min_pixels, max_pixels=self.protocol.max_pixels or own.max_pixels
        )

    @property
    def max_image_tokens(self) -> int:
        """Image tokens of the largest image that will be asked about; 0 where the family cannot tell."""
        sizes = {(int(w), int(h)) for w, h in self.dataset.sizes[self._rows]}
        fed = (self._fed_size(*size) for size in sizes)
        return max((self.family.image_tokens(*size) or 0 for size in fed if size), default=0)

    @property
    def max_picture_bytes(self) -> int:
        """Memory of the largest picture: decoded, and preprocessed into `PREPROCESSED` bytes for each pixel fed."""
        sizes = np.unique(self.dataset.sizes[self._rows], axis=0)
        fed = ((int(w) * int(h), self._fed_size(int(w), int(h)) or (0, 0)) for w, h in sizes)
        return max((3 * area + PREPROCESSED * w * h for area, (w, h) in fed), default=0)

    def _fed_size(self, width: int, height: int) -> tuple[int, int] | None:
        """The fed size; None for an image that the family cannot be fed, which the engine then says of its request."""
        try:
            return self.family.fed_size(width, height, self.pixels)
        except ValueError:
            return None

    def samples(self) -> Iterator[Sample]:
        """The samples, in the pinned order."""
        return (self.dataset[int(row)] for row in self._rows)

    def requests(self, sample: Sample) -> list[Request]:
        """The questions of one sample: one, one a class, or none where the protocol asks only for what is there.

        Raises:
            Vr1benchError: The protocol has no words for this task.
        """
        words = self.question
        if self.benchmark.task == "qa":  # words for boxes have no place here: the family wraps nothing
            lines = "".join(f"{letter}. {choice}\n" for letter, choice in options(sample.choices).items())
            text = filled(words, question=sample.problem, options=lines)
            return [self._request(sample, self._picture(sample), (), text)]
        fed = self._fed_size(sample.width, sample.height) or (sample.width, sample.height)
        words = self.family.wrap(words, fed)
        if self.benchmark.task == "refer":
            asked: list[tuple[str, ...]] = [sample.queries]
            problem = sample.problem or f"{PROBLEM_PREFIX}{sample.queries[0]}."  # as VLM-R1's rows have it
            texts = [filled(words, phrase=sample.queries[0], problem=problem)]
        elif self.protocol.query == "all":
            asked = [sample.queries]
            texts = [filled(words, labels=self._separator.join(sample.queries), list=repr(list(sample.queries)))]
        else:
            present = set(sample.gold.labels.tolist())
            asked = [(q,) for q in sample.queries if self.protocol.query == "one" or q in present]
            texts = [filled(words, label=query) for (query,) in asked]
        picture = self._picture(sample)
        return [self._request(sample, picture, queries, text) for queries, text in zip(asked, texts, strict=True)]

    def pending(self, journal: Journal, rows: Iterable[int] | None = None) -> Iterator[Request]:
        """Requests without a good record, lazily, in the order of the samples or of `rows`."""
        for row in self._rows if rows is None else rows:
            yield from (request for request in self.requests(self.dataset[int(row)]) if request.key not in journal)

    def lacking(self, journal: Journal) -> tuple[Ints, int]:
        """Rows of the samples that lack a good record, and how many records they lack.

        A run that goes on near its end then makes the questions of all samples once, and not twice. Rows of one
        picture follow each other: an engine decodes, preprocesses and encodes it once.
        """
        rows, total = array("q"), 0
        for row in self._rows:
            missing = sum(request.key not in journal for request in self.requests(self.dataset[int(row)]))
            total += missing
            if missing:
                rows.append(row)
        kept = np.array(rows, dtype=np.int64)
        return together(kept, self.dataset.names[kept]), total

    def largest_first(self, rows: Ints, count: int) -> Ints:
        """Rows whose last `count` go by the size at which their picture is fed; see `ordering.largest_first`."""
        head, tail = np.split(rows, [max(0, len(rows) - count)])
        return np.concatenate([head, largest_first(tail, self.dataset.names[tail], self._fed_areas(tail))])

    def _fed_areas(self, rows: Ints) -> Ints:
        """(rows,) Pixels of each picture as the model sees it; 0 where it cannot be fed."""
        fed = (self._fed_size(int(w), int(h)) or (0, 0) for w, h in self.dataset.sizes[rows])
        return np.array([w * h for w, h in fed], dtype=np.int64)

    def perfect(self, request: Request) -> str:
        """The answer that the family would write if it knew the gold; crowd boxes are not answered."""
        sample = self.dataset[self._places[request.sample_id]]
        if self.benchmark.task == "qa":
            return sample.answers[0]
        asked = np.isin(sample.gold.labels, list(request.queries)) & ~sample.gold.crowd
        gold = Detections.of(sample.gold.boxes[asked], sample.gold.labels[asked].tolist())
        fed = self.family.fed_size(sample.width, sample.height, request.pixels)
        return self.family.format(gold, (sample.width, sample.height), fed)

    def pairs(self, journal: Journal) -> Iterator[Pair]:
        """Samples beside their parsed answers; a sample with a missing record is left out, and `score` counts.

        One sample at a time is in memory.
        """
        for sample in self.samples():
            requests = self.requests(sample)
            records = [journal.read(request.key) for request in requests]
            completions = [record.completion for record in records if record and record.completion]
            if len(completions) < len(requests):
                continue
            parsed = [self._read(c, r, sample) for c, r in zip(completions, requests, strict=True)]
            yield Pair(sample, merged(parsed) if parsed else None, len(requests), completions)

    def _read(self, completion: Completion, request: Request, sample: Sample) -> Prediction:
        if self.benchmark.task == "qa":
            return read_answer(completion, sample.choices)
        return self.family.parse(completion, request)

    @cached_property
    def question(self) -> str:
        """The words of this job's questions: the protocol's, or the family's own where the protocol has none.

        Raises:
            Vr1benchError: Neither has words for what this benchmark and protocol ask.
        """
        kind = self._kind
        words = self.protocol.question(self.family.name, kind) or getattr(self.family.questions, kind)
        if kind == "all" and words and not self.family.labelled:
            raise Vr1benchError(
                f"family {self.family.name!r} does not name what it finds, so it cannot be asked for all classes at "
                "once; ask for one a prompt: --set query=one"
            )
        if not words:
            askable = kind == "all" and self.family.questions.one
            hint = "; ask for one class a prompt: --set query=one" if askable else ""
            raise Vr1benchError(
                f"neither protocol {self.protocol.name!r} nor family {self.family.name!r} has a question for {kind!r}, "
                f"which benchmark {self.benchmark.name!r} needs{hint or '; choose another --protocol'}"
            )
        return words

    @property
    def _kind(self) -> Kind:
        if self.benchmark.task == "qa":
            return "choose" if self.dataset.choices else "answer"
        if self.benchmark.task == "refer":
            return "refer"
        return "all" if self.protocol.query == "all" else "one"

    @property
    def _separator(self) -> str:
        """Between class names: the family's, unless the words are the protocol's."""
        return ", " if self.protocol.question(self.family.name, self._kind) else self.family.questions.separator

    def _request(self, sample: Sample, picture: str, queries: tuple[str, ...], text: str) -> Request:
        """One question; its key is 32 hex digits over model revision, messages, image and sampling.

        The sample's id keeps rows apart that ask the same of one image.
        """
        messages, as_json = _messages(text)
        parts = (self._key_prefix, sample.id, as_json, picture)
        return Request(
            key=hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest(),
            sample_id=sample.id,
            images=sample.images,
            width=sample.width,
            height=sample.height,
            queries=queries,
            messages=messages,
            sampling=self.sampling,
            pixels=self.pixels,
        )

    def _picture(self, sample: Sample) -> str:
        """What a request's key holds of the image: its name below the data.

        Reading every byte would make resuming as slow as running, and scoring must not need the pictures.
        """
        return repr([str(path).removeprefix(self._folder) for path in sample.images])

    @cached_property
    def _key_prefix(self) -> str:
        return f"{self.model.revision}\0{self.sampling.model_dump_json()}\0{self.pixels!r}"

    @cached_property
    def _folder(self) -> str:
        """What all image paths begin with: the same data elsewhere must have the same keys."""
        return str(self.dataset.folder)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {text_of(name): i for i, name in enumerate(self.dataset.ids)}


def current(identity: Mapping[str, Any]) -> dict[str, Any]:
    """A stored identity with the fields that benchmarks and protocols got since, as they were before: their defaults.

    One that this version cannot read is left as it is, and differs from any other.
    """
    filled = dict(identity)
    for name, kind in (("benchmark", Benchmark), ("protocol", Protocol)):
        with suppress(ValidationError):
            filled[name] = kind.model_validate(identity.get(name)).model_dump(mode="json")
    return filled


@lru_cache(maxsize=TEXTS)
def _messages(text: str) -> tuple[tuple[Mapping[str, Any], ...], str]:
    """One user's message about one picture, and its JSON; most questions are asked of many pictures."""
    messages = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},)
    return messages, json.dumps(messages)


def filled(words: str, **said: str) -> str:
    """Words with the placeholders `{name}` filled in, all at once: braces in what is filled in are left alone."""
    return re.sub(r"\{(" + "|".join(said) + r")\}", lambda place: said[place[1]], words)
