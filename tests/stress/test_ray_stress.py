"""Engine `ray` with replicas that are killed, on a cluster of this machine: `pytest -m slow tests/stress`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import COMMAND

from vr1bench import read_results
from vr1bench.engines.ray_cluster import LOCAL, OBJECT_STORE_BYTES, join, set_environment

set_environment(LOCAL)  # before anything imports ray
ray = pytest.importorskip("ray", reason="needs Ray: uv sync --inexact --extra ray")
pytest.importorskip("transformers", reason="needs an engine: uv sync --inexact --extra cpu")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the replicas' processes in /proc"),
]
SAMPLES = 60
RUN = ["run", "--model", "demo", "--benchmark", "demo/coco", "--limit", SAMPLES]
# Two replicas fit a machine of one core.
TWO = ["--engine", "ray", "--engine-args", "engine=hf,replicas=2,num_cpus=0.5"]
PATIENCE_S = 300


def begun(*words: object) -> subprocess.Popen[str]:
    command = [*COMMAND, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finished(*words: object) -> subprocess.CompletedProcess[str]:
    process = begun(*words)
    out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)  # between looks; nothing depends on its length


def descendants(pid: int) -> dict[int, str]:
    """Living processes below one, and their command lines."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(path.parent.name)] = int(parent)
    found: dict[int, str] = {}
    for one in parents:
        above = one
        while above not in (0, 1, pid):
            above = parents.get(above, 0)
        if above == pid and one != pid:
            with contextlib.suppress(OSError):
                found[one] = Path(f"/proc/{one}/cmdline").read_text().replace("\0", " ").strip()
    return found


def replicas(pid: int) -> list[int]:
    return [one for one, words in descendants(pid).items() if words.startswith("ray::Replica")]


def alive(pids: Iterator[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def answers(output: Path) -> list[str]:
    """Keys of the journal's records, in order; a line that is being written does not count."""
    lines = [line for path in output.rglob("records.jsonl") for line in path.read_text().splitlines(keepends=True)]
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    assert not any(record.get("failure") for record in records)
    return [record["key"] for record in records]


def values(output: Path) -> str:
    ((_, result),) = read_results(output)
    return result.values.model_dump_json()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Result's values of one machine."""
    output = tmp_path_factory.mktemp("single")
    done = finished(*RUN, "--engine", "hf", "--output", output)
    assert done.returncode == 0, done.stderr
    return values(output)


def test_a_killed_replica_loses_nothing(single: str, tmp_path: Path) -> None:
    process = begun(*RUN, *TWO, "--output", tmp_path)
    until(lambda: len(answers(tmp_path)) >= 8, process)
    family = descendants(process.pid)
    one, _ = replicas(process.pid)
    os.kill(one, signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    keys = answers(tmp_path)
    assert len(keys) == len(set(keys)) == SAMPLES
    assert values(tmp_path) == single
    assert out.splitlines()[0].startswith("benchmark")  # and nothing of Ray's
    assert len(out.splitlines()) == 3
    assert alive(iter(family)) == []


def test_both_replicas_killed_again_and_again_lose_nothing(single: str, tmp_path: Path) -> None:
    process = begun(*RUN, *TWO, "--output", tmp_path)
    for kill in range(2):
        until(lambda least=8 + 8 * kill: len(answers(tmp_path)) >= least and len(replicas(process.pid)) == 2, process)
        for pid in replicas(process.pid):
            os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    keys = answers(tmp_path)
    assert len(keys) == len(set(keys)) == SAMPLES
    assert values(tmp_path) == single


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_process_and_goes_on(
    single: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The signal goes to all that the run started, as Ctrl-C does, and Slurm's end of a job."""
    process = begun(*RUN, *TWO, "--output", tmp_path)
    until(lambda: len(answers(tmp_path)) >= 8, process)
    family = descendants(process.pid)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, err
    assert alive(iter(family)) == []
    kept = answers(tmp_path)
    assert 8 <= len(kept) < SAMPLES
    done = finished(*RUN, *TWO, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert answers(tmp_path)[: len(kept)] == kept
    assert values(tmp_path) == single


def test_a_cluster_that_was_there_before_is_joined_and_left(single: str, tmp_path: Path) -> None:
    cluster = join("")
    try:
        address = ray.get_runtime_context().gcs_address
        done = finished(*RUN, *TWO, "--engine-args", f"address={address}", "--output", tmp_path)
        assert done.returncode == 0, done.stderr
        assert values(tmp_path) == single
        assert [node["Alive"] for node in ray.nodes()] == [True]
        assert replicas(os.getpid()) == []
    finally:
        cluster.leave()


def test_a_machine_that_is_gone_loses_nothing_where_another_has_room(single: str, tmp_path: Path) -> None:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    size = {"object_store_memory": OBJECT_STORE_BYTES}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **size})
    try:
        first, _ = (cluster.add_node(num_cpus=1, **size) for _ in range(2))
        args = ["--engine-args", f"address={cluster.address}"]
        process = begun(*RUN, *TWO, *args, "--output", tmp_path)
        until(lambda: len(answers(tmp_path)) >= 8, process)
        cluster.remove_node(first, allow_graceful=False)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        keys = answers(tmp_path)
        assert len(keys) == len(set(keys)) == SAMPLES
        assert values(tmp_path) == single
    finally:
        cluster.shutdown()


def test_where_no_cluster_is_the_error_says_so(tmp_path: Path) -> None:
    done = finished(*RUN, *TWO, "--engine-args", "address=127.0.0.1:1", "--output", tmp_path)
    assert done.returncode == 2
    assert "address=127.0.0.1:1: no Ray cluster answers" in done.stderr
