"""NMS-AP against its definition in plain loops with pycocotools behind, and the bounds on ties against all of them."""

import contextlib
import io
import itertools
import time
from dataclasses import replace
from statistics import fmean
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vr1bench.match import Guesses, Truth
from vr1bench.metrics.ap import ap, coco_numbers
from vr1bench.metrics.aspects import ASPECTS, PREFIX, mean
from vr1bench.metrics.nms_ap import NAMES, Ties, bounds, nms_ap, suppressed

Problem = tuple[Truth, Guesses, int]
Box = tuple[float, float, float, float]
RULES: tuple[Ties, ...] = get_args(Ties)


def truth_of(rows: list[tuple[int, int, Box]]) -> Truth:
    """Gold from (image, label, xywh); ids fixed, no crowd."""
    box = np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4)
    place = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2)
    size, no = box[:, 2] * box[:, 3], np.zeros(len(rows), dtype=np.bool_)
    corners = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
    return Truth(place[:, 0], place[:, 1], corners, no, size, size, no)


def guesses_of(rows: list[tuple[int, int, Box, float]]) -> Guesses:
    """Detections from (image, label, xywh, score)."""
    gold = truth_of([row[:3] for row in rows])
    scores = np.array([row[3] for row in rows], dtype=np.float64)
    return Guesses(gold.image, gold.label, gold.boxes, scores, gold.extents)


def xywh(corners: np.ndarray) -> list[float]:
    return [*corners[:2].tolist(), *(corners[2:] - corners[:2]).tolist()]


# The definition, read from om-ai-lab/OVDEval 2ba0aa9 eval.py and written anew, one box after the other.


def plain_iou(a: list[float], b: list[float]) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0.0, across) * max(0.0, down)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union else 0.0


def tied_around_gold(truth: Truth, guesses: Guesses) -> list[tuple[list[int], list[int]]]:
    """(competitors, those of the highest score) of each gold box that has any."""
    found: list[tuple[list[int], list[int]]] = []
    for g in range(len(truth)):
        near = [
            d
            for d in range(len(guesses))
            if guesses.image[d] == truth.image[g] and plain_iou(xywh(truth.boxes[g]), xywh(guesses.boxes[d])) > 0.5
        ]
        if near:
            highest = max(guesses.scores[d] for d in near)
            found.append((near, [d for d in near if guesses.scores[d] == highest]))
    return found


def survivors(contests: list[tuple[list[int], list[int]]], winners: tuple[int, ...], count: int) -> list[int]:
    competed = {d for near, _ in contests for d in near}
    return [d for d in range(count) if d not in competed or d in winners]


def by_definition(truth: Truth, guesses: Guesses, first: bool = False) -> list[int]:
    contests = tied_around_gold(truth, guesses)
    return survivors(contests, tuple(tied[0 if first else -1] for _, tied in contests), len(guesses))


