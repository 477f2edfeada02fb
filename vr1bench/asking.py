"""`vr1bench.questions`: what would be asked, for models that you run yourself; answers come back by `replay`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vr1bench.running import plan


def questions(
    benchmark: str,
    *,
    family: str,
    protocol: str = "standard",
    split: str | None = None,
    limit: int | None = None,
    data_dir: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Every question of a benchmark, in order; arguments as in `run`.

    A row holds `sample_id`, `query` (the class or phrase where just one is asked), `image` (its path), `text`, and
    `max_tokens`. With the model's words as `text`, the same row is an answer for `--engine replay`.

    Raises:
        Vr1benchError: Something named is unknown or missing, or the family has no words for what the protocol asks.
    """
    (job,) = plan(
        "", None, benchmark, engine="oracle", family=family, protocol=protocol, split=split, limit=limit,
        changes=overrides or {}, data_dir=data_dir, output="results", seed=0, gen_args={}, engine_args={},
    )  # fmt: skip
    for sample in job.samples():
        for request in job.requests(sample):
            yield {
                "sample_id": request.sample_id,
                "query": request.queries[0] if len(request.queries) == 1 else "",
                "image": str(request.images[0]),
                "text": request.messages[0]["content"][-1]["text"],
                "max_tokens": request.sampling.max_tokens,
            }
