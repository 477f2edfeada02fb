"""Visual-RFT's two rewards by hand."""

from dataclasses import replace

import numpy as np
import pytest
from answering import read, said, sample

from vr1bench.rewards import REWARDS
from vr1bench.types import Detections, Prediction

SAMPLE = sample([[0, 0, 100, 100], [200, 0, 300, 100]])
NEAR, NEARER, SECOND, FAR = [0, 0, 100, 80], [0, 0, 100, 90], [200, 0, 300, 100], [0, 300, 50, 350]


def _sure(rows: list[tuple[list[int], float]]) -> Prediction:
    plain = said([(box, "dog") for box, _ in rows])
    found = plain.detections
    return replace(plain, detections=Detections(found.boxes, found.labels, np.array([score for _, score in rows])))


@pytest.mark.parametrize(
    ("rows", "iou", "confidence"),
    [
        ([(NEAR, 1.0), (SECOND, 1.0)], 0.9, 1.0),
        ([(NEAR, 0.9)], 0.4, 0.9),  # over two gold boxes
        ([(NEARER, 0.2), (NEAR, 0.9)], 0.4, 0.85),  # the surer takes the gold box
        ([(SECOND, 0.6), (FAR, 0.3), (NEAR, 0.8)], 0.6, 0.7),
        ([(SECOND, 0.6), (SECOND, 0.9)], 0.5, 0.6),  # the same box again is left out
        ([([0, 0, 100, 50], 0.7)], 0.0, 0.3),  # 0.5 is no hit
        ([(FAR, 1.0)], 0.0, 0.0),
    ],
)
def test_visual_rft(rows: list, iou: float, confidence: float) -> None:
    answer = _sure(rows)
    assert REWARDS["visual-rft-iou"](SAMPLE, answer) == pytest.approx(iou)
    assert REWARDS["visual-rft-confidence"](SAMPLE, answer) == pytest.approx(confidence)


@pytest.mark.parametrize("name", ["visual-rft-iou", "visual-rft-confidence"])
def test_nothing(name: str) -> None:
    assert REWARDS[name](SAMPLE, read("None")) == 0.0
    assert REWARDS[name](sample([]), read("None")) == 1.0
    assert REWARDS[name](sample([]), read("")) == 0.0
    assert REWARDS[name](sample([]), said([(FAR, "dog")])) == 0.0
