"""Reading answers beside supervision and lmms-eval: ratios of CPU time measured in one run.

The readers take turns on the same strings, and the least CPU time of several rounds counts. supervision stops at a
`Detections`, in pixels of the original image: it is measured against all of `Family.parse`, which does more (thinking,
repeats, unknown names, what was broken). lmms-eval stops at plain lists of numbers, as the model wrote them: it is
measured against what gives just that, the grammar's `read`, and the whole `Family.parse` is printed beside it.
Measured: `Family.parse` takes 21 us for an answer of JSON, 30 us for one in tags; `read` takes 5 us of the 21, and
lmms-eval 12 us for bare JSON, 21 and 24 us in a fence, 68 us where it is cut.

supervision knows Florence-2, Kosmos-2 and Moondream too, but from what their processors made of the answer, not from
the answer.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from vr1bench.families import FAMILIES
from vr1bench.families.definition import FamilyDefinition
from vr1bench.types import Completion, Detections, Request, Sampling

WIDTH, HEIGHT = 640, 480
NAMES = ("dog", "traffic light", "person", "cat")
ANSWERS, BOXES, ROUNDS = 50, 10, 15
FASTER = 1.15
"""Times that a peer takes at least; measured: supervision 1.7 to 8, lmms-eval 2.5 to 11."""
CUT = 30
"""Characters off the end of a list of JSON objects: the last one loses its label and the end of its box."""
JSON_LOADS = 9.0
"""20,000 answers a second a core, in the time that `json.loads` takes for the same JSON: it reads 180,000 a second, and
ours took 3.5 times as long."""

Reader = Callable[[str], Any]


def _gold(seed: int) -> Detections:
    rng = np.random.default_rng(seed)
    corners = rng.integers(4, 400, (BOXES, 2))
    boxes = np.concatenate([corners, corners + rng.integers(8, 70, (BOXES, 2))], axis=1)
    return Detections.of(boxes.astype(np.float64), [NAMES[k] for k in rng.integers(0, len(NAMES), BOXES)])


def _written(name: str) -> list[str]:
    """What a model of this family says about the gold."""
    family = FAMILIES[name]
    size = (WIDTH, HEIGHT)
    return [family.format(_gold(seed), size, family.fed_size(*size, None)) for seed in range(ANSWERS)]


def answers(name: str, shape: str) -> list[str]:
    """Typical answers: `bare` as the family writes them, `fenced` as Qwen's models do, `cut` by the token limit."""
    bare = _written(name)
    if shape == "bare":
        return bare
    return [f"```json\n{text}\n```" if shape == "fenced" else f"```json\n{text[:-CUT]}" for text in bare]


def ours(name: str) -> Reader:
    family = FAMILIES[name]
    request = Request("", "", (), WIDTH, HEIGHT, NAMES, (), Sampling())
    fed_width, fed_height = family.fed_size(WIDTH, HEIGHT, None)
    return lambda text: family.parse(Completion(text=text, fed_width=fed_width, fed_height=fed_height), request)


def supervision_reader(name: str) -> Reader:
    with warnings.catch_warnings():  # it asks for OpenCV, which drawing needs and reading does not
        warnings.simplefilter("ignore")
        sv = pytest.importorskip("supervision", reason="needs supervision to measure against: uv sync --group dev")
    size: dict[str, Any] = {"resolution_wh": (WIDTH, HEIGHT), "classes": list(NAMES)}
    if name == "qwen2.5-vl":
        size["input_wh"] = FAMILIES[name].fed_size(WIDTH, HEIGHT, None)
    model = {
        "qwen2.5-vl": "qwen_2_5_vl",
        "qwen3-vl": "qwen_3_vl",
        "paligemma": "paligemma",
        "deepseek-vl2": "deepseek_vl_2",
        "gemini": "gemini_2_5",
    }[name]
    return lambda text: sv.Detections.from_vlm(model, text, **size)


