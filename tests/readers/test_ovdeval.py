"""OVDEval: names asked image by image."""

import json

import pytest

from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Files

# The record that om-ai-lab/OVDEval publishes (Evaluation.md; the hub's card has the same)
PUBLISHED = {
    "categories": [
        {"supercategory": "object", "id": 0, "name": "computer without screen on"},
        {"supercategory": "object", "id": 1, "name": "computer with screen on"},
    ],
    "annotations": [{"id": 0, "bbox": [111, 117, 99, 75], "category_id": 0, "image_id": 0, "iscrowd": 0, "area": 7523}],
    "images": [
        {
            "file_name": "64d22c6fe4b011b0db94b993.jpg",
            "id": 0,
            "height": 254,
            "width": 340,
            "text": ["computer without screen on"],
            "neg_text": ["computer with screen on"],
        }
    ],
}


def read(tmp_path, data, **options):
    path = tmp_path / "annotations" / "negation.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))
    return READERS["ovdeval"](Files(path, path.parent / "../images/negation", options))


def with_images(*changes):
    image = PUBLISHED["images"][0]
    return {**PUBLISHED, "images": [{**image, "id": place, **change} for place, change in enumerate(changes)]}


def test_the_published_record(tmp_path):
    data = read(tmp_path, PUBLISHED)
    (sample,) = data
    assert sample.queries == ("computer without screen on", "computer with screen on")
    assert sample.gold.labels.tolist() == ["computer without screen on"]
    assert sample.gold.boxes.tolist() == [[111, 117, 210, 192]]
    assert sample.gold.ids.tolist() == [0]
    assert (sample.width, sample.height) == (340, 254)
    assert sample.images[0].parts[-3:] == ("images", "negation", "64d22c6fe4b011b0db94b993.jpg")
    assert data.warnings == {}


def test_each_image_has_its_own_names_positives_first(tmp_path):
    data = read(tmp_path, with_images({}, {"text": ["o ", "q"], "neg_text": ["Q", "q", "o"]}))
    assert [sample.queries for sample in data] == [
        ("computer without screen on", "computer with screen on"),
        ("o ", "q", "Q", "o"),
    ]


def test_every_class_where_the_user_says_so(tmp_path):
    data = read(tmp_path, with_images({"neg_text": []}, {"text": [], "neg_text": []}), labels="all")
    assert {sample.queries for sample in data} == {("computer without screen on", "computer with screen on")}
    assert len(data) == 2


def test_images_that_name_nothing_and_gold_that_nobody_asks_for_are_counted(tmp_path):
    silent = read(tmp_path, with_images({"text": [], "neg_text": []}, {}))
    assert [sample.id for sample in silent] == ["1"]
    assert silent.warnings == {"images of which nothing is asked, left out": 1, "gold boxes of images left out": 1}
    other = read(tmp_path, with_images({"text": ["cat"]}))
    assert len(other[0].gold) == 1
    assert other.warnings == {"gold boxes with a name that their image is not asked for": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["images"][0].pop("neg_text"), "required field `neg_text`"),
        (lambda d: d["images"][0].update(text="cat"), "Expected `array`, got `str`"),
        (lambda d: d["images"][0].update(text=["cat", ""]), r"text of images\[1\]: expected a name of 1 to"),
        (lambda d: d["images"][0].update(neg_text=["cat\0"]), r"neg_text of images\[0\]: .*control characters"),
        (lambda d: d["images"][0].update(text=[], neg_text=[]), "that is asked for something, got none of 1"),
        (lambda d: d["images"][0].update(text=[3]), "Expected `str`, got `int`"),
        (lambda d: d["images"][0].update(file_name="/etc/passwd"), "does not leave the folder"),
        (lambda d: d["annotations"][0].update(bbox=[1, 1, -1, 1]), "sizes of 0 or more"),
        (lambda d: d["images"][0].update(text=[], neg_text=[]), "at least one image"),
    ],
)
def test_refused(tmp_path, change, words):
    data = json.loads(json.dumps(PUBLISHED))
    change(data)
    with pytest.raises(Vr1benchError, match=words):
        read(tmp_path, data)


def test_unknown_options(tmp_path):
    with pytest.raises(Vr1benchError, match=r"Invalid enum value 'some'.*the reader knows: labels"):
        read(tmp_path, PUBLISHED, labels="some")
