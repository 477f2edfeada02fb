"""From what a model wrote to a Prediction: the part that all grammars share.

A grammar turns the answer's text into Items (numbers in the family's frame, a label or none, where they stood);
`prediction` maps them to pixels of the original image, names their labels as the benchmark spells them, flags
repeats and unknown labels, counts what was broken, and says what kind of answer it was.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from vr1bench.boxes import clip, rescale
from vr1bench.types import (
    Bools,
    Completion,
    Detections,
    Prediction,
    Request,
    Status,
    Token,
    boxes_of,
    labels_of,
)

Span = tuple[int, int]

THINK_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
ENDED = re.compile(r"</(?:think|thinking|answer)>\s*$", re.IGNORECASE)
"""The end of an answer that was begun and left empty."""
ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.IGNORECASE | re.DOTALL)
REFUSAL = re.compile(r"\b(?:i(?:'m| am) (?:sorry|unable)|i (?:can(?:not|'t)|am not able to)|as an ai)\b", re.IGNORECASE)
ABSENCE = re.compile(
    r"^\W*no\b|\b(?:none|nothing|no such|no (?:\w+ ){0,3}?(?:objects?|instances?|targets?|items?|matches)|"
    r"there (?:is|are) no|not (?:present|visible|found|in the image)|does not (?:appear|exist|contain)|"
    r"(?:can ?not|can't|could not|couldn't|do not|don't|did not|didn't) (?:see|find|detect|locate|identify)|"
    r"no [\w -]{1,60}? (?:is|are|was|were) (?:present|visible|found|detected))\b",
    re.IGNORECASE,
)
WORDS_READ = 2000
"""Characters of an answer without boxes that are searched for what it says: a loop of words says nothing new."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object as written.

    Attributes:
        numbers: Four numbers in the grammar's order turned to xyxy, in the family's frame.
        label: As written, or None where the reply names none.
        span: Characters of the whole text that hold the item.
        label_span: Characters that hold the label; None where there is none.
    """

    numbers: tuple[float, float, float, float]
    label: str | None
    span: Span
    label_span: Span | None = None


@dataclass(slots=True)
class Reading:
    """What a grammar found: the items it could keep, and what it had to give up, by reason."""

    items: list[Item] = field(default_factory=list[Item])
    broken: Counter[str] = field(default_factory=Counter[str])
    mended: bool = False
    """True where the text was not valid in its own grammar and had to be read tolerantly."""
    cut: bool = False
    """True where the text ends inside a structure."""
    nothing: bool = False
    """True where the grammar holds a valid statement that nothing is there, such as `[]`."""


def answer_span(text: str) -> Span:
    """Where the final answer stands: behind the last `</think>`, inside the last `<answer>`.

    Thinking that never ends holds no answer: an empty span at the end of the text.
    """
    start = 0
    for match in THINK_END.finditer(text):
        start = match.end()
    if start == 0 and re.match(r"\s*<think(?:ing)?>", text, re.IGNORECASE) and not ANSWER.search(text):
        return len(text), len(text)
    last = None
    for match in ANSWER.finditer(text, start):
        last = match
    return (last.start(1), last.end(1)) if last else (start, len(text))


def fold(name: str) -> str:
    """A name without case, separators and surrounding punctuation: `No-Mask` and `no mask` fold alike."""
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip(" .,;:'\"")


def name_labels(written: Sequence[str | None], queries: Sequence[str]) -> tuple[list[str], list[bool]]:
    """Labels as the benchmark spells them, and which of them are unknown.

    An exact match wins (boggleBoards has both `Q` and `q`), then a folded one where only one query folds so. A reply
    without a label takes the query where just one was asked; else it is unknown and its label is "".
    """
    exact, folded = _index(tuple(queries))
    names: list[str] = []
    unknown: list[bool] = []
    for label in written:
        if label is None and len(queries) == 1:
            name: str | None = queries[0]
        elif label is None:
            name = None
        else:
            name = label if label in exact else folded.get(fold(label))
        names.append(name if name is not None else (label or ""))
        unknown.append(name is None)
    return names, unknown


@lru_cache(maxsize=64)
def _index(queries: tuple[str, ...]) -> tuple[frozenset[str], dict[str, str | None]]:
    """The queries, and the query of each folded name (None where two fold alike); asked again and again."""
    folded: dict[str, str | None] = {}
    for query in queries:
        folded[fold(query)] = None if fold(query) in folded else query
    return frozenset(queries), folded


def token_scores(items: Sequence[Item], tokens: Sequence[Token]) -> list[float]:
    """How sure the model was of each item: the probability of its label's tokens.

    Where an item has no label, the geometric mean over the tokens of its box. Measured on the small model: AP 79.3
    for the label's probability against 73.3 for a constant score and 74.2 for the mean over all tokens.
    """
    ends = np.cumsum([len(token.text) for token in tokens])
    logs = np.array([token.logprob for token in tokens])
    scores: list[float] = []
    for item in items:
        start, end = item.label_span or item.span
        first, last = np.searchsorted(ends, start, side="right"), np.searchsorted(ends, end, side="left")
        part = logs[int(first) : int(last) + 1]
        if not len(part):
            scores.append(1.0)
            continue
        scores.append(math.exp(min(0.0, float(part.sum() if item.label_span else part.mean()))))
    return scores


def prediction(
    completion: Completion, request: Request, reading: Reading, frame: tuple[float, float], answer: Span
) -> Prediction:
    """Finishes a reading.

    Args:
        completion: The answer.
        request: What was asked: the image's size and the queries.
        reading: What the grammar found; its spans count from the answer's begin.
        frame: (width, height) of the whole image in the family's coordinates.
        answer: Where the text that the grammar read stands in `completion.text`.
    """
    broken = reading.broken
    kept: list[Item] = []
    for item in reading.items:
        reason = _defect(item.numbers)
        if reason:
            broken[reason] += 1
        else:
            kept.append(item)
    size = (request.width, request.height)
    raw = rescale(boxes_of([item.numbers for item in kept]), frame, size)
    boxes = clip(raw, *size)
    # Half a grid step over the edge is rounding of the grid, not a claim about what lies outside.
    step = np.array([size[0] / frame[0], size[1] / frame[1]] * 2)
    clipped = int((np.abs(raw - boxes) > step).any(axis=1).sum())
    status = _status(completion, request, reading, len(kept), answer)
    if clipped:
        broken["clipped"] += clipped
    names, unknown = name_labels([item.label for item in kept], request.queries)
    offset = answer[0]
    shifted = [
        Item(i.numbers, i.label, _shift(i.span, offset), _shift(i.label_span, offset) if i.label_span else None)
        for i in kept
    ]
    scores = token_scores(shifted, completion.tokens) if completion.tokens else [1.0] * len(kept)
    return Prediction(
        text=completion.text,
        detections=Detections(boxes, labels_of(names), np.array(scores, dtype=np.float64)),
        duplicate=_duplicates(kept, names),
        unknown=np.array(unknown, dtype=np.bool_),
        status=status,
        broken=dict(broken),
    )


def _shift(span: Span, offset: int) -> Span:
    return span[0] + offset, span[1] + offset


def _defect(numbers: tuple[float, float, float, float]) -> str | None:
    if not all(math.isfinite(number) for number in numbers):
        return "non-finite"
    x1, y1, x2, y2 = numbers
    return "inverted" if x2 < x1 or y2 < y1 else None


def _duplicates(items: Sequence[Item], names: Sequence[str]) -> Bools:
    seen: set[tuple[object, ...]] = set()
    flags: list[bool] = []
    for item, name in zip(items, names, strict=True):
        key = (name, *item.numbers)
        flags.append(key in seen)
        seen.add(key)
    return np.array(flags, dtype=np.bool_)


def _status(completion: Completion, request: Request, reading: Reading, kept: int, answer: Span) -> Status:
    text = completion.text
    words = text[slice(*answer)].strip()
    if not text.strip():
        return Status.EMPTY
    if completion.finish == "length" or reading.cut or (not words and not ENDED.search(text)):
        return Status.TRUNCATED
    if kept:
        return Status.SALVAGED if reading.broken or reading.mended else Status.OK
    if not words:
        return Status.EMPTY
    if reading.broken:
        return Status.MALFORMED
    return Status.NONE if reading.nothing else _in_words(words[:WORDS_READ], request.queries)


def _in_words(words: str, queries: Sequence[str]) -> Status:
    """What an answer without any box says."""
    for query in queries:  # "nothing" may be part of a phrase that was asked for
        words = words.replace(query, "")
    if ABSENCE.search(words):
        return Status.NONE
    return Status.REFUSED if REFUSAL.search(words) else Status.MALFORMED


def plain_number(value: float) -> int | float:
    """5.0 as 5, 5.25 as it is: how models write coordinates."""
    return int(value) if float(value).is_integer() else float(value)
