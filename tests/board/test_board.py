"""The leaderboard says what stands in the results, and the committed one is the one that they draw."""

import json
import random
from pathlib import Path

import pytest
from board.made import csv_rows, of_suite, pipes, report, result, table
from command_line import started, typed

from vr1bench.board import FORMATS, View, flat_rows, leaderboard, markdown
from vr1bench.errors import Vr1benchError
from vr1bench.published import published
from vr1bench.store import read_results, write_result
from vr1bench.types import Training

RESULTS = Path(__file__).resolve().parents[2] / "results"
STANDARD, QWEN = "b val, AP, standard, constant, n=4", "b val, AP, qwen2.5, constant, n=4"


def drawn(results, papers=(), **view):
    return markdown(leaderboard(results, papers, View(**view)))


def test_the_committed_leaderboard_is_current():
    text = drawn([found for _, found in read_results(RESULTS)])
    assert (RESULTS / "LEADERBOARD.md").read_text() == text, "run: vr1bench board results --write"


def test_one_row_a_model_and_one_column_a_benchmark_under_a_protocol():
    results = [
        result("n", step=500, day=2, commit="1234567890+"),
        result(protocol="qwen2.5", value=0.5, commit="abcdef0123"),
        result(day=3, commit="0123456789"),
        result(benchmark="c", tie=None, interval=False),
    ]
    (head, *rows) = next(iter(pipes(drawn(results)).values()))
    assert head == ["model", QWEN, STANDARD, "c val, AP, standard, constant, n=4", "date", "commit"]
    assert rows == [
        ["m@aaaaaaaa", "50.0 ±6.0 (20.0)", "25.0 ±6.0 (20.0)", "25.0", "2026-01-03", "01234567"],
        ["n@aaaaaaaa step 500", "", "25.0 ±6.0 (20.0)", "", "2026-01-02", "12345678+"],
    ]


@pytest.mark.parametrize(
    "changes",
    [{"protocol": "qwen3"}, {"protocol": "standard[ids=as-shipped]"}, {"split": "val[:2]"}, {"scores": "own"},
     {"metric": "Acc@0.5"}],
)  # fmt: skip
def test_numbers_made_otherwise_share_no_column(changes):
    both = [result(), result("n", **changes)]
    columns = leaderboard(both).columns
    assert len(columns) == len(set(columns)) == 2
    for row in leaderboard(both).rows:
        assert sum(cell is not None for cell in row.cells) == 1


def test_samples_stand_in_the_heading_where_all_agree_and_else_in_the_cells():
    row, other = table(drawn([result(), result("n", n=7)]))
    heading = "b val, AP, standard, constant <sup>1</sup>"
    assert (row[heading], other[heading]) == ("25.0 ±6.0 (20.0), n=4", "25.0 ±6.0 (20.0), n=7")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("view", [View(), View("odinw"), View(sort="date"), View(by="benchmark"), View(history="m")])
def test_the_order_of_results_changes_nothing(form, view):
    results = [
        *of_suite("odinw"), *of_suite("odinw", "n", 0.3, day=2), *of_suite("refcoco-val", "n"),
        *(result("m", "odinw/Raccoon", step=step, revision=f"{step:040}") for step in (9, 100, 20)),
        result("m", "odinw/Raccoon", step=9, revision="9".rjust(40, "0"), value=0.9),
    ]  # fmt: skip
    first = FORMATS[form](leaderboard(results, published(), view))
    for seed in range(3):
        random.Random(seed).shuffle(results)  # noqa: S311  an order, no secret
        assert FORMATS[form](leaderboard(results, published(), view)) == first


def test_of_one_key_the_latest_is_shown():
    text = drawn([result(value=0.9, day=2), result(value=0.1, day=1)])
    assert table(text)[0][STANDARD] == "90.0 ±6.0 (20.0)"
    assert "1 number(s) lie there more than once" in text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("by", ["model", "benchmark"])
