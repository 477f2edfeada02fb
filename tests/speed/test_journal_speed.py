"""A journal of a million records: appending stays flat, and going on costs seconds and a bounded memory a record."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CLASSES = 10
BLOCKS = 10
BYTES_A_RECORD = 256

JOB = """
import json, sys, time
from pathlib import Path
from vr1bench.journal import Journal
from vr1bench.running import plan
from vr1bench.types import Completion, Record
folder, blocks = Path(sys.argv[1]), int(sys.argv[2])
(job,) = plan(
    "m", None, str(folder / "many.toml"), engine="oracle", family="qwen2.5-vl", protocol="standard", split=None,
    limit=None, changes={"query": "one"}, data_dir=folder, output=folder / "out", seed=0, gen_args={}, engine_args={},
)
text = '[{"bbox_2d": [10, 20, 110, 70], "label": "class 1"}, {"bbox_2d": [300, 20, 400, 70], "label": "class 1"}]'
def memory():
    return 1024 * int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])
"""
FILL = (
    JOB
    + """
requests, size, seconds = job.pending(set()), job.count * 10 // blocks, []
with Journal(job.folder, job.identity) as journal:
    for _ in range(blocks):
        records = [
            Record(key=one.key, sample_id=one.sample_id, query=one.queries[0], completion=Completion(text=text))
            for _, one in zip(range(size), requests)
        ]
        start = time.process_time()
        for record in records:
            journal.append(record)
        seconds.append(time.process_time() - start)
print(json.dumps(seconds))
"""
)
RESUME = (
    JOB
    + """
before, start = memory(), time.process_time()
journal = Journal(job.folder, job.identity)
opened, held = time.process_time() - start, memory() - before
start = time.process_time()
rows, lacking = job.lacking(journal)
searched = time.process_time() - start
start = time.process_time()
with journal.path.open("rb") as file:
    for line in file:
        json.loads(line)
plain = time.process_time() - start
print(json.dumps([opened, held, searched, plain, len(journal), lacking, journal.path.stat().st_size]))
"""
)


def many(folder: Path, count: int) -> Path:
    """A COCO set of many samples with one box each, and ten classes to ask for."""
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(count)]
    gold = [{"id": 1 + i, "image_id": i, "category_id": 1, "bbox": [10, 20, 100, 50]} for i in range(count)]
    classes = [{"id": 1 + j, "name": f"class {j}"} for j in range(CLASSES)]
    (folder / "gold.json").write_text(json.dumps({"images": images, "annotations": gold, "categories": classes}))
    (folder / "many.toml").write_text(
        'name = "many"\ntask = "detect"\nreader = "coco"\n[splits.val]\nannotations = ["gold.json"]\n'
    )
    return folder


def said(code: str, folder: Path) -> list:
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(BLOCKS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.benchmark(group="journal")
@pytest.mark.parametrize("records", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_large_journal_is_written_and_taken_up_at_a_flat_cost(tmp_path, benchmark, records):
    folder = many(tmp_path, records // CLASSES)
    blocks = said(FILL, folder)
    opened, held, searched, plain, kept, lacking, size = said(RESUME, folder)
    assert (kept, lacking) == (records, 0)
    block = records / BLOCKS
    benchmark.extra_info |= {
        "µs an append, first and last tenth, slowest": [
            round(1e6 * x / block, 2) for x in (blocks[0], blocks[-1], max(blocks))
        ],
        "CPU s to open": round(opened, 2),
        "of reading its lines by json.loads": round(opened / plain, 2),
        "CPU s to find that nothing is missing": round(searched, 2),
        "bytes in memory a record": round(held / records),
        "bytes on disk a record": round(size / records),
    }
    benchmark.pedantic(lambda: None, rounds=1)  # the numbers are above; the benchmark only carries them
    assert min(blocks[BLOCKS // 2 :]) < 1.5 * min(blocks[: BLOCKS // 2])
    assert opened < 3 * plain
    assert held < BYTES_A_RECORD * records
