"""Replicates against the long way: images really repeated, everything matched and scored again."""

import hashlib
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ap import Problem, problems, pycocotools, random_problem

from vr1bench.errors import Vr1benchError
from vr1bench.match import Guesses, Truth
from vr1bench.metrics.ap import ABSENT, NAMES, AveragePrecision, ap
from vr1bench.metrics.bootstrap import (
    Draws,
    count_replicates,
    interval,
    means,
    multiplicities,
    packed,
    ratios,
    seed_of,
    unpacked,
)
from vr1bench.metrics.nms_ap import nms_ap
from vr1bench.metrics.pointwise import Counts, accuracy, mean_iou
from vr1bench.metrics.replay import NUMBERS, replicates

Rows = TypeVar("Rows", Truth, Guesses)


def resampled(rows: Rows, times: np.ndarray) -> Rows:
    """The rows with image i repeated times[i] times, copies next to each other."""
    times = times.astype(np.int64)
    own = [np.flatnonzero(rows.image == image) for image in range(len(times))]
    empty = np.empty(0, np.int64)
    chosen = np.concatenate([empty, *(np.tile(part, n) for part, n in zip(own, times, strict=True))])
    first = np.cumsum(times) - times
    ranks = [np.repeat(start + np.arange(n), len(part)) for part, n, start in zip(own, times, first, strict=True)]
    return replace(rows.take(chosen), image=np.concatenate([empty, *ranks]))


def check_replay(problem: Problem, images: int, seed: int, count: int, max_dets: int = 100) -> dict[str, np.ndarray]:
    truth, guesses, labels = problem
    found = replicates(ap(truth, guesses, labels, max_dets), Draws(images, seed, count))
    assert list(found) == [*NAMES, "AP_tie", "AP50_tie"]
    for place, times in enumerate(multiplicities(images, seed, count)):
        expected = ap(resampled(truth, times), resampled(guesses, times), labels, max_dets).numbers
        assert {name: values[place] for name, values in found.items()} == pytest.approx(expected, abs=1e-12)
    return found


@settings(max_examples=200)
@given(problems(), st.integers(0, 2**48), st.sampled_from([100, 100, 2, 1]))
def test_replicates_equal_scoring_the_resampled_data(problem: Problem, seed: int, max_dets: int) -> None:
    check_replay(problem, 3, seed, 4, max_dets)


@pytest.mark.parametrize("scores", ["one decimal", "all equal", "distinct"])
@pytest.mark.parametrize("max_dets", [100, 3])
def test_replicates_of_larger_sets(scores: str, max_dets: int) -> None:
    truth, guesses, labels = random_problem(5, 25, 6, 180, 320)
    if scores != "one decimal":
        order = np.random.default_rng(1).random(len(guesses))
        guesses = replace(guesses, scores=order if scores == "distinct" else np.ones(len(guesses)))
    found = check_replay((truth, guesses, labels), 27, 11, 30, max_dets)
    assert all(np.std(values) > 0 for values in found.values())


def test_replicates_equal_pycocotools() -> None:
    truth, guesses, labels = random_problem(6, 12, 3, 90, 200)
    truth = replace(truth, lost=np.zeros(len(truth), np.bool_))
    for given_scores in (guesses.scores, np.ones(len(guesses))):
        answers = replace(guesses, scores=given_scores)
        found = replicates(ap(truth, answers, labels), Draws(12, 3, 8), NAMES)
        for place, times in enumerate(multiplicities(12, 3, 8)):
            judge = pycocotools(resampled(truth, times), resampled(answers, times), labels)
            assert [found[name][place] for name in NAMES] == pytest.approx(judge.stats.tolist(), abs=1e-12)


def test_copies_of_tied_boxes_alternate() -> None:
    # Image 0 answers wrong, right; drawn twice that is wrong, right, wrong, right: precision 1/2 at both.
    boxes = np.array([[50.0, 0, 60, 10], [0.0, 0, 10, 10]])
    zeros, area, no = np.zeros(2, np.int64), np.full(2, 100.0), np.zeros(1, np.bool_)
    truth = Truth(zeros[:1], zeros[:1], boxes[1:], no, area[:1], area[:1], no)
    found = replicates(ap(truth, Guesses(zeros, zeros, boxes, np.ones(2), area), 1), Draws(2, 0, 40), ("AP",))["AP"]
    times = multiplicities(2, 0, 40)[:, 0]
    assert set(times) == {0, 1, 2}
    assert found.tolist() == pytest.approx(np.where(times == 0, ABSENT, 0.5))


def test_nms_ap_is_replayed_too() -> None:
    truth, guesses, labels = random_problem(8, 9, 3, 60, 150)
    found = replicates(nms_ap(truth, guesses, labels), Draws(9, 1, 6), ("AP", "AP50"))
    for place, times in enumerate(multiplicities(9, 1, 6)):
        expected = nms_ap(resampled(truth, times), resampled(guesses, times), labels).numbers
        assert [found["AP"][place], found["AP50"][place]] == pytest.approx(
            [expected["AP"], expected["AP50"]], abs=1e-12
        )


def test_any_choice_of_names_gives_the_same_numbers() -> None:
    found, draws = ap(*random_problem(4, 20, 3, 200, 300)), Draws(20, 2, 50)
    every = replicates(found, draws)
    assert list(every) == list(NUMBERS)
    for names in (("AP75",), ("AP50", "ARm"), ("AP50_tie", "APl"), ()):
        some = replicates(found, draws, names)
        assert list(some) == list(names)
        for name in names:
            np.testing.assert_array_equal(some[name], every[name])


