"""Vision-R1's rewards by hand: the paper's formulas, what its code pays instead, and the strict cure."""

import numpy as np
import pytest
from answering import SIDE, read, said, sample, spelled, thought

from vr1bench.as_published import generalised_iou, vision_r1_pairs
from vr1bench.errors import Vr1benchError
from vr1bench.rewards import REWARDS
from vr1bench.rewards.published import VisionR1AsPublished
from vr1bench.rewards.vision_r1 import FIRST, THEN, VisionR1, differentiated

GOLD = [[0, 0, 100, 100], [150, 0, 250, 100]]
EXACT = [(box, "dog") for box in GOLD]
SAMPLE = sample(GOLD)
FALSE = [([300, 40 * i, 330, 40 * i + 30], "dog") for i in range(8)]
WRONG = [(box, "cat") for box in GOLD]


def _share(part: float) -> list[float]:
    """A box within the first gold box, with this IoU."""
    return [0, 0, 100, round(100 * part)]


@pytest.mark.parametrize(
    ("value", "first", "then"),
    [(0.0, 0, 0), (0.49, 0, 0), (0.5, 0.5, 0), (0.7, 0.7, 0), (0.75, 1, 0.75), (0.89, 1, 0.89), (0.9, 1, 1), (1, 1, 1)],
)
def test_differentiation(value: float, first: float, then: float) -> None:
    assert differentiated(np.array(value), FIRST) == first
    assert differentiated(np.array(value), THEN) == then


@pytest.mark.parametrize(
    ("rows", "recall", "precision"),
    [
        (EXACT, 1.0, 1.0),
        (EXACT[:1], 0.5, 1.0),
        ([(_share(0.6), "dog"), EXACT[1]], 1.0, 0.8),  # (0.6 + 1) / 2
        ([(_share(0.4), "dog"), EXACT[1]], 0.5, 0.5),
        ([*EXACT, *FALSE], 1.0, 0.2),  # 2 of 10 predicted boxes
        ([*EXACT, EXACT[0], EXACT[0]], 1.0, 0.5),
        (WRONG, 1.0, 1.0),  # pairs are boxes alone
        (FALSE, 0.0, 0.0),
    ],
)
def test_the_papers_formulas(rows: list, recall: float, precision: float) -> None:
    values = VisionR1().values(SAMPLE, said(rows))
    assert values == pytest.approx({"format": 1.0, "recall": recall, "precision": precision})
    assert VisionR1()(SAMPLE, said(rows)) == pytest.approx(1 + recall + precision)


def test_recall_is_differentiated_over_the_completion() -> None:
    four = sample([[90 * i, 0, 90 * i + 80, 80] for i in range(4)])
    found = [said([([90 * i, 0, 90 * i + 80, 80], "dog") for i in range(n)]) for n in range(1, 5)]
    recall = REWARDS["vision-r1-recall"]
    assert [recall(four, one) for one in found] == [0.0, 0.5, 1.0, 1.0]
    late = VisionR1(parts=("recall",), switch=0.5).at(0.5)
    assert [late(four, one) for one in found] == [0.0, 0.0, 0.75, 1.0]


def test_stages() -> None:
    """Both IoUs 0.6: something in the first stage, nothing in the second."""
    rows = said([(_share(0.6), "dog"), ([150, 0, 250, 60], "dog")])
    half = VisionR1(parts=("recall", "precision"), switch=0.5)
    assert half(SAMPLE, rows) == half.at(0.49)(SAMPLE, rows) == pytest.approx(1.6)
    assert half.at(0.5)(SAMPLE, rows) == half.at(1.0)(SAMPLE, rows) == 0.0
    never = VisionR1(parts=("recall", "precision"))
    assert never.at(1.0)(SAMPLE, rows) == pytest.approx(1.6)
    assert (half.changes, never.changes) == (True, False)
    assert VisionR1AsPublished(adaptive=True).at(1.0).values(SAMPLE, rows) == {
        "format": 1.0, "recall": 0.0, "precision": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "paper", "labelled", "strict"),
    [([*EXACT, *FALSE], 2.2, 2.2, 2.2), (WRONG, 3.0, 1.0, 0.0), ([*EXACT, *EXACT], 2.5, 2.5, 2.5)],
)
def test_the_holes_of_the_released_code(rows: list, paper: float, labelled: float, strict: float) -> None:
    answer = said(rows)
    assert REWARDS["vision-r1-as-published"](SAMPLE, answer) == 3.0
    assert REWARDS["vision-r1"](SAMPLE, answer) == pytest.approx(paper)
    assert REWARDS["vision-r1-labelled"](SAMPLE, answer) == pytest.approx(labelled)
    assert REWARDS["vision-r1-strict"](SAMPLE, answer) == pytest.approx(strict)


