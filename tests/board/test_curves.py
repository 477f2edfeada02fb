"""A training's curves: which checkpoint is told to be best, and the pictures of it."""

import json
import os
import random
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from board.made import pipes, result

import vr1bench
from vr1bench.benchmark import suite
from vr1bench.board import FORMATS, PICTURES, View, curves, leaderboard, markdown, told
from vr1bench.errors import Vr1benchError
from vr1bench.paired import difference
from vr1bench.store import read_results, write_result
from vr1bench.types import Training

BASE = "c" * 40
STARTED = {"method": "grpo", "recipe": "demo", "recipe_sha256": "0" * 64, "base_model": "hub/base"}


def trained(one, base_revision=BASE, **fields):
    training = Training(**STARTED | fields, base_revision=base_revision)
    return one.model_copy(update={"run": one.run.model_copy(update={"training": training})})


def checkpoint(step, value, benchmark="b", base_revision=BASE, **fields):
    one = result(f"out/checkpoint-{step}", benchmark, step=step, value=value, **{"tie": value, "n": 5000} | fields)
    return trained(one, base_revision)


def base(value, benchmark="b", **fields):
    fields = {"tie": value, "n": 5000, "revision": BASE} | fields
    return result("hub/base", benchmark, value=value, **fields)


def board(results, **view):
    return leaderboard(results, (), View(history="out", **view))


def only(results):
    (curve,) = curves(board(results))
    return curve


RISING = [base(0.30), checkpoint(500, 0.40), checkpoint(1000, 0.55), checkpoint(1500, 0.45)]
"""Every step is surely apart from every other: 5 points and more, with a standard deviation of 1.4 points."""


# Values


def test_a_curve_runs_over_steps_and_begins_with_the_base_model():
    curve = only([result("other", n=5000), *RISING])
    assert [(point.step, point.metric.value, point.base) for point in curve.points] == [
        (0, 0.30, True), (500, 0.40, False), (1000, 0.55, False), (1500, 0.45, False),
    ]  # fmt: skip
    assert curve.points[1].metric == RISING[1].primary
    assert curve.points[1].title == "out/checkpoint-500@aaaaaaaa step 500"
    rows = next(iter(pipes(markdown(board([result("other", n=5000), *RISING]))).values()))
    assert [row[0] for row in rows[1:3]] == ["hub/base@cccccccc (base)", "out/checkpoint-500@aaaaaaaa step 500"]


def test_the_base_model_is_that_of_its_revision_or_else_of_its_name():
    steps = [checkpoint(500, 0.4, base_revision="d" * 40)]
    assert [point.step for point in only([base(0.3), *steps]).points] == [500]
    copied = result("copy/of/base", value=0.3, revision="d" * 40, n=5000)
    assert only([base(0.3), copied, *steps]).points[0].title == "copy/of/base@dddddddd (base)"
    nameless = [checkpoint(500, 0.4, base_revision="")]
    assert [point.base for point in only([base(0.3), *nameless]).points] == [True, False]
    # A training may go on from a checkpoint of another one, whose step is none of this one's.
    tuned = result("sft/checkpoint-9000", step=9000, value=0.3, revision="d" * 40, n=5000)
    curve = only([tuned, *steps])
    assert [(point.step, point.base) for point in curve.points] == [(0, True), (500, False)]
    assert board([tuned, *steps]).rows[0].title == "sft/checkpoint-9000@dddddddd step 9000 (base)"


def test_the_best_checkpoint_is_surely_so_where_it_is_better_than_every_point():
    curve = only(RISING)
    assert (curve.best, curve.sure, curve.to_first, curve.to_last) == (2, True, "better", "better")
    assert told(curve) == (
        "b val, AP, standard, constant, n=5000: best at step 1000 with 55.0 ±6.0, 95 % interval 49.0 to 61.0; surely "
        "the best of 4; surely better than the base model with 30.0 ±6.0; surely better than the last, step 1500, with "
        "45.0 ±6.0."
    )
    close = only([*RISING[:3], checkpoint(1500, 0.545)])
    assert (close.best, close.sure, close.to_first, close.to_last) == (2, False, "better", "")
    assert "not surely the best of 4; surely better than the base" in told(close)
    assert "not surely better than the last, step 1500, with 54.5 ±6.0." in told(close)