def test_nothing_to_count() -> None:
    truth, guesses, labels = random_problem(4, 6, 2, 40, 50)
    none = np.empty(0, np.int64)
    silent = replicates(ap(truth, guesses.take(none), labels), Draws(6, 0, 20))
    assert set(silent["AP"]) == set(silent["AR100"]) == set(silent["AP_tie"]) == {0.0}
    goldless = replicates(ap(truth.take(none), guesses, labels), Draws(6, 0, 20))
    assert all(set(values) == {ABSENT} for values in goldless.values())
    assert replicates(ap(truth.take(none), guesses.take(none), 0), Draws(0, 0, 3), ("AP",))["AP"].tolist() == [-1.0] * 3


def test_ties_beyond_max_dets_still_part_ap_tie_from_ap() -> None:
    # One place for two tied boxes: AP takes the first written, AP_tie the leftmost.
    boxes = np.array([[50.0, 0, 60, 10], [0.0, 0, 10, 10]])
    zeros, area, no = np.zeros(2, np.int64), np.full(2, 100.0), np.zeros(1, np.bool_)
    truth = Truth(zeros[:1], zeros[:1], boxes[1:], no, area[:1], area[:1], no)
    found: AveragePrecision = ap(truth, Guesses(zeros, zeros, boxes, np.ones(2), area), 1, max_dets=1)
    values = replicates(found, Draws(1, 0, 3), ("AP", "AP_tie"))
    assert (values["AP"].tolist(), values["AP_tie"].tolist()) == ([0.0] * 3, pytest.approx([1.0] * 3))


def test_sums_equal_those_of_the_resampled_data() -> None:
    rng = np.random.default_rng(0)
    guessed, gold = rng.integers(0, 5, 30), rng.integers(0, 5, 30)
    counts = Counts(np.minimum(guessed, gold) // 2, guessed, gold)
    ious = np.where(rng.random(30) < 0.3, 0.5, rng.random(30))
    draws = Draws(30, 9, 200)
    found = count_replicates(draws, counts)
    hits, overlap = means(draws, ious >= 0.5), means(draws, ious)
    for place, times in enumerate(multiplicities(30, 9, 200)):
        again = Counts(*(np.repeat(column, times) for column in (counts.right, counts.guessed, counts.gold)))
        assert found["f1"][place] == pytest.approx(again.f1, abs=1e-12)
        assert found["precision"][place] == pytest.approx(again.precision, abs=1e-12)
        assert found["recall"][place] == pytest.approx(again.recall, abs=1e-12)
        assert hits[place] == pytest.approx(accuracy(np.repeat(ious, times)), abs=1e-12)
        assert overlap[place] == pytest.approx(mean_iou(np.repeat(ious, times)), abs=1e-12)
    assert ratios(draws, ious, np.zeros(30)).tolist() == [0.0] * 200
    assert means(Draws(0, 0, 2), np.empty(0)).tolist() == [0.0, 0.0]


def test_draws_never_change() -> None:
    # Replicates in stored Results are compared with new ones: other draws would unpair them without a word.
    table = multiplicities(1001, seed_of("0123456789abcdef" * 4), 1000)
    assert (table.shape, table.dtype) == ((1000, 1001), np.uint8)
    assert (
        hashlib.sha256(table.tobytes()).hexdigest()
        == "1c724bb1331dad32ff1db270d8cb390d2d2b45dc7824d841a2e6169bc8a369d7"
    )
    np.testing.assert_array_equal(multiplicities(1001, 0x123456789AB, 3), table[:3])


def test_draws_are_those_of_a_bootstrap() -> None:
    table = multiplicities(3000, 1)
    assert (table.sum(axis=1, dtype=np.int64) == 3000).all()
    assert [float((table == n).mean()) for n in range(4)] == pytest.approx(
        [1 / np.e, 1 / np.e, 1 / (2 * np.e), 1 / (6 * np.e)], abs=1e-3
    )
    drawn = table.sum(axis=0, dtype=np.int64)  # binomial: mean 1000, sd 31.6
    assert float(drawn.std()) == pytest.approx(31.6, rel=0.05)
    assert abs(np.corrcoef(table[:500].ravel(), table[500:].ravel())[0, 1]) < 5e-3
    assert (multiplicities(3000, 2) != table).any()


def test_the_interval_is_196_sd_to_either_side_within_0_and_1() -> None:
    values = np.array([0.3, 0.4, 0.5, ABSENT])
    assert interval(0.45, values) == pytest.approx((0.45 - 0.196, 0.45 + 0.196))
    assert interval(0.1, values) == pytest.approx((0.0, 0.296))
    assert interval(0.9, values) == pytest.approx((0.704, 1.0))
    assert interval(0.4, np.full(10, 0.4)) == (0.4, 0.4)
    assert interval(0.4, np.array([0.4, ABSENT, ABSENT])) is None


def test_replicates_are_packed_as_float32() -> None:
    values = np.random.default_rng(3).random(1000)
    text = packed(values)
    assert len(text) == 5336
    np.testing.assert_array_equal(unpacked(text), values.astype(np.float32).astype(np.float64))
    assert packed(unpacked(text)) == text
    assert text.startswith(packed(values[:3])[:16])
    assert packed(np.array([1.0, ABSENT])) == "AACAPwAAgL8="
    for damaged in ("AACAPwAAgL8", "AACA", "&&&&", "é", "AADAfw=="):
        with pytest.raises(Vr1benchError, match="replicates are"):
            unpacked(damaged)


def test_a_seed_comes_from_a_sha256() -> None:
    assert seed_of("00000000000f" + "a" * 52) == 15
    for wrong in ("", "12345", "xyz" * 20):
        with pytest.raises(Vr1benchError, match="no seed from"):
            seed_of(wrong)
