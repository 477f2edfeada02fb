"""Small data sets of the world's pictures, in the on-disk forms of the real ones, so that the real readers read them.

`write_demo` lays out::

    coco/annotations/instances_demo2017.json                      COCO instances: gaps in the category ids, crowds,
    coco/demo2017/000000000123.jpg                                polygons, a picture without things
    odinw/Demo Shapes/Demo Shapes.v1-raw.coco/valid/              Roboflow export: spaces in folders and files, ids from
        annotations_without_background.json                       0, `info.year` a string, a dummy category 0 in
        _annotations.coco.json                                    `_annotations.coco.json`
        shape (12)_jpg.rf.<32 hex>.jpg
    odinw/demoFlat/export/val_annotations_without_background.json ODinW's flat layout, pictures in the same folder
    rec/rec_jsons_processed/demo_val.json                         VLM-R1's REC json, pictures under rec/train2014/
    rec/train2014/COCO_train2014_000000000123.jpg
    ovdeval/annotations/color.json                                OVDEval: ids from 0, each picture asked its own names
    ovdeval/images/color/000000.jpg
    reason_seg/ReasonSeg/val/000000.json, 000000.jpg              ReasonSeg: polygons, one file in five in cp1252
    qa/Demo_QA.tsv                                                VLMEvalKit: pictures in base64, or another row's index

Each data set draws its own pictures, from seeds that the small model never trained on (`TRAIN_SEED_START`).

`write_demo_train` lays out what may be trained on, in the same forms, from seeds and with image ids that no data set
above has::

    coco/annotations/instances_demotrain2017.json                 pictures under coco/demotrain2017/
    rec/rec_jsons_processed/demo_train.json                       pictures under rec/train2014/
"""

from __future__ import annotations

import hashlib
import itertools
import random
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from vr1bench.demo.asked import colourless, save, write_json, write_ovdeval, write_qa, write_reasonseg
from vr1bench.demo.masks import area_px, paint, polygon, run_lengths
from vr1bench.demo.world import LABELS, SHAPES, TRAIN_SEED_START, Scene, Thing, make_scene, referrals

SEEDS_A_SET: Final = 10_000
SETS: Final = 4
SEEDS: Final = TRAIN_SEED_START // 2 // (SETS * SEEDS_A_SET)
MOST_PICTURES: Final = 5_000
TRAINING_SEED: Final = 2 * TRAIN_SEED_START
TRAINING_ID: Final = 500_000  # image ids of the training sets begin here; no other set's come near
# COCO's own ids run 1 to 90 with gaps (12, 26, 29, ...); these run 1 to 27 with three.
COCO_IDS: Final = tuple(number for number in range(1, 28) if number not in (12, 19, 26))
FOLDER_CLASSES: Final = tuple(label for label in LABELS if label.split()[1] in SHAPES[:2])
FLAT_CLASSES: Final = tuple(label for label in LABELS if label.split()[1] in SHAPES[2:])
EMPTY_PICTURE: Final = 4  # this picture of a detection set holds nothing
CROWDS: Final = 2
DATE: Final = "2021-02-23T17:28:48+00:00"
PROBLEM: Final = "Please provide the bounding box coordinate of the region this sentence describes: {}."

Json = dict[str, Any]
Writer = Callable[[Path, list[Scene]], None]
Expressions = Callable[[Scene], Sequence[tuple[str, int]]]


