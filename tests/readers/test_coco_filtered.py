"""VLM-R1's COCO_filtered in its three readings, on real annotations."""

import json
from collections import Counter

import numpy as np
import pytest

from vr1bench.benchmark import benchmarks, suite
from vr1bench.errors import Vr1benchError
from vr1bench.readers import READERS, Files


@pytest.fixture
def path(shared_data):
    return shared_data / "coco_val2014_100" / "instances_val2014_100.json"


def read(path, keep):
    return READERS["coco"](Files(path, path.parent, {"keep": keep}))


def test_counts_are_those_of_the_real_hundred(path):
    # Counted by hand with a Counter when the facts were gathered: 28 of 100 images, 70 of 100.
    assert len(read(path, "one of each")) == 28
    assert len(read(path, "10 boxes")) == 70
    assert len(read(path, "categories of 10")) == len(read(path, "all")) == 100


def test_a_category_goes_where_it_has_more_than_ten_boxes(path):
    raw = json.loads(path.read_text())
    names = {row["id"]: row["name"] for row in raw["categories"]}
    counts = Counter((str(row["image_id"]), names[row["category_id"]]) for row in raw["annotations"])
    whole, left = read(path, "all"), read(path, "categories of 10")
    touched = 0
    for before, after in zip(whole, left, strict=True):
        found = Counter(after.gold.labels.tolist())
        assert all(count <= 10 for count in found.values())
        expected = {name: n for name, n in Counter(before.gold.labels.tolist()).items() if n <= 10}
        assert found == expected
        touched += found != Counter(before.gold.labels.tolist())
        assert after.queries == before.queries  # every class is still asked for
    assert touched == 18
    assert sum(count > 10 for count in counts.values()) >= touched


def test_what_is_left_out_but_asked_for_is_counted(path):
    lost = len(read(path, "all").boxes) - len(read(path, "categories of 10").boxes)
    (told,) = {what: n for what, n in read(path, "categories of 10").warnings.items() if "left out" in what}.items()
    assert told == ("gold boxes of categories with more than 10, left out: answers that find them are wrong", lost)
    assert lost > 180
    for keep in ("all", "one of each", "10 boxes"):
        assert not any("left out" in what for what in read(path, keep).warnings)


def test_a_reading_that_leaves_nothing(tmp_path):
    row = {"images": [{"id": 1, "file_name": "a.png", "width": 5, "height": 5}], "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "gold.json").write_text(json.dumps({**row, "annotations": []}))
    with pytest.raises(Vr1benchError, match=r"keep = 'one of each' leaves none of 1 images"):
        read(tmp_path / "gold.json", "one of each")


def test_each_says_which_reading_it_is():
    told = [next(quirk for quirk in one.quirks if "reading of three" in quirk) for one in suite("coco-filtered")]
    assert len(set(told)) == 3


def test_images_are_kept_whole(path):
    for keep, most in (("one of each", 1), ("10 boxes", 10)):
        for sample in read(path, keep):
            assert 0 < len(sample.gold) <= (10 if keep == "10 boxes" else 80)
            assert max(Counter(sample.gold.labels.tolist()).values()) <= most
    assert np.isfinite(read(path, "10 boxes").boxes).all()


def test_an_unknown_reading_is_refused(path):
    with pytest.raises(Vr1benchError, match="keep"):
        read(path, "some")


def test_the_suite_holds_the_three():
    assert [one.splits["val2017"].options["keep"] for one in suite("coco-filtered")] == [
        "categories of 10", "one of each", "10 boxes",
    ]  # fmt: skip
    assert not benchmarks()["coco"].splits["val2017"].options
