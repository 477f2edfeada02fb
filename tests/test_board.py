"""Tables say what stands in the results, and the committed leaderboard is the one that they draw."""

import datetime
from pathlib import Path

import pytest

from vr1bench.board import FORMATS, counts_text, markdown, percent, run_table
from vr1bench.store import Key, Metric, Result, RunInfo, Values, read_results
from vr1bench.types import Sampling

RESULTS = Path(__file__).resolve().parents[1] / "results"


def result(model="m", benchmark="b", protocol="standard", value=0.25, step=None, tie: float | None = 0.2) -> Result:
    metrics = {"AP": Metric(value=value)} | ({"AP_tie": Metric(value=tie)} if tie is not None else {})
    key = Key(
        benchmark=benchmark,
        split="val",
        protocol=protocol,
        scores="constant",
        model=model,
        revision="a" * 40,
        step=step,
    )
    values = Values(
        primary="AP",
        metrics=metrics,
        counts={"ok": 3, "none": 1},
        boxes=5,
        n=4,
        requests=4,
        fingerprint="f",
        data_sha256="d",
    )
    run = RunInfo(
        family="absolute",
        family_because="",
        engine="oracle",
        sampling=Sampling(),
        versions={},
        commit="",
        date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).isoformat(),
        seconds=1.25,
    )
    return Result(key=key, values=values, run=run)


def test_the_committed_leaderboard_is_current():
    drawn = markdown([found for _, found in read_results(RESULTS)])
    assert (RESULTS / "LEADERBOARD.md").read_text() == drawn, "run: vr1bench board results --write"


def test_one_row_a_model_and_one_column_a_benchmark_under_a_protocol():
    table = markdown(
        [result(), result("n", step=500), result(protocol="qwen2.5", value=0.5), result(benchmark="c", tie=None)]
    )
    header, _, *rows = [line for line in table.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "model", "b val, AP, qwen2.5, constant", "b val, AP, standard, constant", "c val, AP, standard, constant",
    ]  # fmt: skip
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in rows] == [
        ["m@aaaaaaaa", "50.0 (20.0), n=4", "25.0 (20.0), n=4", "25.0, n=4"],
        ["n@aaaaaaaa step 500", "", "25.0 (20.0), n=4", ""],
    ]


def test_a_run_prints_the_mean_of_comparable_benchmarks():
    lines = run_table([result(), result(benchmark="c", value=0.5)]).splitlines()
    assert lines[-1].split()[:5] == ["mean", "of", "2", "AP", "37.5"]
    assert "3 ok, 1 none" in lines[2]
    assert len(run_table([result()]).splitlines()) == 3
    assert "mean" not in run_table([result(), result(benchmark="c", value=None)])


@pytest.mark.parametrize(("metric", "said"), [(None, "-"), (Metric(value=None), "-"), (Metric(value=0.98949), "98.9")])
def test_percent(metric, said):
    assert percent(metric) == said


def test_every_status_is_named_once():
    assert counts_text({"malformed": 2, "ok": 1, "unasked": 4}) == "1 ok, 2 malformed, 4 unasked"


def test_no_result_is_an_empty_table():
    assert [FORMATS[name]([]).strip() != "" for name in ("md", "json")] == [True, True]
    assert FORMATS["csv"]([]).strip() == ""
