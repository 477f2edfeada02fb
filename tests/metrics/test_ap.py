"""AP against pycocotools itself, bit for bit, and AP_tie against its definition."""

import contextlib
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vr1bench.errors import Vr1benchError
from vr1bench.match import AREA_BITS, Guesses, Truth
from vr1bench.metrics.ap import NAMES, RECALLS, ap, by_corners, coco_numbers
from vr1bench.metrics.verify import verify

Problem = tuple[Truth, Guesses, int]

# Areas on and beside the borders of small, medium and large, and beyond everything.
BORDERS = (0.0, 32.0**2, 96.0**2, 32.0**2 + 1e-9, 96.0**2 - 1e-9, 1e10, 2e10)


def xyxy(rows: list[tuple[int, int, int, int]], scale: int) -> np.ndarray:
    box = np.array(rows, dtype=np.float64).reshape(-1, 4) * scale
    return np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)


def extents(box: np.ndarray) -> np.ndarray:
    return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])


@st.composite
def problems(draw: st.DrawFn, *, scores: str = "any", lost: bool = True) -> Problem:
    """Tiny problems full of ties: equal boxes, equal IoUs, equal scores, crowds, boxes of no size."""
    labels, scale = draw(st.integers(1, 2)), draw(st.sampled_from([1, 8, 32]))
    side = st.sampled_from([0, 1, 4, 5, 6])  # the larger ones overlap by half with several others
    grid = st.tuples(st.integers(0, 2), st.integers(0, 2), side, side)
    place = st.tuples(st.integers(0, 2), st.integers(0, labels - 1))
    gold = draw(st.lists(st.tuples(place, grid, st.booleans(), st.sampled_from([None, None, *BORDERS])), max_size=10))
    guesses = draw(st.lists(st.tuples(place, grid, st.sampled_from([1.0, 0.5, 0.25])), max_size=14))
    if gold and draw(st.booleans()):
        near = draw(st.lists(st.sampled_from(gold), max_size=8))
        guesses += [(where, box, 0.5) for where, box, _, _ in near]
    if draw(st.integers(0, 9)) == 0:
        guesses = guesses * 12  # over a hundred in one image and class
    boxes, areas = xyxy([row[1] for row in gold], scale), [row[3] for row in gold]
    sizes = extents(boxes)
    zero = np.zeros(len(gold), dtype=np.bool_)
    if lost and gold and draw(st.booleans()):
        zero[draw(st.integers(0, len(gold) - 1))] = True
    where = np.array([row[0] for row in gold], dtype=np.int64).reshape(-1, 2)
    crowd = np.array([row[2] for row in gold], dtype=np.bool_) & draw(st.booleans())
    given_areas = np.array(
        [size if area is None else area for size, area in zip(sizes, areas, strict=True)], dtype=float
    )
    truth = Truth(where[:, 0], where[:, 1], boxes, crowd, given_areas, sizes, zero)
    answers = xyxy([row[1] for row in guesses], scale)
    values = np.array([row[2] for row in guesses], dtype=np.float64)
    if scores == "distinct":
        values = np.array(draw(st.permutations(range(len(guesses)))), dtype=np.float64)
    elif draw(st.booleans()):
        values[:] = 1.0
    spot = np.array([row[0] for row in guesses], dtype=np.int64).reshape(-1, 2)
    return truth, Guesses(spot[:, 0], spot[:, 1], answers, values, extents(answers)), labels


