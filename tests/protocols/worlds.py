"""Random annotation files in the layouts in which people hold the real data sets, and random answers to them.

`random_world` draws everything; `demo_world` puts the pictures that vr1bench ships under the same names. The pictures
themselves are not needed: nothing opens them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vr1bench.demo.datasets import write_demo

Json = dict[str, Any]
Item = tuple[Sequence[float], str]
"""A box in pixels, xyxy, and its label."""

# The real names in the order of the real file; ids run to 90 with these gaps.
COCO80 = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
COCO80_IDS = [number for number in range(1, 91) if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
SETS: dict[str, str] = {
    "coco": "coco/annotations/instances_val2017.json",
    "odinw/VehiclesOpenImages": "odinw/VehiclesOpenImages/416x416/valid/annotations_without_background.json",
    "odinw/pistols": "odinw/pistols/export/val_annotations_without_background.json",
    "ovdeval/logo": "ovdeval/annotations/logo.json",
    "ovdeval/color": "ovdeval/annotations/color.json",
    "refcoco": "rec/rec_jsons_processed/refcoco_val.json",
}
"""Where each benchmark's file lies: COCO's zip, ODinW nested and flat, OVDEval's README, VLM-R1's zip unpacked."""
VEHICLES = ("Ambulance", "Bus", "Car", "Motorcycle", "Truck")
LOGOS = ("Apple", "BMW", "Coca-Cola", "HP", "KFC", "Mercedes", "Nike", "Pepsi", "Starbucks")
COLOURED = tuple(f"{colour} {thing}" for thing in ("cup", "car", "t-shirt") for colour in ("red", "green", "dark blue"))
SIZES = ((640, 480), (333, 500), (97, 211), (416, 416), (1024, 683), (30, 44), (61, 35), (500, 375))
"""Usual pictures, and two that are smaller than Qwen's own 56 x 56 px."""
HUGE = (4200, 3000)
"""12.6 million px: between the largest that Vision-R1 feeds and Qwen2.5-VL's own bound."""


class World:
    """Annotation files below `root`, and what they hold by benchmark."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.held: dict[str, Any] = {}

    def write(self, benchmark: str, content: Any) -> None:
        path = self.root / SETS[benchmark]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        self.held[benchmark] = content

    def __getitem__(self, benchmark: str) -> Any:
        return self.held[benchmark]


def chance(seed: int) -> random.Random:
    """Where chance comes from."""
    return random.Random(seed)  # noqa: S311  no secret


def random_world(root: Path, seed: int = 0, pictures: int = 100, sentences: int = 2100) -> World:
    """So many pictures in each detection set, and more sentences than VLM-R1 evaluates."""
    draw, world = chance(seed), World(root)
    world.write("coco", instances(draw, pictures, COCO80, COCO80_IDS, first_id=900_100, crowds=True))
    world.write("odinw/VehiclesOpenImages", instances(draw, pictures, VEHICLES, range(1, 6)))
    world.write("odinw/pistols", instances(draw, pictures, ("pistol",), [1]))
    world.write("ovdeval/logo", with_texts(draw, instances(draw, pictures, LOGOS, range(9))))
    world.write("ovdeval/color", with_texts(draw, instances(draw, pictures, COLOURED, range(9))))
    world.write("refcoco", [sentence(draw, row) for row in range(sentences)])
    return world


def demo_world(root: Path) -> World:
    """The demo's data under the names of the real ones."""
    write_demo(root / "demo")

    def load(path: str) -> Any:
        return json.loads((root / "demo" / path).read_text())

    world = World(root)
    world.write("coco", load("coco/annotations/instances_demo2017.json"))
    folder = "odinw/Demo Shapes/Demo Shapes.v1-raw.coco/valid/annotations_without_background.json"
    world.write("odinw/VehiclesOpenImages", load(folder))
    world.write("odinw/pistols", load("odinw/demoFlat/export/val_annotations_without_background.json"))
    world.write("ovdeval/logo", load("ovdeval/annotations/color.json"))
    world.write("ovdeval/color", load("ovdeval/annotations/color.json"))
    world.write("refcoco", load("rec/rec_jsons_processed/demo_val.json"))
    return world


