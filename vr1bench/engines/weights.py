"""How large a checkpoint is: small ones are computed exactly, in float32, where there is only a CPU."""

from __future__ import annotations

from pathlib import Path

SMALL_BYTES = 10**9
"""Below this a CPU computes in float32: in bfloat16, 22 of 100 greedy answers of the bundled model differed."""


def are_small(location: str) -> bool:
    """Whether a checkpoint folder's weight files are below `SMALL_BYTES`; a hub id counts as large."""
    folder = Path(location)
    if not folder.is_dir():
        return False
    files = [path for pattern in ("*.safetensors", "*.bin", "*.pt") for path in folder.glob(pattern)]
    return sum(path.stat().st_size for path in files) < SMALL_BYTES
