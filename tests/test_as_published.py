"""VLM-R1's overlap against its own rule, written again by hand; and the protocols that use it."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vr1bench.as_published import vlm_r1_iou
from vr1bench.boxes import iou
from vr1bench.protocol import protocols

NUMBER = st.one_of(st.integers(0, 40).map(float), st.floats(0, 40))
BOX = st.tuples(NUMBER, NUMBER, NUMBER, NUMBER).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)


def published(a, b):
    """om-ai-lab/VLM-R1@90052f4, src/eval/test_rec_r1.py: corners of the overlap one short, sides one longer."""
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right, bottom = min(a[2] - 1, b[2] - 1), min(a[3] - 1, b[3] - 1)
    inter = (right - left + 1) * (bottom - top + 1) if left < right and top < bottom else 0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if inter else 0.0


@given(first=st.lists(BOX, min_size=1, max_size=4), second=st.lists(BOX, min_size=1, max_size=4))
def test_it_is_the_published_overlap(first, second):
    expected = [[published(a, b) for b in second] for a in first]
    np.testing.assert_allclose(vlm_r1_iou(np.array(first), np.array(second)), expected, rtol=1e-12, atol=1e-12)


def test_where_it_differs_from_the_plain_one():
    unit, pixel, larger = np.array([[0.0, 0, 1, 1]]), np.array([[5.0, 5, 6, 6]]), np.array([[0.0, 0, 10, 10]])
    assert vlm_r1_iou(unit, unit) == vlm_r1_iou(pixel, pixel) == 0.0
    assert vlm_r1_iou(larger, larger) == iou(larger, larger) == 1.0
    touching = np.array([[9.0, 0, 19, 10]])  # one column in common
    assert vlm_r1_iou(larger, touching) == 0.0
    assert iou(larger, touching) > 0.0


def test_vlm_r1_scores_the_first_2000_of_its_shuffle():
    rows = list(range(10_834))
    random.seed(42)
    random.shuffle(rows)
    assert protocols()["vlm-r1"].at("refcoco").order(10_834) == rows[:2000]
    assert protocols()["vlm-r1"].at("ovdeval/logo").order(10_834) == range(10_834)
    assert protocols()["standard"].order(10_834) == range(10_834)
    assert len(protocols()["vlm-r1"].at("lisa").order(1658)) == 1658


def test_a_protocol_differs_by_benchmark():
    rule = protocols()["vision-r1"]
    assert rule.at("coco").query == "all"
    assert rule.at("odinw/Raccoon").query == "positive"
    assert rule.at("odinw/Raccoon").name == "vision-r1"
    assert not rule.at("coco").on
