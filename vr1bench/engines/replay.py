"""Answers that are there already: a file of them (`replay`), or the gold written by the family (`oracle`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from vr1bench.engines import Answer, EngineOptions
from vr1bench.errors import Vr1benchError
from vr1bench.registry import unknown
from vr1bench.types import Completion, Failure, Request

_PLAIN = ("text", "finish", "fed_width", "fed_height")
AnswerOf = Callable[[Request], Completion | Failure]


@dataclass
class ReplayEngine:
    """An engine that looks answers up; opens no image."""

    name: str
    answer: AnswerOf
    versions: Mapping[str, str] = field(default_factory=dict[str, str])

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.generate`; in the order of the requests."""
        return ((request, self.answer(request)) for request in requests)

    def close(self) -> None:
        """See `Engine.close`; there is nothing to free."""


def open_replay(options: EngineOptions) -> ReplayEngine:
    """The `replay` engine over a JSONL file named by `--engine-args file=answers.jsonl`.

    A row is a record of an earlier run (`sample_id`, `query`, `completion`; failures are passed over), or
    `{"sample_id": ..., "text": ...}` with an optional `query` where a protocol asks one class a prompt, and optional
    `fed_width`, `fed_height`, `finish`.

    Raises:
        Vr1benchError: No file is named, or a row is neither.
    """
    for name in options.args:
        if name != "file":
            raise unknown("option of engine replay", name, ["file"])
    path = answers_file(options.args)
    answers: dict[tuple[str, str], Completion] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                key, completion = _row(line, f"{path}:{number}")
                if completion is not None:
                    answers[key] = completion

    def answer(request: Request) -> Completion | Failure:
        keys = [(request.sample_id, query) for query in (*request.queries[:1], "")]
        found = next((answers[key] for key in keys if key in answers), None)
        return found or Failure(error=f"{path} holds no answer for sample {request.sample_id}")

    return ReplayEngine("replay", answer)


def answers_file(args: Mapping[str, Any]) -> Path:
    """The file that `replay` reads.

    Raises:
        Vr1benchError: None is named, or it is not there.
    """
    name = args.get("file")
    if not name:
        raise Vr1benchError("engine 'replay' needs a file of answers; pass --engine-args file=answers.jsonl")
    if not Path(str(name)).is_file():
        raise Vr1benchError(f"engine 'replay': {name} is no file; expected JSON lines with `sample_id` and `text`")
    return Path(str(name))


def open_oracle(options: EngineOptions) -> ReplayEngine:
    """The `oracle` engine: the perfect answer in the family's own words; shows a family's or protocol's ceiling."""
    if options.perfect is None:
        raise Vr1benchError("engine 'oracle' needs the gold; it runs from `vr1bench run` only")
    for name in options.args:
        raise unknown("option of engine oracle", name, [])
    perfect = options.perfect

    def answer(request: Request) -> Completion | Failure:
        try:
            fed = options.family.fed_size(request.width, request.height, request.pixels)
        except ValueError as error:
            return Failure(error=str(error))
        return Completion(text=perfect(request), fed_width=fed[0], fed_height=fed[1])

    return ReplayEngine("oracle", answer)


def _row(line: bytes, where: str) -> tuple[tuple[str, str], Completion | None]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise Vr1benchError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise Vr1benchError(f"{where}: expected an object, got {type(value).__name__}")
    row = cast("dict[str, Any]", value)
    if "sample_id" not in row:
        raise Vr1benchError(f"{where}: expected `sample_id` and `text`, got fields {', '.join(row)}")
    key = (str(row["sample_id"]), str(row.get("query", "")))
    if row.get("failure") is not None:
        return key, None
    plain = row.get("completion") or {name: row[name] for name in _PLAIN if name in row}
    try:
        completion = Completion.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        raise Vr1benchError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    # JSON can hold half of a surrogate pair, which no UTF-8 file can.
    return key, completion.model_copy(update={"text": completion.text.encode(errors="replace").decode()})
