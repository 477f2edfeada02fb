"""How large a checkpoint is: small ones are computed exactly, in float32, where there is only a CPU."""

from __future__ import annotations

from vr1bench.footprint import weight_bytes

SMALL_BYTES = 10**9
"""Below this a CPU computes in float32: in bfloat16, 22 of 100 greedy answers of the bundled model differed."""


def are_small(location: str) -> bool:
    """Whether a checkpoint folder's weight files are below `SMALL_BYTES`; a hub id counts as large."""
    size = weight_bytes(location)
    return size is not None and size < SMALL_BYTES
