"""What both trainers load: the model's place and family, its processor, and the rows as TRL wants them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vr1bench import families
from vr1bench import model as models
from vr1bench.benchmark import chosen
from vr1bench.engines.prompts import wrong_frame
from vr1bench.errors import Vr1benchError
from vr1bench.families import Family
from vr1bench.images import load
from vr1bench.leakage import LeakageError, held_out, shared_images
from vr1bench.model import Model
from vr1bench.protocol import protocol
from vr1bench.provenance import commit
from vr1bench.rewards import sample_of
from vr1bench.rewards.adapters import read
from vr1bench.rows import Row, TrainingRows, read_rows, training_rows
from vr1bench.store import write_text
from vr1bench.trainers.checkpoints import checkpoints, is_whole
from vr1bench.trainers.recipe import BEGUN, DataPart, Recipe, read_training
from vr1bench.trainers.saying import say
from vr1bench.trainers.scoring import Scoring, check
from vr1bench.types import Completion, PixelBudget, Request, Sampling, Training

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from PIL import Image
    from transformers import ProcessorMixin

VISION = ("visual", "vision_tower", "vision_model", "vision_encoder", "multi_modal_projector", "mm_projector")
"""Names that transformers' models give what sees: Qwen and GLM, LLaVA and Gemma, InternVL, and their projectors."""
CHECKED = 16
"""Different image sizes of which the fed size is checked before training."""
TARGETS, FRAME_PX = 200, 2.0
"""Targets that are read back before training, and how far their boxes may lie from the gold, in pixels as fed: answers
are written in steps of one pixel, or of a thousandth of a side."""


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        recipe: As read.
        model: The base model.
        family: How it is asked and read.
        pixels: Bounds on the area that it is fed; None where its family knows none.
        rows: What it is trained on.
    """

    recipe: Recipe
    model: Model
    family: Family
    pixels: PixelBudget | None
    rows: Sequence[Row]


def start(recipe: Recipe) -> Start:
    """Everything that can be checked before weights are loaded.

    Raises:
        Vr1benchError: Something named is unknown, missing or wrong, or the scored suite shows images of the rows.
    """
    data = recipe.data
    base = models.load(recipe.model.name)
    if base.base is not None:
        raise Vr1benchError(
            f"[model] name: {recipe.model.name} is a LoRA adapter of {base.base.name}; expected a whole model: train "
            "from its base, or merge it first (peft's merge_and_unload)"
        )
    family, _ = families.choose(recipe.model.family, base.telling_name, base.config)
    rule = protocol(data.protocol, data.overrides, next(iter(data.benchmarks), ""))
    own = family.pixels
    pixels = own and PixelBudget(
        min_pixels=rule.min_pixels or own.min_pixels, max_pixels=rule.max_pixels or own.max_pixels
    )
    named = family.name if recipe.model.family == "auto" else recipe.model.family  # a user's own is named by its file
    found = [row for name in data.benchmarks for row in _rows_of(name, data, named)]
    if data.rows:
        found += read_rows(data.rows, images=data.images or None, family=named, pixels=pixels)
    if not found:
        raise Vr1benchError("the recipe's [data] gives no rows; expected one at least")
    if recipe.method == "sft":
        _check_targets(found, family, pixels)
    if recipe.scoring is not None:
        if recipe.scoring.mode != "queue":  # whose data and engine may be another machine's
            check(recipe.scoring)
        _check_leakage(recipe.scoring, found, allowed=data.allow_leakage)
    return Start(recipe, base, family, pixels, found)


def note(begun: Start, output: Path) -> None:
    """Writes `training.json`: what the checkpoints' rows on the leaderboard say of where they come from."""
    recipe, base = begun.recipe, begun.model
    training = Training(
        method=recipe.method, recipe=recipe.name, recipe_sha256=recipe.sha256, base_model=base.name,
        base_revision=base.revision, commit=commit(),
    )  # fmt: skip
    write_text(output / "training.json", training.model_dump_json(indent=1) + "\n")
    write_text(output / BEGUN, json.dumps(recipe.training, indent=1, sort_keys=True) + "\n")


