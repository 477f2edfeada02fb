"""Results as tables: what a run prints, and the leaderboard in several formats. People see percent with one decimal."""

from __future__ import annotations

from collections.abc import Callable

from vr1bench.board.build import leaderboard
from vr1bench.board.curves import Curve, Point, curves, told
from vr1bench.board.flat import as_json, csv, flat_rows
from vr1bench.board.latex import latex
from vr1bench.board.markdown import markdown
from vr1bench.board.page import html
from vr1bench.board.picture import png, svg
from vr1bench.board.printed import notes, run_table
from vr1bench.board.table import Board, View
from vr1bench.board.text import counts_text, percent
from vr1bench.board.writing import write_leaderboard

__all__ = [
    "FORMATS",
    "PICTURES",
    "Board",
    "Curve",
    "Point",
    "View",
    "counts_text",
    "curves",
    "flat_rows",
    "leaderboard",
    "markdown",
    "notes",
    "percent",
    "run_table",
    "told",
    "write_leaderboard",
]

FORMATS: dict[str, Callable[[Board], str]] = {
    "md": markdown,
    "csv": csv,
    "json": as_json,
    "latex": latex,
    "html": html,
}
"""Name to what makes a board's text."""
PICTURES: dict[str, Callable[[Board], bytes]] = {"svg": svg, "png": png}
"""Name to what draws the curves of a training's board."""
