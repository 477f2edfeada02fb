"""The samples of an audit behind each other, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vr1bench.types import Bools, Floats, Ints, Pair

N_BOXES = 50
"""Boxes looked at in one sample: a model that loops says nothing new."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of one sample.

    Attributes:
        images: Paths; samples with equal ones count as one.
        size: (width, height) pixels of the original.
        fed: (width, height) at which the model saw it.
        written: (n, 4) numbers in the family's frame, xyxy.
        gold: (m, 4) pixels of the original.
        box: (p,) ascending rows of `written`, beside
        target: (p,) rows of `gold` with the same label.
    """

    images: tuple[Path, ...]
    size: tuple[int, int]
    fed: tuple[int, int]
    written: Floats
    gold: Floats
    box: Ints
    target: Ints


def seen_of(pair: Pair) -> Seen | None:
    """What to keep of a sample; None where it has no box of a known label.

    Where one name or phrase was asked, every box answers it, whatever it is called.
    """
    prediction, sample = pair.prediction, pair.sample
    if prediction is None or len(prediction.written) == 0 or len(prediction.written) != len(prediction.detections):
        return None
    written = np.array(prediction.written[:N_BOXES], dtype=np.float64)
    count = len(written)
    keep = ~prediction.duplicate[:count] & np.isfinite(written).all(axis=1)
    gold = sample.gold
    real = ~gold.crowd & (gold.boxes[:, 2:] > gold.boxes[:, :2]).all(axis=1)
    if len(sample.queries) == 1:
        same = np.broadcast_to(real, (count, len(gold)))
    else:
        keep &= ~prediction.unknown[:count]
        same = (prediction.detections.labels[:count, None] == gold.labels[None]) & real
    if not keep.any():
        return None
    box, target = np.nonzero(same[keep])
    size = (sample.width, sample.height)
    fed = prediction.fed if all(prediction.fed) else size
    return Seen(sample.images, size, fed, written[keep], gold.boxes, box, target)


@dataclass(frozen=True, slots=True)
class Table:
    """All samples behind each other.

    Attributes:
        image: (s,) number of each sample's image.
        size: (s, 2) width and height in pixels of each sample's original.
        fed: (s, 2) width and height as fed.
        written: (n, 4) numbers of all boxes.
        sample: (n,) row of `size` that each box belongs to.
        box: (p,) ascending rows of `written`: the first half of each pair.
        gold: (1 + c, p, 4) pixels of the original. First the other half, a gold box of the same label; then, for
            chance, gold boxes of other samples in its place, at the same part of the image.
        lone: (p,) True where its label has this one box and this one gold box in the sample.
    """

    image: Ints
    size: Floats
    fed: Floats
    written: Floats
    sample: Ints
    box: Ints
    gold: Floats
    lone: Bools


def table_of(seen: Sequence[Seen]) -> Table:
    """One or more samples behind each other."""
    size = np.array([one.size for one in seen], dtype=np.float64)
    sample = np.repeat(np.arange(len(seen)), [len(one.written) for one in seen])
    gold = np.concatenate([one.gold for one in seen])
    gold_sample = np.repeat(np.arange(len(seen)), [len(one.gold) for one in seen])
    first_box = np.cumsum([0, *(len(one.written) for one in seen)])
    first_gold = np.cumsum([0, *(len(one.gold) for one in seen)])
    box = np.concatenate([one.box + start for one, start in zip(seen, first_box[:-1], strict=True)])
    target = np.concatenate([one.target + start for one, start in zip(seen, first_gold[:-1], strict=True)])
    # Quarters of the data away: neighbours may show one image, or one box under several phrases.
    others = [(target + len(gold) * quarter // 4) % max(len(gold), 1) for quarter in (1, 2, 3)]
    chance = [gold[other] / twice(size[gold_sample[other]]) * twice(size[sample[box]]) for other in others]
    lone = (np.bincount(box)[box] == 1) & (np.bincount(target)[target] == 1)
    numbers: dict[tuple[Path, ...], int] = {}
    return Table(
        image=np.array([numbers.setdefault(one.images, len(numbers)) for one in seen]),
        size=size,
        fed=np.array([one.fed for one in seen], dtype=np.float64),
        written=np.concatenate([one.written for one in seen]),
        sample=sample, box=box, gold=np.stack([gold[target], *chance]), lone=lone,
    )  # fmt: skip


def twice(xy: Floats) -> Floats:
    """(n, 2) as (n, 4), for corners."""
    return np.concatenate([xy, xy], axis=-1)
