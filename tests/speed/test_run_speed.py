"""What the harness itself costs: start, and memory a sample. Ratios and sizes, no asserted times."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BYTES_A_SAMPLE = 2048


def command_seconds(command: list[str]) -> float:
    """User and system seconds of one run of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.benchmark(group="start")
def test_help_starts_fast(benchmark):
    command = [sys.executable, "-m", "vr1bench.cli", "--help"]
    benchmark.pedantic(lambda: subprocess.run(command, capture_output=True), rounds=7, warmup_rounds=1)
    # Importing numpy alone is the yardstick: help must not have loaded anything of that weight.
    ours = min(command_seconds(command) for _ in range(5))
    numpy = min(command_seconds([sys.executable, "-c", "import numpy, pydantic"]) for _ in range(5))
    benchmark.extra_info["cpu of --help / cpu of importing numpy and pydantic"] = round(ours / numpy, 2)
    assert ours < 1.5 * numpy


def oracle_set(folder: Path, count: int, boxes: int = 3) -> Path:
    """A COCO set of many samples with some boxes each; the oracle opens no image."""
    folder.mkdir()
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480} for i in range(count)]
    annotations = [
        {
            "id": 1 + boxes * i + j,
            "image_id": i,
            "category_id": 1 + j,
            "bbox": [10 * j, 20, 100, 50],
            "area": 5000,
            "iscrowd": 0,
        }
        for i in range(count)
        for j in range(boxes)
    ]
    categories = [{"id": 1 + j, "name": f"class {j}"} for j in range(10)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "gold.json").write_text(json.dumps(data))
    (folder / "many.toml").write_text(
        'name = "many"\ntask = "detect"\nreader = "coco"\n[splits.val]\nannotations = ["gold.json"]\n'
    )
    return folder


MEMORY = """
import ctypes, sys, vr1bench
folder = sys.argv[1]
options = dict(engine="oracle", family="qwen2.5-vl", data_dir=folder, output=f"{folder}/out")
vr1bench.run("demo", benchmark=f"{folder}/many.toml", **options)
# What is held, and not what malloc keeps of what was freed: that part differs by some MB from run to run.
ctypes.CDLL(None).malloc_trim(0)
# Not ru_maxrss, which a child takes over from the process that started it.
found = dict(line.split(":") for line in open("/proc/self/status") if line.startswith(("VmRSS", "VmHWM")))
print(*(1024 * int(found[name].split()[0]) for name in ("VmRSS", "VmHWM")))
"""


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize("boxes", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("samples", [(1000, 4000), pytest.param((100, 10_000), marks=pytest.mark.slow)])
def test_memory_grows_little_with_samples(tmp_path, benchmark, boxes, samples):
    """Resident memory at the end of a run; the peak, while annotations are read or matched, is recorded beside it.

    1000 samples already hold what a run needs once; the slow one also counts that, and is docs/measurements.md's.
    """

    def memory(count: int) -> np.ndarray:
        folder = oracle_set(tmp_path / str(count), count, boxes)
        done = subprocess.run([sys.executable, "-c", MEMORY, str(folder)], capture_output=True, check=True)
        return np.array(done.stdout.split(), dtype=np.int64)

    few, many = (memory(count) for count in samples)
    resident, peak = ((many - few) / (samples[1] - samples[0])).round()
    benchmark.extra_info["bytes a sample"] = {"resident at the end": resident, "peak": peak}
    benchmark.pedantic(lambda: None, rounds=1)  # the number is the growth; the benchmark only carries it
    assert resident <= BYTES_A_SAMPLE
