"""COCO instances JSON: COCO itself, ODinW's Roboflow exports (nested or flat), OVDEval, and anybody's own set."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files, files, sorted_by_sample
from vr1bench.types import boxes_of, labels_of


def read(source: Files) -> Dataset:
    """Samples of a COCO json, in the order of image ids (as pycocotools sorts them), gold in the file's order.

    Kept and counted in `warnings`: boxes without size, boxes that overrun the image. Roboflow's placeholder category
    (id 0, supercategory "none", used by no annotation) is not a class. Images without gold stay.

    Raises:
        Vr1benchError: A required field is missing, an id is repeated or refers to nothing, or a box has a negative
            size or is not finite; the message says which.
    """
    path = source.annotations
    data, sha256 = files.read_json(path)
    images = _by_id(files.rows(files.field(data, "images", str(path)), f"{path}: images"), f"{path}: images")
    annotations = files.rows(files.field(data, "annotations", str(path)), f"{path}: annotations")
    categories = _categories(data, annotations, str(path))
    try:
        ids = sorted(images)
    except TypeError:
        raise Vr1benchError(f"{path}: image ids mix numbers and strings; expected one kind") from None
    rank = {image_id: i for i, image_id in enumerate(ids)}
    _unique_ids(annotations, str(path))
    where = [
        f"{path}: annotation {row.get('id')}" if isinstance(row, dict) else f"{path}: annotations"
        for row in annotations
    ]
    samples = np.array(
        [_known(row, "image_id", rank, at) for row, at in zip(annotations, where, strict=True)], np.int64
    )
    classes = {category_id: i for i, category_id in enumerate(categories)}
    labels = np.array(
        [_known(row, "category_id", classes, at) for row, at in zip(annotations, where, strict=True)], np.int64
    )
    xywh = boxes_of([_box(row, at) for row, at in zip(annotations, where, strict=True)])
    extents = xywh[:, 2] * xywh[:, 3]
    areas = np.array([row.get("area", extent) for row, extent in zip(annotations, extents, strict=True)], np.float64)
    names = [
        files.image_name(files.field(images[i], "file_name", f"{path}: image {i}"), source.images, f"{path}: image {i}")
        for i in ids
    ]
    order, starts = sorted_by_sample(samples, len(ids))
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    sizes = np.array([files.size(images[i], f"{path}: image {i}") for i in ids], np.int64).reshape(-1, 2)
    return Dataset(
        ids=[str(i) for i in ids],
        names=names,
        folder=source.images,
        sizes=sizes,
        queries=[tuple(dict.fromkeys(categories.values()))],
        starts=starts,
        boxes=boxes[order],
        labels=labels[order],
        crowd=np.array([bool(row.get("iscrowd", 0)) for row in annotations], np.bool_)[order],
        areas=areas[order],
        extents=extents[order],
        annotation_ids=np.array([row["id"] for row in annotations], np.int64)[order],
        vocabulary=labels_of(list(categories.values())),
        sha256=sha256,
        warnings=_warnings(boxes, sizes[samples], extents),
    )


def _by_id(images: list[Any], where: str) -> dict[Any, Any]:
    if not images:
        raise Vr1benchError(f"{where}: expected at least one image, got none")
    known: dict[Any, Any] = {}
    for row in images:
        image_id = files.field(row, "id", where)
        if not isinstance(image_id, int | str):
            raise Vr1benchError(f"{where}: expected a number or a string as id, got {image_id!r}")
        if image_id in known:
            raise Vr1benchError(f"{where}: the id {image_id!r} stands twice; every image needs an id of its own")
        known[image_id] = row
    return known


def _categories(data: Any, annotations: list[Any], where: str) -> dict[Any, str]:  # noqa: ANN401  any JSON
    """Category id to name in the file's order, without Roboflow's placeholder."""
    listed = files.rows(files.field(data, "categories", where), f"{where}: categories")
    used = {row.get("category_id") for row in annotations if isinstance(row, dict)}
    categories: dict[Any, str] = {}
    for row in listed:
        category_id = files.field(row, "id", f"{where}: categories")
        name = files.field(row, "name", f"{where}: categories")
        if category_id == 0 and row.get("supercategory") == "none" and 0 not in used:
            continue
        if category_id in categories:
            raise Vr1benchError(f"{where}: categories: the id {category_id!r} stands twice")
        if not isinstance(name, str) or not name:
            raise Vr1benchError(f"{where}: categories: expected a name, got {name!r}")
        categories[category_id] = name
    if not categories:
        raise Vr1benchError(f"{where}: categories: expected at least one class, got none")
    return categories


def _unique_ids(annotations: list[Any], where: str) -> None:
    counts = Counter(files.field(row, "id", f"{where}: annotations") for row in annotations)
    twice = [i for i, n in counts.items() if n > 1]
    if twice:
        raise Vr1benchError(
            f"{where}: annotations: {len(twice)} ids stand more than once, first {twice[0]!r}; expected unique ids: "
            "renumber the annotations"
        )


def _known(row: Any, name: str, known: dict[Any, int], where: str) -> int:  # noqa: ANN401  any JSON
    value = files.field(row, name, where)
    if value not in known:
        raise Vr1benchError(f"{where}: {name} {value!r} is not listed in the file; repair the file")
    return known[value]


def _box(row: Any, where: str) -> list[float]:  # noqa: ANN401  any JSON
    box = files.four_numbers(files.field(row, "bbox", where), where)
    if box[2] < 0 or box[3] < 0:
        raise Vr1benchError(
            f"{where}: expected a box [x, y, width, height] with sizes of 0 or more, got {box}; repair the file"
            " (xyxy corners given as xywh look like this)"
        )
    return box


def _warnings(
    boxes: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any], extents: np.ndarray[Any, Any]
) -> dict[str, int]:
    over = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > sizes).any(axis=1)
    counts = {"gold boxes without size": int((extents == 0).sum()), "gold boxes overrunning the image": int(over.sum())}
    return {what: count for what, count in counts.items() if count}
