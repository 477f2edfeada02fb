"""Questions about images in VLMEvalKit's form: one tab-separated file with the pictures inside.

Columns: `index`, `image` (base64, or the index of the row that has the picture), `question`, `answer`, for questions
with options one column a letter (`A`, `B`, ...), and by set `split`, `category`, `l2-category`. Source:
open-compass/VLMEvalKit@e8e78f0, `vlmeval/dataset/image_base.py` (pictures), `image_mcq.py` (options), and its README on
TSV files. Read as Python's csv module does, which quotes as pandas writes.

Pictures are laid out once as files in `<table>.images` beside the table, with the bytes that they have there.
"""

from __future__ import annotations

import binascii
import csv
import hashlib
from ast import literal_eval
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from vr1bench.errors import Vr1benchError
from vr1bench.metrics.qa import LETTERS
from vr1bench.readers import Dataset, Files
from vr1bench.readers.files import Options, read_options
from vr1bench.readers.pictures import Album, Size
from vr1bench.readers.qa import Quiz, accepted, split_tag

NEEDED = ("index", "image", "question", "answer")
LONGEST_REFERENCE = 64
"""Characters of an `image` that names another row; longer ones are pictures (`image_base.py`, `__init__`)."""
CELL = 2**28
"""Characters of a cell: a picture of 192 MiB."""
MISSING = frozenset(
    (
        *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
"""Cells that pandas' `read_csv` takes for empty (its documentation, `na_values`; `None` since 2.0)."""
END = "end of file"


class TsvOptions(Options):
    """`questions`: asked with options (`choice`: AI2D, SEED-Bench) or without (`open`: GQA, ChartQA)."""

    questions: Literal["choice", "open"]


def read(source: Files) -> Dataset:
    """One sample a row, in the file's order; ids are the column `index`.

    Options: `TsvOptions`. Counted in `warnings`: rows without a picture, which are left out as in VLMEvalKit; hints,
    which it would ask and we do not; options and answers such as "None", which it loses and we keep.

    Raises:
        Vr1benchError: The file is missing, no such table, or a row is broken; names the row.
    """
    told = read_options(source, TsvOptions)
    path = source.annotations
    digest = hashlib.sha256()
    quiz, album = Quiz(path), Album(path.parent / f"{path.stem}.images", lay_out=source.lay_out)
    pictures: dict[str, tuple[str, Size]] = {}
    ids: dict[str, None] = {}
    with _wide_cells():
        for number, row in enumerate(_rows(path, digest.update)):
            index = row["index"].strip()
            where = f"{path}: row {number} (index {index[:40]!r})"
            if not index or index in ids:
                raise Vr1benchError(f"{where}: expected an index that no other row has; repair the file")
            if not row["image"].strip():
                quiz.warnings["rows without a picture, left out"] += 1
                continue
            ids[index] = None
            shown = index
            if len(row["image"]) <= LONGEST_REFERENCE:
                shown = row["image"].strip()
            else:
                pictures[index] = album.keep(_picture(row["image"], where), where)
            _ask(quiz, row, shown, where, of_options=told.questions == "choice")
    return quiz.dataset(pictures, album.folder, digest.hexdigest(), list(ids))


def _ask(quiz: Quiz, row: Mapping[str, str], shown: str, where: str, *, of_options: bool) -> None:
    choices: tuple[str, ...] = ()
    answers = (row["answer"].strip(),) if of_options else accepted(row["answer"])
    if of_options:
        by_letter = [row.get(letter, "") for letter in LETTERS]
        choices = tuple(by_letter[: max((i + 1 for i, choice in enumerate(by_letter) if choice), default=0)])
        if not choices:
            raise Vr1benchError(
                f"{where}: expected options in the columns A, B, ..., got none; where the questions have none, say "
                'options = { questions = "open" } in the benchmark\'s TOML'
            )
    quiz.warnings.update(["hints, which are not asked"] * bool(row.get("hint", "").strip()))
    lost = sum(text in MISSING for text in (*choices, *answers))
    quiz.warnings.update({"options and answers such as None, which VLMEvalKit reads as missing": lost} if lost else {})
    tags = (split_tag(row.get("split", "")), row.get("category", ""), row.get("l2-category", ""))
    quiz.add(where, shown, row["question"], answers, choices=choices, tags=tags)


def _picture(cell: str, where: str) -> bytes:
    """The bytes of the one picture of a cell; a list of one is one."""
    if cell.startswith("[") and cell.endswith("]"):
        try:
            items = cast("list[Any]", literal_eval(cell))
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            items = []
        if len(items) != 1 or not isinstance(items[0], str):
            raise Vr1benchError(f"{where}: {len(items)} pictures in one cell; expected one")
        cell = items[0]
    try:
        return b64decode("".join(cell.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Vr1benchError(f"{where}: the picture is no base64 ({error}); fetch the file again") from None


@contextmanager
def _wide_cells() -> Generator[None]:
    """The csv module's limit, which holds for the process, is 131,072 characters: less than most pictures."""
    limit = csv.field_size_limit(CELL)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _rows(path: Path, seen: Callable[[bytes], None]) -> Iterator[dict[str, str]]:
    """Rows by column; `seen` gets the file's bytes as they come.

    Raises:
        Vr1benchError: The file cannot be read, is no UTF-8, lacks a column, or a row has more or fewer cells.
    """
    try:
        with path.open("rb") as file:
            table = (cells for cells in csv.reader(_lines(file, seen), delimiter="\t") if cells)
            header = _header(path, next(table))
            cells: list[str] = []
            for number, cells in enumerate(table):
                if cells != [END] and len(cells) != len(header):
                    raise Vr1benchError(
                        f"{path}: row {number}: expected {len(header)} cells, got {len(cells)}; fetch the file again"
                    )
                if cells != [END]:
                    yield dict(zip(header, cells, strict=True))
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected a TSV file") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise Vr1benchError(f"{path}: no such table ({error}); fetch the file again") from error
    if cells != [END]:
        raise Vr1benchError(f"{path}: ends inside of a quoted cell; fetch the file again")


def _header(path: Path, names: list[str]) -> list[str]:
    if names == [END]:
        raise Vr1benchError(f"{path} is empty; expected a table; fetch the file again")
    if lacking := [name for name in NEEDED if name not in names]:
        raise Vr1benchError(
            f"{path}: expected the tab-separated columns {', '.join(NEEDED)}, got no {lacking[0]!r} in "
            f"{', '.join(names)[:200]!r}; a file with `image_path` is VLMEvalKit's local copy: take the original"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise Vr1benchError(f"{path}: the column {twice[0][:40]!r} stands twice; expected one of each: repair the file")
    return names


def _lines(file: BinaryIO, seen: Callable[[bytes], None]) -> Iterator[str]:
    """The lines, and a last one of our own: csv takes the end of a file for the end of any quotes."""
    for number, line in enumerate(file):
        seen(line)
        yield line.decode("utf-8-sig" if number == 0 else "utf-8")
    yield END
