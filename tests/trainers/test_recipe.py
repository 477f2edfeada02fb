"""Recipes: those that ship are whole and say their papers' values; wrong ones are refused by name."""

import json
import re
from pathlib import Path

import pytest

from vr1bench.benchmark import chosen, find
from vr1bench.errors import Vr1benchError
from vr1bench.protocol import protocol
from vr1bench.rewards import REWARDS
from vr1bench.rows import training_split
from vr1bench.trainers.command import configured
from vr1bench.trainers.paid import BY_ROW, LENGTHS
from vr1bench.trainers.recipe import read_recipe, read_training, shipped

ROOT = Path(__file__).resolve().parents[2]
STATED = {
    "loss_type", "beta", "temperature", "num_generations", "num_iterations", "epsilon", "learning_rate",
    "scale_rewards", "use_bias_correction_kl",
}  # fmt: skip
"""What TRL 1.16 has other defaults for than the papers, so that a recipe must say it."""
ON_CPU = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}


@pytest.mark.parametrize("name", shipped())
def test_every_recipe_names_what_there_is(name, tmp_path):
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.about
    for benchmark in recipe.data.benchmarks:
        split = recipe.data.split or training_split(find(benchmark))
        assert split in find(benchmark).splits
        assert split.startswith("train") or recipe.data.split
        protocol(recipe.data.protocol, recipe.data.overrides, benchmark)
    assert set(recipe.rewards) <= {*REWARDS, *LENGTHS, BY_ROW}
    assert recipe.score is not None
    assert chosen(recipe.score.suite, None)
    kind = {"grpo": "trl.GRPOConfig", "sft": "trl.SFTConfig"}[recipe.method]
    settings = recipe.settings | ON_CPU | {"output_dir": str(tmp_path)}
    taken = configured(kind, settings, recipe.method)
    assert {key: getattr(taken, key) for key in settings} == settings
    if recipe.lora is not None:
        configured("peft.LoraConfig", recipe.lora, "lora")


@pytest.mark.parametrize("name", [name for name in shipped() if read_recipe(name).method == "grpo"])
def test_no_recipe_leaves_the_loss_to_a_default(name):
    assert set(read_recipe(name).settings) >= STATED


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("vision-r1/7b", {"beta": 0.2, "learning_rate": 1e-6, "num_train_epochs": 1, "num_generations": 8}),
        ("vision-r1/7b-code", {"num_generations": 4, "max_completion_length": 512}),
        ("vlm-r1/rec-3b", {"beta": 0.04, "temperature": 0.9, "num_generations": 8, "num_train_epochs": 2}),
        ("vlm-r1/rec-3b-code", {"temperature": 1.0}),
        ("vlm-r1/ovd-3b", {"beta": 0.0, "learning_rate": 1e-6, "num_generations": 8}),
        ("vlm-r1/rec-3b-sft", {"learning_rate": 1e-6, "num_train_epochs": 2}),
        ("vlm-r1/rec-3b-sft-code", {"learning_rate": 2e-5, "num_train_epochs": 3}),
        ("vision-r1/7b-sft", {"learning_rate": 2e-6, "num_train_epochs": 1}),
    ],
)
def test_the_papers_values(name, values):
    settings = read_recipe(name).settings
    assert {key: settings[key] for key in values} == values


def test_what_is_fed_and_how_weights_are_kept():
    assert read_recipe("vision-r1/7b").data.overrides == {"max_pixels": 401408}  # protocols.md: trained, not evaluated
    for name in shipped():
        recipe = read_recipe(name)
        assert recipe.model.dtype == ("bfloat16" if recipe.lora else "float32")
    with pytest.raises(Vr1benchError, match="hardly learn"):
        read_recipe("vlm-r1/rec-3b", {"model.dtype": "bfloat16"})