def write_demo(root: Path, *, seed: int = 7, count: int = 100) -> None:
    """Write the data sets, all of them or nothing; the same arguments give the same bytes.

    Args:
        root: Folder to make. One that an earlier call made is replaced.
        seed: Of the pictures, 0 to 12,499.
        count: Pictures in each data set, 1 to `MOST_PICTURES`; half as many where each is asked something of its own.

    Raises:
        ValueError: If `seed` or `count` is out of range.
        FileExistsError: If `root` holds anything else than an earlier call's data sets.
    """
    whole = [(write, folder, needed, count) for write, folder, needed in SHARED]
    halves = [(write, folder, needed, (count + 1) // 2) for write, folder, needed in ASKED]
    _check_count(count)
    if not 0 <= seed < SEEDS:
        raise ValueError(f"seed: got {seed}, expected 0 to {SEEDS - 1}")
    with _replaced(root, {folder for _, folder, _, _ in whole + halves}) as fresh:
        for sets, start in ((whole, 0), (halves, TRAIN_SEED_START // 2)):
            for place, (write, folder, needed, pictures) in enumerate(sets):
                first = start + (seed * SETS + place) * SEEDS_A_SET
                write(fresh / folder, _spoken_scenes(first, pictures, needed) if needed else _scenes(first, pictures))


def write_demo_train(root: Path, *, count: int = 400) -> None:
    """Write the training sets, all of them or nothing; the same arguments give the same bytes.

    Args:
        root: Folder to make, not that of `write_demo`. One that an earlier call made is replaced.
        count: Pictures in each data set, 1 to `MOST_PICTURES`.

    Raises:
        ValueError: If `count` is out of range.
        FileExistsError: If `root` holds anything else than an earlier call's data sets.
    """
    _check_count(count)
    with _replaced(root, {"coco", "rec"}) as fresh:
        _write_coco(fresh / "coco", _scenes(TRAINING_SEED, count), "demotrain2017")
        _write_rec(fresh / "rec", _spoken_scenes(TRAINING_SEED + SEEDS_A_SET, count, referrals), "train")


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_PICTURES:
        raise ValueError(f"count: got {count}, expected 1 to {MOST_PICTURES}")


@contextmanager
def _replaced(root: Path, known: set[str]) -> Generator[Path]:
    """A folder to fill that takes the place of `root` when all went well.

    Raises:
        FileExistsError: If `root` holds anything else than folders of these names.
    """
    if root.exists() and (stray := sorted({path.name for path in root.iterdir()} - known)):
        raise FileExistsError(f"{root}: holds {stray[0]!r}, which is no demo data set; name a new or empty folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as name:
        fresh = Path(name) / "fresh"
        yield fresh
        if root.exists():
            root.rename(Path(name) / "old")
        fresh.rename(root)


def _scenes(first: int, count: int) -> list[Scene]:
    """Scenes of successive seeds, one of them without things."""
    return [make_scene(first + index, count=0 if index == EMPTY_PICTURE else None) for index in range(count)]


def _spoken_scenes(first: int, count: int, needed: Expressions) -> list[Scene]:
    """The first scenes of which some expression means exactly one thing."""
    scenes = (make_scene(seed) for seed in itertools.count(first))
    return list(itertools.islice((scene for scene in scenes if needed(scene)), count))


def _write_coco(root: Path, scenes: list[Scene], part: str) -> None:
    images: list[Json] = []
    annotations: list[Json] = []
    crowds = 0
    for number, scene in _numbered(scenes):
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
        crowd = _twins(scene) if crowds < CROWDS else ()
        if crowd:
            crowds += 1
            annotations.append(_crowd(scene, crowd, number))
        for place, thing in enumerate(scene.things):
            if thing not in crowd:
                annotations.append(_instance(thing, number, number * 10 + place + 1))
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


def _instance(thing: Thing, image_id: int, number: int) -> Json:
    x1, y1, x2, y2 = thing.box
    return {
        "segmentation": [polygon(thing)],
        "area": area_px(thing),
        "iscrowd": 0,
        "image_id": image_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "category_id": COCO_IDS[LABELS.index(thing.label)],
        "id": number,
    }


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


def _write_odinw_folder(root: Path, scenes: list[Scene]) -> None:
    folder = root / "Demo Shapes" / "Demo Shapes.v1-raw.coco" / "valid"
    whole = _roboflow(folder, scenes, FOLDER_CLASSES, "shape ({})_jpg.rf.{}.jpg")
    write_json(folder / "annotations_without_background.json", whole)
    dummy = {"id": 0, "name": "shapes", "supercategory": "none"}
    write_json(folder / "_annotations.coco.json", {**whole, "categories": [dummy, *whole["categories"]]})


def _write_odinw_flat(root: Path, scenes: list[Scene]) -> None:
    folder = root / "demoFlat" / "export"
    whole = _roboflow(folder, scenes, FLAT_CLASSES, "figure ({}).jpg.rf.{}.jpg")
    write_json(folder / "val_annotations_without_background.json", whole)


def _roboflow(folder: Path, scenes: list[Scene], classes: tuple[str, ...], name: str) -> Json:
    """Save the pictures into `folder`, and give a Roboflow export that knows only `classes`."""
    images: list[Json] = []
    annotations: list[Json] = []
    for index, scene in enumerate(scenes):
        digest = hashlib.sha256(f"{scene.seed}".encode()).hexdigest()[:32]
        file = name.format(index + 1, digest)
        save(scene, folder / file)
        images.append(
            {
                "id": index,
                "license": 1,
                "file_name": file,
                "height": scene.height,
                "width": scene.width,
                "date_captured": DATE,
            }
        )
        for thing in scene.things:
            if thing.label in classes:
                x1, y1, x2, y2 = (int(edge) for edge in thing.box)
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": index,
                        "category_id": classes.index(thing.label) + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "segmentation": [],
                        "iscrowd": 0,
                    }
                )
    return {
        "info": {
            "year": "2021",
            "version": "1",
            "description": "Coloured shapes in the form of a Roboflow export",
            "contributor": "vr1bench",
            "url": "https://public.roboflow.ai/object-detection/undefined",
            "date_created": DATE,
        },
        "licenses": [{"id": 1, "url": "https://www.apache.org/licenses/LICENSE-2.0", "name": "Apache-2.0"}],
        "categories": [
            {"id": number, "name": label, "supercategory": "shapes"} for number, label in enumerate(classes, 1)
        ],
        "images": images,
        "annotations": annotations,
    }


def _write_rec(root: Path, scenes: list[Scene], split: str) -> None:
    rows: list[Json] = []
    for number, scene in _numbered(scenes):
        image = f"train2014/COCO_train2014_{number:012d}.jpg"
        save(scene, root / image)
        phrase, index = random.Random(scene.seed).choice(referrals(scene))  # noqa: S311 (repeatable, no secret)
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


def _numbered(scenes: list[Scene]) -> list[tuple[int, Scene]]:
    """Scenes with image ids that ascend with gaps, as COCO's do; those to train on have ids of their own."""
    first = [TRAINING_ID if scene.seed >= TRAINING_SEED else 139 for scene in scenes]
    return [(first[index] + 37 * index + scene.seed % 23, scene) for index, scene in enumerate(scenes)]


# Writer, folder, and the expressions of which every picture must have one.
SHARED: Final[tuple[tuple[Writer, str, Expressions | None], ...]] = (
    (partial(_write_coco, part="demo2017"), "coco", None),
    (_write_odinw_folder, "odinw", None),
    (_write_odinw_flat, "odinw", None),
    (partial(_write_rec, split="val"), "rec", referrals),
)
ASKED: Final[tuple[tuple[Writer, str, Expressions | None], ...]] = (
    (write_ovdeval, "ovdeval", None),
    (write_reasonseg, "reason_seg", referrals),
    (write_qa, "qa", colourless),
)
