"""COCO files: golden numbers of real ones, every line of docs/edge_cases.md, and pycocotools where it has an answer."""

import contextlib
import copy
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vr1bench.coco import coco_eval, load
from vr1bench.errors import Vr1benchError
from vr1bench.metrics.ap import NAMES

Json = Any

# The data folder's README: pycocotools 2.0.11 and faster-coco-eval 1.8.0, equal to the text that cocoapi published.
GOLDEN = dict(zip(NAMES, (
    .5046, .6970, .5730, .5856, .5194, .5014, .3868, .5937, .5954, .6398, .5664, .5643), strict=True))  # fmt: skip


def pycocotools(gt: Json, results: Json) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(gt)
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats.tolist()


def twelve(gt: Json, results: Json, **options: Any) -> list[float]:
    numbers = coco_eval(gt, results, **options)
    return [numbers[name] for name in NAMES]


def small() -> tuple[Json, Json]:
    """Twelve gold boxes and fourteen detections in three images and two classes; nothing odd about them."""
    rng = np.random.default_rng(5)
    boxes = np.concatenate([rng.integers(0, 200, (12, 2)), rng.integers(10, 130, (12, 2))], axis=1)
    gold = [
        {
            "id": i + 1,
            "image_id": i % 3 + 1,
            "category_id": i % 2 + 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for i, box in enumerate(boxes.tolist())
    ]
    answers = [
        {"image_id": row["image_id"], "category_id": row["category_id"], "bbox": shifted, "score": 0.9 - 0.05 * i}
        for i, (row, shifted) in enumerate(zip(gold, (boxes + rng.integers(-4, 5, (12, 4))).tolist(), strict=True))
    ]
    answers += [answers[3] | {"score": 0.95}, answers[5] | {"bbox": [300, 300, 9, 9]}]
    images = [{"id": i, "width": 400, "height": 400, "file_name": f"{i}.jpg"} for i in (1, 2, 3)]
    classes = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "categories": classes, "annotations": gold}, answers


# Real files


@pytest.fixture(scope="session")
def val2014(shared_data: Path) -> tuple[Path, Path]:
    folder = shared_data / "coco_val2014_100"
    return folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json"


def test_golden_numbers_of_coco_val2014(val2014: tuple[Path, Path]) -> None:
    numbers = coco_eval(*val2014)
    assert {name: round(numbers[name], 4) for name in NAMES} == GOLDEN
    assert [numbers[name] for name in NAMES] == pycocotools(*(json.loads(path.read_text()) for path in val2014))
    assert numbers["AP_tie"] == pytest.approx(numbers["AP"], abs=1e-3)


def test_golden_numbers_of_coco_val2014_with_one_score(val2014: tuple[Path, Path]) -> None:
    answers = [row | {"score": 1} for row in json.loads(val2014[1].read_text())]
    assert round(coco_eval(val2014[0], answers)["AP"], 4) == 0.5138


def test_an_image_without_detections_counts(val2014: tuple[Path, Path]) -> None:
    gt, answers = (json.loads(path.read_text()) for path in val2014)
    answered = {row["image_id"] for row in answers}
    gt["images"] = [image for image in gt["images"] if image["id"] in answered]
    gt["annotations"] = [row for row in gt["annotations"] if row["image_id"] in answered]
    assert (len(gt["images"]), round(coco_eval(gt, answers)["AP"], 4)) == (99, 0.5070)


