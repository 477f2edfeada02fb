"""Kinds of mistakes: a scene for each, the definitions in plain loops, and costs by mending and scoring again."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vr1bench.boxes import iou_aligned
from vr1bench.match import Guesses, Truth
from vr1bench.metrics.ap import ABSENT, ap
from vr1bench.metrics.columns import Columns
from vr1bench.metrics.mistakes import (
    KINDS,
    Verdict,
    averages,
    costs,
    mended,
    mistakes,
    referring_mistakes,
    special_costs,
    tally,
)

NAMES = ("dog", "cat", "cow")


def extents(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def table(gold: list[Any], answers: list[Any]) -> Columns:
    """Rows (image, label, box[, crowd]) and (image, label, box[, score]); label -1 is one that the benchmark lacks."""
    corners = [np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4) for rows in (gold, answers)]
    places = [np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2) for rows in (gold, answers)]
    crowd = np.array([len(row) > 3 and row[3] for row in gold], dtype=np.bool_)
    scores = np.array([row[3] if len(row) > 3 else 1.0 for row in answers])
    sizes = [extents(boxes) for boxes in corners]
    truth = Truth(
        places[0][:, 0], places[0][:, 1], corners[0], crowd, sizes[0], sizes[0], np.zeros(len(gold), np.bool_)
    )
    guesses = Guesses(places[1][:, 0], places[1][:, 1], corners[1], scores, sizes[1])
    return Columns(NAMES, 3, truth, guesses, ())


def kinds(gold: list[Any], answers: list[Any], **options: Any) -> dict[str, int]:
    """The kinds that occur."""
    found = mistakes(table(gold, answers), **options)
    return {name: count for name, count in tally(found, *found.everything).items() if count}


DOG, CAT, STRAY = 0, 1, -1
HERE, FAR = (0, 0, 100, 100), (500, 500, 600, 600)
LOOSE, HALF, TENTH, SLIVER = (0, 0, 100, 40), (0, 0, 100, 50), (0, 0, 100, 10), (0, 0, 100, 9)  # by their IoU with HERE
GOLD = [(0, DOG, HERE)]
RIGHT = (0, DOG, HERE)


@pytest.mark.parametrize(
    ("answers", "expected", "cost"),
    [
        ([RIGHT], {}, {}),
        ([(0, DOG, HALF)], {}, {}),
        ([(0, CAT, HERE)], {"class": 1}, {"class": 1.0}),
        ([(0, STRAY, HALF)], {"class": 1}, {"class": 1.0}),
        ([(0, DOG, LOOSE)], {"box": 1}, {"box": 1.0}),
        ([(0, DOG, TENTH)], {"box": 1}, {"box": 1.0}),
        ([RIGHT, (0, CAT, LOOSE)], {"both": 1}, {}),
        ([(0, DOG, HERE, 0.5), (0, DOG, HERE, 0.9)], {"duplicate": 1}, {}),
        ([(0, DOG, FAR), RIGHT], {"background": 1}, {"background": 0.5}),
        ([RIGHT, (0, CAT, FAR)], {"background": 1}, {}),
        ([RIGHT, (0, CAT, TENTH)], {"background": 1}, {}),
        ([RIGHT, (0, STRAY, SLIVER)], {"background": 1}, {}),
        ([RIGHT, (1, DOG, HERE)], {"background": 1}, {}),
        ([], {"missed": 1}, {"missed": 1.0}),
        # Mending one of the two helps nothing: without the box the dog is missed, without the dog the box is wrong.
        ([(0, DOG, SLIVER)], {"background": 1, "missed": 1}, {}),
    ],
)
def test_each_kind_alone(answers: list[Any], expected: dict[str, int], cost: dict[str, float]) -> None:
    assert kinds(GOLD, answers) == expected
    found = mistakes(table(GOLD, answers))
    assert {name: value for name, value in costs(found).items() if value} == pytest.approx(cost)


def test_an_iou_of_exactly_half_with_found_gold_is_a_loose_box() -> None:
    # TIDE's interval is closed, and asked for before duplicates.
    assert kinds(GOLD, [RIGHT, (0, DOG, HALF)]) == {"box": 1}
    assert kinds(GOLD, [RIGHT, (0, DOG, (0, 0, 100, 51))]) == {"duplicate": 1}


def test_the_first_kind_that_fits_is_taken() -> None:
    both_here = [(0, DOG, HERE), (0, CAT, HERE)]
    # A second dog on a dog and a cat: the cat's place makes it a class mistake, about a cat that is found or not.
    assert kinds(both_here, [RIGHT, (0, CAT, HERE), RIGHT]) == {"class": 1}
    assert kinds(both_here, [RIGHT, RIGHT]) == {"class": 1}
    # Loose on a dog, good on a cat: the box comes first; so the cat is missed.
    assert kinds([(0, DOG, HERE), (0, CAT, LOOSE)], [(0, DOG, LOOSE)]) == {"box": 1, "missed": 1}


def test_crowds_are_no_targets() -> None:
    crowd = [(0, DOG, HERE, True)]
    assert kinds(crowd, [RIGHT, (0, DOG, HALF)]) == {}
    assert kinds(crowd, [(0, CAT, HERE), (0, DOG, FAR)]) == {"background": 2}
    assert kinds([*crowd, (0, DOG, HERE)], [RIGHT, RIGHT]) == {}
    found = mistakes(table(crowd, [RIGHT]))
    assert found.gold.tolist() == found.answer.tolist() == [Verdict.IGNORED]
    assert costs(found) == dict.fromkeys((kind.word for kind in KINDS), None)


def test_boxes_beyond_the_limit_are_no_mistakes() -> None:
    answers = [(0, DOG, FAR, 0.9), (0, DOG, HERE, 0.8), (0, CAT, FAR, 0.7), *[(0, STRAY, FAR)] * 3]
    assert kinds(GOLD, answers, max_dets=1) == {"background": 5, "missed": 1}
    assert kinds(GOLD, answers, max_dets=2) == {"background": 5}


def test_one_mistake_mends_a_gold_box_and_the_highest_does() -> None:
    answers = [(0, CAT, HERE, 0.5), (0, DOG, LOOSE, 0.9), (0, DOG, TENTH, 0.4)]
    found = mistakes(table(GOLD, answers))
    assert found.answer.tolist() == [Verdict.CLASS, Verdict.BOX, Verdict.BOX]
    assert found.mends.tolist() == [False, True, False]
    assert found.about.tolist() == [0, 0, 0]
    assert found.gold.tolist() == [Verdict.BOX]
    assert {name: value for name, value in costs(found).items() if value} == pytest.approx({"box": 1.0})
    level = [row[:3] for row in answers]  # all scores equal: the first emitted
    assert mistakes(table(GOLD, level)).mends.tolist() == [True, False, False]


def test_costs_of_a_mixed_scene() -> None:
    # Four dogs in two images: one right, one loose, one called a cat, one missed; a repeat and an invention in front.
    gold = [(0, DOG, HERE), (0, DOG, FAR), (1, DOG, HERE), (1, DOG, FAR)]
    answers = [
        (0, DOG, (300, 0, 340, 40), 0.9), (0, DOG, HERE, 0.8), (0, DOG, HERE, 0.7), (0, DOG, (500, 500, 600, 540), 0.6),
        (1, CAT, HERE, 0.5), (1, DOG, (800, 0, 840, 40), 0.4),
    ]  # fmt: skip
    found = mistakes(table(gold, answers))
    assert tally(found, *found.everything) == {
        "class": 1, "box": 1, "both": 0, "duplicate": 1, "background": 2, "missed": 1,
    }  # fmt: skip
    quarter = 26  # of the 101 recalls: 0 to .25; then 25 to each next quarter
    before = quarter * 1 / 2
    assert averages(found).mean == pytest.approx(before / 101)
    expected = {
        "class": 25 * 2 / 5,  # the mended one stands fifth
        "box": 25 * 2 / 4,
        "both": 0,
        "duplicate": 0,
        "background": quarter / 2,
        "missed": 8 / 2,  # one third of the recalls is 34
    }
    assert costs(found) == pytest.approx({name: value / 101 for name, value in expected.items()})
    assert special_costs(found) == pytest.approx({
        "false positives": quarter / 2 / 101, "false negatives": (101 - quarter) / 2 / 101,
    })  # fmt: skip
    first = np.array([True, False, False, False, False, False])
    half_mended = costs(found, first, np.zeros(4, dtype=np.bool_))
    assert half_mended["background"] == pytest.approx(quarter / 2 / 101)
    assert [name for name, value in half_mended.items() if value] == ["background"]


def test_a_class_whose_gold_is_gone_stays_while_it_has_false_positives() -> None:
    gold = [(0, DOG, HERE), (0, CAT, FAR)]
    silent, wrong = mistakes(table(gold, [RIGHT])), mistakes(table(gold, [RIGHT, (1, CAT, FAR)]))
    assert (averages(silent).mean, averages(wrong).mean) == pytest.approx((0.5, 0.5))
    assert (costs(silent)["missed"], costs(wrong)["missed"]) == pytest.approx((0.5, 0.0))
    missed = mended(silent, {Verdict.MISSED})
    assert (missed.of(DOG), missed.of(CAT), missed.of(2)) == (pytest.approx(1), 1.0, None)


def test_of_two_equal_gold_boxes_the_last_is_found() -> None:
    assert mistakes(table(GOLD * 2, [RIGHT])).gold.tolist() == [Verdict.MISSED, Verdict.RIGHT]


def test_more_pairs_of_boxes_than_are_looked_at_at_a_time() -> None:
    rows = [(0, DOG, (200 * i, 0, 200 * i + 100, 100)) for i in range(300)]
    assert kinds(rows, rows, max_dets=300) == {}
    assert kinds(rows, [(0, CAT, box) for _, _, box in rows], max_dets=300) == {"class": 300}


def test_gold_with_annotation_id_0_is_gold() -> None:
    shipped = table(GOLD, [RIGHT])
    lost = replace(shipped, truth=replace(shipped.truth, lost=np.ones(1, np.bool_)))
    assert averages(mistakes(lost)).mean == pytest.approx(1)


def test_nothing_at_all() -> None:
    for found in (mistakes(table([], [])), mistakes(replace(table([], []), labels=(), images=0))):
        assert set(tally(found, *found.everything).values()) == {0}
        assert set(costs(found).values()) == set(special_costs(found).values()) == {None}


def test_referring_mistakes() -> None:
    ious, boxed = np.array([0, 0, 0.099, 0.1, 0.499, 0.5, 1]), np.array([False] + 6 * [True])
    names = {name: np.flatnonzero(which).tolist() for name, which in referring_mistakes(ious, boxed).items()}
    assert names == {"no box": [0], "wrong place": [1, 2], "loose box": [3, 4]}
    strict = referring_mistakes(ious, boxed, strict=True)
    assert np.flatnonzero(strict["loose box"]).tolist() == [3, 4, 5]


# The definitions once more, image by image and box by box.


def overlap(answers: Guesses, row: int, truth: Truth, gold: int, crowd: bool = False) -> float:
    found = iou_aligned(
        answers.boxes[[row]], truth.boxes[[gold]], answers.extents[[row]], truth.extents[[gold]], np.array([crowd])
    )
    return float(found[0])


def by_definition(scene: Columns, max_dets: int) -> tuple[list[Verdict], list[int], dict[int, int]]:
    """The kind of each answer, the gold row that it found or is about, and who found each gold row."""
    truth, answers = scene.truth, scene.answers
    verdict, about = [Verdict.IGNORED] * len(answers), [-1] * len(answers)
    finder: dict[int, int] = {}
    seen: dict[tuple[int, int], int] = {}
    queue: list[tuple[int, list[int]]] = []
    for row in sorted(range(len(answers)), key=lambda row: (-answers.scores[row], row)):
        image, label = int(answers.image[row]), int(answers.label[row])
        seen[image, label] = seen.get((image, label), 0) + 1
        if label >= 0 and seen[image, label] > max_dets:
            continue
        here = [g for g in range(len(truth)) if truth.image[g] == image]
        plain = [g for g in here if not truth.crowd[g]]
        fits = [g for g in plain if truth.label[g] == label and overlap(answers, row, truth, g) >= 0.5]
        free = [g for g in fits if g not in finder]
        if free:
            best = max(free, key=lambda g: (overlap(answers, row, truth, g), g))
            finder[best], verdict[row], about[row] = row, Verdict.RIGHT, best
            continue
        crowds = [g for g in here if truth.crowd[g] and truth.label[g] == label]
        if not any(overlap(answers, row, truth, g, crowd=True) >= 0.5 for g in crowds):
            queue.append((row, plain))
    for row, plain in queue:
        of_class = [(overlap(answers, row, truth, g), -g) for g in plain if truth.label[g] == answers.label[row]]
        of_others = [(overlap(answers, row, truth, g), -g) for g in plain if truth.label[g] != answers.label[row]]
        own, other = max(of_class, default=(0.0, 1)), max(of_others, default=(0.0, 1))
        if 0.1 <= own[0] <= 0.5:
            verdict[row], about[row] = Verdict.BOX, -own[1]
        elif other[0] >= 0.5:
            verdict[row], about[row] = Verdict.CLASS, -other[1]
        elif own[0] >= 0.5:
            verdict[row] = Verdict.DUPLICATE
        else:
            verdict[row] = Verdict.BACKGROUND if max(own[0], other[0]) <= 0.1 else Verdict.BOTH
    return verdict, about, finder


def scored_again(scene: Columns, truth: Truth, answers: Guesses) -> float | None:
    """AP50 by the ordinary AP, class by class."""
    values: list[float] = []
    had_gold = False
    for label in range(len(scene.labels)):
        gold, said = truth.take(truth.label == label), answers.take(answers.label == label)
        value = ap(
            replace(gold, label=gold.label * 0), replace(said, label=said.label * 0), 1, max_dets=1000
        ).numbers["AP50"]  # fmt: skip
        had = bool((~scene.truth.crowd & (scene.truth.label == label)).any())
        had_gold |= had
        if value != ABSENT:
            values.append(value)
        elif had and len(said):
            values.append(0.0)
    return None if not had_gold else float(np.mean(values)) if values else 1.0


def mended_by_hand(scene: Columns, max_dets: int, wanted: set[Verdict]) -> float | None:
    """AP50 after the boxes, labels and gold themselves were changed."""
    verdict, about, finder = by_definition(scene, max_dets)
    answers, truth = scene.answers, scene.truth
    label, boxes = answers.label.copy(), answers.boxes.copy()
    keep = [kind != Verdict.IGNORED for kind in verdict]
    tried: dict[int, int] = {}
    for row in sorted(range(len(answers)), key=lambda row: (-answers.scores[row], row)):
        kind, gold = verdict[row], about[row]
        mends = kind in (Verdict.BOX, Verdict.CLASS) and gold not in finder and tried.setdefault(gold, row) == row
        if kind in wanted:
            keep[row] = mends
            if mends:
                label[row], boxes[row] = truth.label[gold], truth.boxes[gold]
    missed = [not truth.crowd[g] and g not in finder and g not in tried for g in range(len(truth))]
    gone = np.array(missed, dtype=np.bool_) & (Verdict.MISSED in wanted)
    changed = replace(answers, label=label, boxes=boxes, extents=extents(boxes))
    return scored_again(scene, truth.take(~gone), changed.take(np.array(keep, dtype=np.bool_)))


@st.composite
def scenes(draw: st.DrawFn, crowds: bool = True) -> Columns:
    """Boxes that overlap in every way, equal boxes, equal scores, crowds, labels that nobody asked."""
    side = st.sampled_from([2, 4, 5, 6])
    box = st.tuples(st.integers(0, 5), st.integers(0, 2), side, side).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    )
    place = st.tuples(st.integers(0, 1), st.integers(0, 2))
    gold = draw(st.lists(st.tuples(place, box, st.integers(0, 7)), max_size=8))
    gold += draw(st.lists(st.sampled_from(gold), max_size=2)) if gold else []
    answers = draw(st.lists(st.tuples(place, box, st.sampled_from([1.0, 0.5])), max_size=12))
    repeats = draw(st.lists(st.sampled_from(answers), max_size=4)) if answers else []
    level, stray = draw(st.booleans()), draw(st.integers(-1, 2))
    return table(
        [(*where, corners, crowds and chance == 0) for where, corners, chance in gold],
        [
            (image, -1 if label == stray else label, corners, 1.0 if level else score)
            for (image, label), corners, score in answers + repeats
        ],
    )


LIMITS = st.sampled_from([100, 2])


@settings(max_examples=200)
@given(scenes(), LIMITS)
def test_kinds_equal_their_definitions(scene: Columns, max_dets: int) -> None:
    found = mistakes(scene, max_dets)
    verdict, about, finder = by_definition(scene, max_dets)
    assert [Verdict(kind) for kind in found.answer] == verdict
    assert found.about.tolist() == about
    assert np.flatnonzero(found.gold == Verdict.RIGHT).tolist() == sorted(finder)


@settings(max_examples=200)
@given(scenes(), LIMITS, st.sets(st.sampled_from(KINDS)))
def test_ap50_is_what_ap_says_once_kinds_are_mended(scene: Columns, max_dets: int, wanted: set[Verdict]) -> None:
    mean, by_hand = mended(mistakes(scene, max_dets), wanted).mean, mended_by_hand(scene, max_dets, wanted)
    assert mean == (None if by_hand is None else pytest.approx(by_hand, abs=1e-12))


@settings(max_examples=40)
@given(scenes(), LIMITS)
def test_a_cost_is_what_mending_one_kind_gains(scene: Columns, max_dets: int) -> None:
    found, before = mistakes(scene, max_dets), mended_by_hand(scene, max_dets, set())
    for kind, cost in zip(KINDS, costs(found).values(), strict=True):
        after = mended_by_hand(scene, max_dets, {kind})
        assert cost == (None if before is None or after is None else pytest.approx(after - before, abs=1e-12))


@settings(max_examples=60)
@given(scenes(), LIMITS)
def test_the_special_costs(scene: Columns, max_dets: int) -> None:
    found = mistakes(scene, max_dets)
    verdict, _, finder = by_definition(scene, max_dets)
    right = np.array([kind == Verdict.RIGHT for kind in verdict], dtype=np.bool_)
    counted = np.array([kind != Verdict.IGNORED for kind in verdict], dtype=np.bool_)
    kept = scene.truth.crowd.copy()
    kept[list(finder)] = True
    before = mended_by_hand(scene, max_dets, set())
    pure = scored_again(scene, scene.truth, scene.answers.take(right))
    whole = scored_again(scene, scene.truth.take(kept), scene.answers.take(counted))
    for value, after in zip(special_costs(found).values(), (pure, whole), strict=True):
        assert value == (None if before is None or after is None else pytest.approx(after - before, abs=1e-12))


@settings(max_examples=100)
@given(scenes())
def test_mistakes_are_the_false_positives_and_ap50_is_ap50(scene: Columns) -> None:
    found = mistakes(scene)
    whole = ap(scene.truth, scene.guesses, len(scene.labels))
    false = ~(whole.matches.hits | whole.matches.ignored).astype(np.uint64) & np.uint64(1)
    counted = tally(found, *found.everything)
    assert sum(counted.values()) - counted["missed"] == int(false.sum()) + len(scene.strays)
    mean = averages(found).mean
    assert (ABSENT if mean is None else mean) == whole.numbers["AP50"]


@settings(max_examples=100)
@given(scenes(), LIMITS)
def test_with_all_kinds_mended_nothing_is_wrong(scene: Columns, max_dets: int) -> None:
    mean = mended(mistakes(scene, max_dets), KINDS).mean
    assert mean == (pytest.approx(1) if (~scene.truth.crowd).any() else None)


@settings(max_examples=100)
@given(scenes(crowds=False))
def test_perfect_answers_have_no_mistakes(scene: Columns) -> None:
    truth = scene.truth
    perfect = Guesses(truth.image, truth.label, truth.boxes, np.ones(len(truth)), truth.extents)
    found = mistakes(replace(scene, answers=perfect))
    assert set(tally(found, *found.everything).values()) == {0}
    assert averages(found).mean == (pytest.approx(1) if len(truth) else None)
