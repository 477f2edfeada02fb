"""Tables say what stands in the results, and the committed leaderboard is the one that they draw."""

import csv
import datetime
import io
import json
from pathlib import Path

import pytest

from vr1bench.board import FORMATS, counts_text, flat_rows, markdown, percent, run_table
from vr1bench.published import Published, published
from vr1bench.store import Key, Metric, Result, RunInfo, Values, read_results
from vr1bench.types import Sampling

RESULTS = Path(__file__).resolve().parents[1] / "results"


def result(
    model="m", benchmark="b", protocol="standard", value=0.25, step=None, tie: float | None = 0.2, **key_fields
) -> Result:
    metrics = {"AP": Metric(value=value)} | ({"AP_tie": Metric(value=tie)} if tie is not None else {})
    fields = {"split": "val", "scores": "constant", "revision": "a" * 40} | key_fields
    key = Key(benchmark=benchmark, protocol=protocol, model=model, step=step, **fields)
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


def test_the_mean_over_ovdeval_is_that_of_its_five_aspects():
    # VLM-R1's RL row (arXiv 2504.07615, Tables 4 to 7); it prints 31.01 over all
    row = {
        "celebrity": 55.0, "logo": 34.6, "landmark": 47.9, "color": 4.5, "material": 9.7, "position": 42.9,
        "relationship": 21.5, "negation": 37.7,
    }  # fmt: skip
    results = [result(benchmark=f"ovdeval/{name}", value=value / 100) for name, value in row.items()]
    assert run_table(results).splitlines()[-1].split()[:6] == ["mean", "of", "5", "aspects", "AP", "31.0"]
    assert run_table(results[:-1]).splitlines()[-1].split()[:3] == ["mean", "of", "7"]


@pytest.mark.parametrize(("metric", "said"), [(None, "-"), (Metric(value=None), "-"), (Metric(value=0.98949), "98.9")])
def test_percent(metric, said):
    assert percent(metric) == said


def test_every_status_is_named_once():
    assert counts_text({"malformed": 2, "ok": 1, "unasked": 4}) == "1 ok, 2 malformed, 4 unasked"


def test_no_result_is_an_empty_table():
    assert [FORMATS[name]([]).strip() != "" for name in ("md", "json")] == [True, True]
    assert FORMATS["csv"]([]).strip() == ""


def report(model="Paper-7B", variant="", table="Table 9", metric="AP", value="17.75", scores="constant", **key_fields):
    """A paper's number, of the column that `result()` is in."""
    fields = {"benchmark": "b", "split": "val", "protocol": "standard"} | key_fields
    return Published(
        source="Someone (arXiv 1)", table=table, model=model, variant=variant, metric=metric, value=value,
        scores=scores, **fields,
    )  # fmt: skip


def tables(text):
    """The cells of every pipe table, by the line of heading above it."""
    found, title = {}, ""
    for line in text.splitlines():
        if line.startswith("|"):
            found.setdefault(title, []).append([cell.strip() for cell in line.strip("|").split("|")])
        elif line:
            title = line
    return {title: [rows[0], *rows[2:]] for title, rows in found.items()}


def test_a_papers_number_stands_in_its_column_in_a_row_marked_as_reported():
    text = markdown([result(), result(protocol="qwen2.5")], [report(), report(variant="SFT", value="9")])
    ((title, (header, *rows)),) = tables(text).items()
    assert header[1:] == ["b val, AP, qwen2.5, constant", "b val, AP, standard, constant"]
    assert rows == [
        ["m@aaaaaaaa", "25.0 (20.0), n=4", "25.0 (20.0), n=4"],
        ["Paper-7B (reported: Someone, Table 9)", "", "17.75"],
        ["Paper-7B, SFT (reported: Someone, Table 9)", "", "9"],
    ]
    assert "were not run here" in title
    assert "not known to be made alike" in title
    assert "Reported by Someone (arXiv 1)." in title


