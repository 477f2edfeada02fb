"""The referring-expression reader: VLM-R1's rows."""

import json

import pytest

from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Files

ROW = {
    "image": "train2014/COCO_train2014_000000581857.jpg",
    "width": 427,
    "height": 640,
    "problem": "Please provide the bounding box coordinate of the region this sentence describes: "
    "the lady with the blue shirt.",
    "normal_caption": "the lady with the blue shirt",
    "solution": [103.93, 299.99, 238.15, 477.41],
}  # the published row of VLM-R1 issue 11, the fields that are read


def read(tmp_path, rows):
    path = tmp_path / "rec" / "refcoco_val.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows))
    return READERS["rec"](Files(path, path.parent / ".."))


def test_rows_in_file_order(tmp_path):
    data = read(tmp_path, [ROW, {**ROW, "normal_caption": "", "width": 500}])
    first, second = data
    assert (first.id, first.width, first.height) == ("0", 427, 640)
    assert first.queries == second.queries == ("the lady with the blue shirt",)
    assert first.gold.labels.tolist() == ["the lady with the blue shirt"]
    assert first.gold.boxes.tolist() == [ROW["solution"]]
    assert first.problem == ROW["problem"]
    assert first.images[0] == tmp_path / "rec" / ".." / ROW["image"]
    assert second.width == 500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"solution": [5, 5, 1, 9]}, "x2 >= x1"),
        ({"solution": [5, 5, None, 9]}, "Expected `float`, got `null` - at `\\$\\[1\\].solution"),
        ({"image": "../../x.jpg"}, "does not leave the folder"),
        ({"width": 0}, "Expected `int` >= 1"),
        ({"normal_caption": "", "problem": " "}, "a sentence in"),
    ],
)
def test_refused(tmp_path, change, words):
    with pytest.raises(Vr1benchError, match=words):
        read(tmp_path, [ROW, {**ROW, **change}])


@pytest.mark.parametrize(
    ("rows", "words"), [([], "at least one row"), ({}, "Expected `array`"), ([5], "Expected `object`, got `int`")]
)
def test_refused_files(tmp_path, rows, words):
    with pytest.raises(Vr1benchError, match=words):
        read(tmp_path, rows)