def test_no_result_is_an_empty_table(form, by):
    text = FORMATS[form](leaderboard([], published(), View(by=by)))
    assert text.strip() in {"", "[]"} or "No results yet." in text or r"\begin{tabular}{l" in text


def test_only_what_the_order_of_images_moves_has_a_companion_in_brackets():
    ranked = result(metric="AP").values.metrics["AP_tie"]
    other = result("n", metric="NMS-AP", split="test")
    other = other.model_copy(
        update={"values": other.values.model_copy(update={"metrics": {**other.values.metrics, "AP_tie": ranked}})}
    )
    (row, below) = table(drawn([result(), other]))
    assert row[STANDARD] == "25.0 ±6.0 (20.0)"
    assert below["b test, NMS-AP, standard, constant, n=4"] == "25.0 ±6.0"


def test_an_undefined_number_is_a_dash_and_sorts_last():
    rows = table(drawn([result("a", value=None, tie=None), result("z")], sort="AP"))
    assert [row[STANDARD] for row in rows] == ["25.0 ±6.0 (20.0)", "-"]


# What papers report


def test_a_papers_number_stands_in_its_column_in_a_row_marked_as_reported():
    text = drawn([result(), result(protocol="qwen2.5")], [report(), report(variant="SFT", value="9")])
    ((title, (_, *rows)),) = pipes(text).items()
    assert [row[:3] for row in rows] == [
        ["m@aaaaaaaa", "25.0 ±6.0 (20.0)", "25.0 ±6.0 (20.0)"],
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
    first, second = pipes(drawn([result()], [report(**changes)])).values()
    assert [row[0] for row in first] == ["model", "m@aaaaaaaa"]
    protocol = changes.get("protocol", "standard") + (", own" if changes.get("scores") == "own" else "")
    assert second == [
        ["reported of", changes.get("metric", "AP"), "protocol", "source"],
        ["Paper-7B", "17.75", protocol, "Someone, Table 9"],
    ]


@pytest.mark.parametrize("own", [{"protocol": "standard[ids=as-shipped]"}, {"split": "val[:2]"}, {"scores": "logprob"}])
def test_own_numbers_made_otherwise_share_no_column_with_a_papers(own):
    first, second = pipes(drawn([result(**own)], [report()])).values()
    assert len(first) == 2
    assert second[1][0] == "Paper-7B"


def test_a_model_with_a_column_is_not_repeated_below_by_its_other_metrics():
    rows = [report(), report(metric="AP50"), report(table="Table 1", metric="AP50"), report("Other", metric="AP50")]
    below = drawn([result()], rows).partition("## Reported")[2]
    assert [row[0] + row[-1] for row in pipes(below)["**b val**"][1:]] == [
        "Paper-7BSomeone, Table 1",
        "OtherSomeone, Table 9",
    ]
    assert len([row for row in flat_rows(leaderboard([result()], rows)) if row["reported"]]) == 4


def test_papers_on_other_benchmarks_are_left_out_and_means_of_suites_that_nobody_ran_stand_below():
    rows = [report(benchmark="c"), report(benchmark="odinw", metric="mean AP"), report(benchmark="coco")]
    board = leaderboard([result(benchmark="odinw/Raccoon")], rows)
    found = pipes(markdown(board))
    assert "**odinw val**" in found
    assert len(found) == 2
    assert [row["benchmark"] for row in flat_rows(board) if row["reported"]] == ["odinw"]


def test_without_published_nothing_changes():
    assert "eported" not in drawn([result()])
    assert drawn([result()], [report(benchmark="c")]) == drawn([result()])


def test_a_papers_mean_meets_the_mean_of_a_suite():
    own = of_suite("odinw", protocol="vision-r1") + of_suite("ovdeval", protocol="vlm-r1", split="test")
    cells = {row["model"]: row for row in table(drawn(own, published()))}
    odinw = "odinw mean of 13, val, AP, vision-r1 (oracle), constant, n=208"
    ovdeval = "ovdeval mean of 5 aspects, test, NMS-AP, vlm-r1, constant, n=108"
    assert cells["Qwen2.5-VL-7B, Vision-R1 (reported: Vision-R1, Table 1)"][odinw] == "46.0"
    assert cells["Qwen2.5-VL-3B, RL (reported: VLM-R1, Tables 4 to 7)"][ovdeval] == "31.01"


def test_a_paper_on_members_that_stand_in_a_mean_only_is_not_said_to_be_made_otherwise():
    own = of_suite("odinw", protocol="vision-r1")
    papers = [report(benchmark="odinw/Raccoon", protocol="vision-r1")]
    assert "Paper-7B" not in drawn(own, papers)
    assert "Paper-7B" in drawn(own, papers, suite="odinw")


def test_shipped_rows_of_a_protocol_meet_own_ones():
    own = [
        result(benchmark="coco", split="val2017", protocol="vision-r1"),
        result(benchmark="odinw/vector", protocol="vision-r1"),
        result(benchmark="odinw/vector", protocol="vision-r1", model="n"),
    ]
    text = drawn(own, published())
    (_, *rows), *_ = pipes(text).values()
    cells = {row[0]: row[1:3] for row in rows}
    assert cells["Qwen2.5-VL-7B, Vision-R1 (reported: Vision-R1, Table 1)"] == ["26.6", ""]
    assert cells["Qwen2.5-VL-7B, Vision-R1 (reported: Vision-R1, Table 2)"] == ["", "54.8"]
    assert not [name for name in cells if "Griffon" in name or "DETR" in name]
    assert ["DETR", "42.0", "62.4", "44.2", "", "as reported", "Vision-R1, Table 1"] in pipes(text)["**coco val2017**"]
    assert "**odinw-ood val**" in text
    assert "refcoco" not in text
    below = text.partition("## Reported")[2].splitlines()[3:]
    assert max(map(len, below)) <= 120


# One by one, for programs


def test_flat_rows_say_what_is_reported():
    board = leaderboard([result(step=500)], [report(variant="RL", value="42.1")])
    rows = json.loads(FORMATS["json"](board))
    assert [(row["metric"], row["value"], row["reported"], row["source"]) for row in rows] == [
        ("AP", 0.25, False, ""),
        ("AP_tie", 0.2, False, ""),
        ("AP", 0.421, True, "Someone (arXiv 1), Table 9"),
    ]
    assert (rows[0]["low"], rows[0]["high"]) == (0.19, 0.31)
    assert [*rows[2]] == [*rows[0]]
    assert (rows[2]["model"], rows[2]["revision"], rows[2]["n"]) == ("Paper-7B, RL", None, None)
    lines = csv_rows(FORMATS["csv"](board))
    assert [set(row) for row in lines] == [set(rows[0])] * 3
    assert [row["reported"] for row in lines] == ["False", "False", "True"]
    assert [(row["value"], row["n"], row["step"]) for row in lines] == [
        ("0.25", "4", "500"), ("0.2", "4", "500"), ("0.421", "", ""),
    ]  # fmt: skip


def test_flat_rows_hold_the_members_of_a_mean_and_the_mean():
    rows = flat_rows(leaderboard(of_suite("odinw", step=0.0), [report(benchmark="coco")]))
    assert [*rows[-1]] == [*rows[0]]
    assert len([row for row in rows if row["metric"] == "AP"]) == 13
    (mean,) = (row for row in rows if row["metric"] == "mean AP")
    assert (mean["benchmark"], mean["model"], mean["n"], mean["source"]) == ("odinw", "m", 208, "mean of 13")
    assert mean["value"] == pytest.approx(0.2)


def test_flat_rows_say_what_made_a_checkpoint():
    training = Training(
        method="grpo", recipe="demo-grpo", recipe_sha256="ab" * 32, base_model="demo", base_revision="c" * 40
    )
    trained = [
        one.model_copy(update={"run": one.run.model_copy(update={"training": training})})
        for one in of_suite("odinw", "out", step=0.0)
    ]
    names = "base_model", "recipe", "recipe_sha256"
    rows = json.loads(FORMATS["json"](leaderboard([*trained, *of_suite("odinw")], [report(benchmark="odinw")])))
    made_by = {
        (row["model"], row["metric"].partition(" ")[0] == "mean"): tuple(row[name] for name in names) for row in rows
    }
    known, unknown = ("demo", "demo-grpo", "ab" * 32), (None,) * 3
    assert made_by == {
        ("out", False): known, ("out", True): known, ("m", False): unknown, ("m", True): unknown,
        ("Paper-7B", False): unknown,
    }  # fmt: skip
    lines = csv_rows(FORMATS["csv"](leaderboard([trained[0], result()])))
    assert {(row["model"], row["base_model"], row["recipe"]) for row in lines} == {
        ("out", "demo", "demo-grpo"), ("m", "", ""),
    }  # fmt: skip


# What a view asks for


def models(results, **view):
    names = [row["model"] for row in table(drawn(results, **view))]
    return [name.partition("@")[0] + name.partition(" step")[2] for name in names]


def test_rows_in_the_order_that_is_asked_for():
    results = [
        result("b", value=0.3, day=3), result("a", step=1000, day=1), result("a", step=500, value=0.6, day=2),
        result("c", "x"), result("a", "x", value=0.9, step=500),
    ]  # fmt: skip
    papers = [report("0 paper", value="99")]
    assert models(results) == models(results, sort="model") == ["a 500", "a 1000", "b", "c"]
    assert models(results, sort="date") == ["b", "a 500", "a 1000", "c"]
    assert models(results, sort="b") == models(results, sort="B VAL") == ["a 500", "b", "a 1000", "c"]
    assert table(drawn(results, papers, sort="b"))[-1]["model"] == "0 paper (reported: Someone, Table 9)"
    (head, *_), *_ = pipes(drawn(results, sort="date", by="benchmark")).values()
    assert head[1:] == ["b@aaaaaaaa", "a@aaaaaaaa step 500", "a@aaaaaaaa step 1000", "c@aaaaaaaa"]


def test_the_pivot_has_a_row_a_benchmark():
    results = [result("a", day=2, n=40), result("b", value=0.5, tie=0.45, n=40), result("b", "c", commit="12345678")]
    text = drawn(results, [report()], by="benchmark")
    assert "numbers of two rows do not compare" in text
    assert "best of its row" in text
    assert "Columns marked as reported" in text
    ((head, *rows),) = pipes(drawn(results, by="benchmark")).values()
    assert head == ["benchmark", "a@aaaaaaaa", "b@aaaaaaaa"]
    assert rows == [
        [f"{STANDARD}0", "25.0 ±6.0 (20.0)", "**50.0 ±6.0 (45.0)**"],
        ["c val, AP, standard, constant, n=4", "", "25.0 ±6.0 (20.0)"],
        ["date", "2026-01-02", "2026-01-01"],
        ["commit", "", "12345678"],
    ]


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (["model=Qwen/*"], {"Qwen/a b", "Qwen/a coco"}),
        (["model=Qwen/a@aaaaaaaa"], {"Qwen/a b", "Qwen/a coco"}),
        (["benchmark=b"], {"Qwen/a b", "m b"}),
        (["benchmark=b", "benchmark=c*"], {"Qwen/a b", "Qwen/a coco", "m b"}),
        (["suite=coco"], {"Qwen/a coco"}),
        (["suite=paper-*"], {"Qwen/a coco", "n odinw/Raccoon"}),
        (["protocol=standard[ids=as-shipped]"], {"n odinw/Raccoon"}),
        (["protocol=standard*", "model=m"], {"m b"}),
        (["scores=own"], {"Qwen/a coco"}),
        (["step=500"], {"m b"}),
        (["step=none", "benchmark=b"], {"Qwen/a b"}),
        (["step=500", "scores=own"], set()),
    ],
)
def test_filters_of_one_key_widen_and_those_of_several_narrow(filters, kept):
    results = [
        result("Qwen/a"), result("Qwen/a", "coco", scores="own"), result(step=500),
        result("n", "odinw/Raccoon", protocol="standard[ids=as-shipped]"),
    ]  # fmt: skip
    board = leaderboard(results, (), View(filters=tuple(filters)))
    assert {f"{one.key.model} {one.key.benchmark}" for one in board.results} == kept


