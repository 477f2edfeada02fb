"""COCO instances JSON: COCO itself, ODinW's Roboflow exports (nested or flat), OVDEval, and anybody's own set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files, packed, sorted_by_sample
from vr1bench.readers.files import Box, Row, Side, odd_boxes, read_json, refuse, refuse_names
from vr1bench.types import Bools, Ints, boxes_of, labels_of

Id = int | str


class Image(Row):
    """An entry of `images`."""

    id: Id
    file_name: str
    width: Side
    height: Side


class Annotation(Row):
    """An entry of `annotations`; `bbox` is xywh in pixels."""

    id: int
    image_id: Id
    category_id: Id
    bbox: Box
    area: float | None = None
    iscrowd: int = 0


class Category(Row):
    """An entry of `categories`."""

    id: Id
    name: str
    supercategory: str | None = None


class Instances(Row):
    """The file."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


def read(source: Files) -> Dataset:
    """Samples of a COCO json, in the order of image ids (as pycocotools sorts them), gold in the file's order.

    Kept and counted in `warnings`: boxes without size, boxes that overrun the image. Roboflow's placeholder category
    (id 0, supercategory "none", used by no annotation) is not a class. Images without gold stay.

    Raises:
        Vr1benchError: A required field is missing, an id is repeated or refers to nothing, or a box has a negative
            size or is not finite; the message says which.
    """
    path = source.annotations
    data, sha256 = read_json(path, Instances)
    ids = _image_ids(data.images, path)
    rank = {image_id: place for place, image_id in enumerate(ids)}
    refuse_names(path, [image.file_name for image in data.images], "images", source.images)
    images = sorted(data.images, key=lambda image: rank[image.id])
    sizes = np.array([(image.width, image.height) for image in images], np.int64)
    rows, categories = data.annotations, _categories(data, path)
    places = {category_id: place for place, category_id in enumerate(categories)}
    annotation_ids = _unique_ids(rows, path)
    samples = np.fromiter((rank.get(row.image_id, -1) for row in rows), np.int64, len(rows))
    refuse(path, samples < 0, "annotations", "an image_id that `images` lists", [row.image_id for row in rows])
    labels = np.fromiter((places.get(row.category_id, -1) for row in rows), np.int64, len(rows))
    refuse(path, labels < 0, "annotations", "a category_id that `categories` lists", [row.category_id for row in rows])
    xywh = boxes_of([row.bbox for row in rows])
    insane = ~np.isfinite(xywh).all(axis=1) | (xywh[:, 2:] < 0).any(axis=1)
    refuse(path, insane, "annotations", "bbox [x, y, width, height], finite, with sizes of 0 or more", xywh)
    extents = xywh[:, 2] * xywh[:, 3]
    refuse(path, ~np.isfinite(extents), "annotations", "bbox [x, y, width, height] of a finite area", xywh)
    areas = np.array(
        [row.area if row.area is not None else e for row, e in zip(rows, extents, strict=True)], np.float64
    )
    refuse(path, ~(areas >= 0), "annotations", "an area of 0 or more", areas)
    crowd: Bools = np.fromiter((bool(row.iscrowd) for row in rows), np.bool_, len(rows))
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    order, starts = sorted_by_sample(samples, len(ids))
    return Dataset(
        ids=packed([str(image_id) for image_id in ids]),
        names=packed([image.file_name for image in images]),
        folder=source.images,
        sizes=sizes,
        queries=[tuple(dict.fromkeys(categories.values()))],
        starts=starts,
        boxes=boxes[order],
        labels=labels[order],
        crowd=crowd[order],
        areas=areas[order],
        extents=extents[order],
        annotation_ids=annotation_ids[order],
        vocabulary=labels_of(list(categories.values())),
        sha256=sha256,
        warnings=odd_boxes(boxes, sizes[samples], extents),
    )


def _image_ids(images: Sequence[Image], path: Path) -> list[Id]:
    if not images:
        raise Vr1benchError(f"{path}: images: expected at least one image, got none")
    try:
        ids = sorted(image.id for image in images)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except TypeError:
        raise Vr1benchError(f"{path}: image ids mix numbers and strings; expected one kind") from None
    twice = np.array([False, *(a == b for a, b in pairwise(ids))])
    refuse(path, twice, "images by id", "an id of its own for every image", ids)
    return ids


def _categories(data: Instances, path: Path) -> dict[Id, str]:
    """Category id to name in the file's order, without Roboflow's placeholder."""
    used = {row.category_id for row in data.annotations}
    categories: dict[Id, str] = {}
    for row in data.categories:
        if row.id == 0 and row.supercategory == "none" and 0 not in used:
            continue
        if row.id in categories:
            raise Vr1benchError(f"{path}: categories: the id {row.id!r} stands twice; every class needs one of its own")
        if not row.name:
            raise Vr1benchError(f"{path}: categories: expected a name for id {row.id!r}, got none")
        categories[row.id] = row.name
    if not categories:
        raise Vr1benchError(f"{path}: categories: expected at least one class, got none")
    return categories


def _unique_ids(rows: Sequence[Annotation], path: Path) -> Ints:
    """Annotation ids; those beyond 64 bits become -1, for all that is ever asked of an id is whether it is 0.

    Raises:
        Vr1benchError: An id stands more than once.
    """
    seen: set[int] = set()
    for place, row in enumerate(rows):
        if row.id in seen:
            raise Vr1benchError(
                f"{path}: annotations[{place}]: the id {row.id} stands more than once; expected unique ids: "
                "renumber the annotations"
            )
        seen.add(row.id)
    return np.fromiter((row.id if -(2**63) <= row.id < 2**63 else -1 for row in rows), np.int64, len(rows))
