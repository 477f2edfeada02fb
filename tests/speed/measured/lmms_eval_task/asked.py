"""How lmms-eval reads a row of `asked.parquet`: as its own ODinW-13 task does, without that task's scoring."""

from __future__ import annotations

from typing import Any


def pictures(doc: dict[str, Any]) -> list[Any]:
    """The row's picture, decoded."""
    return [doc["image"].convert("RGB")]


def judged(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """The length of the answer: nothing is scored here."""
    return {"characters": float(len(results[0]))}
