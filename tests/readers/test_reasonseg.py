"""ReasonSeg: polygons to boxes, by a rule of ours. Files in the form that LISA's loader reads; none seen real."""

import json

import pytest
from PIL import Image

from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Files

TARGETS = [
    {"label": "target", "points": [[10, 20], [30.5, 20], [30.5, 44.25]]},
    {"label": "target", "points": [[40, 5], [42, 5], [42, 8]]},
]
NOISE = [
    {"label": "ignore", "points": [[0, 0], [99, 0], [99, 79]]},
    {"label": "Ignore_2", "points": [[0, 0], [99, 79]]},
    {"label": "flag", "points": [[0, 0], [99, 79]]},
]
SCENE = {"text": ["something to drink from", "the cup "], "is_sentence": True, "shapes": TARGETS + NOISE}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "ReasonSeg" / "val"
    folder.mkdir(parents=True)
    return folder


def write(folder, name, scene, encoding="utf-8", size=(100, 80), **how):
    (folder / f"{name}.json").write_bytes(json.dumps(scene, ensure_ascii=False).encode(encoding))
    Image.new("RGB", size).save(folder / f"{name}.jpg", **how)


def read(folder, **options):
    return READERS["reasonseg"](Files(folder, folder.parent / "val", options))


def test_one_sample_a_text_with_the_box_around_all_targets(folder):
    write(folder, "b", {**SCENE, "text": ["one"], "shapes": TARGETS[:1]}, size=(60, 50))
    write(folder, "a (1)", SCENE)
    data = read(folder)
    assert [sample.queries[0] for sample in data] == ["something to drink from", "the cup", "one"]
    assert data[0].gold.boxes.tolist() == data[1].gold.boxes.tolist() == [[10, 5, 42, 44.25]]
    assert data[2].gold.boxes.tolist() == [[10, 20, 30.5, 44.25]]
    assert [(sample.width, sample.height) for sample in data] == [(100, 80), (100, 80), (60, 50)]
    assert all(sample.images[0].is_file() for sample in data)
    assert data.warnings == {"gold boxes drawn by us around ReasonSeg's target polygons": 3}


def test_the_first_text_alone(folder):
    write(folder, "a", SCENE)
    assert [sample.queries for sample in read(folder, texts="first")] == [("something to drink from",)]


def test_a_single_file(folder):
    write(folder, "a", SCENE)
    write(folder, "b", SCENE)
    assert len(READERS["reasonseg"](Files(folder / "b.json", folder))) == 2


def test_cp1252_where_utf8_fails(folder):
    scene = {**SCENE, "text": ["the café’s sign"]}
    write(folder, "a", scene)
    write(folder, "b", scene, encoding="cp1252")
    assert [sample.queries[0] for sample in read(folder)] == ["the café’s sign"] * 2


def test_size_is_that_of_the_upright_picture(folder):
    turned = Image.Exif()
    turned[274] = 6
    write(folder, "a", SCENE, exif=turned)
    assert (read(folder)[0].width, read(folder)[0].height) == (80, 100)


def test_what_is_odd_is_counted(folder):
    write(folder, "a", {**SCENE, "shapes": NOISE})
    write(folder, "b", {**SCENE, "text": ["x"], "shapes": [{**TARGETS[0], "label": "tagret"}]})
    data = read(folder)
    assert len(data) == 1
    assert data.warnings["images without a target polygon or text, left out"] == 1
    assert data.warnings["polygons of other labels, read as targets as LISA does"] == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"{", "not valid JSON"),
        (b'{"text": ["x"], "shapes": [], "y": "\x81\xff"}', "neither UTF-8 nor cp1252"),
        (b'{"text": "x", "shapes": []}', "Expected `array`, got `str`"),
        (b'{"text": ["x"]}', "required field `shapes`"),
        (b'{"text": ["x"], "shapes": [{"label": "target", "points": [[1]]}]}', "of length 2"),
        (b'{"text": ["x"], "shapes": [{"label": "target", "points": [[1, NaN]]}]}', "holds NaN"),
        (b'{"text": ["x"], "shapes": [{"label": "target", "points": [[-1e308, 0], [1e308, 1]]}]}', "area finite"),
        ("{}".encode("utf-16"), "it is UTF-16"),
        (b'{"text": ["x", " "], "shapes": []}', r"a\.json: text\[1\]: expected a sentence of"),
        (b'{"text": [" "], "shapes": [{"label": "target", "points": [[1, 2]]}]}', "a sentence"),
        (b'{"text": ["x"], "shapes": []}', "at least one row"),
    ],
)
def test_refused(folder, content, words):
    write(folder, "a", SCENE)
    (folder / "a.json").write_bytes(content)
    with pytest.raises(Vr1benchError, match=words):
        read(folder)


def test_pictures_must_be_there(folder):
    write(folder, "a", SCENE)
    (folder / "a.jpg").unlink()
    with pytest.raises(Vr1benchError, match=r"a\.jpg: no such file; its size is read from it"):
        read(folder)
    (folder / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(Vr1benchError, match="no picture"):
        read(folder)


def test_an_empty_folder(folder):
    with pytest.raises(Vr1benchError, match="at least one row"):
        read(folder)