def load_processor(begun: Start) -> ProcessorMixin:
    """The processor, feeding images as the evaluation does; padding on the left, as TRL's positions need.

    Raises:
        Vr1benchError: It feeds an image at another size than the family says: boxes would be in a wrong frame.
    """
    from transformers import AutoProcessor

    budget = {} if begun.pixels is None else begun.pixels.model_dump()
    processor = AutoProcessor.from_pretrained(begun.model.location, **revision(begun), **budget)
    # TRL pads prompts on the left whatever the processor does; its own token types would then be of other tokens.
    processor.tokenizer.padding_side = "left"
    _check_frame(begun, processor)
    return processor


def model_options(begun: Start) -> dict[str, Any]:
    """What `from_pretrained` is told: TRL loads the model, and the reference model in the same way."""
    part = begun.recipe.model
    attention = {"attn_implementation": part.attention} if part.attention else {}
    return {"dtype": part.dtype, **attention, **revision(begun)}


def freeze_vision(model: torch.nn.Module) -> int:
    """Leaves what sees as it is; gives the number of frozen weights.

    Raises:
        Vr1benchError: No part of the model has a name that says so.
    """
    parts = [one for name, one in model.named_modules() if name.rpartition(".")[2] in VISION]
    if not parts:
        raise Vr1benchError(
            f'[model] weights = "language": {type(model).__name__} has no part named {", ".join(VISION)}; '
            'expected one to leave as it is, or weights = "full"'
        )
    for part in parts:
        part.requires_grad_(requires_grad=False)
    return sum(weight.numel() for part in parts for weight in part.parameters())


