"""Samples of one image are drawn together."""

import json

import numpy as np
import pytest

import vr1bench
from vr1bench.metrics.bootstrap import multiplicities, seed_of, unpacked

PHRASES = (1, 2, 4)


@pytest.fixture
def refer(tmp_path):
    """Scores answers to seven phrases about three images."""
    rows = [
        {"image": f"{i}.png", "width": 100, "height": 100, "solution": [10, 10, 50, 50], "problem": f"{i} {k}?"}
        for i, count in enumerate(PHRASES)
        for k in range(count)
    ]
    (tmp_path / "rec.json").write_text(json.dumps(rows))
    (tmp_path / "b.toml").write_text(
        'name = "b"\ntask = "refer"\nreader = "rec"\n[splits.val]\nannotations = ["rec.json"]\n'
    )

    def score(right):
        boxes = [[10, 10, 50, 50] if one else [60, 60, 90, 90] for one in right]
        lines = [json.dumps({"sample_id": str(i), "text": json.dumps([{"bbox_2d": b}])}) for i, b in enumerate(boxes)]
        (tmp_path / "a.jsonl").write_text("\n".join(lines))
        (result,) = vr1bench.run(
            "x", benchmark=str(tmp_path / "b.toml"), engine="replay", engine_args={"file": str(tmp_path / "a.jsonl")},
            family="absolute", data_dir=tmp_path, output=tmp_path / "out",
        )  # fmt: skip
        return result.values

    return score


def test_replicates_are_of_images(refer):
    right = np.array([True, True, False, True, False, False, True])
    values = refer(right)
    assert (values.n, values.images) == (7, 3)
    assert values.metrics["Acc@0.5"].value == pytest.approx(4 / 7)
    of = np.repeat(np.arange(3), PHRASES)
    draws = multiplicities(3, seed_of(values.data_sha256)).astype(float)
    expected = draws @ np.bincount(of, weights=right) / (draws @ np.array(PHRASES))
    np.testing.assert_allclose(unpacked(values.replicates["Acc@0.5"]), expected, atol=1e-7)
    assert values.metrics["Acc@0.5"].sd == pytest.approx(expected.std(ddof=1))
