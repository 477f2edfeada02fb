"""`vr1bench.parse`: the one box parser for a single text, without a benchmark around it."""

from __future__ import annotations

from collections.abc import Sequence

from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.types import Completion, Prediction, Request, Sampling


def parse(
    text: str,
    *,
    family: str,
    size: tuple[int, int],
    input_size: tuple[int, int] | None = None,
    queries: Sequence[str] = (),
) -> Prediction:
    """Reads a model's answer.

    Args:
        text: What the model said, thinking and fences included.
        family: Name of the family whose grammar and frame it uses.
        size: (width, height) of the original image in pixels; boxes come back in this frame.
        input_size: (width, height) at which the model was fed; None takes the family's own resize of `size`.
        queries: The names that were asked; without any, no label counts as unknown.

    Raises:
        Vr1benchError: The family is unknown or a size is not positive. No text raises.
    """
    chosen = FAMILIES[family]
    for name, pair in (("size", size), ("input_size", input_size or size)):
        if len(pair) != 2 or min(pair) <= 0:
            raise Vr1benchError(f"{name}: expected a positive (width, height) in pixels, got {pair}")
    try:
        fed = input_size or chosen.fed_size(*size, None)
    except ValueError as error:
        raise Vr1benchError(f"size {size}: {error}; pass input_size") from error
    request = Request("", "", (), *size, tuple(queries), (), Sampling())
    prediction = chosen.parse(Completion(text=text, fed_width=fed[0], fed_height=fed[1]), request)
    if not queries:
        prediction.unknown[:] = False
    return prediction
