"""The order of asking: pictures together, and the last windows by size."""

import json
from pathlib import Path

import numpy as np
import pytest

import vr1bench
from vr1bench.ordering import largest_first, numbered, together
from vr1bench.readers import packed

NAMES = packed(["b", "a", "b", "c", "a", "b"])


def test_pictures_are_numbered_as_they_first_come():
    assert numbered(NAMES).tolist() == [0, 1, 0, 2, 1, 0]
    assert numbered(NAMES[:0]).tolist() == []


def test_rows_of_one_picture_follow_each_other():
    rows = np.array([10, 11, 12, 13, 14, 15])
    assert together(rows, NAMES).tolist() == [10, 12, 15, 11, 14, 13]
    assert together(rows[:0], NAMES[:0]).tolist() == []


def test_the_largest_are_first_and_pictures_stay_whole():
    rows = np.array([10, 11, 12, 13, 14, 15])
    areas = np.array([5, 7, 5, 5, 7, 5])  # b and c are equally large
    assert largest_first(rows, NAMES, areas).tolist() == [11, 14, 10, 12, 15, 13]


@pytest.mark.parametrize(
    ("window", "order"), [(1, [0, 1, 2, 3, 5, 4]), (2, [0, 1, 3, 5, 4, 2]), (99, [1, 3, 5, 4, 2, 0])]
)
def test_the_end_of_a_run_goes_by_size(coco_folder: Path, window: int, order: list[int]):
    """The oracle's journal shows in which order it was asked."""
    data = json.loads((coco_folder / "gold.json").read_text())
    sides = [100, 600, 200, 500, 300, 400]
    data["images"] = [{"id": i, "file_name": f"{i}.png", "width": s, "height": s} for i, s in enumerate(sides)]
    data["annotations"] = []
    (coco_folder / "gold.json").write_text(json.dumps(data))
    vr1bench.run(
        "m", benchmark=str(coco_folder / "small.toml"), engine="oracle", family="qwen2.5-vl", data_dir=coco_folder,
        output=coco_folder / "out", window=window,
    )  # fmt: skip
    (journal,) = (coco_folder / "out").rglob("records.jsonl")
    assert [int(json.loads(line)["sample_id"]) for line in journal.read_text().splitlines()] == order
