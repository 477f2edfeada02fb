"""What went wrong in a run, as a value and as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from tabulate import tabulate

from vr1bench.board.text import percent
from vr1bench.metrics.mistakes import KINDS, REFERRING, SPECIAL
from vr1bench.store import Key, Metric
from vr1bench.types import FrozenModel, Task


class Group(FrozenModel):
    """Some of a benchmark's boxes or samples.

    Attributes:
        name: As in a table.
        samples: Samples that belong to it; by size and by class those that hold such gold.
        gold: Gold boxes, crowds left out; to a phrase, samples.
        found: Of these, found at IoU .5.
        guessed: Boxes that count: right and false ones.
        recall: found / gold; None without gold.
        precision: found / guessed; None without boxes.
        mistakes: How many of each kind.
        costs: AP50 that each kind costs, as a fraction; None where undefined. Empty to phrases, where a mistake costs
            its share of the samples.
        ap50: Of the whole, or of a class.
    """

    name: str
    samples: int
    gold: int
    found: int
    guessed: int
    recall: float | None
    precision: float | None
    mistakes: dict[str, int]
    costs: dict[str, float | None] = Field(default_factory=dict[str, float | None])
    ap50: float | None = None


class Diagnosis(FrozenModel):
    """What went wrong in a run; the same records give the same, to the bit.

    Attributes:
        key: What was scored.
        task: detect or refer.
        whole: All of it. To `detect`, its costs hold those of all false positives and all false negatives too.
        ignored: Boxes that count neither way: a crowd absorbed them, or they came after as many of their image and
            class as the protocol keeps.
        by: Breakdowns by name; each holds every mistake once. By size right boxes and class and box mistakes go with
            their gold, others by their own area. By class a class mistake goes with its gold, whose AP it costs; other
            boxes, and `guessed` and `precision` of all, go by what they were called.
    """

    key: Key
    task: Task
    whole: Group
    ignored: int = 0
    by: dict[str, tuple[Group, ...]]


def table(found: Diagnosis, top: int = 20) -> str:
    """A diagnosis for people: percent, and points of AP50 in brackets behind the mistakes that cost them.

    Args:
        found: Of one run.
        top: Classes to show; the value itself holds all.
    """
    key, whole = found.key, found.whole
    name = f"{key.benchmark} {key.split}, {key.model}, protocol {key.protocol}, scores {key.scores}"
    if found.task == "refer":
        rows = [_phrases("all phrases", [whole]), *(_phrases(f"by {name}", by) for name, by in found.by.items())]
        return "\n\n".join([f"{name}: {whole.samples} phrases, {_percent(whole.recall)} right", *rows])
    parts = [f"{name}: {whole.samples} samples, AP50 {_percent(whole.ap50)}", _costs(whole)]
    for title, groups in found.by.items():
        shown = groups[:top] if title == "class" else groups
        more = f"\nand {len(groups) - len(shown)} more classes" if len(shown) < len(groups) else ""
        parts.append(_boxes(f"by {title}", shown) + more)
    return "\n\n".join([*parts, f"{_ABOUT_COSTS} {found.ignored}."])


_ABOUT_COSTS = (
    "In brackets: points of AP50 that mending these mistakes alone would gain, by class of the class's own AP50; they "
    "do not add up. Boxes in a crowd, and beyond as many of an image and class as the protocol keeps, are no mistakes:"
)


def _costs(whole: Group) -> str:
    false = sum(whole.mistakes.values()) - whole.mistakes["missed"]
    numbers = whole.mistakes | dict(zip(SPECIAL, (false, whole.gold - whole.found), strict=True))
    return _drawn(
        [[kind, str(number), _percent(whole.costs[kind])] for kind, number in numbers.items()],
        ["mistake", "number", "costs"],
    )


def _boxes(title: str, groups: Sequence[Group]) -> str:
    classes = any(group.ap50 is not None for group in groups)
    rows = [
        [
            group.name, str(group.samples), str(group.gold), str(group.found), _percent(group.recall),
            _percent(group.precision), *([_percent(group.ap50)] if classes else []),
            *(_with(number, group.costs.get(kind)) for kind, number in group.mistakes.items()),
        ]
        for group in groups
    ]  # fmt: skip
    kinds = [kind.word for kind in KINDS]
    return _drawn(
        rows, [title, "samples", "gold", "found", "recall", "precision", *(["AP50"] if classes else []), *kinds]
    )


def _phrases(title: str, groups: Sequence[Group]) -> str:
    rows = [
        [group.name, str(group.samples)]
        + [_with(number, number / group.samples) for number in (group.found, *group.mistakes.values())]
        for group in groups
    ]
    return _drawn(rows, [title, "phrases", "right", *REFERRING])


def _with(number: int, aside: float | None) -> str:
    return f"{number} ({_percent(aside)})" if aside else str(number)


def _percent(value: float | None) -> str:
    return percent(Metric(value=value))


def _drawn(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    right = ["right"] * (len(headers) - 1)
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True, colalign=["left", *right])
