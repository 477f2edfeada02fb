"""What a run prints."""

import pytest
from board.made import result

from vr1bench.board import counts_text, notes, percent, run_table
from vr1bench.store import Metric, Result, Spread


def with_values(one, **changes) -> Result:
    return one.model_copy(update={"values": one.values.model_copy(update=changes)})


def test_a_run_prints_intervals_and_the_mean_of_comparable_benchmarks():
    lines = run_table([result(), result(benchmark="c", value=0.5)]).splitlines()
    assert lines[2].split() == [
        "b", "val", "AP", "25.0", "±6.0", "20.0", "-", "4", "3", "ok,", "1", "none", "standard", "constant", "1.2",
    ]  # fmt: skip
    # The square root of two halves of six points.
    assert lines[-1].split() == ["mean", "of", "2", "AP", "37.5", "±4.2"]
    assert len(run_table([result()]).splitlines()) == 3
    assert "mean" not in run_table([result(), result(benchmark="c", value=None)])
    assert "mean" not in run_table([result(), result(benchmark="c", metric="Acc@0.5")])
    assert run_table([]) == ""


def test_the_mean_over_ovdeval_is_that_of_its_five_aspects():
    # VLM-R1's RL row (arXiv 2504.07615, Tables 4 to 7); it prints 31.01 over all
    row = {
        "celebrity": 55.0, "logo": 34.6, "landmark": 47.9, "color": 4.5, "material": 9.7, "position": 42.9,
        "relationship": 21.5, "negation": 37.7,
    }  # fmt: skip
    results = [result(benchmark=f"ovdeval/{name}", value=value / 100) for name, value in row.items()]
    assert run_table(results).splitlines()[-1].split()[:6] == ["mean", "of", "5", "aspects", "AP", "31.0"]
    assert run_table(results[:-1]).splitlines()[-1].split()[:3] == ["mean", "of", "7"]


def test_a_number_without_an_interval_or_with_one_that_says_nothing_stands_alone():
    assert run_table([result(interval=False)]).splitlines()[2].split()[3:5] == ["25.0", "20.0"]
    same = with_values(result(), metrics={"AP": Metric(value=1.0, low=1.0, high=1.0, sd=1e-16)})
    assert run_table([same]).splitlines()[2].split()[3:5] == ["100.0", "4"]
    cut = with_values(result(), metrics={"AP": Metric(value=0.99, low=0.96, high=1.0, sd=0.03 / 1.96)})
    assert run_table([cut]).splitlines()[2].split()[3:5] == ["99.0", "±3.0"]


def test_a_runs_table_fits_a_terminal():
    counts = {"ok": 93, "none": 4, "truncated": 3}
    rows = [with_values(result(benchmark="demo/odinw-flat", n=100), counts=counts)] * 2
    rows += [with_values(result(benchmark="demo/rec", metric="Acc@0.5", n=100), counts=counts)]
    assert max(map(len, run_table(rows).splitlines())) <= 120


@pytest.mark.parametrize(("metric", "said"), [(None, "-"), (Metric(value=None), "-"), (Metric(value=0.98949), "98.9")])
def test_percent(metric, said):
    assert percent(metric) == said


def test_every_status_is_named_once():
    assert counts_text({"malformed": 2, "ok": 1, "unasked": 4}) == "1 ok, 2 malformed, 4 unasked"


def test_notes_say_how_far_the_numbering_of_images_moves_the_number():
    spread = {"AP": Spread(sd=0.003, low=0.921, high=0.934), "AP50": Spread(sd=0.1, low=0.5, high=0.9)}
    assert notes([with_values(result(), spread=spread), result()]) == [
        "note: b: AP moves by ±0.3 (92.1 to 93.4) with the numbering of images"
    ]
    assert notes([with_values(result(), spread={"AP": Spread(sd=0.0, low=0.9, high=0.9)})]) == []


def test_notes_say_what_else_a_table_does_not_hold():
    one = with_values(
        result(), warnings={"boxes of zero size": 2}, broken={"three numbers": 3, "clipped": 1}, flags={"duplicate": 2},
        audit=("boxes look like fractions",), verified={"pycocotools": 1e-12},
    )  # fmt: skip
    assert notes([one]) == [
        "note: b: 2 boxes of zero size",
        "note: b: of 8 items in answers: 3 three numbers (37.5%), 1 clipped (12.5%), 2 duplicate (25.0%)",
        "warning: b: boxes look like fractions",
        "verified: b: pycocotools differs by at most 1.0e-12",
    ]