def instances(
    draw: random.Random,
    pictures: int,
    names: Sequence[str],
    ids: Sequence[int],
    first_id: int = 0,
    crowds: bool = False,
) -> Json:
    """COCO instances: pictures not in the order of their ids, a quarter without gold, gold that overlaps."""
    images: list[Json] = [
        {"id": number, "file_name": f"pic ({number})_jpg.rf.jpg", "width": width, "height": height}
        for number, (width, height) in zip(
            draw.sample(range(10 * pictures), pictures), [HUGE, *draw.choices(SIZES, k=pictures - 1)], strict=True
        )
    ]
    categories = [{"id": number, "name": name, "supercategory": "x"} for number, name in zip(ids, names, strict=True)]
    annotations: list[Json] = []
    inside = 0.6 if crowds else 1  # COCO's areas are those of the outlines
    for image in images:
        there = draw.sample(categories, min(len(categories), draw.choice((0, 1, 1, 2, 3))))
        boxes = [random_box(draw, image["width"], image["height"]) for _ in range(draw.randint(1, 5) if there else 0)]
        boxes += [near(draw, box, image, 0.15) for box in boxes if draw.random() < 0.3]
        for x1, y1, x2, y2 in boxes:
            box = [x1, y1, x2 - x1, y2 - y1]
            row = {"bbox": box, "area": box[2] * box[3] * inside, "segmentation": []}
            crowd = int(crowds and draw.random() < 0.05)
            annotations.append(
                {**row, "image_id": image["id"], "category_id": draw.choice(there)["id"], "iscrowd": crowd}
            )
    draw.shuffle(annotations)
    annotations = [{"id": first_id + number, **row} for number, row in enumerate(annotations)]
    return {"info": {"year": "2021"}, "images": images, "annotations": annotations, "categories": categories}


def pictures_of(gold: Sequence[Sequence[Item]], names: Sequence[str], *, first_id: int = 0, side: int = 616) -> Json:
    """COCO instances by hand: square pictures 0, 1, ... with these boxes; 616 is a multiple of 28, so that Qwen2.5-VL's
    pixels are the picture's own."""
    categories = [{"id": place, "name": name, "supercategory": "x"} for place, name in enumerate(names, 1)]
    annotations = [
        {"image_id": picture, "category_id": 1 + list(names).index(name), "bbox": [x1, y1, x2 - x1, y2 - y1],
         "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
        for picture, rows in enumerate(gold)
        for (x1, y1, x2, y2), name in rows
    ]  # fmt: skip
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": side, "height": side} for n in range(len(gold))],
        "annotations": [{"id": first_id + number, **row} for number, row in enumerate(annotations)],
        "categories": categories,
    }


def with_texts(draw: random.Random, gold: Json) -> Json:
    """The same in OVDEval's form: each picture with names that are there and names that are not."""
    images: list[Json] = []
    for image in gold["images"]:
        there = {row["category_id"] for row in gold["annotations"] if row["image_id"] == image["id"]}
        present = [row["name"] for row in gold["categories"] if row["id"] in there]
        absent = [row["name"] for row in gold["categories"] if row["id"] not in there]
        names = {"text": draw.sample(present, len(present)), "neg_text": draw.sample(absent, draw.randint(1, 3))}
        images.append({**image, **names})
    return {**gold, "images": images}


