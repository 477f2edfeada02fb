"""Points: in the box or not, each box found once."""

from pathlib import Path

import numpy as np
import pytest

import vr1bench
from vr1bench.metrics.pointing import inside, point_counts, pointed
from vr1bench.types import Gold, Pair, Sample


def pair(text, boxes, labels, crowd=None, queries=("dog", "cat")):
    gold = Gold.of(boxes, labels)
    if crowd:
        gold = Gold(gold.boxes, gold.labels, np.array(crowd), gold.areas, gold.extents, gold.ids)
    prediction = None if text is None else vr1bench.parse(text, family="molmo", size=(100, 100), queries=queries)
    return Pair(Sample("1", (Path("x.png"),), 100, 100, queries, gold), prediction)


def points(*rows):
    return " ".join(f'<point x="{x}" y="{y}" alt="{label}">{label}</point>' for x, y, label in rows)


def test_edges_are_inside():
    box = np.array([[10.0, 20.0, 30.0, 40.0]])
    corners = np.array([[10.0, 20.0], [30.0, 40.0], [30.1, 40.0], [9.9, 20.0], [20.0, 19.9], [20.0, 40.1]])
    assert inside(corners, box)[:, 0].tolist() == [True, True, False, False, False, False]
    assert inside(np.empty((0, 2)), box).shape == (0, 1)


def test_the_first_point_counts_or_the_last():
    two = pair(points((20, 20, "dog"), (80, 80, "dog")), [[10, 10, 30, 30]], ["dog"], queries=("dog",))
    nothing = pair("There are none.", [[10, 10, 30, 30]], ["dog"], queries=("dog",))
    unasked = pair(None, [[10, 10, 30, 30]], ["dog"])
    assert pointed([two, nothing, unasked]).tolist() == [True, False, False]
    assert pointed([two], last=True).tolist() == [False]
    assert len(pointed([])) == 0


@pytest.mark.parametrize(
    ("text", "crowd", "expected"),
    [
        (points((20, 20, "dog"), (80, 80, "cat")), None, (2, 2, 2)),
        (points((20, 20, "dog"), (21, 21, "dog")), None, (1, 2, 2)),  # one box is found once
        (points((20, 20, "cat"), (80, 80, "dog")), None, (0, 2, 2)),  # right places, wrong names
        (points((20, 20, "cow")), None, (0, 1, 2)),
        (points((80, 80, "cat"), (81, 81, "cat")), [False, True], (0, 0, 1)),  # in a crowd: excused
        ("There are none.", None, (0, 0, 2)),
        (None, None, (0, 0, 2)),
    ],
)
def test_counts(text, crowd, expected):
    found = point_counts([pair(text, [[10, 10, 30, 30], [70, 70, 90, 90]], ["dog", "cat"], crowd)])
    assert tuple(int(column[0]) for column in (found.right, found.guessed, found.gold)) == expected


def test_as_many_as_can_be_matched():
    nested = [[0, 0, 100, 100], [40, 40, 60, 60]]  # greedy would give the inner point the outer box
    found = point_counts([pair(points((50, 50, "dog"), (10, 10, "dog")), nested, ["dog", "dog"])])
    assert found.f1 == 1.0


def test_no_samples_are_no_counts():
    assert point_counts([]).f1 == 0.0
