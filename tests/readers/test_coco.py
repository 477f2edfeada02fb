"""The COCO reader takes real files as they are, and refuses what would make a wrong number."""

import hashlib
import json

import pytest

from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Files


def read(path):
    return READERS["coco"](Files(path, path.parent))


def test_samples_stand_in_the_order_of_image_ids(coco_folder):
    data = read(coco_folder / "gold.json")
    assert [sample.id for sample in data] == ["3", "5", "7"]
    first, empty, last = data
    assert (first.width, first.height, first.images[0].name) == (50, 40, "a 3.png")
    assert first.gold.boxes.tolist() == [[2, 3, 22, 13], [5, 5, 35.5, 25]]
    assert first.gold.labels.tolist() == ["dog", "cat"]
    assert len(empty.gold) == 0
    assert last.gold.crowd.tolist() == [True, False]
    assert data[-1].id == "7"


def test_the_placeholder_category_is_no_class(coco_folder):
    assert read(coco_folder / "gold.json")[0].queries == ("dog", "cat")


def test_a_real_category_zero_is_one(coco_folder):
    path = coco_folder / "gold.json"
    data = json.loads(path.read_text())
    data["annotations"][0]["category_id"] = 0
    path.write_text(json.dumps(data))
    assert read(path)[0].queries == ("things", "dog", "cat")


def test_real_files(shared_data):
    chess = read(shared_data / "odinw/ChessPieces/Chess Pieces.v23-raw.coco/valid/annotations_without_background.json")
    assert (len(chess), len(chess.boxes), len(chess[0].queries)) == (58, 386, 13)
    assert all(sample.images[0].is_file() for sample in chess)
    coco = read(shared_data / "coco_val2017/instances_val2017_two_images.json")
    assert (len(coco), len(coco.boxes), int(coco.crowd.sum())) == (2, 37, 1)
    assert max(coco.annotation_ids) > 2**32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["annotations"][0].update(bbox=[1, 2, -3, 4]), "sizes of 0 or more"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, float("nan"), 4]), "holds NaN"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "of length 4 - at `\\$.annotations\\[0\\].bbox`"),
        (lambda d: d["annotations"][0].update(bbox="1 2 3 4"), "Expected `array`, got `str`"),
        (lambda d: d["annotations"][1].update(id=0), "more than once"),
        (lambda d: d["annotations"][0].pop("id"), "required field `id`"),
        (lambda d: d["annotations"][0].update(image_id=99), "that `images` lists, got 99"),
        (lambda d: d["annotations"][0].update(category_id=99), "that `categories` lists, got 99"),
        (lambda d: d["images"].append(d["images"][0]), "an id of its own"),
        (lambda d: d["images"][0].update(width=0), "Expected `int` >= 1 - at `\\$.images\\[0\\].width`"),
        (lambda d: d["images"][0].update(file_name="../secret.png"), "does not leave the folder"),
        (lambda d: d["images"][0].update(file_name="/etc/passwd"), "does not leave the folder"),
        (lambda d: d["images"][0].update(id="x"), "mix numbers and strings"),
        (lambda d: d["categories"].append({"id": 1, "name": "x"}), "stands twice"),
        (lambda d: d.pop("annotations"), "required field `annotations`"),
        (lambda d: d.update(images=[]), "at least one image"),
        (lambda d: d.update(categories=[]), "at least one class"),
        (lambda d: d.update(annotations={}), "Expected `array`"),
    ],
)
def test_refused(coco_folder, change, words):
    path = coco_folder / "gold.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(Vr1benchError, match=words):
        read(path)


HUGE = 1e308


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["annotations"][0].update(bbox=[HUGE, 0, HUGE, 1]),
        lambda d: d["annotations"][0].update(bbox=[0, 0, HUGE, HUGE]),
        lambda d: d["annotations"][0].update(bbox=[-HUGE, 0, 1, -HUGE]),
    ],
)
def test_corners_and_areas_are_finite(coco_folder, change):
    path = coco_folder / "gold.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(Vr1benchError, match=r"annotations\[0\]: expected bbox .*, corners and area finite, got"):
        read(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda d: d["images"][0].update(file_name="x" * 4097),
            r"images\[0\]: .* at most 4096 bytes .*xxx\.\.\. \(4099",
        ),
        (lambda d: d["images"][0].update(file_name="a\nb.png"), r"images\[0\]: .*without control characters"),
        (lambda d: d["categories"][1].update(name="x" * 20_001), r"categories\[0\]: expected a name of 1 to 20000"),
        (lambda d: d["categories"][1].update(name=""), r"categories\[0\]: expected a name of 1 to 20000"),
        (lambda d: d["categories"][1].update(name="dog\0"), r"categories\[0\]: .*without control characters"),
        (
            lambda d: d["categories"][1].update(id="x" * 4097),
            r"categories by id\[0\]: expected an id of 1 to 4096 bytes",
        ),
    ],
)
def test_texts_that_cannot_be_names(coco_folder, change, words):
    path = coco_folder / "gold.json"
    data = json.loads(path.read_text())
    change(data)
    for row in data["annotations"]:
        row["category_id"] = data["categories"][1]["id"]
    path.write_text(json.dumps(data))
    with pytest.raises(Vr1benchError, match=words) as refusal:
        read(path)
    assert len(str(refusal.value)) < 1000


