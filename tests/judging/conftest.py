"""The command line."""

import subprocess
import sys

import pytest


@pytest.fixture
def vr1bench():
    """Runs the command with some words."""

    def call(*words):
        return subprocess.run(
            [sys.executable, "-m", "vr1bench.cli", *map(str, words)], capture_output=True, text=True, timeout=120
        )

    return call
