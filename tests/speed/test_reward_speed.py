"""Rewards beside VLM-R1's mAP reward, a COCOeval of pycocotools for every completion: ratios of CPU time in one run.

All start from parsed answers, 34 predictions by 21 gold boxes: ours from arrays, theirs from the lists of dicts that
its code makes of JSON (om-ai-lab/VLM-R1@90052f4, grpo_jsonl.py:238-295). The dual format, which reads the text again,
is part of Vision-R1's total and of its time. They take turns, and the least time of several rounds counts.
Measured: 14 ms for COCOeval; 71 us for Vision-R1's total (197 times as fast), 79 us strict, 151 us for odLength (92).
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pytest_benchmark.fixture import BenchmarkFixture

from vr1bench import parse
from vr1bench.rewards import REWARDS
from vr1bench.types import Floats, Gold, Prediction, Sample

SIDE, NAMES = 1000, ("dog", "cat", "person", "traffic light")
PREDICTED, GOLD, ANSWERS, ROUNDS = 34, 21, 12, 5
FASTER = {"vision-r1": 80.0, "vision-r1-strict": 60.0, "vlm-r1-od-length": 20.0}
"""Times that COCOeval takes at least."""


def _boxes(rng: np.random.Generator, count: int) -> Floats:
    corners = rng.integers(0, 800, (count, 2))
    return np.concatenate([corners, corners + rng.integers(30, 200, (count, 2))], axis=1).astype(np.float64)


def _answer(seed: int) -> tuple[Sample, Prediction]:
    """Four in five gold boxes found with some error, and inventions, in a random order."""
    rng = np.random.default_rng(seed)
    gold, labels = _boxes(rng, GOLD), rng.choice(NAMES, GOLD)
    found = rng.choice(GOLD, 17, replace=False)
    near = np.clip(np.round(gold[found] + rng.normal(0, 5, (17, 4))), 0, SIDE)
    boxes = np.concatenate([near, _boxes(rng, PREDICTED - 17)])
    names = np.concatenate([labels[found], rng.choice(NAMES, PREDICTED - 17)])
    order = rng.permutation(PREDICTED)
    rows = [{"bbox_2d": boxes[i].astype(int).tolist(), "label": str(names[i])} for i in order]
    size = (SIDE, SIDE)
    prediction = parse(json.dumps(rows), family="qwen2.5-vl", size=size, input_size=size, queries=NAMES)
    return Sample("1", (Path("x.png"),), *size, NAMES, Gold.of(gold, labels.tolist())), prediction


Row = dict[str, object]


def _rows(boxes: Floats, labels: Sequence[str]) -> list[Row]:
    return [{"bbox_2d": box, "label": label} for box, label in zip(boxes.tolist(), labels, strict=True)]


def cocoeval(gold: Sequence[Row], found: Sequence[Row]) -> float:
    """AP as VLM-R1's code gets it: a data set of one image, made and judged for every completion."""
    ids = {label: i for i, label in enumerate(dict.fromkeys(row["label"] for row in gold))}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": 0, "width": 2048, "height": 2048, "file_name": "image_0.jpg"}],
            "categories": [{"id": i, "name": label} for label, i in ids.items()],
            "annotations": [_annotation(row, ids) | {"id": n, "iscrowd": 0} for n, row in enumerate(gold, 1)],
        }
        truth.createIndex()
        results = [_annotation(row, ids) | {"score": 1.0} for row in found if row["label"] in ids]
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0])


def _annotation(row: Row, ids: dict) -> Row:
    x1, y1, x2, y2 = row["bbox_2d"]
    box = [x1, y1, x2 - x1, y2 - y1]
    return {"image_id": 0, "category_id": ids[row["label"]], "bbox": box, "area": box[2] * box[3]}


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


@pytest.mark.benchmark(group="rewards")
def test_rewards_against_a_cocoeval_a_completion(benchmark: BenchmarkFixture) -> None:
    answers = [_answer(seed) for seed in range(ANSWERS)]
    theirs = [
        (_rows(one.gold.boxes, one.gold.labels.tolist()), _rows(said.detections.boxes, said.detections.labels.tolist()))
        for one, said in answers
    ]
    assert [len(said.detections) for _, said in answers] == [PREDICTED] * ANSWERS
    ap = REWARDS["vlm-r1-ap"]
    assert [ap(*answer) for answer in answers] == pytest.approx([cocoeval(*rows) for rows in theirs], abs=1e-12)
    assert all(REWARDS["vision-r1-format"](*answer) == 1.0 for answer in answers)
    rewards = {name: REWARDS[name] for name in FASTER}

    def ours(name: str) -> list[float]:
        reward = rewards[name]
        return [reward(*answer) for _ in range(10) for answer in answers]

    best = dict.fromkeys(("cocoeval", *FASTER), float("inf"))
    for _ in range(ROUNDS):
        best["cocoeval"] = min(best["cocoeval"], _seconds(lambda: [cocoeval(*rows) for rows in theirs]) / ANSWERS)
        for name in FASTER:
            best[name] = min(best[name], _seconds(lambda name=name: ours(name)) / (10 * ANSWERS))
    ratios = {name: best["cocoeval"] / best[name] for name in FASTER}
    benchmark.extra_info |= {"us": {name: round(value * 1e6, 1) for name, value in best.items()}, **ratios}
    benchmark.pedantic(lambda: ours("vision-r1"), rounds=3)
    print("\nus:", {name: f"{value * 1e6:.1f}" for name, value in best.items()})
    print("times as fast as COCOeval:", {name: f"{value:.0f}x" for name, value in ratios.items()})
    for name, least in FASTER.items():
        assert ratios[name] >= least, f"{name}: {ratios[name]:.1f} times as fast, {least} asked"
