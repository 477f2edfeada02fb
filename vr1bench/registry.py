"""Registries: literal dicts of names to `module:attribute`, loaded on first use, open to entry points."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from vr1bench.errors import Vr1benchError

T = TypeVar("T")


MANY, NEAREST = 40, 12
"""How many names an error lists at most, and how many where there are more."""


def unknown(kind: str, got: str, known: Iterable[str]) -> Vr1benchError:
    """The error for a name that nobody has: the nearest one first, then all of them, or of many the nearest."""
    names = list(known)
    near = difflib.get_close_matches(got, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if len(names) > MANY:
        more = len(names) - NEAREST
        names = [*difflib.get_close_matches(got, names, n=NEAREST, cutoff=0.0), f"{more} more"]
    return Vr1benchError(f"unknown {kind} {got!r}{hint} (known: {', '.join(names) or 'none'})")


@dataclass(frozen=True)
class Registry(Mapping[str, T], Generic[T]):
    """Named things of one kind; a value's module is imported when it is asked for.

    Attributes:
        kind: What error messages call one of them.
        group: The entry point group in which an installed package may offer more.
        builtin: Name to `module:attribute`.
    """

    kind: str
    group: str
    builtin: Mapping[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def __getitem__(self, name: str) -> T:
        """The named thing.

        Raises:
            Vr1benchError: Nobody has this name.
        """
        if name in self.builtin:
            module, _, attribute = self.builtin[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        if name in self._plugins:
            return self._plugins[name].load()
        raise unknown(self.kind, name, self)

    def check(self, name: str) -> None:
        """Raises the error that lists the known ones, where nobody has this name; imports nothing."""
        if name not in self:
            raise unknown(self.kind, name, self)

    def __contains__(self, name: object) -> bool:
        return name in self.builtin or name in self._plugins

    def __iter__(self) -> Iterator[str]:
        yield from self.builtin
        yield from (name for name in self._plugins if name not in self.builtin)

    def __len__(self) -> int:
        return len(list(iter(self)))
