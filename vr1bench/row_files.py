"""Training rows on disk: JSON lines of our own form, or of VLM-R1's.

Ours holds `id`, `images`, `prompt`, `completion`, `gold` (a text of `vr1bench.rewards.gold_text`) and any other column.
VLM-R1's (`vr1bench.conversations`) is told apart by `conversations`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, cast

from vr1bench import conversations
from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES, Family
from vr1bench.readers.files import decoded
from vr1bench.rewards.gold_text import sample_of
from vr1bench.types import Detections, PixelBudget, Task

Form = Literal["rows", "vlm-r1"]

_KEYS = {"id", "images", "prompt", "completion", "gold", "image", "conversations"}
"""What the two forms name; all else of a line is a column of its owner's."""


@dataclass(frozen=True)
class Row:
    """One thing to train on.

    Attributes:
        id: Unique among its rows.
        images: Absolute paths, shown before the prompt in this order; () for text alone.
        prompt: The question's text.
        completion: The target's text, boxes in the frame of the family that it was made for; "" where there is none.
        gold: What a reward compares with, `vr1bench.rewards.gold_text`; "" where there is none.
        columns: What else a user's own row holds, for a user's own reward.
    """

    id: str
    images: tuple[str, ...]
    prompt: str
    completion: str = ""
    gold: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def record(self) -> dict[str, Any]:
        """The row as a flat mapping: a line of our form, or a row of a Hugging Face `Dataset.from_list`."""
        own = {"id": self.id, "images": list(self.images), "prompt": self.prompt, "completion": self.completion}
        return {**own, "gold": self.gold, **self.columns}


def read_rows(
    path: str | Path | Sequence[str | Path],
    *,
    images: str | Path | Sequence[str | Path] | None = None,
    family: str | None = None,
    pixels: PixelBudget | None = None,
) -> list[Row]:
    """Reads JSON lines of either form, told apart line by line by `conversations`.

    VLM-R1's answer stands as text in `completion`, as it is in `columns["solution"]`. Where it is a list of items with
    `bbox_2d`, the word None to a question that lists objects, or four numbers, and the row has one image, it is the
    gold too. Its boxes are taken to be xyxy in pixels of the original image, as VLM-R1's own data has them; what a
    family answers may lie in another frame, so that SFT on such a row needs `family`.

    Args:
        path: A file, or several.
        images: The folder that image names count from; of several files one for all or one for each; None takes each
            file's own folder.
        family: Writes the completions of rows with a gold of VLM-R1's anew, in this family's grammar and frame.
        pixels: Bounds on the area that the trainer's processor feeds; None takes the family's own.

    Raises:
        Vr1benchError: A file or an image is missing, a line is of neither form, or there is none.
    """
    files = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    folders = [images] * len(files) if images is None or isinstance(images, str | Path) else list(images)
    if len(folders) != len(files):
        raise Vr1benchError(f"{len(files)} files of rows and {len(folders)} image folders; expected one for each")
    writer = None if family is None else FAMILIES[family]
    rows: list[Row] = []
    seen: set[str] = set()
    for file, folder in zip(files, folders, strict=True):
        root = Path(file.parent if folder is None else folder).absolute()
        for number, line in _lines(file):
            where = f"{file}: line {number}"
            item = decoded(line, dict[str, Any], where)
            read = _theirs if "conversations" in item else _ours
            row = read(item, root, where, str(item.get("id", f"{file.stem}:{number}")))
            rows.append(_unique(_rewritten(row, writer, pixels) if read is _theirs else row, seen))
    if not rows:
        raise Vr1benchError(f"{', '.join(map(str, files))}: no rows; expected JSON lines of training rows")
    return rows


def write_rows(rows: Iterable[Row], path: str | Path, form: Form = "rows", *, task: Task = "detect") -> int:
    """Writes rows as JSON lines, whole or not at all, one row in memory at a time; gives their number.

    Args:
        rows: What to write.
        path: Where to; what stands there is replaced. A pipe is written straight into.
        form: Ours, or VLM-R1's.
        task: `refer` writes VLM-R1's answers as four numbers, others as a list of items with `bbox_2d` and `label`.

    Raises:
        Vr1benchError: The file cannot be written.
    """
    count = 0
    with _written(Path(path)) as file:
        for row in rows:
            file.write(line_of(row, form, task=task) + "\n")
            count += 1
    return count


def line_of(row: Row, form: Form = "rows", *, task: Task = "detect") -> str:
    """A row as one line of JSON; arguments as of `write_rows`."""
    return json.dumps(row.record() if form == "rows" else _conversation(row, task), ensure_ascii=False, allow_nan=False)


