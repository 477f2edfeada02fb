"""A family as data: a TOML file that names a grammar, a coordinate frame, a resize rule and the family's questions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from vr1bench.definitions import read_toml, validated
from vr1bench.errors import Vr1benchError
from vr1bench.families.frames import Frame
from vr1bench.families.grammars import Grammar
from vr1bench.families.inputs import AsIs, Input
from vr1bench.families.reading import answer_span, prediction
from vr1bench.types import Completion, Detections, FrozenModel, PixelBudget, Prediction, Questions, Request, Sampling

NO_READING = {"about", "aliases", "model_types", "name_pattern", "closed", "questions"}
"""Fields that say how a family is found and asked, not how it is read."""
PLACEHOLDER = re.compile(r"\{[a-z_0-9]+\}")
PLACES = {
    **{"all": "{labels}", "one": "{label}", "refer": "{phrase}", "instruction": ""},
    **{"choose": "{options}", "answer": "{question}"},
}
BESIDE = {"{phrase}": {"{problem}"}, "{options}": {"{question}"}}
"""What may stand beside a question's own placeholder."""
EVERYWHERE = {"{width}", "{height}"}
TASK_TOKEN = re.compile(r"<[^<>{}]+>")
"""A question that is one token asks for all that the model knows: Florence-2's `<OD>`."""


def _words(text: str, info: ValidationInfo) -> str:
    """Refuses a question that lacks its own placeholder, or holds one that nothing is put in the place of."""
    own = PLACES[str(info.field_name)]
    known = {own, *BESIDE.get(own, ()), *(() if info.field_name in ("choose", "answer") else EVERYWHERE)}
    found = set(PLACEHOLDER.findall(text))
    if foreign := sorted(found - known):
        raise ValueError(f"{foreign[0]} stands for nothing here; expected {own or ' '.join(sorted(EVERYWHERE))}")
    if own and text and not found - EVERYWHERE and not TASK_TOKEN.fullmatch(text):
        raise ValueError(f"expected {own}, in the place of what is asked for")
    return text


class FamilyQuestions(Questions):
    """A family's own words; a field that is "" is a mode that it was never asked in.

    Attributes:
        separator: Between the names of `{labels}`.
        sources: Who asks so, for each of them.
    """

    separator: str = ", "
    sources: dict[str, str] = Field(default_factory=dict[str, str])

    _told = field_validator("all", "one", "refer", "choose", "answer")(_words)


class FamilyDefinition(FrozenModel):
    """A `Family` made of data.

    Attributes:
        name: As `--family` takes it.
        about: One line for `vr1bench list families`.
        aliases: Other names for `--family`.
        model_types: See `Family`.
        name_pattern: See `Family`.
        closed: See `Family`.
        grammar: How answers are spelled.
        frame: What their numbers count.
        input: How the processor resizes an image.
        questions: The family's own words.
        instruction: Added to a question that does not state the image's size; in both, `{width}` and `{height}` are the
            size that the model is fed.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")
    about: str = ""
    aliases: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    name_pattern: str = ""
    closed: bool = False
    grammar: Grammar
    frame: Frame
    input: Input = AsIs()
    questions: FamilyQuestions = FamilyQuestions()
    instruction: str = ""

    @field_validator("name_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern

    _told = field_validator("instruction")(_words)

    @model_validator(mode="after")
    def _spelled_in_full(self) -> FamilyDefinition:
        try:
            self.grammar.write(["x"], np.full((1, 4), 1.0 if self.frame.decimals == 0 else 0.5))
        except (ValueError, LookupError, AttributeError) as error:
            raise ValueError(
                f"the grammar cannot spell numbers of the frame, which have decimals = {self.frame.decimals}: {error}"
            ) from error
        return self

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Family.identity`."""
        return self.model_dump(mode="json", exclude=NO_READING)

    @property
    def labelled(self) -> bool:
        """See `Family.labelled`."""
        return self.grammar.labelled

    @property
    def pixels(self) -> PixelBudget | None:
        """See `Family.pixels`."""
        return self.input.pixels

    @property
    def pointing(self) -> bool:
        """See `Family.pointing`."""
        return self.grammar.kind == "points"

    def fed_size(self, width: int, height: int, pixels: PixelBudget | None) -> tuple[int, int]:
        """See `Family.fed_size`; without a resize rule the model is taken to see the original."""
        return self.input.fed_size(width, height, pixels)

    def image_tokens(self, fed_width: int, fed_height: int) -> int | None:
        """See `Family.image_tokens`."""
        return self.input.image_tokens(fed_width, fed_height)

    def wrap(self, question: str, fed: tuple[int, int]) -> str:
        """See `Family.wrap`."""
        text = question if "{width}" in question else question + self.instruction
        return text.replace("{width}", str(fed[0])).replace("{height}", str(fed[1]))

    def format(self, gold: Detections, size: tuple[int, int], fed: tuple[int, int]) -> str:
        """See `Family.format`; an empty gold is written as the grammar's empty answer."""
        return self.grammar.write([str(label) for label in gold.labels], self.frame.numbers(gold.boxes, size, fed))

    def parse(self, completion: Completion, request: Request) -> Prediction:
        """See `Family.parse`."""
        start, end = answer_span(completion.text)
        size = (request.width, request.height)
        fed = (completion.fed_width, completion.fed_height)
        if not all(fed):
            fed = self.fed_size(*size, request.pixels)
        reading = self.grammar.read(completion.text[start:end], located=bool(completion.tokens))
        read = prediction(completion, request, reading, self.frame, fed, (start, end))
        if read.points is None or self.pointing:
            return read
        return replace(read, broken={**read.broken, "point instead of box": len(read.points)})


def read_family(path: Path) -> FamilyDefinition:
    """A family from its TOML file.

    Raises:
        Vr1benchError: The file is missing, no TOML, or does not define a family; the message names the field.
    """
    return validated(FamilyDefinition, read_toml(path), f"family {path}")


def check_reads_itself(family: FamilyDefinition, where: str) -> None:
    """Refuses a family that cannot read what it writes.

    Raises:
        Vr1benchError: Two boxes come back as others, or with other names.
    """
    size, fed = (1000, 800), family.fed_size(1000, 800, None)
    gold = Detections.of([[100, 100, 300, 300], [400, 300, 700, 600]], ["dog", "cat"])
    text = family.format(gold, size, fed)
    request = Request("", "", (), *size, ("dog", "cat"), (), Sampling())
    read = family.parse(Completion(text=text, fed_width=fed[0], fed_height=fed[1]), request)
    at = family.frame.placing(size, fed)
    step = 1.01 * at.step * max(at.scale_x, at.scale_y)
    found = read.detections
    if family.pointing and read.points:
        middles = (gold.boxes[:, :2] + gold.boxes[:, 2:]) / 2
        same = len(read.points) == 2 and np.abs(read.points.xy - middles).max() <= step
    else:
        same = len(found) == 2 and np.abs(found.boxes - gold.boxes).max() <= step
        same = same and (not family.labelled or found.labels.tolist() == gold.labels.tolist())
    if not same:
        raise Vr1benchError(
            f"{where}: it does not read what it writes: {text!r} comes back as boxes {found.boxes.tolist()} of "
            f"{found.labels.tolist()} instead of {gold.boxes.tolist()}; see the spelling in [grammar] and the numbers "
            "of [frame]"
        )
