"""How sure an answer says to be: read for rewards, no matter to an evaluation unless its protocol says so."""

import pytest

from vr1bench import parse
from vr1bench.protocol import protocol
from vr1bench.rewards import REWARDS
from vr1bench.score import judged
from vr1bench.types import Gold, Sample

ASKED = {"family": "qwen2.5-vl", "size": (640, 480), "input_size": (640, 480), "queries": ["dog"]}
HIT, MISS = [100, 100, 200, 200], [300, 300, 400, 400]


def item(box, **more):
    return {"bbox_2d": box, "label": "dog", **more}


@pytest.mark.parametrize("key", ["Confidence", "confidence", "score"])
def test_confidences_are_read_and_paid(key):
    text = str([item(HIT, **{key: 0.9}), item(MISS, **{key: 0.2})]).replace("'", '"')
    prediction = parse(text, **ASKED)
    assert prediction.detections.scores.tolist() == [0.9, 0.2]
    sample = Sample("1", (), 640, 480, ("dog",), Gold.of([[100, 100, 200, 200]], ["dog"]))
    assert REWARDS["visual-rft-confidence"](sample, prediction) == pytest.approx((0.9 + 0.8) / 2)
    assert judged(prediction, protocol("standard", {}, "coco")).detections.scores.tolist() == [1.0, 1.0]


def test_without_them_all_are_sure():
    text = str([item(HIT, Confidence=0.5), item(MISS), item(MISS, Confidence="high")]).replace("'", '"')
    assert parse(text, **ASKED).detections.scores.tolist() == [0.5, 1.0, 1.0]
    assert parse(str([item(HIT)]).replace("'", '"'), **ASKED).detections.scores.tolist() == [1.0]
