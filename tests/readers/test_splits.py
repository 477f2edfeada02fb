"""What a reader must be told comes from the split's TOML, and is part of what the number belongs to."""

import json

import pytest

from vr1bench.benchmark import find, fingerprint
from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS

ROW = {
    "image": "a.jpg",
    "width": 200,
    "height": 100,
    "problem": "x",
    "normal_caption": "x",
    "solution": [0, 0, 500, 100],
}


def definition(tmp_path, split):
    path = tmp_path / "own.toml"
    path.write_text(
        f'name = "own"\ntask = "refer"\nreader = "rec"\n[splits.val]\nannotations = ["rec/own.json"]\n{split}\n'
    )
    return find(str(path))


def test_options_reach_the_reader(tmp_path):
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "own.json").write_text(json.dumps([ROW]))
    told = definition(tmp_path, "options = { scale = 1000 }").load("val", tmp_path)
    assert told[0].gold.boxes.tolist() == [[0, 0, 100, 10]]
    with pytest.raises(Vr1benchError, match=r"own\.json: options of the split: .*mend `options` in"):
        definition(tmp_path, 'options = { boxes = "xywh" }').load("val", tmp_path)


def test_options_are_part_of_the_fingerprint_and_their_absence_is_not(tmp_path):
    plain, told = (definition(tmp_path, split) for split in ("", "options = { scale = 1000 }"))
    assert fingerprint(plain) != fingerprint(told)
    assert plain.splits["val"].model_dump() == {"annotations": ("rec/own.json",), "images": ".", "samples": 0}


@pytest.mark.parametrize("options", ["3", "{ scale = [1] }", "{ scale = 1.5 }"])
def test_options_of_other_types(tmp_path, options):
    with pytest.raises(Vr1benchError, match=r"splits\.val\.options"):
        definition(tmp_path, f"options = {options}")


def test_every_reader_loads():
    assert all(callable(READERS[name]) for name in READERS)
