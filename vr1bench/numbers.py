"""A benchmark's numbers by task, each with its replicates over resampled images: judged pairs in, metrics out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol as Interface

import numpy as np

from vr1bench.as_published import vlm_r1_iou
from vr1bench.benchmark import NMS_METRICS, Benchmark
from vr1bench.boxes import iou
from vr1bench.families import Family
from vr1bench.metrics import order
from vr1bench.metrics.ap import AveragePrecision, ap
from vr1bench.metrics.bootstrap import Draws, count_replicates, ratios, seed_of
from vr1bench.metrics.columns import Columns, columns, joined
from vr1bench.metrics.nms_ap import bounds, nms_ap
from vr1bench.metrics.pointing import point_counts, pointed
from vr1bench.metrics.pointwise import (
    Counts,
    accuracy,
    detection_counts,
    greedy_counts,
    mean_iou,
    referring_ious,
    summed,
)
from vr1bench.metrics.qa import right, shares, stopped
from vr1bench.metrics.replay import replicates
from vr1bench.protocol import Protocol
from vr1bench.readers import Dataset
from vr1bench.types import Floats, Pair

BATCH = 256
"""Pairs held at a time; what stays of them are columns, so that memory follows boxes, not texts."""
NMS_NUMBERS = ("AP", "AP50", "AP75")
"""Of those after suppression, what is kept, as `NMS-AP` and so on."""


class Scored(Interface):
    """What scoring must know of where the predictions come from: a job, or a file of detections."""

    @property
    def benchmark(self) -> Benchmark:
        """What is measured."""
        ...

    @property
    def protocol(self) -> Protocol:
        """How."""
        ...

    @property
    def dataset(self) -> Dataset:
        """The split's samples."""
        ...

    @property
    def count(self) -> int:
        """How many of them are scored."""
        ...

    @property
    def family(self) -> Family | None:
        """How the answers were read; None where there were no texts, and so nothing to audit."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 of everything in the definitions that can change the score."""
        ...


@dataclass(frozen=True)
class Numbers:
    """What came out, as fractions.

    Attributes:
        values: By metric, the primary of points first; `ABSENT` where nothing counts for it.
        replicates: The same over resampled images, (1000,) each; bounds have none, since they bound an order and no
            chance.
        per_class: The primary metric by class or tag; `ABSENT` or a fraction.
        spread: Of the metrics that the order of images moves, over renumberings; only those that it does move.
        verified: Largest differences to other engines.
        flags: What was counted on the way.
        images: How many images were drawn from; 0 where each sample is one.
    """

    values: dict[str, float]
    replicates: dict[str, Floats]
    per_class: dict[str, float] = field(default_factory=dict[str, float])
    spread: dict[str, order.Spread] = field(default_factory=dict[str, order.Spread])
    verified: dict[str, float] = field(default_factory=dict[str, float])
    flags: Counter[str] = field(default_factory=Counter[str])
    images: int = 0


def detect(pairs: Iterator[Pair], job: Scored, *, verify: bool = False) -> Numbers:
    """Numbers of boxes with labels: COCO's, F1 and greedy precision and recall, and NMS-AP where it is primary."""
    parts: list[Columns] = []
    own: list[Counts] = []
    greedy: list[Counts] = []
    for batch in batches(pairs):
        parts.append(columns(batch, job.protocol.ids))
        own.append(detection_counts(batch))
        greedy.append(greedy_counts(batch))
    # A class that no image is asked for and no gold box has is one all the same: its detections compete in NMS-AP.
    table = joined([*parts, replace(columns(()), labels=tuple(job.dataset.vocabulary.tolist()))])
    parts.clear()
    draws = _draws(job, table.images)
    primary = found = ap(table.truth, table.guesses, len(table.labels), job.protocol.max_detections)
    values, over = dict(found.numbers), replicates(found, draws)
    spread = _spread(found, draws, "")
    for counts, f1, prefix, suffix in ((own, "F1@0.5", "", "@0.5"), (greedy, "", "greedy ", "")):
        whole = summed(counts)
        names = {"f1": f1, "precision": f"{prefix}precision{suffix}", "recall": f"{prefix}recall{suffix}"}
        sampled = count_replicates(draws, whole)
        values |= {name: getattr(whole, of) for of, name in names.items() if name}
        over |= {name: sampled[of] for of, name in names.items() if name}
    if job.benchmark.primary in NMS_METRICS:
        rule = (len(table.labels), job.protocol.max_detections)
        primary = nms_ap(table.truth, table.guesses, rule[0], job.protocol.nms_ties, rule[1])
        worst, best = bounds(table.truth, table.guesses, *rule)["AP"]
        values |= {f"NMS-{name}": primary.numbers[name] for name in NMS_NUMBERS}
        values |= {"NMS-AP best": best, "NMS-AP worst": worst}
        over |= {f"NMS-{name}": of for name, of in replicates(primary, draws, NMS_NUMBERS).items()}
        spread |= _spread(primary, draws, "NMS-")
    per_class = dict(zip(table.labels, primary.per_class.tolist(), strict=True))
    return Numbers(values, over, per_class, spread, _verified(table) if verify else {})


