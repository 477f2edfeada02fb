"""Benchmarks and protocols: TOML definitions to values, and where their files lie.

A benchmark says what is measured and where the data stands; a protocol says how. The number belongs to both.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from vr1bench.definitions import read_toml, validated
from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Dataset, Files
from vr1bench.registry import unknown
from vr1bench.types import FrozenModel, Questions, Sampling, ScoreRule, Task

METRICS: dict[Task, tuple[str, ...]] = {
    "detect": (
        *("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
        *("AP_tie", "AP50_tie", "F1@0.5", "precision@0.5", "recall@0.5", "greedy precision", "greedy recall"),
    ),
    "refer": ("Acc@0.5", "Acc@0.75", "mean IoU"),
}
"""What a result of each task holds; the first is its primary metric unless the definition names another."""
DEFINITIONS = Path(__file__).parent / "_benchmarks"


WORDS = {"name", "about", "questions", "by_family"}
"""Fields of a protocol that `--set` does not reach."""


class Protocol(FrozenModel):
    """How a number is made. Every field can change it, so every field is part of the fingerprint.

    Attributes:
        name: As `--protocol` takes it, with the changed fields in brackets where `--set` was used.
        about: What it reproduces and what it cannot.
        query: `all` classes in one prompt, `one` class a prompt, or only the `positive` classes of the gold, one a
            prompt (an oracle: it tells the model what is there).
        questions: The words; "" leaves them to the family. `by_family` replaces them where a paper had others.
        boxes: Which box of a referring answer counts.
        duplicates: Whether a repeat of the same box and label stays.
        unknown: Whether a box with a label that was not asked for stays (as a false positive of F1).
        scores: Where a box's score comes from: constant 1.0, token log-probabilities, or order of emission.
        match: Whether an IoU of exactly the threshold counts, in referring accuracy.
        ids: `as-shipped` lets annotation id 0 cost a true positive, as in pycocotools; `fixed` numbers anew.
        max_detections: Boxes kept per image and class, by score.
        min_pixels: Lower bound on the area that the processor feeds, in pixels; None leaves the family's own.
        max_pixels: Upper bound.
        max_tokens: Longest answer.
    """

    name: str
    about: str = ""
    query: Literal["all", "one", "positive"] = "all"
    questions: Questions = Questions()
    by_family: dict[str, Questions] = Field(default_factory=dict[str, Questions])
    boxes: Literal["all", "first", "last"] = "first"
    duplicates: Literal["keep", "drop"] = "keep"
    unknown: Literal["keep", "drop"] = "keep"
    scores: ScoreRule = "constant"
    match: Literal[">=", ">"] = ">="
    ids: Literal["fixed", "as-shipped"] = "fixed"
    max_detections: int = Field(default=100, gt=0)
    min_pixels: int | None = Field(default=None, gt=0)
    max_pixels: int | None = Field(default=None, gt=0)
    max_tokens: int = Field(default=2048, gt=0)

    def question(self, family: str, key: Literal["all", "one", "refer"]) -> str:
        """The words for a family; a family without words of its own takes the protocol's."""
        own = self.by_family.get(family)
        return (getattr(own, key) if own else "") or getattr(self.questions, key)

    def sampling(self, changes: Mapping[str, Any], seed: int) -> Sampling:
        """Greedy decoding with this protocol's token budget, and the user's changes (`--gen-args`).

        Raises:
            Vr1benchError: A change names no option or has a bad value.
        """
        values = {"max_tokens": self.max_tokens, "seed": seed, "logprobs": self.scores == "logprob", **changes}
        for name in changes:
            if name not in Sampling.model_fields:
                raise unknown("generation option", name, Sampling.model_fields)
        return validated(Sampling, values, "--gen-args")


class Split(FrozenModel):
    """Where a split lies, relative to the data folder.

    Attributes:
        annotations: Paths of the annotation file, as people hold it; the first that exists is read.
        images: The image folder, relative to the annotation file's folder.
        samples: Expected number of samples; 0 where nobody published it.
    """

    annotations: tuple[str, ...] = Field(min_length=1)
    images: str = "."
    samples: int = 0


class Source(FrozenModel):
    """Where the data comes from."""

    repo: str = ""
    files: tuple[str, ...] = ()
    revision: str = ""
    licence: str = ""
    note: str = ""


