"""From what a model wrote to a Prediction: the part that all grammars share.

A grammar turns the answer's text into a Reading (numbers as written, a label or none, where they stood); `prediction`
maps them to pixels of the original image, names their labels as the benchmark spells them, flags repeats and unknown
labels, counts what was broken, and says what kind of answer it was.

Plain floats instead of arrays until the end: an answer has ten boxes, and an array of ten costs more than its sums.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from unicodedata import normalize

import numpy as np

from vr1bench.families.frames import Frame, Placing, Size
from vr1bench.types import (
    Bools,
    Completion,
    Detections,
    Ints,
    Points,
    Prediction,
    Request,
    Status,
    Token,
    labels_of,
)

Span = tuple[int, int]
Point = tuple[tuple[float, ...], str | None]

THINK_END = re.compile(r"</think(?:ing)?>|</reasoning>|◁/think▷|<\|end_of_thought\|>", re.IGNORECASE)
THINK_BEGIN = re.compile(r"\s*(?:<think(?:ing)?>|<reasoning>|◁think▷|<\|begin_of_thought\|>)", re.IGNORECASE)
ENDED = re.compile(rf"(?:{THINK_END.pattern}|</answer>)\s*$", re.IGNORECASE)
"""The end of an answer that was begun and left empty."""
ANSWER = re.compile(r"<answer>", re.IGNORECASE)
ANSWER_END = re.compile(r"</answer>", re.IGNORECASE)
REFUSAL = re.compile(
    r"\b(?:as an ai|i(?:'m| am) sorry, (?:but )?i (?:can(?:not|'t)|am (?:not able|unable)|'m (?:not able|unable))|"
    r"(?:can(?:not|'t)|not able to|unable to) "
    r"(?:help|assist|comply|provide|process|view|analy[sz]e|answer|identify people)|"
    r"no coordinates (?:that )?i can|(?:do not|don't|cannot|can't) see (?:an|the|any) image|"
    r"please (?:provide|upload))\b|抱歉|无法(?:回答|提供|协助)",
    re.IGNORECASE,
)
ABSENCE = re.compile(
    r"^\W*(?:no\b(?! problem| worries)|n/?a\W*$|unable to (?:detect|find|locate)|keine?\b|aucune?\b|ningun[oa]?\b|"
    r"nessun|nenhum|нет\b|なし|없)|\b(?:none|nothing(?! else)|no such|"
    r"no (?:\w+ ){0,3}?(?:objects?|instances?|targets?|items?|matches)|there (?:is|are) no|"
    r"not (?:present|visible|found|in the image)|(?:does not|doesn't) (?:appear|exist|contain|show)|"
    r"(?:can ?not|can't|could not|couldn't|do not|don't|did not|didn't) (?:see|find|detect|locate|identify)|"
    r"no [\w -]{1,60}? (?:is|are|was|were) (?:present|visible|found|detected))\b|"
    r"\wn't (?:present|visible|found|in the image)\b|"
    r"没有|不存在|未(?:发现|检测到|找到)|找不到|^无|いません|ありません|見つかりません|찾을 수 없",
    re.IGNORECASE,
)
CARRIER = re.compile(
    r"(?:^|\b(?:is|are|at|in|here|located|found|positions?|locations?|coordinates?|box(?:es)?|answer|regions?|objects?|"
    r"it|this|that|sure|yes|follows|of|as|by))\W*$",
    re.IGNORECASE,
)
"""Words that lead to a box without naming what is in it."""
NEGATED = re.compile(r"\b(?:no|not an?|without|isn't an?|aren't any)(?: \w+)?$")
WORD_EDGE = r"[^\W\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"
"""A word character that a name may not touch: scripts without spaces between words have none."""
EDGES = " \t\r\n,;:.[](){}*`"
"""What may stand around a name in running text."""
LONGEST_NAME = 300
"""Characters of an unknown name that are kept: an array of names gives each the room of the longest."""
WORDS_READ = 2000
"""Characters of an answer without boxes that are searched for what it says: a loop of words says nothing new."""


class Place(NamedTuple):
    """Where an item stands, in characters: its numbers, and its label where it has one.

    `others` are more of its numbers, where something else stands between them.
    """

    numbers: Span
    label: Span | None = None
    others: tuple[Span, ...] = ()


@dataclass(slots=True)
class Reading:
    """What a grammar found, as columns with a row an item, and what it had to give up, by reason.

    Attributes:
        numbers: Four numbers, x1 y1 x2 y2, in the family's frame.
        labels: As written, or None where the answer names none.
        places: Where the items stand; left empty where nobody asked.
        loose: True where a label is the words in front of a box, which may hold more than a name; empty: none is.
        scores: How sure the answer says to be of an item, None where it does not; empty: of none.
        points: Two numbers and a label each, of a model that points.
        broken: Items given up, counted by reason.
        mended: True where the text was not valid in its own grammar and had to be read tolerantly.
        cut: True where the text ends inside a structure.
        nothing: True where the grammar holds a valid statement that nothing is there, such as `[]`.
    """

    numbers: list[tuple[float, ...]] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    loose: list[bool] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    mended: bool = False
    cut: bool = False
    nothing: bool = False

    def add(
        self,
        numbers: tuple[float, ...],
        label: str | None,
        place: Place,
        *,
        loose: bool = False,
        score: float | None = None,
    ) -> None:
        """One more item: a box of four numbers, or a point of two."""
        if len(numbers) == 2:
            self.points.append((numbers, label))
            return
        self.numbers.append(numbers)
        self.labels.append(label)
        self.places.append(place)
        self.loose.append(loose)
        self.scores.append(score)

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all items but these."""
        for name in ("numbers", "labels", "places", "loose", "scores"):
            column = getattr(self, name)
            setattr(self, name, [column[row] for row in rows] if column else [])


