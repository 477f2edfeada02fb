"""VLM-R1's rewards: the table of what its code pays, and where ours differ."""

import re

import numpy as np
import pytest
from answering import NAMES, read, said, sample, spelled, thought
from hypothesis import given
from hypothesis import strategies as st

from vr1bench.match import Guesses, Truth
from vr1bench.metrics.ap import ap
from vr1bench.rewards import REWARDS, CosineLength
from vr1bench.rewards.image_ap import image_ap
from vr1bench.rewards.templates import tagged, tagged_box
from vr1bench.types import Detections, Gold

BOX = [10, 10, 110, 110]
SAMPLE = sample([BOX])
RIGHT, WRONG = (BOX, "dog"), ([200, 200, 300, 300], "dog")
STRAYS = [([3 * i, 200, 3 * i + 50, 260], "cat") for i in range(50)]


@pytest.mark.parametrize(
    ("rows", "ap", "length", "weighted", "strict"),
    [
        ([RIGHT], 1.0, 1.0, 1.0, 1.0),
        ([RIGHT, *STRAYS], 1.0, 0.020, 0.853, 0.0004),
        ([RIGHT] * 4, 1.0, 0.25, 0.888, 0.0625),
        ([WRONG, RIGHT], 0.5, 0.25, 0.925, 0.25),
        ([RIGHT, WRONG], 1.0, 0.5, 0.925, 0.25),  # the order of the same boxes
    ],
)
def test_what_the_released_code_pays(rows: list, ap: float, length: float, weighted: float, strict: float) -> None:
    answer = read(thought(spelled(rows)))
    for name in ("vlm-r1-ap", "vlm-r1-ap50", "vlm-r1-ap-as-published", "vlm-r1-ap50-as-published"):
        assert REWARDS[name](SAMPLE, answer) == pytest.approx(ap)
    for name in ("vlm-r1-od-length", "vlm-r1-od-length-as-published"):
        assert REWARDS[name](SAMPLE, answer) == pytest.approx(length, abs=5e-4)
    assert REWARDS["vlm-r1-weighted-sum"](SAMPLE, answer) == pytest.approx(weighted, abs=6e-4)
    assert REWARDS["vlm-r1-od-length-strict"](SAMPLE, answer) == pytest.approx(strict, abs=5e-5)


@pytest.mark.parametrize(
    ("text", "gold", "ours", "published"),
    [
        (thought("None"), [], 1, 1),
        (thought("There are no dogs."), [], 1, 1),
        (thought("I like dogs"), [], 0, 1),
        ("None", [], 1, 0),
        (spelled([RIGHT]), [BOX], 1, 0),  # without tags
        (thought(spelled([RIGHT]).strip("`").removeprefix("json")), [BOX], 1, 0),  # without a fence
        (thought("None") + f"<answer>{spelled([RIGHT])}</answer>", [BOX], 1, 1),  # the last answer counts
        (thought(spelled([RIGHT])), [], 0, 0),
        (thought("None"), [BOX], 0, 0),
        ("", [BOX], 0, 0),
    ],
)
def test_answers_without_boxes(text: str, gold: list, ours: int, published: int) -> None:
    for name in ("vlm-r1-ap", "vlm-r1-od-length", "vlm-r1-od-length-strict", "vlm-r1-weighted-sum"):
        assert REWARDS[name](sample(gold), read(text)) == ours
    assert REWARDS["vlm-r1-ap-as-published"](sample(gold), read(text)) == published


def test_boxes_of_nan_earn_nothing() -> None:
    text = thought("```json\n[" + ", ".join(['{"bbox_2d": [NaN, NaN, NaN, NaN], "label": "dog"}'] * 5) + "]\n```")
    for name in REWARDS:
        if name.startswith("vlm-r1") and "format" not in name:
            assert REWARDS[name](SAMPLE, read(text)) == 0.0, name
    assert REWARDS["vision-r1-strict"](SAMPLE, read(text)) == 0.0