def refer(pairs: Iterator[Pair], job: Scored) -> Numbers:
    """Numbers of the one box to a phrase."""
    overlaps = vlm_r1_iou if job.protocol.iou == "vlm-r1" else iou
    shown = _Shown()
    parts = [
        referring_ious([one_box(pair, job.protocol) for pair in batch], overlaps)
        for batch in batches(shown.by(pairs))
    ]  # fmt: skip
    ious = np.concatenate([np.empty(0), *parts])
    strict = job.protocol.match == ">"
    reached = {f"Acc@{at}": np.array(ious > at if strict else ious >= at, dtype=np.float64) for at in (0.5, 0.75)}
    values = {f"Acc@{at}": accuracy(ious, at, strict) for at in (0.5, 0.75)} | {"mean IoU": mean_iou(ious)}
    marks = reached | {"mean IoU": ious}
    return Numbers(values, {name: shown.means(of, job) for name, of in marks.items()}, images=len(shown.places))


def point(pairs: Iterator[Pair], job: Scored) -> Numbers:
    """Numbers of a family that points: boxes have none."""
    if job.benchmark.task == "refer":
        shown = _Shown()
        parts = [pointed(batch, last=job.protocol.boxes == "last") for batch in batches(shown.by(pairs))]
        hits = np.concatenate([np.empty(0), *(part.astype(np.float64) for part in parts)])
        over = {"point in box": shown.means(hits, job)}
        return Numbers({"point in box": float(hits.mean())}, over, images=len(shown.places))
    whole = summed([point_counts(batch) for batch in batches(pairs)])
    sampled = count_replicates(_draws(job, len(whole.right)), whole)
    names = {"f1": "point F1", "precision": "point precision", "recall": "point recall"}
    values = {name: float(getattr(whole, of)) for of, name in names.items()}
    return Numbers(values, {name: sampled[of] for of, name in names.items()})


def answer(pairs: Iterator[Pair], job: Scored) -> Numbers:
    """Numbers of questions, and the primary one by tag."""
    within = job.benchmark.primary == "relaxed accuracy"
    exact: list[bool] = []
    near: list[bool] = []
    tags: list[tuple[str, ...]] = []
    flags: Counter[str] = Counter()
    shown = _Shown()
    for batch in batches(shown.by(pairs)):
        exact += right(batch).tolist()
        near += right(batch, within=within).tolist()
        tags += [pair.sample.tags for pair in batch]
        if count := stopped(batch, within=within):
            flags["wrong but for a full stop"] += count
    marks = {"accuracy": np.array(exact, dtype=np.float64)}
    by_tag = shares(zip(tags, near, strict=True))
    if within:
        marks["relaxed accuracy"] = np.array(near, dtype=np.float64)
    values = {name: float(of.mean()) if len(of) else 0.0 for name, of in marks.items()}
    over = {name: shown.means(of, job) for name, of in marks.items()}
    if within:
        values |= {f"relaxed accuracy {tag}": share for tag, share in by_tag.items()}
        for tag in by_tag:
            of_tag = np.array([tag in some for some in tags], dtype=np.float64)
            over[f"relaxed accuracy {tag}"] = shown.means(marks["relaxed accuracy"], job, of_tag)
    return Numbers(values, over, dict(by_tag), flags=flags, images=len(shown.places))


class _Shown:
    """Which image each sample shows: several phrases or questions about one image are drawn with it, not apart.

    Attributes:
        places: Image to its place, in the order in which they come.
    """

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self._of: list[int] = []

    def by(self, pairs: Iterator[Pair]) -> Iterator[Pair]:
        """The pairs, as they pass by."""
        for pair in pairs:
            self._of.append(self.places.setdefault(str(pair.sample.images[0]), len(self.places)))
            yield pair

    def means(self, values: Floats, job: Scored, counted: Floats | None = None) -> Floats:
        """The mean over samples in each resample of the images; of those that `counted` marks by 1, if given."""
        of, count = np.array(self._of, dtype=np.int64), len(self.places)
        weight = np.ones(len(values)) if counted is None else counted
        sums = (np.bincount(of, weights=each, minlength=count) for each in (values * weight, weight))
        return ratios(_draws(job, count), *sums)


def one_box(pair: Pair, protocol: Protocol) -> Pair:
    """The pair with the box that counts in front; `all` and `first` take the first."""
    prediction = pair.prediction
    if prediction is None or protocol.boxes != "last" or not len(prediction.detections):
        return pair
    last = np.array([len(prediction.detections) - 1])
    return replace(pair, prediction=replace(prediction, detections=prediction.detections.take(last)))


def batches(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    """The pairs, `BATCH` at a time."""
    batch: list[Pair] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _draws(job: Scored, images: int) -> Draws:
    """The resamples of a job's data: two models' are the same."""
    return Draws(images, seed_of(job.dataset.sha256))


def _spread(found: AveragePrecision, draws: Draws, prefix: str) -> dict[str, order.Spread]:
    every = order.spread(found, draws.images, draws.seed)
    return {f"{prefix}{name}": one for name, one in every.items() if one.sd > 0}


def _verified(table: Columns) -> dict[str, float]:
    """The largest difference to each other engine, and its version in the name."""
    from vr1bench.metrics.verify import verify

    opinions = verify(table.truth, table.guesses, len(table.labels))
    return {f"{name} {opinion['version']}": opinion["max_abs_diff"] for name, opinion in opinions.items()}
