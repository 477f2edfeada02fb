"""Two models side by side, and what a suite can see."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from judging.made import coin, made

from vr1bench.comparing import as_json, compare, text
from vr1bench.errors import NotComparableError
from vr1bench.gating import gate
from vr1bench.sensitivity import power, table


def test_what_changed():
    right = coin(0.7)
    old = {
        "a": made(right, "a", per_class={"dog": 0.5, "cat": 0.9, "cow": None, "ox": 0.1}),
        "b": made(right, "b"),
        "c": made(right, "c"),
    }
    new = {
        "a": made(np.where(np.arange(400) < 40, False, right), "a", per_class={"dog": 0.75, "cat": 0.8, "cow": 0.3}),
        "b": made(right, "b"),
        "d": made(right, "d"),
    }
    found = compare(old, new)
    assert [one.name for one in found.differences] == ["a", "b", "mean of 2"]
    assert (found.only_old, found.only_new) == (("c",), ("d",))
    assert [(mover.label, mover.new) for mover in found.movers] == [("dog", 0.75), ("cat", 0.8)]
    assert found.adjusted[0] == pytest.approx(3 * found.differences[0].p)
    said = text(found)
    assert said.splitlines()[2].endswith("*")
    assert "Only in one: c" in said
    assert "+25.0" in said
    rows = json.loads(as_json(found))
    assert rows["differences"][0]["difference"] == found.differences[0].value
    assert rows["classes"][0] == {"benchmark": "a", "class": "dog", "old": 0.5, "new": 0.75}


def test_nothing_in_common_does_not_compare():
    with pytest.raises(NotComparableError, match="one has a, the other b"):
        compare({"a": made(coin(0.5), "a")}, {"b": made(coin(0.5), "b")})


def test_across_says_so():
    old, new = {"a": made(coin(0.5), "a")}, {"a": made(coin(0.5), "a", protocol="vlm-r1")}
    with pytest.raises(NotComparableError):
        compare(old, new)
    assert "Not made alike" in text(compare(old, new, across=True))


def test_the_smallest_drop_is_found_as_often_as_it_says():
    """Simulated: a gate over one benchmark, on a model that is worse by exactly what is said to be detectable."""
    rng = np.random.default_rng(3)
    n, trials, share, agree = 300, 300, 0.7, 0.5
    right = rng.random(n) < share
    (row,) = power({"a": made(right, "a")}, correlation=agree)
    hits = 0
    for trial in range(trials):
        hard, shared = rng.random(n), rng.random(n) < agree  # where shared, both models are right or wrong together
        old = np.where(shared, hard < share, rng.random(n) < share)
        new = np.where(shared, hard < share - row.detectable, rng.random(n) < share - row.detectable)
        data = f"{trial}"
        hits += not gate({"a": made(new, "a", data=data)}, {"a": made(old, "a", data=data)}).passed
    assert hits / trials == pytest.approx(0.8, abs=0.1)


def test_a_second_model_measures_how_closely_both_go():
    right = coin(0.7, 1000)
    near = np.where(np.arange(1000) % 50 == 0, ~right, right)
    (guessed,), (seen,) = power({"a": made(right, "a")}), power({"a": made(right, "a")}, {"a": made(near, "a")})
    assert guessed.sd == seen.sd
    assert seen.sd_difference < guessed.sd_difference
    # One benchmark is two checks, of its metric and of its formats: z(1 - .05 / 2) + z(.8).
    assert seen.detectable == pytest.approx(2.8016 * seen.sd_difference, rel=1e-3)


def test_the_mean_sees_more_than_its_parts():
    results = {name: made(coin(0.7, seed=i), name) for i, name in enumerate("abcd")}
    *parts, mean = power(results)
    assert mean.name == "mean of 4"
    assert mean.detectable == pytest.approx(math.hypot(*(part.detectable for part in parts)) / 4, rel=0.1)
    assert [line.split()[0] for line in table([*parts, mean]).splitlines()[2:]] == ["a", "b", "c", "d", "mean"]


def test_four_images_see_next_to_nothing():
    (row,) = power({"a": made(np.array([True, True, False, True]), "a")})
    assert row.sd == pytest.approx(math.sqrt(0.75 * 0.25 / 4), rel=0.1)
    assert row.detectable > 0.2