def test_a_history_is_one_model_by_step_and_date():
    results = [
        result("base", day=9),
        *(result(f"out/checkpoint-{step}", step=step, day=1) for step in (1000, 500)),
        result("out", day=5), result("out/checkpoint-500", step=500, revision="b" * 40, day=3),
        result("hub/m", revision="c" * 40, day=8), result("hub/m", revision="d" * 40, day=7),
    ]  # fmt: skip
    assert [(row["model"], row["date"]) for row in table(drawn(results, history="out"))] == [
        ("out@aaaaaaaa", "2026-01-05"),
        ("out/checkpoint-500@aaaaaaaa step 500", "2026-01-01"),
        ("out/checkpoint-500@bbbbbbbb step 500", "2026-01-03"),
        ("out/checkpoint-1000@aaaaaaaa step 1000", "2026-01-01"),
    ]
    assert [row["date"] for row in table(drawn(results, history="hub/m"))] == ["2026-01-07", "2026-01-08"]


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ({"filters": ("modle=x",)}, "unknown filter 'modle'; did you mean 'model'. .*scores, step"),
        ({"filters": ("model",)}, "--filter 'model': expected KEY=PATTERN such as"),
        ({"filters": ("model=",)}, "expected KEY=PATTERN"),
        ({"filters": ("protocol=standrad",)}, "unknown protocol 'standrad'; did you mean 'standard'"),
        ({"filters": ("step=5",)}, r"unknown step '5' \(known: none\)"),
        ({"suite": "odnw"}, "unknown suite 'odnw'; did you mean 'odinw'"),
        ({"history": "n"}, r"unknown model 'n' \(known: m\)"),
        ({"by": "modle"}, "unknown kind of row 'modle'; did you mean 'model'"),
        ({"sort": "x"}, r"unknown column 'x' .*model, date, b, c"),
        ({"sort": "val"}, "--sort 'val' may mean b val, AP, standard, constant, n=4; c val, .*write more"),
    ],
)
def test_what_nobody_has_is_an_error_with_the_nearest_name(view, words):
    with pytest.raises(Vr1benchError, match=words):
        leaderboard([result(), result(benchmark="c")], (), View(**view))


