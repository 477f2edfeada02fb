"""vr1bench: one command scores a vision-language model on detection and grounding benchmarks, under named protocols.

    >>> import vr1bench
    >>> results = vr1bench.run(model="demo", suite="demo")          # doctest: +SKIP
    >>> vr1bench.parse('[{"bbox_2d": [10, 20, 30, 40], "label": "dog"}]', family="absolute", size=(64, 64))
    ... # doctest: +SKIP
    >>> vr1bench.coco_eval("instances_val2017.json", "detections.json")["AP"]  # doctest: +SKIP

The names load their modules on first use: importing the package loads no torch, vllm, transformers or pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vr1bench.asking import questions
    from vr1bench.coco import coco_eval
    from vr1bench.comparing import Comparison, compare
    from vr1bench.costs import Estimate
    from vr1bench.detections import score_detections
    from vr1bench.diagnosing import mistakes
    from vr1bench.diagnosis import Diagnosis
    from vr1bench.errors import IncompleteError, NotComparableError, Vr1benchError
    from vr1bench.exporting import load
    from vr1bench.gating import Rules, Verdict, gate
    from vr1bench.lookup import by_benchmark, results_of
    from vr1bench.merging import merge
    from vr1bench.parity import Agreement, agreement
    from vr1bench.parsing import parse
    from vr1bench.planning import estimate
    from vr1bench.rescoring import rescore
    from vr1bench.rewards import as_trl
    from vr1bench.running import run
    from vr1bench.sensitivity import power
    from vr1bench.store import Result, read_result, read_results
    from vr1bench.types import Completion, Detections, Gold, Pair, Prediction, Sample, Status

__version__ = "0.1.0"

_HOMES = {
    "Agreement": "parity",
    "Comparison": "comparing",
    "Completion": "types",
    "Detections": "types",
    "Diagnosis": "diagnosis",
    "Estimate": "costs",
    "Gold": "types",
    "IncompleteError": "errors",
    "NotComparableError": "errors",
    "Pair": "types",
    "Prediction": "types",
    "Result": "store",
    "Rules": "gating",
    "Sample": "types",
    "Status": "types",
    "Verdict": "gating",
    "Vr1benchError": "errors",
    "agreement": "parity",
    "as_trl": "rewards",
    "by_benchmark": "lookup",
    "coco_eval": "coco",
    "compare": "comparing",
    "estimate": "planning",
    "gate": "gating",
    "load": "exporting",
    "merge": "merging",
    "mistakes": "diagnosing",
    "parse": "parsing",
    "power": "sensitivity",
    "questions": "asking",
    "read_result": "store",
    "read_results": "store",
    "rescore": "rescoring",
    "results_of": "lookup",
    "run": "running",
    "score_detections": "detections",
}

__all__ = [
    "Agreement",
    "Comparison",
    "Completion",
    "Detections",
    "Diagnosis",
    "Estimate",
    "Gold",
    "IncompleteError",
    "NotComparableError",
    "Pair",
    "Prediction",
    "Result",
    "Rules",
    "Sample",
    "Status",
    "Verdict",
    "Vr1benchError",
    "agreement",
    "as_trl",
    "by_benchmark",
    "coco_eval",
    "compare",
    "estimate",
    "gate",
    "load",
    "merge",
    "mistakes",
    "parse",
    "power",
    "questions",
    "read_result",
    "read_results",
    "rescore",
    "results_of",
    "run",
    "score_detections",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module 'vr1bench' has no attribute {name!r}")
    value = getattr(import_module(f"vr1bench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
