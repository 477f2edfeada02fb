"""The study's statistics on made-up numbers of which the right answer is known."""

import math

import numpy as np
import pytest

from vr1bench.metrics.bootstrap import Draws, means
from vr1bench.paired import Difference
from vr1bench.trainers.study.inference import OverSeeds, Part, over_images, over_seeds, rise, side, verdict

IMAGES = Difference("out", "mean", 0.50, 0.54, 0.01, 300, 299.0)
"""4 points, 95 % from 2 to 6."""


def part(old, new, seed, share=1.0):
    """What two models get right of the same pictures, compared as Results of them would be."""
    draws = Draws(len(old), seed)
    return Part(share, float(old.mean()), float(new.mean()), means(draws, new) - means(draws, old), len(old))


def test_the_interval_over_images_holds_the_true_difference_as_often_as_it_says():
    rng = np.random.default_rng(1)
    truth, held, rounds = (0.1 + 0.0) / 2, 0, 300
    for one in range(rounds):
        parts = []
        for place, gain in enumerate((0.1, 0.0)):
            hard = rng.random(150)  # what is hard for one model is hard for the other
            old, new = ((hard + 0.1 * rng.standard_normal((2, 150))) < np.array([[0.5], [0.5 + gain]])).astype(float)
            parts.append(part(old, new, 2 * one + place, 0.5))
        low, high = over_images(parts).interval
        held += low <= truth <= high
    # 95 % of 300, give or take three standard deviations of a count
    assert 0.95 * rounds - 12 <= held <= 0.95 * rounds + 12


def test_a_mean_over_benchmarks_is_as_paired_has_it():
    hard = np.random.default_rng(0).random(200)
    old, new = (hard < 0.5).astype(float), (hard < 0.6).astype(float)
    one = over_images([part(old, new, 7)])
    both = over_images([part(old, new, 7, 0.5), part(old, new, 8, 0.5)])
    assert one.value == pytest.approx(both.value) == pytest.approx(new.mean() - old.mean())
    assert both.sd == pytest.approx(one.sd / math.sqrt(2), rel=0.1)  # apart, so that errors cancel
    same = over_images([part(old, new, 7, 0.5), part(old, new, 7, 0.5)])
    assert same.sd == pytest.approx(one.sd, rel=0.02)  # the same pictures, which cancel nothing


def test_over_seeds_is_students_t():
    found = over_seeds([0.01, 0.02, 0.03])
    half = 4.302652729911275 * 0.01 / math.sqrt(3)  # the table's 97.5 % point of t with 2 degrees of freedom
    assert (found.value, found.low, found.high) == pytest.approx((0.02, 0.02 - half, 0.02 + half))


def test_a_single_seed_has_no_interval_and_decides_nothing():
    found = over_seeds([0.04])
    assert found == OverSeeds(0.04, None, None)
    assert verdict(IMAGES, found, "GRPO", "SFT") == "undecided"


def test_a_rise_and_its_standard_error():
    one = rise([([1.0, 3.0], [5.0, 7.0])])
    assert (one.value, one.se) == pytest.approx((4.0, math.sqrt(2 / 2 + 2 / 2)))
    two = rise([([1.0, 3.0], [5.0, 7.0]), ([1.0, 3.0], [7.0, 9.0])])
    assert (two.value, two.se) == pytest.approx((5.0, math.sqrt(2 + 2) / 2))


@pytest.mark.parametrize(("gain", "sure"), [(3.01, True), (2.99, False), (-3.01, False)])
def test_a_reward_rose_surely_from_three_standard_errors_on(gain, sure):
    spread = math.sqrt(0.5)  # two steps that far from their mean: each mean has variance 0.5, their difference 1
    found = rise([([-spread, spread], [gain - spread, gain + spread])])
    assert found.se == pytest.approx(1.0)
    assert found.sure is sure


def test_a_reward_that_never_moves_did_not_rise():
    assert not rise([([3.0, 3.0], [3.0, 3.0])]).sure


@pytest.mark.parametrize(
    ("images", "seeds", "said"),
    [
        (0.04, (0.01, 0.07), "GRPO above"),
        (-0.04, (-0.07, -0.01), "SFT above"),
        (0.04, (-0.01, 0.09), "undecided"),  # the pictures say yes, the seeds do not
        (0.01, (0.005, 0.015), "undecided"),  # the seeds say yes, the pictures do not
        (0.04, (-0.07, -0.01), "undecided"),  # on two sides
    ],
)
def test_the_verdict_needs_images_and_seeds_on_one_side(images, seeds, said):
    difference = Difference("out", "mean", 0.5, 0.5 + images, 0.01, 300, 299.0)
    over = OverSeeds(sum(seeds) / 2, *seeds)
    assert verdict(difference, over, "GRPO", "SFT") == said
    assert side(difference, over) == {"GRPO above": 1, "SFT above": -1, "undecided": 0}[said]


def test_a_training_whose_reward_did_not_rise_decides_nothing():
    assert verdict(IMAGES, OverSeeds(0.04, 0.01, 0.07), "GRPO", "SFT", trained=False) == "inconclusive"
