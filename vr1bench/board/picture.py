"""A training's curves as a picture: svg and png for papers and slides, and svg for the leaderboard's page.

Needs matplotlib (the extra `plots`), which only this module imports. The same board gives the same bytes with the same
matplotlib: nobody's `matplotlibrc`, fonts or clock come in.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from vr1bench.board.curves import EXPLAINED, Curve, Point, curves, interval, told
from vr1bench.board.table import Board
from vr1bench.board.text import measured
from vr1bench.errors import Vr1benchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"page": "#ffffff", "ink": "#1f2328", "quiet": "#57606a", "line": "#d0d7de", "curve": "#0072b2"}
"""By the page's names for them. A curve has Okabe and Ito's blue (Color Universal Design, 2008,
https://jfly.uni-koeln.de/color/); what differs among points is their shape, for readers of any colour vision."""
ABREAST = 3
"""Panels side by side."""
PANEL, ALONE = (3.3, 2.6), (6.6, 3.2)
"""Width and height in inches: of one of several panels, and of the only one."""
POINT = 1 / 72
"""A typographic point, in inches."""
SIZE = 7
"""Of letters, in points."""
LETTER = 0.53
"""Mean width of a letter of DejaVu Sans, of its size; generous."""
ROUND = (1, 2, 2.5, 5, 10)
"""What ticks lie apart, but for powers of ten."""
ROOM = 6
"""Ticks that a panel has room for, less one."""
KEY = "Bands and bars: 95 % intervals over resampled images. Star: the best checkpoint, filled where surely so."
BASE = "Square at step 0: the base model."


class NoMatplotlibError(Vr1benchError):
    """Nothing can be drawn here."""


def svg(board: Board) -> bytes:
    """The curves of a training's steps, on white.

    Raises:
        Vr1benchError: The board is no history, or one without steps.
        NoMatplotlibError: matplotlib is missing.
    """
    metadata = {"Date": None, "Creator": None, "Title": _plain(board.history)}
    drawn = drawable(board)
    return _saved(board.history, drawn, f"{_key(drawn)} {EXPLAINED}", "svg", metadata)


def png(board: Board) -> bytes:
    """The same at 200 dots an inch; raises as `svg` does."""
    drawn = drawable(board)
    return _saved(board.history, drawn, f"{_key(drawn)} {EXPLAINED}", "png", {"Software": None})


def inline(board: Board) -> str:
    """The same as an element of a page, which defines the names of `COLOURS` (`--ink`) and says what is `EXPLAINED`.

    Raises as `svg` does.
    """
    drawn = drawable(board)
    text = _saved(board.history, drawn, _key(drawn), "svg", {"Date": None, "Creator": None}).decode()
    # Without what a page's reader would take for markup of the page: comments, addresses, a style for all elements.
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    opening, body = re.findall(r"(<svg [^>]*>)(.*)", text, flags=re.DOTALL)[0]
    (_, _, width, height) = re.findall(r'viewBox="([^"]*)"', opening)[0].split()
    said = escape(" ".join(told(curve) for curve in drawn))
    return (
        f'<svg role="img" aria-label="{said}" viewBox="0 0 {width} {height}" width="{width}pt" height="{height}pt" '
        f'style="stroke-linejoin: round">{body.replace("xlink:href", "href").strip()}'
    )


def drawable(board: Board) -> Sequence[Curve]:
    """The curves of a board, at least one.

    Raises:
        Vr1benchError: It is no history, or one without steps.
    """
    if not board.history:
        raise Vr1benchError(
            "a picture shows the curves of one training, and none is named; expected --history OUTPUT_DIR, the folder "
            "that its checkpoints lie in"
        )
    found = curves(board)
    if not found:
        raise Vr1benchError(
            f"no curve of {board.history}: none of its {len(board.results)} results has a number at a training step; "
            "expected results of checkpoint folders such as checkpoint-500, which `vr1bench run --model "
            f"{board.history}/checkpoint-500` makes"
        )
    return found


def _key(drawn: Sequence[Curve]) -> str:
    """What the signs of a picture mean."""
    return f"{KEY} {BASE}" if any(point.base for curve in drawn for point in curve.points) else KEY


@contextmanager
def styled() -> Generator[None]:
    """The house's own style while a figure is drawn and saved, whatever the user's settings say.

    Raises:
        NoMatplotlibError: matplotlib is missing.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise NoMatplotlibError(
            f"curves are drawn by matplotlib, which cannot be imported ({error}); install it: "
            "`uv sync --inexact --extra plots`"
        ) from error
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.hashsalt": "vr1bench", "font.family": "DejaVu Sans", "font.size": SIZE})
        mpl.rcParams.update(dict.fromkeys(("text.color", "axes.labelcolor"), COLOURS["ink"]))
        mpl.rcParams.update(dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), COLOURS["quiet"]))
        yield


def _saved(title: str, drawn: Sequence[Curve], words: str, form: str, metadata: Mapping[str, str | None]) -> bytes:
    with styled():
        buffer = io.BytesIO()
        figure = _figure(title, drawn, words)
        figure.savefig(buffer, format=form, dpi=200, facecolor=COLOURS["page"], metadata=metadata)
    return buffer.getvalue()


def _figure(title: str, drawn: Sequence[Curve], words: str) -> Figure:
    """A title, the panels, and words below them."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    across = 2 if len(drawn) == 4 else min(len(drawn), ABREAST)
    down = math.ceil(len(drawn) / across)
    wide, high = ALONE if len(drawn) == 1 else PANEL
    names = [_name(curve, wide - 0.6) for curve in drawn]
    more = max(name.count("\n") + how.count("\n") for name, how in names)
    width, height = wide * across, (high + 10 * more * POINT) * down
    footer = _wrapped(words, width - 0.2)
    above, below = 24 * POINT, (9 * footer.count("\n") + 22) * POINT
    whole = above + height + below
    layout = ConstrainedLayoutEngine(rect=(0.0, below / whole, 1.0, height / whole), w_pad=0.1, h_pad=0.06)
    figure = Figure((width, whole), layout=layout)
    edge = 0.1 / width
    figure.text(edge, 1 - 8 * POINT / whole, _plain(title), size=10, weight="bold", va="top", parse_math=False)
    figure.text(edge, 8 * POINT / whole, footer, color=COLOURS["quiet"], va="bottom", parse_math=False)
    panels: list[Axes] = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for axes, curve, (name, how) in zip(panels, drawn, names, strict=False):
        axes.annotate(how, (0, 1), (0, 5), "axes fraction", "offset points", color=COLOURS["quiet"], parse_math=False)
        pad = 6 + 9 * (how.count("\n") + 1)
        axes.set_title(name, loc="left", size=SIZE + 1.5, weight="bold", pad=pad, parse_math=False)
        _frame(axes, curve)
        _draw(axes, curve)
        _mark_best(axes, curve)
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    return figure


def _name(curve: Curve, width: float) -> tuple[str, str]:
    """What a panel shows, and how it was measured, in lines of at most some width in inches."""
    name, *how = curve.column.heading
    return _wrapped(name, 0.7 * width), _wrapped(", ".join(how), width)  # names stand in large bold letters


def _frame(axes: Axes, curve: Curve) -> None:
    """Percent over steps, with room for what is written above the best point."""
    low, high = min(_ends(point)[0] for point in curve.points), max(_ends(point)[1] for point in curve.points)
    steps = [point.step for point in curve.points]
    first, last = steps[0], steps[-1]
    # Two points at least: a closer look would show noise as news.
    low, wide = max(0.0, min(low, high - 2.0)), max(last - first, 1)
    tall = max(high - low, 2.0)
    axes.set_xlim(first - 0.05 * wide, last + 0.05 * wide)
    axes.set_ylim(low - 0.1 * tall, high + 0.3 * tall)
    apart = min((after - before for before, after in pairwise(steps)), default=1)
    axes.set_xticks(steps if apart * ROOM >= wide else _ticks(first, last, whole=True))
    axes.set_yticks(_ticks(max(0.0, low - 0.1 * tall), min(100.0, high + 0.3 * tall)))
    axes.ticklabel_format(style="plain", useOffset=False)
    axes.set_xlabel("step")
    axes.set_ylabel("percent")
    axes.grid(axis="y", color=COLOURS["line"], linewidth=0.6, clip_on=False)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2.5, width=0.6)


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(5, steps=ROUND, integer=whole).tick_values(low, high)
    return [tick for tick in found if low <= tick <= high]


