"""Benchmarks: what is measured, and where the data stands. TOML definitions to values.

How it is measured is the protocol's (`vr1bench.protocol`); a number belongs to both.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from vr1bench.definitions import SHIPPED, read_toml, validated
from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, TASKS, Dataset, Files, text_of
from vr1bench.registry import unknown
from vr1bench.types import FrozenModel, Task

METRICS: dict[Task, tuple[str, ...]] = {
    "detect": (
        *("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
        *("AP_tie", "AP50_tie", "F1@0.5", "precision@0.5", "recall@0.5", "greedy precision", "greedy recall"),
    ),
    "refer": ("Acc@0.5", "Acc@0.75", "mean IoU"),
    "qa": ("accuracy", "relaxed accuracy"),  # the second where it is the primary one, and then of each kind as well
}
"""What a result of each task holds; the first is its primary metric unless the definition names another."""
NMS_METRICS = ("NMS-AP", "NMS-AP50", "NMS-AP75", "NMS-AP best", "NMS-AP worst")
"""What a detection benchmark holds besides where NMS-AP is its primary metric."""


ORDER_FREE = {"AP": "AP_tie", "AP50": "AP50_tie"}
"""The companion of a metric that the order of images moves where scores tie; the others are their own."""


READINGS = frozenset({"coco-filtered", "d3"})
"""Suites whose members are readings, or parts and the whole, of one thing: nobody means their mean."""


class Split(FrozenModel):
    """Where a split lies, relative to the data folder.

    Attributes:
        annotations: Paths of the annotation file (ReasonSeg: folder), as people hold it; the first that exists is read.
        images: The image folder, relative to the annotation file's folder; of several the first that holds the split's
            first picture is read, for people keep the same pictures in several places.
        samples: Expected number of samples; 0 where nobody published it.
        options: What the reader must be told and never guesses, such as `boxes = "xywh"`; its docstring lists them.
    """

    annotations: tuple[str, ...] = Field(min_length=1)
    images: str | Annotated[tuple[str, ...], Field(min_length=1)] = "."
    samples: int = 0
    options: dict[str, str | int] = Field(default_factory=dict[str, str | int])

    @model_serializer(mode="wrap")
    def _told(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without options that nobody gave: fingerprints of splits that have none stay what they were."""
        return {name: value for name, value in plain(self).items() if name != "options" or value}

    def found(self, root: Path) -> Path | None:
        """The annotation file that is read, under a data folder; None where there is none."""
        return next((path for name in self.annotations if (path := root / name).exists()), None)

    def folders(self, annotations: Path) -> tuple[Path, ...]:
        """Where the pictures of an annotation file may lie."""
        names = (self.images,) if isinstance(self.images, str) else self.images
        return tuple(annotations.parent / name for name in names)


def _below(path: str) -> str:
    """Refuses a path that is not under the data folder; "" is none."""
    pure = PurePosixPath(path)
    if path and (not pure.parts or pure.is_absolute() or ".." in pure.parts):
        raise ValueError("expected a path below the data folder, without '..'")
    return path


Below = Annotated[str, AfterValidator(_below)]


class SourceFile(FrozenModel):
    """One file that `vr1bench prepare` brings.

    Attributes:
        url: Where it is; or
        file: its path in the source's hub repository.
        unpack: The folder that the archive is unpacked into, under the data folder; or
        path: where the file itself goes.
        gives: What it brings, under the data folder: where somebody has put that, the file is not fetched. Several
            are the places where the same data serves the benchmark as well.
        bytes: Its size; 0 where nobody published it.
        sha256: Its checksum, else
        md5: the older one; where both are "", the first sight is recorded in `vr1bench.lock`.
    """

    url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    file: Below = ""
    unpack: Below = ""
    path: Below = ""
    gives: Below | tuple[Below, ...] = ""
    bytes: int = Field(default=0, ge=0)
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    md5: str = Field(default="", pattern=r"^([0-9a-f]{32})?$")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.url) == bool(self.file):
            raise ValueError("expected either url, or file of the source's repo")
        if bool(self.unpack) == bool(self.path):
            raise ValueError("expected either unpack (a folder, for an archive) or path (of the file itself)")
        return self