def official(truth: Truth, guesses: Guesses, labels: int, first_id: int = 1) -> list[float]:
    """pycocotools' twelve numbers of what the definition leaves; ids count from `first_id`."""
    kept = by_definition(truth, guesses)
    images = [{"id": i} for i in range(1 + max(truth.image.max(initial=0), guesses.image.max(initial=0)))]
    gold = [
        {"id": first_id + i, "image_id": int(truth.image[i]), "category_id": int(truth.label[i]), "iscrowd": 0,
         "bbox": xywh(truth.boxes[i]), "area": float(truth.areas[i])}
        for i in range(len(truth))
    ]  # fmt: skip
    left: list[dict[str, Any]] = [
        {"image_id": int(guesses.image[d]), "category_id": int(guesses.label[d]), "bbox": xywh(guesses.boxes[d]),
         "score": float(guesses.scores[d])}
        for d in kept
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        anno = COCO()
        anno.dataset = {"images": images, "annotations": gold, "categories": [{"id": k} for k in range(labels)]}
        anno.createIndex()
        judge = COCOeval(anno, anno.loadRes(left), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats.tolist()


def random_problem(seed: int, images: int = 15, labels: int = 4, around: int = 4) -> Problem:
    """Overlapping gold, images without, near and far answers of right and wrong classes, tied and untied scores."""
    rng = np.random.default_rng(seed)
    gold: list[tuple[int, int, Box]] = []
    answers: list[tuple[int, int, Box, float]] = []
    one_score = bool(seed % 3 == 0)
    for image in range(images):
        for _ in range(0 if image % 5 == 4 else int(rng.integers(1, 4))):
            box = (*rng.integers(0, 60, 2).tolist(), *rng.integers(20, 50, 2).tolist())
            gold.append((image, int(rng.integers(labels)), box))
        for _ in range(int(rng.integers(0, 3))):
            box = (*rng.integers(0, 60, 2).tolist(), *rng.integers(20, 50, 2).tolist())
            answers.append((image, int(rng.integers(labels)), box, 1.0))
    for image, label, box in gold:
        for _ in range(int(rng.integers(0, around + 1))):
            near: Any = tuple(max(0, side + int(step)) for side, step in zip(box, rng.integers(-6, 7, 4), strict=True))
            said = label if rng.random() < 0.6 else int(rng.integers(labels))
            answers.append((image, said, near, 1.0))
    if not one_score:
        answers = [(*row[:3], float(rng.integers(1, 5)) / 4) for row in answers]
    order = rng.permutation(len(answers))
    return truth_of(gold), guesses_of([answers[i] for i in order]), labels


@pytest.mark.parametrize("first_id", [1, 0])
def test_the_official_metric_is_reproduced(first_id: int) -> None:
    """20 sets of 15 pictures, all twelve numbers; ids from 0 as OVDEval ships them, and from 1."""
    shrunk = 0
    for seed in range(20):
        truth, guesses, labels = random_problem(seed)
        kept = suppressed(truth, guesses, "last")
        assert kept.tolist() == by_definition(truth, guesses)
        assert suppressed(truth, guesses, "first").tolist() == by_definition(truth, guesses, first=True)
        shipped = replace(truth, lost=np.arange(len(truth)) + first_id == 0)
        found = nms_ap(shipped, guesses, labels)
        mine = list(found.numbers.values())[:12]
        np.testing.assert_allclose(mine, official(truth, guesses, labels, first_id), rtol=0, atol=1e-10)
        shrunk += len(guesses) - len(kept)
    assert shrunk > 200


A, B, FAR = (0.0, 0.0, 100.0, 100.0), (0.0, 10.0, 100.0, 100.0), (300.0, 300.0, 50.0, 50.0)


def test_perfect_answers_lose_boxes_where_gold_overlaps() -> None:
    gold = [(0, 0, A), (0, 1, B)]
    truth, guesses = truth_of(gold), guesses_of([(*row, 1.0) for row in gold])
    assert coco_numbers(truth, guesses, 2)["AP"] == pytest.approx(1)
    assert suppressed(truth, guesses, "last").tolist() == [1]
    assert suppressed(truth, guesses, "first").tolist() == [0]
    assert nms_ap(truth, guesses, 2).numbers["AP"] == pytest.approx(0.5)
    assert suppressed(truth, guesses, "right").tolist() == [0, 1]
    assert bounds(truth, guesses, 2)["AP"][1] == pytest.approx(1)


@pytest.mark.parametrize("rule", RULES)
def test_unmatched_duplicates_survive_and_images_without_gold_keep_all(rule: Ties) -> None:
    truth = truth_of([(0, 0, A)])
    guesses = guesses_of([(0, 0, FAR, 1.0), (0, 0, FAR, 1.0), (1, 0, A, 1.0), (0, 0, A, 1.0), (1, 0, A, 0.5)])
    assert suppressed(truth, guesses, rule).tolist() == [0, 1, 2, 3, 4]
    none = truth.take(np.empty(0, np.int64))
    assert suppressed(none, guesses, rule).tolist() == [0, 1, 2, 3, 4]
    assert suppressed(truth, guesses.take(np.empty(0, np.int64)), rule).tolist() == []


def test_nothing_scores_zero_and_no_gold_minus_one() -> None:
    truth, guesses = truth_of([(0, 0, A)]), guesses_of([(0, 0, A, 1.0)])
    none = np.empty(0, np.int64)
    assert nms_ap(truth, guesses.take(none), 1).numbers["AP"] == 0
    assert bounds(truth, guesses.take(none), 1) == dict.fromkeys(NAMES, (0.0, 0.0))
    assert nms_ap(truth.take(none), guesses, 1).numbers["AP"] == -1
    assert bounds(truth.take(none), guesses, 1) == dict.fromkeys(NAMES, (-1.0, -1.0))
    assert bounds(truth.take(none), guesses.take(none), 0) == dict.fromkeys(NAMES, (-1.0, -1.0))


@pytest.mark.parametrize("count", [2, 16, 17, 1000])
def test_the_last_of_tied_boxes_wins_as_in_the_reference(count: int) -> None:
    """numpy's own unstable sort, reversed, on one score: what `eval.py` does."""
    guesses = guesses_of([(0, i % 2, A, 1.0) for i in range(count)])
    reference = int(np.argsort(guesses.scores)[::-1][0])
    assert suppressed(truth_of([(0, 0, A)]), guesses, "last").tolist() == [reference] == [count - 1]


def test_a_box_that_wins_anywhere_stays() -> None:
    # Around A the second box wins; around B, which the third does not reach, the second too, and it stays.
    truth = truth_of([(0, 0, A), (0, 1, (0.0, 60.0, 100.0, 100.0))])
    guesses = guesses_of([(0, 0, A, 0.5), (0, 1, (0.0, 30.0, 100.0, 100.0), 0.9), (0, 1, (0.0, 65.0, 100.0, 100.0), 1)])
    assert suppressed(truth, guesses).tolist() == [1, 2]


def test_an_iou_of_exactly_one_half_does_not_compete() -> None:
    half = (0.0, 0.0, 100.0, 50.0)
    guesses = guesses_of([(0, 0, half, 1.0), (0, 0, A, 0.5)])
    assert suppressed(truth_of([(0, 0, A)]), guesses).tolist() == [0, 1]


def test_right_and_wrong_prefer_by_class_then_iou() -> None:
    near = (0.0, 0.0, 100.0, 90.0)
    truth = truth_of([(0, 0, A), (1, 1, FAR)])
    rows = [(0, 0, near, 1.0), (0, 2, A, 1.0), (0, 0, A, 1.0), (0, 1, A, 1.0), (0, 1, near, 1.0), (0, 0, A, 0.9)]
    for count, right, wrong in [(6, 2, 4), (4, 2, 3), (3, 2, 1), (1, 0, 0), (2, 0, 1)]:
        guesses = guesses_of(rows[:count])
        assert suppressed(truth, guesses, "right").tolist() == [right]
        assert suppressed(truth, guesses, "wrong").tolist() == [wrong]
    costly_first = guesses_of([rows[3], rows[1]])
    assert suppressed(truth, costly_first, "right").tolist() == [1]
    assert suppressed(truth, costly_first, "wrong").tolist() == [0]


def test_the_preferred_class_is_not_always_best() -> None:
    # A right box of IoU .6 stands above the good one: at the higher thresholds the wrong class costs less.
    truth = truth_of([(0, 0, A), (1, 0, A), (2, 1, A)])
    guesses = guesses_of([(0, 0, (0.0, 0.0, 100.0, 60.0), 1.0), (0, 2, A, 1.0), (1, 0, A, 0.5)])
    right, wrong = (nms_ap(truth, guesses, 3, rule).numbers["AP"] for rule in ("right", "wrong"))
    low, high = bounds(truth, guesses, 3)["AP"]
    assert low <= right < wrong <= high


grid = st.tuples(
    st.sampled_from([0, 0, 2, 4]), st.sampled_from([0, 0, 3]), st.sampled_from([6, 9, 10, 20]), st.just(10)
)


@st.composite
def small_problems(draw: st.DrawFn) -> Problem:
    """Few boxes that meet often, some of them crowds or gold with id 0.

    The last image holds one sure answer of each class, with the lowest score: whatever stands above it moves AP.
    """
    place = st.tuples(st.integers(0, 1), st.integers(0, 1))
    gold = draw(st.lists(st.tuples(place, grid), max_size=4))
    score = st.sampled_from([1.0, 1.0, 0.5])
    answers = draw(st.lists(st.tuples(st.tuples(st.integers(0, 1), st.integers(0, 2)), grid, score), max_size=5))
    for (image, label), box in draw(st.lists(st.sampled_from(gold), max_size=6)) if gold else []:
        near = box if draw(st.booleans()) else draw(grid)
        answers.append(((image, draw(st.sampled_from([label, label, 1 - label]))), near, draw(score)))
    last: Any = [(2, label, (0, 0, 10, 10)) for label in (0, 1)]
    last[1] = (2, 1, (50, 50, 10, 10))
    truth = truth_of([*((*where, box) for where, box in gold), *last])
    guesses = guesses_of([*((*where, box, s) for where, box, s in answers), *((*row, 0.25) for row in last)])
    flags = np.array([draw(st.integers(0, 3)) == 0 for _ in gold] + [False, False], dtype=np.bool_)
    kind = draw(st.sampled_from(["plain", "plain", "crowd", "lost"]))
    return (truth if kind == "plain" else replace(truth, **{kind: flags})), guesses, 3


@settings(max_examples=300, deadline=None)
@given(small_problems())
def test_what_stays_is_a_subset_in_order_and_as_the_definition_says(problem: Problem) -> None:
    truth, guesses, _ = problem
    for rule in RULES:
        kept = suppressed(truth, guesses, rule)
        assert (np.diff(kept) > 0).all()
        assert set(kept.tolist()) <= set(range(len(guesses)))
        assert len(suppressed(truth, guesses.take(kept), rule)) == len(kept)
    assert suppressed(truth, guesses, "last").tolist() == by_definition(truth, guesses)
    assert suppressed(truth, guesses, "first").tolist() == by_definition(truth, guesses, first=True)


def within_bounds(problem: Problem, max_dets: int) -> dict[str, tuple[float, float]]:
    """Every tie-break (60 at most) and every rule, each scored and held against the bounds."""
    truth, guesses, labels = problem
    contests = tied_around_gold(truth, guesses)
    found = bounds(truth, guesses, labels, max_dets)
    choices = itertools.islice(itertools.product(*(tied for _, tied in contests)), 60)
    kept = {tuple(survivors(contests, winners, len(guesses))) for winners in choices}
    kept |= {tuple(suppressed(truth, guesses, rule).tolist()) for rule in RULES}
    for rows in kept:
        numbers = coco_numbers(truth, guesses.take(np.array(rows, dtype=np.int64)), labels, max_dets)
        for name in NAMES:
            low, high = found[name]
            assert low <= numbers[name] <= high
    if all(len(tied) == 1 for _, tied in contests):
        assert all(low == high == numbers[name] for name, (low, high) in found.items())
    return found


@settings(max_examples=200, deadline=None)
@given(small_problems(), st.sampled_from([1, 2, 100]))
def test_no_tie_break_leaves_the_bounds(problem: Problem, max_dets: int) -> None:
    within_bounds(problem, max_dets)


SURE = (1, 0, FAR)
"""Gold that is found last: what stands above it moves AP."""


def test_bounds_hold_where_two_gold_boxes_compete_for_the_tied() -> None:
    # Both tied boxes win only around the low one, but fit the tall one better, and a higher score has taken that.
    low, tied = (0.0, 0.0, 100.0, 54.0), (0.0, 0.0, 100.0, 90.0)
    taker = (0, 0, (0.0, 5.0, 100.0, 95.0), 1.0)
    guesses = guesses_of([taker, (0, 0, tied, 0.5), (0, 0, tied, 0.5), (*SURE, 0.25)])
    within_bounds((truth_of([(0, 0, A), (0, 0, low), SURE]), guesses, 1), 100)


@pytest.mark.parametrize("kind", ["crowd", "lost"])
def test_bounds_hold_where_the_tied_find_gold_that_does_not_count(kind: str) -> None:
    gold = replace(truth_of([(0, 0, A), SURE]), **{kind: np.array([True, False])})
    guesses = guesses_of([(0, 0, A, 1.0), (0, 0, A, 1.0), (*SURE, 0.25)])
    found = within_bounds((gold, guesses, 1), 100)
    assert found["AP"][1] == pytest.approx(1 if kind == "crowd" else 51 / 101)


def test_bounds_hold_where_a_crowd_absorbs_the_tied() -> None:
    gold = truth_of([(0, 0, (0.0, 0.0, 100.0, 60.0)), (0, 0, (0.0, 0.0, 220.0, 100.0)), SURE])
    guesses = guesses_of([(0, 0, A, 1.0), (0, 0, A, 1.0), (*SURE, 0.25)])
    within_bounds((replace(gold, crowd=np.array([False, True, False])), guesses, 1), 100)


@pytest.mark.parametrize("max_dets", [3, 100])
def test_bounds_are_the_metric_where_scores_differ(max_dets: int) -> None:
    for seed in range(5):
        truth, guesses, labels = random_problem(seed)
        untied = replace(guesses, scores=np.random.default_rng(seed).permutation(len(guesses)).astype(np.float64))
        found = nms_ap(truth, untied, labels, max_dets=max_dets).numbers
        assert bounds(truth, untied, labels, max_dets) == {name: (found[name], found[name]) for name in NAMES}


def test_bounds_are_reached_by_single_gold_boxes() -> None:
    """Two boxes right and two wrong: at IoU 1 the threshold has no say, and both bounds are what a rule gives."""
    gold = [(image, image % 2, A) for image in range(6)]
    rows = [(image, label, A, 1.0) for image in range(6) for label in (0, 1, 1, 0)]
    sure = [(image, label, FAR) for image in (6, 7) for label in (0, 1)]
    found = [(*row, 0.5) for row in sure if sum(row[:2]) != 7]
    truth, guesses = truth_of(gold + sure), guesses_of([*rows, (8, 0, A, 1.0), *found])
    low, high = bounds(truth, guesses, 2)["AP"]
    assert nms_ap(truth, guesses, 2, "wrong").numbers["AP"] == low
    assert nms_ap(truth, guesses, 2, "right").numbers["AP"] == high
    assert 0 < low < 0.5 < high < 1


def test_2000_images_of_20_boxes_take_well_under_a_second() -> None:
    rng = np.random.default_rng(0)
    images = np.repeat(np.arange(2000), 20)
    corner = rng.integers(0, 400, (len(images), 2)).astype(np.float64)
    boxes = np.concatenate([corner, corner + rng.integers(30, 200, (len(images), 2))], axis=1)
    size, no = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.zeros(len(images), dtype=np.bool_)
    label = rng.integers(0, 30, len(images))
    some = np.arange(len(images)) % 20 < 4
    truth = Truth(images, label, boxes, no, size, size, no).take(some)
    near = boxes[np.arange(len(images)) // 20 * 20 + np.arange(len(images)) % 4] + rng.integers(-5, 6, boxes.shape)
    guesses = Guesses(images, label, near, np.ones(len(images)), (near[:, 2:] - near[:, :2]).prod(axis=1))
    start = time.process_time()
    kept = suppressed(truth, guesses)
    half = time.process_time()
    bounds(truth, guesses, 30)
    assert half - start < 0.5
    assert time.process_time() - half < 2.0
    assert 0 < len(kept) < len(guesses) / 2


# VLM-R1 (arXiv 2504.07615), Tables 4 to 7, as in published.csv: the eight files in the order of `FILES`, then overall.
FILES = ("celebrity", "logo", "landmark", "color", "material", "position", "relationship", "negation")
PUBLISHED = {
    "OmDet": (1.8, 6.1, 26.3, 22.9, 16.3, 21.2, 41.98, 35.1, 25.86),
    "Qwen2.5-VL-3B": (13.2, 26.5, 21.3, 2.9, 11.6, 47.9, 13.1, 38.7, 25.46),
    "Qwen2.5-VL-7B": (48.4, 35.8, 44.6, 3.0, 10.5, 40.5, 16.2, 39.0, 29.08),
    "Qwen2.5-VL-3B SFT": (50.4, 34.9, 50.7, 4.3, 7.6, 33.7, 13.1, 34.4, 26.5),
    "Qwen2.5-VL-3B RL": (55.0, 34.6, 47.9, 4.5, 9.7, 42.9, 21.5, 37.7, 31.01),
    "Qwen2.5-VL-3B RL, AP50 reward": (7.7, 13.8, 17.3, 2.2, 3.5, 39.3, 17.0, 35.2, 21.46),
    "Qwen2.5-VL-3B RL, mAP reward": (10.5, 15.2, 18.7, 2.3, 4.1, 39.6, 15.9, 34.9, 21.68),
    "Qwen2.5-VL-3B RL trained on COCO": (9.9, 18.3, 26.6, 2.5, 6.2, 45.3, 18.1, 36.4, 24.48),
    "Qwen2.5-VL-7B RL": (57.1, 38.3, 49.4, 7.8, 14.7, 39.4, 20.1, 43.1, 32.42),
    "Qwen2.5-VL-32B": (57.7, 32.5, 46.7, 4.4, 13.6, 41.7, 20.6, 47.0, 32.79),
    "Qwen2.5-VL-32B RL": (57.8, 35.8, 48.3, 7.8, 19.1, 44.5, 27.0, 51.7, 36.79),
    "Grounding-DINO": (0.7, 10.3, 15.1, 9.4, 9.0, 67.5, 10.7, 52.5, 25.3),
}


def overall(values: list[float]) -> float:
    return mean({f"{PREFIX}{name}": value for name, value in zip(FILES, values, strict=True)})[0]


@pytest.mark.parametrize("model", [name for name in PUBLISHED if name != "Grounding-DINO"])
def test_five_aspects_give_the_published_overall_number(model: str) -> None:
    *files, printed = PUBLISHED[model]
    assert abs(overall(files) - printed) < 0.01
    assert abs(fmean(files) - printed) > 0.2


def test_one_published_row_does_not_follow() -> None:
    *files, printed = PUBLISHED["Grounding-DINO"]
    assert overall(files) == pytest.approx(29.72)
    assert printed == 25.3


def test_aspects_need_every_file_and_no_other() -> None:
    assert sorted(itertools.chain(*ASPECTS.values())) == sorted(FILES)
    values = {f"{PREFIX}{name}": float(place) for place, name in enumerate(FILES)}
    assert mean(values)[1] == "mean of 5 aspects"
    assert mean({**values, "coco": 0.0})[1] == "mean of 9"
    values.popitem()
    assert mean(values) == (pytest.approx(3.0), "mean of 7")


def test_nms_ap_is_ap_where_nothing_competes() -> None:
    truth, guesses = truth_of([(0, 0, A)]), guesses_of([(0, 0, A, 1.0), (0, 0, FAR, 1.0)])
    assert nms_ap(truth, guesses, 1).numbers == ap(truth, guesses, 1).numbers
