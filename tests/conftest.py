"""What tests share: where the real data lies."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real annotation files and photos beside the repository; a stranger's clone has none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real annotation files in ../shared/data, which are not part of the repository")
    return folder


# The machine may be busy with a model; how long an example takes says nothing here.
settings.register_profile("vr1bench", deadline=None)
settings.load_profile("vr1bench")


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Children hear Ctrl-C, which a shell's background job, and whatever it starts, is told to ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def coco_folder(tmp_path: Path) -> Path:
    """A data folder with a small COCO set: 3 images of two sizes, 2 classes, a crowd, an empty image, ids from 0."""
    images = [
        {"id": i, "file_name": f"a {i}.png", "width": w, "height": h}
        for i, w, h in ((7, 64, 48), (3, 50, 40), (5, 64, 48))
    ]
    boxes = [
        (0, 3, 1, [2, 3, 20, 10], 0),
        (1, 3, 2, [5, 5, 30.5, 20], 0),
        (2, 7, 1, [0, 0, 64, 48], 1),
        (3, 7, 1, [1, 1, 9, 9], 0),
    ]
    annotations = [
        {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": crowd}
        for n, i, c, b, crowd in boxes
    ]
    categories = [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "dog"},
        {"id": 2, "name": "cat"},
    ]
    folder = tmp_path / "data"
    folder.mkdir()
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (folder / "gold.json").write_text(text)
    (folder / "small.toml").write_text(
        'name = "small"\ntask = "detect"\nreader = "coco"\n[splits.val]\nannotations = ["gold.json"]\n'
    )
    for row in images:
        Image.new("RGB", (row["width"], row["height"]), (90, 120, 30)).save(folder / row["file_name"])
    return folder
