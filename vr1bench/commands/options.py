"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

DataDir = Annotated[
    Optional[Path], typer.Option(help="Folder that holds the data sets [default: $VR1BENCH_DATA or ./data].")
]
Output = Annotated[Path, typer.Option(help="Folder of results; run folders lie under its runs/.")]
Changes = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="FIELD=VALUE: change one field of the protocol; the result's name says so."),
]
Scores = Annotated[Optional[str], typer.Option(help="Where box scores come from: constant, logprob or order.")]
