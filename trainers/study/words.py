"""The study's tables as Markdown, between marks in pages of which the rest is written by hand."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from vr1bench.board.markdown import escaped
from vr1bench.trainers.study.answers import Answer
from vr1bench.trainers.study.attempt_log import DONE, Line, total_minutes
from vr1bench.trainers.study.choosing import Tried, at_edge, chosen
from vr1bench.trainers.study.evidence import Value
from vr1bench.trainers.study.falls import Fall
from vr1bench.trainers.study.figures import curve
from vr1bench.trainers.study.plan import FILE_ORDER, HACKED, HACKED_STEPS, IN, METHODS, OUT, STARTS, STEPS, Chosen

README = """# SFT against GRPO in miniature

What was planned: [plan.md](plan.md). What was run: [runs.md](runs.md). Every checkpoint:
[LEADERBOARD.md](LEADERBOARD.md). Tables and figures are drawn from the CSV files beside this page:
`python -m vr1bench.trainers.study report`.

## Answers

<!-- answers -->
<!-- end -->

![Scores over steps](scores.svg)

## Scores

<!-- scores -->
<!-- end -->

![Differences on each benchmark](differences.svg)

![Training reward](rewards.svg)

![Three rewards](hacking.svg)

## Learning rates

<!-- rates -->
<!-- end -->

## Checkpoints worse than their start

