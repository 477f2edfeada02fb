"""Error bars at COCO's size beside one evaluation of pycocotools: ratio of CPU time measured in one run.

Ours is everything from columns to intervals: matching, drawing 1000 replicates, replaying each.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pytest_benchmark.fixture import BenchmarkFixture
from test_ap_speed import IMAGES, LABELS, Engines, cpu_seconds

from vr1bench.metrics.ap import ap
from vr1bench.metrics.bootstrap import Draws, interval
from vr1bench.metrics.order import spread
from vr1bench.metrics.replay import NUMBERS, replicates

FOUR = ("AP", "AP50", "AP75", "AR100")


def intervals(engines: Engines, names: tuple[str, ...]) -> list[tuple[float, float] | None]:
    found = ap(engines.truth, engines.guesses, LABELS)
    drawn = replicates(found, Draws(IMAGES, 1), names)
    return [interval(found.numbers[name], drawn[name]) for name in names]


def pycocotools(engines: Engines) -> list[float]:
    gold = COCO()
    gold.dataset = {"images": engines.images, "categories": engines.classes, "annotations": engines.gold}
    with contextlib.redirect_stdout(io.StringIO()):
        gold.createIndex()
        judge = COCOeval(gold, gold.loadRes(engines.answers), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(value) for value in judge.stats]


@pytest.mark.parametrize("scores", ["constant", pytest.param("distinct", marks=pytest.mark.slow)])
def test_a_thousand_replicates_in_half_of_one_evaluation(benchmark: BenchmarkFixture, scores: str) -> None:
    engines = Engines(scores)
    bars: list[tuple[float, float] | None] = []
    stats: list[float] = []
    ours = [cpu_seconds(lambda: bars.extend(intervals(engines, FOUR)))]
    theirs = cpu_seconds(lambda: stats.extend(pycocotools(engines)))
    benchmark.pedantic(lambda: ours.append(cpu_seconds(lambda: intervals(engines, FOUR))), rounds=1)
    np.testing.assert_allclose(engines.ours(), stats, atol=1e-12)
    assert all(bar is not None and bar[0] < bar[1] for bar in bars)
    ratio = max(ours) / theirs
    benchmark.extra_info |= {"cpu_s": max(ours), "pycocotools_cpu_s": theirs, "ratio": ratio}
    print(f"\n{scores} scores: {ours[0]:.2f} and {ours[1]:.2f} s; pycocotools once {theirs:.2f} s: {ratio:.2f}")
    assert ratio <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("scores", ["constant", "distinct"])
def test_all_numbers_and_the_spread_of_orders(scores: str) -> None:
    engines = Engines(scores)
    theirs = cpu_seconds(lambda: pycocotools(engines))
    every = cpu_seconds(lambda: intervals(engines, tuple(NUMBERS)))
    found = ap(engines.truth, engines.guesses, LABELS)
    orders = cpu_seconds(lambda: spread(found, IMAGES, 1))
    print(f"\n{scores} scores: 14 numbers {every:.2f}, 60 orders {orders:.2f}, pycocotools once {theirs:.2f} s")
    assert every <= 2 * theirs
    assert orders <= theirs / 3
