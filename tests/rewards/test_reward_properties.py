"""What holds for every reward, on any answer."""

import json

import pytest
from answering import NAMES, read, said, sample, spelled, thought
from hypothesis import given
from hypothesis import strategies as st

from vr1bench.metrics.pointwise import referring_ious
from vr1bench.rewards import REWARDS, CosineLength, at
from vr1bench.types import Pair

NUMBER = st.integers(0, 20)
CORNERS = st.tuples(NUMBER, NUMBER, st.integers(1, 20), st.integers(1, 20)).map(
    lambda v: [v[0], v[1], v[0] + v[2], v[1] + v[3]]
)
ROWS = st.lists(st.tuples(CORNERS, st.sampled_from((*NAMES, "zebra"))), max_size=7)
GOLD = st.lists(st.tuples(CORNERS, st.sampled_from(NAMES)), max_size=7)
STRICT = ("vision-r1-strict", "vlm-r1-od-length-strict")
THREE = {name for name in REWARDS if name.startswith("vision-r1") and name.rsplit("-", 1)[1] not in (
    "format", "recall", "precision", "count",
)}  # fmt: skip
PIECES = (
    *("<think>", "</think>", "<answer>", "</answer>", "```json", "```", "[]", "{", "None", "NaN", "&", "\n", ","),
    *(
        '[{"bbox_2d": [1, 2, 30, 40]',
        ', "label": "dog"}',
        "]",
        "[1, 2, 3, 4]",
        "dog-[0.100,0.200,0.300,0.400]",
        "1e999",
    ),
)
KEYS = st.sampled_from(("bbox_2d", "label"))
JSON = st.recursive(
    st.none() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)
SPELLED = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    JSON.map(json.dumps),
    ROWS.map(spelled),
    ROWS.map(spelled).map(thought),
)


def _gold(rows: list):
    return sample([box for box, _ in rows], [label for _, label in rows])


@given(rows=GOLD, text=SPELLED, progress=st.floats(0, 1))
def test_bounds_on_any_text(rows: list, text: str, progress: float) -> None:
    prediction = read(text)
    for name in REWARDS:
        low, high = (-1, 0) if name == "repetition" else (0, 3 if name in THREE else 1)
        value = at(REWARDS[name], progress)(_gold(rows), prediction)
        assert type(value) is float or isinstance(value, float), name
        assert low - 1e-12 <= value <= high + 1e-12, name
    assert -0.5 <= CosineLength(len, REWARDS["vlm-r1-ap"], longest=20)(_gold(rows), prediction) <= 1


@given(rows=GOLD, found=ROWS, seed=st.randoms(use_true_random=False), progress=st.sampled_from((0.0, 1.0)))
def test_strict_rewards_know_no_order(rows: list, found: list, seed, progress: float) -> None:
    other, gold = seed.sample(found, len(found)), seed.sample(rows, len(rows))
    for name in STRICT:
        reward = at(REWARDS[name], progress)
        assert reward(_gold(rows), said(found)) == reward(_gold(gold), said(other)), name


@given(rows=GOLD, found=ROWS, place=st.integers(0, 7), label=st.sampled_from((*NAMES, "zebra")), corners=CORNERS)
def test_a_false_box_raises_no_strict_reward(rows: list, found: list, place: int, label: str, corners: list) -> None:
    """False: no gold box of its label with an IoU of 0.5; some overlap with less, or lie on gold of another label."""
    truth = _gold([row for row in rows if row[1] == label])
    if label in NAMES and len(truth.gold) and referring_ious([Pair(truth, said([(corners, label)]))])[0] >= 0.5:
        corners = [100 + corners[0], 100 + corners[1], 100 + corners[2], 100 + corners[3]]
    more = [*found[:place], (corners, label), *found[place:]]
    for name in STRICT:
        assert REWARDS[name](_gold(rows), said(more)) <= REWARDS[name](_gold(rows), said(found)), name


@given(rows=st.lists(st.tuples(CORNERS, st.sampled_from(NAMES)), min_size=1, max_size=7, unique_by=str))
def test_a_perfect_answer_earns_the_maximum(rows: list) -> None:
    gold, answer = _gold(rows), read(thought(spelled(rows)))
    for name in REWARDS:
        if name.startswith("visual-rft") and len({str(box) for box, _ in rows}) < len(rows):
            continue  # it knows no labels, and takes the same box twice for one
        if name.startswith("vlm-r1-weighted") and len({str(box) for box, _ in rows}) < len(rows):
            continue  # two labels of one box: the pair of the first may be the wrong one
        if name in ("vlm-r1-rec", "vlm-r1-rec-as-published") or "as-published" in name or "griffon" in name:
            continue  # one box; other holes
        expected = 0 if name == "repetition" else 3 if name in THREE else 1
        assert REWARDS[name](gold, answer) == pytest.approx(expected), name


@given(rows=GOLD.filter(bool), found=ROWS)
def test_the_same_completion_has_the_same_iou_in_evaluation_and_reward(rows: list, found: list) -> None:
    prediction = said(found)
    assert REWARDS["vlm-r1-rec"](_gold(rows), prediction) == referring_ious([Pair(_gold(rows), prediction)])[0]
    one = _gold(rows[:1])
    single = said(found[:1])
    value = referring_ious([Pair(one, single)])[0]
    expected = 0.0 if value < 0.5 else 1.0 if value >= 0.75 else value
    assert REWARDS["vision-r1-precision"](one, single) == expected
    assert REWARDS["visual-rft-iou"](one, single) == (value if value > 0.5 else 0.0)
