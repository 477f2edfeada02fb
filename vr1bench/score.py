"""Records to numbers: applies what the protocol judges, counts every sample once, and calls the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol as Interface

import numpy as np

from vr1bench.as_published import vlm_r1_iou
from vr1bench.audit import Audit
from vr1bench.benchmark import NMS_METRICS, Benchmark
from vr1bench.boxes import iou
from vr1bench.errors import Vr1benchError
from vr1bench.families import Family
from vr1bench.metrics.ap import ABSENT, ap
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
from vr1bench.protocol import Protocol
from vr1bench.readers import Dataset
from vr1bench.store import Metric, Values
from vr1bench.types import Detections, Floats, Pair, Prediction

BATCH = 256
"""Pairs held at a time; what stays of them are columns, so that memory follows boxes, not texts."""


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


def score(pairs: Iterable[Pair], job: Scored, *, verify: bool = False) -> Values:
    """All numbers of a complete job.

    Args:
        pairs: Every sample beside its prediction, in the pinned order.
        job: What was asked and how it is judged.
        verify: Score detection again with pycocotools and faster-coco-eval, and store the largest differences.

    Raises:
        Vr1benchError: The samples counted are not those expected: then there is no result.
    """
    of_words = job.benchmark.task == "qa"
    tally, audit = Tally(), Audit(job.family) if job.family else None
    passing = (tally.add(pair, job.protocol) for pair in (_audited(pairs, audit) if audit else pairs))
    points = job.family is not None and job.family.pointing and not of_words
    per_class: dict[str, float | None] = {}
    verified: dict[str, float] = {}
    if points:
        metrics = _point(passing, job)
    elif of_words:
        metrics, per_class = _answer(passing, job, tally)
    elif job.benchmark.task == "refer":
        metrics = _refer(passing, job.protocol)
    else:
        metrics, per_class, verified = _detect(passing, job, verify)
    if not sum(tally.counts.values()) == tally.n == job.count:
        raise Vr1benchError(
            f"{job.benchmark.name}: {tally.n} samples have all their answers, {job.count} are expected; "
            "finish the run with the command that began it (or score fewer with --limit)"
        )
    return Values(
        primary=next(iter(metrics)) if points else job.benchmark.primary,
        metrics=metrics,
        per_class=per_class,
        counts=dict(sorted(tally.counts.items())),
        broken=dict(sorted(tally.broken.items())),
        flags=dict(sorted(tally.flags.items())),
        boxes=tally.boxes,
        n=tally.n,
        requests=tally.requests,
        warnings=job.dataset.warnings,
        audit=audit.findings() if audit else (),
        audited={name: round(value, 4) for name, value in audit.numbers().items()} if audit else {},
        verified=verified,
        fingerprint=job.fingerprint,
        data_sha256=job.dataset.sha256,
    )


def _audited(pairs: Iterable[Pair], audit: Audit) -> Iterator[Pair]:
    """The pairs as they pass by the audit, before the protocol drops anything."""
    for pair in pairs:
        audit.add(pair)
        yield pair


def check_written(protocol: Protocol) -> None:
    """Refuses scores that no written answer has.

    Raises:
        Vr1benchError: The protocol takes the model's own scores.
    """
    if protocol.scores == "own":
        raise Vr1benchError(
            "scores 'own' are a detector's: a model that writes its answer gives its boxes none; expected constant, "
            "logprob or order (a file of detections goes to vr1bench score --benchmark ... --coco-results FILE)"
        )


def check_verifiable(protocol: Protocol) -> None:
    """Refuses what the other engines cannot score.

    Raises:
        Vr1benchError: The protocol keeps another number of detections than their fixed 100.
    """
    if protocol.max_detections != 100:
        raise Vr1benchError(
            f"cannot verify max_detections={protocol.max_detections}: the other engines keep 100; drop one of the two"
        )


class Tally:
    """Counts of what passes by: samples by status, broken items by reason, flagged boxes."""

    def __init__(self) -> None:
        self.n = 0
        self.requests = 0
        self.boxes = 0
        self.counts: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()

    def add(self, pair: Pair, protocol: Protocol) -> Pair:
        """Counts a pair as answered, and gives it back as judged."""
        self.n += 1
        self.requests += pair.requests
        prediction = pair.prediction
        if prediction is None:
            self.counts["unasked"] += 1
            return pair
        self.counts[prediction.status] += 1
        self.boxes += len(prediction.detections) + (len(prediction.points) if prediction.points else 0)
        self.boxes += prediction.answer is not None
        self.broken.update(prediction.broken)
        for name, flagged in (("duplicate", prediction.duplicate), ("unknown label", prediction.unknown)):
            if flagged.any():
                self.flags[name] += int(flagged.sum())
        return replace(pair, prediction=judged(prediction, protocol))


def judged(prediction: Prediction, protocol: Protocol) -> Prediction:
    """A prediction as the protocol sees it: repeats, unknown labels, and scores."""
    keep = np.ones(len(prediction.detections), dtype=np.bool_)
    if protocol.duplicates == "drop":
        keep &= ~prediction.duplicate
    if protocol.unknown == "drop":
        keep &= ~prediction.unknown
    kept = prediction.detections.take(keep)
    count = len(kept)
    if protocol.scores == "constant":
        scores = np.ones(count)
    elif protocol.scores == "order":
        scores = _by_order(prediction)[keep]
    else:
        scores = kept.scores
    # A name that was not asked is no class here, even where another request of the sample asked for it.
    labels = np.where(prediction.unknown[keep], "", kept.labels)
    return replace(
        prediction,
        detections=Detections(kept.boxes, labels, scores),
        duplicate=prediction.duplicate[keep],
        unknown=prediction.unknown[keep],
    )


def _by_order(prediction: Prediction) -> Floats:
    """The earlier a box is written, the surer the model is taken to be; each answer of a sample counts from 1 down."""
    parts = prediction.parts or (len(prediction.detections),)
    return np.concatenate([1.0 - np.arange(count) / max(count, 1) for count in parts])


def _detect(
    pairs: Iterator[Pair], job: Scored, verify: bool
) -> tuple[dict[str, Metric], dict[str, float | None], dict[str, float]]:
    parts: list[Columns] = []
    own: list[Counts] = []
    greedy: list[Counts] = []
    for batch in batches(pairs):
        parts.append(columns(batch, job.protocol.ids))
        own.append(detection_counts(batch).total)
        greedy.append(greedy_counts(batch).total)
    # A class that no image is asked for and no gold box has is one all the same: its detections compete in NMS-AP.
    table = joined([*parts, replace(columns(()), labels=tuple(job.dataset.vocabulary.tolist()))])
    parts.clear()
    found = ap(table.truth, table.guesses, len(table.labels), job.protocol.max_detections)
    total, greedy_total = summed(own), summed(greedy)
    metrics = {name: _metric(value) for name, value in found.numbers.items()}
    metrics |= {
        "F1@0.5": Metric(value=total.f1),
        "precision@0.5": Metric(value=total.precision),
        "recall@0.5": Metric(value=total.recall),
        "greedy precision": Metric(value=greedy_total.precision),
        "greedy recall": Metric(value=greedy_total.recall),
    }
    if job.benchmark.primary in NMS_METRICS:
        kept = nms_ap(table.truth, table.guesses, len(table.labels), job.protocol.nms_ties, job.protocol.max_detections)
        worst, best = bounds(table.truth, table.guesses, len(table.labels), job.protocol.max_detections)["AP"]
        metrics |= {f"NMS-{name}": _metric(kept.numbers[name]) for name in ("AP", "AP50", "AP75")}
        metrics |= {"NMS-AP best": _metric(best), "NMS-AP worst": _metric(worst)}
        found = kept
    per_class = {name: _metric(float(v)).value for name, v in zip(table.labels, found.per_class, strict=True)}
    return metrics, per_class, _verified(table) if verify else {}


def _verified(table: Columns) -> dict[str, float]:
    """The largest difference to each other engine, and its version in the name."""
    from vr1bench.metrics.verify import verify

    opinions = verify(table.truth, table.guesses, len(table.labels))
    return {f"{name} {opinion['version']}": opinion["max_abs_diff"] for name, opinion in opinions.items()}


def _refer(pairs: Iterator[Pair], protocol: Protocol) -> dict[str, Metric]:
    overlaps = vlm_r1_iou if protocol.iou == "vlm-r1" else iou
    parts = [referring_ious([one_box(pair, protocol) for pair in batch], overlaps) for batch in batches(pairs)]
    ious = np.concatenate([np.empty(0), *parts])
    strict = protocol.match == ">"
    return {
        "Acc@0.5": Metric(value=accuracy(ious, 0.5, strict)),
        "Acc@0.75": Metric(value=accuracy(ious, 0.75, strict)),
        "mean IoU": Metric(value=mean_iou(ious)),
    }


def _point(pairs: Iterator[Pair], job: Scored) -> dict[str, Metric]:
    """Numbers of a family that points: boxes have none."""
    if job.benchmark.task == "refer":
        hits = [pointed(batch, last=job.protocol.boxes == "last") for batch in batches(pairs)]
        return {"point in box": Metric(value=float(np.concatenate([np.empty(0), *hits]).mean()))}
    total = summed([point_counts(batch).total for batch in batches(pairs)])
    return {
        "point F1": Metric(value=total.f1),
        "point precision": Metric(value=total.precision),
        "point recall": Metric(value=total.recall),
    }


def _answer(pairs: Iterator[Pair], job: Scored, tally: Tally) -> tuple[dict[str, Metric], dict[str, float | None]]:
    """Numbers of questions, and the primary one by tag; adds answers that a full stop makes wrong to the tally."""
    within = job.benchmark.primary == "relaxed accuracy"
    exact: list[bool] = []
    near: list[bool] = []
    tags: list[tuple[str, ...]] = []
    for batch in batches(pairs):
        exact += right(batch).tolist()
        near += right(batch, within=within).tolist()
        tags += [pair.sample.tags for pair in batch]
        if count := stopped(batch, within=within):
            tally.flags["wrong but for a full stop"] += count
    by_tag = shares(zip(tags, near, strict=True))
    metrics = {"accuracy": Metric(value=sum(exact) / max(len(exact), 1))}
    if within:
        metrics |= {"relaxed accuracy": Metric(value=sum(near) / max(len(near), 1))}
        metrics |= {f"relaxed accuracy {tag}": Metric(value=share) for tag, share in by_tag.items()}
    return metrics, dict(by_tag)


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


def _metric(value: float) -> Metric:
    """pycocotools' -1 for "no gold to count" is no number."""
    return Metric(value=None if value == ABSENT else value)