class Source(FrozenModel):
    """Where the data comes from. Cannot change a score, and is no part of a fingerprint.

    Attributes:
        repo: Hub repository of the files without a url; a data set's begins with "datasets/".
        files: What to bring.
        revision: Of the repository; "" is main.
        licence: As its authors say.
        note: What a user should know.
    """

    repo: str = Field(default="", pattern=r"^((datasets/)?[\w.-]+/[\w.-]+)?$")
    files: tuple[SourceFile, ...] = ()
    revision: str = ""
    licence: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not self.repo and any(file.file for file in self.files):
            raise ValueError("expected the repo that holds the files without a url")
        return self

    @property
    def home(self) -> str:
        """The repository or host, for people; "" where there is none."""
        return self.repo or next((urlsplit(file.url).netloc for file in self.files), "")


_AS_EVER: Mapping[str, bool] = {"": False, "demo": True}
"""How these are written, and were when there was one collection: results go by fingerprints of it."""


def _collection(value: object) -> object:
    """Reads both spellings, the words of definitions and what `_AS_EVER` writes."""
    return next((name for name, written in _AS_EVER.items() if written is value), value)


Drawn = Annotated[
    Literal["", "demo", "study"],
    BeforeValidator(_collection),
    PlainSerializer(lambda name: _AS_EVER.get(name, name), return_type=bool | str),
]


class Benchmark(FrozenModel):
    """What is measured. One TOML in `benchmarks/`.

    `generated` names the collection of the embedded world that the benchmark is drawn with on first use; "" is none.
    `quirks` tells people what in the data moves numbers: faults of labels, leakage. It cannot change a score, so it is
    never written out, and is no part of a fingerprint.
    """

    name: str = Field(pattern=r"^\w[\w.+-]*(/\w[\w.+-]*)*$")
    task: Task
    reader: str
    primary: str = ""
    split: str = "val"
    splits: dict[str, Split]
    source: Source = Source()
    generated: Drawn = ""
    quirks: tuple[str, ...] = Field(default=(), exclude=True)

    def load(self, split: str, data_dir: Path | None, *, lay_out: bool = True) -> Dataset:
        """Reads a split.

        Args:
            split: One of `splits`.
            data_dir: Folder that holds the data sets; None takes `default_data_dir`.
            lay_out: Whether pictures inside a table are written out as files, which engines need.

        Raises:
            Vr1benchError: The split is unknown, its files are missing, or the reader refuses them.
        """
        if split not in self.splits:
            raise unknown(f"split of {self.name}", split, self.splits)
        root = self._generate(split) if self.generated else (data_dir or default_data_dir())
        where = self.splits[split]
        path = where.found(root)
        if path is not None:
            folders = where.folders(path)
            there = next((folder for folder in folders if folder.is_dir()), folders[0])
            data = _at_its_pictures(READERS[self.reader](Files(path, there, where.options, lay_out)), folders)
            if where.samples and len(data) != where.samples:
                data.warnings[f"samples where {where.samples} were published"] = len(data)
            return data
        bring = f"bring the data with `vr1bench prepare {self.name}`" if self.source.files else "put the data there"
        raise Vr1benchError(
            f"{self.name}: the annotations of split {split!r} are missing; expected {root / where.annotations[0]}; "
            f"{bring}, or name the folder that holds it with --data-dir"
        )

    def of_split(self, split: str) -> Benchmark:
        """Without what cannot change a score of a split: where the data comes from, and other splits."""
        return self.model_copy(update={"source": Source(), "splits": {split: self.splits[split]}, "split": split})

    def _generate(self, split: str) -> Path:
        from vr1bench.demo.datasets import write_demo, write_demo_train
        from vr1bench.demo.study import write_study

        if self.generated == "study":
            name, write = "study-1", write_study
        else:
            name, write = ("demo-2-train", write_demo_train) if split == "train" else ("demo-2", write_demo)
        root = cache_dir() / name
        if not root.is_dir():
            root.parent.mkdir(parents=True, exist_ok=True)
            with (root.parent / f".{name}.lock").open("w") as lock:  # several processes of one training ask at once
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not root.is_dir():
                    write(root)
        return root


