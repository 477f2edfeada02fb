"""Matching of boxes: single images against naive search, columns against a dense IoU; COCO's rule is in test_ap."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vr1bench import assignment, match
from vr1bench.boxes import iou
from vr1bench.match import Guesses, Truth

corner = st.integers(0, 6)
side = st.integers(0, 6)
xyxy = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
box_lists = st.lists(xyxy, max_size=5).map(lambda rows: np.array(rows, dtype=np.float64).reshape(-1, 4))
names = st.lists(st.sampled_from(["cat", "dog"]), min_size=5, max_size=5).map(np.array)


@given(box_lists, box_lists)
def test_hungarian_has_the_largest_sum(a: np.ndarray, b: np.ndarray) -> None:
    found = assignment.hungarian(a, b)
    overlaps = iou(a, b) if len(a) <= len(b) else iou(a, b).T
    rows = range(len(overlaps))
    best = max(
        sum(overlaps[i, j] for i, j in zip(rows, p, strict=False)) for p in permutations(range(overlaps.shape[1]))
    )
    assert found.iou.sum() == pytest.approx(best, abs=1e-12)
    assert len(set(found.a.tolist())) == len(set(found.b.tolist())) == len(found)
    np.testing.assert_array_equal(found.iou, iou(a, b)[found.a, found.b])


@given(box_lists, box_lists, names, names, st.sampled_from([0.0, 0.3, 0.5]))
def test_greedy_is_the_naive_loop(a: np.ndarray, b: np.ndarray, of_a: Any, of_b: Any, floor: float) -> None:
    found = assignment.greedy(a, b, of_a[: len(a)], of_b[: len(b)], floor=floor)
    overlaps = iou(a, b) * (of_a[: len(a), None] == of_b[None, : len(b)])
    expected: list[tuple[int, int, float]] = []
    while overlaps.size and overlaps.max() > 0 and overlaps.max() >= floor:
        i, j = divmod(int(overlaps.argmax()), overlaps.shape[1])
        expected.append((i, j, float(overlaps[i, j])))
        overlaps[i], overlaps[:, j] = 0, 0
    assert list(zip(found.a.tolist(), found.b.tolist(), found.iou.tolist(), strict=True)) == expected


def test_greedy_and_hungarian_differ_where_they_should() -> None:
    # The best pair first leaves a poor one; the best sum takes two good ones.
    a = np.array([[0.0, 0, 10, 10], [4.0, 0, 14, 10]])
    b = np.array([[3.0, 0, 13, 10], [6.0, 0, 16, 10]])
    assert assignment.greedy(a, b).a.tolist() == [1, 0]
    assert assignment.hungarian(a, b).b.tolist() == [0, 1]
    assert assignment.hungarian(a, b, floor=0.6).a.tolist() == [1]


def test_labels_forbid_pairs() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    cat, dog = np.array(["cat"]), np.array(["dog"])
    for matcher in (assignment.hungarian, assignment.greedy):
        assert len(matcher(box, box, cat, dog)) == 0
        assert len(matcher(box, box, cat, cat)) == len(matcher(box, box)) == 1
        assert len(matcher(box, np.empty((0, 4)))) == len(matcher(np.empty((0, 4)), box)) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_one_to_one_walks_down_the_list(pairs: list[tuple[int, int]]) -> None:
    taken_a, taken_b, expected = set[int](), set[int](), list[int]()
    for place, (i, j) in enumerate(pairs):
        if i not in taken_a and j not in taken_b:
            expected.append(place)
            taken_a.add(i)
            taken_b.add(j)
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    assert assignment.one_to_one(columns[:, 0], columns[:, 1]).tolist() == expected


@pytest.mark.parametrize("bound", [4, 2**40])
def test_sorted_rows_is_a_stable_sort(bound: int) -> None:
    # The large bound does not fit one word and takes the other way.
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    got = match.sorted_rows((first, bound), (second, bound))
    np.testing.assert_array_equal(got, np.lexsort((np.arange(500), second, first)))
    assert match.sorted_rows((first[:0], 1), (second[:0], 1)).tolist() == []
    assert match.sorted_rows((first[:1], 4)).tolist() == [0]


def test_tiers() -> None:
    assert match.tiers(np.array([0.5, 0.9, 0.5, -0.0, 0.0])).tolist() == [1, 0, 1, 2, 2]
    assert match.tiers(np.empty(0)).tolist() == []


def crowded(count: int, guesses: int) -> tuple[Truth, Guesses]:
    """One image and class full of boxes."""
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 30, (count, 4)).astype(np.float64)
    gold[:, 2:] += gold[:, :2]
    boxes = gold[rng.integers(0, count, guesses)] + rng.integers(-1, 2, (guesses, 4))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    size = np.prod(gold[:, 2:] - gold[:, :2], axis=1), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    zeros, none = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    truth = Truth(zeros, zeros, gold, none, size[0], size[0], none)
    ours = np.zeros(guesses, np.int64)
    return truth, Guesses(ours, ours, boxes, np.ones(guesses), size[1])


def test_edges_are_all_close_pairs_however_many() -> None:
    truth, guesses = crowded(1500, 100)  # 150,000 pairs: more than are computed at a time
    found = match.edges(truth, guesses)
    overlaps = iou(guesses.boxes, truth.boxes)
    assert (found.guess.tolist(), found.gold.tolist()) == tuple(axis.tolist() for axis in np.nonzero(overlaps >= 0.5))
    np.testing.assert_array_equal(found.iou, overlaps[found.guess, found.gold])


def test_matches_of_equal_overlap_take_the_last_gold() -> None:
    same = np.array([[0.0, 0, 10, 10]] * 2)
    zeros, none = np.zeros(2, np.int64), np.zeros(2, np.bool_)
    truth = Truth(zeros, zeros, same, none, np.full(2, 100.0), np.full(2, 100.0), np.array([False, True]))
    guesses = Guesses(zeros[:1], zeros[:1], same[:1], np.ones(1), np.full(1, 100.0))
    # The last box is the lost one: had the first been taken, this would be a hit.
    assert match.coco(truth, guesses).hits.tolist() == [0]


def test_columns_of_different_lengths_are_refused() -> None:
    truth, guesses = crowded(3, 2)
    with pytest.raises(ValueError, match="different lengths"):
        Truth(truth.image, truth.label, truth.boxes, truth.crowd, truth.areas, truth.extents, truth.lost[:1])
    with pytest.raises(ValueError, match="different lengths"):
        Guesses(guesses.image, guesses.label, guesses.boxes, guesses.scores[:1], guesses.extents)
