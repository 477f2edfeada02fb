"""Demo data sets in two forms of COCO's pictures: its own instances, and VLM-R1's referring expressions (REC)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from vr1bench.demo.asked import save, write_json
from vr1bench.demo.masks import area_px, paint, polygon, run_lengths
from vr1bench.demo.world import LABELS, Scene, Thing, referrals

# COCO's own ids run 1 to 90 with gaps (12, 26, 29, ...); these run 1 to 27 with three.
COCO_IDS: Final = tuple(number for number in range(1, 28) if number not in (12, 19, 26))
CROWDS: Final = 2
FIRST_ID: Final = 139
"""COCO's first image of val2017, where image ids begin unless somebody says otherwise."""
PROBLEM: Final = "Please provide the bounding box coordinate of the region this sentence describes: {}."

Json = dict[str, Any]
Expressions = Callable[[Scene], Sequence[tuple[str, int]]]
"""Gives (phrase, index into `Scene.things`) of phrases that mean exactly one thing."""


def write_coco(root: Path, scenes: list[Scene], part: str, *, first_id: int = FIRST_ID, crowds: int = CROWDS) -> None:
    """COCO's instances: `annotations/instances_{part}.json`, and the pictures in a folder of the part's name.

    Args:
        root: Folder to write into.
        scenes: The pictures.
        part: Name of the split, such as `demo2017`.
        first_id: Image ids begin here, and stay below 38 a scene more.
        crowds: In how many pictures the things of one class that repeats are one crowd.
    """
    images: list[Json] = []
    annotations: list[Json] = []
    for number, scene in _numbered(scenes, first_id):
        name = f"{number:012d}.jpg"
        save(scene, root / part / name)
        images.append(
            {
                "license": 1,
                "file_name": name,
                "coco_url": f"http://images.cocodataset.org/{part}/{name}",
                "height": scene.height,
                "width": scene.width,
                "date_captured": "2013-11-15 11:55:43",
                "flickr_url": f"http://farm1.staticflickr.com/1/{name}",
                "id": number,
            }
        )
        crowd = _twins(scene) if crowds else ()
        if crowd:
            crowds -= 1
            annotations.append(_crowd(scene, crowd, number))
        for place, thing in enumerate(scene.things):
            if thing not in crowd:
                annotations.append(_instance(scene, thing, number, number * 10 + place + 1))
    categories = [
        {"supercategory": label.split()[1], "id": number, "name": label}
        for number, label in zip(COCO_IDS, LABELS, strict=True)
    ]
    info = {
        "description": "Coloured shapes in the form of COCO 2017",
        "url": "http://cocodataset.org",
        "version": "1.0",
        "year": 2017,
        "contributor": "vr1bench",
        "date_created": "2017/09/01",
    }
    licenses = [{"url": "https://www.apache.org/licenses/LICENSE-2.0", "id": 1, "name": "Apache-2.0"}]
    whole = {"info": info, "licenses": licenses, "images": images, "annotations": annotations, "categories": categories}
    write_json(root / "annotations" / f"instances_{part}.json", whole)


def _instance(scene: Scene, thing: Thing, image_id: int, number: int) -> Json:
    x1, y1, x2, y2 = thing.box
    return {
        "segmentation": _segmentation(scene, thing),
        "area": area_px(thing),
        "iscrowd": 0,
        "image_id": image_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "category_id": COCO_IDS[LABELS.index(thing.label)],
        "id": number,
    }


def _segmentation(scene: Scene, thing: Thing) -> list[list[float]] | Json:
    """A polygon; run lengths where the thing's form is another than its shape's plain one, for some have holes."""
    if thing.form == "plain":
        return [polygon(thing)]
    mask = np.zeros((scene.height, scene.width), dtype=bool)
    paint(thing, mask)
    return {"counts": run_lengths(mask), "size": [scene.height, scene.width]}


def _crowd(scene: Scene, things: Iterable[Thing], image_id: int) -> Json:
    """Several things of one class as one crowd: RLE counts as a list, whole-number box, an id above 32 bits."""
    mask = np.zeros((scene.height, scene.width), dtype=bool)
    label = ""
    for thing in things:
        paint(thing, mask)
        label = thing.label
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    x, y = int(columns[0]), int(rows[0])
    return {
        "segmentation": {"counts": run_lengths(mask), "size": [scene.height, scene.width]},
        "area": int(mask.sum()),
        "iscrowd": 1,
        "image_id": image_id,
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "category_id": COCO_IDS[LABELS.index(label)],
        "id": 900_000_000_000 + image_id,
    }


def _twins(scene: Scene) -> tuple[Thing, ...]:
    """The things of the first class that occurs more than once, or none."""
    for label in LABELS:
        same = tuple(thing for thing in scene.things if thing.label == label)
        if len(same) > 1:
            return same
    return ()


def write_rec(
    root: Path, scenes: list[Scene], split: str, *, first_id: int = FIRST_ID, phrases: Expressions = referrals
) -> None:
    """VLM-R1's REC: `rec_jsons_processed/demo_{split}.json`, and the pictures in `train2014`; one phrase a picture.

    Args:
        root: Folder to write into.
        scenes: The pictures, of each of which some expression must mean exactly one thing.
        split: In the file's name.
        first_id: Image ids begin here, and stay below 38 a scene more.
        phrases: The expressions, of which one is taken at random.
    """
    rows: list[Json] = []
    for number, scene in _numbered(scenes, first_id):
        image = f"train2014/COCO_train2014_{number:012d}.jpg"
        save(scene, root / image)
        phrase, index = random.Random(scene.seed).choice(phrases(scene))  # noqa: S311 (repeatable, no secret)
        rows.append({"id": len(rows), "image_id": number, "image": image, **_rec_row(scene, phrase, index, number)})
    write_json(root / "rec_jsons_processed" / f"demo_{split}.json", rows)


def _rec_row(scene: Scene, phrase: str, index: int, image_id: int) -> Json:
    thing = scene.things[index]
    x1, y1, x2, y2 = thing.box
    size = (scene.width, scene.height, scene.width, scene.height)
    return {
        "height": scene.height,
        "width": scene.width,
        "original_id": image_id * 10 + index + 1,
        "dataset_name": "demo",
        "area": area_px(thing),
        "iscrowd": 0,
        "category_id": COCO_IDS[LABELS.index(thing.label)],
        "bbox_list": [[x1, y1, x2 - 1, y2 - 1]],  # one pixel smaller on the right and below, as in the real rows
        "text_type": "caption",
        "problem": PROBLEM.format(phrase),
        "normal_caption": phrase,
        "solution": [x1, y1, x2, y2],
        "normalized_solution": [int(edge * 1000 // side) for edge, side in zip(thing.box, size, strict=True)],
    }


def _numbered(scenes: list[Scene], first_id: int) -> list[tuple[int, Scene]]:
    """Scenes with image ids that ascend with gaps, as COCO's do."""
    return [(first_id + 37 * index + scene.seed % 23, scene) for index, scene in enumerate(scenes)]
