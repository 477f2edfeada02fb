"""What the scripts of this folder ask about: COCO sets of generated shapes, of a folder's photos, of no pictures."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared" / "data"
"""Real photos beside a checkout that has them; --photos names another folder."""
PHOTO_CLASSES = ("person", "piece", "animal", "furniture", "plant")
BENCHMARK = """name = "{name}"
task = "detect"
reader = "coco"
[splits.val]
annotations = ["{annotations}"]
images = "{images}"
"""


def add_photos(parser: argparse.ArgumentParser) -> None:
    """Adds the option that names a folder of photos."""
    parser.add_argument("--photos", type=Path, default=SHARED, help="folder of JPEG files, with its subfolders")


@contextmanager
def scratch(named: Path | None) -> Generator[Path]:
    """A folder to work in: the one that was named, which stays, or a temporary one."""
    if named:
        named.mkdir(parents=True, exist_ok=True)
        yield named.resolve()
    else:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)


def shapes(folder: Path, count: int) -> Path:
    """`count` pictures of the small model's world (sides of 100 to 180 pixels, 24 classes) as a benchmark."""
    from vr1bench.demo.datasets import write_demo

    data = f"data-{count}"
    if not (folder / data).exists():
        write_demo(folder / data, count=count)
    return _benchmark(folder, "shapes", f"{data}/coco/annotations/instances_demo2017.json", "../demo2017")


def photos(folder: Path, source: Path, classes: Sequence[str] = PHOTO_CLASSES, count: int | None = None) -> Path:
    """The photos below a folder, or `count` of them evenly apart by name, as a benchmark; its boxes mean nothing."""
    found = sorted(path for path in source.rglob("*.jp*g") if path.is_file())
    if not found:
        raise SystemExit(f"no JPEG files below {source}: name another folder with --photos")
    found = found[:: max(1, len(found) // (count or len(found)))][:count]
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, int, int]] = []
    for place, path in enumerate(found):
        (folder / f"{place:04d}.jpg").unlink(missing_ok=True)
        (folder / f"{place:04d}.jpg").symlink_to(path.resolve())
        with Image.open(path) as image:
            rows.append((f"{place:04d}.jpg", *image.size))
    return coco(folder, rows, classes, boxes=1)


def shifted(folder: Path, photo: Path, count: int, classes: Sequence[str] = PHOTO_CLASSES) -> Path:
    """One photo `count` times, each rolled sideways by another number of pixels and saved anew: all differ."""
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    rows: list[tuple[str, int, int]] = []
    for place in range(count):
        rows.append((f"{place:04d}.jpg", *image.size))
        if not (folder / rows[-1][0]).exists():
            ImageChops.offset(image, place, 0).save(folder / rows[-1][0], quality=90)
    return coco(folder, rows, classes, boxes=1)


def blank(folder: Path, count: int, boxes: int = 3) -> Path:
    """A set of many samples with some boxes each and no pictures: the oracle opens none."""
    folder.mkdir(parents=True, exist_ok=True)
    return coco(folder, [(f"{i:012d}.jpg", 640, 480) for i in range(count)], [f"class {i}" for i in range(10)], boxes)


def coco(folder: Path, images: Sequence[tuple[str, int, int]], classes: Sequence[str], boxes: int) -> Path:
    """Writes COCO's JSON over (file, width, height) rows, and the benchmark's TOML; gives the latter."""
    annotations = [
        {"id": 1 + boxes * i + j, "image_id": i, "category_id": 1 + j, "bbox": [10 * j, 20, 100, 50], "area": 5000}
        for i in range(len(images))
        for j in range(boxes)
    ]
    data = {
        "images": [{"id": i, "file_name": name, "width": w, "height": h} for i, (name, w, h) in enumerate(images)],
        "annotations": annotations,
        "categories": [{"id": 1 + j, "name": name} for j, name in enumerate(classes)],
    }
    (folder / "gold.json").write_text(json.dumps(data))
    return _benchmark(folder, folder.name, "gold.json", ".")


def options(toml: Path, changes: Mapping[str, Any] | None = None, tokens: int | None = None) -> dict[str, Any]:
    """Keyword arguments of `vr1bench.run` for such a benchmark."""
    return {
        "benchmark": str(toml),
        "data_dir": toml.parent,
        "family": "qwen2.5-vl",
        "overrides": dict(changes or {}),
        "gen_args": {"max_tokens": tokens} if tokens else {},
    }


def requests(toml: Path, changes: Mapping[str, Any] | None = None, tokens: int | None = None) -> list[Any]:
    """All questions of such a benchmark to the demo model, in the order in which a run asks them."""
    from vr1bench.running import plan

    told = options(toml, changes, tokens)
    told["changes"] = told.pop("overrides")
    (job,) = plan(
        "demo", None, told.pop("benchmark"), engine="vllm", protocol="standard", split=None, limit=None,
        output=toml.parent, seed=0, engine_args={}, **told,
    )  # fmt: skip
    return [request for sample in job.samples() for request in job.requests(sample)]


def _benchmark(folder: Path, name: str, annotations: str, images: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(BENCHMARK.format(name=name, annotations=annotations, images=images))
    return path