@pytest.mark.parametrize(
    ("place", "shipped"),
    [("ChessPieces/Chess Pieces.v23-raw.coco/valid", 0.9894), ("CottontailRabbits/train", 0.8109)],
)
def test_annotation_id_0_of_odinw(shared_data: Path, place: str, shipped: float) -> None:
    path = shared_data / "odinw" / place / "annotations_without_background.json"
    gold = json.loads(path.read_text())["annotations"]
    answers = [{key: row[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0} for row in gold]
    assert coco_eval(path, answers)["AP"] == 1
    assert coco_eval(path, answers)["AP_tie"] == 1
    assert round(coco_eval(str(path), answers, ids="as-shipped")["AP"], 4) == shipped


# Valid input, odd or not: equal to pycocotools


def edited(edit: str) -> tuple[Json, Json]:  # noqa: PLR0912, PLR0915 - one case a line of the page
    """The small problem with one oddity that pycocotools has an answer for."""
    gt, answers = small()
    gold = gt["annotations"]
    match edit:
        case "plain":
            pass
        case "images of any size":
            for rows, key in ((gt["images"], "id"), (gold, "image_id"), (answers, "image_id")):
                for row in rows:
                    row[key] = {1: 2**64 + 1, 2: 2**53 + 1, 3: 2**53}[row[key]]
            answers = [row | {"score": 1} for row in answers]  # the order of ids settles the ties
        case "images and classes as strings":
            for rows, key in ((gt["images"], "id"), (gold, "image_id"), (answers, "image_id")):
                for row in rows:
                    row[key] = {1: "b", 2: "a", 3: "10"}[row[key]]
            for rows, key in ((gt["categories"], "id"), (gold, "category_id"), (answers, "category_id")):
                for row in rows:
                    row[key] = {1: "y", 2: "x"}[row[key]]
            answers = [row | {"score": 1} for row in answers]
        case "negative and fractional images":
            for rows, key in ((gt["images"], "id"), (gold, "image_id"), (answers, "image_id")):
                for row in rows:
                    row[key] = {1: 3.5, 2: -1, 3: 0}[row[key]]
            answers = [row | {"score": 1} for row in answers]
        case "numpy ids":
            for row in [*gold, *answers]:
                row["image_id"] = np.int64(row["image_id"])
        case "entries repeated":
            gt["images"] += [dict(gt["images"][0])]
            gt["categories"] += [dict(gt["categories"][0])]
        case "an image without anything":
            gt["images"] += [{"id": 4}]
        case "a class without gold":
            gt["categories"] += [{"id": 3, "name": "cow"}]
            answers += [answers[0] | {"category_id": 3}]
        case "detections with ids":
            answers = [row | {"id": 7, "iscrowd": 1, "area": -1} for row in answers]
        case "no size":
            gold[0]["bbox"][2] = 0
            answers[1]["bbox"][3] = 0
            answers += [answers[0] | {"bbox": [gold[0]["bbox"][0], gold[0]["bbox"][1], 0, 5]}]
        case "outside":
            answers[1]["bbox"] = [-500, 3, 10, 10]
            gold[1]["bbox"] = [390, 390, 100, 100]
        case "negative detection":
            answers[1]["bbox"] = [50, 50, -20, 10]
            answers[2]["bbox"] = [50, 50, -20, -10]
        case "huge detection":
            answers[1]["bbox"] = [0, 0, 1e308, 1e308]
            answers[2]["bbox"] = [1e308, -1e308, 1e308, 1e308]
        case "scores of any kind":
            for i, row in enumerate(answers):
                row["score"] = (-3, 2**70, 5, 0.5, -0.0, 0)[i % 6]
        case "one score":
            for row in answers:
                row["score"] = 1
        case "more than a hundred":
            answers = [row | {"score": row["score"] - 0.001 * i} for i in range(130) for row in answers]
        case "crowds":
            for i, row in enumerate(gold):
                row["iscrowd"] = (0, 1, 2, True, False)[i % 5]
        case "ignore is not read":
            gold[0]["ignore"] = 1
        case "areas of any size":
            for i, row in enumerate(gold):
                row["area"] = (0, 32**2, 96**2, 5, 1e11)[i % 5]
        case "annotation ids of any size":
            for i, row in enumerate(gold):
                row["id"] = (-5, 2**64, 2**53 + 1)[i % 3] + i
    return gt, answers


EDITS = (
    "plain", "images of any size", "images and classes as strings", "negative and fractional images", "numpy ids",
    "entries repeated", "an image without anything", "a class without gold", "detections with ids", "no size",
    "outside", "negative detection", "huge detection", "scores of any kind", "one score", "more than a hundred",
    "crowds", "ignore is not read", "areas of any size", "annotation ids of any size",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning:pycocotools")
@pytest.mark.parametrize("edit", EDITS)
def test_equal_to_pycocotools(edit: str) -> None:
    gt, answers = edited(edit)
    before = copy.deepcopy((gt, answers))
    assert twelve(gt, answers) == pycocotools(gt, answers)
    assert (gt, answers) == before


@pytest.mark.parametrize(("edit", "ids"), [("shift", (0, 1)), ("shift", (-5, -4))])
def test_as_shipped_ids_are_pycocotools(edit: str, ids: tuple[int, int]) -> None:
    gt, answers = small()
    for i, row in enumerate(gt["annotations"]):
        row["id"] = ids[0] + i
    assert twelve(gt, answers, ids="as-shipped") == pycocotools(gt, answers) != twelve(gt, answers)
    assert twelve(gt, answers) == twelve(*small())


# Lenient where pycocotools raises


def test_no_detections_score_zero() -> None:
    gt, _ = small()
    assert twelve(gt, []) == [0.0] * 12
    assert coco_eval(gt, [])["AP_tie"] == 0


def test_no_gold_scores_minus_one() -> None:
    gt, answers = small()
    assert set(coco_eval(gt | {"annotations": []}, answers).values()) == {-1.0}


def test_missing_crowd_and_area() -> None:
    gt, answers = small()
    for row in gt["annotations"]:
        del row["iscrowd"], row["area"]
    assert twelve(gt, answers) == twelve(*small())


@pytest.mark.parametrize("kind", [tuple, np.array, lambda box: [np.float32(value) for value in box]])
def test_boxes_of_other_types(kind: Any) -> None:
    gt, answers = small()
    for row in [*gt["annotations"], *answers]:
        row["bbox"] = kind(row["bbox"])
    assert twelve(gt, answers) == twelve(*small())


def test_integers_beyond_64_bits() -> None:
    gt, answers = small()
    answers[1]["bbox"] = [2**70, 0, 5, 5]
    assert twelve(gt, answers) == pycocotools(gt, answers)


def test_unknown_classes_and_homeless_gold_are_dropped_with_a_count() -> None:
    gt, answers = small()
    expected = twelve(gt, answers)
    stray = [answers[0] | {"category_id": 77}] * 2
    with pytest.warns(UserWarning, match="dropped 2 detections of classes"):
        assert twelve(gt, answers + stray) == expected == pycocotools(gt, answers + stray)
    homeless = [gt["annotations"][0] | {"id": 70, "image_id": 99}, gt["annotations"][0] | {"id": 71, "category_id": 9}]
    gt["annotations"] += homeless
    with pytest.warns(UserWarning, match="dropped 2 boxes of images or classes"):
        assert twelve(gt, answers) == expected == pycocotools(gt, answers)


def test_load_names_the_classes_and_keeps_the_strays() -> None:
    gt, answers = small()
    del gt["categories"][1]["name"]
    with pytest.warns(UserWarning, match="dropped 1"):
        found = load(gt, [*answers, answers[0] | {"category_id": "1"}])
    assert (found.labels, found.images, len(found.truth), len(found.guesses)) == (("cat", "2"), 3, 12, 14)
    assert len(found.strays) == 1


# Bad input


def test_files_that_hold_no_json(tmp_path: Path) -> None:
    gt, answers = small()
    path = tmp_path / "file.json"
    with pytest.raises(Vr1benchError, match=r"cannot read .*file.json: No such file"):
        coco_eval(path, answers)
    for content, message in (
        (b"", "expected json, got an empty file"),
        (b" \n", "expected json, got an empty file"),
        (json.dumps(answers).encode()[:-9], "expected json, got something else .*cut short"),
        (b"\xff\xfe\x00", "expected json, got something else"),
        (b"[" * 100_000, "expected json, got something else"),
        (b'[{"score": ' + b"9" * 5000 + b"}]", "expected json, got something else"),
        (b"null", "expected a list of .* got nothing"),
        (b'"text"', "expected a list of .* got a str"),
        (json.dumps({"annotations": answers}).encode(), "got a dict; pass its 'annotations'"),
    ):
        path.write_bytes(content)
        with pytest.raises(Vr1benchError, match=message) as error:
            coco_eval(gt, path)
        assert str(path) in str(error.value)
    with pytest.raises(Vr1benchError, match=r"ground truth: expected an object .* got a list; a result file belongs"):
        coco_eval(answers, answers)


def first(rows: Json, **change: Json) -> Json:
    """Rows with the first one changed; a value of ... removes the key."""
    row = {key: value for key, value in (rows[0] | change).items() if value is not ...}
    return [row, *rows[1:]]


BAD_BOXES = (
    [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, math.nan, 4], [1, 2, 3, math.inf], ["1", "2", "3", "4"], [1, None, 3, 4],
    None, "1234", 5, [], [[1, 2, 3, 4]], {"x": 1, "y": 2, "w": 3, "h": 4}, [True, True, True, True], [10**400, 1, 1, 1],
)  # fmt: skip


@pytest.mark.parametrize("box", BAD_BOXES, ids=str)
@pytest.mark.parametrize("side", ["gold", "answers"])
def test_bad_boxes_are_refused(box: Json, side: str) -> None:
    gt, answers = small()
    if side == "gold":
        gt["annotations"] = first(gt["annotations"], bbox=box)
    else:
        answers = first(answers, bbox=box)
    with pytest.raises(Vr1benchError, match=r"\[0\]: expected 4 finite numbers as bbox, got "):
        coco_eval(gt, answers)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, None, "0.9", True, [0.5], 10**400])
