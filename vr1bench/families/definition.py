"""A family as data: a grammar, a coordinate frame, a resize rule. Most families need no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from vr1bench.boxes import rescale
from vr1bench.families.reading import Reading, answer_span, prediction
from vr1bench.families.smart_resize import smart_resize
from vr1bench.types import Completion, Detections, Floats, PixelBudget, Prediction, Request

Frame = Literal["original", "fed", "norm1000"]
Write = Callable[[Sequence[str], Floats], str]


@dataclass(frozen=True)
class FamilyDefinition:
    """A `Family` made of data.

    Attributes:
        name: As `--family` takes it.
        read: The grammar: an answer's text to a Reading.
        write: Its inverse: labels and boxes (n, 4) in the family's frame to text.
        frame: `original` pixels, `fed` pixels (after the processor's resize), or `norm1000` (0 to 1000 on each side).
        decimals: Digits behind the point that `format` keeps; None writes floats in full.
        factor: Side of the square of pixels behind one image token; 0 where the family does not resize by a known rule.
        model_types: See `Family`.
        name_pattern: See `Family`.
        instruction: Text added to the question; `{width}` and `{height}` are the size that the model is fed.
    """

    name: str
    read: Callable[[str], Reading]
    write: Write
    frame: Frame
    decimals: int | None = 0
    factor: int = 0
    model_types: tuple[str, ...] = field(default=())
    name_pattern: str = ""
    instruction: str = ""

    def fed_size(self, width: int, height: int, pixels: PixelBudget | None) -> tuple[int, int]:
        """See `Family.fed_size`; without a resize rule the model is taken to see the original."""
        if not self.factor:
            return width, height
        return smart_resize(width, height, self.factor, pixels or PixelBudget())

    def image_tokens(self, fed_width: int, fed_height: int) -> int | None:
        """See `Family.image_tokens`."""
        return (fed_width // self.factor) * (fed_height // self.factor) if self.factor else None

    def wrap(self, question: str, fed: tuple[int, int]) -> str:
        """See `Family.wrap`."""
        return question + self.instruction.replace("{width}", str(fed[0])).replace("{height}", str(fed[1]))

    def format(self, gold: Detections, size: tuple[int, int], fed: tuple[int, int]) -> str:
        """See `Family.format`; an empty gold is written as the grammar's empty answer."""
        framed = rescale(gold.boxes, size, self._extent(size, fed))
        rounded = framed if self.decimals is None else np.round(framed, self.decimals)
        return self.write([str(label) for label in gold.labels], rounded)

    def parse(self, completion: Completion, request: Request) -> Prediction:
        """See `Family.parse`."""
        start, end = answer_span(completion.text)
        size = (request.width, request.height)
        fed = (completion.fed_width, completion.fed_height)
        if not all(fed):
            fed = self.fed_size(*size, request.pixels)
        reading = self.read(completion.text[start:end])
        return prediction(completion, request, reading, self._extent(size, fed), (start, end))

    def _extent(self, size: tuple[int, int], fed: tuple[int, int]) -> tuple[float, float]:
        """(width, height) of the whole image in the family's coordinates."""
        if self.frame == "norm1000":
            return 1000.0, 1000.0
        return (float(fed[0]), float(fed[1])) if self.frame == "fed" else (float(size[0]), float(size[1]))
