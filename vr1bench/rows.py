"""Training rows: questions as the evaluation asks them, perfect answers in the frame that the model is fed, the gold.

>>> from vr1bench.rows import rows
>>> rows("demo/coco", family="qwen2.5-vl", boxes=(1, 30))[0].prompt  # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vr1bench.benchmark import Benchmark, find
from vr1bench.curation import HARD_BOXES, Curation, Order, Targets, curated, in_reading_order
from vr1bench.errors import Vr1benchError
from vr1bench.job import Job
from vr1bench.readers import text_of
from vr1bench.rewards import gold_text
from vr1bench.row_files import Row, read_rows, write_rows
from vr1bench.running import plan
from vr1bench.types import Gold, Request, Sample

__all__ = ["Row", "TrainingRows", "read_rows", "rows", "training_rows", "training_split", "write_rows"]


@dataclass(frozen=True)
class TrainingRows:
    """A training set, made row by row as it is iterated over; again and again, the same each time.

    Attributes:
        job: What is asked and answered; its data is the curated one.
        counts: What was left out or changed, in words, for those who train on it.
        without: Images whose rows are left out.
    """

    job: Job
    counts: Mapping[str, int]
    without: frozenset[str] = field(default_factory=frozenset[str])

    def __iter__(self) -> Iterator[Row]:
        base = f"{self.job.benchmark.name}/{self.job.split}"
        several = self.job.benchmark.task == "detect" and self.job.protocol.query != "all"
        for sample in self.job.samples():
            if not self.without.isdisjoint(map(str, sample.images)):
                continue
            for place, request in enumerate(self.job.requests(sample)):
                name = f"{base}/{sample.id}:{place}" if several else f"{base}/{sample.id}"
                yield self._row(name, sample, request)

    @property
    def images(self) -> list[str]:
        """Every image that is trained on, once."""
        data = self.job.dataset
        names = sorted({text_of(name) for name in np.unique(data.names)})
        return [path for name in names if (path := str(data.folder / name)) not in self.without]

    def _row(self, name: str, sample: Sample, request: Request) -> Row:
        return Row(
            id=name,
            images=tuple(map(str, request.images)),
            prompt=request.messages[0]["content"][-1]["text"],
            completion=self.job.perfect(request),
            gold="" if self.job.benchmark.task == "qa" else gold_text(_asked(sample, request)),
        )


def training_rows(
    benchmark: str,
    *,
    family: str,
    split: str | None = None,
    protocol: str = "standard",
    data_dir: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    curation: Curation | None = None,
) -> TrainingRows:
    """The training set of a benchmark's split; nothing but the annotations is in memory.

    A protocol's own shuffle and first samples are for scoring, and do not count here. What a protocol asks to think
    aloud, the completion does not: nobody wrote the thoughts down.

    Args:
        benchmark: A benchmark's name or TOML.
        family: Whose questions, grammar and frame.
        split: None takes `training_split`.
        protocol: How it is asked; one question a class or phrase is one row.
        data_dir: As in `vr1bench.run`.
        overrides: Changes to protocol fields; `max_pixels` is a trainer's that feeds smaller pictures.
        curation: What to choose; None takes all.

    Raises:
        Vr1benchError: Something named is unknown or missing, or no sample is left.
    """
    how = curation or Curation()
    one = find(benchmark)
    (job,) = plan(
        "", None, benchmark, engine="oracle", family=family, protocol=protocol, split=split or training_split(one),
        limit=None, changes=overrides or {}, data_dir=data_dir, output="results", seed=0, gen_args={}, engine_args={},
    )  # fmt: skip
    if how.negatives and (one.task != "detect" or job.protocol.query == "positive"):
        raise Vr1benchError(
            f"negatives are classes that are asked for though they are not there, and {one.name} under protocol "
            f"{job.protocol.name} asks for none such; leave them out, or choose another protocol"
        )
    data, counts = curated(job.dataset, how)
    if how.targets == "reading":
        data = in_reading_order(data, lambda width, height: job.family.fed_size(width, height, job.pixels))
    rule = job.protocol.model_copy(update={"shuffle": None, "first": None})
    data = dataclasses.replace(data, folder=data.folder.resolve())
    return TrainingRows(dataclasses.replace(job, dataset=data, protocol=rule), counts)


def rows(
    benchmark: str,
    *,
    family: str,
    split: str | None = None,
    protocol: str = "standard",
    limit: int | None = None,
    data_dir: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    boxes: tuple[int, int] | None = None,
    negatives: tuple[int, int] | None = None,
    hard: float | None = None,
    hard_boxes: int = HARD_BOXES,
    order: Order = "file",
    incomplete: float = 0.0,
    targets: Targets = "file",
) -> list[Row]:
    """The training rows of a benchmark as a list; see `training_rows` and `vr1bench.curation.Curation`."""
    how = Curation(boxes, negatives, hard, hard_boxes, limit, order, incomplete, targets, seed)
    return list(
        training_rows(
            benchmark, family=family, split=split, protocol=protocol, data_dir=data_dir, overrides=overrides,
            curation=how,
        )
    )  # fmt: skip


def training_split(benchmark: Benchmark) -> str:
    """The split that is there to be trained on, such as `train2017`; the benchmark's own where there is none."""
    return next((name for name in benchmark.splits if name.startswith("train")), benchmark.split)


def _asked(sample: Sample, request: Request) -> Sample:
    """The sample as one question sees it: what is asked, and the gold of that alone."""
    mine = np.isin(sample.gold.labels, list(request.queries))
    gold = Gold.of(sample.gold.boxes[mine], sample.gold.labels[mine].tolist())
    return dataclasses.replace(sample, queries=request.queries, gold=gold)
