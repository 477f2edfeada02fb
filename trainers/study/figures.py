"""The study's figures as svg, drawn from its tables; the same tables give the same bytes with the same matplotlib.

Colours are Okabe and Ito's; what differs by colour differs by line or shape as well, for readers of any colour vision.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vr1bench.board.picture import COLOURS, POINT, SIZE, styled
from vr1bench.trainers.study.answers import Contrast
from vr1bench.trainers.study.evidence import DEV, Step, Value
from vr1bench.trainers.study.plan import HACKED, IN, OUT, REWARDS, SEEDS, STARTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (2.6, 2.1)
"""Width and height of a panel, in inches."""
INKS = {
    "sft": ("#d55e00", "--", "s"),
    "grpo": (COLOURS["curve"], "-", "o"),
    "ap": ("#d55e00", "--", "s"),
    "ap50": ("#cc79a7", ":", "^"),
    "od-length": (COLOURS["curve"], "-", "o"),
    "grpo - sft": (COLOURS["ink"], "-", "o"),
    "sft - start": ("#d55e00", "--", "s"),
    "grpo - start": (COLOURS["curve"], "-", "^"),
}
"""Colour, line and marker of what is drawn."""
DOMAINS = {"in": "in domain", "out": "out of domain"}
NAMES = {"sft": "SFT", "grpo": "GRPO", "sft - start": "SFT - start", "grpo - sft": "GRPO - SFT"} | {
    "grpo - start": "GRPO - start"
}


@dataclass(frozen=True)
class Tables:
    """What figures are drawn from.

    Attributes:
        values: Scores, as `values.csv` holds them.
        steps: What GRPO logged, as `rewards.csv`.
        contrasts: Differences, as `differences.csv`.
    """

    values: Sequence[Value]
    steps: Sequence[Step]
    contrasts: Sequence[Contrast]


def scores(tables: Tables) -> bytes:
    """Scores over steps, in and out of domain, of each start.

    Raises:
        NoMatplotlibError: matplotlib is missing.
    """

    def draw(figure: Figure) -> None:
        panels = _panels(figure, len(DOMAINS), len(STARTS))
        for line, (over, words) in zip(panels, DOMAINS.items(), strict=True):
            for axes, start in zip(line, STARTS, strict=True):
                _entitled(axes, f"{start}, {words}", "step", "percent")
                for arm in ("sft", "grpo"):
                    _curves(axes, tables.values, start, arm, over)
                axes.set_xticks([0, 25, 50])
        _keyed(figure, panels[0][0], {arm: NAMES[arm] for arm in ("sft", "grpo")})

    words = (
        "Thin: single seeds; thick: their mean, with the 95 % interval over images. Unweighted means over benchmarks."
    )
    return _saved("SFT and GRPO over steps", draw, (len(DOMAINS), len(STARTS)), words)


def rewards(tables: Tables) -> bytes:
    """What GRPO was paid over steps, of each start; raises as `scores` does."""

    def draw(figure: Figure) -> None:
        (line,) = _panels(figure, 1, len(STARTS))
        for axes, start in zip(line, STARTS, strict=True):
            _entitled(axes, start, "step", "reward (most: 3)")
            _logged(axes, tables.steps, start, "grpo", lambda one: one.reward)

    words = "Thin: single seeds; thick: their mean. Each step asks other questions, so that it moves from step to step."
    return _saved("GRPO's reward over steps", draw, (1, len(STARTS)), words)


def hacking(tables: Tables) -> bytes:
    """Reward, boxes and held-out score of the three rewards; raises as `scores` does."""

    def draw(figure: Figure) -> None:
        ((paid, boxes, held),) = _panels(figure, 1, 3)
        _entitled(paid, "training: reward", "step", "reward (most: 1)")
        _entitled(boxes, "training: predicted over gold boxes", "step", "ratio")
        _entitled(held, f"held out: AP_tie of {IN[0]}", "step", "percent")
        for arm in HACKED:
            _logged(paid, tables.steps, "sloppy", arm, lambda one: one.reward)
            _logged(boxes, tables.steps, "sloppy", arm, lambda one: one.predicted_over_gold)
            _curves(held, tables.values, "sloppy", arm, IN[0])
        boxes.axhline(1.0, color=COLOURS["line"], linewidth=0.8, zorder=0)
        held.set_xticks([0, 8, 16, 24])
        _keyed(figure, paid, {arm: REWARDS[arm] for arm in HACKED})

    words = "Thin: single seeds; thick: their mean, held out with the 95 % interval over images."
    return _saved("Three rewards from the start `sloppy`", draw, (1, 3), words)


def forest(tables: Tables) -> bytes:
    """Differences on each benchmark, of each start; raises as `scores` does."""
    rows = [*IN, "in", *OUT, "out"]

    def draw(figure: Figure) -> None:
        (line,) = _panels(figure, 1, len(STARTS), sharey=True)
        for axes, start in zip(line, STARTS, strict=True):
            _entitled(axes, start, "points", "")
            axes.axvline(0.0, color=COLOURS["quiet"], linewidth=0.8)
            for shift, what in zip((-0.25, 0.0, 0.25), ("grpo - sft", "sft - start", "grpo - start"), strict=True):
                _differences(axes, tables.contrasts, start, what, rows, shift)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_yticks(range(len(rows)), [f"mean, {DOMAINS[one]}" if one in DOMAINS else one for one in rows])
        _keyed(figure, line[0], {what: NAMES[what] for what in ("grpo - sft", "sft - start", "grpo - start")})

    words = "Means over seeds. Thick: 95 % interval over images; thin: over seeds (Student's t)."
    return _saved("Differences at step 50", draw, (1.9, len(STARTS)), words)


FIGURES: dict[str, Callable[[Tables], bytes]] = {
    "scores.svg": scores,
    "rewards.svg": rewards,
    "hacking.svg": hacking,
    "differences.svg": forest,
}
"""File to what draws it."""


def curve(values: Sequence[Value], start: str, arm: str, over: str, seed: str) -> list[Value]:
    """The numbers of one arm and seed on a benchmark or a mean, by step, from the start's on; no dev splits."""
    kept = [
        one
        for one in values
        if (one.start, one.benchmark) == (start, over) and one.split != DEV
        and (one.arm == "start" or (one.arm, one.seed) == (arm, seed))
    ]  # fmt: skip
    return sorted(kept, key=lambda one: one.step)