def _at_its_pictures(data: Dataset, folders: Sequence[Path]) -> Dataset:
    """With the folder that holds the first picture, where several might and the table holds none itself."""
    if len(folders) == 1 or data.folder not in folders or not len(data):
        return data
    name = text_of(data.names[0])
    return replace(data, folder=next((folder for folder in folders if (folder / name).exists()), data.folder))


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
    found = (_load(path) for path in sorted(SHIPPED.rglob("*.toml")) if _is_definition(path))
    return {benchmark.name: benchmark for benchmark in found}


@cache
def suites() -> Mapping[str, tuple[str, ...]]:
    """All shipped suites: name to benchmark names."""
    return {name: tuple(cast("Sequence[str]", names)) for name, names in read_toml(SHIPPED / "suites.toml").items()}


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
    """The benchmarks of a suite, which may hold other suites; a benchmark's own name counts as a suite of one.

    Raises:
        Vr1benchError: There is no such suite or benchmark.
    """
    if name in suites():
        # "coco" is a suite and a benchmark: among the members of a suite it is the benchmark.
        members = ([find(member)] if member in benchmarks() else suite(member) for member in suites()[name])
        return [one for part in members for one in part]
    if name in benchmarks():
        return [benchmarks()[name]]
    raise unknown("suite", name, suites())


def chosen(suite_names: str | None, names: str | Sequence[str] | None) -> list[Benchmark]:
    """The benchmarks of `--suite` or of `--benchmark`, each once.

    Args:
        suite_names: Suites or benchmarks joined by commas; or
        names: benchmarks, by name or TOML.

    Raises:
        Vr1benchError: Neither or both are given, one is unknown, or two different ones share a name.
    """
    named = [names] if isinstance(names, str) else list(names or ())
    if bool(suite_names) == bool(named):
        raise Vr1benchError("expected a suite or benchmarks, and not both; `vr1bench list` shows them")
    parts = [part.strip() for part in (suite_names or "").split(",") if part.strip()]
    found = [one for part in parts for one in suite(part)] or [find(name) for name in named]
    by_name: dict[str, Benchmark] = {}
    for one in found:
        if by_name.setdefault(one.name, one) != one:
            raise Vr1benchError(f"two different benchmarks are named {one.name!r}; rename one: results go by name")
    return list(by_name.values())


def whole_suites(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The suites of two benchmarks or more, with a mean, that some benchmarks hold whole; of equal ones the first.

    Args:
        names: Benchmarks.
    """
    found: dict[frozenset[str], str] = {}
    for name in suites():
        members = frozenset(one.name for one in suite(name))
        if len(members) > 1 and members <= set(names) and name not in READINGS:
            found.setdefault(members, name)
    return {name: tuple(one for one in names if one in members) for members, name in found.items()}


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
    if benchmark.task not in (fitting := TASKS.get(benchmark.reader, (benchmark.task,))):
        raise Vr1benchError(
            f"{path}: the reader {benchmark.reader!r} gives samples of the task {' or '.join(fitting)}, not "
            f"{benchmark.task}; mend `task`, or name the reader of the file's format"
        )
    primary = benchmark.primary or METRICS[benchmark.task][0]
    known = METRICS[benchmark.task] + (NMS_METRICS if benchmark.task == "detect" else ())
    if primary not in known:
        raise unknown(f"metric of {path}", primary, known)
    return benchmark.model_copy(update={"primary": primary})
