"""Protocols: how a number is made. Named rules from `benchmarks/_protocols.toml`, and single fields overridden."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Literal

from pydantic import Field

from vr1bench.definitions import SHIPPED, read_toml, validated
from vr1bench.registry import unknown
from vr1bench.types import FrozenModel, Kind, Questions, Sampling, ScoreRule, Task

KINDS: dict[Task, tuple[Kind, ...]] = {
    "detect": ("all", "one", "refer"),
    "refer": ("all", "one", "refer"),
    "qa": ("choose", "answer"),
}
"""The words of `Questions` that belong to each task; those of boxes go together."""
WORDS = {"name", "about", "questions", "by_family", "on"}
"""Fields of a protocol that `--set` does not reach."""


class Protocol(FrozenModel):
    """How a number is made. Every field can change it, so every field is part of the fingerprint.

    Attributes:
        name: As `--protocol` takes it, with the changed fields in brackets where `--set` was used.
        about: What it reproduces and what it cannot.
        query: `all` classes in one prompt, `one` class a prompt, or only the `positive` classes of the gold, one a
            prompt (an oracle: it tells the model what is there).
        questions: The words; "" leaves them to the family. `by_family` replaces them where a paper had others.
        boxes: Which box of a referring answer counts.
        duplicates: Whether a repeat of the same box and label stays.
        unknown: Whether a box with a label that was not asked for stays (as a false positive of F1).
        scores: Where a box's score comes from: constant 1.0, token log-probabilities, or order of emission.
        nms_ties: Which of equally scored boxes around one gold box survives NMS-AP; `last` is OVDEval's eval.py.
        match: Whether an IoU of exactly the threshold counts, in referring accuracy.
        ids: `as-shipped` lets annotation id 0 cost a true positive, as in pycocotools; `fixed` numbers anew.
        max_detections: Boxes kept per image and class, by score.
        min_pixels: Lower bound on the area that the processor feeds, in pixels; None leaves the family's own.
        max_pixels: Upper bound.
        max_tokens: Longest answer.
        shuffle: Seed of Python's `random.shuffle` over the samples; None leaves their order.
        first: How many samples, then, are scored; None takes all.
        iou: `vlm-r1` overlaps boxes as VLM-R1's evaluation does, a pixel short.
        on: Fields that differ on some benchmarks, by a pattern of their names: `"odinw/*"`.
    """

    name: str
    about: str = ""
    query: Literal["all", "one", "positive"] = "all"
    questions: Questions = Questions()
    by_family: dict[str, Questions] = Field(default_factory=dict[str, Questions])
    boxes: Literal["all", "first", "last"] = "first"
    duplicates: Literal["keep", "drop"] = "keep"
    unknown: Literal["keep", "drop"] = "keep"
    scores: ScoreRule = "constant"
    nms_ties: Literal["first", "last"] = "first"
    match: Literal[">=", ">"] = ">="
    ids: Literal["fixed", "as-shipped"] = "fixed"
    max_detections: int = Field(default=100, gt=0)
    min_pixels: int | None = Field(default=None, gt=0)
    max_pixels: int | None = Field(default=None, gt=0)
    max_tokens: int = Field(default=2048, gt=0)
    shuffle: int | None = None
    first: int | None = Field(default=None, gt=0)
    iou: Literal["plain", "vlm-r1"] = "plain"
    on: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])

    def at(self, benchmark: str) -> Protocol:
        """This protocol as it is on one benchmark: with the fields of `on` whose pattern the name matches.

        Raises:
            Vr1benchError: Such a field is unknown or has a bad value.
        """
        values = self.model_dump(exclude={"on"})
        for pattern, fields in self.on.items():
            if fnmatchcase(benchmark, pattern):
                values |= fields
        return validated(Protocol, values, f"protocol {self.name}")

    def order(self, count: int) -> Sequence[int]:
        """Which of `count` samples are scored, in what order."""
        if self.shuffle is None:
            return range(count)[: self.first]
        places = list(range(count))
        random.Random(self.shuffle).shuffle(places)  # noqa: S311  as `random.seed` and `random.shuffle` do
        return places[: self.first]

    def asking(self, task: Task) -> Protocol:
        """Without the words of other tasks: what they say cannot change a score."""
        blank = dict.fromkeys({*Questions.model_fields} - {*KINDS[task]}, "")
        own = {family: words.model_copy(update=blank) for family, words in self.by_family.items()}
        return self.model_copy(update={"questions": self.questions.model_copy(update=blank), "by_family": own})

    def rule(self, task: Task) -> Protocol:
        """What can change a score of a task: without the description, and without the words of other tasks."""
        return self.asking(task).model_copy(update={"about": ""})

    def question(self, family: str, key: Kind) -> str:
        """The words for a family; a family without words of its own takes the protocol's."""
        own = self.by_family.get(family)
        return (getattr(own, key) if own else "") or getattr(self.questions, key)

    def sampling(self, changes: Mapping[str, Any], seed: int) -> Sampling:
        """Greedy decoding with this protocol's token budget, and the user's changes (`--gen-args`).

        Raises:
            Vr1benchError: A change names no option or has a bad value.
        """
        values = {"max_tokens": self.max_tokens, "seed": seed, "logprobs": self.scores == "logprob", **changes}
        for name in changes:
            if name not in Sampling.model_fields:
                raise unknown("generation option", name, Sampling.model_fields)
        return validated(Sampling, values, "--gen-args")


