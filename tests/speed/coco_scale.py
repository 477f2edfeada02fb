"""A made-up data set of COCO's size: 5000 images, 80 classes, 36 k gold boxes, 26 k detections of a language model."""

from __future__ import annotations

import numpy as np
from vr1bench.match import Guesses, Truth
from vr1bench.types import Floats, Ints

IMAGES, LABELS = 5000, 80
WIDTH, HEIGHT = 640.0, 480.0


def _boxes(rng: np.random.Generator, count: int) -> Floats:
    """Boxes of COCO's mix of sizes (45 % small, 37 % medium, 18 % large), corners on a grid of 1/64 px."""
    side = np.exp(rng.normal(3.6, 1.0, count)).clip(3, 460)
    shape = np.exp(rng.normal(0, 0.35, count))
    size = np.stack([(side * shape).clip(2, WIDTH - 1), (side / shape).clip(2, HEIGHT - 1)], axis=1)
    corner = rng.random((count, 2)) * (np.array([WIDTH, HEIGHT]) - size)
    return _snap(np.concatenate([corner, corner + size], axis=1))


def _snap(boxes: Floats) -> Floats:
    """Exact in binary, so that x + width gives back the corner in every engine."""
    return np.round(boxes * 64) / 64


def _extents(boxes: Floats) -> Floats:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _gold(rng: np.random.Generator) -> Truth:
    """36,355 boxes: a few classes in each picture, several boxes each, skewed towards class 0 as COCO is to people."""
    count = 36_355
    image = np.sort(50 + np.floor((IMAGES - 50) * rng.random(count) ** 1.15).astype(np.int64))
    frequency = 1 / np.arange(1, LABELS + 1)
    palette = rng.choice(LABELS, (IMAGES, 4), p=frequency / frequency.sum())
    label = palette[image, rng.integers(0, 4, count)]
    boxes = _boxes(rng, count)
    crowd = np.zeros(count, dtype=np.bool_)
    crowd[rng.choice(count, 410, replace=False)] = True
    extents = _extents(boxes)
    areas = np.round(extents * rng.uniform(0.4, 1.0, count), 3)
    return Truth(image, label, boxes, crowd, areas, extents, np.zeros(count, dtype=np.bool_))


def _answers(rng: np.random.Generator, gold: Truth) -> tuple[Ints, Ints, Floats]:
    """Half of the gold found with some error, confusions, inventions, and five runaway pictures."""
    found = np.flatnonzero(rng.random(len(gold)) < 0.52)
    size = np.stack([gold.boxes[found, 2] - gold.boxes[found, 0], gold.boxes[found, 3] - gold.boxes[found, 1]], axis=1)
    error = rng.normal(0, 0.09, (len(found), 4)) * np.tile(size, 2)
    near = gold.boxes[found] + error
    label = np.where(rng.random(len(found)) < 0.08, rng.integers(0, LABELS, len(found)), gold.label[found])
    invented = 5_800
    runaway = [np.full(int(rng.integers(150, 401)), picture) for picture in rng.choice(IMAGES, 5, replace=False)]
    stuck = np.concatenate(runaway)
    stuck_label = np.concatenate([np.full(len(part), rng.integers(0, 3)) for part in runaway])
    image = np.concatenate([gold.image[found], rng.integers(0, IMAGES, invented), stuck])
    labels = np.concatenate([label, rng.integers(0, LABELS, invented), stuck_label])
    boxes = _snap(np.concatenate([near, _boxes(rng, invented), _boxes(rng, len(stuck))]))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return image, labels, boxes


def columns(scores: str = "constant", seed: int = 0) -> tuple[Truth, Guesses]:
    """Gold and detections.

    Args:
        scores: "constant" (a language model's) or "distinct".
        seed: Of numpy's default generator.
    """
    rng = np.random.default_rng(seed)
    gold = _gold(rng)
    image, label, boxes = _answers(rng, gold)
    order = np.argsort(image, kind="stable")
    image, label, boxes = image[order], label[order], boxes[order]
    score = np.ones(len(image)) if scores == "constant" else rng.random(len(image))
    return gold, Guesses(image, label, boxes, score, _extents(boxes))
