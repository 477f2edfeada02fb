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
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from vr1bench.demo.asked import colourless, save, write_json, write_ovdeval, write_qa, write_reasonseg
from vr1bench.demo.coco import Expressions, write_coco, write_rec
from vr1bench.demo.world import LABELS, SHAPES, TRAIN_SEED_START, Scene, make_scene, referrals

SEEDS_A_SET: Final = 10_000
SETS: Final = 4
SEEDS: Final = 12_000
STUDY_SEED: Final = SEEDS * SETS * SEEDS_A_SET  # from here to half of TRAIN_SEED_START no set of `write_demo` draws
MOST_PICTURES: Final = 5_000
TRAINING_SEED: Final = 2 * TRAIN_SEED_START
TRAINING_ID: Final = 500_000  # image ids of the training sets begin here; no other set's come near
FOLDER_CLASSES: Final = tuple(label for label in LABELS if label.split()[1] in SHAPES[:2])
FLAT_CLASSES: Final = tuple(label for label in LABELS if label.split()[1] in SHAPES[2:])
EMPTY_PICTURE: Final = 4  # this picture of a detection set holds nothing
DATE: Final = "2021-02-23T17:28:48+00:00"

Json = dict[str, Any]
Writer = Callable[[Path, list[Scene]], None]


def write_demo(root: Path, *, seed: int = 7, count: int = 100) -> None:
    """Write the data sets, all of them or nothing; the same arguments give the same bytes.

    Args:
        root: Folder to make. One that an earlier call made is replaced.
        seed: Of the pictures, 0 to 11,999.
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
    with replaced(root, {folder for _, folder, _, _ in whole + halves}) as fresh:
        for sets, start in ((whole, 0), (halves, TRAIN_SEED_START // 2)):
            for place, (write, folder, needed, pictures) in enumerate(sets):
                first = start + (seed * SETS + place) * SEEDS_A_SET
                write(fresh / folder, spoken_scenes(first, pictures, needed) if needed else _scenes(first, pictures))


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
    with replaced(root, {"coco", "rec"}) as fresh:
        write_coco(fresh / "coco", _scenes(TRAINING_SEED, count), "demotrain2017", first_id=TRAINING_ID)
        spoken = spoken_scenes(TRAINING_SEED + SEEDS_A_SET, count, referrals)
        write_rec(fresh / "rec", spoken, "train", first_id=TRAINING_ID)


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_PICTURES:
        raise ValueError(f"count: got {count}, expected 1 to {MOST_PICTURES}")


@contextmanager
def replaced(root: Path, known: set[str]) -> Generator[Path]:
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


def spoken_scenes(first: int, count: int, needed: Expressions) -> list[Scene]:
    """The first scenes of which some expression means exactly one thing."""
    scenes = (make_scene(seed) for seed in itertools.count(first))
    return list(itertools.islice((scene for scene in scenes if needed(scene)), count))


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


# Writer, folder, and the expressions of which every picture must have one.
SHARED: Final[tuple[tuple[Writer, str, Expressions | None], ...]] = (
    (partial(write_coco, part="demo2017"), "coco", None),
    (_write_odinw_folder, "odinw", None),
    (_write_odinw_flat, "odinw", None),
    (partial(write_rec, split="val"), "rec", referrals),
)
ASKED: Final[tuple[tuple[Writer, str, Expressions | None], ...]] = (
    (write_ovdeval, "ovdeval", None),
    (write_reasonseg, "reason_seg", referrals),
    (write_qa, "qa", colourless),
)
