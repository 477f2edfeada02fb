"""What a training tells the person at its terminal."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Prints on stderr, never where a program reads; once for all processes of a training."""
    if os.environ.get("RANK", "0") == "0":
        print(f"vr1bench: {text}", file=sys.stderr, flush=True)