def _conversation(row: Row, task: Task) -> dict[str, Any]:
    """A row in VLM-R1's form; the gold goes along, for those who read it back, and VLM-R1 minds no further column."""
    columns = dict(row.columns)
    value = columns.pop("solution", None)
    if value is None:
        value = conversations.solution(sample_of(row.gold), task) if row.gold else row.completion
    talk = [{"from": "human", "value": "<image>" * len(row.images) + row.prompt}, {"from": "gpt", "value": value}]
    image = {} if not row.images else {"image": row.images[0] if len(row.images) == 1 else list(row.images)}
    return {"id": row.id, **image, "conversations": talk, **({"gold": row.gold} if row.gold else {}), **columns}


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers."""
    try:
        with path.open("rb") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected JSON lines of training rows") from error


def _ours(item: dict[str, Any], root: Path, where: str, name: str) -> Row:
    """A line of our form."""
    for key in ("prompt", "completion"):
        if not isinstance(item.get(key, "" if key != "prompt" else None), str):
            raise Vr1benchError(
                f"{where}: {key}: expected a text, got {item.get(key)!r:.200}; expected a row with prompt, images, "
                "completion and gold, or VLM-R1's conversations"
            )
    files, gold = _images(item.get("images"), root, where), _gold(item, where)
    columns = {key: value for key, value in item.items() if key not in _KEYS}
    return Row(name, files, item["prompt"], item.get("completion", ""), gold, columns)


def _gold(item: dict[str, Any], where: str) -> str:
    """The row's own gold, "" where it has none.

    Raises:
        Vr1benchError: It is no text of `gold_text`.
    """
    gold = item.get("gold") or ""
    try:
        if gold:
            sample_of(gold)
    except (Vr1benchError, TypeError) as error:
        raise Vr1benchError(f"{where}: gold: expected a text of vr1bench.rewards.gold_text: {error}") from error
    return gold


def _theirs(item: dict[str, Any], root: Path, where: str, name: str) -> Row:
    """A line of VLM-R1's form."""
    question, answer = conversations.turns(item["conversations"], where)
    files = _images(item.get("image"), root, where)
    marks = question.count("<image>")
    if marks and marks != len(files):
        raise Vr1benchError(
            f"{where}: {marks} times <image> in the question, and {len(files)} images; expected as many"
        )
    prompt = question.replace("<image>", "")
    gold = _gold(item, where)
    if not gold and len(files) == 1:
        gold = conversations.gold_of(answer, prompt, Path(files[0]), name)
    columns = {key: value for key, value in item.items() if key not in _KEYS}
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Row(name, files, prompt, text, gold, {**columns, "solution": answer})


def _images(value: object, root: Path, where: str) -> tuple[str, ...]:
    """Absolute paths of a row's images.

    Raises:
        Vr1benchError: The value is no name, list of names or nothing, or a file is missing.
    """
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(one, str) for one in cast("list[object]", names)):
        raise Vr1benchError(f"{where}: images: expected a file name, a list of them, or none, got {value!r:.200}")
    files = [root / name for name in cast("list[str]", names)]
    for file in files:
        if not file.is_file():
            raise Vr1benchError(f"{where}: image {file}: no such file; name the folder that the names count from")
    return tuple(map(str, files))


def _rewritten(row: Row, writer: Family | None, pixels: PixelBudget | None) -> Row:
    """The row with its target in a family's grammar and frame, where it has a gold."""
    if writer is None or not row.gold:
        return row
    sample = sample_of(row.gold)
    size = (sample.width, sample.height)
    boxes = Detections.of(sample.gold.boxes, sample.gold.labels.tolist())
    text = writer.format(boxes, size, writer.fed_size(*size, pixels or writer.pixels))
    return Row(row.id, row.images, row.prompt, text, row.gold, row.columns)


def _unique(row: Row, seen: set[str]) -> Row:
    """The row under an id that no earlier one has: VLM-R1's files each count from 1."""
    name, again = row.id, 1
    while name in seen:
        again += 1
        name = f"{row.id}#{again}"
    seen.add(name)
    return row if name == row.id else Row(name, row.images, row.prompt, row.completion, row.gold, row.columns)


@contextmanager
def _written(path: Path) -> Generator[IO[str]]:
    """A file that takes its place when all went well; what is there and no regular file is written straight into."""
    straight = path.exists() and (not path.is_file() or str(path).startswith(("/dev/", "/proc/")))
    target = path if straight else Path(os.path.realpath(path))
    try:
        if straight:
            with path.open("a", encoding="utf-8") as file:
                yield file
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                yield file
            Path(draft).chmod(0o644)  # a draft is its owner's alone; data folders are shared
            Path(draft).replace(target)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Vr1benchError(f"cannot write {path}: {error.strerror}; expected a file in a folder with room") from error
