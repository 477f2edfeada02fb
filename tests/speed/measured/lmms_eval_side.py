"""lmms-eval's half of lmms_eval_pairs.py: runs in lmms-eval's environment, with its code as it is, and tells the time.

Reads a line of JSON with the model's arguments and the questions, starts `--model vllm`, and then, for each line of
JSON with a batch size, runs `simple_evaluate` once and writes a line of JSON: the seconds that the model's own
`generate_until` took, from the first request to the last answer, and the answers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def write_rows(asked: list[dict[str, str]]) -> None:
    """Writes the questions as the hub's data sets are: a parquet file that holds the encoded pictures."""
    import datasets

    kinds = datasets.Features({"image": datasets.Image(), "question": datasets.Value("string")})
    rows = [{"image": {"bytes": Path(one["image"]).read_bytes()}, "question": one["question"]} for one in asked]
    datasets.Dataset.from_list(rows, features=kinds).to_parquet("asked.parquet")


class Timed:
    """The model's `generate_until`, with the time that it takes."""

    def __init__(self, lm: Any) -> None:
        self._plain = lm.generate_until
        self.seconds = 0.0
        self.answers: list[str] = []
        lm.generate_until = self

    def __call__(self, requests: list[Any]) -> Any:
        start = time.perf_counter()
        found = self._plain(requests)
        self.seconds = time.perf_counter() - start
        self.answers = [getattr(one, "text", one) for one in found]
        return found


def main() -> None:
    """Serves until its stdin ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what anything prints must not come between the lines
    told = json.loads(sys.stdin.readline())
    write_rows(told["asked"])

    from lmms_eval import evaluator, models
    from lmms_eval.tasks import TaskManager

    lm = models.get_model("vllm", told["simple"])(**told["model"])
    timed = Timed(lm)
    tasks = TaskManager("ERROR", include_path=told["tasks"], include_defaults=False)
    print(json.dumps({"ready": f"{type(lm).__module__}.{type(lm).__name__}"}), file=out, flush=True)
    for line in sys.stdin:
        lm.batch_size_per_gpu = json.loads(line)["batch_size"]
        lm.client.reset_prefix_cache()
        lm.client.reset_mm_cache()
        lm.client.llm_engine.reset_encoder_cache()
        evaluator.simple_evaluate(
            model=lm, tasks=["pictures"], task_manager=tasks, bootstrap_iters=0, process_docs_parallel=1
        )
        print(json.dumps({"seconds": timed.seconds, "answers": timed.answers}), file=out, flush=True)


if __name__ == "__main__":
    main()
