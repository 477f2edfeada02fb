"""A recipe: one TOML that says everything of a training, from the model to the leaderboard.

    extends = "7b.toml"   # another recipe beside this one: what stands here goes over it, key by key; [rewards] whole
    [model]    name, family, weights: "full", "language" or "lora", dtype, attention
    [data]     benchmarks with their split and protocol, or your own JSONL; curation
    [grpo]     trl.GRPOConfig, word for word        or
    [sft]      trl.SFTConfig, word for word
    [lora]     peft.LoraConfig, word for word
    [rewards]  names and weights; "my_rewards.py:function" is your own
    [score]    which suite scores every checkpoint, and when

Nothing here imports torch: a recipe is checked before anything heavy is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from vr1bench.curation import HARD_BOXES, Curation, Order, Targets
from vr1bench.definitions import read_toml, validated
from vr1bench.errors import Vr1benchError
from vr1bench.registry import unknown
from vr1bench.trainers.scoring import Scoring
from vr1bench.types import FrozenModel

Method = Literal["grpo", "sft"]
RECIPES = Path(__file__).resolve().parent / "recipes"
"""Those that ship: named without their folder and ending."""
BEGUN = "recipe.json"
"""What a training was begun with, beside its checkpoints."""
ASIDE = {"output_dir", "logging_steps", "save_steps", "save_strategy", "save_total_limit", "report_to", "run_name"}
"""Fields of TRL's configs that change no weight."""


class ModelPart(FrozenModel):
    """What is trained.

    Attributes:
        name: `demo`, a checkpoint folder, or a hub id.
        family: As `vr1bench run --family` takes it: how the model is asked, and how its boxes are written and read.
        weights: `full` trains all of them; `language` leaves the vision tower and its projector as they are; `lora`
            trains an adapter as `[lora]` says.
        dtype: Of the weights in memory. Whole weights in 16 bits do not learn at the papers' rates: a step of 1e-6 is
            rounded away (`bf16` of [grpo] and [sft] computes in 16 bits on weights of 32); of an adapter's base it
            saves memory.
        attention: transformers' `attn_implementation`; "" leaves its own choice.
    """

    name: str
    family: str = "auto"
    weights: Literal["full", "language", "lora"] = "full"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: str = ""

    @model_validator(mode="after")
    def _learns(self) -> Self:
        if self.weights != "lora" and self.dtype != "float32":
            raise ValueError(
                f'weights = "{self.weights}" in {self.dtype} hardly learn, for small steps are rounded away; expected '
                'dtype = "float32", with bf16 = true in [grpo] or [sft] to compute in 16 bits'
            )
        return self


class DataPart(FrozenModel):
    """What it is trained on: benchmarks' own samples, asked as the evaluation asks them, or rows of your own.

    Attributes:
        benchmarks: Names or TOML paths.
        split: Of every benchmark; "" takes the one that is there to be trained on, such as `train2017`.
        protocol: Whose questions are asked.
        overrides: Changes to protocol fields, as `--set`; `max_pixels` bounds the area that the model is fed.
        data_dir: Folder that holds the data sets.
        rows: JSONL files of `vr1bench rows`, or in VLM-R1's form; relative to the folder where the command is typed.
        images: Folder that the rows' image paths count from; "" takes each file's own.
        boxes, negatives, hard, hard_boxes, limit, order, incomplete, targets, seed: What is chosen of every
            benchmark's samples, and how its targets are arranged; see `vr1bench.curation.Curation`.
        allow_leakage: Train although the scored suite shows the same images.
    """

    benchmarks: tuple[str, ...] = ()
    split: str = ""
    protocol: str = "standard"
    overrides: dict[str, Any] = Field(default_factory=dict[str, Any])
    data_dir: str = ""
    rows: tuple[str, ...] = ()
    images: str = ""
    boxes: tuple[int, int] | None = None
    negatives: tuple[int, int] | None = None
    hard: float | None = None
    hard_boxes: int = HARD_BOXES
    limit: int | None = None
    order: Order = "file"
    incomplete: float = 0.0
    targets: Targets = "file"
    seed: int = 0
    allow_leakage: bool = False

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.benchmarks and not self.rows:
            raise ValueError("names neither benchmarks nor rows; expected at least one of them")
        return self

    @property
    def curation(self) -> Curation:
        """What is chosen of every benchmark's samples.

        Raises:
            Vr1benchError: A range or a share is none.
        """
        return Curation(
            self.boxes,
            self.negatives,
            self.hard,
            self.hard_boxes,
            self.limit,
            self.order,
            self.incomplete,
            self.targets,
            self.seed,
        )


