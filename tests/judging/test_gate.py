"""The gate's verdicts, and how it tells them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from judging.made import coin, made

from vr1bench.errors import NotComparableError, Vr1benchError
from vr1bench.gating import Rules, as_json, gate, junit, markdown, read_rules, table


def worse(right, count):
    """`count` right ones turned wrong."""
    changed = right.copy()
    changed[np.flatnonzero(right)[:count]] = False
    return changed


def test_equal_models_pass():
    base = {"a": made(coin(0.7), "a"), "b": made(coin(0.5, seed=1), "b")}
    verdict = gate(base, base)
    assert verdict.passed
    metrics = [(name, "Acc@0.5") for name in ("a", "b", "mean of 2")]
    formats = [(name, "format failures") for name in ("a", "b")]
    assert [(check.name, check.what) for check in verdict.checks] == metrics + formats


def test_a_drop_fails_only_if_it_is_large_and_sure():
    right = coin(0.7)
    base = {"a": made(right, "a")}
    assert not gate({"a": made(worse(right, 20), "a")}, base).passed  # 5 points, no image the other way
    within = gate({"a": made(worse(right, 20), "a")}, base, Rules(tolerance=5.0))
    assert within.passed
    assert "within 5" in within.checks[0].why
    noise = {"a": made(coin(0.69, seed=5), "a")}  # other images right and wrong: a point or so, and nothing sure
    doubtful = gate(noise, base, Rules(tolerance=0.0))
    assert doubtful.passed
    better = gate({"a": made(coin(0.9), "a")}, base)
    assert better.passed
    assert better.checks[0].why == "did not drop"


def test_a_benchmark_may_have_a_tolerance_of_its_own():
    right = coin(0.7)
    base = {"a": made(right, "a"), "b": made(right, "b")}
    new = {name: made(worse(right, 20), name) for name in base}
    failed = {c.name for c in gate(new, base, Rules(benchmarks={"a": 10.0})).checks if not c.passed}
    assert failed == {"b", "mean of 2"}
    with pytest.raises(Vr1benchError, match="'c', which the baseline lacks"):
        gate(new, base, Rules(benchmarks={"c": 1.0}))


def test_few_images_are_judged_in_the_mean_only():
    base = {"a": made(np.ones(4, bool), "a"), "b": made(coin(0.7), "b")}
    verdict = gate({**base, "a": made(np.zeros(4, bool), "a")}, base)
    few = verdict.checks[0]
    assert (few.name, few.passed) == ("a", True)
    assert few.why == "4 images are too few to judge alone: they count in the mean"


def test_a_drop_of_exactly_the_tolerance_is_within_it():
    right = np.arange(1000) < 687
    base, new = made(right, "a"), made(np.arange(1000) < 682, "a")
    assert gate({"a": new}, {"a": base}).checks[0].why == "dropped by 0.5 points, within 0.5"


def test_many_benchmarks_do_not_make_noise_a_failure():
    """One of 35 has p = .01 one-sided: alone it would fail, among 36 checks it does not."""
    right = coin(0.7)
    base = {f"b{i}": made(right, f"b{i}") for i in range(35)}
    new = dict(base)
    new["b7"] = made(worse(right, 8), "b7")  # eight of 400, all one way: t = 2.8
    alone = gate({"b7": new["b7"]}, {"b7": base["b7"]})
    assert not alone.passed
    assert gate(new, base).passed


def test_a_missing_benchmark_is_incomplete():
    base = {"a": made(coin(0.7), "a"), "b": made(coin(0.7), "b")}
    verdict = gate({"a": base["a"]}, base)
    assert not verdict.passed
    assert [(c.name, c.what) for c in verdict.checks if not c.passed] == [("b", "complete")]
    assert gate(base, {"a": base["a"]}).passed  # what only the new model has is not judged
    with pytest.raises(Vr1benchError, match="holds no result"):
        gate(base, {})


def test_format_failures_that_rise_fail():
    right = coin(0.7)
    base = {"a": made(right, "a")}
    for status in ("malformed", "truncated", "salvaged", "refused", "empty"):
        broken = gate({"a": made(right, "a", status=status, failed=30)}, base)
        assert [c.what for c in broken.checks if not c.passed] == ["format failures"]
    assert gate({"a": made(right, "a", status="none", failed=30)}, base).passed
    assert gate({"a": made(right, "a", status="malformed", failed=3)}, base).passed  # within a point
    assert gate({"a": made(right, "a", status="malformed", failed=30)}, base, Rules(format_tolerance=10)).passed
    few = {"a": made(right[:20], "a")}
    assert gate({"a": made(right[:20], "a", status="malformed", failed=1)}, few).passed  # 5 points, of one answer


def test_what_does_not_compare_is_refused():
    base = {"a": made(coin(0.7), "a")}
    with pytest.raises(NotComparableError):
        gate({"a": made(coin(0.7), "a", protocol="vlm-r1")}, base)


def test_the_verdict_in_all_forms():
    right = coin(0.7)
    base = {"a|b<c>": made(right, "a|b<c>"), "z": made(right, "z")}
    verdict = gate({"a|b<c>": made(worse(right, 40), "a|b<c>")}, base)
    root = ET.fromstring(junit(verdict))  # noqa: S314  our own words
    cases = root.findall("testsuite/testcase")
    assert int(root.attrib["tests"]) == len(cases) == len(verdict.checks)
    assert int(root.attrib["failures"]) == len(root.findall(".//failure")) == 2
    assert {case.attrib["classname"] for case in cases} == {"vr1bench.a|b<c>", "vr1bench.z"}
    whole = json.loads(as_json(verdict))
    assert whole["passed"] is False
    assert whole["checks"][0]["name"] == "z"
    lines = table(verdict).splitlines()
    assert lines[-1] == "FAIL: 2 of 3 checks"
    assert lines[2].startswith("FAIL")
    assert lines[4].startswith("pass")
    assert markdown(verdict).startswith("## vr1bench gate: FAIL\n")


def test_rules_from_a_file(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text('tolerance = 1.0\n[benchmarks]\n"odinw/Packages" = 5.0\n')
    assert read_rules(path) == Rules(tolerance=1.0, benchmarks={"odinw/Packages": 5.0})
    for bad, words in (
        ("[benchmarks]\na = -1", "greater than or equal"),
        ("tolerance = -1", "greater than or equal"),
        ("alpha = 2", "less than 1"),
        ("x = 1", "x"),
    ):
        path.write_text(bad)
        with pytest.raises(Vr1benchError, match=words):
            read_rules(path)
