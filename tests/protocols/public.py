"""What a user gets from vr1bench: what would be asked, and what comes of a file of answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vr1bench
from vr1bench.families.several import merged
from vr1bench.job import Job
from vr1bench.metrics.columns import columns
from vr1bench.metrics.nms_ap import suppressed
from vr1bench.protocol import Protocol, protocol
from vr1bench.running import plan
from vr1bench.score import judged
from vr1bench.types import Completion, Pair, Request

Answers = Sequence[dict[str, Any]]
"""Rows of a file for the engine `replay`."""
QWEN = "qwen2.5-vl"


def rule(name: str, where: str) -> Protocol:
    """The protocol as it is on a benchmark."""
    return protocol(name, {}, where)


def job(where: str, name: str, root: Path, family: str = QWEN) -> Job:
    """A benchmark under a protocol."""
    (made,) = plan(
        "", None, where, engine="oracle", family=family, protocol=name, split=None, limit=None, changes={},
        data_dir=root, output="unused", seed=0, gen_args={}, engine_args={},
    )  # fmt: skip
    return made


def requests(where: str, name: str, root: Path, family: str = QWEN) -> list[Request]:
    """Every request, in order."""
    asking = job(where, name, root, family)
    return [request for sample in asking.samples() for request in asking.requests(sample)]


def asked(where: str, name: str, root: Path, family: str = QWEN) -> list[tuple[str, str, str]]:
    """(sample id, the one class or phrase or "", text) of every question, in order."""
    rows = vr1bench.questions(where, family=family, protocol=name, data_dir=root)
    return [(row["sample_id"], row["query"], row["text"]) for row in rows]


def replayed(
    where: str, name: str, root: Path, answers: Answers, family: str = QWEN, **changes: object
) -> vr1bench.Result:
    """What a file of answers scores; nothing of an earlier call is taken over."""
    folder = root / "replay" / str(len(list((root / "replay").glob("*"))))
    folder.mkdir(parents=True)
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    (result,) = vr1bench.run(
        "x", benchmark=where, family=family, protocol=name, engine="replay", data_dir=root, output=folder,
        engine_args={"file": str(folder / "answers.jsonl")}, overrides=changes,
    )  # fmt: skip
    return result


def numbers(result: vr1bench.Result) -> dict[str, float | None]:
    """Every number of a result by name."""
    return {name: metric.value for name, metric in result.values.metrics.items()}


def covered(result: vr1bench.Result) -> bool:
    """Whether the answers held what a protocol has to judge: repeats, unknown names, empty and cut answers."""
    seen = {*result.values.flags, *result.values.counts}
    return seen >= {"duplicate", "unknown label", "ok", "none", "empty", "truncated"}


def kept(
    where: str, name: str, root: Path, answers: Answers, family: str = QWEN
) -> dict[tuple[str, str], list[list[float]]]:
    """The boxes (xywh) of those answers that AP ranks, or NMS-AP after suppression, by picture and class, in order."""
    judging = job(where, name, root, family)
    texts = {(row["sample_id"], row.get("query", "")): Completion(text=row["text"]) for row in answers}
    pairs: list[Pair] = []
    for sample in judging.samples():
        parts = [
            judging.family.parse(texts.get((sample.id, one.queries[0])) or texts[sample.id, ""], one)
            for one in judging.requests(sample)
        ]
        pairs.append(Pair(sample, judged(merged(parts), judging.protocol) if parts else None, len(parts)))
    table = columns(pairs, judging.protocol.ids)
    guesses = table.guesses
    if judging.benchmark.primary == "NMS-AP":
        guesses = guesses.take(suppressed(table.truth, guesses, judging.protocol.nms_ties))
    found: dict[tuple[str, str], list[list[float]]] = {}
    for place, label, (x1, y1, x2, y2) in zip(guesses.image, guesses.label, guesses.boxes.tolist(), strict=True):
        found.setdefault((pairs[place].sample.id, table.labels[label]), []).append([x1, y1, x2 - x1, y2 - y1])
    return found