def test_the_base_model_is_no_checkpoint_but_may_be_better_than_all():
    curve = only([base(0.60), checkpoint(500, 0.40), checkpoint(1000, 0.50)])
    assert (curve.best, curve.sure, curve.to_first) == (2, False, "worse")
    assert told(curve).endswith(
        "not surely the best of 3; surely worse than the base model with 60.0 ±6.0; it is the last."
    )
    assert curves(board([base(0.6), result("out", n=5000)])) == ()


def test_the_highest_of_many_needs_more_than_one_that_was_named_beforehand():
    first, best = checkpoint(1, 0.50), checkpoint(2, 0.534)
    p = difference(first, best, "AP_tie").p
    assert 0.05 / 4 < p < 0.05
    assert only([first, best]).to_first == "better"
    near = [checkpoint(step, 0.499) for step in (3, 4, 5)]
    assert only([first, best, *near]).to_first == ""


def test_the_best_goes_by_the_metric_that_no_order_of_images_moves():
    results = [checkpoint(1, 0.9, tie=0.3), checkpoint(2, 0.5, tie=0.6)]
    assert (only(results).best, only(results).sure) == (1, True)
    assert "best at step 2 with 50.0" in told(only(results))


def test_of_equal_checkpoints_the_first_is_best():
    curve = only([checkpoint(10, 0.5), checkpoint(9, 0.5), checkpoint(8, 0.3)])
    assert (curve.points[curve.best].step, curve.sure) == (9, False)


def test_of_several_numbers_of_one_step_the_latest_counts():
    again = checkpoint(500, 0.2, revision="0" * 40, day=2)
    curve = only([again, *RISING])
    assert [point.metric.value for point in curve.points] == [0.30, 0.20, 0.55, 0.45]
    assert told(curve).endswith("; 1 older number(s) of the same steps are left out.")
    elsewhere = checkpoint(500, 0.2, "c", revision="e" * 40, day=2)
    assert [len(curve.points) for curve in curves(board([elsewhere, *RISING]))] == [4, 1]


def test_a_mean_over_a_suite_has_a_curve_where_it_is_whole():
    results = [
        checkpoint(step, value + 0.01 * place, one.name, metric=one.primary, split=one.split, noise=0.02)
        for step, value in ((100, 0.3), (200, 0.34))
        for place, one in enumerate(suite("refcoco-val"))
    ]
    part = checkpoint(300, 0.9, suite("refcoco-val")[0].name, metric="Acc@0.5")
    mean, *members = curves(board([*results, part]))
    assert (mean.column.name, mean.column.of, len(members)) == ("refcoco-val", "mean of 3", 3)
    assert [point.step for point in mean.points] == [100, 200]
    assert [point.metric.value for point in mean.points] == pytest.approx([0.31, 0.35])
    low, high = mean.points[0].metric.low, mean.points[0].metric.high
    assert high - low == pytest.approx(0.12 / 3**0.5)
    # Four points are too few for one benchmark, and enough for the mean of three.
    assert (mean.sure, mean.to_first) == (True, "better")
    assert [(len(curve.points), curve.to_first) for curve in members] == [(3, "better"), (2, ""), (2, "")]


def test_what_does_not_compare_has_no_best():
    other = only([*RISING[1:3], checkpoint(1500, 0.9, data="other")])
    assert (other.best, other.sure) == (None, False)
    assert told(other).endswith(": steps stand on other data or another number of samples: none is told to be best.")
    old = only([*RISING[1:3], checkpoint(1500, 0.9, noise=None)])
    assert (old.best, old.sure, old.to_first) == (2, False, "")
    assert told(old).endswith("90.0 ±6.0, 95 % interval 84.0 to 96.0; a result without replicates: nobody can tell how "
                              "surely.")  # fmt: skip


def test_one_step_is_told_alone():
    assert told(only([checkpoint(5, 0.5)])).endswith(": only step 5 with 50.0 ±6.0, 95 % interval 44.0 to 56.0.")
    assert told(only([checkpoint(5, 1.0, interval=False)])).endswith(": only step 5 with 100.0.")