def test_bad_scores_are_refused(score: Json) -> None:
    gt, answers = small()
    with pytest.raises(Vr1benchError, match=r"results\[0\]: expected a finite number as score, got "):
        coco_eval(gt, first(answers, score=score))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [5, 5, -1, 5]}, "expected a width and height of at least 0"),
        ({"bbox": [1e308, 5, 1e308, 5]}, "expected a box of finite corners and area"),
        ({"bbox": [0, 0, 1e200, 1e200]}, "expected a box of finite corners and area"),
        ({"bbox": ...}, "expected an object with 'bbox', got only"),
        ({"area": -1}, "expected an area of at least 0"),
        ({"area": math.nan}, "expected a finite number as area"),
        ({"area": None}, "expected a finite number as area"),
        ({"iscrowd": None}, "expected 0 or 1 as iscrowd"),
        ({"iscrowd": "0"}, "expected 0 or 1 as iscrowd"),
        ({"id": ...}, "expected an object with 'id'"),
        ({"id": "one"}, "expected a number as id"),
        ({"id": 2}, "unique annotation ids, got 2 twice"),
        ({"image_id": [1]}, "expected a number or a string as image_id, got a list"),
        ({"category_id": ...}, "expected an object with 'category_id'"),
    ],
)
def test_bad_gold_is_refused(change: Json, message: str) -> None:
    gt, answers = small()
    with pytest.raises(Vr1benchError, match=rf"ground truth: annotations\[[01]\]: .*{message}"):
        coco_eval(gt | {"annotations": first(gt["annotations"], **change)}, answers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "expected the id of a listed image, got 99; are these results of another split"),
        ({"image_id": "1"}, "got '1'; the ground truth writes it 1"),
        ({"image_id": ...}, "expected an object with 'image_id'"),
        ({"bbox": ..., "segmentation": []}, "expected an object with 'bbox'"),
        ({"score": ...}, "expected an object with 'score'"),
        ({"category_id": {}}, "expected a number or a string as category_id, got a dict"),
    ],
)
def test_bad_answers_are_refused(change: Json, message: str) -> None:
    gt, answers = small()
    with pytest.raises(Vr1benchError, match=rf"results\[0\]: .*{message}"):
        coco_eval(gt, first(answers, **change))


