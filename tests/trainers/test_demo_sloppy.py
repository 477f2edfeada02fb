"""Careless targets: guessed colours and repeated boxes in about the share that they say, the same at each call."""

from itertools import islice

import pytest

from vr1bench.families import FAMILIES
from vr1bench.rewards import sample_of
from vr1bench.rewards.adapters import read
from vr1bench.rows import rows as benchmark_rows
from vr1bench.trainers.demo_sloppy import AGAIN, WRONG, sloppy_rows
from vr1bench.types import Completion


def test_targets_are_as_careless_as_they_say():
    rows = list(islice(sloppy_rows(), 200))
    assert rows == list(islice(sloppy_rows(), 200))
    gold = boxes = wrong = 0
    clean = {row.id: row for row in benchmark_rows("demo/coco", family="qwen2.5-vl")}
    for row in rows:
        assert not row.gold
        sample = sample_of(clean[row.id].gold)
        found = read(FAMILIES["qwen2.5-vl"], Completion(text=row.completion), sample, None).detections
        firsts = [0, *(n for n in range(1, len(found)) if (found.boxes[n] != found.boxes[n - 1]).any())]
        assert len(firsts) == len(sample.gold)
        wrong += (found.labels[firsts] != sample.gold.labels).sum()
        gold, boxes = gold + len(sample.gold), boxes + len(found)
    assert wrong / gold == pytest.approx(WRONG, abs=0.06)
    assert boxes / gold == pytest.approx(1 + AGAIN + AGAIN**2 + AGAIN**3, abs=0.12)