def _lmms_eval(task: str) -> ModuleType:
    """A task's file of lmms-eval without the package around it, which imports torch and more."""
    found = importlib.util.find_spec("lmms_eval")
    if found is None or not found.submodule_search_locations:
        pytest.skip(
            "needs lmms-eval's files to measure against: uv sync --group dev, or pip install --no-deps lmms-eval"
        )
    path = Path(found.submodule_search_locations[0]) / "tasks" / task / "utils.py"
    spec = importlib.util.spec_from_file_location(f"lmms_eval_{task}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its readers use neither of these: one stands in annotations, the other writes a log.
    unused = {"datasets": types.SimpleNamespace(Dataset=object), "loguru": types.SimpleNamespace(logger=None)}
    with mock.patch.dict(sys.modules, unused):
        spec.loader.exec_module(module)
    return module


def best_seconds(readers: Mapping[str, Reader], texts: list[str]) -> dict[str, float]:
    """CPU seconds an answer: the readers take turns, the best round of each counts."""
    best = dict.fromkeys(readers, float("inf"))
    for _ in range(ROUNDS):
        for name, read in readers.items():
            start = time.process_time()
            for text in texts:
                read(text)
            best[name] = min(best[name], (time.process_time() - start) / len(texts))
    return best


def _times(ratios: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.2f}x" for name, value in ratios.items()}


def _compare(benchmark: BenchmarkFixture, readers: Mapping[str, Reader], texts: list[str]) -> dict[str, float]:
    """How many times our time each reader takes."""
    seconds = best_seconds(readers, texts)
    own = seconds["ours"]
    ratios = {name: value / own for name, value in seconds.items() if name != "ours"}
    benchmark.extra_info |= {"answers a second": round(1 / own), "characters": len(texts[0]), **_times(ratios)}
    benchmark.pedantic(lambda: [readers["ours"](text) for text in texts], rounds=3)
    print(f"\n{own * 1e6:.1f} us, {1 / own:,.0f} answers of {BOXES} boxes a second; times ours:", _times(ratios))
    return ratios


def _needs(name: str) -> None:
    if name not in FAMILIES:
        pytest.skip(f"no family {name!r} yet")


@pytest.mark.benchmark(group="parse: rate")
@pytest.mark.parametrize("shape", ["bare", "fenced"])
def test_rate(benchmark: BenchmarkFixture, shape: str) -> None:
    texts = answers("qwen2.5-vl", shape)
    plain = dict(zip(texts, answers("qwen2.5-vl", "bare"), strict=True))
    read = ours("qwen2.5-vl")
    assert all(len(read(text).detections) == BOXES for text in texts)
    ratios = _compare(benchmark, {"ours": read, "json.loads": lambda text: json.loads(plain[text])}, texts)
    assert ratios["json.loads"] >= 1 / JSON_LOADS, (
        f"{1 / ratios['json.loads']:.1f} times json.loads; {JSON_LOADS} allowed"
    )


@pytest.mark.benchmark(group="parse: supervision")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("qwen2.5-vl", "bare"),
        ("qwen2.5-vl", "fenced"),
        ("qwen2.5-vl", "cut"),
        ("qwen3-vl", "fenced"),
        ("gemini", "fenced"),
        ("paligemma", "bare"),
        ("deepseek-vl2", "bare"),
    ],
)
def test_supervision(benchmark: BenchmarkFixture, name: str, shape: str) -> None:
    _needs(name)
    texts = answers(name, shape)
    readers = {"ours": ours(name), "supervision": supervision_reader(name)}
    for text in texts:
        own, other = readers["ours"](text).detections, readers["supervision"](text)
        assert len(own) == BOXES - (shape == "cut")
        np.testing.assert_allclose(other.xyxy, own.boxes, atol=0.7)
        assert other.data["class_name"].tolist() == own.labels.tolist()
    assert _compare(benchmark, readers, texts)["supervision"] > FASTER


@pytest.mark.benchmark(group="parse: lmms-eval")
@pytest.mark.parametrize(
    ("task", "function", "shape"),
    [
        ("odinw13", "_parse_predictions", "bare"),
        ("odinw13", "_parse_predictions", "fenced"),
        ("odinw13", "_parse_predictions", "cut"),
        ("refcoco_grounding", "_parse_pred_boxes", "fenced"),
    ],
)
def test_lmms_eval(benchmark: BenchmarkFixture, task: str, function: str, shape: str) -> None:
    texts = answers("qwen2.5-vl", shape)
    family = FAMILIES["qwen2.5-vl"]
    assert isinstance(family, FamilyDefinition)
    read, other = family.grammar.read, getattr(_lmms_eval(task), function)
    for text in texts:
        own = read(text).numbers
        rows = [tuple(row["bbox"] if isinstance(row, dict) else row) for row in other(text)]
        assert len(own) == BOXES - (shape == "cut")
        assert sorted(rows) == sorted(own)  # one of theirs reads from the end
    readers = {"ours": read, "lmms-eval": other, "our Family.parse": ours("qwen2.5-vl")}
    assert _compare(benchmark, readers, texts)["lmms-eval"] > FASTER
