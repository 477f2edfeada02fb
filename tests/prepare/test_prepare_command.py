"""`vr1bench prepare` as people type it."""

import fcntl
import os
import signal
import struct
import subprocess
import termios
import threading

import pytest
from command_line import COMMAND, started, typed
from prepare.host import drop, one


def test_the_command_says_what_it_did(define, root, host):
    done = started("prepare", define(), "--data-dir", root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["small", "val", "3", "3", "prepared"]
    assert f"fetching {host.url}/small.zip" in done.stderr
    assert "\r" not in done.stderr  # no bar without a terminal
    done = typed("prepare", define(), "--data-dir", root.parent / "other", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    done = typed("prepare", define(split="samples = 5"), "--data-dir", root, "--quiet")
    assert "there already" in done.stdout
    assert done.stderr == "warning: small: split val holds 3 samples where 5 were published\n"
    (root / "sets/small/gold.json").unlink()
    done = typed("prepare", define(), "--data-dir", root, "--check")
    assert done.returncode == 1
    assert "missing" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_terminal_shows_a_bar(define, root):
    master, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    subprocess.run(
        [*COMMAND, "prepare", define(), "--data-dir", str(root)], stdout=subprocess.DEVNULL, stderr=terminal, timeout=60
    )
    os.close(terminal)
    shown = os.read(master, 2**16)
    os.close(master)
    assert b"small.zip:   0%|" in shown


def test_the_command_refuses_with_words(define, root):
    assert typed("prepare").returncode == 2
    done = typed("prepare", "odinv")
    assert done.returncode == 2
    assert "did you mean 'odinw'" in done.stderr
    done = typed("prepare", define(rest=f'sha256 = "{"0" * 64}"'), "--data-dir", root)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: http://127.0.0.1")


def test_the_command_takes_commas(root):
    done = typed("prepare", "coco,odinw/Raccoon", "--check", "--data-dir", root)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["coco", "odinw/Raccoon"]


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_keeps_the_part(define, root, host, packed):
    stalled, go_on = threading.Event(), threading.Event()

    def stall(request):
        request.serve(100)
        request.wfile.flush()
        stalled.set()
        go_on.wait(60)

    # The part is written before the host is asked for more: wait until it is there.
    host.faults["/small.zip"] = [drop(100), stall]
    words = ["prepare", define(), "--data-dir", str(root)]
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert stalled.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    go_on.set()
    assert process.returncode == 130
    assert "what was fetched is kept: type the same command again to continue" in err
    assert "Traceback" not in err
    assert out == ""
    (part,) = (root / "downloads").glob("*.part")
    have = part.stat().st_size
    assert packed.startswith(part.read_bytes())
    assert have >= 100
    assert one(define(), root).state == "prepared"
    assert host.gets()[-1]["Range"] == f"bytes={have}-"