def test_the_command(tmp_path):
    for one in (result(value=0.3), result("n", step=5), result(benchmark="c")):
        write_result(tmp_path / f"{one.key.benchmark}/{one.key.title}.json", one)

    def command(*options):
        return typed("board", tmp_path, *options)

    chosen = started(
        "board", tmp_path, "--filter", "benchmark=b", "--filter", "model=*", "--sort", "standard", "--by", "benchmark"
    )
    assert chosen.returncode == 0, chosen.stderr
    ((head, *rows),) = pipes(chosen.stdout).values()
    assert (head[1], rows[0][0], len(rows)) == ("m@aaaaaaaa", STANDARD, 3)
    assert [row["model"] for row in table(command("--history", "n").stdout)] == ["n@aaaaaaaa step 5"]
    assert "<!DOCTYPE html>" in command("--format", "html", "--with-published").stdout
    assert "No results yet." in command("--suite", "odinw").stdout
    for options in (["--format", "html"], ["--suite", "odinw"], ["--sort", "date"], ["--by", "benchmark"]):
        refused = command("--write", *options)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "--write goes with no other option" in refused.stderr
    assert not (tmp_path / "LEADERBOARD.md").exists()
    assert command("--write").stdout.strip() == str(tmp_path / "LEADERBOARD.md")
    assert (tmp_path / "LEADERBOARD.md").read_text() == command().stdout
