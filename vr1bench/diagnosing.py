"""What goes wrong in a run: its mistakes by kind, by size, class, number of objects, status, and what they cost.

Kinds and costs are those of `vr1bench.metrics.mistakes`. Costs are fractions of AP50 even where the benchmark's primary
metric is another: TIDE defines them so. Within a breakdown the costs of a group are what mending its mistakes alone
gains: in AP50 of the whole benchmark, and by class in the class's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vr1bench.as_published import vlm_r1_iou
from vr1bench.board.text import STATUS_ORDER
from vr1bench.boxes import iou
from vr1bench.diagnosis import Diagnosis, Group
from vr1bench.errors import Vr1benchError
from vr1bench.job import Job
from vr1bench.metrics import mistakes as metric
from vr1bench.metrics.columns import Columns, columns, joined
from vr1bench.metrics.mistakes import KINDS, REFERRING, Mistakes, Verdict
from vr1bench.metrics.pointwise import referring_ious
from vr1bench.numbers import batches, one_box
from vr1bench.rescoring import opened
from vr1bench.score import Tally
from vr1bench.types import Bools, Floats, Ints, Pair

SIZES = ("small", "medium", "large")
"""COCO's, by square pixels; a border belongs to the smaller, as in TIDE (`errors/qualifiers.py`)."""
_SIZE_BORDERS = np.array([32.0**2, 96.0**2])
BANDS = ("0", "1", "2-3", "4-7", "8-15", "16+")
"""Numbers of objects in an image, or of words in a phrase."""
_BAND_STARTS = np.array([1, 2, 4, 8, 16])
STRAYS = "(no such class)"


def mistakes(
    folder: Path,
    protocol_name: str | None = None,
    changes: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
    *,
    family: str | None = None,
    limit: int | None = None,
) -> Diagnosis:
    """Reads a run folder's answers and says what is wrong with them; the twin of `vr1bench errors RUN_DIR`.

    Arguments and errors as of `vr1bench.rescore`.

    Raises:
        Vr1benchError: Also, where the answers are no boxes.
    """
    with opened(folder, protocol_name, changes, data_dir, family=family, limit=limit) as (job, journal):
        task = job.benchmark.task
        if task == "qa" or job.family.pointing:
            kind = "texts" if task == "qa" else "points"
            raise Vr1benchError(
                f"{folder}: its answers are {kind}; kinds of mistakes are defined for boxes: expected a run of a "
                "family that gives boxes on a benchmark of task detect or refer"
            )
        tally = Tally()
        pairs = (tally.add(pair, job.protocol) for pair in job.pairs(journal))
        return _refer(pairs, job) if task == "refer" else _detect(pairs, job)


def _detect(pairs: Iterator[Pair], job: Job) -> Diagnosis:
    parts: list[Columns] = []
    statuses: list[str] = []
    for batch in batches(pairs):
        parts.append(columns(batch))
        statuses += [_status(pair) for pair in batch]
    found = metric.mistakes(joined(parts), job.protocol.max_detections)
    whole = _group(
        found, "all", *found.everything, found.table.images, metric.costs(found) | metric.special_costs(found),
        metric.averages(found).mean,
    )  # fmt: skip
    return Diagnosis(
        key=job.key,
        task="detect",
        whole=whole,
        ignored=int((found.answer == Verdict.IGNORED).sum()),
        by={
            "size": _by_size(found),
            "class": _by_class(found),
            "objects": _by_image(found, BANDS, _band(_plain_gold(found))),
            "status": _by_image(found, STATUS_ORDER, _places(statuses)),
        },
    )


def _group(
    found: Mistakes,
    name: str,
    answers: Bools,
    gold: Bools,
    samples: int,
    costs: Mapping[str, float | None],
    ap50: float | None = None,
) -> Group:
    right = int((found.answer[answers] == Verdict.RIGHT).sum())
    guessed = int((found.answer[answers] != Verdict.IGNORED).sum())
    wanted, reached = (int((found.gold[gold] != Verdict.IGNORED).sum()), int((found.gold[gold] == Verdict.RIGHT).sum()))
    return Group(
        name=name,
        samples=samples,
        gold=wanted,
        found=reached,
        guessed=guessed,
        recall=_share(reached, wanted),
        precision=_share(right, guessed),
        mistakes=metric.tally(found, answers, gold),
        costs=dict(costs),
        ap50=ap50,
    )


def _by_size(found: Mistakes) -> tuple[Group, ...]:
    truth, answers = found.table.truth, found.table.answers
    of_gold = np.searchsorted(_SIZE_BORDERS, truth.areas)
    of_answers = np.searchsorted(_SIZE_BORDERS, answers.extents)
    placed = found.about >= 0
    of_answers[placed] = of_gold[found.about[placed]]
    groups: list[Group] = []
    for place, name in enumerate(SIZES):
        answers, gold = of_answers == place, of_gold == place
        costs = metric.costs(found, answers, gold)
        groups.append(_group(found, name, answers, gold, _holding(found, gold), costs))
    return tuple(group for group in groups if group.gold or group.guessed)


