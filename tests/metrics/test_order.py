"""The spread of AP over orders of the images, against pycocotools with the images renumbered."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from test_ap import Problem, problems, pycocotools, random_problem

from vr1bench.metrics.ap import ap
from vr1bench.metrics.order import NAMES, Spread, renumberings, spread


def by_pycocotools(problem: Problem, images: int, seed: int, count: int) -> dict[str, Spread]:
    truth, guesses, labels = problem
    table = [
        pycocotools(replace(truth, image=ranks[truth.image]), replace(guesses, image=ranks[guesses.image]), labels)
        for ranks in renumberings(images, seed, count)
    ]
    values = np.array([judge.stats[:3] for judge in table])
    sd = values.std(axis=0, ddof=1)
    columns = zip(values.mean(axis=0), sd, values.min(axis=0), values.max(axis=0), strict=True)
    return {name: Spread(*map(float, row)) for name, row in zip(NAMES, columns, strict=True)}


def check(found: dict[str, Spread], expected: dict[str, Spread]) -> None:
    assert list(found) == list(expected) == ["AP", "AP50", "AP75"]
    for name in NAMES:
        sides = [[s.mean, s.sd, s.low, s.high] for s in (found[name], expected[name])]
        assert sides[0] == pytest.approx(sides[1], abs=1e-12)


@pytest.mark.parametrize("scores", ["one decimal", "all equal"])
def test_spread_equals_pycocotools_with_renumbered_images(scores: str) -> None:
    truth, guesses, labels = random_problem(7, 15, 3, 100, 220)
    truth = replace(truth, crowd=np.arange(100) % 5 == 0)
    if scores == "all equal":
        guesses = replace(guesses, scores=np.ones(len(guesses)))
    found = spread(ap(truth, guesses, labels), 17, 5)
    check(found, by_pycocotools((truth, guesses, labels), 17, 5, 60))
    assert found["AP"].low < found["AP"].mean < found["AP"].high
    assert found["AP"].sd > 0


@settings(max_examples=40)
@given(problems())
def test_spread_of_small_problems(problem: Problem) -> None:
    check(spread(ap(*problem), 3, 1, 5), by_pycocotools(problem, 3, 1, 5))


def test_without_ties_between_images_nothing_spreads() -> None:
    truth, guesses, labels = random_problem(7, 15, 3, 100, 220)
    for scores in (np.arange(220.0), guesses.image.astype(np.float64)):
        found = ap(truth, replace(guesses, scores=scores), labels)
        assert spread(found, 15, 0) == {
            name: Spread(found.numbers[name], 0.0, found.numbers[name], found.numbers[name]) for name in NAMES
        }


def test_renumberings_are_permutations_that_never_change() -> None:
    table = renumberings(7, 3)
    assert table.shape == (60, 7)
    np.testing.assert_array_equal(np.sort(table, axis=1), np.tile(np.arange(7), (60, 1)))
    assert table[:3].tolist() == [[0, 2, 6, 5, 1, 3, 4], [1, 6, 0, 2, 4, 3, 5], [5, 6, 1, 3, 4, 2, 0]]
