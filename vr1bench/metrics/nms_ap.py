"""NMS-AP, OVDEval's metric: suppression around the gold, then COCO's AP.

The rule is that of om-ai-lab/OVDEval, `eval.py` at 2ba0aa9, and it is no usual NMS. Around every gold box of an image,
whatever its class, the detections of any class whose IoU with it is above .5 compete: the highest score wins. A
detection that competed and won nowhere is removed; one that competed nowhere stays, so images without gold keep all.
What is left is scored by `vr1bench.metrics.ap`, so that a right answer no longer hides a wrong one at the same place.

**Ties.** The reference takes the last of an unstable sort: the last emitted where all competitors have one score, and
what the processor makes of it where more than 16 have several. Language models give all boxes one score, so the order
of their answer decides. `suppressed` pins the rule; `bounds` says how much hangs on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np

from vr1bench.match import AREA_RANGES, THRESHOLDS, Edges, Guesses, Truth, coco, edges
from vr1bench.metrics.ap import AveragePrecision, ap, curves, twelve
from vr1bench.types import Bools, Floats, Ints

Ties = Literal["first", "last", "right", "wrong"]
NAMES = ("AP", "AP50", "AP75")
"""The numbers that `bounds` bounds."""
_IOU = 0.5  # eval.py, --iou-threshold; strict: exactly .5 does not compete
_LEVELS = len(THRESHOLDS)
_WORDS = np.uint64(1) << np.arange(_LEVELS, dtype=np.uint64)


def nms_ap(truth: Truth, guesses: Guesses, n_labels: int, ties: Ties = "last", max_dets: int = 100) -> AveragePrecision:
    """COCO's numbers after suppression; NMS-AP is their `AP`, over IoU .50 to .95.

    Args:
        truth: Gold as columns; none at all gives -1 everywhere.
        guesses: Detections as columns; none at all gives 0 (the reference cannot read an empty list).
        n_labels: Number of classes.
        ties: See `suppressed`; the reference's is "last".
        max_dets: Detections that count per image and class, after suppression.
    """
    return ap(truth, guesses.take(suppressed(truth, guesses, ties)), n_labels, max_dets)


def suppressed(truth: Truth, guesses: Guesses, ties: Ties = "last") -> Ints:
    """Rows of the detections that stay, ascending: emission keeps its order.

    Crowd boxes compete as any gold, and a gold box with annotation id 0 does too; the reference looks at neither.

    Args:
        truth: Gold; without any, all detections stay.
        guesses: Detections; a class of -1 competes like the others, so leave those out that no class holds.
        ties: Who wins among the highest scores. "first" or "last" in order of emission. "right": the gold's class
            before a class without gold before any other, then the highest IoU, then the first; "wrong": all of that
            turned round. These two are what a kind and a spiteful order of emission lead to, and they often are the
            best and the worst, but not always: a right box of IoU .55 is wrong at the higher thresholds, a box may win
            around two gold boxes, and places among equal scores count. `bounds` holds always.
    """
    contest = _contest(truth, guesses)
    wins = _winners(contest, truth, guesses, ties)
    stays = np.ones(len(guesses), dtype=np.bool_)
    stays[contest.guess] = False
    stays[contest.guess[wins]] = True
    return np.flatnonzero(stays)


@dataclass(frozen=True, slots=True)
class _Contest:
    """Competitors: detection `guess[i]` competes around `gold[i]` at `iou[i]` > .5, with the top score if `top[i]`."""

    guess: Ints
    gold: Ints
    iou: Floats
    top: Bools


def _contest(truth: Truth, guesses: Guesses) -> _Contest:
    near = _near(replace(truth, crowd=np.zeros(len(truth), dtype=np.bool_)), guesses)
    strict = near.iou > _IOU
    guess, gold = near.guess[strict], near.gold[strict]
    highest = np.full(len(truth), -np.inf)
    np.maximum.at(highest, gold, guesses.scores[guess])
    return _Contest(guess, gold, near.iou[strict], guesses.scores[guess] == highest[gold])


def _near(truth: Truth, guesses: Guesses) -> Edges:
    """Pairs of one image, of any two classes, with an IoU of at least .5: COCO's where the gold is a crowd."""
    order, gold_order = np.argsort(guesses.image, kind="stable"), np.argsort(truth.image, kind="stable")
    gold, rows = truth.take(gold_order), guesses.take(order)
    found = edges(replace(gold, label=np.zeros_like(gold.label)), replace(rows, label=np.zeros_like(rows.label)))
    return Edges(order[found.guess], gold_order[found.gold], found.iou)