ONE = '[{"bbox_2d": [0, 0, 100, 100], "label": "dog"}]'


@pytest.mark.parametrize(
    ("text", "paper", "published"),
    [
        (ONE, 1, 1),
        (f"```json\n{ONE}\n```", 1, 1),
        (f"```\n{ONE}\n```", 1, 0),
        (f"<think>so</think>{ONE}", 1, 0),
        (f"Here: {ONE}", 0, 0),
        (f"{ONE} done", 0, 0),
        ('[{"bbox_2d": ["0", "0", "100", "100"], "label": "dog"}]', 0, 1),
        ('[{"bbox_2d": ["a", "b", "c", "d"], "label": "dog"}]', 0, 1),
        ('[{"bbox_2d": [0.5, 0, 100, 100], "label": "dog"}]', 0, 1),
        ('[{"bbox_2d": [100, 100, 0, 0], "label": "dog"}]', 0, 1),
        ('[{"bbox_2d": [0, 0, 4000, 100], "label": "dog"}]', 0, 1),
        ('[{"bbox_2d": [NaN, NaN, NaN, NaN], "label": "dog"}]', 0, 1),
        ('[{"bbox_2d": [0, 0, 100], "label": "dog"}]', 0, 0),
        ('[{"bbox_2d": [0, 0, 100, 100], "label": "dog", "sure": 1}]', 0, 1),
        ("[]", 0, 1),
        ("3", 0, 1),
        ("None", 0, 0),
        (ONE[:-2], 0, 0),
        ("[" * 100_000, 0, 0),
        ("", 0, 0),
    ],
)
def test_format(text: str, paper: int, published: int) -> None:
    assert REWARDS["vision-r1-format"](SAMPLE, read(text)) == paper
    assert VisionR1AsPublished(parts=("format",))(SAMPLE, read(text)) == published


def test_griffons_format() -> None:
    form = VisionR1(parts=("format",), template=REWARDS["vision-r1-griffon"].template)  # type: ignore[attr-defined]

    def paid(text: str, boxes: list) -> float:
        from vr1bench import parse

        answer = parse(text, family="griffon", size=(SIDE, SIDE), queries=("dog",))
        return form(sample(boxes), answer)

    one, more = "dog-[0.000,0.000,0.250,0.250]", "hot-dog-[0.100,0.100,0.250,1.000]"
    assert [paid(text, GOLD) for text in (one, f"{one}&{more}", "dog-[0.0,0.0,0.25,0.25]", "dog-[0,0,250,250]")] == [
        1, 1, 0, 0,
    ]  # fmt: skip
    assert (paid("None", GOLD), paid("None", [])) == (0, 1)


def test_no_gold() -> None:
    nothing = sample([])
    for name in ("vision-r1", "vision-r1-labelled", "vision-r1-strict"):
        assert REWARDS[name](nothing, read("[]")) == 3.0
    assert VisionR1().values(nothing, said(EXACT)) == {"format": 1.0, "recall": 0.0, "precision": 0.0}
    assert REWARDS["vision-r1-strict"](nothing, said(EXACT)) == 0.0
    published = VisionR1AsPublished()
    assert published.values(nothing, read("[]")) == {"format": 0.0, "recall": 1.0, "precision": 1.0}
    assert published.values(nothing, said(EXACT)) == {"format": 0.0, "recall": 0.0, "precision": 0.0}
    assert published.values(SAMPLE, read("")) == {"format": 0.0, "recall": 0.0, "precision": 0.0}