@cache
def protocols() -> Mapping[str, Protocol]:
    """All shipped protocols by name."""
    path = SHIPPED / "_protocols.toml"
    found = {name: validated(Protocol, {"name": name, **values}, str(path)) for name, values in read_toml(path).items()}
    return {name: _with_questions(one, found["standard"]) for name, one in found.items()}


def _with_questions(one: Protocol, standard: Protocol) -> Protocol:
    """With the standard's words for questions of data sets where it has none: no paper here has others."""
    words = one.questions
    missing = {kind: getattr(standard.questions, kind) for kind in KINDS["qa"] if not getattr(words, kind)}
    return one.model_copy(update={"questions": words.model_copy(update=missing)})


def is_oracle(name: str, benchmark: str) -> bool:
    """Whether a protocol, by a result's name for it, tells the model which classes the gold holds."""
    base = name.partition("[")[0]
    told = re.search(r"[\[,]query=(\w+)", name)
    if told:
        return told[1] == "positive"
    return base in protocols() and protocols()[base].at(benchmark).query == "positive"


def protocol(name: str, changes: Mapping[str, Any], benchmark: str) -> Protocol:
    """A protocol as it is on one benchmark, with single fields overridden (`--set`).

    Raises:
        Vr1benchError: The protocol or a field is unknown, or a value is bad.
    """
    if name not in protocols():
        raise unknown("protocol", name, protocols())
    return changed(protocols()[name].at(benchmark), changes, benchmark)


def changed(base: Protocol, changes: Mapping[str, Any], benchmark: str) -> Protocol:
    """A protocol with fields overridden; its name then says which, beside the score rule, which results name apart.

    Raises:
        Vr1benchError: A field is unknown, or a value is bad.
    """
    values = base.model_dump()
    known = sorted(set(Protocol.model_fields) - WORDS)
    for field, value in changes.items():
        if field not in known:
            raise unknown("protocol field", field, known)
        values[field] = value
    made = validated(Protocol, values, "--set")
    name = base.name.partition("[")[0]
    origin_rule = protocols()[name].at(benchmark) if name in protocols() else base
    told, origin = (rule.model_dump(exclude={*WORDS, "scores"}) for rule in (made, origin_rule))
    said = ",".join(f"{field}={value}" for field, value in sorted(told.items()) if value != origin[field])
    return made.model_copy(update={"name": f"{name}[{said}]" if said else name})
