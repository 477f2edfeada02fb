"""Results of made-up accuracies, with replicates as `score` makes them."""

from __future__ import annotations

import hashlib

import numpy as np

from vr1bench.metrics.bootstrap import Draws, interval, means, packed, seed_of
from vr1bench.store import Key, Metric, Result, RunInfo, Values
from vr1bench.types import Bools


def made(
    right: Bools, benchmark: str = "refcoco", model: str = "m", *, protocol: str = "standard", status: str = "",
    failed: int = 0, revision: str = "a" * 40, data: str = "", per_class: dict[str, float | None] | None = None,
) -> Result:  # fmt: skip
    """A Result of Acc@0.5 over samples that were right or wrong; the last `failed` answers have another status."""
    sha256 = hashlib.sha256((data or benchmark).encode()).hexdigest()
    replicates = means(Draws(len(right), seed_of(sha256)), right)
    low, high = interval(float(right.mean()), replicates) or (None, None)
    counts = {"ok": len(right) - failed} | ({status: failed} if status else {})
    values = Values(
        primary="Acc@0.5", metrics={"Acc@0.5": Metric(value=float(right.mean()), low=low, high=high)},
        replicates={"Acc@0.5": packed(replicates)}, counts=counts, boxes=0, n=len(right), requests=len(right),
        fingerprint="f" * 64, data_sha256=sha256, per_class=per_class or {},
    )  # fmt: skip
    key = Key(benchmark=benchmark, split="val", protocol=protocol, scores="constant", model=model, revision=revision)
    run = RunInfo(engine="replay", versions={}, commit="c", date="2026-01-01T00:00:00+00:00", seconds=1.0)
    return Result(key=key, values=values, run=run)


def coin(share: float, n: int = 400, seed: int = 0) -> Bools:
    """(n,) True with a probability."""
    return np.random.default_rng(seed).random(n) < share
