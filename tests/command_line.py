"""The command line as a person types it: in this process, where a new one needs a second to start, or in its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vr1bench.cli import main

COMMAND = [sys.executable, "-m", "vr1bench.cli"]

Done = subprocess.CompletedProcess[str]


def typed(*words: object, text: str = "", cwd: Path | None = None, **environment: object) -> Done:
    """What `vr1bench WORDS` gives, through the command's own entry; an unforeseen error comes out as itself.

    Args:
        words: Behind `vr1bench`.
        text: Its standard input.
        cwd: The folder to stand in; this process's if None.
        environment: Variables beside those of this process.
    """
    said_in, said, told = (io.TextIOWrapper(io.BytesIO(some), "utf-8") for some in (text.encode(), b"", b""))
    arguments = list(map(str, words))
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(cwd or Path.cwd()):
        for name, value in environment.items():
            patch.setenv(name, str(value))
        patch.setattr(sys, "argv", ["vr1bench", *arguments])
        patch.setattr(sys, "stdin", said_in)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told), pytest.raises(SystemExit) as end:
            main()
    out, err = (_written(stream) for stream in (said, told))
    assert isinstance(end.value.code, int)
    return Done(arguments, end.value.code, out, err)


def started(*words: object, text: str = "", cwd: Path | None = None, **environment: object) -> Done:
    """The same from a process of its own, with pipes and the exit code that a shell sees."""
    surroundings = os.environ | {name: str(value) for name, value in environment.items()}
    return subprocess.run(
        [*COMMAND, *map(str, words)], input=text, capture_output=True, text=True, cwd=cwd, env=surroundings, timeout=120
    )


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
