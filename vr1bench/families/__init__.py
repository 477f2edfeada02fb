"""Model families: how to ask, how to write boxes, how to read them. One small file a family.

A new family is a file with a value that satisfies `Family`, and a line in `FAMILIES`. Users plug in their own
through the entry point group `vr1bench.families` (a name and a `Family` value) without a fork.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from vr1bench.errors import Vr1benchError
from vr1bench.registry import Registry
from vr1bench.types import Completion, Detections, PixelBudget, Prediction, Request


class Family(Protocol):
    """A family of models that answer in one grammar and one coordinate frame.

    Attributes:
        name: As `--family` takes it.
        model_types: `model_type` values of a Hugging Face `config.json` that belong to it.
        name_pattern: A regular expression, searched in the lower-cased model name where the config does not tell.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def model_types(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def name_pattern(self) -> str: ...  # noqa: D102

    def fed_size(self, width: int, height: int, pixels: PixelBudget | None) -> tuple[int, int]:
        """The (width, height) in pixels at which the model sees an image of this size."""
        ...

    def image_tokens(self, fed_width: int, fed_height: int) -> int | None:
        """How many image tokens an image of this fed size costs; None where unknown."""
        ...

    def wrap(self, question: str, fed: tuple[int, int]) -> str:
        """The protocol's question with whatever this family must be told to answer in its grammar."""
        ...

    def format(self, gold: Detections, size: tuple[int, int], fed: tuple[int, int]) -> str:
        """The perfect answer for an image of `size` fed at `fed`: the inverse of `parse` to one grid step."""
        ...

    def parse(self, completion: Completion, request: Request) -> Prediction:
        """Reads any text; never raises."""
        ...


FAMILIES = Registry[Family](
    kind="family",
    group="vr1bench.families",
    builtin={
        "qwen2.5-vl": "vr1bench.families.qwen2_5_vl:FAMILY",
        "qwen2-vl": "vr1bench.families.qwen2_vl:FAMILY",
        "qwen3-vl": "vr1bench.families.qwen3_vl:FAMILY",
        "absolute": "vr1bench.families.absolute:FAMILY",
    },
)


def choose(family: str, model_name: str, config: Mapping[str, object]) -> tuple[Family, str]:
    """The family of a model, and a few words on why.

    Args:
        family: A family's name, or `auto`.
        model_name: As the user typed it.
        config: The checkpoint's `config.json`; may be empty.

    Raises:
        Vr1benchError: The name is unknown, `auto` finds nothing, or the model is known to be of another family.
    """
    model_type = str(config.get("model_type", ""))
    by_type = next((f for f in FAMILIES.values() if model_type in f.model_types), None) if model_type else None
    if family != "auto":
        chosen = FAMILIES[family]
        if by_type is not None and by_type.name != chosen.name and chosen.model_types:
            raise Vr1benchError(
                f"family {family!r} does not match the model: its config.json says model_type {model_type!r}, "
                f"which is family {by_type.name!r}; drop --family, or pass --family {by_type.name}"
            )
        return chosen, "named on the command line"
    if by_type is not None:
        return by_type, f"config.json says model_type {model_type!r}"
    for candidate in FAMILIES.values():
        if candidate.name_pattern and re.search(candidate.name_pattern, model_name.lower()):
            return candidate, f"the model's name {model_name!r}"
    raise Vr1benchError(
        f"no family is known for model {model_name!r} (model_type {model_type or 'not given'!r}); "
        f"pass --family with one of: {', '.join(FAMILIES)}"
    )
