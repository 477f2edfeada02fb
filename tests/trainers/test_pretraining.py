"""The schedule of the demo model's pretraining."""

import pytest

from vr1bench.trainers.pretrain_demo import CONSTANT_SHARE, WARM_UP_STEPS, Clock


def test_planned_steps_decide_where_there_are_some_whatever_time_they_take():
    clock = Clock(minutes=1, planned=400, steps=100, spent_s=3600)
    assert clock.progress == 0.25
    assert Clock(minutes=1, planned=0, steps=100, spent_s=30).progress == 0.5


def test_the_rate_warms_up_stays_and_falls_to_zero_over_the_planned_steps():
    def rate(steps):
        return Clock(minutes=80, planned=1000, steps=steps).rate_factor

    assert rate(0) == 1 / WARM_UP_STEPS
    assert rate(WARM_UP_STEPS) == rate(int(1000 * CONSTANT_SHARE)) == 1
    assert rate(700) == pytest.approx(0.5)
    assert rate(1000) == 0
