"""In which order samples are asked, and by which machine: pictures stay together, and the last ones go by size."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Packed
from vr1bench.types import Ints


@dataclass(frozen=True)
class Shard:
    """One of the shares of a job's samples: the `index`-th of `count`, counted from 1: each `count`-th picture.

    Samples of one picture stay together, so that no two machines decode and encode it. A larger limit leaves the
    samples of a smaller one with their shares.
    """

    index: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard:
        """Of `1/4`.

        Raises:
            Vr1benchError: It is not two whole numbers, the first of them from 1 to the second.
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise Vr1benchError(f"--shard {text}: expected i/n with i from 1 to n, such as 1/4 for the first of four")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def numbered(names: Packed) -> Ints:
    """(samples,) Which picture each sample shows, numbered from 0 as they first come."""
    _, first, which = np.unique(names, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which]


def together(rows: Ints, names: Packed) -> Ints:
    """Rows with those of one picture one after the other, pictures in the order of their first row.

    Args:
        rows: (n,) Rows of a dataset.
        names: (n,) Their pictures.
    """
    return rows[np.argsort(numbered(names), kind="stable")]


def largest_first(rows: Ints, names: Packed, areas: Ints) -> Ints:
    """Rows by what their picture costs, the dearest first; those of one picture stay together.

    For the end of a run: what is asked last decides how long an engine runs half empty. How long an answer will be
    nobody knows; what a picture costs is known.

    Args:
        rows: (n,) Rows of a dataset.
        names: (n,) Their pictures.
        areas: (n,) Pixels of each picture as the model sees it.
    """
    return rows[np.lexsort((numbered(names), -areas))]
