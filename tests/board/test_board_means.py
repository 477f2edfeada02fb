"""A suite's mean stands before its members, only where a model has them all, with the interval that they give it."""

import math

import pytest
from board.made import WIDTH, of_suite, pipes, result, table

from vr1bench.benchmark import suite
from vr1bench.board import View, leaderboard, markdown
from vr1bench.board.means import mean_metric
from vr1bench.store import Metric

AERIAL = "odinw/AerialMaritimeDrone val, AP, standard, constant, n=10"


def headings(results, **view):
    (head, *_), *_ = pipes(markdown(leaderboard(results, (), View(**view)))).values()
    return [title.split(",")[0] for title in head[1:-2]]


def cell(results, name, row=0, **view):
    board = leaderboard(results, (), View(**view))
    (place,) = (place for place, column in enumerate(board.columns) if column.of and column.name == name)
    return board.rows[row].cells[place]


def test_an_interval_of_a_mean_is_that_of_independent_parts():
    parts = {"a": Metric(value=0.2, sd=0.05), "b": Metric(value=0.6, sd=0.1)}
    found, title = mean_metric(parts)
    sd = math.sqrt((0.05 / 2) ** 2 + (0.1 / 2) ** 2)
    assert title == "mean of 2"
    assert (found.value, found.sd) == pytest.approx((0.4, sd))
    assert (found.low, found.high) == pytest.approx((0.4 - 1.96 * sd, 0.4 + 1.96 * sd))


def test_an_interval_of_a_mean_is_cut_and_takes_a_part_that_says_nothing_as_exact():
    found, _ = mean_metric({"a": Metric(value=1.0, low=1.0, high=1.0, sd=0.0), "b": Metric(value=0.9, sd=0.1)})
    assert (found.value, found.low, found.high) == pytest.approx((0.95, 0.95 - 0.098, 1.0))


def test_a_mean_has_no_interval_where_a_part_has_none():
    found, _ = mean_metric({"a": Metric(value=0.2, low=0.1, high=0.3, sd=0.05), "b": Metric(value=0.6)})
    assert (found.value, found.low, found.high, found.sd) == (0.4, None, None, None)


def test_the_mean_over_ovdeval_weighs_its_aspects_alike():
    files = ("celebrity", "logo", "landmark", "color", "material", "position", "relationship", "negation")
    # VLM-R1's RL row (arXiv 2504.07615, Tables 4 to 7); it prints 31.01 over all
    values = (0.550, 0.346, 0.479, 0.045, 0.097, 0.429, 0.215, 0.377)
    results = [
        result(benchmark=f"ovdeval/{name}", value=value, metric="NMS-AP", split="test")
        for name, value in zip(files, values, strict=True)
    ]
    assert headings(results) == ["ovdeval mean of 5 aspects", *(f"ovdeval/{name} test" for name in files)]
    found = cell(results, "ovdeval").metric
    assert found.value == pytest.approx(0.3101, abs=5e-5)
    width = WIDTH * math.sqrt(3 * (1 / 15) ** 2 + 2 * (1 / 10) ** 2 + 3 * (1 / 5) ** 2)
    assert (found.low, found.high) == pytest.approx((found.value - width, found.value + width))
    # Asked for, the suite shows its aspects of several files, then the files.
    assert headings(results, suite="ovdeval") == [
        "ovdeval mean of 5 aspects", "ovdeval proper noun mean of 3", "ovdeval attribute mean of 2",
        *(f"ovdeval/{name} test" for name in files),
    ]  # fmt: skip
    aspects = [cell(results, f"ovdeval {name}", suite="ovdeval").metric.value for name in ("proper noun", "attribute")]
    assert aspects == pytest.approx([(0.550 + 0.346 + 0.479) / 3, 0.071])
    # Without one file there is no overall mean; a whole aspect still has its own.
    assert sorted(headings(results[:-1])) == sorted(f"ovdeval/{name} test" for name in files[:-1])
    assert headings(results[:-1], suite="ovdeval") == [
        "ovdeval proper noun mean of 3", *(f"ovdeval/{name} test" for name in files[:3]),
        "ovdeval attribute mean of 2", *(f"ovdeval/{name} test" for name in files[3:-1]),
    ]  # fmt: skip


