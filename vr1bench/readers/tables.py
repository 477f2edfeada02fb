"""Tables of rows as the hub serves them: parquet, arrow (`Dataset.save_to_disk`) and JSON lines, whole or in shards.

Parquet and arrow need pyarrow, which comes with `datasets`; it is imported when such a file is read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vr1bench.errors import Vr1benchError
from vr1bench.readers.files import Row, as_utf8, converted, joint_sha256, read_bytes

R = TypeVar("R", bound=Row)

_SHARD = re.compile(r"(?P<name>.+)-(?P<place>\d{5})-of-(?P<count>\d{5})(?P<rest>.*)")
"""`val-00000-of-00004.parquet`; older uploads carry a hash behind: `train-00000-of-00001-4fe3e6340cfb69ed.parquet`."""
_BATCH = 64
"""Rows in memory at once: each may hold a picture of some hundred KB."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Table:
    """A table on disk.

    Attributes:
        path: The file named; its shards' places in error messages are counted through.
        name: What all shards are called: `val`.
        shards: All of them, in order.
    """

    path: Path
    name: str
    shards: tuple[Path, ...]

    @property
    def sha256(self) -> str:
        """Of the file; of the shards' hashes where there are several."""
        return joint_sha256(*map(_digest, self.shards))

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The rows, a few at a time in memory; of the columns those that the table has.

        Raises:
            Vr1benchError: A shard is no such table, or pyarrow is missing.
        """
        for shard in self.shards:
            if shard.suffix == ".jsonl":
                yield from _json_rows(shard)
            else:
                yield from _arrow_rows(shard, columns)

    def typed(self, kind: type[R], *, strict: bool = True) -> Iterator[tuple[R, str]]:
        """The rows, typed, each with its name for messages.

        Args:
            kind: The type; columns that it does not name are skipped.
            strict: Whether numbers written as text are refused.

        Raises:
            Vr1benchError: See `rows`; a row is not of this type.
        """
        for place, values in enumerate(self.rows(kind.__struct_fields__)):
            where = f"{self.path}: row {place}"
            yield converted(values, kind, where, strict=strict), where


def find_table(path: Path) -> Table:
    """The table that a file is, or is the first shard of.

    Raises:
        Vr1benchError: The suffix is unknown, or a shard is missing.
    """
    if path.suffix not in {".parquet", ".arrow", ".jsonl"}:
        raise Vr1benchError(f"{path}: expected a table, .parquet, .arrow or .jsonl; name the file, not its folder")
    found = _SHARD.fullmatch(path.stem)
    if not found:
        return Table(path, path.stem, (path,))
    count = int(found["count"])
    shards: list[Path] = []
    for place in range(count):
        beginning = f"{found['name']}-{place:05}-of-{count:05}"
        near = sorted(other for other in path.parent.iterdir() if other.name.startswith(beginning))
        if not near:
            raise Vr1benchError(
                f"{path}: the table has {count} shards, and {beginning}{path.suffix} is missing; expected all in one "
                "folder: fetch it"
            )
        shards.append(near[0])
    return Table(path, found["name"], tuple(shards))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    for place, line in enumerate(as_utf8(read_bytes(path), path).splitlines()):
        if line.strip():
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise Vr1benchError(f"{path}: line {place + 1}: {error}; expected one JSON object a line") from error


def _arrow_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from pyarrow import ipc
    except ImportError as error:
        raise Vr1benchError(
            f"{path}: reading {path.suffix} files needs pyarrow, which is not installed: pip install 'vr1bench[rows]'"
        ) from error
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as table:
                known = [name for name in columns if name in table.schema_arrow.names]
                for batch in table.iter_batches(batch_size=_BATCH, columns=known):
                    yield from batch.to_pylist()
            return
        with pa.memory_map(str(path)) as file:
            for batch in _batches(ipc, pa, file):
                known = [name for name in columns if name in batch.schema.names]
                for start in range(0, batch.num_rows, _BATCH):
                    yield from batch.select(known).slice(start, _BATCH).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Vr1benchError(f"{path}: no whole {path.suffix[1:]} table ({error}); fetch the file again") from error


def _batches(ipc: Any, pa: Any, file: Any) -> Iterator[Any]:  # noqa: ANN401  pyarrow has no types
    """Record batches of either arrow form: `datasets` writes the stream, others the file."""
    try:
        yield from ipc.open_stream(file)
    except pa.ArrowInvalid:
        table = ipc.open_file(file)
        yield from (table.get_batch(i) for i in range(table.num_record_batches))