def _draw(axes: Axes, curve: Curve) -> None:
    """A curve with its band, its base model and its best checkpoint; not clipped, since all of it lies in the panel."""
    ink, page = COLOURS["curve"], COLOURS["page"]
    steps = [point.step for point in curve.points]
    low, high = zip(*map(_ends, curve.points), strict=True)
    axes.fill_between(steps, low, high, color=ink, alpha=0.18, linewidth=0, clip_on=False)
    axes.plot(steps, [_middle(point) for point in curve.points], "-", color=ink, linewidth=1.4, clip_on=False)
    for base, points in groupby(curve.points, lambda point: point.base):
        at = zip(*((point.step, _middle(point)) for point in points), strict=True)
        shape, size, filled = ("s", 6.0, page) if base else ("o", 3.2, ink)
        axes.plot(*at, shape, color=ink, markersize=size, markerfacecolor=filled, clip_on=False)
    if curve.best is not None:
        best = curve.points[curve.best]
        filled = ink if curve.sure else page
        axes.plot([best.step] * 2, _ends(best), "_-", color=ink, linewidth=1.4, markersize=7, clip_on=False)
        axes.plot(best.step, _middle(best), "*", color=ink, markersize=11, markerfacecolor=filled, clip_on=False)


def _mark_best(axes: Axes, curve: Curve) -> None:
    """Value and step of the best checkpoint, above its interval."""
    if curve.best is None:
        return
    best = curve.points[curve.best]
    left, right = axes.get_xlim()
    share = (best.step - left) / (right - left)
    axes.annotate(
        f"{measured(best.metric)}\nat step {best.step}",
        (best.step, max(_ends(best)[1], _middle(best))),
        (0, 8),
        textcoords="offset points",
        ha="left" if share < 0.2 else "right" if share > 0.8 else "center",
        bbox={"facecolor": COLOURS["page"], "edgecolor": "none", "pad": 0.8},
    )


def _middle(point: Point) -> float:
    return 100 * (point.metric.value or 0.0)


def _ends(point: Point) -> tuple[float, float]:
    """The interval in percent; the value twice where it has none."""
    low, high = interval(point.metric) or (point.metric.value or 0.0,) * 2
    return 100 * low, 100 * high


def _wrapped(text: str, width: float) -> str:
    """Text in lines of at most some width in inches."""
    return "\n".join(textwrap.wrap(_plain(text), int(width / (SIZE * LETTER * POINT))))


def _plain(text: str) -> str:
    """Text on one line, without letters that nobody sees."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
