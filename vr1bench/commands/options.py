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
Model = Annotated[str, typer.Option(help="'demo', a checkpoint folder, or a hub id.")]
Suite = Annotated[Optional[str], typer.Option(help="A suite, or benchmarks joined by commas; see `vr1bench list`.")]
Benchmarks = Annotated[Optional[list[str]], typer.Option(help="A benchmark's name or TOML; may be repeated.")]
FamilyName = Annotated[str, typer.Option(help="A family, its TOML, or auto: by the model's config and name.")]
Split = Annotated[Optional[str], typer.Option(help="Split of every benchmark [default: each benchmark's own].")]
Limit = Annotated[Optional[int], typer.Option(help="First samples only.")]
GenArgs = Annotated[Optional[list[str]], typer.Option(help="k=v[,k=v]: decoding, such as temperature=0.7.")]
Window = Annotated[int, typer.Option(help="Requests in flight at most.", min=1)]
Timeout = Annotated[
    float,
    typer.Option(help="Seconds without any answer after which the engine is said to hang; 0: wait for ever.", min=0),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Protocol = Annotated[str, typer.Option(help="How the number is made; see `vr1bench list protocols`.")]
Seed = Annotated[int, typer.Option(help="Seed of decoding, where it samples.")]
EngineArgs = Annotated[Optional[list[str]], typer.Option(help="k=v[,k=v]: the engine's own options, passed through.")]
