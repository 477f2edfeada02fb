"""Metrics that need no ranking: referring accuracy, F1 and greedy precision and recall.

They do not depend on the order of boxes or images, so ties cannot move them. Whatever a protocol drops (repeats,
unknown labels, all but the first box) is dropped before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vr1bench import boxes, match
from vr1bench.assignment import one_to_one
from vr1bench.match import Guesses, Truth
from vr1bench.metrics.columns import Columns, columns
from vr1bench.types import Bools, Floats, Ints, Pair


def referring_ious(pairs: Sequence[Pair], overlaps: Callable[[Floats, Floats], Floats] = boxes.iou) -> Floats:
    """IoU of each sample's first predicted box with its gold box, (n,); 0 where either is missing.

    Args:
        pairs: One gold box each; of several the best counts.
        overlaps: (1, 4), (m, 4) -> (1, m); a protocol that reproduces a paper may bring that paper's IoU.
    """
    values = np.zeros(len(pairs))
    for place, pair in enumerate(pairs):
        if pair.prediction is not None and len(pair.prediction.detections) and len(pair.sample.gold):
            values[place] = overlaps(pair.prediction.detections.boxes[:1], pair.sample.gold.boxes).max()
    return values


def accuracy(ious: Floats, threshold: float = 0.5, strict: bool = False) -> float:
    """Share of IoUs that reach the threshold, or with `strict` exceed it (VLM-R1's rule); 0 for none at all."""
    return float(np.mean(ious > threshold if strict else ious >= threshold)) if len(ious) else 0.0


def mean_iou(ious: Floats) -> float:
    """Mean over samples; 0 for none at all."""
    return float(np.mean(ious)) if len(ious) else 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Boxes of each sample; sums over any choice of samples give the micro-averages, which a bootstrap needs.

    Attributes:
        right: (n,) predictions that found their gold.
        guessed: (n,) predictions that count.
        gold: (n,) gold boxes that count.
    """

    right: Ints
    guessed: Ints
    gold: Ints

    @property
    def total(self) -> Counts:
        """The sums over all samples, as counts of one."""
        return Counts(*(np.array([column.sum()]) for column in (self.right, self.guessed, self.gold)))

    @property
    def precision(self) -> float:
        """Right predictions by all; 0 where nothing was predicted."""
        return _share(int(self.right.sum()), int(self.guessed.sum()))

    @property
    def recall(self) -> float:
        """Gold found by all; 0 where there is none."""
        return _share(int(self.right.sum()), int(self.gold.sum()))

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing is right."""
        return _share(2 * int(self.right.sum()), int(self.guessed.sum()) + int(self.gold.sum()))


def summed(parts: Sequence[Counts]) -> Counts:
    """The counts of all parts behind each other; none at all are no samples."""
    empty = np.empty(0, np.int64)
    columns = ([part.right for part in parts], [part.guessed for part in parts], [part.gold for part in parts])
    return Counts(*(np.concatenate([empty, *column]) for column in columns))


def detection_counts(pairs: Sequence[Pair], threshold: float = 0.5) -> Counts:
    """Counts for F1: within an image and class, pairs are taken from the largest IoU down, one to one.

    A label that the benchmark does not have is a wrong prediction. A prediction without gold of its own that lies in a
    crowd of its class (COCO's crowd overlap, at the same threshold) counts neither way; crowds are no gold.

    Args:
        pairs: All samples.
        threshold: IoU that a match must reach, from 0.5 to 1.
    """
    found = columns(pairs)
    truth, guesses = _canonical(found.truth, found.guesses)
    edges = match.edges(truth, guesses)
    crowd = truth.crowd[edges.gold]
    close = edges.iou >= threshold
    plain = np.flatnonzero(close & ~crowd)
    plain = plain[np.argsort(-edges.iou[plain], kind="stable")]
    plain = plain[one_to_one(edges.guess[plain], edges.gold[plain])]
    right = _marked(edges.guess[plain], len(guesses))
    excused = _marked(edges.guess[close & crowd], len(guesses)) & ~right
    return Counts(
        _per_image(guesses.image[right], found),
        _per_image(guesses.image[~excused], found) + _per_image(found.strays.image, found),
        _per_image(truth.image[~truth.crowd], found),
    )


def greedy_counts(pairs: Sequence[Pair], threshold: float = 0.5) -> Counts:
    """Counts for VLM-R1's "greedy precision" and "greedy recall", a documented reconstruction.

    The paper (arXiv 2504.07615, section 5.2) and its posts give the numbers and no code. The nearest definition in the
    authors' repository is the matching of the reward `detection_score` (commit 90052f4, grpo_jsonl.py:431-563), taken
    over here: within an image the pair with the largest IoU over ALL labels is taken, again and again while it
    reaches the threshold, and a pair with different labels uses up both boxes for nothing. The sums run over the
    whole data set; whether the authors averaged over images is not known. Among equal IoUs a pair with equal labels
    goes first, so that the order of boxes does not matter. Crowds are ordinary gold, as that code knows none.

    Args:
        pairs: All samples.
        threshold: IoU that a pair must reach, from 0.5 to 1.
    """
    found = columns(pairs)
    truth, guesses = _canonical(found.truth, found.answers, all_labels=True)
    edges = match.edges(_unlabelled(truth), replace(guesses, label=np.zeros_like(guesses.label)))
    equal = truth.label[edges.gold] == guesses.label[edges.guess]
    close = np.flatnonzero(edges.iou >= threshold)
    close = close[np.lexsort((~equal[close], -edges.iou[close]))]
    close = close[one_to_one(edges.guess[close], edges.gold[close])]
    right = guesses.image[edges.guess[close[equal[close]]]]
    return Counts(_per_image(right, found), _per_image(guesses.image, found), _per_image(truth.image, found))


def _canonical(truth: Truth, guesses: Guesses, all_labels: bool = False) -> tuple[Truth, Guesses]:
    """Both sorted by class, image and corners (with `all_labels` by image, corners and class): order plays no part."""
    return truth.take(_order(truth, all_labels)), guesses.take(_order(guesses, all_labels))


def _order(rows: Truth | Guesses, all_labels: bool) -> Ints:
    corners = tuple(rows.boxes.T[::-1])
    keys = (rows.label, *corners, rows.image) if all_labels else (*corners, rows.image, rows.label)
    return np.lexsort(keys)


def _unlabelled(truth: Truth) -> Truth:
    nothing = np.zeros(len(truth), dtype=np.bool_)
    return replace(truth, label=np.zeros_like(truth.label), crowd=nothing)


def _marked(rows: Ints, count: int) -> Bools:
    marks = np.zeros(count, dtype=np.bool_)
    marks[rows] = True
    return marks


def _per_image(image: Ints, found: Columns) -> Ints:
    return np.bincount(image, minlength=found.images)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
