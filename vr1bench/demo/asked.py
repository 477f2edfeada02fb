"""Demo data sets whose pictures are each asked something of their own: forms of OVDEval, ReasonSeg and VLMEvalKit."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from pathlib import Path
from typing import Any, Final

from vr1bench.demo.masks import polygon
from vr1bench.demo.world import COLOURS, LABELS, Scene, Thing, referrals

HARD_NEGATIVES: Final = 3

Json = dict[str, Any]


def write_ovdeval(root: Path, scenes: list[Scene]) -> None:
    """OVDEval: every picture lists what it is asked for, `text` that is there and `neg_text` that is not.

    Ids begin at 0 and boxes are whole numbers, as in the real files; what is neither in `text` nor in `neg_text` has no
    gold, however plain it stands there.
    """
    images: list[Json] = []
    annotations: list[Json] = []
    for number, scene in enumerate(scenes):
        name = f"{number:06d}.jpg"
        save(scene, root / "images" / "color" / name)
        text, negatives = _asked(scene)
        images.append(
            {
                "file_name": name,
                "id": number,
                "height": scene.height,
                "width": scene.width,
                "text": text,
                "neg_text": negatives,
            }
        )
        for thing in scene.things:
            if thing.label in text:
                x1, y1, x2, y2 = (int(edge) for edge in thing.box)
                annotations.append(
                    {
                        "id": len(annotations),
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "category_id": LABELS.index(thing.label),
                        "image_id": number,
                        "iscrowd": 0,
                        "area": (x2 - x1) * (y2 - y1),
                    }
                )
    categories = [{"supercategory": "object", "id": number, "name": label} for number, label in enumerate(LABELS)]
    whole = {"categories": categories, "annotations": annotations, "images": images}
    write_json(root / "annotations" / "color.json", whole)


def _asked(scene: Scene) -> tuple[list[str], list[str]]:
    """Up to two classes that are there, and absent ones that share a colour or shape with them."""
    rng = random.Random(scene.seed)  # noqa: S311 (repeatable, no secret)
    present = sorted({thing.label for thing in scene.things})
    text = sorted(rng.sample(present, min(2, len(present))))
    words = {word for label in text for word in label.split()}
    absent = [label for label in LABELS if label not in present]
    near = [label for label in absent if words & set(label.split())] or absent
    return text, sorted(rng.sample(near, min(HARD_NEGATIVES, len(near))))


def write_reasonseg(root: Path, scenes: list[Scene]) -> None:
    """ReasonSeg: a JSON beside each picture, with the polygon of what the text means.

    One file in five holds a `flag` polygon, which is nothing, with a name outside of ASCII, in cp1252.
    """
    folder = root / "ReasonSeg" / "val"
    for number, scene in enumerate(scenes):
        rng = random.Random(scene.seed)  # noqa: S311 (repeatable, no secret)
        phrase, index = rng.choice(referrals(scene))
        shapes = [{"label": "target", "points": _corners(scene.things[index])}]
        encoding = "utf-8"
        if number % 5 == 0:
            shapes.append({"label": "flag: d\N{LATIN SMALL LETTER E WITH ACUTE}j\xe0 vu", "points": [[0, 0], [9, 9]]})
            encoding = "cp1252"
        save(scene, folder / f"{number:06d}.jpg")
        written = json.dumps({"text": [phrase], "is_sentence": True, "shapes": shapes}, ensure_ascii=False)
        (folder / f"{number:06d}.json").write_text(written, encoding=encoding)


def _corners(thing: Thing) -> list[list[float]]:
    flat = polygon(thing)
    return [list(corner) for corner in zip(flat[::2], flat[1::2], strict=True)]


def write_qa(root: Path, scenes: list[Scene]) -> None:
    """VLMEvalKit's TSV: two questions a picture, each with options; the second names the row that has the picture."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "Demo_QA.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["index", "question", "A", "B", "C", "D", "answer", "category", "image"])
        for number, scene in enumerate(scenes):
            rng = random.Random(scene.seed)  # noqa: S311 (repeatable, no secret)
            phrase, index = rng.choice(colourless(scene))
            colour, shape = scene.things[index].colour, scene.things[index].shape
            others = rng.sample([name for name in COLOURS if name != colour], 3)
            colours = rng.sample([colour, *others], 4)
            answer = "ABCD"[colours.index(colour)]
            table.writerow([2 * number, f"What colour is {phrase}?", *colours, answer, "colour", _as_text(scene)])
            count = sum(thing.shape == shape for thing in scene.things)
            counts = [str(other) for other in range(max(0, count - rng.randint(0, 3)), count + 4)][:4]
            answer, many = "ABCD"[counts.index(str(count))], "crosses" if shape == "cross" else f"{shape}s"
            table.writerow(
                [2 * number + 1, f"How many {many} are in the picture?", *counts, answer, "count", 2 * number]
            )


def colourless(scene: Scene) -> list[tuple[str, int]]:
    """Expressions that mean exactly one thing without naming its colour, and the thing's place."""
    return [(phrase, index) for phrase, index in referrals(scene) if not set(phrase.split()) & set(COLOURS)]


def _as_text(scene: Scene) -> str:
    held = io.BytesIO()
    _encode(scene, held)
    return base64.b64encode(held.getvalue()).decode("ascii")


def save(scene: Scene, path: Path) -> None:
    """The picture as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _encode(scene, path)


def _encode(scene: Scene, where: Path | io.BytesIO) -> None:
    scene.picture.save(where, "JPEG", quality=95, subsampling=0)


def write_json(path: Path, whole: Json | list[Json]) -> None:
    """A JSON file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, allow_nan=False), encoding="utf-8")
