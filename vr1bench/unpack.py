"""Unpacks archives from outside: whole or not at all, and nothing leaves the folder.

An archive is unpacked into a folder beside its place and then moved there, so that what can be seen is complete.
Links, devices, absolute paths, `..`, too many members and too many bytes refuse the whole archive.
"""

from __future__ import annotations

import errno
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from vr1bench.errors import Vr1benchError
from vr1bench.readers.files import HEAD, is_web_page

CHUNK = 2**20
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError,
    RuntimeError, ValueError,
)  # fmt: skip
"""What Python's decoders raise on broken or hostile bytes."""
_EXTENSIONS = frozenset(
    {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
)
"""Types of tar members that say more about the next one."""
_LAYOUT = frozenset({errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ})
"""Failures to write that the names in the archive cause, not the disk."""


class DiskError(Vr1benchError):
    """The disk is full or a folder cannot be written: no other file would fare better."""


@dataclass(frozen=True)
class Limits:
    """How much an archive may become.

    Attributes:
        members: Files and folders at most. The largest set that is read here, Objects365, has 2 million images.
        ratio: Unpacked bytes a packed one at most; JSON annotations reach about 30, an archive bomb 1000 and more.
        floor: Bytes that any archive may become, however small it is.
    """

    members: int = 3_000_000
    ratio: int = 100
    floor: int = 64 * 2**20


@dataclass(frozen=True)
class _Member:
    """One entry: its name, its size in bytes as declared, whether it is a folder, what is wrong, how to read it."""

    name: str
    size: int
    folder: bool
    wrong: str
    read: Callable[[], IO[bytes] | None]


class _Header(tarfile.TarInfo):
    """A member's header that does not fill the memory: tarfile reads long names and sparse maps whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type == tarfile.GNUTYPE_SPARSE or (found.type in _EXTENSIONS and found.size > CHUNK):
            raise tarfile.ReadError(f"a header of type {found.type!r} and {found.size} bytes")
        return found


@contextmanager
def writing(path: Path) -> Generator[None, None, None]:
    """Turns a failure to write into words.

    Raises:
        DiskError: Disk full, no permission, or another failure of the file system.
    """
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"cannot write {error.filename or path}: {error.strerror or error}; what was fetched is kept: free space, "
            "fix the permissions, or name another --data-dir, and type the same command again"
        ) from error


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuses to begin what cannot end.

    Raises:
        DiskError: The disk has fewer than `needed` bytes free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskError(
            f"{what} needs {size_of(needed)}, and {folder} has {size_of(free)} free; free space or name another "
            "--data-dir, and type the same command again"
        )


def size_of(count: int) -> str:
    """Bytes as people read them: 815.6 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def unpack(
    archive: Path, target: Path, limits: Limits | None = None, update: Callable[[int], object] | None = None
) -> dict[str, int]:
    """Unpacks a zip or tar (plain, gz, bz2, xz) into a folder; what lies there by the same name is replaced.

    Args:
        archive: The file; its kind is told by its content.
        target: The folder, made where it is missing.
        limits: See `Limits`.
        update: Called with the bytes written since the last call.

    Returns:
        Number of files directly in each folder, by its path relative to `target` ("." for itself).

    Raises:
        Vr1benchError: It is no archive, damaged, or unsafe; `target` is as it was.
        DiskError: It cannot be written.
    """
    limits = limits or Limits()
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        for stale in target.glob(".unpacking-*"):  # of a run that was killed
            shutil.rmtree(stale)
        draft = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target))
    try:
        _extract(archive, draft, limits, update or (lambda _: None))
        counts = {os.path.relpath(folder, draft): len(files) for folder, _, files in os.walk(draft) if files}
        if not counts:
            raise Vr1benchError(f"{archive} holds no file; delete it and type the same command again")
        with writing(target):
            _merge(draft, target)
        return counts
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def put(source: Path, goal: Path) -> None:
    """Moves into place at once, also where a link leads to another disk.

    Raises:
        OSError: It cannot be written.
    """
    try:
        source.replace(goal)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        draft = goal.with_name(f".{goal.name}.moving")
        shutil.move(source, draft)
        draft.replace(goal)


