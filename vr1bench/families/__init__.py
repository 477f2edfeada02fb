"""Model families: how to ask, how to write boxes, how to read them. One small TOML file a family, in `data/`.

Users bring their own without a fork: `--family my_family.toml` with the same fields, or, where data is not enough, a
`Family` value through the entry point group `vr1bench.families`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

from vr1bench.errors import Vr1benchError
from vr1bench.families.definition import FamilyDefinition, FamilyQuestions, read_family
from vr1bench.families.frames import Frame
from vr1bench.registry import Registry
from vr1bench.types import Completion, Detections, PixelBudget, Prediction, Request

DATA = Path(__file__).parent / "data"


class Family(Protocol):
    """A family of models that answer in one grammar and one coordinate frame.

    Attributes:
        name: As `--family` takes it.
        about: One line: whose it is, its grammar and frame.
        model_types: `model_type` values of a Hugging Face `config.json` that belong to it.
        name_pattern: A regular expression, searched in the lower-cased model name where the config does not tell.
        questions: The family's own words, asked where the protocol leaves the question open.
        labelled: Whether its answers name their objects; one that does not can only be asked one class a prompt.
        pointing: Whether it answers in points; then points are scored, in columns of their own.
        pixels: The bounds on the fed area that its own processor keeps; None where it has none.
        frame: What the numbers in its answers count.
        identity: Everything of the family that can change how an answer is read, for a result's fingerprint.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def about(self) -> str: ...  # noqa: D102
    @property
    def model_types(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def name_pattern(self) -> str: ...  # noqa: D102
    @property
    def questions(self) -> FamilyQuestions: ...  # noqa: D102
    @property
    def labelled(self) -> bool: ...  # noqa: D102
    @property
    def pointing(self) -> bool: ...  # noqa: D102
    @property
    def pixels(self) -> PixelBudget | None: ...  # noqa: D102
    @property
    def frame(self) -> Frame: ...  # noqa: D102
    @property
    def identity(self) -> Mapping[str, Any]: ...  # noqa: D102

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


class Families(Registry[Family]):
    """The families: TOML files of `families/data`, then entry points; their aliases are names as well."""

    def __getitem__(self, name: str) -> Family:
        """The named family, or the one in the TOML file of this path.

        Raises:
            Vr1benchError: Nobody has this name, or the file defines no family.
        """
        if name.endswith(".toml"):
            return read_family(Path(name))
        name = self.aliases.get(name, name)
        return _shipped(name) if name in self.builtin else super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self.aliases or (isinstance(name, str) and name.endswith(".toml"))

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Other names of families, to the name."""
        return {alias: name for name in self.builtin for alias in _shipped(name).aliases}


@cache
def _shipped(name: str) -> FamilyDefinition:
    return read_family(DATA / f"{name}.toml")


FAMILIES = Families(
    kind="family",
    group="vr1bench.families",
    builtin={path.stem: str(path) for path in sorted(DATA.glob("*.toml"))},
)


def choose(family: str, model_name: str, config: Mapping[str, object]) -> tuple[Family, str]:
    """The family of a model, and a few words on why.

    Args:
        family: A family's name, an alias, the path of its TOML file, or `auto`.
        model_name: As the user typed it.
        config: The checkpoint's `config.json`; may be empty.

    Raises:
        Vr1benchError: The name is unknown, `auto` finds nothing, or the model is known to be of another family.
    """
    model_type = str(config.get("model_type", ""))
    by_type = [f for f in FAMILIES.values() if model_type in f.model_types] if model_type else []
    by_name = [f for f in FAMILIES.values() if f.name_pattern and re.search(f.name_pattern, model_name.lower())]
    if family != "auto":
        chosen = FAMILIES[family]
        if by_type and chosen.model_types and chosen.name not in {f.name for f in by_type}:
            raise Vr1benchError(
                f"family {family!r} does not match the model: its config.json says model_type {model_type!r}, "
                f"which is family {by_type[0].name!r}; drop --family, or pass --family {by_type[0].name}"
            )
        return chosen, "named on the command line"
    if by_type:  # two generations may share a model type: then the name decides between them
        both = [f for f in by_name if f in by_type]
        return (both or by_type)[0], f"config.json says model_type {model_type!r}"
    if by_name:
        return by_name[0], f"the model's name {model_name!r}"
    raise Vr1benchError(
        f"no family is known for model {model_name!r} (model_type {model_type or 'not given'!r}); "
        f"pass --family with one of: {', '.join(FAMILIES)}"
    )