def test_scoring_takes_the_trainings_family_and_data():
    changes = {"model.family": "mine.toml", "data.data_dir": "sets"}
    scoring = read_recipe("demo-sft", changes).scoring
    assert (scoring.family, scoring.data_dir) == ("mine.toml", "sets")
    scoring = read_recipe("demo-sft", changes | {"score.family": "qwen2.5-vl", "score.data_dir": "held"}).scoring
    assert (scoring.family, scoring.data_dir) == ("qwen2.5-vl", "held")


def test_a_recipe_stands_on_another():
    below, above = read_recipe("vlm-r1/ovd-3b"), read_recipe("vlm-r1/ovd-3b-ap50-kl")
    assert above.rewards == {"vlm-r1-ap50": 1.0, "vlm-r1-od-format": 1.0}  # whole, not added
    assert above.settings["beta"] == 0.04
    assert above.data == below.data
    assert above.sha256 != below.sha256
    assert read_recipe("demo-grpo", {"grpo.output_dir": "elsewhere"}).sha256 == read_recipe("demo-grpo").sha256
    assert read_recipe("demo-grpo", {"grpo.beta": 0.5}).sha256 != read_recipe("demo-grpo").sha256


WHOLE = '[model]\nname = "demo"\n[data]\nbenchmarks = ["demo/coco"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WHOLE, r"one of the tables \[grpo\] and \[sft\]"),
        (WHOLE + "[grpo]\noutput_dir = 'x'\n", r"\[grpo\] needs \[rewards\]"),
        (WHOLE + "[sft]\noutput_dir = 'x'\n[rewards]\nformat = 1.0\n", r"\[sft\] has none"),
        (WHOLE + "[sft]\n", "names no output_dir"),
        (WHOLE + "[sft]\noutput_dir = 'x'\n[lora]\nr = 4\n", "go together"),
        (WHOLE + "[sft]\noutput_dir = 'x'\n[modle]\n", "unknown field .*'modle'; did you mean 'model'"),
        ('[model]\nname = "demo"\n[data]\n[sft]\noutput_dir = "x"\n', "neither benchmarks nor rows"),
        ("extends = 'mine.toml'\n", "extends itself"),
        ("[model", "not valid TOML"),
    ],
)
def test_what_no_recipe_says(text, said, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(Vr1benchError, match=said):
        read_recipe(str(path))


def test_names_and_changes_that_mean_nothing():
    with pytest.raises(Vr1benchError, match="did you mean 'demo-grpo'"):
        read_recipe("demo-grop")
    with pytest.raises(Vr1benchError, match="vr1bench train grpo"):
        read_recipe("demo-grpo", method="sft")
    with pytest.raises(Vr1benchError, match=r"TABLE\.KEY=VALUE"):
        read_recipe("demo-grpo", {"max_steps": 2})
    with pytest.raises(Vr1benchError, match=r"\[grpo\] beta: got 'x'; expected a number"):
        configured("trl.GRPOConfig", {"beta": "x"}, "grpo")
    with pytest.raises(Vr1benchError, match=r"\[grpo\] learning_rat: .*did you mean 'learning_rate'"):
        configured("trl.GRPOConfig", {"learning_rat": 1.0}, "grpo")


def named_in_the_docs():
    """(method, recipe) of every command that a page or a trainer's docstring shows."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "trainers").glob("*.py")]
    command = re.compile(r"(?:vr1bench train |vr1bench\.trainers\.)(grpo|sft) ([a-z][\w./-]*)")
    return sorted({found for page in pages for found in command.findall(page.read_text())})


@pytest.mark.parametrize(("method", "name"), named_in_the_docs())
def test_recipes_of_the_docs_are_there(method, name):
    assert read_recipe(name, method=method).name == name


def test_what_an_older_version_was_begun_with_has_todays_defaults(tmp_path):
    recipe, path = read_recipe("demo-grpo"), tmp_path / "recipe.json"
    older = json.loads(json.dumps(recipe.training))
    del older["data"]["targets"]
    path.write_text(json.dumps(older))
    assert read_training(path) == recipe.training
    path.write_text("{")
    with pytest.raises(Vr1benchError, match=r"cannot read .*recipe\.json"):
        read_training(path)