def as_dataset(found: Sequence[Row], *, targets: bool) -> Dataset:
    """Rows as TRL's columns: `prompt`, `images`, and `completion` (SFT) or `sample` and the row's own (GRPO).

    Pictures are read as the evaluation reads them, when a batch wants them. A row's own columns keep their types,
    which a table would have to make alike.
    """
    from datasets import Dataset

    names = sorted({name for row in found for name in row.columns})

    def columns(batch: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        chosen = [found[place] for place in batch["row"]]
        told = {
            "prompt": [[{"role": "user", "content": row.prompt}] for row in chosen],
            "images": [_pictures(row) for row in chosen],
        }
        if targets:
            return told | {"completion": [[{"role": "assistant", "content": row.completion}] for row in chosen]}
        return told | {"sample": [row.gold for row in chosen]} | {n: [r.columns.get(n) for r in chosen] for n in names}

    return Dataset.from_dict({"row": list(range(len(found)))}).with_transform(columns)


def _pictures(row: Row) -> list[Image.Image]:
    """The images of a row; of one with a gold, turned or not as its width and height say."""
    gold = sample_of(row.gold) if row.gold and len(row.images) == 1 else None
    return [load(Path(path), (gold.width, gold.height) if gold else None) for path in row.images]


def last_checkpoint(begun: Start, output: Path, *, resume: bool) -> str | None:
    """The checkpoint that a training goes on from; None for a new one.

    Raises:
        Vr1benchError: There are checkpoints and nobody asked to go on, or none to go on from, or another recipe's.
    """
    there = checkpoints(output)
    whole = [path for path in there if is_whole(path)]
    if not whole:
        if resume:
            raise Vr1benchError(f"--resume: {output} holds no whole checkpoint; leave --resume out to begin")
        return None
    last = whole[-1]
    if not resume:
        raise Vr1benchError(
            f"{output} holds checkpoints; pass --resume to go on from {last.name}, or another --output-dir"
        )
    if last != there[-1]:
        say(f"{there[-1].name} was not written to its end: going on from {last.name}")
    path = output / BEGUN
    then = read_training(path) if path.is_file() else begun.recipe.training
    if changed := _differing(then, begun.recipe.training):
        raise Vr1benchError(
            f"--resume: {output} was begun by another recipe: {'; '.join(changed)}; give the recipe that began it, or "
            "another --output-dir (a longer training is another one: its learning rate falls more slowly)"
        )
    return str(last)


def _differing(then: Mapping[str, Any], now: Mapping[str, Any], inside: str = "") -> list[str]:
    """The fields that two recipes say otherwise: `grpo.max_steps 4, now 6`."""
    found: list[str] = []
    for name in sorted({*then, *now}):
        old, new, place = then.get(name), now.get(name), f"{inside}{name}"
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differing(old, new, f"{place}.")
        elif old != new:
            found.append(f"{place} {old}, now {new}")
    return found


def revision(begun: Start) -> dict[str, str]:
    """Which commit of a hub model every part of it is loaded at; {} of a folder."""
    return {} if Path(begun.model.location).is_dir() else {"revision": begun.model.revision}


def _check_frame(begun: Start, processor: ProcessorMixin) -> None:
    """Feeds some images, and compares what the processor made of them with what the family says."""
    seen: set[tuple[int, int]] = set()
    for row in begun.rows[: 64 * CHECKED]:
        for image in _pictures(row):
            if image.size in seen:
                continue
            seen.add(image.size)
            made = processor.image_processor(images=[image], return_tensors="pt")
            if "image_grid_thw" not in made or begun.pixels is None:
                return
            grid = made["image_grid_thw"][0].tolist()
            tokens = grid[0] * grid[1] * grid[2] // processor.image_processor.merge_size**2
            fed = begun.family.fed_size(*image.size, begun.pixels)
            request = Request("", row.id, (), *image.size, (), (), Sampling(), begun.pixels)
            failure = wrong_frame(begun.family, request, fed, tokens, grid)
            if failure is not None:
                raise Vr1benchError(failure.error)
            if len(seen) == CHECKED:
                return


def _rows_of(benchmark: str, data: DataPart, family: str) -> TrainingRows:
    made = training_rows(
        benchmark,
        family=family,
        split=data.split or None,
        protocol=data.protocol,
        data_dir=data.data_dir or None,
        overrides=data.overrides,
        curation=data.curation,
    )
    for what, number in made.counts.items():
        say(f"{benchmark}: {number} {what}")
    return made


def _check_targets(found: Sequence[Row], family: Family, pixels: PixelBudget | None) -> None:
    """Reads targets of rows with a gold as the model's answers are read: files may be of another family or frame."""
    apart: list[float] = []
    for row in [row for row in found if row.gold and row.completion][:TARGETS]:
        gold = sample_of(row.gold)
        boxes = read(family, Completion(text=row.completion), gold, pixels).detections.boxes
        if not len(gold.gold):
            continue
        fed = family.fed_size(gold.width, gold.height, pixels)
        scale = np.array([fed[0] / gold.width, fed[1] / gold.height] * 2)
        gaps = np.abs((boxes[:, None] - gold.gold.boxes[None]) * scale).max(axis=2, initial=0)
        apart += gaps.min(axis=1).tolist() if len(boxes) else [float("inf")]
    if apart and float(np.median(apart)) > FRAME_PX:
        raise Vr1benchError(
            f"the targets of the rows are not in the frame or the words of family {family.name}: read as its answers "
            f"are, half of their boxes lie more than {FRAME_PX:g} pixels from the gold; make the rows again with "
            f"vr1bench rows --family {family.name} and the same max_pixels (or, if they are meant to differ from the "
            "gold, leave `gold` out of them)"
        )


def _check_leakage(score: Scoring, found: Sequence[Row], *, allowed: bool) -> None:
    """Holds the rows' images against those that checkpoints are scored on."""
    try:
        against = held_out(
            chosen(score.suite or None, score.benchmark), Path(score.data_dir) if score.data_dir else None, score.split
        )
    except Vr1benchError as error:
        if score.mode != "queue":
            raise
        say(f"WARNING: images were not compared with those of the scored suite, which is not here: {error}")
        return
    shared = shared_images({image for row in found for image in row.images}, against).shared
    if not shared:
        return
    first, where = next(iter(shared.items()))
    told = f"{len(shared)} images are trained on and scored on, such as {first} ({where})"
    if not allowed:
        raise LeakageError(f"{told}; choose other data, or say [data] allow_leakage = true")
    say(f"WARNING: {told}; the checkpoints' numbers on them show what was learned by heart")