def answer_span(text: str) -> Span:
    """Where the final answer stands: behind the last `</think>`, from the last `<answer>` to the last `</answer>`.

    Thinking that never ends holds no answer: an empty span at the end of the text.
    """
    folded = text.casefold() if "<" in text or "◁" in text else ""  # many answers have tags, few have these
    if not any(tag in folded for tag in ("think", "answer>", "reasoning>", "thought|>")):
        return 0, len(text)
    start = max((match.end() for match in THINK_END.finditer(text)), default=0)
    if not text[start:].strip():  # <answer> inside of the thinking, which ends the text
        start = 0 if ANSWER.search(text) else start
    begin = max((match.end() for match in ANSWER.finditer(text, start)), default=0)
    if not begin:
        thinking = start == 0 and THINK_BEGIN.match(text)
        return (len(text) if thinking else start), len(text)
    return begin, max((match.start() for match in ANSWER_END.finditer(text, begin)), default=len(text))


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """A name without case, separators and surrounding punctuation: `No-Mask` and `no mask` fold alike."""
    return re.sub(r"[\s_-]+", " ", normalize("NFC", name).casefold()).strip(" .,;:'\"")


class Names:
    """The names that were asked for, and how to find the one that a label means."""

    def __init__(self, queries: Sequence[str]) -> None:
        self.exact: dict[str | None, str] = {query: query for query in queries}
        self.only = queries[0] if len(queries) == 1 else None
        self.folded: dict[str, str | None] = {}
        for query in queries:
            self.folded[fold(query)] = None if fold(query) in self.folded else query
        longest_first = sorted((name for name in self.folded if name), key=len, reverse=True)
        words = "|".join(re.escape(name) for name in longest_first)
        self.mention = re.compile(rf"(?<!{WORD_EDGE})({words})(?:e?s)?(?!{WORD_EDGE})") if words else None

    def find(self, label: str | None, loose: bool) -> str | None:
        """The name as the benchmark spells it; None where the label is none of those asked.

        An exact match wins (boggleBoards has both `Q` and `q`), then a folded one where only one name folds so; in
        running text, the last mention that is not denied. Where one name was asked, a box without a label is that
        one's, and so is one behind words that name nothing ("it is located at").
        """
        if label is None:
            return self.only
        if label in self.exact:
            return label
        if not loose:
            return self.folded.get(fold(label))
        words = label.strip(EDGES)
        name = self.exact.get(words) or self.folded.get(fold(words)) or self._mentioned(label)
        return name or (self.only if CARRIER.search(words[-200:]) else None)

    def _mentioned(self, words: str) -> str | None:
        text = fold(words)
        found = [
            self.folded[match[1]]
            for match in (self.mention.finditer(text) if self.mention else ())
            if not NEGATED.search(text[max(0, match.start() - 40) : match.start()].rstrip())
        ]
        return found[-1] if found else None


@lru_cache(maxsize=256)
def names_of(queries: tuple[str, ...]) -> Names:
    """The Names of these queries, made once: they are asked again and again."""
    return Names(queries)


def token_scores(places: Sequence[Place], tokens: Sequence[Token], offset: int) -> list[float]:
    """How sure the model was of each item: the mean probability of its coordinate and label tokens.

    A token belongs where its characters overlap the item's; brackets and commas between the numbers do not count.

    Args:
        places: Of the items, counted from `offset`.
        tokens: All tokens of the completion, in order.
        offset: Where in the completion the text that the items were read from begins.

    Returns:
        One number in [0, 1] an item; 1.0 where no token belongs to it.
    """
    ends = np.cumsum([len(token.text) for token in tokens])
    sure = [math.exp(min(0.0, token.logprob)) for token in tokens]
    scores: list[float] = []
    for place in places:
        parts = [
            sure[i]
            for span in (place.numbers, place.label, *place.others)
            if span
            for i in _tokens_in(ends, span[0] + offset, span[1] + offset)
            if any(map(str.isalnum, tokens[i].text))
        ]
        scores.append(sum(parts) / len(parts) if parts else 1.0)
    return scores


def _tokens_in(ends: Ints, start: int, end: int) -> range:
    """Indices of the tokens that overlap characters `start` to `end`."""
    first, last = np.searchsorted(ends, (start, end - 1), side="right")
    return range(int(first), min(int(last) + 1, len(ends)))


