"""What the tests of both trainers share: a small recipe on pictures of the demo world, and rows of every kind."""

import json
from pathlib import Path

from vr1bench.demo.world import make_scene
from vr1bench.families import FAMILIES
from vr1bench.rewards import gold_text
from vr1bench.trainers.loading import start
from vr1bench.trainers.recipe import read_recipe
from vr1bench.types import Detections, Gold, Sample

FIRST_SEED = 1_500_000_000
ON_CPU = "use_cpu = true\nbf16 = false\ngradient_checkpointing = false\n"
GRPO = (
    ON_CPU + 'loss_type = "grpo"\nuse_bias_correction_kl = false\nbeta = 0.04\nnum_generations = 2\n'
    "max_completion_length = 32\ntemperature = 1.0\nlearning_rate = 1e-4\n"
)
SFT = ON_CPU + "learning_rate = 1e-4\n"


def write_rows(folder: Path, count: int = 6) -> Path:
    """Rows with one picture, with two, and with none, in turn; no two pictures of one size. Text alone has no gold."""
    lines = []
    for number in range(count):
        scene = make_scene(FIRST_SEED + number, size=(100 + 7 * number, 180 - 5 * number), count=2)
        scene.picture.save(folder / f"{number}.png")
        names = [[f"{number}.png"], [f"{number}.png", f"{max(number - 1, 0)}.png"], []][number % 3]
        labels = [thing.label for thing in scene.things]
        gold = Gold.of([thing.box for thing in scene.things], labels)
        size, family = (scene.width, scene.height), FAMILIES["qwen2.5-vl"]
        sample = Sample(str(number), (), scene.width, scene.height, tuple(labels), gold)
        lines.append(
            {
                "id": str(number),
                "images": names,
                "prompt": f"Locate every {labels[0]} in the image{' of these' * number}.",
                "completion": family.format(Detections.of(gold.boxes, labels), size, family.fed_size(*size, None)),
                "gold": gold_text(sample) if names else "",
                "words": [number] if number % 2 else f"text {number}",  # a column of more than one type
            }
        )
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def recipe_of(folder: Path, method: str, settings: str, rest: str = "", data: str | None = None, model: str = ""):
    """A recipe on those rows, or on other data."""
    told = data or f'rows = ["{write_rows(folder)}"]'
    path = folder / "recipe.toml"
    path.write_text(
        f'[model]\nname = "demo"\ndtype = "float32"\nattention = "eager"\n{model}\n[data]\n{told}\n'
        f'[{method}]\noutput_dir = "{folder}/out"\n{settings}\n{rest}\n'
    )
    return read_recipe(str(path))


def begun(folder: Path, method: str, settings: str, rest: str = "", data: str | None = None, model: str = ""):
    """The same, started."""
    return start(recipe_of(folder, method, settings, rest, data, model))