def test_the_codes_default_run() -> None:
    """GIoU for IoU, over pairs: exactly 0.5 counts half, a box that overlaps nothing counts 0 and not less."""
    half = VisionR1AsPublished().values(SAMPLE, said([(_share(0.5), "dog"), FALSE[7]]))
    assert half == pytest.approx({"format": 1.0, "recall": 0.25, "precision": 0.25})
    adaptive = VisionR1AsPublished(adaptive=True).values(SAMPLE, said([(_share(0.6), "dog"), EXACT[1]]))
    assert adaptive == pytest.approx({"format": 1.0, "recall": 1.0, "precision": 0.8})
    at_the_edge = said([(_share(0.75), "dog"), (GOLD[1], "dog")])
    assert VisionR1AsPublished(adaptive=True).values(SAMPLE, at_the_edge)["precision"] == pytest.approx(0.875)
    assert VisionR1().values(SAMPLE, at_the_edge)["precision"] == 1.0


def test_generalised_iou() -> None:
    a = np.array([[0.0, 0, 10, 10], [0, 0, 5, 10], [20, 0, 30, 10], [4, 4, 4, 4]])
    expected = [1.0, 0.5, -1 / 3, 0.0 - 100 / 100 + 100 / 100]
    np.testing.assert_allclose(generalised_iou(a, a[:1])[:, 0], expected, atol=1e-12)
    assert generalised_iou(a[3:], a[3:]).item() == -1.0


@pytest.mark.parametrize(
    ("rows", "paid"), [(EXACT, 1.0), (FALSE[:2], 1.0), (EXACT[:1], 0.0), ([*EXACT, FALSE[0]], 0.0)]
)
def test_prediction_count(rows: list, paid: float) -> None:
    assert REWARDS["vision-r1-count"](SAMPLE, said(rows)) == paid


def test_ties_do_not_decide_what_is_strict() -> None:
    """The largest sum of IoUs takes one pair of 1.0 or two of 0.5: the strict reward is a single number."""
    gold = sample([[0, 0, 100, 100], [0, 100, 100, 200]])
    rows = [([0, 0, 100, 100], "dog"), ([0, 50, 100, 100], "dog")]
    strict = REWARDS["vision-r1-strict"]
    assert strict(gold, said(rows)) == strict(gold, said(rows[::-1]))


def test_strict_pairs_for_hits() -> None:
    """IoUs 0.905 and 0.258, or 0.6 and 0.550: the larger sum holds one hit, the smaller two."""
    gold = sample([[50, 0, 150, 100], [80, 0, 180, 100]])
    answer = said([([55, 0, 155, 100], "dog"), ([21, 0, 121, 100], "dog")])
    assert VisionR1().values(gold, answer) == {"format": 1.0, "recall": 0.5, "precision": 0.5}
    strict = VisionR1(matching="strict").values(gold, answer)
    assert strict == pytest.approx({"format": 1.0, "recall": 1.0, "precision": (75 / 125 + 71 / 129) / 2})


def test_the_codes_pairs() -> None:
    """Half a pixel further off with the right label is nearer than an exact box with another."""
    gold, near = np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 10, 10], [0, 0, 10, 10.5]])
    assert vision_r1_pairs(near, gold, np.array([[False], [True]])) == pytest.approx([10 / 10.5])
    assert vision_r1_pairs(near, gold, np.array([[False], [False]])) == [1.0]


def test_bad_settings_are_said() -> None:
    with pytest.raises(Vr1benchError, match=r"switch .* expected a share of training in \[0, 1\], got 1500"):
        VisionR1(switch=1500)
    with pytest.raises(Vr1benchError, match="progress"):
        VisionR1().at(float("nan"))
    with pytest.raises(Vr1benchError, match="did you mean 'recall'"):
        VisionR1(parts=("recal",))  # type: ignore[arg-type]
    with pytest.raises(Vr1benchError, match="known: boxes, boxes-and-labels, strict"):
        VisionR1(matching="labels")  # type: ignore[arg-type]


def test_the_think_style_is_read_like_the_plain() -> None:
    assert VisionR1()(SAMPLE, read(thought(spelled(EXACT)))) == 3.0