def test_broken_items_count_as_predicted() -> None:
    text = '[{"bbox_2d": [10, 10, 110, 110], "label": "dog"}, {"bbox_2d": [50, 50, 10, 10], "label": "dog"}]'
    assert REWARDS["vlm-r1-od-length"](SAMPLE, read(text)) == 0.5
    outside = '[{"bbox_2d": [10, 10, 1110, 110], "label": "dog"}]'
    assert REWARDS["vlm-r1-od-length"](sample([[10, 10, 400, 110]]), read(outside)) == 1.0


def test_wrong_labels_use_up_both_boxes() -> None:
    """The cat overlaps best and takes the gold box: nothing is left for the dog."""
    answer = said([(BOX, "cat"), ([10, 10, 110, 100], "dog")])
    assert REWARDS["vlm-r1-weighted-sum"](SAMPLE, answer) == pytest.approx(0.3 * (1 - 0.5 / 2))
    assert REWARDS["vlm-r1-weighted-sum"](SAMPLE, said([([10, 10, 110, 70], "dog")])) == pytest.approx(0.7 * 0.6 + 0.3)
    assert REWARDS["vlm-r1-weighted-sum"](SAMPLE, said([([10, 10, 110, 50], "dog")])) == 0.0


def test_strict_ap_knows_no_order() -> None:
    """The first of two could take either gold box, the second only one: plain, the order decides."""
    first, second = ([55, 0, 155, 100], "dog"), ([21, 0, 121, 100], "dog")
    gold = sample([[50, 0, 150, 100], [80, 0, 180, 100]])
    plain = [REWARDS["vlm-r1-ap50"](gold, said(rows)) for rows in ([first, second], [second, first])]
    assert plain == pytest.approx([51 / 101, 1.0])
    strict = [REWARDS["vlm-r1-od-length-strict"](gold, said(rows)) for rows in ([first, second], [second, first])]
    assert strict[0] == strict[1] > 0
    torn = said([([50, 0, 150, 100], "dog"), ([90, 0, 190, 100], "dog")])  # as near to one as to the other
    boxes = [[20, 0, 120, 100], [80, 0, 180, 100]]
    both = [REWARDS["vlm-r1-od-length-strict"](sample(rows), torn) for rows in (boxes, boxes[::-1])]
    assert both[0] == both[1]


def test_only_the_first_hundred_boxes_count() -> None:
    gold, right, wrong = Gold.of([BOX], ["dog"]), BOX, [200, 200, 300, 300]
    assert image_ap(gold, Detections.of([wrong] * 99 + [right], ["dog"] * 100)) == pytest.approx(0.01)
    assert image_ap(gold, Detections.of([wrong] * 100 + [right], ["dog"] * 101)) == 0.0


NUMBER = st.integers(0, 12)
CORNERS = st.tuples(NUMBER, NUMBER, st.integers(1, 12), st.integers(1, 12)).map(
    lambda v: [v[0], v[1], v[0] + v[2], v[1] + v[3]]
)
ROWS = st.lists(st.tuples(CORNERS, st.sampled_from(NAMES)), max_size=12)


@given(gold=ROWS.filter(bool), found=ROWS, repeats=st.integers(1, 12))
def test_ap_is_that_of_the_evaluation(gold: list, found: list, repeats: int) -> None:
    """Up to 144 boxes, so that the limit of 100 a class shows."""
    found = found * repeats
    truth, guesses = _columns(gold), _columns(found)
    expected = ap(
        Truth(*truth[:3], np.zeros(len(gold), np.bool_), *truth[3:] * 2, np.zeros(len(gold), np.bool_)),
        Guesses(*guesses[:3], np.ones(len(found)), *guesses[3:]),
        len(NAMES),
    ).numbers
    boxes, labels = [box for box, _ in gold], [label for _, label in gold]
    here = Gold.of(boxes, labels), Detections.of([box for box, _ in found], [label for _, label in found])
    assert image_ap(*here) == pytest.approx(expected["AP"], abs=1e-12)
    assert image_ap(*here, thresholds=1) == pytest.approx(expected["AP50"], abs=1e-12)


def _columns(rows: list) -> tuple:
    boxes = np.array([box for box, _ in rows], dtype=np.float64).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.zeros(len(rows), np.int64), np.array([NAMES.index(x) for _, x in rows], np.int64), boxes, areas