def test_members_of_a_large_suite_stand_in_its_mean_only_unless_asked_for():
    results = of_suite("odinw")
    text = markdown(leaderboard(results))
    (row,) = table(text)
    heading = "odinw mean of 13, val, AP, standard, constant, n=208"
    assert [*row] == ["model", heading, "date", "commit"]
    assert row[heading] == f"26.0 ±{100 * WIDTH / math.sqrt(13):.1f} (25.0)"
    assert "The 13 members of odinw stand in its mean only: `vr1bench board --suite odinw` shows them." in text
    (row,) = table(markdown(leaderboard(results, (), View(suite="odinw"))))
    assert [*row][1:3] == [heading, AERIAL]
    assert len(row) == 1 + 1 + 13 + 2
    assert headings(results, suite="odinw13")[0] == "odinw13 mean of 13"


def test_an_incomplete_suite_has_no_mean():
    results = of_suite("odinw")[1:]
    assert len(headings(results)) == 12
    text = markdown(leaderboard(results, (), View(suite="odinw")))
    assert "No model has all of odinw under one protocol, score rule and metric: there is no mean." in text
    assert "mean of" not in text
    # Beside a model that has it whole, it says how much there is.
    assert cell(results + of_suite("odinw", "n"), "odinw").words == "12 of 13"


@pytest.mark.parametrize(
    "changes", [{"protocol": "qwen3"}, {"scores": "own"}, {"split": "test"}, {"metric": "AP50"}, {"value": None}]
)
def test_a_member_made_otherwise_leaves_the_suite_incomplete(changes):
    first, *rest = of_suite("odinw")
    other = result(benchmark=first.key.benchmark, **{"tie": None} | changes)
    assert not [column for column in leaderboard([other, *rest]).columns if column.of]


def test_a_suite_under_two_protocols_has_two_means():
    results = of_suite("refcoco-val") + of_suite("refcoco-val", protocol="vlm-r1", start=0.5)
    columns = leaderboard(results).columns
    assert [(column.name, column.protocol) for column in columns] == [
        (name, protocol)
        for protocol in ("standard", "vlm-r1")
        for name in ("refcoco-val", "refcoco", "refcoco+", "refcocog")
    ]


def test_splits_of_a_mean_are_all_the_same_or_each_benchmarks_own():
    results = of_suite("refcoco")
    splits = {column.name: column.split for column in leaderboard(results).columns if column.of}
    assert splits == {"refcoco": "", "refcoco-val": "val"}
    cut = [
        one.model_copy(update={"key": one.key.model_copy(update={"split": f"{one.key.split}[:9]"})}) for one in results
    ]
    splits = {column.name: column.split for column in leaderboard(cut).columns if column.of}
    assert splits == {"refcoco": "[:9]", "refcoco-val": "val[:9]"}
    assert not [column for column in leaderboard(cut[:4] + results[4:]).columns if column.of]


def test_suites_of_suites_have_means_and_stand_before_what_they_hold():
    results = of_suite("odinw35")
    means = ["odinw35 mean of 35", "odinw mean of 13"]
    assert headings(results) == means
    assert headings(results, suite="odinw35")[:3] == [*means, "odinw/AerialMaritimeDrone val"]
    vector = result(benchmark="odinw/vector")
    assert headings([*results, vector]) == [*means, "odinw-ood mean of 4", "odinw/vector val"]
    assert cell(results, "odinw35").metric.value == pytest.approx(0.2 + 0.01 * 17)


def test_the_means_of_a_papers_suites_stand_each_before_its_members():
    found = headings(of_suite("paper-vision-r1", protocol="vision-r1"), suite="paper-vision-r1")
    assert found[:3] == ["coco val2017", "odinw mean of 13", "odinw/AerialMaritimeDrone val"]
    assert found[15:17] == ["odinw-ood mean of 4", "odinw/boggleBoards val"]


def test_suites_of_several_metrics_have_no_mean_but_those_within_do():
    results = of_suite("paper-vlm-r1", protocol="vlm-r1")
    assert len({one.values.primary for one in results}) > 1
    found = [name for name in headings(results, suite="paper-vlm-r1") if "mean of" in name]
    assert found == [
        "refcoco-val mean of 3", "ovdeval mean of 5 aspects",
        "ovdeval proper noun mean of 3", "ovdeval attribute mean of 2",
    ]  # fmt: skip


def test_every_shown_column_belongs_to_the_suite_asked_for():
    results = of_suite("refcoco") + of_suite("odinw")
    names = {one.name for one in suite("refcoco-val")}
    board = leaderboard(results, (), View(suite="refcoco-val"))
    assert {column.name for column in board.columns} == names | {"refcoco-val"}
