"""Answers of every family, published or derived, and what they must be read as: one TOML a family in answers/."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import vr1bench
from vr1bench.families import FAMILIES

ANSWERS = {
    f"{path.stem}/{case['id']}": (path.stem, case)
    for path in sorted((Path(__file__).parent / "answers").glob("*.toml"))
    for case in tomllib.loads(path.read_text("utf-8"))["answer"]
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer(name):
    family, case = ANSWERS[name]
    fed = tuple(case["fed"]) if "fed" in case else None
    got = vr1bench.parse(case["text"], family=family, size=tuple(case["size"]), input_size=fed, queries=case["queries"])
    assert got.status == case["status"]
    np.testing.assert_allclose(got.detections.boxes, np.reshape(case.get("boxes", []), (-1, 4)), atol=0.011)
    named = [*got.detections.labels.tolist(), *(got.points.labels.tolist() if got.points else [])]
    assert named == case.get("labels", [])
    points = got.points.xy if got.points else np.empty((0, 2))
    np.testing.assert_allclose(points, np.reshape(case.get("points", []), (-1, 2)), atol=0.011)
    assert dict(got.broken) == case.get("broken", {})
    assert got.unknown.tolist() == [
        bool(case["queries"]) and label not in case["queries"] for label in got.detections.labels
    ]
    assert got.duplicate.sum() == case.get("duplicates", 0)


def test_every_family_has_answers_each_with_its_source():
    assert {family for family, _ in ANSWERS.values()} == set(FAMILIES)
    assert len(ANSWERS) >= 120 + 24
    assert all(len(case["source"]) > 10 for _, case in ANSWERS.values())


UNBALANCED = ("missing-brace", "no-box-close", "label-unclosed")
"""Whole answers that look cut: a closing mark is missing."""
BROKEN = tomllib.loads((Path(__file__).parent / "malformed.toml").read_text("utf-8"))["answer"]


@pytest.mark.parametrize("case", BROKEN, ids=[case["id"] for case in BROKEN])
def test_broken_json(case):
    got = vr1bench.parse(case["text"], family="absolute", size=(4000, 4000))
    rows = list(zip(got.detections.labels.tolist(), got.detections.boxes.tolist(), strict=True))
    wanted = list(zip(case["labels"], case["boxes"], strict=True))
    allowed = [(row["label"], row["box"]) for row in case.get("allowed", [])]
    assert [row for row in rows if row not in allowed] == wanted
    assert (got.status == "truncated") is not case["complete"] or case["id"] in UNBALANCED
