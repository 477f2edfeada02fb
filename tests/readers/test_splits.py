"""What a reader must be told comes from the split's TOML, and is part of what the number belongs to."""

import json

import pytest

from vr1bench.benchmark import find, fingerprint
from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, TASKS

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


MISFITS = [
    ("detect", "qa-tsv", "qa"), ("refer", "qa-rows", "qa"), ("qa", "coco", "detect"), ("refer", "coco", "detect"),
    ("detect", "reasonseg", "refer"), ("qa", "vision-r1", "detect"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "reader", "right"), MISFITS)
def test_a_task_that_the_reader_does_not_serve(tmp_path, task, reader, right):
    path = tmp_path / "own.toml"
    path.write_text(f'name = "own"\ntask = "{task}"\nreader = "{reader}"\n[splits.val]\nannotations = ["x"]\n')
    with pytest.raises(
        Vr1benchError, match=f"own.toml: the reader '{reader}' gives samples of the task {right}, not {task}"
    ):
        find(str(path))
    path.write_text(path.read_text().replace(f'"{task}"', f'"{right}"'))
    assert find(str(path)).task == right


def test_a_reader_of_an_installed_package_serves_any_task(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\ntask = "qa"\nreader = "theirs"\n[splits.val]\nannotations = ["x"]\n')
    assert find(str(path)).reader == "theirs"


def test_every_shipped_reader_has_its_task():
    assert set(TASKS) == set(READERS.builtin)


def test_every_reader_loads():
    assert all(callable(READERS[name]) for name in READERS)
