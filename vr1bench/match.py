"""Boxes to boxes as COCO does it, over whole columns; `vr1bench.assignment` pairs those of single images.

COCO's rule is that of pycocotools 2.0.11 (`cocoeval.py`, `evaluateImg`):
within one image and class the detections choose in order of score; each takes, at every IoU threshold, the free gold
box with the highest IoU that reaches the threshold, the last one in file order where IoUs are equal; gold that the
area range ignores is taken only where no other is left; a crowd box never fills up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vr1bench.boxes import iou_aligned
from vr1bench.types import Bools, Floats, Ints

Bits = NDArray[np.uint64]

# Exactly pycocotools' `Params.setDetParams`: linspace, since arange gives .8500000000000003 and misses an IoU of 17/20.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREAS = ("all", "small", "medium", "large")
AREA_RANGES = ((0.0, 1e5**2), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e5**2))

# Forty verdicts of a box in one word: bit 10 a + t is area range a at IoU threshold t.
_ONE_AREA = np.uint64((1 << 10) - 1)
AREA_BITS = np.array([int(_ONE_AREA) << 10 * a for a in range(4)], dtype=np.uint64)
_EVERY_AREA = sum(1 << 10 * a for a in range(4))
_REACHED = np.array([((1 << n) - 1) * _EVERY_AREA for n in range(11)], dtype=np.uint64)
_ALL = np.uint64((1 << 40) - 1)

# Pairs of boxes whose IoU is computed at a time: 16k x 8 B x ~15 arrays stay in the second-level cache, and memory
# stays flat however many boxes share an image.
_PAIRS_AT_ONCE = 1 << 14
"""Pairs of boxes whose IoU is computed at a time: a few megabytes."""


class _Columns:
    """Rows as parallel arrays of one length."""

    __slots__ = ()

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}  # pyright: ignore[reportArgumentType]
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")


@dataclass(frozen=True, slots=True)
class Truth(_Columns):
    """Gold boxes as columns, n rows in the order of the file.

    Attributes:
        image: (n,) rank of the image in the pinned order, from 0.
        label: (n,) index of the class in the benchmark's order, from 0.
        boxes: (n, 4) xyxy pixels; no size is allowed, a negative one is not (the border refuses it).
        crowd: (n,) the box covers a group and absorbs any number of detections.
        areas: (n,) square pixels that decide small, medium or large.
        extents: (n,) width times height as the file gives them, which enters the union.
        lost: (n,) the annotation id is 0 and ids are taken as shipped: pycocotools reads a match with it as no match.
    """

    image: Ints
    label: Ints
    boxes: Floats
    crowd: Bools
    areas: Floats
    extents: Floats
    lost: Bools

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: Ints | Bools) -> Truth:
        """The chosen rows, in the order chosen."""
        return Truth(
            self.image[rows], self.label[rows], self.boxes[rows], self.crowd[rows], self.areas[rows],
            self.extents[rows], self.lost[rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Guesses(_Columns):
    """Detections as columns, n rows in order of emission.

    Attributes:
        image: (n,) rank of the image in the pinned order, from 0.
        label: (n,) index of the class in the benchmark's order, from 0.
        boxes: (n, 4) finite xyxy pixels.
        scores: (n,) any finite numbers; only their order counts.
        extents: (n,) width times height.
    """

    image: Ints
    label: Ints
    boxes: Floats
    scores: Floats
    extents: Floats

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: Ints | Bools) -> Guesses:
        """The chosen rows, in the order chosen."""
        return Guesses(self.image[rows], self.label[rows], self.boxes[rows], self.scores[rows], self.extents[rows])


@dataclass(frozen=True, slots=True)
class Matches:
    """Who found what: all that precision and recall need, so that a bootstrap can replay it with multiplicities.

    Detections beyond `max_dets` of their image and class are gone. The rest stand by class, then score from high to
    low, then image rank, then order of emission: pycocotools' order, in which ties of score are broken. Bit 10 a + t
    of a word speaks of area range `AREAS[a]` at `THRESHOLDS[t]`; a false positive has neither bit.

    Attributes:
        row: (n,) the detection's row in the guesses.
        image: (n,) image rank.
        label: (n,) class index, ascending.
        tier: (n,) lower for higher scores, from 0; within a class equal means tied.
        rank: (n,) place among the detections of its image and class, from 0.
        hits: (n,) bits where it found gold that counts.
        ignored: (n,) bits where it counts neither way: it found a crowd or gold outside the area range, or found
            nothing and is itself outside.
        gold_image: (m,) image rank of every gold box.
        gold_label: (m,) its class.
        gold_ignored: (m,) bits of the area ranges that do not count it; all bits for a crowd.
    """

    row: Ints
    image: Ints
    label: Ints
    tier: Ints
    rank: Ints
    hits: Bits
    ignored: Bits
    gold_image: Ints
    gold_label: Ints
    gold_ignored: Bits

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Edges:
    """Candidate matches: pairs of a detection and a gold box of the same image and class.

    Attributes:
        guess: (k,) row of the detection, ascending.
        gold: (k,) row of the gold box, ascending within a detection.
        iou: (k,) in [0.5, 1].
    """

    guess: Ints
    gold: Ints
    iou: Floats


def sorted_rows(*keys: tuple[Ints, int]) -> Ints:
    """Row numbers that sort by the first key, then the next; equal rows keep their order.

    Args:
        keys: (n,) integers from 0 with an exclusive upper bound each.

    Returns:
        (n,) rows. Where all keys and the row number fit one 63-bit word, one sort of words replaces the stable sorts:
        five times faster at 26,000 rows.
    """
    n = len(keys[0][0])
    row_bits = max(n - 1, 0).bit_length()
    widths = [max(bound - 1, 0).bit_length() for _, bound in keys]
    if sum(widths) + row_bits > 63:
        return np.lexsort([key for key, _ in reversed(keys)]).astype(np.int64)
    word = np.zeros(n, dtype=np.int64)
    for (key, _), width in zip(keys, widths, strict=True):
        word = word << width | key
    return np.sort(word << row_bits | np.arange(n)) & ((1 << row_bits) - 1)


def tiers(scores: Floats) -> Ints:
    """Dense ranks from the highest score down, shape (n,): equal scores share one; 0.0 and -0.0 are equal."""
    order = np.argsort(-scores)
    falling = scores[order]
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[order[:1]] = 0
    ranks[order[1:]] = np.cumsum(falling[1:] != falling[:-1])
    return ranks


def edges(truth: Truth, guesses: Guesses) -> Edges:
    """Pairs with an IoU of at least .5 (COCO's for crowds); both inputs sorted by class, then image."""
    bound = _bound(truth.image, guesses.image)
    gold_key, key = truth.label * bound + truth.image, guesses.label * bound + guesses.image
    starts = _starts(key)
    low = np.searchsorted(gold_key, key[starts], side="left")
    counts = np.searchsorted(gold_key, key[starts], side="right") - low
    sizes = np.diff(starts, append=len(key))
    parts = list(_close_pairs(truth, guesses, np.repeat(low, sizes), np.repeat(counts, sizes)))
    if not parts:
        return Edges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    return Edges(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _close_pairs(truth: Truth, guesses: Guesses, low: Ints, counts: Ints) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Edges of guess i with the gold rows low[i] ... low[i] + counts[i] - 1."""
    # Coordinates as contiguous columns: the arithmetic then runs at full width.
    gold_columns, columns = np.ascontiguousarray(truth.boxes.T), np.ascontiguousarray(guesses.boxes.T)
    some_crowd = bool(truth.crowd.any())
    for guess, gold in some_pairs(low, counts):
        with np.errstate(over="ignore"):  # sides of 1e308 are finite, their products are not: no overlap, no harm
            overlap = iou_aligned(
                columns[:, guess].T, gold_columns[:, gold].T, guesses.extents[guess], truth.extents[gold],
                truth.crowd[gold] if some_crowd else None,
            )  # fmt: skip
        close = np.flatnonzero(overlap >= THRESHOLDS[0])
        yield guess[close], gold[close], overlap[close]


def some_pairs(low: Ints, counts: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Each i with every one of low[i] ... low[i] + counts[i] - 1, in order, a bounded number of pairs at a time.

    Args:
        low: (n,) where the partners of each begin.
        counts: (n,) how many there are; more than the bound at once where one alone has more.

    Yields:
        (p,) i, and (p,) its partner.
    """
    busy = np.flatnonzero(counts)
    ends = np.cumsum(counts[busy])
    first, done = 0, 0
    while first < len(busy):
        last = max(first + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        rows = busy[first:last]
        begin = low[rows] - (ends[first:last] - counts[rows] - done)
        one = np.repeat(rows, counts[rows])
        yield one, np.arange(len(one)) + np.repeat(begin, counts[rows])
        first, done = last, int(ends[last - 1])


def coco(truth: Truth, guesses: Guesses, max_dets: int = 100) -> Matches:
    """Match as pycocotools does, all images, classes, thresholds and area ranges at once.

    Args:
        truth: Gold; empty is fine.
        guesses: Detections; empty is fine.
        max_dets: Detections kept per image AND class, the highest scores first.
    """
    images, labels = _bound(truth.image, guesses.image), _bound(truth.label, guesses.label)
    gold = truth.take(sorted_rows((truth.label, labels), (truth.image, images)))
    tier = tiers(guesses.scores)
    levels = _bound(tier)
    order = sorted_rows((guesses.label, labels), (guesses.image, images), (tier, levels))
    starts = _starts(guesses.label[order] * images + guesses.image[order])
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    order, rank = order[rank < max_dets], rank[rank < max_dets]
    kept = guesses.take(order)
    gold_ignored = np.where(gold.crowd, _ALL, _outside(gold.areas))
    hits, ignored = _settle(edges(gold, kept), gold, gold_ignored, kept)
    ignored |= _outside(kept.extents) & ~hits
    final = sorted_rows((kept.label, labels), (tier[order], levels), (kept.image, images))
    return Matches(
        order[final], kept.image[final], kept.label[final], tier[order][final], rank[final], hits[final],
        ignored[final], gold.image, gold.label, gold_ignored,
    )  # fmt: skip


def joined(parts: Sequence[Matches]) -> Matches:
    """Matches of ascending classes behind each other; `tier` then compares within a class only."""
    return Matches(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Matches)))


def _settle(found: Edges, gold: Truth, gold_ignored: Bits, kept: Guesses) -> tuple[Bits, Bits]:
    """Hits and ignored matches of every kept detection, as bits, shape (len(kept),) each."""
    hits, ignored = np.zeros(len(kept), np.uint64), np.zeros(len(kept), np.uint64)
    bits = _REACHED[np.searchsorted(THRESHOLDS, found.iou, side="right")]
    several = np.bincount(found.guess, minlength=len(kept))[found.guess] > 1
    contested = np.zeros(len(gold), dtype=np.bool_)
    contested[found.gold[several]] = True
    plain = ~contested[found.gold]
    quick = _stars(found, bits, gold.crowd, plain)
    slow = _rounds(found, bits, gold, gold_ignored, kept, tangled=~plain)
    for part, taken in (quick, slow):
        d, g = found.guess[part], found.gold[part]
        # A lost gold box is used up all the same, but its detection reads as unmatched unless the gold was ignored.
        np.bitwise_or.at(hits, d, np.where(gold.lost[g], np.uint64(0), taken & ~gold_ignored[g]))
        np.bitwise_or.at(ignored, d, taken & gold_ignored[g])
    return hits, ignored


def _stars(found: Edges, bits: Bits, crowd: Bools, plain: Bools) -> tuple[Ints, Bits]:
    """Edges whose gold is wanted only by detections that want nothing else, and the bits that each takes.

    Most edges are like that, and they need no rounds: bits are prefixes of the thresholds, so what earlier detections
    left of a gold box is what lies above the highest level that they reached.
    """
    part = np.flatnonzero(plain)
    part = part[np.argsort(found.gold[part], kind="stable")]
    gold = found.gold[part]
    level = bits[part] & _ONE_AREA
    star = np.cumsum(np.diff(gold, prepend=-1) != 0).astype(np.uint64) << np.uint64(10)
    highest = np.maximum.accumulate(star | level)
    before = np.zeros(len(part), dtype=np.uint64)
    before[1:] = np.where(star[1:] == star[:-1], highest[:-1] & _ONE_AREA, np.uint64(0))
    before[crowd[gold]] = 0
    return part, (level & ~before) * np.uint64(_EVERY_AREA)


def _rounds(
    found: Edges, bits: Bits, gold: Truth, gold_ignored: Bits, kept: Guesses, *, tangled: Bools
) -> tuple[Ints, Bits]:
    """Edges where detections and gold compete, as visits in order, and the bits that each visit takes.

    Within an image and class detections go one after the other; different images and classes do not meet, so round
    r settles the r-th of all of them at once. A detection visits its gold boxes from the best IoU down, first those
    that count, then those that are ignored, and takes what both still have.
    """
    part = np.flatnonzero(tangled)
    # Best IoU first, among equals the last gold box: pycocotools walks up and lets a later equal replace the best.
    part = part[np.lexsort((-found.gold[part], -found.iou[part], found.guess[part]))]
    guess = found.guess[part]
    firsts = _starts(guess)
    sizes = np.diff(firsts, append=len(part))
    place = np.arange(len(part)) - np.repeat(firsts, sizes)
    groups = _starts(kept.label[guess[firsts]] * _bound(kept.image) + kept.image[guess[firsts]])
    step = np.repeat(np.arange(len(firsts)) - np.repeat(groups, np.diff(groups, append=len(firsts))), sizes)
    width = 2 * _bound(place)
    word = np.concatenate([step * width + place, step * width + place + width // 2])
    visits, mask = np.tile(part, 2), gold_ignored[found.gold[part]]
    wish = np.concatenate([bits[part] & ~mask, bits[part] & mask])
    real = np.flatnonzero(wish)
    real = real[np.argsort(word[real], kind="stable")]
    visits, wish, word = visits[real], wish[real], word[real]
    return visits, _take_turns(found.guess[visits], found.gold[visits], wish, gold.crowd, _starts(word))


def _take_turns(guess: Ints, gold: Ints, wish: Bits, crowd: Bools, starts: Ints) -> Bits:
    """Bits that each visit gets; within a round no detection and no gold box comes twice."""
    taken = np.zeros(len(wish), np.uint64)
    open_guess = np.full(_bound(guess), _ALL)
    open_gold = np.full(_bound(gold), _ALL)
    fills = np.where(crowd[gold], np.uint64(0), _ALL)
    for start, end in pairwise([*starts.tolist(), len(wish)]):
        d, g = guess[start:end], gold[start:end]
        wanting, free = open_guess[d], open_gold[g]
        got = wish[start:end] & wanting & free
        open_guess[d] = wanting ^ got
        open_gold[g] = free ^ (got & fills[start:end])
        taken[start:end] = got
    return taken


def _outside(areas: Floats) -> Bits:
    """Bits of the area ranges that an area does not belong to, shape (n,); borders belong to both sides."""
    bits = np.zeros(len(areas), np.uint64)
    for (low, high), mask in zip(AREA_RANGES, AREA_BITS, strict=True):
        bits |= ((areas < low) | (areas > high)) * mask
    return bits


def _starts(key: Ints) -> Ints:
    """First row of every run of equal keys."""
    return np.flatnonzero(np.diff(key, prepend=-1)) if len(key) else np.empty(0, np.int64)


def _bound(*keys: Ints) -> int:
    """One more than the largest of all keys; 1 where there are none."""
    return 1 + max((int(key.max()) for key in keys if len(key)), default=0)
