"""Results of real answers to demo/coco, which repeat boxes under labels that are not there, and lines about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import vr1bench
from vr1bench.benchmark import chosen
from vr1bench.demo.world import COLOURS
from vr1bench.families import FAMILIES
from vr1bench.metrics.bootstrap import Draws, means, packed, seed_of
from vr1bench.store import Metric, Result
from vr1bench.trainers.attempts import Attempt, Score
from vr1bench.types import Detections


class Scorings:
    """Results of answers to demo/coco: perfect ones, of which a share names each thing again in another colour."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        definition = chosen(None, ["demo/coco"])[0]
        self.samples = list(definition.load(definition.split, None))

    def result(self, step: int, hedged: float) -> Result:
        rng, family = np.random.default_rng(3), FAMILIES["absolute"]
        rows: list[str] = []
        for sample, place in zip(self.samples, rng.permutation(len(self.samples)), strict=True):
            boxes, labels = sample.gold.boxes.tolist(), sample.gold.labels.tolist()
            if place < hedged * len(self.samples):
                boxes, labels = boxes * 2, [*labels, *map(_recoloured, labels)]
            size = (sample.width, sample.height)
            rows.append(
                json.dumps({"sample_id": sample.id, "text": family.format(Detections.of(boxes, labels), size, size)})
            )
        answers = self.folder / f"{step}.jsonl"
        answers.write_text("\n".join(rows))
        (found,) = vr1bench.run(
            f"run/checkpoint-{step}", benchmark="demo/coco", engine="replay", engine_args={"file": str(answers)},
            family="absolute", output=self.folder / "results",
        )  # fmt: skip
        return found


def _recoloured(label: str) -> str:
    colour, shape = label.split()
    return f"{next(one for one in COLOURS if one != colour)} {shape}"


def attempt(step: int, result: Result | None = None, status: str = "scored") -> Attempt:
    one = result and Score(primary="AP", value=result.primary.value, order_free="AP_tie", order_free_value=tied(result))
    return Attempt(
        step=step, checkpoint=f"checkpoint-{step}", status=status, date="2026-01-01T00:00:00+00:00",
        results=(str(result.key.path),) if result else (), metrics={"demo/coco": one} if one else {},
    )  # fmt: skip


def tied(result: Result) -> float:
    """The metric that checkpoints are compared by."""
    value = result.values.metrics["AP_tie"].value
    assert value is not None
    return value


def judged(like: Result, right: np.ndarray, training: int) -> Result:
    """A Result whose images are right or wrong as said, of data that only this training is scored on."""
    sha256 = f"{training:064x}"[::-1]
    metric = Metric(value=float(right.mean()))
    replicates = packed(means(Draws(len(right), seed_of(sha256)), right))
    values = {"primary": "F1", "metrics": {"F1": metric}, "replicates": {"F1": replicates}, "data_sha256": sha256}
    return like.model_copy(update={"values": like.values.model_copy(update=values)})