def prediction(
    completion: Completion, request: Request, reading: Reading, frame: Frame, fed: Size, answer: Span
) -> Prediction:
    """Finishes a reading.

    Args:
        completion: The answer.
        request: What was asked: the image's size and the queries.
        reading: What the grammar found; its places count from the answer's begin.
        frame: What the numbers count.
        fed: (width, height) in pixels at which the model saw the image.
        answer: Where the text that the grammar read stands in `completion.text`.
    """
    placing = frame.placing((request.width, request.height), fed)
    rows, defects, clipped = placing.boxes(reading.numbers)
    if defects:
        reading.broken.update(defects.values())
        reading.keep([row for row in range(len(reading.numbers)) if row not in defects])
    names = names_of(request.queries)
    count = len(reading.numbers)
    points, clipped_points = _points(reading, names, placing) if reading.points else (None, 0)
    status = _status(completion, request, reading, count + (len(points) if points else 0), answer)
    clipped += clipped_points
    if clipped:
        reading.broken["clipped"] += clipped
    labels, unknown = _named(reading.labels, reading.loose, names)
    if completion.tokens:
        scores = token_scores(reading.places, completion.tokens, answer[0])
    else:  # what is written serves rewards; protocols say where an evaluation's scores come from
        scores = [1.0 if one is None else one for one in reading.scores] or [1.0] * count
    return Prediction(
        text=completion.text,
        detections=Detections(
            np.array(rows, dtype=np.float64).reshape(-1, 4), labels_of(labels), np.array(scores, dtype=np.float64)
        ),
        duplicate=_duplicates(reading.numbers, labels),
        unknown=unknown,
        status=status,
        broken=dict(reading.broken),
        written=reading.numbers,
        points=points,
        fed=fed,
    )


def _named(written: Sequence[str | None], loose: Sequence[bool], names: Names) -> tuple[list[str], Bools]:
    """Labels as the benchmark spells them, and which of them are unknown."""
    found = list(map(names.exact.get, written))
    if None not in found:
        return found, np.zeros(len(found), dtype=np.bool_)  # type: ignore[return-value]
    found = list(map(names.find, written, loose or [False] * len(written)))
    unknown = [name is None for name in found]
    edges = [EDGES if is_loose else None for is_loose in loose] if loose else [None] * len(written)
    labels = [
        name or (label or "")[:LONGEST_NAME].strip(edge)
        for name, label, edge in zip(found, written, edges, strict=True)
    ]
    return labels, np.array(unknown, dtype=np.bool_)


def _duplicates(numbers: Sequence[tuple[float, ...]], labels: Sequence[str]) -> Bools:
    """(n,) True where an earlier row has the same numbers and label."""
    flags = np.zeros(len(labels), dtype=np.bool_)
    if len(set(numbers)) < len(numbers):
        seen: set[tuple[str, tuple[float, ...]]] = set()
        for i, row in enumerate(zip(labels, numbers, strict=True)):
            flags[i] = row in seen
            seen.add(row)
    return flags


def _points(reading: Reading, names: Names, placing: Placing) -> tuple[Points | None, int]:
    """The points in pixels, None where all were broken; and how many had to be clipped."""
    # A point is placed as a box without size, so that it is checked, clipped and counted like boxes.
    rows, defects, clipped = placing.boxes([(*numbers, *numbers) for numbers, _ in reading.points])
    reading.broken.update(defects.values())
    written = [label for row, (_, label) in enumerate(reading.points) if row not in defects]
    if not written:
        return None, 0
    labels, unknown = _named(written, (), names)
    xy = np.array(rows, dtype=np.float64).reshape(-1, 4)[:, :2]
    return Points(xy, labels_of(labels), unknown), clipped


def _status(completion: Completion, request: Request, reading: Reading, kept: int, answer: Span) -> Status:
    text = completion.text
    if completion.finish == "length" or reading.cut:
        return Status.TRUNCATED if text.strip() else Status.EMPTY
    if kept:
        return Status.SALVAGED if reading.broken or reading.mended else Status.OK
    if reading.nothing and not reading.broken:
        return Status.NONE
    words = text[slice(*answer)].strip()
    if not words:
        return Status.EMPTY if not text.strip() or ENDED.search(text) else Status.TRUNCATED
    if reading.broken:
        return Status.MALFORMED
    return _in_words(words[:WORDS_READ], request.queries)


def _in_words(words: str, queries: Sequence[str]) -> Status:
    """What an answer without any box says."""
    words = words.replace("’", "'")
    for query in queries:  # "nothing" may be part of a phrase that was asked for
        words = words.replace(query, "") if query else words
    if REFUSAL.search(words):
        return Status.REFUSED
    return Status.NONE if ABSENCE.search(words) else Status.MALFORMED


def plain_number(value: float) -> int | float:
    """5.0 as 5, 5.25 as it is: how models write coordinates."""
    return int(value) if float(value).is_integer() else float(value)
