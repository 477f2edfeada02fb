"""Many processes write results and the leaderboard of one folder at once, and nothing is lost."""

import fcntl
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from board.made import pipes, result

from vr1bench.board import leaderboard, markdown, write_leaderboard
from vr1bench.errors import Vr1benchError
from vr1bench.store import read_results, write_result

PROCESSES, EACH = 16, 5


def write(folder, number, start):
    start.wait()
    for count in range(EACH):
        one = result(f"model {number}", f"b{count}", interval=False, noise=None)
        write_result(folder / f"b{count}" / f"{number}.json", one)
        write_leaderboard(folder)


def test_sixteen_writers_lose_nothing_and_the_last_board_holds_all(tmp_path):
    processes = multiprocessing.get_context("fork")
    start = processes.Barrier(PROCESSES)
    writers = [processes.Process(target=write, args=(tmp_path, number, start)) for number in range(PROCESSES)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * PROCESSES
    results = [found for _, found in read_results(tmp_path)]
    assert len(results) == PROCESSES * EACH
    text = (tmp_path / "LEADERBOARD.md").read_text()
    assert text == markdown(leaderboard(results))
    (_, *rows), *_ = pipes(text).values()
    assert len(rows) == PROCESSES
    assert all(all(row) for row in (row[: 1 + EACH] for row in rows))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [".leaderboard.lock", "LEADERBOARD.md"]


def test_a_writer_waits_for_its_turn_before_it_reads(tmp_path):
    """Were it to read before, it would miss what another process writes until then, and cover that one's board."""
    code = "import pathlib, sys; from vr1bench.board import write_leaderboard as w; w(pathlib.Path(sys.argv[1]))"
    lock = (tmp_path / ".leaderboard.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    while writer.poll() is None and not waits(writer.pid):
        pass
    write_result(tmp_path / "late.json", result())
    lock.close()
    assert writer.wait() == 0
    assert "m@aaaaaaaa" in (tmp_path / "LEADERBOARD.md").read_text()


def waits(pid):
    """Whether a process waits for a lock: `1: -> FLOCK ADVISORY WRITE 123 ...`."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(line[1:3] == ["->", "FLOCK"] and line[5] == str(pid) for line in lines)


def test_the_same_results_give_the_same_file_whatever_their_age(tmp_path):
    for name in "ab":
        write_result(tmp_path / f"{name}.json", result(name))
    first = write_leaderboard(tmp_path).read_bytes()
    os.utime(tmp_path / "a.json", (1, 1))
    (tmp_path / "a.json").rename(tmp_path / "z.json")
    assert write_leaderboard(tmp_path).read_bytes() == first


def test_an_empty_or_new_folder_gets_an_empty_board(tmp_path):
    path = write_leaderboard(tmp_path / "new")
    assert path == tmp_path / "new" / "LEADERBOARD.md"
    assert "No results yet." in path.read_text()


def test_what_cannot_be_written_is_said(tmp_path):
    Path(tmp_path / "file").write_text("")
    with pytest.raises(Vr1benchError, match=r"cannot write .*LEADERBOARD.md"):
        write_leaderboard(tmp_path / "file")
