"""A leaderboard's numbers one by one, for programs: CSV and JSON; fractions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vr1bench.board.selection import by_model
from vr1bench.board.table import Board, Column
from vr1bench.published import Published
from vr1bench.store import Metric, Result
from vr1bench.types import Training


def flat_rows(board: Board) -> list[dict[str, Any]]:
    """Every metric of every result, every mean over a suite, and what papers report; one dictionary each.

    The `benchmark` of a mean is its suite, its `metric` begins with "mean" or "overall", its `source` says of what.
    """
    own = [row for result in board.results for row in _of_result(result)]
    return [*own, *_of_means(board), *_of_papers(board)]


def _of_result(result: Result) -> Iterator[dict[str, Any]]:
    for name, metric in result.values.metrics.items():
        yield {
            **result.key.model_dump(), "metric": name, **metric.model_dump(), "n": result.values.n,
            "fingerprint": result.values.fingerprint, "date": result.run.date, "commit": result.run.commit,
            **_made_by(result.run.training), "reported": False, "source": "",
        }  # fmt: skip


def _made_by(training: Training | None) -> dict[str, str | None]:
    """What a checkpoint was trained from and by; None each where nobody knows."""
    names = ("base_model", "recipe", "recipe_sha256")
    return {name: getattr(training, name) if training else None for name in names}


def _of_means(board: Board) -> Iterator[dict[str, Any]]:
    made_by = {by_model(result.key): result.run.training for result in board.results if result.run.training}
    for row in board.rows:
        for column, cell in zip(board.columns, row.cells, strict=True):
            if column.of and cell and not cell.words and row.key:
                yield {
                    **_how(column), "model": row.key.model, "revision": row.key.revision, "step": row.key.step,
                    "metric": column.metric, **cell.metric.model_dump(), "n": cell.n, "fingerprint": None,
                    "date": row.date, "commit": row.commit, **_made_by(made_by.get(by_model(row.key))),
                    "reported": False, "source": column.of,
                }  # fmt: skip


def _how(one: Column | Published) -> dict[str, str]:
    benchmark, split, protocol, scores = one.column
    return {"benchmark": benchmark, "split": split, "protocol": protocol, "scores": scores}


def _of_papers(board: Board) -> Iterator[dict[str, Any]]:
    for row in board.papers:
        yield {
            **_how(row), "model": row.name, "revision": None, "step": None, "metric": row.metric,
            **Metric(value=row.fraction).model_dump(), "n": None, "fingerprint": None, "date": None, "commit": None,
            **_made_by(None), "reported": True, "source": f"{row.source}, {row.table}",
        }  # fmt: skip


def csv(board: Board) -> str:
    """The numbers as CSV, a row each; "" without numbers."""
    import pandas as pd  # slow to import, and only this format needs it

    # As objects: whole numbers stay whole beside rows that have none.
    return pd.DataFrame(flat_rows(board), dtype=object).to_csv(index=False)


def as_json(board: Board) -> str:
    """The numbers as a JSON list of objects."""
    return json.dumps(flat_rows(board), indent=1, allow_nan=False) + "\n"
