"""A sample as text: trainers carry columns of strings from their rows to the reward."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from vr1bench.definitions import validated
from vr1bench.errors import Vr1benchError
from vr1bench.types import FrozenModel, Gold, Sample


class _Row(FrozenModel):
    id: str
    images: tuple[str, ...] = ()
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    queries: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    labels: tuple[str, ...]


def gold_text(sample: Sample) -> str:
    """What a reward needs of a sample, as one line of JSON: size, queries, and the gold's boxes and labels.

    What it leaves out (annotated areas, crowds, a question's options) no reward reads.
    """
    row = _Row(
        id=sample.id,
        images=tuple(map(str, sample.images)),
        width=sample.width,
        height=sample.height,
        queries=sample.queries,
        boxes=tuple(map(tuple, sample.gold.boxes.tolist())),
        labels=tuple(sample.gold.labels.tolist()),
    )
    return row.model_dump_json()


@lru_cache(maxsize=4096)
def sample_of(text: str) -> Sample:
    """The sample that `gold_text` wrote; asked again for every completion of a group, so kept.

    Raises:
        Vr1benchError: It is no such text.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise Vr1benchError(
            f"gold of a training row is not valid JSON: {error}; expected what vr1bench.rewards.gold_text writes"
        ) from error
    row = validated(_Row, values, "gold of a training row")
    if len(row.boxes) != len(row.labels):
        raise Vr1benchError(f"gold of a training row: {len(row.boxes)} boxes with {len(row.labels)} labels")
    gold = Gold.of(row.boxes, row.labels)
    return Sample(row.id, tuple(map(Path, row.images)), row.width, row.height, row.queries, gold)
