"""What can go wrong, in one vocabulary, each kind with its exit code.

Imports nothing: the command line needs it at once.
A bad answer of a model is none of these: it is data, scored 0 and counted by status.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vr1bench.store import Result


class Vr1benchError(Exception):
    """Something the person at the keyboard can mend: what, got, expected, next step. Exit code 2."""

    exit_code = 2


class NotComparableError(Vr1benchError):
    """Two things that must not be compared or mixed. Exit code 3."""

    exit_code = 3


class IncompleteError(Vr1benchError):
    """Some answers are missing. What was answered is kept, and the same command continues. Exit code 1.

    Attributes:
        results: Of the benchmarks that are complete.
    """

    exit_code = 1

    def __init__(self, message: str, results: Sequence[Result] = ()) -> None:
        super().__init__(message)
        self.results = list(results)
