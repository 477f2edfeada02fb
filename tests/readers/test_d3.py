"""D3: sentences as classes, asked by scenario. Records in the form of shikras/d-cube's doc.md; none seen real."""

import json
import pickle

import pytest

from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Files

SENTENCES = ["a dog being led by a leash outside", "a dog not being held by a leash", "a lemon without leaves", "a hat"]
GROUPS = {
    0: {
        "id": 0,
        "pos_sent_id": [1, 2],
        "inner_sent_id": [2, 1],
        "outer_sent_id": [4],
        "img_id": [0, 1],
        "scene": ["x"],
    },
    1: {"id": 1, "pos_sent_id": [3], "inner_sent_id": [3], "outer_sent_id": [], "img_id": [2]},
}
IMAGES = {i: {"id": i, "file_name": f"g/{i}.jpg", "group_id": i // 2, "anno_id": [i], "license": "?"} for i in range(3)}
GOLD = {
    "images": [{"id": i, "file_name": f"g/{i}.jpg", "height": 60, "width": 80} for i in range(3)],
    "categories": [{"id": i + 1, "name": name} for i, name in enumerate(SENTENCES)],
    "annotations": [
        {"id": 0, "image_id": 0, "category_id": 1, "area": 50, "bbox": [1, 2, 10, 5], "iscrowd": 0, "segmentation": {}},
        {"id": 1, "image_id": 1, "category_id": 4, "area": 50, "bbox": [1, 2, 10, 5], "iscrowd": 0, "segmentation": {}},
    ],
}


def read(tmp_path, gold=GOLD, images=IMAGES, groups=GROUPS, **options):
    for name in ("d3_json", "d3_pkl"):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "d3_pkl" / "images.pkl").write_bytes(pickle.dumps(images))
    (tmp_path / "d3_pkl" / "groups.pkl").write_bytes(pickle.dumps(groups))
    path = tmp_path / "d3_json" / "d3_full_annotations.json"
    path.write_text(json.dumps(gold))
    return READERS["d3"](Files(path, path.parent / "../d3_images", options))


def test_intra_scenario_asks_the_sentences_of_the_images_group(tmp_path):
    data = read(tmp_path)
    assert [sample.queries for sample in data] == [tuple(SENTENCES[:2]), tuple(SENTENCES[:2]), (SENTENCES[2],)]
    assert data[0].gold.labels.tolist() == [SENTENCES[0]]
    assert data[0].gold.boxes.tolist() == [[1, 2, 11, 7]]
    assert data.warnings == {"gold boxes with a name that their image is not asked for": 1}


def test_inter_scenario_asks_all_and_needs_no_groups(tmp_path):
    data = read(tmp_path, images=7, scenario="inter")
    assert {sample.queries for sample in data} == {tuple(SENTENCES)}


def test_a_part_of_the_sentences(tmp_path):
    part = {**GOLD, "categories": [GOLD["categories"][i] for i in (0, 3)]}
    data = read(tmp_path, gold=part)
    assert [sample.queries for sample in data] == [(SENTENCES[0],), (SENTENCES[0],)]
    assert data.warnings["images of which nothing is asked, left out"] == 1


def test_the_groups_are_in_the_hash(tmp_path):
    assert read(tmp_path).sha256 != read(tmp_path, groups={**GROUPS, 0: {"inner_sent_id": [1]}}).sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": {0: IMAGES[0]}}, 'image 1 has no group in ../d3_pkl; .*scenario = "inter"'),
        ({"groups": {0: GROUPS[0]}}, "image 2 names group 1; expected one that"),
        ({"groups": {0: {"inner_sent_id": ["a"]}}}, "groups.pkl: Expected `int`, got `str`"),
        ({"images": [1]}, "images.pkl: Expected `object`, got `array`"),
        ({"images": {0: {"group_id": print}}}, "names builtins.print"),
        ({"scenario": "both"}, "Invalid enum value 'both'"),
        ({"groups": {}}, "names group 0"),
    ],
)
def test_refused(tmp_path, changes, words):
    with pytest.raises(Vr1benchError, match=words):
        read(tmp_path, **changes)


def test_missing_groups(tmp_path):
    read(tmp_path)
    (tmp_path / "d3_pkl" / "groups.pkl").unlink()
    path = tmp_path / "d3_json" / "d3_full_annotations.json"
    with pytest.raises(Vr1benchError, match=r"cannot read .*groups\.pkl"):
        READERS["d3"](Files(path, tmp_path))