class Benchmark(FrozenModel):
    """What is measured. One TOML in `benchmarks/`."""

    name: str = Field(pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*$")
    task: Task
    reader: str
    primary: str = ""
    split: str = "val"
    splits: dict[str, Split]
    source: Source = Source()
    generated: bool = False

    def load(self, split: str, data_dir: Path | None) -> Dataset:
        """Reads a split.

        Raises:
            Vr1benchError: The split is unknown, its files are missing, or the reader refuses them.
        """
        if split not in self.splits:
            raise unknown(f"split of {self.name}", split, self.splits)
        root = self._generate() if self.generated else (data_dir or default_data_dir())
        where = self.splits[split]
        for candidate in where.annotations:
            path = root / candidate
            if path.is_file():
                data = READERS[self.reader](Files(path, path.parent / where.images))
                if where.samples and len(data) != where.samples:
                    data.warnings[f"samples where {where.samples} were published"] = len(data)
                return data
        repo = f" from {self.source.repo} ({', '.join(self.source.files)})" if self.source.repo else ""
        raise Vr1benchError(
            f"{self.name}: the annotations of split {split!r} are missing; expected {root / where.annotations[0]}; "
            f"put the data{repo} there, or name the folder that holds it with --data-dir"
        )

    def _generate(self) -> Path:
        from vr1bench.demo.datasets import write_demo

        root = cache_dir() / "demo-1"
        if not root.is_dir():
            root.parent.mkdir(parents=True, exist_ok=True)
            write_demo(root)
        return root


def cache_dir() -> Path:
    """Where generated data lies: `$VR1BENCH_CACHE`, else `~/.cache/vr1bench`."""
    named = os.environ.get("VR1BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "vr1bench"


def default_data_dir() -> Path:
    """Where data is looked for without `--data-dir`: `$VR1BENCH_DATA`, else `./data`."""
    return Path(os.environ.get("VR1BENCH_DATA") or "data")


@cache
def benchmarks() -> Mapping[str, Benchmark]:
    """All shipped benchmarks by name, from one TOML each."""
    found = (_load(path) for path in sorted(DEFINITIONS.rglob("*.toml")) if _is_definition(path))
    return {benchmark.name: benchmark for benchmark in found}


@cache
def protocols() -> Mapping[str, Protocol]:
    """All shipped protocols by name."""
    path = DEFINITIONS / "_protocols.toml"
    return {name: validated(Protocol, {"name": name, **values}, str(path)) for name, values in read_toml(path).items()}


@cache
def suites() -> Mapping[str, tuple[str, ...]]:
    """All shipped suites: name to benchmark names."""
    return {name: tuple(cast("Sequence[str]", names)) for name, names in read_toml(DEFINITIONS / "suites.toml").items()}


def find(name: str) -> Benchmark:
    """A benchmark by name, or from a TOML by path.

    Raises:
        Vr1benchError: There is none, or the TOML is wrong.
    """
    if name.endswith(".toml"):
        return _load(Path(name))
    if name not in benchmarks():
        raise unknown("benchmark", name, benchmarks())
    return benchmarks()[name]


def suite(name: str) -> list[Benchmark]:
    """The benchmarks of a suite; a benchmark's own name counts as a suite of one.

    Raises:
        Vr1benchError: There is no such suite or benchmark.
    """
    if name in suites():
        return [find(member) for member in suites()[name]]
    if name in benchmarks():
        return [benchmarks()[name]]
    raise unknown("suite", name, suites())


def protocol(name: str, changes: Mapping[str, Any]) -> Protocol:
    """A protocol with single fields overridden (`--set`).

    Raises:
        Vr1benchError: The protocol or a field is unknown, or a value is bad.
    """
    if name not in protocols():
        raise unknown("protocol", name, protocols())
    return changed(protocols()[name], changes)


def changed(base: Protocol, changes: Mapping[str, Any]) -> Protocol:
    """A protocol with fields overridden; its name then says which, beside the score rule, which results name apart.

    Raises:
        Vr1benchError: A field is unknown, or a value is bad.
    """
    values = base.model_dump()
    known = sorted(set(Protocol.model_fields) - WORDS)
    for field, value in changes.items():
        if field not in known:
            raise unknown("protocol field", field, known)
        values[field] = value
    made = validated(Protocol, values, "--set")
    name = base.name.partition("[")[0]
    told, origin = (rule.model_dump(exclude={*WORDS, "scores"}) for rule in (made, protocols().get(name, base)))
    said = ",".join(f"{field}={value}" for field, value in sorted(told.items()) if value != origin[field])
    return made.model_copy(update={"name": f"{name}[{said}]" if said else name})


def fingerprint(*parts: object) -> str:
    """sha256 over the canonical JSON of values: pydantic models, and what JSON holds. 64 hex digits."""
    plain = [part.model_dump(mode="json") if isinstance(part, FrozenModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _is_definition(path: Path) -> bool:
    return path.name != "suites.toml" and not path.name.startswith("_")


def _load(path: Path) -> Benchmark:
    benchmark = validated(Benchmark, read_toml(path), str(path))
    if benchmark.split not in benchmark.splits:
        raise Vr1benchError(f"{path}: split {benchmark.split!r} is not among its splits: {', '.join(benchmark.splits)}")
    if benchmark.name.split("/")[0] == "runs":
        raise Vr1benchError(f"{path}: the name {benchmark.name!r} is taken: runs/ holds run folders; choose another")
    primary = benchmark.primary or METRICS[benchmark.task][0]
    if primary not in METRICS[benchmark.task]:
        raise unknown(f"metric of {path}", primary, METRICS[benchmark.task])
    return benchmark.model_copy(update={"primary": primary})