def test_a_step_without_a_number_is_no_point():
    assert [point.step for point in only([*RISING, checkpoint(2000, None, tie=None)]).points] == [0, 500, 1000, 1500]


@pytest.mark.parametrize("view", [{}, {"sort": "date"}, {"sort": "b"}, {"by": "benchmark"}])
def test_neither_the_order_of_results_nor_of_rows_matters(view):
    results = [*RISING, *(checkpoint(step, 0.3 + step / 1e4, "c", day=step // 100) for step in (900, 100, 500))]
    first = curves(board(results))
    shuffled = random.Random(3).sample(results, len(results))  # noqa: S311
    assert curves(board(shuffled, **view)) == first
    assert PICTURES["svg"](board(shuffled, **view)) == PICTURES["svg"](board(results))


def test_results_of_real_runs(tmp_path, monkeypatch):
    """Half of the answers lost at step 100, none at 200, one at 300."""
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    options = {"benchmark": "demo/coco", "limit": 40, "family": "absolute"}
    vr1bench.run("x", engine="oracle", output=tmp_path / "gold", **options)
    (records,) = (tmp_path / "gold").rglob("records.jsonl")
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    results = []
    for step, lost in ((100, 20), (200, 0), (300, 1)):
        file = tmp_path / f"{step}.jsonl"
        texts = ["[]"] * lost + [row["completion"]["text"] for row in rows[lost:]]
        answers = [{"sample_id": row["sample_id"], "text": text} for row, text in zip(rows, texts, strict=True)]
        file.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
        replay = {"engine": "replay", "engine_args": {"file": str(file)}, "output": tmp_path / "runs"}
        (one,) = vr1bench.run(f"out/checkpoint-{step}", **options, **replay)
        results.append(one.model_copy(update={"key": one.key.model_copy(update={"step": step})}))
    curve = only(results)
    assert (curve.best, curve.sure, curve.to_first, curve.to_last) == (1, False, "better", "")
    assert curve.points[0].metric.high < curve.points[1].metric.low


# What people see


def test_texts_tell_a_line_a_curve_below_the_table():
    results = [*RISING, checkpoint(500, 0.4, "<c>_$x$")]
    text = markdown(board(results))
    below = text.partition("## Over steps")[2]
    lines = [line for line in below.splitlines() if line.startswith("- ")]
    assert len(lines) == 2
    assert lines[0] == r"- &lt;c&gt;\_\$x\$ val, AP, standard, constant, n=5000: only step 500 with 40.0 ±6.0, 95 % " \
                       "interval 34.0 to 46.0."  # fmt: skip
    assert lines[1] == f"- {told(curves(board(RISING))[0])}"
    latex = FORMATS["latex"](board(results))
    assert latex.count("\n\\par ") == 3
    assert r"surely better than the base model with 30.0 $\pm$6.0" in latex
    for form in ("md", "latex", "html"):
        assert "best at step" not in FORMATS[form](leaderboard(results))
        assert "ver steps" not in FORMATS[form](leaderboard([result("out")], (), View(history="out")))


def drawn_texts(picture):
    """What a picture says: matplotlib notes the text that glyphs were drawn for, a comment a line."""
    return re.findall(r"<!-- (.*?) -->", picture.decode())


def test_the_svg_says_what_it_shows_and_no_date():
    many = [
        *RISING,
        *(checkpoint(500, 0.4, f"b{count}") for count in range(6)),
        checkpoint(1, 0.4, "$\\frac$ <a> & --"),
    ]
    picture = PICTURES["svg"](board(many))
    root = ElementTree.fromstring(picture)  # noqa: S314  our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = drawn_texts(picture)
    assert {"out", "b", "b5", "55.0 ±6.0", "at step 1000", "val, AP, standard, constant, n=5000"} <= set(texts)
    assert sum(text == "at step 500" for text in texts) == 6
    assert any(text.startswith("$\\frac$") for text in texts)
    assert not re.search(rb"<dc:date>|20\d\d-\d\d", picture)
    assert b"clip-path" not in picture


def stars(picture):
    """The fill of every star: the path that begins at its upper point, half of its 11 points above the middle."""
    paths = re.findall(r'<path id="m\w{10}" d="([^"]*)"', picture.decode())
    (star,) = {path for path in paths if path.startswith("M 0 -5.5")}
    name = re.findall(rf'<path id="(\w+)" d="{re.escape(star)}"', picture.decode())[0]
    return re.findall(rf'<use xlink:href="#{name}"[^>]*style="fill: (#\w+)', picture.decode())


def test_the_star_is_filled_where_the_best_is_surely_so():
    assert stars(PICTURES["svg"](board(RISING))) == ["#0072b2"]
    assert stars(PICTURES["svg"](board([*RISING, checkpoint(2000, 0.55)]))) == ["#ffffff"]


def test_the_png_is_a_picture_that_holds_ink():
    from io import BytesIO

    from PIL import Image

    picture = PICTURES["png"](board(RISING))
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    pixels = np.asarray(Image.open(BytesIO(picture)).convert("RGB"))
    assert pixels.shape[1] == 1320
    blue = (pixels == (0x00, 0x72, 0xB2)).all(axis=2)
    assert 0.001 < blue.mean() < 0.05
    assert (pixels[:5] == 255).all()


def test_the_page_holds_the_curves_for_light_and_dark():
    page = FORMATS["html"](board([*RISING, checkpoint(1, 0.4, "<script>\"'")]))
    assert not re.search(r"https?:|url\(|@import|xmlns|xlink|<!--|#0072b2.*<svg", page.partition("<svg")[2])
    assert page.count("<svg ") == page.count("</svg>") == page.count("<style>") == page.count("<script>") == 1
    picture = f"<svg {page.partition('<svg ')[2].partition('</svg>')[0]}</svg>"
    root = ElementTree.fromstring(picture)  # noqa: S314  our own
    assert "best at step 1000 with 55.0 ±6.0" in root.get("aria-label")
    assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(id|href)="[^"]*"', "", picture))
    light, dark = re.findall(r":root {([^}]*)}", page)
    for name in set(re.findall(r"var\((--\w+)\)", picture)):
        assert f"{name}:" in light
        assert f"{name}:" in dark
    assert page.count("surely the best of 4") == 2  # for those who see the picture, and for those who hear it
    assert "<svg" not in FORMATS["html"](leaderboard(RISING))


def test_without_matplotlib_the_page_says_so_and_pictures_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = FORMATS["html"](board(RISING))
    assert "<svg" not in page
    assert "The picture is left out: curves are drawn by matplotlib, which cannot be imported" in page
    assert "<code>uv sync --inexact --extra plots</code>" in page
    assert "surely the best of 4" in page
    for draw in PICTURES.values():
        with pytest.raises(Vr1benchError, match="install it: `uv sync --inexact --extra plots`"):
            draw(board(RISING))


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_what_has_no_steps_has_no_picture(draw):
    with pytest.raises(Vr1benchError, match="none is named; expected --history OUTPUT_DIR"):
        draw(leaderboard(RISING))
    with pytest.raises(Vr1benchError, match="no curve of out: none of its 2 results has a number at a training step"):
        draw(board([result("out"), result("out", revision="b" * 40)]))
    with pytest.raises(Vr1benchError, match="no curve of out: none of its 1 results"):
        draw(board([checkpoint(5, None, tie=None)]))


def test_the_command_draws_the_same_bytes_whatever_the_machine_is_set_to(tmp_path):
    for one in RISING:
        write_result(tmp_path / "results" / one.key.path, one)
    settings = tmp_path / "matplotlibrc"
    settings.write_text("font.size: 20\nsvg.fonttype: none\nlines.linewidth: 9\nsavefig.dpi: 20\n")
    environment = os.environ | {"MATPLOTLIBRC": str(settings), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}

    def command(*options):
        words = [sys.executable, "-m", "vr1bench.cli", "board", tmp_path / "results", *options]
        return subprocess.run(words, capture_output=True, env=environment)

    expected = leaderboard([one for _, one in read_results(tmp_path / "results")], (), View(history="out"))
    for form, draw in PICTURES.items():
        done = command("--history", "out/", "--format", form)
        assert done.returncode == 0, done.stderr
        assert done.stdout == draw(expected) == draw(expected)
    refused = command("--format", "svg")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"error: a picture shows the curves of one training, and none is named" in refused.stderr
