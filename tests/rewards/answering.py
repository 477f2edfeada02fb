"""Samples, and what a model says to them, through the very reader."""

import json
from collections.abc import Sequence
from pathlib import Path

from vr1bench import parse
from vr1bench.types import Gold, Prediction, Sample

NAMES = ("dog", "cat", "bird")
SIDE = 400


def sample(boxes: Sequence[Sequence[float]], labels: Sequence[str] | str = "dog") -> Sample:
    names = [labels] * len(boxes) if isinstance(labels, str) else list(labels)
    return Sample("1", (Path("x.png"),), SIDE, SIDE, NAMES, Gold.of(boxes, names))


def spelled(rows: Sequence[tuple[Sequence[float], str]]) -> str:
    """Qwen's form, in a fence."""
    return "```json\n" + json.dumps([{"bbox_2d": list(box), "label": label} for box, label in rows]) + "\n```"


def thought(answer: str) -> str:
    return f"<think>so</think><answer>{answer}</answer>"


def read(text: str) -> Prediction:
    return parse(text, family="qwen2.5-vl", size=(SIDE, SIDE), input_size=(SIDE, SIDE), queries=NAMES)


def said(rows: Sequence[tuple[Sequence[float], str]]) -> Prediction:
    return read(spelled(rows))