def pycocotools(truth: Truth, guesses: Guesses, labels: int) -> COCOeval:
    """The oracle, fed through its own dicts; ids count from 1, a lost gold box has id 0."""
    images = [{"id": i} for i in range(1 + max(truth.image.max(initial=0), guesses.image.max(initial=0)))]
    sets: list[Any] = []
    for rows in (truth, guesses):
        box = np.concatenate([rows.boxes[:, :2], rows.boxes[:, 2:] - rows.boxes[:, :2]], axis=1)
        dicts = [
            {"id": i + 1, "image_id": int(rows.image[i]), "category_id": int(rows.label[i]), "bbox": box[i].tolist()}
            for i in range(len(rows))
        ]
        sets.append(COCO())
        sets[-1].dataset = {"images": images, "annotations": dicts, "categories": [{"id": k} for k in range(labels)]}
    for i, row in enumerate(sets[0].dataset["annotations"]):
        row.update({"area": float(truth.areas[i]), "iscrowd": int(truth.crowd[i])})
        row.update({"id": 0} if truth.lost[i] else {})
    for i, row in enumerate(sets[1].dataset["annotations"]):
        row.update({"area": float(guesses.extents[i]), "iscrowd": 0, "score": float(guesses.scores[i])})
    with contextlib.redirect_stdout(io.StringIO()):
        sets[0].createIndex()
        sets[1].createIndex()
        judge = COCOeval(sets[0], sets[1], "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def tie_by_definition(truth: Truth, guesses: Guesses, labels: int) -> tuple[float, float]:
    """AP_tie and AP50_tie the long way: pycocotools' matches, then a point after each whole group of equal scores."""
    judge = pycocotools(truth, guesses.take(by_corners(guesses)), labels)
    images = len(judge.params.imgIds)
    averages = np.full((labels, 10), -1.0)
    for label in range(labels):
        cells = [cell for cell in judge.evalImgs[label * 4 * images :][:images] if cell is not None]
        if not cells or not (total := sum(int(np.sum(cell["gtIgnore"] == 0)) for cell in cells)):
            continue
        scores = np.concatenate([cell["dtScores"] for cell in cells])
        found = np.concatenate([cell["dtMatches"] for cell in cells], axis=1) != 0
        counts = ~np.concatenate([cell["dtIgnore"] for cell in cells], axis=1)
        for level in range(10):
            points = [(0.0, 0.0)]
            for score in np.unique(scores):
                above = counts[level] & (scores >= score)
                right = int((found[level] & above).sum())
                points.append((right / total, right / (int(above.sum()) + np.spacing(1))))
            best = [max((p for r, p in points if r >= recall), default=0.0) for recall in RECALLS]
            averages[label, level] = np.mean(best)
    kept = averages[averages[:, 0] >= 0]
    return (float(kept.mean()), float(kept[:, 0].mean())) if len(kept) else (-1.0, -1.0)


@settings(max_examples=400, deadline=None)
@given(problems())
def test_twelve_numbers_equal_pycocotools_to_the_bit(problem: Problem) -> None:
    assert list(coco_numbers(*problem).values()) == pycocotools(*problem).stats.tolist()


@settings(max_examples=150, deadline=None)
@given(problems())
def test_ap_tie_equals_its_definition(problem: Problem) -> None:
    found = ap(*problem)
    assert (found.numbers["AP_tie"], found.numbers["AP50_tie"]) == pytest.approx(tie_by_definition(*problem), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(problems(scores="distinct"))
def test_without_ties_ap_tie_is_ap(problem: Problem) -> None:
    found = ap(*problem)
    assert (found.numbers["AP_tie"], found.numbers["AP50_tie"]) == (found.numbers["AP"], found.numbers["AP50"])
    np.testing.assert_array_equal(found.per_class, found.per_class_tie)


@settings(max_examples=150, deadline=None)
@given(problems(), st.permutations(range(3)), st.randoms(use_true_random=False))
def test_ap_tie_ignores_image_numbers_and_box_order(problem: Problem, images: list[int], random: Any) -> None:
    truth, guesses, labels = problem
    order = list(range(len(guesses)))
    random.shuffle(order)
    numbering = np.array(images)
    shuffled = guesses.take(np.array(order, dtype=np.int64))
    moved = ap(replace(truth, image=numbering[truth.image]), replace(shuffled, image=numbering[shuffled.image]), labels)
    still = ap(*problem)
    assert moved.numbers["AP_tie"] == still.numbers["AP_tie"]
    assert moved.numbers["AP50_tie"] == still.numbers["AP50_tie"]
    np.testing.assert_array_equal(moved.per_class_tie, still.per_class_tie)


@settings(max_examples=150, deadline=None)
@given(
    problems(), st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.0]), st.integers(0, 2), st.integers(0, 1), st.integers(0, 14)
)
def test_a_stray_box_never_raises_ap(problem: Problem, score: float, image: int, label: int, at: int) -> None:
    """A detection that overlaps no gold of its class, anywhere in the list, with any score.

    The sizes' numbers are left out on purpose: beyond 100 detections a stray box pushes another one out, and where
    the size range counts that one but not the stray, pycocotools' APs may rise.
    """
    truth, guesses, labels = problem
    rows = np.insert(np.arange(len(guesses)), min(at, len(guesses)), len(guesses))
    stray = Guesses(
        np.append(guesses.image, image), np.append(guesses.label, label % labels),
        np.concatenate([guesses.boxes, [[5000.0, 5000.0, 5040.0, 5040.0]]]),
        np.append(guesses.scores, score), np.append(guesses.extents, 1600.0),
    ).take(rows)  # fmt: skip
    before, after = ap(*problem).numbers, ap(truth, stray, labels).numbers
    for name in ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AP_tie", "AP50_tie"):
        assert after[name] <= before[name]