@pytest.mark.parametrize("row", [None, 3, "bbox", ["bbox"]])
def test_rows_that_are_no_objects_are_refused(row: Json) -> None:
    gt, answers = small()
    with pytest.raises(Vr1benchError, match=r"results\[14\]: expected an object with 'bbox', got "):
        coco_eval(gt, [*answers, row])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "images: expected at least one, got none"),
        ({"categories": []}, "categories: expected at least one, got none"),
        ({"images": None}, "expected a list under 'images', got nothing"),
        ({"annotations": "text"}, "expected a list under 'annotations', got a str"),
        ({"images": [{"id": 1}, {"id": 1, "file_name": "x"}]}, "got 1 twice with different content"),
        ({"images": [{"id": 1}, {"id": "1"}]}, "expected ids of one type, got numbers and strings"),
        ({"images": [{"id": None}]}, "expected an id that is a number or a string, got None"),
        ({"images": [{"id": math.nan}]}, "expected an id that is a number or a string, got nan"),
        ({"images": [{"name": 1}]}, "expected an object with 'id', got only"),
    ],
)
def test_bad_ground_truth_is_refused(change: Json, message: str) -> None:
    gt, answers = small()
    with pytest.raises(Vr1benchError, match=message):
        coco_eval(gt | change, answers)
    with pytest.raises(Vr1benchError, match="expected a list under 'images', got only"):
        coco_eval({"annotations": []}, answers)


def test_unknown_ids_option_is_refused() -> None:
    with pytest.raises(Vr1benchError, match=r"expected one of .*fixed.*, got 'renumbered'"):
        coco_eval(*small(), ids="renumbered")  # pyright: ignore[reportArgumentType]