def _winners(contest: _Contest, truth: Truth, guesses: Guesses, ties: Ties) -> Ints:
    """One row of the contest for every gold box that has competitors."""
    top = np.flatnonzero(contest.top)
    guess, gold = contest.guess[top], contest.gold[top]
    if ties in {"first", "last"}:
        keys = [guess]
    else:
        label = guesses.label[guess]
        harm = np.where(label == truth.label[gold], 0, 1 + np.isin(label, truth.label))
        keys = [guess, -contest.iou[top], harm]
    turn = -1 if ties in {"last", "wrong"} else 1
    order = np.lexsort([*(turn * key for key in keys), gold])
    return top[order[np.flatnonzero(np.diff(gold[order], prepend=-1))]]


def bounds(truth: Truth, guesses: Guesses, n_labels: int, max_dets: int = 100) -> dict[str, tuple[float, float]]:
    """What no way to break ties falls below and none exceeds: {AP, AP50, AP75: (worst, best)}; -1 without gold.

    A way to break ties names, for each gold box apart, one of its competitors with the highest score: `suppressed`
    with any rule is one, and with any order of emission too (the order in which AP then ranks what stays is the given
    one). Without ties both bounds are the NMS-AP itself, to the bit.

    Why it holds: within a class and IoU threshold AP cannot fall when true positives enter earlier or false ones
    later. So it is enough to have, down to every place of the ranking, at least (at most) as many true and at most (at
    least) as many false positives as any tie-break. Around a gold box whose competitors have to do with no other,
    exactly one of those tied stays. For the best it is, at each threshold, the first that finds the box; one that does
    not is counted, as late as it may come, only where the tied are all of its class and none finds. For the worst it
    is the first that does not find; one that finds, as late as it may come, only if all do. Where gold boxes share
    detections (or there is a crowd, or an IoU of exactly .5) the bounds are wider: everything that may find does, or
    all is false. Thresholds and classes choose apart, so the bounds need not be reached.

    Args:
        truth: Gold.
        guesses: Detections, all of a class from 0 on.
        n_labels: Number of classes.
        max_dets: Detections that count per image and class, after suppression.
    """
    table = _table(truth, guesses)
    return {
        name: (low, high)
        for name, low, high in zip(
            NAMES, *(_bound(table, n_labels, max_dets, best=best) for best in (False, True)), strict=True
        )
    }


@dataclass(frozen=True, slots=True)
class _Table:
    """Detections that some tie-break keeps, in their order, and what is known of them.

    Attributes:
        truth: All gold.
        guesses: (n,) those detections.
        sure: (n,) every tie-break keeps it.
        open: (n,) something that it has to do with depends on ties.
        plain: (n,) it is one of those tied around one gold box, and none of these has to do with another box.
        gold: (n,) that gold box where plain, else any number.
        tied: (n,) how many tie there.
        finds: (n, 10) it may be a true positive at this IoU threshold.
    """

    truth: Truth
    guesses: Guesses
    sure: Bools
    open: Bools
    plain: Bools
    gold: Ints
    tied: Ints
    finds: Bools


def _table(truth: Truth, guesses: Guesses) -> _Table:
    contest = _contest(truth, guesses)
    sizes = np.bincount(contest.gold[contest.top], minlength=len(truth))
    sure = np.ones(len(guesses), dtype=np.bool_)
    sure[contest.guess] = False
    sure[contest.guess[contest.top & (sizes[contest.gold] == 1)]] = True
    may_stay = sure.copy()
    may_stay[contest.guess[contest.top]] = True
    rows = np.flatnonzero(may_stay)
    place = np.cumsum(may_stay) - 1
    kept, sure = guesses.take(rows), sure[rows]
    near = _near(truth, kept)
    counted = ~(truth.crowd | truth.lost | (truth.areas < AREA_RANGES[0][0]) | (truth.areas > AREA_RANGES[0][1]))
    group, gold_group = _groups(near, len(kept), len(truth))
    total = 1 + int(max(group.max(initial=0), gold_group.max(initial=0)))
    wins = contest.top & may_stay[contest.guess]
    ties_of, gold = np.bincount(place[contest.guess[wins]], minlength=len(rows)), np.zeros(len(rows), dtype=np.int64)
    gold[place[contest.guess[wins]]] = contest.gold[wins]
    plain = np.bincount(gold_group, minlength=total) == 1
    plain[gold_group[~counted]] = False
    plain[group[(ties_of != 1) | (kept.extents > AREA_RANGES[0][1])]] = False
    depends = np.zeros(total, dtype=np.bool_)
    depends[group[~sure]] = True
    own = (kept.label[near.guess] == truth.label[near.gold]) & counted[near.gold]
    finds = np.zeros((len(kept), _LEVELS), dtype=np.bool_)
    np.logical_or.at(finds, near.guess[own], near.iou[own][:, None] >= THRESHOLDS)
    tied = np.append(sizes, 0)[gold]
    return _Table(truth, kept, sure, depends[group], plain[group], gold, tied, finds)


