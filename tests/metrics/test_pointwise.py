"""Metrics without ranking."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vr1bench.assignment import greedy
from vr1bench.metrics import pointwise
from vr1bench.types import Detections, Gold, Pair, Prediction, Sample, Status

BOX, HALF, FAR = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [50.0, 50.0, 60.0, 60.0]


def pair(gold: Gold, boxes: Any = None, labels: Any = ()) -> Pair:
    sample = Sample("s", (Path("s.jpg"),), 100, 100, ("cat", "dog"), gold)
    if boxes is None:
        return Pair(sample, None)
    flags = np.zeros(len(boxes), dtype=np.bool_)
    return Pair(sample, Prediction("", Detections.of(boxes, labels), flags, flags, Status.OK))


def crowd(gold: Gold, flags: list[bool]) -> Gold:
    return Gold(gold.boxes, gold.labels, np.array(flags), gold.areas, gold.extents, gold.ids)


def numbers(counts: pointwise.Counts) -> tuple[list[int], list[int], list[int]]:
    return counts.right.tolist(), counts.guessed.tolist(), counts.gold.tolist()


def test_referring_ious_take_the_first_box_and_0_where_one_is_missing() -> None:
    gold = Gold.of([BOX], ["cat"])
    pairs = [
        pair(gold, [BOX], ["cat"]),
        pair(gold, [HALF, BOX], ["cat", "cat"]),
        pair(gold, [], []),
        pair(gold),
        pair(Gold.of([], []), [BOX], ["cat"]),
        pair(Gold.of([FAR, BOX], ["cat", "cat"]), [HALF], ["cat"]),
    ]
    ious = pointwise.referring_ious(pairs)
    assert ious.tolist() == [1, 0.5, 0, 0, 0, 0.5]
    assert pointwise.mean_iou(ious) == pytest.approx(2 / 6)


def test_referring_ious_by_another_rule() -> None:
    pairs = [pair(Gold.of([BOX], ["cat"]), [HALF], ["cat"])]
    assert pointwise.referring_ious(pairs, lambda a, b: np.full((len(a), len(b)), 0.25)).tolist() == [0.25]


def test_accuracy_at_and_above_the_threshold() -> None:
    ious = np.array([0.0, 0.5, 0.75, 1.0])
    assert pointwise.accuracy(ious) == 0.75
    assert pointwise.accuracy(ious, strict=True) == 0.5
    assert pointwise.accuracy(ious, 0.75) == 0.5
    assert pointwise.accuracy(np.empty(0)) == pointwise.mean_iou(np.empty(0)) == 0


def test_detection_counts() -> None:
    gold = Gold.of([BOX, FAR], ["cat", "dog"])
    counts = pointwise.detection_counts([
        pair(gold, [BOX, FAR], ["cat", "cat"]),  # the second has the wrong class
        pair(gold, [HALF, BOX, BOX], ["cat", "cat", "unicorn"]),  # a worse repeat; a label that nobody asked
        pair(gold),
        pair(Gold.of([], []), [], []),
    ])  # fmt: skip
    assert numbers(counts) == ([1, 1, 0, 0], [2, 3, 0, 0], [2, 2, 2, 0])
    assert (counts.precision, counts.recall, counts.f1) == (2 / 5, 2 / 6, 4 / 11)


def test_detection_counts_reach_the_threshold() -> None:
    pairs = [pair(Gold.of([BOX], ["cat"]), [HALF], ["cat"])]
    assert numbers(pointwise.detection_counts(pairs)) == ([1], [1], [1])
    assert numbers(pointwise.detection_counts(pairs, 0.51)) == ([0], [1], [1])


def test_what_falls_to_a_crowd_counts_neither_way() -> None:
    gold = crowd(Gold.of([BOX, BOX, FAR], ["cat", "cat", "dog"]), [True, False, True])
    counts = pointwise.detection_counts([pair(gold, [HALF, BOX, BOX, FAR], ["cat", "cat", "cat", "cat"])])
    # One of the cats finds the single cat, the others lie in the crowd; the crowd of dogs excuses no cat.
    assert numbers(counts) == ([1], [2], [1])


def test_nothing_at_all_scores_zero() -> None:
    for counts in (pointwise.detection_counts([]), pointwise.greedy_counts([pair(Gold.of([], []))])):
        assert (counts.precision, counts.recall, counts.f1) == (0, 0, 0)


def test_greedy_counts_lose_both_boxes_to_a_wrong_label() -> None:
    gold = Gold.of([BOX], ["cat"])
    better_but_wrong = [pair(gold, [HALF, BOX], ["cat", "dog"])]
    assert numbers(pointwise.greedy_counts(better_but_wrong)) == ([0], [2], [1])
    assert numbers(pointwise.detection_counts(better_but_wrong)) == ([1], [2], [1])
    assert numbers(pointwise.greedy_counts([pair(gold, [HALF, BOX], ["cat", "unicorn"])])) == ([0], [2], [1])
    # Among equal boxes the right label goes first, wherever it stands.
    assert numbers(pointwise.greedy_counts([pair(gold, [BOX, BOX], ["dog", "cat"])])) == ([1], [2], [1])


def test_equal_overlaps_are_settled_by_corners() -> None:
    # A chain of boxes three pixels apart: all three overlaps are 7 / 13, and the middle pair would block the others.
    chain = {x: [float(x), 0.0, x + 10.0, 10.0] for x in (0, 3, 6, 9)}
    gold = Gold.of([chain[3], chain[9]], ["cat", "cat"])
    for order in ((0, 6), (6, 0)):
        pairs = [pair(gold, [chain[x] for x in order], ["cat", "cat"])]
        for metric in (pointwise.detection_counts, pointwise.greedy_counts):
            assert numbers(metric(pairs)) == ([2], [2], [2])


side = st.sampled_from([0, 1, 4, 5, 6])
grid = st.tuples(st.integers(0, 2), st.integers(0, 2), side, side)
rows = st.lists(
    st.tuples(grid.map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])), st.sampled_from("ab")), max_size=7
)


def of(answers: list[Any], gold: list[Any], keep: slice = slice(None)) -> Pair:
    boxes, names = [row[0] for row in answers][keep], [row[1] for row in answers][keep]
    return pair(Gold.of([row[0] for row in gold], [row[1] for row in gold]), boxes, names)


@settings(deadline=None)
@given(st.lists(st.tuples(rows, rows), min_size=1, max_size=3))
def test_order_of_boxes_does_not_matter(images: list[tuple[list[Any], list[Any]]]) -> None:
    forth = [of(answers, gold) for answers, gold in images]
    back = [of(answers[::-1], gold[::-1]) for answers, gold in images]
    for metric in (pointwise.detection_counts, pointwise.greedy_counts):
        assert numbers(metric(forth)) == numbers(metric(back))


@settings(deadline=None)
@given(rows, rows)
def test_columns_match_as_single_images_do(answers: list[Any], gold: list[Any]) -> None:
    answers, gold = sorted(answers), sorted(gold)  # the order in which ties are settled
    one = of(answers, gold)
    assert one.prediction is not None
    found, truth = one.prediction.detections, one.sample.gold
    alone = greedy(found.boxes, truth.boxes, found.labels, truth.labels, floor=0.5)
    assert pointwise.detection_counts([one]).right.tolist() == [len(alone)]