def random_problem(seed: int, images: int, labels: int, gold: int, answers: int) -> Problem:
    """Boxes with errors, confusions and inventions; scores of one decimal."""
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(0, 400, (gold, 2)), rng.integers(4, 200, (gold, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float64)
    crowd = rng.random(gold) < 0.02
    where, what = rng.integers(0, images, gold), rng.integers(0, labels, gold)
    lost = np.arange(gold) == gold // 2
    truth = Truth(where, what, boxes, crowd, extents(boxes) * 0.7, extents(boxes), lost)
    source = rng.integers(0, gold, answers)
    near = boxes[source] + rng.integers(-9, 10, (answers, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
    label = np.where(rng.random(answers) < 0.1, rng.integers(0, labels, answers), what[source])
    scores = np.round(rng.random(answers), 1)
    return truth, Guesses(where[source], label, near, scores, extents(near)), labels


@pytest.mark.parametrize(("images", "labels", "gold", "answers"), [(200, 7, 3000, 3000), (3, 2, 300, 900)])
def test_larger_sets_equal_pycocotools_to_the_bit(images: int, labels: int, gold: int, answers: int) -> None:
    problem = random_problem(3, images, labels, gold, answers)
    judge = pycocotools(*problem)
    found = ap(*problem)
    assert [found.numbers[name] for name in NAMES] == judge.stats.tolist()
    per_class = judge.eval["precision"][:, :, :, 0, 2].mean(axis=(0, 1))
    np.testing.assert_allclose(found.per_class, per_class, atol=1e-12)


def test_matching_within_a_tie_goes_by_corners() -> None:
    # The wide guess can have either gold box, the left one only the left: who chooses first decides how many are found.
    gold = np.array([[10.0, 0, 20, 10], [13.0, 0, 23, 10]])
    answers = np.array([[11.0, 0, 21, 10], [8.0, 0, 18, 10]])
    zeros, none, area = np.zeros(2, np.int64), np.zeros(2, np.bool_), np.full(2, 100.0)
    truth = Truth(zeros, zeros, gold, none, area, area, none)
    listed = [
        ap(truth, Guesses(zeros, zeros, answers[order], np.ones(2), area), 1).numbers for order in ([0, 1], [1, 0])
    ]
    assert [numbers["AP50"] for numbers in listed] == pytest.approx([51 / 101, 1])
    assert [numbers["AP50_tie"] for numbers in listed] == pytest.approx([1, 1])


def one_box(lost: bool = False) -> Problem:
    image, box, area = np.zeros(1, np.int64), np.array([[0.0, 0.0, 10.0, 10.0]]), np.full(1, 100.0)
    no = np.zeros(1, np.bool_)
    return Truth(image, image, box, no, area, area, no | lost), Guesses(image, image, box, np.ones(1), area), 1


def test_lost_gold_costs_its_detection() -> None:
    assert coco_numbers(*one_box())["AP"] == pytest.approx(1)
    assert coco_numbers(*one_box(lost=True))["AP"] == 0


def test_nothing_scores_zero_and_no_gold_minus_one() -> None:
    truth, guesses, _ = one_box()
    silent, empty = ap(truth, guesses.take(np.empty(0, np.int64)), 2), ap(truth.take(np.empty(0, np.int64)), guesses, 2)
    expected = dict.fromkeys([*NAMES, "AP_tie", "AP50_tie"], 0.0)
    assert silent.numbers == expected | dict.fromkeys(["APm", "APl", "ARm", "ARl"], -1.0)
    assert silent.per_class.tolist() == [0.0, -1.0]
    assert empty.numbers == dict.fromkeys(expected, -1.0)
    assert ap(truth.take(np.empty(0, np.int64)), guesses.take(np.empty(0, np.int64)), 0).numbers == empty.numbers


def test_max_dets_is_per_image_and_class() -> None:
    truth, guesses, _ = one_box()
    wrong = replace(guesses, boxes=guesses.boxes + 50, scores=np.full(1, 2.0))
    both = Guesses(*(np.concatenate(pair) for pair in zip(*(
        (g.image, g.label, g.boxes, g.scores, g.extents) for g in (wrong, guesses)), strict=True)))  # fmt: skip
    assert coco_numbers(truth, both, 1, max_dets=1)["AP"] == 0
    assert coco_numbers(truth, both, 1, max_dets=2)["AP"] == 0.5
    assert coco_numbers(truth, replace(both, label=np.array([1, 0])), 2, max_dets=1)["AP"] == pytest.approx(1)


def test_matches_can_be_replayed() -> None:
    problem = random_problem(4, 20, 3, 200, 300)
    found = ap(*problem).matches
    assert not (found.hits & found.ignored).any()
    tiers = np.lexsort((found.image, found.tier, found.label))
    np.testing.assert_array_equal(tiers, np.arange(len(found)))
    np.testing.assert_array_equal(problem[1].image[found.row], found.image)
    total = int((found.gold_ignored & AREA_BITS[0] == 0).sum())
    assert total == int((~problem[0].crowd).sum())
    np.testing.assert_array_equal(np.sort(found.gold_image), np.sort(problem[0].image))


@settings(max_examples=40, deadline=None)
@given(problems())
def test_verify_agrees(problem: Problem) -> None:
    opinions = verify(*problem)
    assert opinions["pycocotools"]["max_abs_diff"] == 0
    assert opinions["faster-coco-eval"]["max_abs_diff"] < 1e-15
    assert opinions["pycocotools"]["version"]


def test_verify_is_silent_and_refuses_two_ids_of_zero(capfd: pytest.CaptureFixture[str]) -> None:
    verify(*one_box(lost=True))
    assert capfd.readouterr() == ("", "")
    truth, guesses, labels = random_problem(0, 2, 1, 4, 2)
    with pytest.raises(Vr1benchError, match="at most one annotation with id 0, got 4"):
        verify(replace(truth, lost=np.ones(4, np.bool_)), guesses, labels)
