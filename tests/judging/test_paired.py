"""Differences of two Results: their spread, their p-values, and what does not compare."""

from __future__ import annotations

import math

import numpy as np
import pytest
from judging.made import coin, made
from scipy.stats import t

from vr1bench.errors import NotComparableError, Vr1benchError
from vr1bench.paired import Difference, difference, differing, holm, mean_difference, order_free, replicates

ACC = "Acc@0.5"


def test_the_sd_of_a_paired_difference_is_that_of_the_images_differences():
    old, new = coin(0.7, 2000), coin(0.7, 2000)
    flipped = np.arange(2000) % 20 == 0
    new = np.where(flipped, ~old, old)
    found = difference(made(old), made(new), ACC)
    changes = new.astype(float) - old
    assert found.value == pytest.approx(changes.mean(), abs=1e-12)
    assert found.sd == pytest.approx(changes.std() / math.sqrt(2000), rel=0.08)  # 1000 replicates: 2 % each way, mostly
    assert found.p == pytest.approx(2 * t.sf(abs(found.value) / found.sd, 1999))
    assert found.p_drop == pytest.approx(t.cdf(found.value / found.sd, 1999))
    assert found.interval == pytest.approx((found.value - 1.96 * found.sd, found.value + 1.96 * found.sd))


def test_equal_results_do_not_differ():
    found = difference(made(coin(0.7)), made(coin(0.7)), ACC)
    assert (found.value, found.sd, found.p, found.p_drop) == (0.0, 0.0, 1.0, 1.0)


def test_pairing_takes_out_what_both_find_hard():
    old = coin(0.5, 1000)
    new = old.copy()
    new[:10] = ~new[:10]
    both, of_one = difference(made(old), made(new), ACC).sd, np.std(replicates(made(old), ACC), ddof=1)
    assert both < 0.25 * of_one


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
def test_a_change_of_all_images_alike_is_no_surer_than_the_sign_test_says(n):
    found = difference(made(np.ones(n, bool)), made(np.zeros(n, bool)), ACC)
    assert found.p_drop > 0.6 * 0.5**n
    assert (found.p_drop < 0.05) <= (0.5**n < 0.05)
    sure = difference(made(np.ones(50, bool)), made(np.zeros(50, bool)), ACC)
    assert sure.p_drop < 1e-6


@pytest.mark.parametrize("n", [10, 50])
def test_the_same_model_twice_seldom_differs(n):
    """One-sided p below 5 % in no more of 1000 nulls than chance allows; half of the images answered otherwise."""
    rng = np.random.default_rng(n)
    seen = 0
    for _ in range(1000):
        old = rng.random(n) < 0.6
        new = np.where(rng.random(n) < 0.5, rng.random(n) < 0.6, old)
        change = new.astype(float) - old
        value = change.mean()
        sd = max(change.std(ddof=1) / math.sqrt(n), abs(value) / math.sqrt(n))
        seen += Difference("a", ACC, 0.0, value, sd, n, n - 1).p_drop < 0.05
    assert seen / 1000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_what_was_not_made_alike_does_not_compare():
    old, other = made(coin(0.7)), made(coin(0.7), protocol="vlm-r1")
    assert differing(old, made(coin(0.6))) == []
    for new, words in (
        (other, "protocol is 'standard' in one and 'vlm-r1' in the other"),
        (made(coin(0.7), data="else"), "data is"),
        (made(coin(0.7, 300)), "n is 400 in one and 300 in the other"),
    ):
        with pytest.raises(NotComparableError, match=words):
            difference(old, new, ACC)
    across = difference(old, other, ACC, across=True)
    assert not across.paired
    alone = [np.std(replicates(one, ACC), ddof=1) for one in (old, other)]
    assert across.sd == pytest.approx(math.hypot(*alone) * math.sqrt(400 / 399))


def test_replicates_must_be_there():
    old = made(coin(0.7))
    bare = old.model_copy(update={"values": old.values.model_copy(update={"replicates": {}})})
    with pytest.raises(Vr1benchError, match="score its run folder again"):
        difference(bare, old, ACC)
    with pytest.raises(Vr1benchError, match=r"no replicates of 'AP'; expected one of those kept: Acc@0\.5"):
        difference(old, old, "AP")


def test_undefined_replicates_are_left_out():
    from vr1bench.metrics.bootstrap import packed

    old = made(coin(0.7))
    holes = replicates(old, ACC)
    holes[::3] = -1.0  # ABSENT
    holed = old.model_copy(update={"values": old.values.model_copy(update={"replicates": {ACC: packed(holes)}})})
    assert np.isnan(replicates(holed, ACC)).sum() == 334
    assert difference(holed, made(coin(0.6)), ACC).sd < 0.1


def test_the_mean_of_several():
    pairs = {
        name: (made(coin(0.7, seed=seed), name), made(coin(0.65, seed=seed + 10), name))
        for seed, name in enumerate(["a", "b", "c"])
    }
    found = mean_difference(pairs, dict.fromkeys(pairs, ACC))
    parts = [difference(*pair, ACC) for pair in pairs.values()]
    assert found.name == "mean of 3"
    assert found.n == 1200
    assert found.value == pytest.approx(np.mean([part.value for part in parts]))
    assert found.sd == pytest.approx(math.sqrt(sum(part.sd**2 for part in parts)) / 3, rel=0.1)
    assert mean_difference({"a": pairs["a"]}, {"a": ACC}) is None
    assert mean_difference(pairs, {"a": ACC, "b": ACC, "c": "AP"}) is None


def test_benchmarks_of_the_same_data_move_together():
    old, new = coin(0.7), coin(0.6, seed=1)
    pairs = {name: (made(old, name, data="same"), made(new, name, data="same")) for name in ("a", "b")}
    found = mean_difference(pairs, dict.fromkeys(pairs, ACC))
    assert found.sd == pytest.approx(difference(*pairs["a"], ACC).sd, rel=0.01)


def test_holm():
    """The example of Holm's procedure: ascending p-values times what is left, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_a_result_is_judged_by():
    result = made(coin(0.7))
    assert order_free(result) == ACC
    ranked = result.values.model_copy(update={"primary": "AP"})
    assert order_free(result.model_copy(update={"values": ranked})) == "AP_tie"