@pytest.mark.parametrize(
    "changes",
    [
        {"split": "test"},
        {"protocol": "vision-r1"},
        {"protocol": "as reported", "scores": ""},
        {"scores": "own"},
        {"metric": "AP50"},
        {"metric": "mean AP"},
    ],
)
def test_a_papers_number_made_otherwise_stands_in_no_column(changes):
    first, second = tables(markdown([result()], [report(**changes)])).values()
    assert [row[0] for row in first] == ["model", "m@aaaaaaaa"]
    protocol = changes.get("protocol", "standard") + (", own" if changes.get("scores") == "own" else "")
    assert second == [
        ["reported of", changes.get("metric", "AP"), "protocol", "source"],
        ["Paper-7B", "17.75", protocol, "Someone, Table 9"],
    ]


@pytest.mark.parametrize("own", [{"protocol": "standard[ids=as-shipped]"}, {"split": "val[:2]"}, {"scores": "logprob"}])
def test_own_numbers_made_otherwise_share_no_column_with_a_papers(own):
    first, second = tables(markdown([result(**own)], [report()])).values()
    assert len(first) == 2
    assert second[1][0] == "Paper-7B"


def test_a_model_with_a_column_is_not_repeated_below_by_its_other_metrics():
    rows = [report(), report(metric="AP50"), report(table="Table 1", metric="AP50"), report("Other", metric="AP50")]
    below = markdown([result()], rows).partition("## Reported")[2]
    assert [row[0] + row[-1] for row in tables(below)["**b val**"][1:]] == [
        "Paper-7BSomeone, Table 1",
        "OtherSomeone, Table 9",
    ]


def test_papers_on_other_benchmarks_are_left_out_and_means_of_suites_stand_below():
    rows = [report(benchmark="c"), report(benchmark="odinw", metric="mean AP"), report(benchmark="coco")]
    drawn = tables(markdown([result(benchmark="odinw/Raccoon")], rows))
    assert "**odinw val**" in drawn
    assert len(drawn) == 2
    assert [row["benchmark"] for row in flat_rows([result(benchmark="odinw/Raccoon")], rows) if row["reported"]] == [
        "odinw"
    ]


def test_without_published_nothing_changes():
    assert "eported" not in markdown([result()])
    assert markdown([result()], [report(benchmark="c")]) == markdown([result()])


def test_flat_rows_say_what_is_reported():
    own, paper = [result(step=500)], [report(variant="RL", value="42.1")]
    rows = json.loads(FORMATS["json"](own, paper))
    assert [(row["metric"], row["value"], row["reported"], row["source"]) for row in rows] == [
        ("AP", 0.25, False, ""),
        ("AP_tie", 0.2, False, ""),
        ("AP", 0.421, True, "Someone (arXiv 1), Table 9"),
    ]
    assert [*rows[2]] == [*rows[0]]
    assert (rows[2]["model"], rows[2]["revision"], rows[2]["n"]) == ("Paper-7B, RL", None, None)
    table = list(csv.DictReader(io.StringIO(FORMATS["csv"](own, paper))))
    assert [set(row) for row in table] == [set(rows[0])] * 3
    assert [row["reported"] for row in table] == ["False", "False", "True"]
    assert [(row["value"], row["n"], row["step"]) for row in table] == [
        ("0.25", "4", "500"), ("0.2", "4", "500"), ("0.421", "", ""),
    ]  # fmt: skip
    assert {row["reported"] for row in json.loads(FORMATS["json"](own))} == {False}


def test_shipped_rows_of_a_protocol_meet_own_ones():
    own = [
        result(benchmark="coco", split="val2017", protocol="vision-r1"),
        result(benchmark="odinw/vector", protocol="vision-r1"),
        result(benchmark="odinw/vector", protocol="vision-r1", model="n"),
    ]
    text = markdown(own, published())
    (_, *rows), *_ = tables(text).values()
    cells = {row[0]: row[1:] for row in rows}
    assert cells["Qwen2.5-VL-7B, Vision-R1 (reported: Vision-R1, Table 1)"] == ["26.6", ""]
    assert cells["Qwen2.5-VL-7B, Vision-R1 (reported: Vision-R1, Table 2)"] == ["", "54.8"]
    assert not [name for name in cells if "Griffon" in name or "DETR" in name]
    assert ["DETR", "42.0", "62.4", "44.2", "", "as reported", "Vision-R1, Table 1"] in tables(text)["**coco val2017**"]
    assert "**odinw-ood val**" in text
    assert "refcoco" not in text
    below = text.partition("## Reported")[2].splitlines()[3:]
    assert max(map(len, below)) <= 120