class Recipe(FrozenModel):
    """A whole recipe.

    Attributes:
        name: Its file, without folder and ending; of one that ships, as the command takes it.
        about: A sentence for people: whose settings these are, and where they were read.
        model: See `ModelPart`.
        data: See `DataPart`.
        grpo: Goes to `trl.GRPOConfig` as it stands.
        sft: Goes to `trl.SFTConfig` as it stands.
        lora: Goes to `peft.LoraConfig` as it stands.
        rewards: Name, or FILE.py:FUNCTION, to weight.
        score: How checkpoints are scored; None scores none. Its family and data_dir are those of the training, unless
            it says others.
    """

    name: str = ""
    about: str = ""
    model: ModelPart
    data: DataPart
    grpo: dict[str, Any] | None = None
    sft: dict[str, Any] | None = None
    lora: dict[str, Any] | None = None
    rewards: dict[str, float] = Field(default_factory=dict[str, float])
    score: Scoring | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.grpo is None) == (self.sft is None):
            raise ValueError("expected one of the tables [grpo] and [sft]")
        if (self.grpo is None) == bool(self.rewards):
            raise ValueError("[grpo] needs [rewards], and [sft] has none")
        if (self.lora is None) == (self.model.weights == "lora"):
            raise ValueError('[model] weights = "lora" and the table [lora] go together')
        return self

    @property
    def scoring(self) -> Scoring | None:
        """How checkpoints are scored, by the training's own family and data unless `[score]` says others."""
        if self.score is None:
            return None
        family = self.model.family if self.score.family == "auto" else self.score.family
        return self.score.model_copy(
            update={"family": family, "data_dir": self.score.data_dir or self.data.data_dir or None}
        )

    @property
    def method(self) -> Method:
        """Which trainer it is for."""
        return "sft" if self.grpo is None else "grpo"

    @property
    def settings(self) -> dict[str, Any]:
        """The table that goes to TRL's own config."""
        return dict((self.sft if self.grpo is None else self.grpo) or {})

    @property
    def sha256(self) -> str:
        """Of everything that changes the training: 64 hex digits. What files of rows and rewards hold is not in it."""
        return hashlib.sha256(json.dumps(self.training, sort_keys=True).encode()).hexdigest()

    @property
    def training(self) -> dict[str, Any]:
        """What changes the training: without names, output folder, scoring, and what is logged and saved when."""
        aside = {"name": True, "about": True, "score": True, self.method: ASIDE}
        return self.model_dump(mode="json", exclude=aside)


def read_recipe(name: str | Path, changes: Mapping[str, Any] | None = None, method: Method | None = None) -> Recipe:
    """A recipe by path, or one that ships by name.

    Args:
        name: `demo-grpo`, or the path of a TOML.
        changes: `TABLE.KEY` to value, over what the file says: `{"grpo.max_steps": 2}`.
        method: Which trainer reads it; None takes either.

    Raises:
        Vr1benchError: There is no such file, or it says what no recipe says, or it is another trainer's.
    """
    path = _path(str(name))
    tables = {"name": _name(path), **_merged(path, ())}
    other = {"grpo": "sft", "sft": "grpo"}.get(method or "")
    if method is not None and method not in tables and other in tables:
        raise Vr1benchError(f"recipe {path.name} is for {other}; start it with: vr1bench train {other}")
    for place, value in (changes or {}).items():
        _set(tables, place, value)
    recipe = validated(Recipe, tables, f"recipe {path.name}")
    if not recipe.settings.get("output_dir"):
        raise Vr1benchError(
            f"recipe {path.name}: [{recipe.method}] names no output_dir; expected the folder of its checkpoints: "
            "in the recipe, or --output-dir"
        )
    return recipe


def read_training(path: Path) -> dict[str, Any]:
    """What a training was begun with, from its `recipe.json`; fields that are newer than the file have their default.

    Raises:
        Vr1benchError: It cannot be read, or is no recipe.
    """
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Vr1benchError(f"cannot read {path}: {error}; expected what the trainer wrote at its start") from error
    return validated(Recipe, told, str(path)).training


def shipped() -> list[str]:
    """Names of the recipes that ship."""
    return sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.toml"))


def _name(path: Path) -> str:
    whole = path.resolve()
    return str(whole.relative_to(RECIPES).with_suffix("")) if whole.is_relative_to(RECIPES) else path.stem


def _path(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    if name not in shipped():
        raise unknown("recipe", name, shipped())
    return RECIPES / f"{name}.toml"


def _merged(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """A file over the one that it extends."""
    if path.resolve() in above:
        raise Vr1benchError(f"recipe {path}: it extends itself, through {' -> '.join(one.name for one in above)}")
    tables = read_toml(path)
    parent = tables.pop("extends", None)
    if parent is None:
        return tables
    below = _merged(path.parent / str(parent), (*above, path.resolve()))
    below.pop("about", None)
    return below | {name: _over(name, below.get(name), value) for name, value in tables.items()}


def _over(table: str, below: object, above: object) -> object:
    """A table over the same one of the recipe below; rewards are a sum, which half a change would turn into another."""
    if isinstance(below, dict) and isinstance(above, dict) and table != "rewards":
        return {**below, **above}
    return above


def _set(tables: dict[str, Any], place: str, value: object) -> None:
    *outer, name = place.split(".")
    if len(outer) != 1 or not isinstance(tables.get(outer[0], {}), dict):
        raise Vr1benchError(f"--set {place}: expected TABLE.KEY=VALUE such as grpo.max_steps=20")
    tables[outer[0]] = {**tables.get(outer[0], {}), name: value}
