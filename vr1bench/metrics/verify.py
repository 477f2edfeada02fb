"""A second and a third opinion: the same columns scored by pycocotools and by faster-coco-eval.

Neither shares a line with `vr1bench.metrics.ap`; they read COCO dicts, so this takes their time and memory.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Generator
from importlib.metadata import version
from typing import Any, TypedDict

import faster_coco_eval
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vr1bench.errors import Vr1benchError
from vr1bench.match import Guesses, Truth
from vr1bench.metrics.ap import NAMES, coco_numbers
from vr1bench.types import Floats


class Opinion(TypedDict):
    """What another engine says: its version, its numbers by name, and the largest absolute difference to ours."""

    version: str
    numbers: dict[str, float]
    max_abs_diff: float


def verify(truth: Truth, guesses: Guesses, n_labels: int) -> dict[str, Opinion]:
    """The twelve numbers by other engines; their printing is silenced.

    Ids are dense from 1 but for a lost gold box, which keeps its 0: both engines then lose it as we do.

    Args:
        truth: Gold.
        guesses: Detections.
        n_labels: Number of classes.

    Returns:
        By engine. Differences are 0 against pycocotools and up to 3e-16 against faster-coco-eval (which leaves out
        pycocotools' `+ np.spacing(1)`), more only where a corner's x + width rounds differently.

    Raises:
        Vr1benchError: Two gold boxes are lost: two annotations of id 0 cannot be told apart in one COCO file.
    """
    if truth.lost.sum() > 1:
        raise Vr1benchError(
            f"cannot verify: expected at most one annotation with id 0, got {int(truth.lost.sum())}; "
            "score with ids=fixed, or verify each data set alone"
        )
    ours = coco_numbers(truth, guesses, n_labels)
    opinions: dict[str, Opinion] = {}
    with _quiet():
        for package, judge in (("pycocotools", _pycocotools), ("faster-coco-eval", _faster)):
            # Fresh dicts for each: both engines write into them.
            stats = judge(_gold_dict(truth, guesses, n_labels), _answers(guesses))
            opinions[package] = _opinion(package, stats, ours)
    return opinions


def _opinion(package: str, stats: Floats, ours: dict[str, float]) -> Opinion:
    theirs: dict[str, float] = dict(zip(NAMES, np.asarray(stats, dtype=np.float64)[: len(NAMES)].tolist(), strict=True))
    difference = max(abs(theirs[name] - ours[name]) for name in NAMES)
    return Opinion(version=version(package), numbers=theirs, max_abs_diff=float(difference))


def _pycocotools(gold: dict[str, Any], answers: list[dict[str, Any]]) -> Floats:
    truth: Any = COCO()
    results: Any = COCO()
    truth.dataset, results.dataset = gold, gold | {"annotations": answers}
    # Not `loadRes`, which fails on an empty list (IndexError).
    truth.createIndex()
    results.createIndex()
    judge = COCOeval(truth, results, "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return np.asarray(judge.stats)


def _faster(gold: dict[str, Any], answers: list[dict[str, Any]]) -> Floats:
    truth = faster_coco_eval.COCO(gold)
    judge = faster_coco_eval.COCOeval_faster(truth, truth.loadRes(answers), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return np.asarray(judge.stats)


def _gold_dict(truth: Truth, guesses: Guesses, n_labels: int) -> dict[str, Any]:
    images = 1 + max(truth.image.max(initial=0), guesses.image.max(initial=0))
    ids = np.where(truth.lost, 0, np.arange(1, len(truth) + 1))
    columns = zip(
        ids.tolist(), (truth.image + 1).tolist(), (truth.label + 1).tolist(), _xywh(truth.boxes).tolist(),
        truth.areas.tolist(), truth.crowd.astype(int).tolist(), strict=True,
    )  # fmt: skip
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    return {
        "images": [{"id": image + 1} for image in range(images)],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(n_labels)],
        "annotations": [dict(zip(keys, row, strict=True)) for row in columns],
    }


def _answers(guesses: Guesses) -> list[dict[str, Any]]:
    columns = zip(
        range(1, len(guesses) + 1), (guesses.image + 1).tolist(), (guesses.label + 1).tolist(),
        _xywh(guesses.boxes).tolist(), guesses.extents.tolist(), [0] * len(guesses), guesses.scores.tolist(),
        strict=True,
    )  # fmt: skip
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "score")
    return [dict(zip(keys, row, strict=True)) for row in columns]


def _xywh(boxes: Floats) -> Floats:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """No printing, no logging below errors, and no warning about the id 0 that we put there on purpose."""
    logger = logging.getLogger("faster_coco_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
