"""Printing to stdout, wherever it leads."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Prints to stdout; a reader that left (`| head`) is no error, nor is a letter that the terminal cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def pour(data: bytes) -> None:
    """Writes bytes to stdout; a reader that left is no error."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
