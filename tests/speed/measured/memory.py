"""Highest resident memory of a whole run against the number of samples, each run in a process of its own.

`python tests/speed/measured/memory.py` prints a Markdown table: the oracle, which opens no pictures, and vLLM on the
small model's pictures, with the model and its key-value cache in the same process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from clock import head, row
from sets import blank, options, scratch, shapes

RUN = """
import json, sys, tempfile, vr1bench
told = json.loads(sys.argv[1])
with tempfile.TemporaryDirectory() as output:
    vr1bench.run("demo", output=output, **told)
# Not ru_maxrss, which a child takes over from the process that started it.
found = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Vm"))
print(*(int(found[name].split()[0]) for name in ("VmHWM", "VmRSS")), sep="\\n", file=sys.stderr)
"""


def kilobytes(engine: str, toml: Path) -> tuple[int, int]:
    """Highest and last resident memory of one run, in KiB."""
    told = {"engine": engine, **options(toml), "data_dir": str(toml.parent)}
    command = [sys.executable, "-c", RUN, json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    peak, last = done.stderr.split()[-2:]
    return int(peak), int(last)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--vllm", type=int, nargs="*", default=[100, 200, 400, 800])
    parser.add_argument("--work", type=Path, help="where pictures are written; a temporary folder if left out")
    args = parser.parse_args()
    with scratch(args.work) as work:
        head("engine", "samples", "highest, MiB", "at the end, MiB", "highest, bytes a sample more than the row above")
        for engine, counts in (("oracle", args.oracle), ("vllm", args.vllm)):
            before: tuple[int, int] | None = None
            for count in counts:
                make = blank if engine == "oracle" else shapes
                peak, last = kilobytes(engine, make(work / f"{engine}-{count}", count))
                more = round(1024 * (peak - before[1]) / (count - before[0])) if before else ""
                row(engine, count, f"{peak / 1024:.0f}", f"{last / 1024:.0f}", more)
                before = count, peak


if __name__ == "__main__":
    main()
