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


def read(tmp_path, rows, **options):
    path = tmp_path / "rec" / "refcoco_val.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rows))
    return READERS["rec"](Files(path, path.parent / "..", options))


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
    ("change", "words"),
    [
        ({"solution": [-1e308, 0, 1e308, 1]}, r"rows\[1\]: expected solution .*, corners and area finite"),
        ({"solution": [0, 0, 1e200, 1e200]}, r"rows\[1\]: expected solution .*, corners and area finite"),
        ({"normal_caption": "x" * 20_001}, r"rows\[1\]: expected a sentence in normal_caption .* of 1 to 20000"),
        ({"problem": "x" * 20_001}, r"rows\[1\]: expected a problem of at most 20000 characters"),
        ({"normal_caption": "a dog\0"}, r"rows\[1\]: expected a sentence .* without NUL"),
        ({"image": "a\tb.jpg"}, r"rows\[1\]: expected an image's file name .* without control characters"),
    ],
)
def test_what_would_break_numbers_or_memory(tmp_path, change, words):
    with pytest.raises(Vr1benchError, match=words) as refusal:
        read(tmp_path, [ROW, {**ROW, **change}])
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    ("rows", "words"), [([], "at least one row"), ({}, "Expected `array`"), ([5], "Expected `object`, got `int`")]
)
def test_refused_files(tmp_path, rows, words):
    with pytest.raises(Vr1benchError, match=words):
        read(tmp_path, rows)


def test_the_internvl_edition_is_told_by_its_scale(tmp_path):
    scaled = {**ROW, "solution": [243, 468, 557, 745]}  # the published row's own normalized_solution
    plain, told = read(tmp_path, [ROW])[0], read(tmp_path, [scaled], scale=1000)[0]
    assert told.gold.boxes == pytest.approx(plain.gold.boxes, abs=0.7)  # a thousandth of 640 px
    assert told.gold.areas[0] == pytest.approx((557 - 243) * 0.427 * (745 - 468) * 0.64)
    # nothing is guessed: without the option the same numbers are pixels
    assert read(tmp_path, [scaled])[0].gold.boxes.tolist() == [[243, 468, 557, 745]]


def test_a_scale_that_the_values_exceed(tmp_path):
    with pytest.raises(Vr1benchError, match=r"rows\[1\]: expected solution within 0\.\.1000, as `scale = 1000` says"):
        read(tmp_path, [ROW, {**ROW, "solution": [0, 0, 1000.5, 3]}], scale=1000)


@pytest.mark.parametrize("options", [{"scale": 999}, {"scale": "1000"}, {"skale": 1000}])
def test_unknown_options(tmp_path, options):
    with pytest.raises(Vr1benchError, match="the reader knows: scale"):
        read(tmp_path, [ROW], **options)