def _merge(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        goal = target / entry.name
        if entry.is_dir() and goal.is_dir():
            _merge(entry, goal)
        else:
            put(entry, goal)


def _extract(archive: Path, draft: Path, limits: Limits, update: Callable[[int], object]) -> None:
    packed = archive.stat().st_size
    bound = max(limits.floor, limits.ratio * packed)
    total = count = 0
    try:
        for member in _members(archive, draft, bound):
            count, total = count + 1, total + member.size
            if count > limits.members:
                raise _unsafe(archive, f"more than {limits.members} members")
            if total > bound:
                raise _bomb(archive, total, bound)
            _write(archive, member, draft, update)
    except _DAMAGED as error:
        raise Vr1benchError(
            f"{archive} is damaged ({type(error).__name__}: {error}); delete it and type the same command again"
        ) from error
    except OSError as error:
        _layout(archive, error)
        with writing(draft):
            raise


def _layout(archive: Path, error: OSError) -> None:
    """Raises where the archive is at fault, not the disk."""
    if error.errno is None:  # gzip's and bz2's way to say that the data are broken
        raise Vr1benchError(f"{archive} is damaged ({error}); delete it and type the same command again") from error
    if error.errno in _LAYOUT:
        raise _unsafe(archive, f"a name that cannot be written ({error.strerror}: {error.filename})") from error


def _members(archive: Path, draft: Path, bound: int) -> Iterator[_Member]:
    with archive.open("rb") as file:
        head = file.read(HEAD)
    if is_web_page(head):
        raise Vr1benchError(
            f"{archive} is a web page, not an archive; it begins with {head[:60]!r}: the address may have moved or "
            "need a login; open it in a browser, put the real file there, and type the same command again"
        )
    zipped = head.startswith(b"PK")  # not is_zipfile alone: it also takes a tar whose last member is a zip
    if zipped and zipfile.is_zipfile(archive):
        return _zip_members(archive, draft, bound)
    with suppress(tarfile.ReadError):
        return _tar_members(tarfile.open(archive, tarinfo=_Header))
    raise Vr1benchError(
        f"{archive} is no zip and no tar, or was cut short: {archive.stat().st_size} bytes, first {head[:16]!r}; "
        "delete it and type the same command again"
    )


def _zip_members(archive: Path, draft: Path, bound: int) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        total = sum(info.file_size for info in file.infolist())
        if total > bound:
            raise _bomb(archive, total, bound)
        check_space(draft, total, f"unpacking {archive.name}")
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            wrong = "" if kind in {0, stat.S_IFREG, stat.S_IFDIR} else "a link or device"
            wrong = "an encrypted member" if info.flag_bits & 1 else wrong
            yield _Member(info.filename, info.file_size, info.is_dir(), wrong, lambda info=info: file.open(info))


def _tar_members(file: tarfile.TarFile) -> Iterator[_Member]:
    with file:
        for info in file:
            wrong = "" if info.isreg() or info.isdir() else "a link or device"
            size = info.size if info.isreg() else 0
            yield _Member(info.name, size, info.isdir(), wrong, lambda info=info: file.extractfile(info))


def _write(archive: Path, member: _Member, draft: Path, update: Callable[[int], object]) -> None:
    if member.wrong:
        raise _unsafe(archive, f"{member.wrong}: {member.name!r}")
    parts = re.split(r"[/\\]", member.name)
    if member.name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:[/\\]", member.name):
        raise _unsafe(archive, f"a path that leaves the folder: {member.name!r}")
    path = draft / member.name
    if member.folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    source = member.read()
    if source is None:
        return
    left = member.size
    with source, path.open("wb") as file:
        while chunk := source.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                raise _unsafe(archive, f"a member that is longer than it says: {member.name!r}")
            file.write(chunk)
            update(len(chunk))


def _unsafe(archive: Path, what: str) -> Vr1benchError:
    return Vr1benchError(
        f"{archive} is not safe to unpack: it holds {what}; expected files and folders below its own; nothing was "
        "unpacked: if you trust it, unpack it yourself, else delete it"
    )


def _bomb(archive: Path, total: int, bound: int) -> Vr1benchError:
    return Vr1benchError(
        f"{archive} would become {size_of(total)} or more; expected at most {size_of(bound)} from its "
        f"{size_of(archive.stat().st_size)}: it looks like an archive bomb; nothing was unpacked: if you trust it, "
        "unpack it yourself, else delete it"
    )
