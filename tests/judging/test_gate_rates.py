"""How often the gate is wrong, over decisions on real answers whose images are drawn anew.

Two runs of the bundled model at temperature 0.7 with different seeds are the same model twice: for every image chance
decides which of the two answers belongs to the baseline. A known drop is the same, with one box taken out of a share of
the new model's answers. Each decision draws its images with replacement, and is a whole gate: benchmarks, their mean,
formats. `pytest -m slow tests/judging/test_gate_rates.py -s` prints the table of docs/gate.md.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import vr1bench
from vr1bench.gating import gate
from vr1bench.metrics.ap import ap
from vr1bench.metrics.bootstrap import Draws, means, packed
from vr1bench.metrics.columns import columns
from vr1bench.metrics.nms_ap import nms_ap
from vr1bench.metrics.pointwise import referring_ious
from vr1bench.metrics.replay import replicates
from vr1bench.rescoring import opened
from vr1bench.score import judged
from vr1bench.store import Key, Metric, Result, RunInfo, Values
from vr1bench.types import Pair

pytestmark = pytest.mark.slow
SETS = ("coco", "odinw", "ovdeval", "rec")
PRIMARY = {"coco": "AP", "odinw": "AP", "ovdeval": "NMS-AP", "rec": "Acc@0.5"}
DECISIONS = {0.0: 1000, 0.05: 300, 0.1: 300, 0.2: 300}
"""Share of answers that lose a box, and how many gates are asked about it."""


@dataclass(frozen=True)
class Answers:
    """Both runs' answers to the samples of one benchmark."""

    name: str
    first: list[Pair]
    second: list[Pair]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Answers]:
    pytest.importorskip("transformers", reason="needs an engine: uv sync --inexact --extra cpu")
    found: list[dict[str, list[Pair]]] = []
    for seed in (1, 2):
        output = tmp_path_factory.mktemp(f"seed{seed}")
        vr1bench.run(
            "demo",
            benchmark=[f"demo/{name}" for name in SETS],
            engine="hf",
            output=output,
            gen_args={"temperature": 0.7},
            seed=seed,
        )
        found.append({name: _pairs(next((output / "runs").glob(f"*/demo/{name}/*/run.json")).parent) for name in SETS})
    return [Answers(name, found[0][name], found[1][name]) for name in SETS]


def _pairs(folder: Path) -> list[Pair]:
    with opened(folder) as (job, journal):
        return [
            Pair(pair.sample, judged(pair.prediction, job.protocol), pair.requests)
            for pair in job.pairs(journal)
            if pair.prediction is not None
        ]


def poorer(pair: Pair, rng: np.random.Generator, share: float) -> Pair:
    """The answer, with a probability without one of its boxes."""
    said = pair.prediction
    if said is None or not len(said.detections) or rng.random() >= share:
        return pair
    keep = np.arange(len(said.detections)) != rng.integers(len(said.detections))
    return replace(
        pair,
        prediction=replace(
            said, detections=said.detections.take(keep), duplicate=said.duplicate[keep], unknown=said.unknown[keep]
        ),
    )


def result(name: str, pairs: list[Pair], draws: Draws) -> Result:
    """What the gate needs of a Result, on these pairs."""
    primary = PRIMARY[name]
    if primary == "Acc@0.5":
        right = (referring_ious(pairs) >= 0.5).astype(float)
        values, over = {primary: float(right.mean())}, {primary: means(draws, right)}
    else:
        table = columns(pairs)
        rate = nms_ap if primary == "NMS-AP" else ap
        found = rate(table.truth, table.guesses, len(table.labels))
        metric, number = (primary, "AP") if primary == "NMS-AP" else ("AP_tie", "AP_tie")
        values, over = {metric: found.numbers[number]}, {metric: replicates(found, draws, [number])[number]}
    return Result(
        key=Key(
            benchmark=name, split="val", protocol="standard", scores="constant", model="m", revision="0" * 40
        ),
        values=Values(
            primary=primary, metrics={metric: Metric(value=value) for metric, value in values.items()},
            replicates={metric: packed(of) for metric, of in over.items()},
            counts=Counter(str(pair.prediction.status) for pair in pairs if pair.prediction),
            boxes=0, n=len(pairs), requests=len(pairs), fingerprint="0" * 64, data_sha256="0" * 64,
        ),
        run=RunInfo(engine="replay", versions={}, commit="", date="", seconds=0.0),
    )  # fmt: skip


def decision(answers: list[Answers], rng: np.random.Generator, share: float) -> tuple[bool, float]:
    """Whether a gate passes, and by how many points the mean dropped."""
    old: dict[str, Result] = {}
    new: dict[str, Result] = {}
    for one in answers:
        drawn = rng.integers(len(one.first), size=len(one.first))
        swap = rng.random(len(drawn)) < 0.5
        sides = [(one.second[i], one.first[i]) if s else (one.first[i], one.second[i]) for i, s in zip(drawn, swap)]  # noqa: B905
        draws = Draws(len(drawn), int(rng.integers(2**48)))
        old[one.name] = result(one.name, [before for before, _ in sides], draws)
        new[one.name] = result(one.name, [poorer(after, rng, share) for _, after in sides], draws)
    drops = [
        old[name].values.metrics[metric].value - new[name].values.metrics[metric].value
        for name in old
        for metric in old[name].values.metrics
    ]
    return gate(new, old).passed, 100 * float(np.mean(drops))


def test_the_gate_is_wrong_as_rarely_as_it_says(answers: list[Answers]) -> None:
    rng = np.random.default_rng(20261121)
    failed: dict[float, float] = {}
    for share, count in DECISIONS.items():
        found = [decision(answers, rng, share) for _ in range(count)]
        failed[share] = float(np.mean([not passed for passed, _ in found]))
        error = math.sqrt(failed[share] * (1 - failed[share]) / count)
        drop = float(np.mean([drop for _, drop in found]))
        print(f"{share:.2f} of answers lose a box: mean drop {drop:.1f} points, {count} gates,"
              f" failed {100 * failed[share]:.1f} % +- {100 * error:.1f}")  # fmt: skip
    assert failed[0.0] < 0.08  # 5 %, and three standard errors
    assert failed[0.2] > 0.9
