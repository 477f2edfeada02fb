"""Which samples of a data set are trained on, what they are asked, and which of their boxes count.

The limits and the order are Vision-R1's: its loader keeps the rows of 1 to 30 boxes, with `hard` those of 10 to 30,
and sorts by the number of boxes (jefferyZhan/Griffon@9866875, Vision-R1/vision_r1/visionr1_qwen.py,
`filter_has_instance`).
Negatives are VLM-R1's: one to three names beside those that are there (arXiv 2504.07615); from which names it drew is
unpublished, here it is those that the sample may be asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, text_of
from vr1bench.types import Bools, Ints

HARD_BOXES = 10
"""Boxes from which Vision-R1's loader calls a row hard."""

Order = Literal["file", "boxes", "shuffled"]
Targets = Literal["file", "reading"]
ROW_PX = 28
"""Height of a row that is read from left to right, in pixels as fed: that of Qwen2.5-VL's image tokens."""


@dataclass(frozen=True)
class Curation:
    """How training samples are chosen. The same values choose the same samples of the same data.

    Attributes:
        boxes: Fewest and most boxes of a sample, both included; None takes any number.
        negatives: Fewest and most names that a sample is asked though none of them is there; each sample is then asked
            for what is there and for so many others, in the data's order. None asks all that it may be asked.
        hard: Share of samples with `hard_boxes` or more, 0 to 1; None takes them as they come.
        hard_boxes: See `hard`.
        limit: So many samples, drawn by the seed from those that may be chosen; None takes all.
        order: `file`, `boxes` (the fewest first) or `shuffled`.
        incomplete: Share of samples that keep one box a class, 0 to 1, as careless annotators leave them.
        targets: In which order an answer lists its boxes: that of the `file`, or as one is `reading`: row by row of
            `ROW_PX` pixels as fed, each from left to right. A model that lists them in another order than its targets
            spends its training on the order first (docs/study).
        seed: Of every draw. What a sample is asked depends on it and on the sample's id alone.
    """

    boxes: tuple[int, int] | None = None
    negatives: tuple[int, int] | None = None
    hard: float | None = None
    hard_boxes: int = HARD_BOXES
    limit: int | None = None
    order: Order = "file"
    incomplete: float = 0.0
    targets: Targets = "file"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what no sample can satisfy.

        Raises:
            Vr1benchError: A range runs backwards or below 0, or a share or the limit is out of range.
        """
        for name, span in (("boxes", self.boxes), ("negatives", self.negatives)):
            if span and not 0 <= span[0] <= span[1]:
                raise Vr1benchError(f"{name} {span[0]}-{span[1]}: expected LOW-HIGH with 0 <= LOW <= HIGH")
        for name, share in (("hard", self.hard), ("incomplete", self.incomplete)):
            if share is not None and not 0 <= share <= 1:
                raise Vr1benchError(f"{name} {share}: expected a share of 0 to 1")
        if self.limit is not None and self.limit < 1:
            raise Vr1benchError(f"limit {self.limit}: expected 1 or more samples")
        if self.order not in ("file", "boxes", "shuffled"):
            raise Vr1benchError(f"order {self.order!r}: expected file, boxes or shuffled")
        if self.targets not in ("file", "reading"):
            raise Vr1benchError(f"targets {self.targets!r}: expected file or reading")


def curated(data: Dataset, how: Curation) -> tuple[Dataset, dict[str, int]]:
    """The samples to train on, with the gold that a target can hold, and what was left out or changed, counted.

    Crowds, boxes without size and boxes of names that the sample is not asked for leave the gold: no answer could hold
    them. Names of crowds are no negatives either.

    Args:
        data: The data; negatives need samples that are asked for classes.
        how: What to choose.

    Raises:
        Vr1benchError: Nothing is left.
    """
    counts: dict[str, int] = {}
    usable = _usable(data)
    number = np.add.reduceat(np.append(usable, False).astype(np.int64), data.starts[:-1])
    number[data.starts[:-1] == data.starts[1:]] = 0
    rows = _chosen(number, how, counts)
    asked, short = _asked(data, rows, how)
    silent = np.array([not names for names in asked], np.bool_) if len(data.queries) > 1 or how.negatives else None
    if silent is not None and silent.any():
        _count(counts, "samples left out: nothing to ask of them", int(silent.sum()))
        rows, asked = rows[~silent], [names for names in asked if names]
    if not len(rows):
        raise Vr1benchError("no sample is left that can be asked for anything; expected more negatives, or boxes 1-30")
    _count(counts, "samples with fewer negatives than wanted, for want of names", short)
    lost = sum(int((~usable[data.starts[row] : data.starts[row + 1]]).sum()) for row in rows)
    _count(counts, "boxes left out: crowds, without size, or of names that are not asked", lost)
    if how.incomplete:
        usable = usable & _kept_by_the_careless(data, rows, usable, how, counts)
    return _taken(data, rows, usable, asked), counts


def in_reading_order(data: Dataset, fed: Callable[[int, int], tuple[int, int]]) -> Dataset:
    """The data with the boxes of every sample in the order `reading`.

    Args:
        data: The data.
        fed: From width and height of an image to those that the model is fed, in pixels.
    """
    owner = np.repeat(np.arange(len(data)), np.diff(data.starts))
    sizes = data.sizes.astype(np.float64)
    scale = np.array([fed(int(width), int(height)) for width, height in data.sizes]).reshape(-1, 2) / sizes
    centres = (data.boxes[:, :2] + data.boxes[:, 2:]) / 2 * scale[owner]
    return _boxes_taken(data, np.lexsort((centres[:, 0], centres[:, 1] // ROW_PX, owner)))


def _boxes_taken(data: Dataset, places: Ints) -> Dataset:
    """The data with these boxes in place of all; `starts` is left as it is."""
    return replace(
        data,
        boxes=data.boxes[places],
        labels=data.labels[places],
        crowd=data.crowd[places],
        areas=data.areas[places],
        extents=data.extents[places],
        annotation_ids=data.annotation_ids[places],
    )


def _count(counts: dict[str, int], what: str, number: int) -> None:
    if number:
        counts[what] = number


def _queries(data: Dataset, row: int) -> tuple[str, ...]:
    return data.queries[row if len(data.queries) > 1 else 0]


def _usable(data: Dataset) -> Bools:
    """(boxes,) those that an answer can hold."""
    good = ~data.crowd & (data.extents > 0)
    for row in range(len(data)) if len(data.queries) > 1 else ():
        own = slice(int(data.starts[row]), int(data.starts[row + 1]))
        good[own] &= np.isin(data.vocabulary[data.labels[own]], data.queries[row])
    return good


def _chosen(number: Ints, how: Curation, counts: dict[str, int]) -> Ints:
    """Places of the samples, in order; `number` is how many boxes each has.

    Raises:
        Vr1benchError: None is left.
    """
    low, high = how.boxes or (0, int(number.max()))
    rows = np.flatnonzero((number >= low) & (number <= high))
    _count(counts, f"samples left out: not {low} to {high} boxes", len(number) - len(rows))
    draw = random.Random(f"{how.seed} samples")  # noqa: S311  repeatable, no secret
    groups: list[tuple[Ints, int]] = [(rows, len(rows) if how.limit is None else min(how.limit, len(rows)))]
    if how.hard is not None:
        hard = number[rows] >= how.hard_boxes
        groups = _shared(rows[hard], rows[~hard], how.hard, how.limit)
    taken = [row for among, count in groups for row in sorted(draw.sample(among.tolist(), count))]
    if not taken:
        share = f", {how.hard:g} of them with {how.hard_boxes} boxes or more" if how.hard is not None else ""
        raise Vr1benchError(
            f"no sample is left of {len(number)}: expected some of {low} to {high} boxes{share}; the data has samples "
            f"of {int(number.min())} to {int(number.max())} boxes"
        )
    _count(counts, "samples not drawn", len(rows) - len(taken))
    if how.hard is not None:
        counts[f"samples with {how.hard_boxes} boxes or more"] = int((number[taken] >= how.hard_boxes).sum())
    taken.sort()
    if how.order == "boxes":
        taken.sort(key=lambda row: number[row])
    elif how.order == "shuffled":
        draw.shuffle(taken)
    return np.array(taken, np.int64)


def _shared(hard: Ints, easy: Ints, share: float, limit: int | None) -> list[tuple[Ints, int]]:
    """How many of the hard and of the easy samples make the largest set with this share of hard ones."""
    total = len(hard) + len(easy) if limit is None else limit
    if share > 0:
        total = min(total, int(len(hard) / share + 1e-9))
    if share < 1:
        total = min(total, int(len(easy) / (1 - share) + 1e-9))
    some = min(round(total * share), len(hard))
    return [(hard, some), (easy, min(total - some, len(easy)))]


def _asked(data: Dataset, rows: Ints, how: Curation) -> tuple[list[tuple[str, ...]], int]:
    """What each sample is asked, and how many lacked names for their negatives."""
    if how.negatives is None:
        return ([_queries(data, int(row)) for row in rows] if len(data.queries) > 1 else list(data.queries)), 0
    ids = [text_of(name) for name in data.ids]
    asked: list[tuple[str, ...]] = []
    short = 0
    for row in rows.tolist():
        own = slice(int(data.starts[row]), int(data.starts[row + 1]))
        anything = set(data.vocabulary[data.labels[own]].tolist())
        there = set(data.vocabulary[data.labels[own][~data.crowd[own] & (data.extents[own] > 0)]].tolist())
        names = _queries(data, row)
        others = [name for name in names if name not in anything]
        draw = random.Random(f"{how.seed} negatives {ids[row]}")  # noqa: S311  repeatable, no secret
        wanted = draw.randint(*how.negatives)
        short += wanted > len(others)
        some = {*draw.sample(others, min(wanted, len(others)))} | there
        asked.append(tuple(name for name in names if name in some))
    return asked, short


def _kept_by_the_careless(data: Dataset, rows: Ints, usable: Bools, how: Curation, counts: dict[str, int]) -> Bools:
    """(boxes,) what is left where some samples keep one box a class."""
    draw = random.Random(f"{how.seed} incomplete")  # noqa: S311  repeatable, no secret
    kept = np.ones(len(usable), np.bool_)
    chosen = draw.sample(rows.tolist(), round(how.incomplete * len(rows)))
    for row in chosen:
        own = np.arange(data.starts[row], data.starts[row + 1])[usable[data.starts[row] : data.starts[row + 1]]]
        for label in np.unique(data.labels[own]):
            same = own[data.labels[own] == label]
            kept[same] = False
            kept[draw.choice(same.tolist())] = True
    _count(counts, "samples with incomplete labels, one box a class", len(chosen))
    _count(counts, "boxes that incomplete labels lack", int((~kept).sum()))
    return kept


def _taken(data: Dataset, rows: Ints, kept: Bools, queries: Sequence[tuple[str, ...]]) -> Dataset:
    """The data with these samples and these boxes alone."""
    boxes = [np.arange(data.starts[row], data.starts[row + 1]) for row in rows]
    boxes = [own[kept[own]] for own in boxes]
    return replace(
        _boxes_taken(data, np.concatenate(boxes)),
        ids=data.ids[rows],
        names=data.names[rows],
        sizes=data.sizes[rows],
        queries=queries,
        starts=np.concatenate([[0], np.cumsum([len(own) for own in boxes])]).astype(np.int64),
        problems=None if data.problems is None else data.problems[rows],
        choices=[data.choices[row] for row in rows] if data.choices else (),
        answers=[data.answers[row] for row in rows] if data.answers else (),
        tags=[data.tags[row] for row in rows] if data.tags else (),
    )
