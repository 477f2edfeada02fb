"""Kinds of mistakes, and how much AP50 each kind costs: TIDE's definitions (Bolya et al. 2020, arXiv 2008.08115).

Where the paper is open, its code decides (dbolya/tide at 49a5d2a, `tidecv/quantify.py` and `errors/main_errors.py`). A
false positive at IoU .5 is of the first kind that fits, where IoUs are its largest with gold of its image:

* `box`: with gold of its class in [.1, .5]: the right class, a loose box;
* `class`: at least .5 with gold of another class;
* `duplicate`: at least .5 with gold of its class, which a box further up has found already;
* `background`: at most .1 with all gold;
* `both`: what remains: loose on gold of another class.

Gold is `missed` where nothing found it and no box or class mistake is about it.

A kind **costs** what AP50 gains where it alone is mended: of the box and class mistakes about a gold box that is not
found the one furthest up becomes a true positive of that gold's class, if it is of the kind that is mended; all others
go away, and missed gold is taken out of the count. Costs do not add up, since a mistake hides behind another. Two more
overlap with all of them: without `false positives`, and without gold that nothing found (`false negatives`).

**Ties.** "Further up" is by score, then in order of emission; classes are ranked by score, image, emission, as for AP.
With one constant score (language models) the costs hang on that pinned order as AP50 does; kinds hang on it only where
several boxes want one gold box. (TIDE's code, once it mends anything, ranks false positives first among equal scores.)

What differs from TIDE, so that AP50 is that of `vr1bench.metrics.ap`: matching is COCO's (of two gold boxes of equal
IoU the last is found; as many boxes as the protocol says count per image and class, not per image), and so is the
recall grid. A box that a crowd absorbs is no mistake; TIDE's code calls it one, and mends it. A class without gold is
in no mean; in TIDE it is one of AP 0. A label that the benchmark lacks is a class of its own without AP, so a good box
under it is a class mistake. Gold with annotation id 0 is gold, whatever the protocol says: to lose it is the
evaluator's mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

from vr1bench.assignment import one_to_one
from vr1bench.boxes import iou_aligned
from vr1bench.match import Edges, Guesses, Matches, Truth, edges, some_pairs, sorted_rows, tiers
from vr1bench.metrics.ap import curves
from vr1bench.metrics.columns import Columns
from vr1bench.types import Bools, Floats, Ints

FOREGROUND = 0.5  # TIDE's t_f and t_b, section 2.2 of the paper
BACKGROUND = 0.1


class Verdict(IntEnum):
    """What becomes of a box, or of gold; the first six are mistakes, in the order in which TIDE lists them."""

    CLASS = 0
    BOX = 1
    BOTH = 2
    DUPLICATE = 3
    BACKGROUND = 4
    MISSED = 5
    RIGHT = 6
    IGNORED = 7

    @property
    def word(self) -> str:
        """Its name in tables."""
        return self.name.lower()


KINDS = tuple(Verdict)[:6]
SPECIAL = ("false positives", "false negatives")


@dataclass(frozen=True)
class Mistakes:
    """What became of every box of a benchmark.

    Attributes:
        table: Gold and answers.
        answer: (n,) the `Verdict` of each answer: never `MISSED`; `IGNORED` where a crowd absorbed it or it came after
            as many of its image and class as count.
        about: (n,) the gold row that an answer found, or that a class or box mistake is about; else -1.
        mends: (n,) this class or box mistake is the one that mending turns into a true positive.
        gold: (m,) the `Verdict` of each gold box: `RIGHT` where it was found, `MISSED`, `IGNORED` for a crowd, else
            that of the mistake that mends it.
    """

    table: Columns
    answer: Ints
    about: Ints
    mends: Bools
    gold: Ints

    @cached_property
    def tier(self) -> Ints:
        """Ranks of the answers' scores, (n,)."""
        return tiers(self.table.answers.scores)

    @property
    def everything(self) -> tuple[Bools, Bools]:
        """The choice of all answers and all gold."""
        return np.ones(len(self.answer), dtype=np.bool_), np.ones(len(self.gold), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Averages:
    """AP50 of classes; K of them.

    Attributes:
        precision: (K, 101) interpolated precision at COCO's recalls.
        counted: (K,) it enters the mean.
        had_gold: (K,) it has gold, before anything was mended.
    """

    precision: Floats
    counted: Bools
    had_gold: Bools

    @property
    def mean(self) -> float | None:
        """AP50: None without any gold; 1 where mending left neither gold nor a false positive."""
        if not self.had_gold.any():
            return None
        # In the order in which pycocotools sums.
        return float(np.mean(self.precision[self.counted].T.ravel())) if self.counted.any() else 1.0

    def of(self, label: int) -> float | None:
        """AP50 of one class, as `mean`."""
        if not self.had_gold[label]:
            return None
        return float(self.precision[label].mean()) if self.counted[label] else 1.0


def mistakes(table: Columns, max_dets: int = 100) -> Mistakes:
    """The kind of every answer and of every gold box.

    Args:
        table: A whole benchmark; nothing at all is fine.
        max_dets: Answers that count per image and class, the highest scores first; of labels that the benchmark lacks
            all count.
    """
    truth, answers = table.truth, table.answers
    counts = _first(answers, max_dets) | (answers.label < 0)
    turn = np.empty(len(answers), dtype=np.int64)
    turn[np.argsort(tiers(answers.scores), kind="stable")] = np.arange(len(answers))
    near = _near(truth, answers)
    same = answers.label[near.guess] == truth.label[near.gold]
    found_by, finds = _matched(_chosen(near, same & (near.iou >= FOREGROUND) & counts[near.guess]), turn, table)
    own_iou, own = _nearest(_chosen(near, same), len(answers))
    other_iou, other = _nearest(_chosen(near, ~same), len(answers))
    kind = np.select(
        [
            finds >= 0,
            ~counts | _absorbed(table),
            (own_iou >= BACKGROUND) & (own_iou <= FOREGROUND),
            other_iou >= FOREGROUND,
            own_iou >= FOREGROUND,
            np.maximum(own_iou, other_iou) <= BACKGROUND,
        ],
        [Verdict.RIGHT, Verdict.IGNORED, Verdict.BOX, Verdict.CLASS, Verdict.DUPLICATE, Verdict.BACKGROUND],
        Verdict.BOTH,
    ).astype(np.int64)
    about = np.select([kind == Verdict.RIGHT, kind == Verdict.BOX, kind == Verdict.CLASS], [finds, own, other], -1)
    mends = _mending(kind, about, found_by < 0, turn)
    gold = np.where(truth.crowd, Verdict.IGNORED, np.where(found_by >= 0, Verdict.RIGHT, Verdict.MISSED)).astype(
        np.int64
    )
    gold[about[mends]] = kind[mends]
    return Mistakes(table, kind, about, mends, gold)


def tally(found: Mistakes, answers: Bools, gold: Bools) -> dict[str, int]:
    """How many mistakes of each kind there are among some answers and some gold.

    Args:
        found: All.
        answers: (n,) which answers to count.
        gold: (m,) which gold boxes to count.
    """
    of_answers = np.bincount(found.answer[answers], minlength=len(Verdict))
    of_gold = np.bincount(found.gold[gold], minlength=len(Verdict))
    return {kind.word: int((of_gold if kind == Verdict.MISSED else of_answers)[kind]) for kind in KINDS}


def averages(found: Mistakes) -> Averages:
    """AP50 as it is."""
    nothing = np.zeros(len(found.answer), dtype=np.bool_)
    return _averages(found, nothing, nothing, np.zeros(len(found.gold), dtype=np.bool_))


def mended(
    found: Mistakes, kinds: Collection[Verdict], answers: Bools | None = None, gold: Bools | None = None
) -> Averages:
    """AP50 with some kinds of mistakes mended, among all answers and gold or some: TIDE's qualifiers.

    Args:
        found: All.
        kinds: Of `KINDS`.
        answers: (n,) whose mistakes to mend.
        gold: (m,) which of the missed gold to mend.
    """
    every_answer, all_gold = found.everything
    wrong = np.isin(found.answer, list(kinds)) & (every_answer if answers is None else answers)
    gone = (found.gold == Verdict.MISSED) & (all_gold if gold is None else gold) & (Verdict.MISSED in kinds)
    return _averages(found, wrong & ~found.mends, wrong & found.mends, gone)


def costs(found: Mistakes, answers: Bools | None = None, gold: Bools | None = None) -> dict[str, float | None]:
    """What each kind costs in AP50, as a fraction; None where there is no gold. Arguments as of `mended`."""
    before = averages(found).mean
    return {kind.word: gain(before, mended(found, (kind,), answers, gold).mean) for kind in KINDS}


def special_costs(found: Mistakes) -> dict[str, float | None]:
    """What all false positives cost, and all gold that was not found."""
    every_answer, all_gold = found.everything
    before = averages(found).mean
    no_false = _averages(found, found.answer < Verdict.RIGHT, ~every_answer, ~all_gold)
    all_found = _averages(found, ~every_answer, ~every_answer, found.gold < Verdict.RIGHT)
    return {name: gain(before, after.mean) for name, after in zip(SPECIAL, (no_false, all_found), strict=True)}


def gain(before: float | None, after: float | None) -> float | None:
    """What mending gains; rounding never makes it negative, as in TIDE."""
    return None if before is None or after is None else max(after - before, 0.0)


REFERRING = ("no box", "wrong place", "loose box")
"""What is wrong with the answer to a phrase: nothing there, an IoU below .1, or one too small to count."""


def referring_mistakes(ious: Floats, boxed: Bools, strict: bool = False) -> Mapping[str, Bools]:
    """Samples by what is wrong with their answer, (n,) each; those in none are right.

    Args:
        ious: (n,) of the box that counts with the gold box.
        boxed: (n,) there is such a box.
        strict: An IoU of exactly .5 is not right (VLM-R1's rule).
    """
    right = ious > FOREGROUND if strict else ious >= FOREGROUND
    apart = ious < BACKGROUND
    return dict(zip(REFERRING, (~boxed, boxed & apart, boxed & ~apart & ~right), strict=True))


def _averages(found: Mistakes, without: Bools, moved: Bools, gone: Bools) -> Averages:
    """AP50 where some answers are not there, some become true positives of the gold they are about, some gold is gone.

    A class whose gold is all gone stays in the mean with 0 while it has false positives, as in TIDE.
    """
    truth, answers, n_labels = found.table.truth, found.table.answers, len(found.table.labels)
    label = answers.label.copy()
    label[moved] = truth.label[found.about[moved]]
    right = moved | (found.answer == Verdict.RIGHT)
    rows = np.flatnonzero((label >= 0) & (found.answer != Verdict.IGNORED) & ~without)
    keys = ((label, n_labels), (found.tier, len(answers)), (answers.image, found.table.images))
    rows = rows[sorted_rows(*((key[rows], bound) for key, bound in keys))]
    plain, left = truth.label[~truth.crowd], truth.label[~truth.crowd & ~gone]
    none, no_rank = np.zeros(len(rows), dtype=np.uint64), np.zeros(len(rows), dtype=np.int64)
    ranked = Matches(
        rows, answers.image[rows], label[rows], found.tier[rows], no_rank, right[rows].astype(np.uint64), none,
        np.zeros_like(left), left, np.zeros(len(left), dtype=np.uint64),
    )  # fmt: skip
    had_gold = np.bincount(plain, minlength=n_labels) > 0
    goes_on = (np.bincount(left, minlength=n_labels) > 0) | (np.bincount(label[rows], minlength=n_labels) > 0)
    return Averages(curves(ranked, n_labels).precision[0, 0], had_gold & goes_on, had_gold)


def _first(answers: Guesses, max_dets: int) -> Bools:
    """Which answers are among the first of their image and class, (n,)."""
    order = np.lexsort((tiers(answers.scores), answers.image, answers.label))
    new = (np.diff(answers.label[order], prepend=-2) != 0) | (np.diff(answers.image[order], prepend=-1) != 0)
    places = np.arange(len(order))
    first = np.empty(len(order), dtype=np.bool_)
    first[order] = places - np.maximum.accumulate(np.where(new, places, 0)) < max_dets
    return first


def _near(truth: Truth, answers: Guesses) -> Edges:
    """Pairs of an answer and a plain gold box of its image, of any two classes, with an IoU of at least .1."""
    plain = np.flatnonzero(~truth.crowd)
    plain = plain[np.argsort(truth.image[plain], kind="stable")]
    low, high = (np.searchsorted(truth.image[plain], answers.image, side=side) for side in ("left", "right"))
    found = [Edges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for guess, place in some_pairs(low, high - low):
        gold = plain[place]
        with np.errstate(over="ignore"):  # as in `match.edges`
            iou = iou_aligned(answers.boxes[guess], truth.boxes[gold], answers.extents[guess], truth.extents[gold])
        found.append(_chosen(Edges(guess, gold, iou), iou >= BACKGROUND))
    return Edges(*(np.concatenate([getattr(part, name) for part in found]) for name in ("guess", "gold", "iou")))


def _chosen(near: Edges, which: Bools) -> Edges:
    return Edges(near.guess[which], near.gold[which], near.iou[which])


def _matched(near: Edges, turn: Ints, table: Columns) -> tuple[Ints, Ints]:
    """Who finds what by COCO's rule: for each gold box the answer, for each answer the gold box, -1 for none.

    Answers take turns, and each takes the free gold box of the highest IoU, among equals the last.
    """
    order = np.lexsort((-near.gold, -near.iou, turn[near.guess]))
    order = order[one_to_one(near.guess[order], near.gold[order])]
    found_by, finds = np.full(len(table.truth), -1), np.full(len(table.answers), -1)
    found_by[near.gold[order]] = near.guess[order]
    finds[near.guess[order]] = near.gold[order]
    return found_by, finds


def _nearest(near: Edges, count: int) -> tuple[Floats, Ints]:
    """The largest IoU of each answer and its gold box, among equals the first: (count,) each; 0 and -1 for none."""
    order = np.lexsort((near.gold, -near.iou, near.guess))
    first = order[np.flatnonzero(np.diff(near.guess[order], prepend=-1))]
    top, gold = np.zeros(count), np.full(count, -1)
    top[near.guess[first]], gold[near.guess[first]] = near.iou[first], near.gold[first]
    return top, gold


def _absorbed(table: Columns) -> Bools:
    """Answers that lie in a crowd of their class, (n,)."""
    inside = np.zeros(len(table.answers), dtype=np.bool_)
    crowds = np.flatnonzero(table.truth.crowd)
    crowds = crowds[np.lexsort((table.truth.image[crowds], table.truth.label[crowds]))]
    rows = np.flatnonzero(table.answers.label >= 0)
    rows = rows[np.lexsort((table.answers.image[rows], table.answers.label[rows]))]
    inside[rows[edges(table.truth.take(crowds), table.answers.take(rows)).guess]] = True
    return inside


def _mending(kind: Ints, about: Ints, free: Bools, turn: Ints) -> Bools:
    """The box or class mistake furthest up about each gold box that is free, (n,)."""
    rows = np.flatnonzero((kind == Verdict.BOX) | (kind == Verdict.CLASS))
    rows = rows[free[about[rows]]]
    rows = rows[np.lexsort((turn[rows], about[rows]))]
    mends = np.zeros(len(kind), dtype=np.bool_)
    mends[rows[np.flatnonzero(np.diff(about[rows], prepend=-1))]] = True
    return mends
