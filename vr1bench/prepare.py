"""Brings the data of benchmarks, by what their TOML says: fetch, check, unpack, verify. `vr1bench prepare`.

`vr1bench.lock` in the data folder records the sha256 of every file at first sight, and what was unpacked; a later
difference is refused. Data that somebody put there by other means is taken as it is.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vr1bench.benchmark import Benchmark, Source, SourceFile, default_data_dir, find, suite
from vr1bench.download import DOWNLOADS, Console, Remote, digests, download
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.images import ImageError
from vr1bench.lock import NAME as LOCK
from vr1bench.lock import Lock, Seen, held, read_lock, write_lock
from vr1bench.readers import Dataset, text_of
from vr1bench.unpack import DiskError, check_space, size_of, unpack, writing

BRING = "bring the data with `vr1bench prepare`"
State = Literal["there already", "prepared", "generated", "missing", "refused"]


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
        names: Suites, benchmarks, or TOML paths; also several joined by commas.
        data_dir: Folder that holds the data sets; None takes `$VR1BENCH_DATA` or `./data`.
        check: Only look at what is there: no network, and nothing written to the data folder, not even the pictures
            that lie inside a table.
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
    root = (Path(data_dir).expanduser() if data_dir else default_data_dir()).resolve()
    console = Console(progress)
    if check:
        work = _Work(root, read_lock(root), console, wait, keep_archives, lay_out=False)
        return [work.checked(one) for one in chosen]
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    with held(root):
        return _Work(root, read_lock(root), console, wait, keep_archives).bring(chosen)


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
    lay_out: bool = True
    _needed: dict[str, list[Remote]] = field(default_factory=dict[str, list[Remote]])

    def bring(self, chosen: Sequence[Benchmark]) -> list[Prepared]:
        """Everything that the benchmarks lack, each file once."""
        before = self.lock.model_dump()
        rows = [self.look(one) for one in chosen]
        todo: dict[Remote, list[SourceFile]] = {}
        for one, row in zip(chosen, rows, strict=True):
            lacking = self._lacking(one, row)
            self._needed[one.name] = [remote for remote, _ in lacking]
            for remote, file in lacking:
                files = todo.setdefault(remote, [])
                files += [] if file in files else [file]
        failed: dict[Remote, Vr1benchError] = {}
        for remote, files in todo.items():
            if remote.address not in self.lock.files and all(self._is_there(remote, file) for file in files):
                continue  # another one brought the same, as COCO's train2014 comes from two hosts
            try:
                self._fetch(remote, files)
            except DiskError:
                raise
            except Vr1benchError as error:
                failed[remote] = error
        with suppress(OSError):
            (self.root / DOWNLOADS).rmdir()  # where it is empty
        rows = [self._outcome(one, row, failed) for one, row in zip(chosen, rows, strict=True)]
        if self.lock.model_dump() != before:
            self._write()
        return rows

    def look(self, one: Benchmark) -> Prepared:
        """What is there of a benchmark, split by split; missing data is an error in the row."""
        row = Prepared(one.name, one.split)
        try:
            data = self._load(one, one.split, row)
            if data is None:
                return row
            self._judge(one, one.split, data, row)
        except ImageError as error:  # readers that take sizes from the images find out that one is missing
            row.error = IncompleteError(f"{one.name}: {error}; {BRING}")
        except Vr1benchError as error:
            row.state, row.error = "refused", error
            return row
        for split in one.splits:
            if split != one.split and not self._for_training(one, split):
                self._note(one, split, row)
        if row.error is None:
            row.state = "generated" if one.generated else "there already"
        return row

    def _for_training(self, one: Benchmark, split: str) -> bool:
        """A split to train on whose pictures nobody brought: COCO's archive holds 450 MB of annotations of such."""
        path = one.splits[split].found(self.root)
        there = path is not None and any(folder.is_dir() for folder in one.splits[split].folders(path))
        return split.startswith("train") and not there

    def _note(self, one: Benchmark, split: str, row: Prepared) -> None:
        """What is odd about a split that is not the default one: never an error, for the benchmark runs without it."""
        try:
            data = self._load(one, split, row)
            if data is not None:
                self._judge(one, split, data, row)
        except Vr1benchError as error:
            row.notes.append(f"split {split}: {error}")

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
                    self._verify(remote, [file], archive, "", fetched=False)
                except Vr1benchError as error:
                    row.state, row.error = "refused", error
        return row

    def _load(self, one: Benchmark, split: str, row: Prepared) -> Dataset | None:
        """A split's samples; None where its annotations are not there."""
        if one.generated or one.splits[split].found(self.root):
            # a generated set lies in the cache, and is whole only with its pictures
            return one.load(split, self.root, lay_out=self.lay_out or bool(one.generated))
        if split == one.split:
            row.error = IncompleteError(
                f"{one.name}: the annotations of split {split!r} are not in {self.root}; expected "
                f"{one.splits[split].annotations[0]}; {BRING}"
            )
        else:
            row.notes.append(f"split {split} is not there")
        return None

    def _judge(self, one: Benchmark, split: str, data: Dataset, row: Prepared) -> None:
        names = {text_of(name) for name in np.unique(data.names) if name}
        here = one.splits[split].found(self.root)
        inside = not self.lay_out and here is not None and data.folder not in one.splits[split].folders(here)
        lost = [] if inside else sorted(name for name in names if not (data.folder / name).exists())
        said = f"{len(lost)} of {len(names)} images are not in {data.folder}, such as {lost[0]!r}" if lost else ""
        if split == one.split:
            row.samples, row.images = len(data), len(names)
            if lost:
                row.error = IncompleteError(f"{one.name}: {said}; {BRING}")
        elif lost:
            row.notes.append(f"split {split}: {said}")
        published = one.splits[split].samples
        if published and len(data) != published:
            row.notes.append(f"split {split} holds {len(data)} samples where {published} were published")
        if not one.generated:
            self._remember(one, split, data.sha256)

    def _remember(self, one: Benchmark, split: str, sha256: str) -> None:
        """Records an annotation file at first sight, and refuses another one afterwards."""
        where = one.splits[split]
        name = next(path for path in where.annotations if (self.root / path).exists())
        told = ", ".join(f"{option} = {value}" for option, value in sorted(where.options.items()))
        place = f"{name} ({told})" if told else name  # what a reader is told may make it read other files as well
        known = self.lock.annotations.setdefault(place, sha256)
        if known != sha256:
            raise Vr1benchError(
                f"{self.root / name} changed: its sha256 is {sha256}, {LOCK} recorded {known}; numbers on it do not "
                f"compare with those on the first; delete it and {BRING}, or, where that is "
                f"on purpose, delete its line in {self.root / LOCK}"
            )

    def _lacking(self, one: Benchmark, row: Prepared) -> list[tuple[Remote, SourceFile]]:
        """The files that a benchmark needs; says so in its row where none would help."""
        if row.error is None or row.state == "refused":
            return []
        found = [(remote, file) for remote, file in _files(one.source) if not self._is_there(remote, file)]
        if not found:
            mend = f"put the data there yourself ({one.source.note or 'its TOML names no source'})"
            if one.source.files:
                mend = "what its archives bring is there; delete what is incomplete and type the same command again"
            row.error = Vr1benchError(f"{_what(row.error)}; {mend}, or name the folder that holds it with --data-dir")
        return found

    def _is_there(self, remote: Remote, file: SourceFile) -> bool:
        seen = self.lock.files.get(remote.address)
        if seen is None or (file.unpack or file.path) not in seen.placed:
            gives = (file.gives,) if isinstance(file.gives, str) else file.gives
            return any((self.root / place).exists() for place in gives if place)
        return not self._losses(file, seen)

    def _losses(self, file: SourceFile, seen: Seen) -> list[str]:
        """What is gone of an unpacked file: folders that hold fewer files than were put there."""
        if file.path:
            place = self.root / file.path
            whole = place.is_file() and place.stat().st_size == seen.bytes
            return [] if whole else [f"{file.path} is not the file of {seen.bytes} bytes that was put there"]
        lost: list[str] = []
        for folder, count in seen.placed.get(file.unpack, {}).items():
            place = self.root / file.unpack / folder
            here = sum(entry.is_file() for entry in os.scandir(place)) if place.is_dir() else 0
            if here < count:
                lost.append(f"{place} holds {here} files; {count} were unpacked there")
        return lost

    def _fetch(self, remote: Remote, files: Sequence[SourceFile]) -> None:
        """Brings one file and puts it where each benchmark wants it."""
        archive = self.root / DOWNLOADS / remote.name
        with writing(archive):
            archive.parent.mkdir(exist_ok=True)
        fetched, claimed = not archive.is_file(), ""
        if fetched:
            size = next((file.bytes for file in files if file.bytes), 0)
            self.console.say(f"fetching {remote.address}" + (f" ({size_of(size)})" if size else ""))
            claimed = download(remote, archive, size, console=self.console, wait=self.wait)
        sha256 = self._verify(remote, files, archive, claimed, fetched=fetched)
        length = archive.stat().st_size
        known = self.lock.files.get(remote.address)
        placed = dict(known.placed) if known else {}
        for target, file in {file.unpack or file.path: file for file in files}.items():
            placed[target] = self._place(file, archive, length)
        self.lock.files[remote.address] = Seen(bytes=length, sha256=sha256, placed=placed)
        self._write()
        if not self.keep:
            archive.unlink()

    def _place(self, file: SourceFile, archive: Path, length: int) -> dict[str, int]:
        """Unpacks or copies; returns the number of files in each folder."""
        if file.unpack:
            self.console.say(f"unpacking {archive.name} into {self.root / file.unpack}")
            with self.console.bar(f"unpacking {archive.name}", 0) as update:
                return unpack(archive, self.root / file.unpack, update=update)
        goal = self.root / file.path
        with writing(goal):
            goal.parent.mkdir(parents=True, exist_ok=True)
            check_space(goal.parent, length, file.path)
            draft = goal.with_name(f".{goal.name}.moving")
            shutil.copyfile(archive, draft)
            draft.replace(goal)
        return {}

    def _verify(
        self, remote: Remote, files: Sequence[SourceFile], archive: Path, claimed: str, *, fetched: bool
    ) -> str:
        """The sha256 of a fetched file.

        Raises:
            Vr1benchError: Its size or a checksum is another; a file that was just fetched is deleted.
        """
        known = self.lock.files.get(remote.address)
        wanted = [("sha256", known.sha256 if known else "", f"{LOCK} recorded at first sight")]
        wanted.append(("sha256", claimed, "the hub says"))
        for file in files:
            told = {"bytes": str(file.bytes or ""), "sha256": file.sha256, "md5": file.md5}
            wanted += [(kind, value, "the benchmark's TOML says") for kind, value in told.items()]
        found = {"bytes": str(archive.stat().st_size), **digests(archive, self.console)}
        for kind, value, who in wanted:
            if value in {"", found[kind]}:
                continue
            if fetched:
                with writing(archive):
                    archive.unlink()
            mend = "it was deleted:" if fetched else f"delete {archive} and"
            trust = f"delete its entry in {self.root / LOCK}" if LOCK in who else "name the new one in a TOML of yours"
            raise Vr1benchError(
                f"{remote.address} is another file than expected: its {kind} is {found[kind]}, {who} {value}; {mend} "
                "type the same command again; where that changes nothing, the host replaced it: if you trust that, "
                f"{trust}"
            )
        return found["sha256"]

    def _outcome(self, one: Benchmark, row: Prepared, failed: Mapping[Remote, Vr1benchError]) -> Prepared:
        """The row after fetching; a benchmark that lacked nothing keeps its own."""
        needed = self._needed.get(one.name)
        if not needed:
            return row
        now = self.look(one)
        if now.error is None:
            now.state = "prepared"
            return now
        first = next((failed[remote] for remote in needed if remote in failed), None)
        if first is not None:
            now.error = first
        elif now.state == "missing":
            now.error = Vr1benchError(
                f"{_what(now.error)}; its archives were fetched and unpacked, and hold it elsewhere: look in "
                f"{self.root}, and name the place in the benchmark's TOML"
            )
        return now

    def _write(self) -> None:
        if not write_lock(self.root, self.lock):
            self.console.say(f"{self.root} cannot be written: checksums were not recorded")


def _what(error: Vr1benchError) -> str:
    """An error without its next step."""
    return str(error).partition(f"; {BRING}")[0]


def _files(source: Source) -> list[tuple[Remote, SourceFile]]:
    revision = source.revision or "main"
    return [
        (Remote(file.url) if file.url else Remote("", source.repo, file.file, revision), file) for file in source.files
    ]


def _chosen(names: Sequence[str]) -> list[Benchmark]:
    parts = [part.strip() for name in names for part in ([name] if Path(name).is_file() else name.split(","))]
    found = [one for name in parts if name for one in ([find(name)] if name.endswith(".toml") else suite(name))]
    if not found:
        raise Vr1benchError("expected suites or benchmarks to prepare, got none; see `vr1bench list`")
    return list({one.name: one for one in found}.values())