def _curves(axes: Axes, values: Sequence[Value], start: str, arm: str, over: str) -> None:
    """Seeds thin, and their mean thick with its interval."""
    colour, style, marker = INKS[arm]
    for seed in map(str, SEEDS):
        points = curve(values, start, arm, over, seed)
        if any(one.arm == arm for one in points):
            at = [one.step for one in points]
            axes.plot(at, [100 * one.value for one in points], style, color=colour, linewidth=0.6, alpha=0.7)
    points = curve(values, start, arm, over, "mean")
    if any(one.arm == arm for one in points):
        at, middle = [one.step for one in points], np.array([100 * one.value for one in points])
        ends = np.array([[100 * one.low, 100 * one.high] for one in points]).T
        axes.errorbar(
            at, middle, np.abs(ends - middle), color=colour, linestyle=style, marker=marker, markersize=3.5,
            linewidth=1.6, elinewidth=1.0, capsize=2,
        )  # fmt: skip


def _logged(axes: Axes, steps: Sequence[Step], start: str, arm: str, of: Callable[[Step], float | None]) -> None:
    """What was logged at every step: seeds thin, and their mean thick over the steps that all of them have."""
    colour, style, _ = INKS[arm]
    runs: dict[int, dict[int, float]] = {}
    for one in steps:
        value = of(one)
        if (one.start, one.arm) == (start, arm) and one.seed and value is not None:
            runs.setdefault(one.seed, {})[one.step] = value
    for run in runs.values():
        axes.plot(list(run), list(run.values()), style, color=colour, linewidth=0.5, alpha=0.6)
    if runs:
        shared = sorted(set.intersection(*map(set, runs.values())))
        mean = [float(np.mean([run[at] for run in runs.values()])) for at in shared]
        axes.plot(shared, mean, style, color=colour, linewidth=1.6)


def _differences(
    axes: Axes, contrasts: Sequence[Contrast], start: str, what: str, rows: Sequence[str], shift: float
) -> None:
    colour, _, marker = INKS[what]
    for one in contrasts:
        if (one.start, one.what) == (start, what) and one.over in rows:
            place = rows.index(one.over) + shift
            if one.seeds_low is not None and one.seeds_high is not None:
                axes.plot([100 * one.seeds_low, 100 * one.seeds_high], [place] * 2, color=colour, linewidth=0.5)
            axes.plot([100 * one.low, 100 * one.high], [place] * 2, color=colour, linewidth=1.8)
            axes.plot([100 * one.estimate], [place], marker, color=colour, markersize=3.5)


def _panels(figure: Figure, down: int, across: int, *, sharey: bool = False) -> list[list[Axes]]:
    return figure.subplots(down, across, squeeze=False, sharey=sharey).tolist()


def _entitled(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", size=SIZE + 1, weight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=COLOURS["line"], linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2.5, width=0.6)


def _keyed(figure: Figure, axes: Axes, names: dict[str, str]) -> None:
    """A key beside the title: names by what is drawn."""
    for what, name in names.items():
        colour, style, marker = INKS[what]
        axes.plot([], [], style, color=colour, marker=marker, markersize=3.5, label=name)
    figure.legend(frameon=False, loc="upper right", ncols=len(names))


def _saved(title: str, draw: Callable[[Figure], None], panels: tuple[float, int], words: str) -> bytes:
    """A figure of so many panels down and across, with a title above and words below."""
    width, high = PANEL[0] * panels[1], PANEL[1] * panels[0]
    whole = high + 46 * POINT
    with styled():
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        layout = ConstrainedLayoutEngine(rect=(0.0, 22 * POINT / whole, 1.0, high / whole), w_pad=0.08, h_pad=0.06)
        figure = Figure((width, whole), layout=layout)
        figure.text(0.1 / width, 1 - 8 * POINT / whole, title, size=10, weight="bold", va="top")
        figure.text(0.1 / width, 8 * POINT / whole, words, color=COLOURS["quiet"], va="bottom")
        draw(figure)
        buffer = io.BytesIO()
        metadata = {"Date": None, "Creator": None, "Title": title}
        figure.savefig(buffer, format="svg", facecolor=COLOURS["page"], metadata=metadata)
    return buffer.getvalue()
