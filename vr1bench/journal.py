"""The journal of a run: its folder's `run.json`, and `records.jsonl` with one Record a line."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pydantic import ValidationError

from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.store import cannot_write, write_text
from vr1bench.types import Record, Training


class Journal:
    """The records of one run: appended as they finish, each key at most once, safe against SIGKILL.

    One process at a time writes it, or any number read it. A torn last line, failures of an earlier run and repeats are
    dropped by a writer on opening, so that what is asked again stands once; a reader passes them over and leaves the
    file as it is. In memory it keeps 143 bytes a record.

    Attributes:
        path: The JSONL file.
        failures: Records of this process that are failures.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        data_dir: str = "",
        current: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
        *,
        training: Training | None = None,
        read_only: bool = False,
    ) -> None:
        """Opens or creates the run folder.

        Args:
            folder: Holds `run.json` and `records.jsonl`.
            identity: What makes records comparable; written to `run.json`, and equal to what stands there.
            data_dir: Where the data lay; noted in `run.json` for scoring again, may differ from what stands there.
            current: Brings what stands there, which an older version may have written, to the fields of this one.
            training: What made the model; noted as `data_dir` is.
            read_only: Nothing is written but, where that can be, an empty lock file; there is no `append` then.

        Raises:
            Vr1benchError: The folder belongs to another run, is in use, or cannot be read or written.
        """
        self.path = folder / "records.jsonl"
        self.failures: dict[str, str] = {}
        self._offsets: dict[bytes, int] = {}
        self._file = -1
        check_identity(folder, identity, current)
        self._lock = _locked_for_reading(folder) if read_only else _locked_for_writing(folder)
        try:
            if read_only:
                self._open_for_reading()
            else:
                if not (folder / "run.json").exists():
                    noted: dict[str, Any] = {"identity": identity, "data_dir": data_dir}
                    if training:
                        noted["training"] = training.model_dump()
                    write_text(folder / "run.json", json.dumps(noted, indent=1, sort_keys=True) + "\n")
                for left in (*folder.glob(".run.json.*"), self._draft):  # of a process that was killed
                    left.unlink(missing_ok=True)
                self._repair()
                with _writing(self.path):
                    self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                self._size = os.fstat(self._file).st_size
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, record: Record) -> None:
        """Adds a record; a line is on its way to the disk when this returns.

        Raises:
            IncompleteError: The disk is full; what stood in the journal stays good.
        """
        line = _line(record)
        try:
            rest = line
            while rest:  # a disk that is about to be full takes a part, and refuses the next
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            with suppress(OSError):  # what stays of the line is dropped on opening
                os.ftruncate(self._file, self._size)
            raise IncompleteError(str(cannot_write(self.path, error))) from error
        if record.failure is None:
            self._offsets[bytes.fromhex(record.key)] = self._size
        else:
            self.failures[record.key] = f"sample {record.sample_id}: {record.failure.error}"
        self._size += len(line)

    def extend(self, records: Iterable[Record]) -> None:
        """Adds good records that are not there yet, all of them or, whatever happens, none.

        Raises:
            Vr1benchError: The disk is full.
        """
        with _writing(self.path, self._draft):
            shutil.copyfile(self.path, self._draft)
            with self._draft.open("ab") as new:
                new.writelines(map(_line, records))
                new.flush()
                os.fsync(new.fileno())
            self._draft.replace(self.path)
        os.close(self._file)
        self._file = -1
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND)
        self._size = os.fstat(self._file).st_size
        self._offsets.clear()
        with open(self._file, "rb", closefd=False) as file:
            self._index(file)

    def read(self, key: str) -> Record | None:
        """The record of a key; None where there is no good one."""
        offset = self._offsets.get(bytes.fromhex(key))
        if offset is None:
            return None
        chunk = b""
        while not chunk.endswith(b"\n"):
            more = os.pread(self._file, 4096, offset + len(chunk))
            if not more:
                break
            end = more.find(b"\n")
            chunk += more if end < 0 else more[: end + 1]
        return Record.model_validate_json(chunk)

    def close(self) -> None:
        """Ends the reading or writing and frees the lock; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._lock:
            self._lock.close()

    @property
    def _draft(self) -> Path:
        """What takes the journal's place once it is whole."""
        return self.path.with_suffix(".tmp")

    def _open_for_reading(self) -> None:
        try:
            self._file = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:  # no answer yet
            return
        except OSError as error:
            raise Vr1benchError(f"cannot read {self.path}: {error.strerror}; expected what the run wrote") from error
        with open(self._file, "rb", closefd=False) as file:
            self._index(file)

    def _repair(self) -> None:
        """Keeps the good records, once each, and indexes them; rewrites the file only where something must go."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            clean = self._index(file)
        if not clean:
            self._rewrite()

    def _index(self, file: IO[bytes]) -> bool:
        """Notes where the good records begin, the first of each key; whether nothing else stands in the file."""
        offset, clean = 0, True
        for line in file:
            record = _record(line)
            key = bytes.fromhex(record.key) if record and record.completion else None
            if key is None or key in self._offsets:
                clean = False
            else:
                self._offsets[key] = offset
            offset += len(line)
        return clean

    def _rewrite(self) -> None:
        seen: set[bytes] = set()
        with _writing(self.path, self._draft):
            with self.path.open("rb") as old, self._draft.open("wb") as new:
                for line in old:
                    record = _record(line)
                    if record is None or not record.completion or (key := bytes.fromhex(record.key)) in seen:
                        continue
                    seen.add(key)
                    self._offsets[key] = new.tell()
                    new.write(line)
                new.flush()
                os.fsync(new.fileno())
            self._draft.replace(self.path)


@contextmanager
def _writing(path: Path, draft: Path | None = None) -> Generator[None]:
    """What the system refuses comes out as an error of ours; a draft goes where its writing ends early.

    Raises:
        Vr1benchError: The disk is full, or the folder cannot be written.
    """
    try:
        yield
    except BaseException as error:
        if draft:
            draft.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def _locked_for_writing(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise _in_use(folder) from error
    except OSError as error:
        lock.close()
        raise Vr1benchError(
            f"{folder} cannot be locked ({error.strerror}): its file system does not offer it, as Lustre without "
            "`-o flock`; name an --output on another, for two runs in one folder would spoil each other"
        ) from error
    return lock


def _locked_for_reading(folder: Path) -> IO[str] | None:
    """None where there is no lock and none can be made: who may not write there can only read."""
    try:
        lock = os.fdopen(os.open(folder / ".lock", os.O_RDONLY | os.O_CREAT, 0o644))
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise _in_use(folder) from error
    except OSError:  # a file system without locks
        lock.close()
        return None
    return lock


def _in_use(folder: Path) -> Vr1benchError:
    return Vr1benchError(f"{folder} is in use by another vr1bench process; wait for it, or name another --output")


def check_identity(
    folder: Path, identity: Mapping[str, Any], current: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
) -> None:
    """Refuses a folder that holds another run; arguments as of `Journal`.

    Raises:
        Vr1benchError: `run.json` differs (names what), is unreadable, or is missing beside foreign files.
    """
    path = folder / "run.json"
    if not path.exists():
        foreign = [p.name for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []
        if foreign:
            raise Vr1benchError(
                f"{folder} holds {foreign[0]!r} but no run.json: it is no run folder; name another --output"
            )
        return
    stored = dict(current(read_run(folder)["identity"]))
    wanted = json.loads(json.dumps(identity))
    if stored != wanted:
        place, old, new = difference(stored, wanted)
        raise Vr1benchError(
            f"{folder} belongs to another run: its {place} is {old!r}, this run's is {new!r}; "
            "name another --output to keep both, or delete the folder"
        )


def read_run(folder: Path) -> dict[str, Any]:
    """What `run.json` says: `identity`, `data_dir`, and `training`, which is None where nobody knows it.

    Raises:
        Vr1benchError: There is none, or it is damaged.
    """
    path = folder / "run.json"
    try:
        stored = json.loads(path.read_bytes())
        noted = {"identity": stored["identity"], "data_dir": stored["data_dir"]}
        return {**noted, "training": stored.get("training")}
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected a run folder of `vr1bench run`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Vr1benchError(f"{path} is damaged ({error!r}); name another --output, or delete {folder}") from error


def difference(old: Any, new: Any, place: str = "") -> tuple[str, Any, Any]:  # noqa: ANN401  any JSON
    """The first place at which two JSON values differ, and both sides."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            if old.get(name) != new.get(name):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
                return difference(old.get(name), new.get(name), f"{place}.{name}" if place else str(name))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return place or "run.json", old, new


def _line(record: Record) -> bytes:
    return (record.model_dump_json(exclude_defaults=True) + "\n").encode()


def _record(line: bytes) -> Record | None:
    """A line as a record; None for a torn one."""
    if not line.endswith(b"\n"):
        return None
    try:
        return Record.model_validate_json(line)
    except ValidationError:
        return None