def _by_image(found: Mistakes, names: Sequence[str], place_of: Ints) -> tuple[Group, ...]:
    """Groups of whole images; `place_of` gives each image's place among the names."""
    groups: list[Group] = []
    for place, name in enumerate(names):
        samples = int((place_of == place).sum())
        if samples:
            answers, gold = (place_of[rows.image] == place for rows in (found.table.answers, found.table.truth))
            groups.append(_group(found, name, answers, gold, samples, metric.costs(found, answers, gold)))
    return tuple(groups)


def _by_class(found: Mistakes) -> tuple[Group, ...]:
    """Classes that have gold or answers, those with the most mistakes first."""
    truth, answers = found.table.truth, found.table.answers
    before, after = metric.averages(found), {kind.word: metric.mended(found, (kind,)) for kind in KINDS}
    mistaken = found.answer == Verdict.CLASS
    of_answers = answers.label.copy()
    of_answers[mistaken] = truth.label[found.about[mistaken]]
    groups: list[Group] = []
    for label, name in [*enumerate(found.table.labels), (-1, STRAYS)]:
        gold, called = truth.label == label, (answers.label == label) & (found.answer != Verdict.IGNORED)
        ap50 = before.of(label) if label >= 0 else None
        costs = {kind: metric.gain(ap50, mended.of(label)) for kind, mended in after.items()} if label >= 0 else {}
        group = _group(found, name, of_answers == label, gold, _holding(found, gold), costs, ap50)
        guessed = int(called.sum())
        precision = _share(int((found.answer[called] == Verdict.RIGHT).sum()), guessed)
        groups.append(group.model_copy(update={"guessed": guessed, "precision": precision}))
    groups = [group for group in groups if group.gold or group.guessed]
    return tuple(sorted(groups, key=lambda group: -sum(group.mistakes.values())))


def _holding(found: Mistakes, gold: Bools) -> int:
    """Images that hold some of this gold, crowds left out."""
    return len(np.unique(found.table.truth.image[gold & ~found.table.truth.crowd]))


def _plain_gold(found: Mistakes) -> Ints:
    truth = found.table.truth
    return np.bincount(truth.image[~truth.crowd], minlength=found.table.images)


def _band(numbers: Ints) -> Ints:
    return np.searchsorted(_BAND_STARTS, numbers, side="right")


def _status(pair: Pair) -> str:
    return pair.prediction.status if pair.prediction else "unasked"


def _places(statuses: Sequence[str]) -> Ints:
    return np.array([STATUS_ORDER.index(status) for status in statuses], dtype=np.int64)


def _refer(pairs: Iterator[Pair], job: Job) -> Diagnosis:
    overlaps = vlm_r1_iou if job.protocol.iou == "vlm-r1" else iou
    ious: list[Floats] = []
    rows: list[tuple[bool, int, int, str]] = []
    for batch in batches(pairs):
        ious.append(referring_ious([one_box(pair, job.protocol) for pair in batch], overlaps))
        rows += [_referred(pair) for pair in batch]
    boxed, sizes, words = (np.array([row[i] for row in rows], dtype=np.int64) for i in range(3))
    overlap = np.concatenate([np.empty(0), *ious])
    wrong = metric.referring_mistakes(overlap, boxed.astype(np.bool_), job.protocol.match == ">")
    everything = np.ones(len(rows), dtype=np.bool_)
    return Diagnosis(
        key=job.key,
        task="refer",
        whole=_phrases(wrong, "all", everything),
        by={
            "size": _of_phrases(wrong, (*SIZES, "no gold"), sizes),
            "words": _of_phrases(wrong, BANDS, _band(words)),
            "status": _of_phrases(wrong, STATUS_ORDER, _places([row[3] for row in rows])),
        },
    )


def _referred(pair: Pair) -> tuple[bool, int, int, str]:
    """Whether there is a box, the size of the gold, the words of the phrase between blanks, the status."""
    gold = pair.sample.gold
    size = int(np.searchsorted(_SIZE_BORDERS, gold.areas[0])) if len(gold) else len(SIZES)
    boxed = pair.prediction is not None and len(pair.prediction.detections) > 0
    return boxed, size, len(pair.sample.queries[0].split()), _status(pair)


def _of_phrases(wrong: Mapping[str, Bools], names: Sequence[str], place_of: Ints) -> tuple[Group, ...]:
    places = set(place_of.tolist())
    return tuple(_phrases(wrong, name, place_of == place) for place, name in enumerate(names) if place in places)


def _phrases(wrong: Mapping[str, Bools], name: str, chosen: Bools) -> Group:
    numbers = {kind: int((which & chosen).sum()) for kind, which in wrong.items()}
    samples = int(chosen.sum())
    found, guessed = samples - sum(numbers.values()), samples - numbers[REFERRING[0]]
    return Group(
        name=name, samples=samples, gold=samples, found=found, guessed=guessed, recall=_share(found, samples),
        precision=_share(found, guessed), mistakes=numbers,
    )  # fmt: skip


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