@pytest.mark.parametrize(
    ("text", "rec", "rec_published", "tags", "detection"),
    [
        (thought(spelled([RIGHT])), 1, 1, 1, 1),
        (thought("None"), 0, 0, 1, 1),
        (thought('{"bbox_2d": [10, 10, 110, 110]}'), 1, 1, 1, 0),
        (thought("[10, 10, 110, 110]"), 1, 0, 1, 0),
        (thought("[10, 10, 110, 110]{}"), 1, 0, 1, 0),
        (thought(spelled([RIGHT])) + " trailing", 0, 1, 0, 0),
        (spelled([RIGHT]), 0, 0, 0, 0),
        (thought(spelled([([10, 10, 1110, 110], "dog")])), 0, 1, 1, 0),
        (thought("``json\n[]"), 0, 0, 1, 0),
        ("", 0, 0, 0, 0),
    ],
)
def test_formats(text: str, rec: int, rec_published: int, tags: int, detection: int) -> None:
    names = ("vlm-r1-rec-format", "vlm-r1-rec-format-as-published", "format", "vlm-r1-od-format")
    assert [REWARDS[name](SAMPLE, read(text)) for name in names] == [rec, rec_published, tags, detection]


PIECES = (
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    " ",
    "\n",
    "{",
    "}",
    "[1, 2,3, 4]",
    "[1,2]",
    "x",
    "```json",
    "[]",
)


WORDS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


ENDS = st.sampled_from(("", "</answer>"))
BEGINS = st.sampled_from(("", "<think>", "<think>x</think><answer>"))


@given(st.tuples(BEGINS, WORDS, ENDS).map("".join))
def test_patterns_are_those_of_the_released_code(text: str) -> None:
    whole = r"<think>.*?</think>\s*<answer>.*?</answer>"
    boxed = r"<think>.*?</think>\s*<answer>.*?\{.*\[\d+,\s*\d+,\s*\d+,\s*\d+\].*\}.*?</answer>"
    assert tagged(text) == (re.fullmatch(whole, text, re.DOTALL) is not None)
    assert tagged_box(text) == (re.search(boxed, text, re.DOTALL) is not None)


@pytest.mark.parametrize(
    ("text", "paid"),
    [
        (spelled([RIGHT]), 0.0),
        (spelled([RIGHT, RIGHT, RIGHT, WRONG]), -0.5),
        (spelled([RIGHT, (BOX, "cat")]), 0.0),
        ("a b c d e", 0.0),
        ("a b c d e f a b c d e f", -1 / 7),  # 7 runs of six, the first and the last alike
        ("no " * 100, -94 / 95),
        ("", 0.0),
    ],
)
def test_repetition(text: str, paid: float) -> None:
    assert REWARDS["repetition"](SAMPLE, read(text)) == pytest.approx(paid)


@pytest.mark.parametrize(
    ("tokens", "ours", "published", "wrong"),
    [(0, 1.0, 1.0, -0.5), (512, 0.75, 0.75, -0.25), (1024, 0.5, 0.5, 0.0), (2048, 0.5, 1.0, 0.0)],
)
def test_cosine_length(tokens: int, ours: float, published: float, wrong: float) -> None:
    answer, miss = said([RIGHT]), said([WRONG])

    def count(_: str) -> int:
        return tokens

    judged = CosineLength(count, accuracy=REWARDS["vlm-r1-rec"])
    assert judged(SAMPLE, answer) == CosineLength(count)(SAMPLE, miss) == pytest.approx(ours)
    assert judged(SAMPLE, miss) == pytest.approx(wrong)
    assert CosineLength(count, returning=True)(SAMPLE, answer) == pytest.approx(published)


def test_referring() -> None:
    small = sample([[10, 10, 11, 11]])
    one = said([([10, 10, 11, 11], "dog")])
    assert (REWARDS["vlm-r1-rec"](small, one), REWARDS["vlm-r1-rec-as-published"](small, one)) == (1.0, 0.0)
    assert REWARDS["vlm-r1-rec-as-published"](SAMPLE, said([([10, 10, 110, 60], "dog"), RIGHT])) == 0.5