<!-- falls -->
<!-- end -->
"""
"""The page, where there is none yet."""
_ARMS = {"sft": "SFT", "grpo": "GRPO", FILE_ORDER: "SFT, boxes in the file's order"}
CHANGES = re.compile(r"<!-- changes -->\n(.*?)<!-- end changes -->", re.DOTALL)


def filled(page: str, blocks: Mapping[str, str]) -> str:
    """A page with its blocks written anew, `<!-- NAME -->` to `<!-- end -->`; what stands outside of them stays."""
    for name, text in blocks.items():
        opening, closing = f"<!-- {name} -->", "<!-- end -->"
        before, found, rest = page.partition(opening)
        if found and closing in rest:
            page = f"{before}{opening}\n\n{text.strip()}\n\n{closing}{rest.partition(closing)[2]}"
    return page


def answers_table(found: Sequence[Answer]) -> str:
    """The answers, a table a kind of question."""
    risen = [one for one in found if one.se is not None]
    compared = [one for one in found if one.p is not None]
    counted = [one for one in found if one.se is None and one.p is None]
    parts = [
        (
            "Did the reward rise? (A, F)",
            ["question", "start", "what", "seeds", "rise", "standard errors", "verdict"],
            [
                [one.question, one.start, one.what, one.seeds, f"{one.estimate:+.3f}", _ratio(one), one.verdict]
                for one in risen
            ],
        ),
        (
            "Scores compared, in points",
            ["question", "start", "what", "over", "seeds", "difference", "95 %, images", "95 %, seeds", "p, images",
             "Holm", "verdict"],
            [
                [one.question, one.start, one.what, one.over, one.seeds, f"{100 * one.estimate:+.1f}",
                 _span(one.low, one.high, 100), _span(one.seeds_low, one.seeds_high, 100), _p(one.p), _p(one.holm),
                 one.verdict or "-"]
                for one in compared
            ],
        ),
        (
            "Boxes named in training, and warnings (F)",
            ["what", "seeds", "number", "95 %, seeds", "which"],
            [
                [one.what, one.seeds, f"{one.estimate:.2f}" if one.seeds_low is not None else f"{one.estimate:g}",
                 _span(one.seeds_low, one.seeds_high, 1), one.verdict or "-"]
                for one in counted
            ],
        ),
    ]  # fmt: skip
    return "\n\n".join(f"**{title}**\n\n{_table(head, rows)}" for title, head, rows in parts if rows) or NOTHING


def scores_table(values: Sequence[Value]) -> str:
    """Scores at the last step, the means over seeds, a row a start and arm."""
    overs = ("in", *IN, "out", *OUT)
    rows = [[start, arm, *cells] for start, arm, cells in _arms(values, overs)]
    head = ["start", "arm", *(f"mean {one}" if one in {"in", "out"} else one for one in overs)]
    return _table(head, rows) if rows else NOTHING


def rates_table(found: Sequence[Tried]) -> str:
    """The rates that were tried, and which the rule takes."""
    taken = chosen(found)
    rows = [
        [
            one.start, _ARMS[one.arm], one.rate, f"{100 * one.plain:.1f}",
            f"{100 * one.plain_rec:.1f}", f"{100 * one.mean:.2f}", _taken(one, taken),
        ]
        for one in found
    ]  # fmt: skip
    head = ["start", "method", "rate", f"AP_tie of {IN[0]}, dev", f"Acc@0.5 of {IN[1]}, dev", "mean", "chosen"]
    return _table(head, rows) if rows else NOTHING


def falls_table(found: Sequence[Fall]) -> str:
    """How often the watches warn, a row for all runs of a start, arm and rate."""
    groups: dict[tuple[str, str, str, str], list[Fall]] = {}
    for one in found:
        groups.setdefault((one.start, one.arm, one.rate, one.split), []).append(one)
    rows = [
        [start, _ARMS.get(arm, arm), rate, split, len({one.seed for one in same}), len(same),
         f"{100 * same[0].old:.1f}", f"{100 * min(one.new for one in same):.1f}", sum(one.worse for one in same),
         sum(one.hacked for one in same)]
        for (start, arm, rate, split), same in groups.items()
    ]  # fmt: skip
    head = [
        "start", "arm", "rate", "split", "runs", "checkpoints", "the start's mean", "their lowest", "worse", "hacked",
    ]  # fmt: skip
    return _table(head, rows) if rows else NOTHING


def runs_page(lines: Sequence[Line], before: str) -> str:
    """`runs.md`: all attempts, and how long they took; what is written by hand in the page before stays.

    Args:
        lines: The log.
        before: The page as it stands; "" where there is none.
    """
    kept = CHANGES.search(before)
    changes = kept[1] if kept else "None so far.\n"
    summed, covered = total_minutes(lines)
    done = sum(line.outcome == DONE for line in lines)
    rows = [
        [f"{datetime.datetime.fromisoformat(line.start):%Y-%m-%d %H:%M}", line.recipe, line.recipe_sha256[:8],
         line.commit[:8] + ("+" if line.commit.endswith("+") else ""), f"{line.minutes:.1f}", escaped(line.outcome)]
        for line in lines
    ]  # fmt: skip
    return (
        "# The runs\n\nEvery attempt, those that failed too. Written by `python -m vr1bench.trainers.study report` "
        "from [runs.csv](runs.csv), but for the changes.\n\n## Changes to the plan\n\n"
        f"<!-- changes -->\n{changes}<!-- end changes -->\n\n## Machine time\n\n"
        f"{len(lines)} attempts, {done} done. {covered / 60:.1f} hours in which at least one ran; "
        f"{summed / 60:.1f} hours summed over all, of one thread each but for the pretraining's two processes.\n\n"
        f"## Attempts\n\n{_table(['start, UTC', 'what', 'recipe', 'commit', 'minutes', 'outcome'], rows)}\n"
    )


NOTHING = "Nothing to show yet."


def _arms(values: Sequence[Value], overs: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """Start, arm and cells of the scores table; the arms in the plan's order."""
    arms = ("start", *METHODS, "staged", "labelled", *HACKED)
    found: list[tuple[str, str, list[str]]] = []
    for start in (*STARTS, "sloppy"):
        for arm in arms:
            step = 0 if arm == "start" else HACKED_STEPS if arm in HACKED else STEPS
            seed = "0" if arm == "start" else "mean"
            at = {over: [one for one in curve(values, start, arm, over, seed) if one.step == step] for over in overs}
            cells = [_value(at[over][0]) if at[over] and at[over][0].arm == arm else "-" for over in overs]
            if any(cell != "-" for cell in cells):
                found.append((start, arm, cells))
    return found


def _value(one: Value) -> str:
    return f"{100 * one.value:.1f} ±{100 * max(one.high - one.value, one.value - one.low):.1f}"  # one end may be cut


def _ratio(one: Answer) -> str:
    return f"{one.estimate / one.se:.1f}" if one.se else "-"


def _span(low: float | None, high: float | None, scale: int) -> str:
    if low is None or high is None:
        return "-"
    return f"{scale * low:+.1f} to {scale * high:+.1f}" if scale == 100 else f"{low:.2f} to {high:.2f}"


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _taken(one: Tried, taken: Chosen) -> str:
    if one.arm == FILE_ORDER:
        return ""
    rate = next((rate for of, rate in taken.items() if of == (one.start, one.arm)), None)
    if rate is None:
        return "undecided: rates are missing"
    return "" if rate != one.rate else f"yes, the {edge}" if (edge := at_edge(rate)) else "yes"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return tabulate([list(map(str, row)) for row in rows], headers=list(head), tablefmt="pipe", disable_numparse=True)