def sentence(draw: random.Random, row: int) -> Json:
    """A row of VLM-R1's json."""
    width, height = draw.choice(SIZES)
    phrase = draw.choice(
        ("the lady with the blue shirt", "left most giraffe", "5% of the {label} sign", 'man\'s "2nd" bag')
    )
    name = f"train2014/COCO_train2014_{row:012d}.jpg"
    problem = f"Please provide the bounding box coordinate of the region this sentence describes: {phrase}."
    box = random_box(draw, width, height)
    size = {"width": width, "height": height}
    return {"id": row, "image": name, **size, "problem": problem, "normal_caption": phrase, "solution": box}


def random_box(draw: random.Random, width: int, height: int) -> list[float]:
    """At least a fifth of each side, and 5 px, in hundredths of a pixel."""
    sides = [draw.uniform(max(5, side / 5), side * 0.8) for side in (width, height)]
    x1, y1 = (draw.uniform(0, side - length) for side, length in zip((width, height), sides, strict=True))
    return [round(value, 2) for value in (x1, y1, x1 + sides[0], y1 + sides[1])]


def near(draw: random.Random, box: Sequence[float], image: Json, share: float) -> list[float]:
    """The box with its corners moved by up to a share of its sides, still inside of the picture."""
    sides = (box[2] - box[0], box[3] - box[1])
    moved = [value + draw.uniform(-share, share) * sides[i % 2] for i, value in enumerate(box)]
    return [round(min(max(v, 0), image[("width", "height")[i % 2]]), 2) for i, v in enumerate(moved)]


# Answers


def items(
    draw: random.Random, gold: Json, image: Json, names: Sequence[str], *, spellings: int = 2, flood: float = 0.03
) -> list[Item]:
    """What a model might say when asked for these names: near the gold and elsewhere, right, wrong and unheard-of
    names, repeats.

    Args:
        draw: Where chance comes from.
        gold: The annotation file.
        image: The picture's entry in it.
        names: What is asked.
        spellings: How many ways of writing capitals one answer may mix.
        flood: Share of answers with more boxes of a class than an evaluation takes.
    """
    by_id = {row["id"]: row["name"] for row in gold["categories"]}
    spelled = draw.sample((str, str.upper, str.lower, str.title), spellings)
    found: list[Item] = []
    for row in gold["annotations"]:
        name = by_id[row["category_id"]]
        if row["image_id"] == image["id"] and (name in names or draw.random() < 0.2):
            x, y, w, h = row["bbox"]
            for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
                said = name if name in names and draw.random() < 0.8 else draw.choice(names)
                found.append((near(draw, (x, y, x + w, y + h), image, draw.choice((0.02, 0.1, 0.3))), said))
    while draw.random() < 0.35:
        said = draw.choice((draw.choice(names), "unicorn"))
        found.append((random_box(draw, image["width"], image["height"]), said))
    if draw.random() < flood:
        found += [(random_box(draw, image["width"], image["height"]), names[0]) for _ in range(110)]
    found += [row for row in found if draw.random() < 0.1]
    draw.shuffle(found)
    return [(box, draw.choice(spelled)(name)) for box, name in found]


def fenced(rows: Sequence[str]) -> str:
    """Qwen's usual form, a line an item."""
    return "```json\n[\n\t" + ",\n\t".join(rows) + "\n]\n```"


def bare(rows: Sequence[str]) -> str:
    """All on one line, without a fence."""
    return "[" + ", ".join(rows) + "]"


def spoken(draw: random.Random, lines: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Items as an answer, and those that are whole in it: now and then it is cut in the last one, or holds none."""
    text, odd = draw.choice((fenced, bare))(lines), draw.random()
    if odd < 0.1 and lines:
        return text[: text.rindex('"label"')], lines[:-1]
    return (draw.choice(("None", "")), ()) if 0.1 < odd < 0.2 else (text, lines)


def written(found: Sequence[Item], scale: tuple[float, float] = (1.0, 1.0)) -> list[str]:
    """Items as text, whole numbers; `scale`: numbers a pixel across and down."""
    return [
        json.dumps({"bbox_2d": [int(value * scale[i % 2]) for i, value in enumerate(box)], "label": label})
        for box, label in found
    ]
