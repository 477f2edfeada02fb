"""The journal survives what happens to it, and nobody else's records slip in."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys

import pytest

from vr1bench.errors import Vr1benchError
from vr1bench.journal import Journal, read_run
from vr1bench.store import Metric, read_result, read_results, write_text
from vr1bench.types import Completion, Failure, Record, Training

IDENTITY = {"model": "m", "sampling": {"max_tokens": 5}}


def record(number: int, text: str = "hello é") -> Record:
    return Record(key=f"{number:032x}", sample_id=str(number), completion=Completion(text=text))


def failure(number: int) -> Record:
    return Record(key=f"{number:032x}", sample_id=str(number), failure=Failure(error="no such image"))


def lines(folder) -> list[str]:
    return [json.loads(line)["sample_id"] for line in (folder / "records.jsonl").read_text().splitlines()]


def test_reads_what_it_wrote(tmp_path):
    long = record(2, "x" * 20_000)
    with Journal(tmp_path / "run", IDENTITY) as journal:
        journal.append(record(1))
        journal.append(long)
        assert journal.read(record(1).key) == record(1)
        assert journal.read(long.key) == long
        assert journal.read(record(3).key) is None
    with Journal(tmp_path / "run", IDENTITY) as journal:
        assert journal.read(long.key) == long
        assert (len(journal), record(1).key in journal, record(3).key in journal) == (2, True, False)


@pytest.mark.parametrize("tail", [b'{"key": "00', b"garbage\n", b"\x00\x00\n", b'{"key": "ff", "sample_id": "1"'])
def test_a_torn_tail_is_dropped(tmp_path, tail):
    with Journal(tmp_path, IDENTITY) as journal:
        journal.append(record(1))
    with (tmp_path / "records.jsonl").open("ab") as file:
        file.write(tail)
    with Journal(tmp_path, IDENTITY) as journal:
        journal.append(record(2))
        assert journal.read(record(2).key) == record(2)
    assert lines(tmp_path) == ["1", "2"]


def test_failures_are_asked_again_and_repeats_stand_once(tmp_path):
    with Journal(tmp_path, IDENTITY) as journal:
        for one in (record(1), failure(2), record(3), record(1)):
            journal.append(one)
        assert failure(2).key not in journal
        assert list(journal.failures.values()) == ["sample 2: no such image"]
    with Journal(tmp_path, IDENTITY) as journal:
        assert not journal.failures
        journal.append(record(2))
        assert [journal.read(record(n).key) for n in (1, 2, 3)] == [record(1), record(2), record(3)]
    assert lines(tmp_path) == ["1", "3", "2"]


def test_another_run_is_refused_by_what_differs(tmp_path):
    Journal(tmp_path, IDENTITY).close()
    with pytest.raises(Vr1benchError, match=r"belongs to another run: its sampling.max_tokens is 5, this run's is 6"):
        Journal(tmp_path, {**IDENTITY, "sampling": {"max_tokens": 6}})


def test_a_run_notes_where_its_data_lay_and_what_made_its_model(tmp_path):
    Journal(tmp_path / "plain", IDENTITY).close()
    assert read_run(tmp_path / "plain") == {"identity": IDENTITY, "data_dir": "", "training": None}
    training = Training(method="sft", recipe="r", recipe_sha256="0" * 64, base_model="b", base_revision="1" * 40)
    Journal(tmp_path / "made", IDENTITY, "data", training=training).close()
    noted = {"identity": IDENTITY, "data_dir": "data", "training": training.model_dump()}
    assert read_run(tmp_path / "made") == noted
    Journal(tmp_path / "made", IDENTITY).close()  # it may differ, and what stands there stays
    assert read_run(tmp_path / "made") == noted


def test_an_older_run_is_compared_as_this_version_would_write_it(tmp_path):
    Journal(tmp_path, IDENTITY).close()
    new = {**IDENTITY, "protocol": {"boxes": "first"}}
    Journal(tmp_path, new, current=lambda stored: {"protocol": {"boxes": "first"}, **stored}).close()
    with pytest.raises(Vr1benchError, match=r"its protocol is None"):
        Journal(tmp_path, new)


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(Vr1benchError, match="no run folder"):
        Journal(tmp_path, IDENTITY)


def test_a_damaged_identity_is_refused(tmp_path):
    Journal(tmp_path, IDENTITY).close()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(Vr1benchError, match="damaged"):
        Journal(tmp_path, IDENTITY)


def _try_to_open(folder, answers) -> None:
    try:
        Journal(folder, IDENTITY)
        answers.put("opened")
    except Vr1benchError as error:
        answers.put(str(error))


def test_one_process_at_a_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with Journal(tmp_path, IDENTITY):
        other = context.Process(target=_try_to_open, args=(tmp_path, answers))
        other.start()
        assert "in use by another" in answers.get(timeout=60)
        other.join()


def _read(folder, answers) -> None:
    try:
        with Journal(folder, IDENTITY, read_only=True) as journal:
            answers.put(str([journal.read(record(n).key) is not None for n in (1, 2, 3)]))
    except Vr1benchError as error:
        answers.put(str(error))


def _elsewhere(folder) -> str:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    other = context.Process(target=_read, args=(folder, answers))
    other.start()
    said = answers.get(timeout=60)
    other.join()
    return said


def test_readers_share_a_run_and_leave_it_as_it_is(tmp_path):
    with Journal(tmp_path, IDENTITY) as journal:
        for one in (failure(2), record(1), record(1, "again"), record(3)):
            journal.append(one)
        assert "in use by another" in _elsewhere(tmp_path)
    with (tmp_path / "records.jsonl").open("ab") as file:
        file.write(b'{"key": "00')
    before = (tmp_path / "records.jsonl").read_bytes()
    with Journal(tmp_path, IDENTITY, read_only=True) as journal:
        assert [journal.read(record(n).key) for n in (1, 2, 3)] == [record(1), None, record(3)]
        assert len(journal) == 2
        assert _elsewhere(tmp_path) == "[True, False, True]"
        with pytest.raises(Vr1benchError, match="in use by another"):
            Journal(tmp_path, IDENTITY)
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_a_file_system_without_locks_is_said_and_not_waited_for(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)  # as Lustre does, which is not at hand
    with pytest.raises(Vr1benchError, match=r"cannot be locked \(Function not implemented\).* another, for two runs"):
        Journal(tmp_path, IDENTITY)


def test_a_run_is_read_where_no_lock_can_be_made(tmp_path):
    """A lock that points into nowhere stands for a folder that may not be written, which root always may."""
    with Journal(tmp_path, IDENTITY) as journal:
        journal.append(record(1))
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").symlink_to(tmp_path / "no such folder" / "lock")
    with Journal(tmp_path, IDENTITY, read_only=True) as journal:
        assert journal.read(record(1).key) == record(1)
    (tmp_path / "records.jsonl").unlink()
    with Journal(tmp_path, IDENTITY, read_only=True) as journal:
        assert len(journal) == 0
    assert not (tmp_path / "records.jsonl").exists()


def test_a_full_disk_keeps_what_was_written(tmp_path):
    """A file size limit stands for the full disk: the write fails in the same place."""
    import resource
    import signal

    with Journal(tmp_path, IDENTITY) as journal:
        journal.append(record(1))
        size = (tmp_path / "records.jsonl").stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
            with pytest.raises(Vr1benchError, match="cannot write"):
                journal.append(record(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        journal.append(record(3))
    assert lines(tmp_path) == ["1", "3"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]
    (tmp_path / "c").write_text("")
    with pytest.raises(Vr1benchError, match="cannot write"):
        write_text(tmp_path / "c" / "d.json", "x")


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("there", "not yet"):
        link = tmp_path / f"to {name}"
        link.symlink_to(tmp_path / "deep" / name)
    (tmp_path / "deep" / "there").write_text("old")
    for name in ("there", "not yet"):
        write_text(tmp_path / f"to {name}", "new")
        assert (tmp_path / f"to {name}").is_symlink()
        assert (tmp_path / "deep" / name).read_text() == "new"


def test_what_is_no_regular_file_is_written_straight_into(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write_text(fifo, "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert fifo.is_fifo()
    with pytest.raises(Vr1benchError, match="it is a folder"):
        write_text(tmp_path, "x")


def test_standard_output_is_a_file_to_write(tmp_path):
    """By the name that /dev/stdout points to: nothing can be put in that one's place, should this ever fail."""
    name = "/proc/self/fd/1"
    code = f"from pathlib import Path; from vr1bench.store import write_text; write_text(Path('{name}'), 'said')"
    words = [sys.executable, "-c", code]
    assert subprocess.run(words, capture_output=True, text=True, timeout=60).stdout == "said"
    (tmp_path / "log").write_text("before ")
    with (tmp_path / "log").open("a") as log:
        subprocess.run(words, stdout=log, timeout=60, check=True)
    assert (tmp_path / "log").read_text() == "before said"


def test_no_nan_on_disk():
    with pytest.raises(ValueError, match="finite"):
        Metric(value=float("nan"))


def test_a_file_that_is_no_result_is_said_to_be_none(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(Vr1benchError, match="no result of schema version 1"):
        read_result(tmp_path / "x.json")
    with pytest.raises(Vr1benchError, match="cannot read"):
        read_result(tmp_path / "y.json")
    (tmp_path / "x.json").rename(tmp_path / "x.txt")
    assert list(read_results(tmp_path)) == []
