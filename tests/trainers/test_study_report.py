"""The study's report on made-up runs: its numbers, its verdicts, and that its tables suffice to draw it again."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vr1bench.benchmark import find
from vr1bench.errors import NotComparableError, Vr1benchError
from vr1bench.metrics.bootstrap import Draws, means, packed
from vr1bench.paired import difference
from vr1bench.store import Key, Metric, Result, RunInfo, Values, read_result, write_result
from vr1bench.trainers.attempts import Attempt, append
from vr1bench.trainers.study import attempt_log, report, words
from vr1bench.trainers.study.__main__ import app
from vr1bench.trainers.study.answers import Evidence, answers
from vr1bench.trainers.study.attempt_log import Line
from vr1bench.trainers.study.evidence import checkpoints, steps
from vr1bench.trainers.study.plan import IN, OUT, RESULTS, SLOPPY, STARTS, runs

DOCS = Path("docs")
IMAGES = 60
SKILL = {"shipped": 0.9, "short": 0.4, "incomplete": 0.5, "sloppy": 0.5}
GAIN = {"sft": 0.1, "grpo": 0.3, "staged": 0.3, "labelled": 0.4, "ap": -0.2, "ap50": -0.25, "od-length": 0.3}
"""What an arm learns in all its steps; the shipped start learns nothing from GRPO."""


def number_of(text):
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def result(model, name, split, skill, step=None, data=""):
    """A Result of a model that gets right what is easier than its skill: the same pictures for all."""
    data = hashlib.sha256(f"{name} {split} {data}".encode()).hexdigest()
    noise = np.random.default_rng(number_of(f"{model} {name}")).standard_normal(IMAGES)
    hard = np.random.default_rng(number_of(f"{name} {split}")).random(IMAGES)
    right = (hard < skill + 0.02 * noise).astype(float)
    replicates, primary = means(Draws(IMAGES, int(data[:12], 16)), right), find(name).primary
    kept = "AP_tie" if primary == "AP" else primary
    values = Values(
        primary=primary, metrics={primary: Metric(value=0.5), kept: Metric(value=float(right.mean()))},
        replicates={kept: packed(replicates)}, counts={"ok": IMAGES}, boxes=IMAGES, n=IMAGES, images=IMAGES,
        requests=IMAGES, fingerprint="f", data_sha256=data,
    )  # fmt: skip
    key = Key(
        benchmark=name, split=split, protocol="standard", scores="constant", model=model, revision="a" * 40, step=step
    )
    run = RunInfo(engine="hf", versions={}, commit="c", date="2026-11-22T00:00:00+00:00", seconds=1.0)
    return Result(key=key, values=values, run=run)


def written(one):
    write_result(RESULTS / one.key.path, one)
    return str(one.key.path)


def made_run(run):
    """What a planned run leaves behind."""
    tried = run.group in {"rates", "order"}
    every = 8 if run.group == "hacking" else run.steps if tried else 25
    names = IN if tried else IN[:1] if run.group == "hacking" else IN + OUT
    split = "dev" if tried else ""
    rate = run.rate or "4e-5"
    for step in range(every, run.steps + 1, every):
        gain = GAIN.get(run.arm, 0.0) * step / run.steps * (0.5 if rate == "1e-5" else 1.0) + 0.01 * run.seed
        skill = SKILL[run.start] + (0 if run.start == "shipped" else gain)
        model = f"{run.folder}/checkpoint-{step}"
        files = [written(result(model, name, split or find(name).split, skill, step)) for name in names]
        run.folder.mkdir(parents=True, exist_ok=True)
        append(
            run.folder,
            Attempt(
                step=step, checkpoint=f"checkpoint-{step}", status="scored", results=tuple(files), date="", saved="s"
            ),
        )
    rises = 0.0 if run.start == "shipped" else 0.02
    rng = np.random.default_rng(number_of(run.name))
    log = [
        {
            "step": step,
            "reward": 1 + rises * step + 0.05 * rng.standard_normal(),
            "monitor/predicted_over_gold": 1 + 0.1 * run.seed,
        }
        for step in range(1, run.steps + 1)
    ]
    state = {"global_step": run.steps, "max_steps": run.steps, "log_history": log if run.method == "grpo" else []}
    (run.folder / "trainer_state.json").write_text(json.dumps(state))
    told = {
        "model": {"name": "demo"},
        "data": {"benchmarks": ["demo/coco"]},
        run.method: {"learning_rate": float(rate)},
    }
    paid = {"rewards": {"vision-r1": 1.0}} if run.method == "grpo" else {}
    (run.folder / "recipe.json").write_text(json.dumps(told | paid))
    if run.arm == "ap":
        (run.folder / "warnings.jsonl").write_text('{"step": 16}\n')


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with made-up runs of the whole plan; it is copied, not written to."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for start, model in {**STARTS, "sloppy": SLOPPY}.items():
            for name in IN[:1] if start == "sloppy" else IN + OUT:
                written(result(model, name, find(name).split, SKILL[start]))
        for run in runs():
            if run.arm != "start":
                made_run(run)
        DOCS.mkdir()
        attempt_log.write(
            DOCS / "runs.csv",
            [Line("study/a", "f" * 64, "c" * 40 + "+", "2026-11-22T00:00:00+00:00", 90.0, "failed: a | b")],
        )
        report.write(DOCS)
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def rows(name):
    with (DOCS / name).open(newline="") as file:
        return list(csv.DictReader(file))


def answer(question, start, what, over=""):
    (found,) = (
        one
        for one in rows("answers.csv")
        if (one["question"], one["start"], one["over"]) == (question, start, over) and one["what"].startswith(what)
    )
    return found


def test_every_checkpoint_stands_in_the_values(here):
    found = rows("values.csv")
    single = [one for one in found if one["benchmark"] not in {"in", "out", "all"} and one["seed"] != "mean"]
    assert len(single) == 3 * 8 + 1 + (18 + 6) * 2 + (18 + 3 + 3) * 2 * 8 + 9 * 3
    (one,) = (
        row for row in single
        if [row[name] for name in ("start", "arm", "seed", "step", "benchmark")] == ["short", "grpo", "2", "25", OUT[0]]
    )  # fmt: skip
    file = next((RESULTS / OUT[0]).glob("*/runs__study__short__grpo-2__checkpoint-25@*.json"))
    assert float(one["value"]) == pytest.approx(read_result(file).values.metrics["AP_tie"].value)
    assert (one["rate"], one["split"], one["metric"]) == ("4e-5", "test", "AP_tie")
    assert float(one["low"]) < float(one["value"]) < float(one["high"])


def test_means_are_unweighted_and_over_seeds(here):
    kept = [
        one
        for one in rows("values.csv")
        if (one["start"], one["arm"], one["step"], one["split"]) == ("short", "sft", "50", "test")
    ]
    found = {(one["benchmark"], one["seed"]): float(one["value"]) for one in kept}
    halves = {(one["benchmark"], one["seed"]): float(one["high"]) - float(one["value"]) for one in kept}
    assert found["out", "2"] == pytest.approx(np.mean([found[name, "2"] for name in OUT]))
    assert found["in", "mean"] == pytest.approx(np.mean([found["in", seed] for seed in "123"]))
    assert halves["out", "2"] == pytest.approx(np.linalg.norm([halves[name, "2"] for name in OUT]) / 6)
    assert found["all", "1"] == pytest.approx(np.mean([found[name, "1"] for name in IN + OUT]))


def test_the_verdicts_are_the_plans(here):
    assert answer("A", "shipped", "grpo")["verdict"] == "did not surely rise"
    assert answer("A", "short", "grpo")["verdict"] == "rose"
    assert answer("B", "shipped", "grpo - sft", "out")["verdict"] == "inconclusive"
    assert answer("B", "short", "grpo - sft", "out")["verdict"] == "GRPO above"
    assert answer("C", "incomplete", "grpo - sft", "in")["verdict"] == "GRPO above"
    assert answer("D", "short", "sft - start", "out")["verdict"] == "SFT above"
    assert answer("E", "short", "staged - grpo", "all")["verdict"] == "undecided"
    assert answer("F", "sloppy", "ap - start", IN[0])["verdict"] == "hacked"
    assert answer("F", "sloppy", "od-length - start", IN[0])["verdict"] == "not shown to be hacked"
    assert answer("F", "sloppy", "od-length - ap50", IN[0])["verdict"] == "od-length above"
    assert answer("labelled", "incomplete", "labelled - grpo", "out")["verdict"] == ""


def test_an_answer_is_the_mean_over_seeds_of_paired_differences(here):
    per_seed = []
    for seed in (1, 2, 3):
        old, new = (
            {
                name: read_result(
                    next((RESULTS / name).glob(f"test*/runs__study__short__{arm}-{seed}__checkpoint-50@*.json"))
                )
                for name in OUT
            }
            for arm in ("sft", "grpo")
        )
        found = [
            difference(old[name], new[name], "AP_tie" if "phrases" not in name else find(name).primary) for name in OUT
        ]
        per_seed.append(np.mean([one.value for one in found]))
    one = answer("B", "short", "grpo - sft", "out")
    assert float(one["estimate"]) == pytest.approx(np.mean(per_seed))
    half = 4.302652729911275 * np.std(per_seed, ddof=1) / np.sqrt(3)
    assert float(one["seeds_high"]) == pytest.approx(np.mean(per_seed) + half, rel=1e-6)
    ps = sorted(float(answer("B", start, "grpo - sft", "out")["p"]) for start in STARTS)
    holm = sorted(float(answer("B", start, "grpo - sft", "out")["holm"]) for start in STARTS)
    assert holm[0] == pytest.approx(min(1, 3 * ps[0]), rel=1e-6)


def test_hacking_is_told_by_boxes_and_warnings(here):
    boxes = answer("F", "sloppy", "ap: predicted over gold")
    assert float(boxes["estimate"]) == pytest.approx(1.2)
    assert float(boxes["seeds_high"]) == pytest.approx(1.2 + 4.302652729911275 * 0.1 / np.sqrt(3), rel=1e-6)
    warned = answer("F", "sloppy", "ap: runs that the hacking watch warned of")
    assert (warned["estimate"], warned["verdict"]) == ("3", "seed 1 at step 16; seed 2 at step 16; seed 3 at step 16")
    assert answer("F", "sloppy", "od-length: runs that")["estimate"] == "0"


def test_checkpoints_that_fell_below_their_start_are_told(here):
    found = rows("falls.csv")
    assert len(found) == (18 + 3 + 3) * 2 + 9 * 3, "dev is not scored of the starts here"
    for watch in ("worse", "hacked"):  # the reward of all but the shipped start's runs rises
        assert {(one["start"], one["arm"]) for one in found if one[watch] == "1"} == {
            ("sloppy", "ap"),
            ("sloppy", "ap50"),
        }
    (last,) = (one for one in found if (one["arm"], one["seed"], one["step"]) == ("ap", "1", "24"))
    file = next((RESULTS / IN[0]).glob("*/runs__study__sloppy__ap-1__checkpoint-24@*.json"))
    assert float(last["new"]) == pytest.approx(read_result(file).values.metrics["AP_tie"].value)
    table = (DOCS / "README.md").read_text().partition("<!-- falls -->")[2]
    assert "| sloppy     | od-length | 4e-5   | test    | 3      | 9 " in table


def test_a_missing_seed_is_left_out_on_both_sides(here):
    shutil.rmtree("runs/study/short/grpo-3")
    found = {(one.question, one.start, one.what): one for one in answers(Evidence(checkpoints(), steps()))}
    assert found["B", "short", "grpo - sft"].seeds == 2
    assert found["D", "short", "sft - start"].seeds == 3
    shutil.rmtree("runs/study/short/grpo-2")
    one = next(one for one in answers(Evidence(checkpoints(), steps())) if (one.question, one.start) == ("B", "short"))
    assert (one.seeds, one.seeds_low, one.verdict) == (1, None, "undecided")


def test_a_training_that_was_interrupted_tells_no_rise(here):
    path = Path("runs/study/short/grpo-3/trainer_state.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_steps": 60}))
    found = {(one.question, one.start): one.seeds for one in answers(Evidence(checkpoints(), steps()))}
    assert (found["A", "short"], found["A", "incomplete"]) == (2, 3)


def test_results_of_other_pictures_are_not_compared(here):
    for seed in (1, 2, 3):
        written(result(f"runs/study/short/grpo-{seed}/checkpoint-50", OUT[0], "test", 0.7, 50, data="drawn anew"))
    with pytest.raises(NotComparableError, match="data is"):
        report.write(DOCS)


def test_a_start_that_was_scored_as_two_models_is_refused(here):
    one = result(STARTS["short"], IN[0], "test", 0.4)
    written(one.model_copy(update={"key": one.key.model_copy(update={"revision": "b" * 40})}))
    with pytest.raises(Vr1benchError, match="was scored on study/plain as 2 models"):
        report.write(DOCS)


def test_the_report_is_the_same_without_the_runs(here):
    before = {path.name: path.read_bytes() for path in DOCS.iterdir()}
    assert {"scores.svg", "rewards.svg", "hacking.svg", "differences.svg", "README.md", "runs.md"} <= set(before)
    shutil.rmtree("runs")
    for name in ("scores.svg", "runs.md"):
        (DOCS / name).unlink()
    assert not report.write(DOCS).gathered
    assert {path.name: path.read_bytes() for path in DOCS.iterdir()} == before


def test_without_runs_and_tables_there_is_nothing_to_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Vr1benchError, match="expected runs"):
        report.write(DOCS)


def test_before_any_run_the_report_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RESULTS.mkdir(parents=True)
    assert report.write(DOCS).gathered
    page = (DOCS / "README.md").read_text()
    assert page.count("Nothing to show yet.") == 4
    assert "0 attempts, 0 done" in (DOCS / "runs.md").read_text()


def test_what_people_wrote_stays(here):
    page = (
        "# Mine\n\n<!-- note -->\n\n<!-- answers -->\nold\n<!-- end -->\nprose\n\n<!-- rates -->\n<!-- end -->\nend\n"
    )
    (DOCS / "README.md").write_text(page)
    runs_page = (DOCS / "runs.md").read_text()
    (DOCS / "runs.md").write_text(runs_page.replace("None so far.", "2026-11-23: fewer seeds, for time ran out."))
    report.write(DOCS)
    said = (DOCS / "README.md").read_text()
    assert said.startswith("# Mine\n\n<!-- note -->\n\n<!-- answers -->\n\n**Did the reward rise?")
    assert "\nold\n" not in said
    assert "<!-- end -->\nprose\n\n<!-- rates -->\n\n| start " in said
    assert said.endswith("<!-- end -->\nend\n")
    assert "2026-11-23: fewer seeds, for time ran out.\n" in (DOCS / "runs.md").read_text()


def test_runs_tell_failures_and_machine_time(here):
    page = (DOCS / "runs.md").read_text()
    assert "1 attempts, 0 done. 1.5 hours" in page
    assert "| study/a | ffffffff | cccccccc+ | 90.0      | failed: a \\| b |" in page


def test_the_chosen_rates_are_named(here):
    assert (DOCS / "README.md").read_text().count("| yes") == 6
    said = CliRunner().invoke(app, ["rates"])
    assert (said.exit_code, said.output.count("| yes")) == (0, 6)
    assert words.rates_table([]) == "Nothing to show yet."


def test_every_checkpoint_is_a_row_of_the_leaderboard(here):
    board = (DOCS / "LEADERBOARD.md").read_text()
    for run in runs():
        if run.arm != "start":
            assert f"| {run.folder}/checkpoint-{run.steps}@aaaaaaaa step {run.steps} " in board