def _groups(near: Edges, guesses: int, golds: int) -> tuple[Ints, Ints]:
    """Numbers of the connected groups that detections and gold boxes belong to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = guesses + golds
    links = coo_array((np.ones(len(near.guess), np.int8), (near.guess, guesses + near.gold)), shape=(nodes, nodes))
    group = np.asarray(cast("Any", connected_components(links, directed=False))[1], dtype=np.int64)
    return group[:guesses], group[guesses:]


def _bound(table: _Table, n_labels: int, max_dets: int, *, best: bool) -> list[float]:
    """`NAMES`, from verdicts that are at least as good, or as bad, as those of any tie-break."""
    found = coco(table.truth, table.guesses, max(1, len(table.guesses)))
    right, wrong = _verdicts(table, best=best)
    right, wrong = right[found.row], wrong[found.row]
    exact = ~table.open[found.row]
    hits, ignored = ((np.asarray(word)[:, None] & _WORDS) != 0 for word in (found.hits, found.ignored))
    right[exact], wrong[exact] = hits[exact], (~hits & ~ignored)[exact]
    # Other ties of the image decide who is among the first `max_dets`: the rank is known only within these two.
    surely, perhaps = found.rank < max_dets, _least_rank(found.label, found.image, found.rank, table.sure[found.row])
    in_time = (perhaps < max_dets, surely) if best else (surely, perhaps < max_dets)
    right, wrong = right & in_time[0][:, None], wrong & in_time[1][:, None]
    judged = replace(found, hits=right @ _WORDS, ignored=~(right | wrong) @ _WORDS)
    numbers = twelve(curves(judged, n_labels))
    return [numbers[name] for name in NAMES]


def _verdicts(table: _Table, *, best: bool) -> tuple[Bools, Bools]:
    """True and false positives, (n, 10) each, of the open rows: the argument is that of `bounds`."""
    right = table.finds if best else np.zeros_like(table.finds)
    wrong = np.zeros_like(table.finds) if best else np.ones_like(table.finds)
    rows = np.flatnonzero(table.plain)
    label, gold = table.guesses.label[rows], table.gold[rows]
    order = np.lexsort((rows, label, gold))
    rows, label, gold = rows[order], label[order], gold[order]
    new = np.diff(gold, prepend=-1).astype(np.bool_) | np.diff(label, prepend=-1).astype(np.bool_)
    starts = np.flatnonzero(new)
    sizes = np.diff(starts, append=len(rows))
    at_end = np.append(new[1:], True)[: len(rows), None]
    chosen = table.finds[rows] if best else ~table.finds[rows]
    count = np.cumsum(chosen, axis=0)
    before = (count - chosen)[starts].repeat(sizes, axis=0)
    first = chosen & (count - before == 1)
    whole = (sizes == table.tied[rows[starts]]).repeat(sizes)[:, None]
    none = (np.add.reduceat(chosen, starts, axis=0) == 0).repeat(sizes, axis=0) if len(rows) else chosen
    last_resort = at_end & whole & none
    right, wrong = right.copy(), wrong.copy()
    right[rows], wrong[rows] = (first, last_resort) if best else (last_resort, first)
    return right, wrong


def _least_rank(label: Ints, image: Ints, rank: Ints, sure: Bools) -> Ints:
    """How many of its image and class stand above each row in every tie-break."""
    order = np.lexsort((rank, image, label))
    above = np.cumsum(sure[order]) - sure[order]
    starts = np.flatnonzero(rank[order] == 0)
    least = np.empty(len(rank), dtype=np.int64)
    least[order] = above - above[starts].repeat(np.diff(starts, append=len(order)))
    return least
