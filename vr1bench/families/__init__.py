"""Model families: how to ask, how to write boxes, how to read them. One small TOML file a family, in `data/`.

Users bring their own without a fork: `--family my_family.toml` with the same fields, or, where data is not enough, a
`Family` value through the entry point group `vr1bench.families`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

from vr1bench.errors import Vr1benchError
from vr1bench.families.definition import FamilyDefinition, FamilyQuestions, check_reads_itself, read_family
from vr1bench.families.frames import Frame
from vr1bench.registry import Registry
from vr1bench.types import Completion, Detections, PixelBudget, Prediction, Request

DATA = Path(__file__).resolve().parent / "data"
BESIDE = re.compile(
    r"(?:|[.~]+|(?:checkpoint|global-?step|step|epoch|iter|v)[-.]?[0-9.]+|snapshots|[0-9a-f]{40}"
    r"|(?:hf|merged|final|last|best|latest|actor|huggingface|model|output|export)[-0-9]*)"
)
"""Parts of a checkpoint's path that say nothing of its family."""
NO_ANSWERS = re.compile(r"embedding|rerank")


class Family(Protocol):
    """A family of models that answer in one grammar and one coordinate frame.

    Attributes:
        name: As `--family` takes it.
        aliases: Other names for `--family`.
        about: One line: whose it is, its grammar and frame.
        model_types: `model_type` values of a Hugging Face `config.json` that belong to it.
        name_pattern: A regular expression, searched where the config does not tell in the last part of the model's
            name, lower-cased and with `-` for `_`.
        closed: Whether its weights are not to be had: then no checkpoint is of it.
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
    def aliases(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def about(self) -> str: ...  # noqa: D102
    @property
    def model_types(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def name_pattern(self) -> str: ...  # noqa: D102
    @property
    def closed(self) -> bool: ...  # noqa: D102
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
            Vr1benchError: Nobody has this name, or the file or the package defines no family.
        """
        if name.endswith(".toml"):
            return self._own(Path(name))
        if name not in self.builtin:
            name = self.aliases.get(name, name)
        return _shipped(name) if name in self.builtin else self._offered(name)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self.aliases or (isinstance(name, str) and name.endswith(".toml"))

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Other names of families, to the name; those of built-in families win."""
        shipped = {alias: name for name in self.builtin for alias in _shipped(name).aliases}
        offered = {alias: name for name in self if name not in self.builtin for alias in self._offered(name).aliases}
        return offered | shipped

    def _offered(self, name: str) -> Family:
        """A family of another installed package.

        Raises:
            Vr1benchError: There is none, it cannot be imported, or it calls itself otherwise.
        """
        try:
            family = super().__getitem__(name)
        except (ImportError, AttributeError) as error:
            raise Vr1benchError(f"family {name!r} of the entry point group {self.group}: {error}") from error
        if family.name != name:  # a run folder keeps the name only
            raise Vr1benchError(
                f"the entry point {name!r} of {self.group} gives the family {family.name!r}; rename one"
            )
        return family

    def _own(self, path: Path) -> Family:
        """The family of a user's file.

        Raises:
            Vr1benchError: The file defines none, or one that could be taken for another.
        """
        family = read_family(path)
        if path.resolve().parent == DATA:
            return family
        if family.name in self:
            raise Vr1benchError(
                f"family {path}: name: {family.name!r} is a name of a family that is known without this file; choose "
                "another: results and run folders go by it"
            )
        check_reads_itself(family, f"family {path}")
        return family


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
        Vr1benchError: The name is unknown, `auto` finds nothing or several, or the model is known to be of another
            family.
    """
    model_type = str(config.get("model_type") or "")
    by_type = [f for f in FAMILIES.values() if model_type in f.model_types] if model_type else []
    if family != "auto":
        chosen = FAMILIES[family]
        if by_type and model_type not in chosen.model_types and not _for_any_model(chosen):
            raise Vr1benchError(
                f"family {family!r} does not match the model: its config.json says model_type {model_type!r}, "
                f"which is family {by_type[0].name!r}; drop --family, or pass --family {by_type[0].name}"
            )
        return chosen, "named on the command line"
    parts = _telling(model_name)
    if NO_ANSWERS.search(parts[0]):
        raise Vr1benchError(
            f"model {model_name!r} embeds or ranks by its name, and answers no questions; if it does, pass --family"
        )
    if by_type:  # two may share a model type: then the name decides between them, and then the type's own
        found = next(filter(None, (_named(by_type, part) for part in [*parts, *_telling(model_type)])), by_type)
        because = f"config.json says model_type {model_type!r}"
    else:
        found = _named([f for f in FAMILIES.values() if _may_be(f, config)], parts[0])
        because = f"the model's name {model_name!r}"
    if len(found) == 1:
        return found[0], because
    if found:
        names = ", ".join(f.name for f in found)
        raise Vr1benchError(f"model {model_name!r} may be of several families: {names}; pass --family with one of them")
    raise Vr1benchError(
        f"no family is known for model {model_name!r} (model_type {model_type or 'not given'!r}); "
        f"pass --family with one of: {', '.join(FAMILIES)}"
    )


def _for_any_model(family: Family) -> bool:
    """Whether a family that is asked for by name goes with any model: one without marks, or a user's without types."""
    return not family.model_types and (family.name not in FAMILIES.builtin or not family.name_pattern)


def _may_be(family: Family, config: Mapping[str, object]) -> bool:
    """Whether a name alone may tell this family, of a model whose type is nobody's."""
    if not config:
        return True
    return not family.closed and (not family.model_types or not config.get("model_type"))


def _telling(model_name: str) -> list[str]:
    """The last two parts of a model's name that can tell a family, last first; what training appends cannot."""
    parts = [part for part in model_name.lower().replace("_", "-").split("/") if not BESIDE.fullmatch(part)]
    return parts[:-3:-1] or [""]


def _named(families: Sequence[Family], part: str) -> list[Family]:
    """Those whose pattern is found in a part of a name."""
    return [f for f in families if f.name_pattern and re.search(f.name_pattern, part)]