def images(*ids, name="a.png"):
    return [{"id": i, "file_name": name, "width": 5, "height": 5} for i in ids]


def test_ids_that_numpy_would_take_for_one(coco_folder):
    path = coco_folder / "gold.json"
    path.write_text(
        json.dumps({"images": images("a", "a\0"), "annotations": [], "categories": [{"id": 1, "name": "x"}]})
    )
    with pytest.raises(Vr1benchError, match=r"images by id\[1\]: expected an id .* without control characters"):
        read(path)


def test_long_names_of_many_images_do_not_fill_the_memory(coco_folder):
    path = coco_folder / "gold.json"
    rows = images(*range(66_000))
    rows[0]["file_name"] = "x" * 4096
    path.write_text(json.dumps({"images": rows, "annotations": [], "categories": [{"id": 1, "name": "x"}]}))
    with pytest.raises(Vr1benchError, match="66000 texts of up to 4096 characters take 1081344000 bytes"):
        read(path)


def test_a_mark_of_byte_order_is_no_fault(coco_folder):
    path = coco_folder / "gold.json"
    plain = read(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    marked = read(path)
    assert marked.ids.tolist() == plain.ids.tolist()
    assert marked.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"{", "not valid JSON"),
        (b"[]", "Expected `object`"),
        ("{}".encode("utf-16"), "not valid JSON: it is UTF-16, expected UTF-8"),
        (b"\n<!DOCTYPE html><title>Moved</title>", "is a web page, not JSON"),
    ],
)
def test_refused_files(coco_folder, content, words):
    path = coco_folder / "gold.json"
    path.write_bytes(content)
    with pytest.raises(Vr1benchError, match=words):
        read(path)


def test_odd_boxes_are_kept_and_counted(coco_folder):
    path = coco_folder / "gold.json"
    data = json.loads(path.read_text())
    data["annotations"][0]["bbox"] = [40, 3, 20, 10]
    data["annotations"][1]["bbox"] = [5, 5, 0, 9]
    path.write_text(json.dumps(data))
    read_again = read(path)
    assert len(read_again.boxes) == 4
    assert read_again.warnings == {"gold boxes without size": 1, "gold boxes overrunning the image": 1}


def test_class_names_keep_case_and_spaces(coco_folder):
    path = coco_folder / "gold.json"
    data = json.loads(path.read_text())
    names = ["Q", "q", "o", "o ", '"t"']
    data["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    path.write_text(json.dumps(data))
    assert read(path)[0].queries == tuple(names)


@pytest.mark.parametrize("supercategory", ["None", "", None, "things"])
def test_a_category_zero_of_another_supercategory_stays(coco_folder, supercategory):
    path = coco_folder / "gold.json"
    data = json.loads(path.read_text())
    data["categories"][0]["supercategory"] = supercategory
    path.write_text(json.dumps(data))
    assert read(path)[0].queries == ("things", "dog", "cat")


def test_options_are_refused(coco_folder):
    with pytest.raises(Vr1benchError, match=r"unknown field `boxes`.*the reader knows: keep"):
        READERS["coco"](Files(coco_folder / "gold.json", coco_folder, {"boxes": "xywh"}))


def test_every_set_of_the_registry(shared_data):
    """The class names of the real ODinW files are the registry's (chess is none of the 13: its file's own stand)."""
    found = sorted((shared_data / "odinw").rglob("annotations_without_background.json"))
    found += sorted((shared_data / "odinw").rglob("*_annotations_without_background.json"))
    registry = json.loads((shared_data / "odinw_registry.json").read_text())["odinw_13"]
    known = {tuple(row["name"] for row in entry["override_category"]) for entry in registry.values()}
    names = {path: read(path)[0].queries for path in found if "ChessPieces" not in path.parts}
    assert len(names) == 13
    assert set(names.values()) <= known
