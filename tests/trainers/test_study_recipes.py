"""The study's recipes are what its plan says, and its rates are chosen by the plan's rule."""

import re
import shutil
from pathlib import Path

import pytest

from vr1bench.trainers.recipe import RECIPES, read_recipe
from vr1bench.trainers.study.choosing import at_edge, chosen, tried
from vr1bench.trainers.study.evidence import Value
from vr1bench.trainers.study.plan import (
    IN,
    METHODS,
    RATES,
    REWARDS,
    SHORT_STEPS,
    SLOPPY,
    STARTS,
    runs,
)
from vr1bench.trainers.study.recipes import texts, write

PLAN = Path(__file__).resolve().parents[2] / "docs" / "study" / "plan.md"
EVERY = {(start, method): rate for (start, rate) in zip(STARTS, RATES, strict=True) for method in METHODS}
"""A rate for all, another for each start."""


def committed():
    """The rates that the recipes of `seeds` hold, where they are written."""
    found = {}
    for run in runs():
        if run.group == "seeds" and run.file.exists():
            rate = read_recipe(run.recipe).settings["learning_rate"]
            found[run.start, run.method] = next(one for one in RATES if float(one) == rate)
    return found


def test_every_recipe_in_the_tree_is_as_the_plan_writes_it():
    written = dict(texts(committed()))
    bases = {RECIPES / "study" / name for name in ("sft.toml", "grpo.toml", "incomplete/start.toml")}
    there = set((RECIPES / "study").rglob("*.toml")) - bases
    assert there == set(written)
    assert {path for path in there if path.read_text() != written[path]} == set()
    assert write(committed()) == []


def test_each_run_trains_what_the_plan_says(tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(RECIPES / "study", folder)
    for path, text in texts(EVERY):
        copy = folder / path.relative_to(RECIPES / "study")
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(text)
    starts = STARTS | {"sloppy": SLOPPY}
    for run in runs():
        recipe = read_recipe(str(folder / f"{run.name}.toml"))
        rate = run.rate or ("5e-5" if run.start == "sloppy" else EVERY.get((run.start, run.method)))
        assert (recipe.method, recipe.settings["output_dir"]) == (run.method, str(run.folder))
        assert (recipe.settings["max_steps"], recipe.settings["seed"]) == (run.steps, run.seed)
        assert recipe.settings["save_only_model"] is True
        assert recipe.score.output == "runs/study/results"
        if run.arm != "start":
            assert recipe.model.name == starts[run.start]
            assert recipe.settings["learning_rate"] == float(rate)
            assert recipe.rewards == ({} if run.method == "sft" else {REWARDS.get(run.arm, "vision-r1"): 1.0})
        assert recipe.data.targets == ("reading" if run.method == "sft" and run.group != "order" else "file")
        if run.group in {"rates", "order"}:
            assert (recipe.score.suite, recipe.score.split, recipe.settings["save_steps"]) == ("study-in", "dev", 50)
        elif run.group in {"seeds", "staged", "labelled"}:
            assert (recipe.score.suite, recipe.score.split, recipe.settings["save_steps"]) == ("study", None, 25)


def test_no_run_is_without_a_number_of_the_plan():
    text = PLAN.read_text()
    rows = re.findall(r"^\| (rates|seeds|staged|labelled|hacking) \|.*\| (\d+) \|$", text, re.MULTILINE)
    assert {group: int(count) for group, count in rows} == {
        group: sum(run.group == group for run in runs()) for group, _ in rows
    }
    assert len(rows) == 5
    assert f"--steps {SHORT_STEPS} " in text


def test_without_a_rate_no_recipe_that_takes_one():
    groups = {run.file: run.group for run in runs()}
    assert {groups.get(path, "base") for path, _ in texts({})} == {"base", "starts", "rates", "order", "hacking"}


def value(start, method, rate, plain, rec, split="dev", seed="0"):
    return [
        Value(start, method, rate, seed, 50, split, name, "m", number, number, number)
        for name, number in zip(IN, (plain, rec), strict=True)
    ]


def test_the_highest_mean_wins_and_of_equal_ones_the_smaller_rate():
    found = tried(
        [
            *value("short", "sft", "1e-5", 0.50, 0.60),
            *value("short", "sft", "4e-5", 0.70, 0.30),
            *value("short", "sft", "1.6e-4", 0.40, 0.80),
            *value("short", "grpo", "1.6e-4", 0.60, 0.60),
            *value("short", "grpo", "1e-5", 0.5, 0.5),
            *value("short", "grpo", "4e-5", 0.75, 0.45),
        ]
    )
    assert chosen(found) == {("short", "sft"): "1.6e-4", ("short", "grpo"): "4e-5"}


def test_no_rate_is_chosen_before_all_are_scored():
    assert chosen(tried([*value("short", "sft", "1e-5", 0.5, 0.6), *value("short", "sft", "4e-5", 0.7, 0.3)])) == {}


def test_only_dev_scores_of_the_rate_runs_count():
    rows = [one for rate in RATES for one in value("short", "sft", rate, 0.5, 0.5)]
    others = [
        *value("short", "sft", "4e-5", 0.9, 0.9, split="test"),
        *value("short", "sft", "4e-5", 0.9, 0.9, seed="1"),
    ]
    assert chosen(tried([*rows, *others])) == {("short", "sft"): "1e-5"}


@pytest.mark.parametrize(("rate", "said"), [("1e-5", "smallest tried"), ("4e-5", ""), ("1.6e-4", "largest tried")])
def test_a_rate_at_the_edge_is_said(rate, said):
    assert at_edge(rate) == said
