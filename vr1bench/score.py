"""Records to numbers: applies what the protocol judges, counts every sample once, and calls the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from vr1bench import numbers
from vr1bench.audit import Audit
from vr1bench.benchmark import ORDER_FREE
from vr1bench.errors import Vr1benchError
from vr1bench.metrics.ap import ABSENT
from vr1bench.metrics.bootstrap import interval, packed, sd
from vr1bench.numbers import Scored
from vr1bench.protocol import Protocol
from vr1bench.store import Metric, Spread, Values
from vr1bench.types import Detections, Floats, Pair, Prediction


def score(pairs: Iterable[Pair], job: Scored, *, verify: bool = False) -> Values:
    """All numbers of a complete job.

    Args:
        pairs: Every sample beside its prediction, in the pinned order.
        job: What was asked and how it is judged.
        verify: Score detection again with pycocotools and faster-coco-eval, and store the largest differences.

    Raises:
        Vr1benchError: The samples counted are not those expected: then there is no result.
    """
    task = job.benchmark.task
    tally, audit = Tally(), Audit(job.family) if job.family else None
    passing = (tally.add(pair, job.protocol) for pair in (_audited(pairs, audit) if audit else pairs))
    points = job.family is not None and job.family.pointing and task != "qa"
    if points:
        found = numbers.point(passing, job)
    elif task == "detect":
        found = numbers.detect(passing, job, verify=verify)
    else:
        found = numbers.refer(passing, job) if task == "refer" else numbers.answer(passing, job)
    tally.flags.update(found.flags)
    primary = next(iter(found.values)) if points else job.benchmark.primary
    if not sum(tally.counts.values()) == tally.n == job.count:
        raise Vr1benchError(
            f"{job.benchmark.name}: {tally.n} samples have all their answers, {job.count} are expected; "
            "finish the run with the command that began it (or score fewer with --limit)"
        )
    return Values(
        primary=primary,
        metrics={name: _metric(value, found.replicates.get(name)) for name, value in found.values.items()},
        replicates={name: packed(found.replicates[name]) for name in _kept(primary) if name in found.replicates},
        spread={name: Spread(sd=one.sd, low=one.low, high=one.high) for name, one in found.spread.items()},
        per_class={name: None if value == ABSENT else value for name, value in found.per_class.items()},
        counts=dict(sorted(tally.counts.items())),
        broken=dict(sorted(tally.broken.items())),
        flags=dict(sorted(tally.flags.items())),
        boxes=tally.boxes,
        n=tally.n,
        images=found.images or tally.n,
        requests=tally.requests,
        warnings=job.dataset.warnings,
        audit=audit.findings() if audit else (),
        audited={name: round(value, 4) for name, value in audit.numbers().items()} if audit else {},
        verified=found.verified,
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


def _kept(primary: str) -> list[str]:
    """The metrics whose replicates a Result keeps: what models are compared by."""
    return list(dict.fromkeys([primary, ORDER_FREE.get(primary, primary), "F1@0.5"]))


def _metric(value: float, replicates: Floats | None) -> Metric:
    """A number with its interval; pycocotools' -1 for "no gold to count" is no number."""
    if value == ABSENT:
        return Metric(value=None)
    if replicates is None:
        return Metric(value=value)
    low, high = interval(value, replicates) or (None, None)
    return Metric(value=value, low=low, high=high, sd=sd(replicates))
