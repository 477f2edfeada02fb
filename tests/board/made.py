"""Results as a run would write them, made up."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import re

import numpy as np

from vr1bench.benchmark import suite
from vr1bench.metrics.bootstrap import Z, packed
from vr1bench.published import Published
from vr1bench.store import Key, Metric, Result, RunInfo, Values
from vr1bench.types import Sampling

WIDTH = 0.06
"""Half of every interval, before it is cut to 0..1."""


def result(
    model="m", benchmark="b", protocol="standard", value: float | None = 0.25, step=None, tie: float | None = 0.2,
    metric="AP", n=4, data="d", day=1, commit="", interval=True, noise: float | None = 0.01, **key_fields,
) -> Result:  # fmt: skip
    """A Result, and replicates of which `noise` is the model's own part: the rest all models of a benchmark share.

    `noise=None` makes none, as versions before intervals did.
    """
    ranked = metric == "AP" and tie is not None
    low, high = (None, None) if value is None or not interval else (max(0, value - WIDTH), min(1, value + WIDTH))
    metrics = {metric: Metric(value=value, low=low, high=high, sd=None if low is None else WIDTH / Z)} | (
        {"AP_tie": Metric(value=tie)} if ranked else {}
    )
    fields = {"split": "val", "scores": "constant", "revision": "a" * 40} | key_fields
    key = Key(benchmark=benchmark, protocol=protocol, model=model, step=step, **fields)
    judged = {"AP_tie": tie} if ranked else {metric: value}
    replicates = {
        name: packed(center + 0.2 * _draws(benchmark) + noise * _draws(f"{benchmark} {key.title}"))
        for name, center in judged.items()
        if center is not None and noise is not None
    }
    values = Values(
        primary=metric, metrics=metrics, replicates=replicates, counts={"ok": n - 1, "none": 1}, boxes=5, n=n,
        requests=n, fingerprint="f", data_sha256=data,
    )  # fmt: skip
    run = RunInfo(
        family="absolute", engine="oracle", sampling=Sampling(), versions={}, commit=commit,
        date=datetime.datetime(2026, 1, day, tzinfo=datetime.UTC).isoformat(), seconds=1.25,
    )  # fmt: skip
    return Result(key=key, values=values, run=run)


def _draws(name):
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    return np.random.default_rng(seed).standard_normal(1000)


def of_suite(name, model="m", start=0.2, step=0.01, **fields):
    """A model's Results on all of a suite, each benchmark `step` above the one before."""
    return [
        result(model, one.name, value=start + step * place, tie=start + step * place - 0.01, n=10 + place,
               metric=one.primary, **{"split": one.split} | fields)
        for place, one in enumerate(suite(name))
    ]  # fmt: skip


def report(model="Paper-7B", variant="", table="Table 9", metric="AP", value="17.75", scores="constant", **key_fields):
    """A paper's number, of the column that `result()` is in."""
    fields = {"benchmark": "b", "split": "val", "protocol": "standard"} | key_fields
    return Published(
        source="Someone (arXiv 1)", table=table, model=model, variant=variant, metric=metric, value=value,
        scores=scores, **fields,
    )  # fmt: skip


def pipes(text):
    """The cells of every pipe table, by the line above it."""
    found, title = {}, ""
    for line in text.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            found.setdefault(title, []).append([cell.strip() for cell in cells])
        elif line:
            title = line
    return {title: [rows[0], *rows[2:]] for title, rows in found.items()}


def table(text):
    """The first pipe table: heading to entry, a dictionary a row."""
    (head, *rows), *_ = pipes(text).values()
    return [dict(zip(head, row, strict=True)) for row in rows]


def csv_rows(text):
    return list(csv.DictReader(io.StringIO(text)))
