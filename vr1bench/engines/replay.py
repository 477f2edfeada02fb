"""Answers that are there already: a file of them (`replay`), or the gold written by the family (`oracle`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from vr1bench.engines import Answer, EngineOptions
from vr1bench.errors import Vr1benchError
from vr1bench.types import Completion, Failure, Request

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

    A row is a record of an earlier run (`key`, `completion`), or `{"sample_id": ..., "text": ...}` with an optional
    `query` where a protocol asks one class a prompt, and optional `fed_width`, `fed_height`, `finish`.

    Raises:
        Vr1benchError: No file is named, or a row is neither.
    """
    path = answers_file(options.args)
    answers: dict[tuple[str, ...], Completion] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                key, completion = _row(line, f"{path}:{number}")
                answers[key] = completion

    def answer(request: Request) -> Completion | Failure:
        keys = ((request.key,), (request.sample_id, *request.queries[:1]), (request.sample_id, ""))
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
    perfect = options.perfect

    def answer(request: Request) -> Completion:
        fed = options.family.fed_size(request.width, request.height, request.pixels)
        return Completion(text=perfect(request), fed_width=fed[0], fed_height=fed[1])

    return ReplayEngine("oracle", answer)


def _row(line: bytes, where: str) -> tuple[tuple[str, ...], Completion]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise Vr1benchError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise Vr1benchError(f"{where}: expected an object, got {type(value).__name__}")
    row = cast("dict[str, Any]", value)
    if "key" in row and isinstance(row.get("completion"), dict):
        return (str(row["key"]),), Completion.model_validate(row["completion"])
    if "sample_id" not in row or not isinstance(row.get("text"), str):
        raise Vr1benchError(f"{where}: expected `sample_id` and `text`, got fields {', '.join(row)}")
    plain = {name: row[name] for name in ("text", "finish", "fed_width", "fed_height") if name in row}
    return (str(row["sample_id"]), str(row.get("query", ""))), Completion.model_validate(plain)
