"""Brings the data of benchmarks, by what their TOML says: fetch, check, unpack, verify. `vr1bench prepare`.

`vr1bench.lock` in the data folder records the sha256 of every file at first sight, and what was unpacked; a later
difference is refused. Data that somebody put there by other means is taken as it is.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from vr1bench import benchmark as definitions
from vr1bench.benchmark import Benchmark, Source, SourceFile
from vr1bench.download import DOWNLOADS, Console, Remote, digests, download
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.readers import Dataset, text_of
from vr1bench.store import write_text
from vr1bench.types import FrozenModel
from vr1bench.unpack import DiskError, put, unpack, writing

LOCK = "vr1bench.lock"
State = Literal["there already", "prepared", "generated", "missing", "refused"]


class Seen(FrozenModel):
    """A fetched file: its size and sha256, and how many files it put into each folder (or its size, for one file)."""

    bytes: int
    sha256: str
    placed: dict[str, int] = Field(default_factory=dict[str, int])


class Lock(FrozenModel):
    """What `vr1bench.lock` holds: fetched files by address, and the sha256 of annotation files by path."""

    schema_version: Literal[1] = 1
    files: dict[str, Seen] = Field(default_factory=dict[str, Seen])
    annotations: dict[str, str] = Field(default_factory=dict[str, str])


@dataclass
class Prepared:
    """What became of one benchmark.

    Attributes:
        benchmark: Its name.
        split: Its default split, which must be complete.
        state: See `State`.
        samples: In that split.
        images: In that split.
        notes: What is odd but kept: other numbers of samples than published, other splits that are incomplete.
        error: Why it is missing or refused.
    """

    benchmark: str
    split: str
    state: State = "missing"
    samples: int = 0
    images: int = 0
    notes: list[str] = field(default_factory=list[str])
    error: Vr1benchError | None = None


def prepare(
    names: Sequence[str],
    data_dir: str | Path | None = None,
    *,
    check: bool = False,
    keep_archives: bool = False,
    progress: bool = False,
    wait: Callable[[float], object] = time.sleep,
) -> list[Prepared]:
    """Brings the data of benchmarks, once where several share a file; the Python twin of `vr1bench prepare`.

    Args:
        names: Suites, benchmarks, or TOML paths.
        data_dir: Folder that holds the data sets; None takes `$VR1BENCH_DATA` or `./data`.
        check: Only look at what is there: no network, nothing written.
        keep_archives: Leave fetched archives in the downloads folder, and check them again later.
        progress: Say on stderr what is done.
        wait: Called with seconds between attempts to reach a host.

    Returns:
        One `Prepared` a benchmark; see `failure`.

    Raises:
        Vr1benchError: A name is unknown, the lock is damaged, or another process works in the data folder.
        DiskError: The disk is full or the folder cannot be written; what was fetched is kept.
    """
    chosen = _chosen(names)
    root = (Path(data_dir).expanduser() if data_dir else definitions.default_data_dir()).resolve()
    console = Console(progress)
    if check:
        work = _Work(root, _read_lock(root), console, wait, keep_archives)
        return [work.checked(one) for one in chosen]
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    with _held(root):
        return _Work(root, _read_lock(root), console, wait, keep_archives).bring(chosen)


def failure(rows: Iterable[Prepared]) -> Vr1benchError | None:
    """One error for all benchmarks that are not there: 1 where trying again may help, 2 where something must change."""
    errors = [row.error for row in rows if row.error]
    if not errors:
        return None
    text = "\n".join(dict.fromkeys(str(error) for error in errors))
    return IncompleteError(text) if all(error.exit_code == 1 for error in errors) else Vr1benchError(text)


def table(rows: Sequence[Prepared]) -> str:
    """What became of each benchmark, as text."""
    from tabulate import tabulate

    cells = [[row.benchmark, row.split, row.samples or "", row.images or "", row.state] for row in rows]
    return tabulate(cells, headers=["benchmark", "split", "samples", "images", "data"], tablefmt="simple")


@dataclass
class _Work:
    """A data folder, its lock, and how to go about it."""

    root: Path
    lock: Lock
    console: Console
    wait: Callable[[float], object]
    keep: bool

    def bring(self, chosen: Sequence[Benchmark]) -> list[Prepared]:
        rows = [self.look(one) for one in chosen]
        todo: dict[Remote, list[SourceFile]] = {}
        for one, row in zip(chosen, rows, strict=True):
            for remote, file in self._lacking(one, row):
                files = todo.setdefault(remote, [])
                files += [] if file in files else [file]
        failed: dict[Remote, Vr1benchError] = {}
        for remote, files in todo.items():
            try:
                self._fetch(remote, files)
            except DiskError:
                raise
            except Vr1benchError as error:
                failed[remote] = error
        return [self._outcome(one, row, failed) for one, row in zip(chosen, rows, strict=True)]

    def look(self, one: Benchmark) -> Prepared:
        """What is there of a benchmark, split by split; missing data is an error in the row."""
        row = Prepared(one.name, one.split)
        try:
            for split in one.splits:
                data = self._load(one, split, row)
                if data is not None:
                    self._judge(one, split, data, row)
        except Vr1benchError as error:  # the reader's own words
            row.state, row.error = "refused", error
            return row
        if row.error is None:
            row.state = "generated" if one.generated else "there already"
        return row

    def checked(self, one: Benchmark) -> Prepared:
        """`--check`: also what the lock says of archives that were kept, and of files that were unpacked."""
        row = self.look(one)
        for remote, file in _files(one.source):
            seen = self.lock.files.get(remote.address)
            if seen is None:
                continue
            row.notes += self._losses(file, seen)
            archive = self.root / DOWNLOADS / remote.name
            if archive.is_file():
                try:
                    self._verify(remote, file, archive, "", fetched=False)
                except Vr1benchError as error:
                    row.state, row.error = "refused", error
        return row

    def _load(self, one: Benchmark, split: str, row: Prepared) -> Dataset | None:
        """A split's samples; None where its annotations are not there."""
        found = one.generated or any((self.root / path).exists() for path in one.splits[split].annotations)
        if found:
            return one.load(split, self.root)
        if split == one.split:
            row.error = IncompleteError(
                f"{one.name}: the annotations of split {split!r} are not in {self.root}; expected "
                f"{one.splits[split].annotations[0]}; bring them with `vr1bench prepare {one.name}`"
            )
        else:
            row.notes.append(f"split {split} is not there")
        return None

    def _judge(self, one: Benchmark, split: str, data: Dataset, row: Prepared) -> None:
        names = {text_of(name) for name in np.unique(data.names)}
        lost = sorted(name for name in names if not (data.folder / name).exists())
        said = f"{len(lost)} of {len(names)} images are not in {data.folder}, such as {lost[0]!r}" if lost else ""
        if split == one.split:
            row.samples, row.images = len(data), len(names)
            if lost:
                row.error = IncompleteError(f"{one.name}: {said}; bring them with `vr1bench prepare {one.name}`")
        elif lost:
            row.notes.append(f"split {split}: {said}")
        published = one.splits[split].samples
        if published and len(data) != published:
            row.notes.append(f"split {split} holds {len(data)} samples where {published} were published")
        if not one.generated:
            self._remember(one, split, data.sha256)

    def _remember(self, one: Benchmark, split: str, sha256: str) -> None:
        """Records an annotation file at first sight, and refuses another one afterwards."""
        name = next(path for path in one.splits[split].annotations if (self.root / path).exists())
        known = self.lock.annotations.setdefault(name, sha256)
        if known != sha256:
            raise Vr1benchError(
                f"{self.root / name} changed: its sha256 is {sha256}, {LOCK} recorded {known}; numbers on it would not "
                f"compare with those on the first; restore it (delete it and run `vr1bench prepare {one.name}`), or, if "
                f"you changed it on purpose, delete its line in {self.root / LOCK}"
            )

    def _lacking(self, one: Benchmark, row: Prepared) -> list[tuple[Remote, SourceFile]]:
        """The files that a benchmark needs; says so in its row where none would help."""
        if row.error is None or row.state == "refused":
            return []
        found = [(remote, file) for remote, file in _files(one.source) if not self._is_there(remote, file)]
        if not found:
            place = "its TOML names no source" if not one.source.files else "all its archives are unpacked"
            row.error = Vr1benchError(
                f"{str(row.error).partition('; bring them')[0]}; {place}; put the data there yourself, name its folder "
                f"with --data-dir, or delete {self.root / LOCK} to fetch it again"
            )
        return found

    def _is_there(self, remote: Remote, file: SourceFile) -> bool:
        seen = self.lock.files.get(remote.address)
        if seen is None or (file.unpack or file.path) not in seen.placed:
            return bool(file.gives) and (self.root / file.gives).exists()
        return not self._losses(file, seen)

    def _losses(self, file: SourceFile, seen: Seen) -> list[str]:
        """Folders of an unpacked archive that hold fewer files than it put there."""
        return []

    def _outcome(self, one: Benchmark, row: Prepared, failed: dict[Remote, Vr1benchError]) -> Prepared:
        raise NotImplementedError

    def _fetch(self, remote: Remote, files: list[SourceFile]) -> None:
        raise NotImplementedError

    def _verify(self, remote: Remote, file: SourceFile, archive: Path, claimed: str, *, fetched: bool) -> None:
        raise NotImplementedError


def _files(source: Source) -> list[tuple[Remote, SourceFile]]:
    revision = source.revision or "main"
    return [
        (Remote(file.url) if file.url else Remote("", source.repo, file.file, revision), file) for file in source.files
    ]
