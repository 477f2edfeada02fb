"""The demo data sets have the real ones' forms, and repeat byte for byte."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from vr1bench.demo.datasets import FLAT_CLASSES, FOLDER_CLASSES, STUDY_SEED, write_demo
from vr1bench.demo.world import COLOURS, LABELS, SHAPES, TRAIN_SEED_START, shape_mask

COUNT = 30
FOLDER = Path("odinw/Demo Shapes/Demo Shapes.v1-raw.coco/valid")
FLAT = Path("odinw/demoFlat/export")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "demo"
    write_demo(folder, count=COUNT)
    return folder


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(root: Path, tmp_path: Path) -> None:
    write_demo(tmp_path / "again", count=COUNT)
    write_demo(tmp_path / "other", seed=8, count=COUNT)
    assert digests(tmp_path / "again") == digests(root)
    assert not set(digests(tmp_path / "other").values()) & set(digests(root).values())


def test_writing_again_replaces_and_leaves_nothing_beside(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "demo"
    write_demo(target, count=3)
    write_demo(target, count=COUNT)
    assert digests(target) == digests(root)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        write_demo(tmp_path, count=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(("seed", "count", "word"), [(-1, 1, "seed"), (12_000, 1, "seed"), (7, 0, "count")])
def test_seeds_of_the_training_and_bad_counts_are_refused(tmp_path: Path, seed: int, count: int, word: str) -> None:
    assert TRAIN_SEED_START // 2 > STUDY_SEED == 12_000 * 4 * 10_000  # so the largest seed allowed stays below both
    with pytest.raises(ValueError, match=word):
        write_demo(tmp_path / "demo", seed=seed, count=count)


def test_coco_loads_and_has_gaps_crowds_polygons_and_an_empty_picture(root: Path) -> None:
    coco = COCO(str(root / "coco/annotations/instances_demo2017.json"))
    assert set(coco.dataset) == {"info", "licenses", "images", "annotations", "categories"}
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(LABELS)
    assert max(coco.getCatIds()) > len(LABELS)
    assert len(coco.getImgIds()) == COUNT
    assert sum(not coco.getAnnIds(imgIds=number) for number in coco.getImgIds()) == 1
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len({annotation["id"] for annotation in annotations}) == len(annotations)
    assert sum(annotation["iscrowd"] for annotation in annotations) == 2
    for annotation in annotations:
        # pycocotools' own reading of polygons and RLE agrees with the box and the area.
        rows, columns = np.nonzero(coco.annToMask(annotation))
        tight = [columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()]
        slack = 0 if annotation["iscrowd"] else 1.01
        assert np.abs(np.array(tight) - annotation["bbox"]).max() <= slack
        assert annotation["iscrowd"] == 0 or len(rows) == annotation["area"]


def test_coco_polygons_follow_the_drawn_shapes(root: Path) -> None:
    coco = COCO(str(root / "coco/annotations/instances_demo2017.json"))
    for annotation in coco.loadAnns(coco.getAnnIds(iscrowd=0)):
        x, y, side, _ = (int(edge) for edge in annotation["bbox"])
        shape = coco.loadCats(annotation["category_id"])[0]["supercategory"]
        drawn = np.asarray(shape_mask(shape, side)) > 0
        outlined = coco.annToMask(annotation)[y : y + side, x : x + side] > 0
        assert annotation["area"] == drawn.sum()
        assert (drawn & outlined).sum() > 0.85 * (drawn | outlined).sum()


def test_coco_pictures_lie_where_their_names_say(root: Path) -> None:
    for image in load(root / "coco/annotations/instances_demo2017.json")["images"]:
        assert re.fullmatch(r"\d{12}\.jpg", image["file_name"])
        with Image.open(root / "coco/demo2017" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])


@pytest.mark.parametrize(
    ("folder", "file", "classes", "name"),
    [
        (FOLDER, "annotations_without_background.json", FOLDER_CLASSES, r"shape \(\d+\)_jpg\.rf\.[0-9a-f]{32}\.jpg"),
        (FLAT, "val_annotations_without_background.json", FLAT_CLASSES, r"figure \(\d+\)\.jpg\.rf\.[0-9a-f]{32}\.jpg"),
    ],
)
def test_odinw_is_a_roboflow_export(root: Path, folder: Path, file: str, classes: tuple[str, ...], name: str) -> None:
    coco = COCO(str(root / folder / file))
    whole = coco.dataset
    assert isinstance(whole["info"]["year"], str)
    assert [(c["id"], c["name"]) for c in whole["categories"]] == list(enumerate(classes, 1))
    assert [image["id"] for image in whole["images"]] == list(range(COUNT))
    assert [annotation["id"] for annotation in whole["annotations"]] == list(range(len(whole["annotations"])))
    for annotation in whole["annotations"]:
        assert annotation["area"] == annotation["bbox"][2] * annotation["bbox"][3]
        assert (annotation["segmentation"], annotation["iscrowd"]) == ([], 0)
    for image in whole["images"]:
        assert re.fullmatch(name, image["file_name"])
        with Image.open(root / folder / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])


def test_odinw_export_with_background_differs_by_the_dummy_class_alone(root: Path) -> None:
    bare, full = (load(root / FOLDER / f) for f in ("annotations_without_background.json", "_annotations.coco.json"))
    dummy = {"id": 0, "name": "shapes", "supercategory": "none"}
    assert full == {**bare, "categories": [dummy, *bare["categories"]]}
    assert 0 not in {annotation["category_id"] for annotation in full["annotations"]}


def test_rec_rows_have_the_real_fields_and_frames(root: Path) -> None:
    rows = load(root / "rec/rec_jsons_processed/demo_val.json")
    assert [row["id"] for row in rows] == list(range(COUNT))
    assert len({row["image"] for row in rows}) == COUNT
    for row in rows:
        assert set(row) == {
            "height", "width", "id", "original_id", "dataset_name", "area", "iscrowd", "image_id", "category_id",
            "bbox_list", "text_type", "image", "problem", "normal_caption", "solution", "normalized_solution",
        }  # fmt: skip
        x1, y1, x2, y2 = row["solution"]
        assert row["bbox_list"] == [[x1, y1, x2 - 1, y2 - 1]]
        sides = (row["width"], row["height"]) * 2
        assert row["normalized_solution"] == [
            edge * 1000 // side for edge, side in zip(row["solution"], sides, strict=True)
        ]
        assert row["problem"].endswith(f" describes: {row['normal_caption']}.")
        with Image.open(root / "rec" / row["image"]) as picture:
            assert picture.size == sides[:2]


def test_ovdeval_asks_each_picture_its_own_names(root: Path) -> None:
    whole = load(root / "ovdeval/annotations/color.json")
    names = [category["name"] for category in whole["categories"]]
    assert [category["id"] for category in whole["categories"]] == list(range(len(LABELS)))
    assert [image["id"] for image in whole["images"]] == list(range(COUNT // 2))
    assert [row["id"] for row in whole["annotations"]] == list(range(len(whole["annotations"])))
    assert sum(not image["text"] for image in whole["images"]) == 1
    for image in whole["images"]:
        held = {names[row["category_id"]] for row in whole["annotations"] if row["image_id"] == image["id"]}
        assert held == set(image["text"])
        assert image["neg_text"]
        assert not held & set(image["neg_text"])
        with Image.open(root / "ovdeval/images/color" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
    assert all(isinstance(side, int) for row in whole["annotations"] for side in row["bbox"])


def test_reasonseg_has_polygons_and_two_encodings(root: Path) -> None:
    folder = root / "reason_seg/ReasonSeg/val"
    files = sorted(folder.glob("*.json"))
    assert len(files) == COUNT // 2
    for place, path in enumerate(files):
        assert path.with_suffix(".jpg").is_file()
        if place % 5:
            scene = load(path)
        else:
            with pytest.raises(UnicodeDecodeError):
                path.read_text(encoding="utf-8")
            scene = json.loads(path.read_text(encoding="cp1252"))
        assert set(scene) == {"text", "is_sentence", "shapes"}
        assert scene["shapes"][0]["label"] == "target"


def test_qa_is_a_vlmevalkit_table_of_true_answers(root: Path) -> None:
    limit = csv.field_size_limit(10**7)
    with (root / "qa/Demo_QA.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    csv.field_size_limit(limit)
    assert [row["index"] for row in rows] == [str(number) for number in range(COUNT)]
    for row in rows:
        options = [row[letter] for letter in "ABCD"]
        assert len(set(options)) == 4
        assert row["answer"] in "ABCD"
        if row["category"] == "count":
            assert row["image"] == str(int(row["index"]) - 1)
        else:
            with Image.open(io.BytesIO(base64.b64decode(row["image"]))) as picture:
                assert picture.format == "JPEG"
            assert row["question"].split()[-1].rstrip("?") in SHAPES
            assert set(options) <= set(COLOURS)
