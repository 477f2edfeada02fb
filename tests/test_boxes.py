"""Box arithmetic: bounds, symmetry, and bit equality with pycocotools' IoU."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from vr1bench import boxes

sides = st.floats(0, 1000, allow_nan=False, width=32)
xywh_rows = st.lists(st.tuples(sides, sides, sides, sides), min_size=1, max_size=6)


def corners(xywh: np.ndarray) -> np.ndarray:
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


@given(xywh_rows, xywh_rows, st.lists(st.booleans(), min_size=6, max_size=6))
def test_iou_is_pycocotools_iou_to_the_bit(some: list[Any], others: list[Any], flags: list[bool]) -> None:
    a, b = np.array(some, dtype=np.float64), np.array(others, dtype=np.float64)
    crowd = np.array(flags[: len(b)])
    expected = mask.iou(a, b, crowd.astype(np.uint8))
    i, j = np.indices((len(a), len(b))).reshape(2, -1)
    got = boxes.iou_aligned(corners(a)[i], corners(b)[j], a[i, 2] * a[i, 3], b[j, 2] * b[j, 3], crowd[j])
    tiny = np.reshape(boxes.overlap(corners(a)[i], corners(b)[j]) == 0, (len(a), len(b)))
    # Where the product of two denormal sides is 0, pycocotools divides 0 by 0.
    np.testing.assert_array_equal(np.where(tiny, 0, expected), got.reshape(len(a), len(b)))


@given(xywh_rows, xywh_rows)
def test_iou_is_symmetric_and_in_bounds(some: list[Any], others: list[Any]) -> None:
    a, b = corners(np.array(some, dtype=np.float64)), corners(np.array(others, dtype=np.float64))
    forth, back = boxes.iou(a, b), boxes.iou(b, a)
    np.testing.assert_allclose(forth, back.T, rtol=1e-12)
    assert ((forth >= 0) & (forth <= 1 + 1e-12)).all()


def test_iou_by_hand() -> None:
    a = np.array([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 5.0, 5.0]])
    b = np.array([[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [10.0, 0.0, 20.0, 10.0], [5.0, 5.0, 5.0, 5.0]])
    np.testing.assert_array_equal(boxes.iou(a, b), [[1, 50 / 150, 0, 0], [0, 0, 0, 0]])
    apart = np.array([[2.0, 20.0, 8.0, 30.0], [20.0, 20.0, 30.0, 30.0]])
    np.testing.assert_array_equal(boxes.overlap(a[:1, None], np.concatenate([b, apart])), [[100, 50, 0, 0, 0, 0]])


def test_iou_against_a_crowd_divides_by_the_prediction_alone() -> None:
    a, b = np.array([[0.0, 0.0, 10.0, 10.0]]), np.array([[5.0, 0.0, 100.0, 100.0]])
    assert boxes.iou_aligned(a, b, boxes.area(a), boxes.area(b), np.array([True])) == [0.5]


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_iou_of_nothing_is_empty(n: int, m: int) -> None:
    assert boxes.iou(np.zeros((n, 4)), np.zeros((m, 4))).shape == (n, m)


def test_clip_and_rescale() -> None:
    box = np.array([[-5.0, 10.0, 700.0, 500.0]])
    np.testing.assert_array_equal(boxes.clip(box, 640, 480), [[0, 10, 640, 480]])
    np.testing.assert_array_equal(boxes.rescale(box, (100, 50), (200, 150)), [[-10, 30, 1400, 1500]])


@given(xywh_rows, st.integers(1, 5000), st.integers(1, 5000))
def test_rescale_comes_back(some: list[Any], width: int, height: int) -> None:
    box = corners(np.array(some, dtype=np.float64))
    there = boxes.rescale(box, (width, height), (1000, 1000))
    np.testing.assert_allclose(boxes.rescale(there, (1000, 1000), (width, height)), box, rtol=1e-12)
