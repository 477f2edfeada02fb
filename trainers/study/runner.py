"""Runs jobs, so many at a time, each a process of its own, and logs every attempt."""

from __future__ import annotations

import datetime
import fcntl
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from vr1bench.errors import Vr1benchError
from vr1bench.interrupts import AGAIN_S, SIGNALS
from vr1bench.provenance import commit
from vr1bench.trainers.study import attempt_log
from vr1bench.trainers.study.attempt_log import DONE, INTERRUPTED, RUNNING, Line
from vr1bench.trainers.study.jobs import Job
from vr1bench.trainers.study.plan import RUNS

ALONE = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""One thread each, which sleeps while it waits: threads of two runs that spin on two cores slow each other down."""


@dataclass
class Running:
    """A job that runs.

    Attributes:
        job: Which.
        child: Its process.
        log: What it prints.
        offset: Where this attempt's begins in it, bytes.
        line: Of the log of attempts.
        began: On the monotonic clock.
    """

    job: Job
    child: subprocess.Popen[bytes]
    log: Path
    offset: int
    line: Line
    began: float


@dataclass
class Runner:
    """Runs jobs.

    Attributes:
        waiting: Those to run, in order.
        lanes: How many at a time.
        log: The log of attempts.
        minutes: Nothing is started after so many; None for no end.
        signalled: The first signal that asked it to end; 0 for none.
    """

    waiting: list[Job]
    lanes: int
    log: Path
    minutes: float | None = None
    signalled: int = 0
    _running: dict[str, Running] = field(default_factory=dict[str, Running])
    _events: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue[str])  # safe in a handler
    _began: float = field(default_factory=time.monotonic)
    _left: int = 0
    _all: int = 0
    _heard_at: float = 0.0

    def run(self) -> int:
        """Runs what is not finished; gives how many jobs are not finished then.

        Raises:
            Vr1benchError: Another runner is at work, or a training was made by another recipe.
        """
        self._all = len(self.waiting)
        with alone(RUNS) as lock:
            for line in attempt_log.close(self.log, _last_heard(attempt_log.read(self.log))):
                self._say(f"{line.recipe} was running when its runner was killed: logged as {INTERRUPTED}")
            self.waiting = [job for job in self.waiting if job.lacking()]
            self._left = len(self.waiting)
            with self._handling():
                while self._fill(lock):
                    self._wait()
        self._say(f"{self._count()} left")
        return self._left

    def _fill(self, lock: int) -> bool:
        """Starts what may start now; False where nothing runs then."""
        while self._start_next(lock):
            pass
        return bool(self._running)

    def _start_next(self, lock: int) -> bool:
        """Starts one job, or passes over one that cannot run; False where none is to be started now."""
        late = self.minutes is not None and self._spent() >= self.minutes
        if self.signalled or late or len(self._running) >= self.lanes:
            return False
        busy = {job.name for job in self.waiting} | set(self._running)
        ready = [job for job in self.waiting if not busy & {one.name for one in job.needs}]
        if not ready:
            return False
        job = ready[0]
        self.waiting.remove(job)
        missing = [one.blocking() for one in job.needs]
        if any(missing):
            self._say(f"{job.name} passed over: {'; '.join(filter(None, missing))}")
            return True
        self._start(job, lock)
        return True

    def _start(self, job: Job, lock: int) -> None:
        line = Line(job.name, job.sha256, commit(), _now().isoformat(timespec="seconds"), 0.0, RUNNING)
        log = log_of(job.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            command = job.command()
        except Vr1benchError as error:
            self._say(f"{job.name} passed over: {error}")
            return
        attempt_log.begin(self.log, line)
        with log.open("ab") as out:
            offset = out.tell()
            child = subprocess.Popen(  # noqa: S603  our own command
                command,
                stdin=subprocess.PIPE,  # a scoring ends when it closes
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | ALONE,
                start_new_session=True,  # the terminal's Ctrl-C is for us to pass on: a second one would lose the state
                pass_fds=(lock,),  # held until the last of us has ended, should we be killed
            )
        self._running[job.name] = Running(job, child, log, offset, line, time.monotonic())
        self._say(f"{job.name} starts ({self._count()} left)")
        threading.Thread(target=self._await, args=(job.name, child), daemon=True).start()

    def _await(self, name: str, child: subprocess.Popen[bytes]) -> None:
        child.wait()
        self._events.put(name)

    def _wait(self) -> None:
        """Until a run ends, or a signal comes: then the runs are asked to end, once, and for sure the second time."""
        name = self._events.get()
        if name:
            self._end(self._running.pop(name))
            return
        again = self._heard_at and time.monotonic() - self._heard_at >= AGAIN_S
        if self._heard_at and not again:
            return
        if not again:
            self._heard_at = time.monotonic()
            self._say("interrupted: the runs save and end; once more ends them at once")
        for one in self._running.values():
            if one.child.poll() is None:
                os.killpg(one.child.pid, signal.SIGKILL) if again else one.child.send_signal(signal.SIGINT)

    def _end(self, one: Running) -> None:
        """Logs how a run ended."""
        if one.child.stdin:
            one.child.stdin.close()
        spent = (time.monotonic() - one.began) / 60
        outcome = self._outcome(one)
        self._left -= outcome == DONE
        attempt_log.end(self.log, replace(one.line, minutes=round(spent, 2), outcome=outcome))
        self._say(f"{one.job.name} {outcome} after {spent:.1f} min; {self._count()} left")

    def _outcome(self, one: Running) -> str:
        code = one.child.returncode
        if code == 0:
            try:
                missing = one.job.lacking()
            except Vr1benchError as error:
                missing = str(error)
            return f"failed: {missing}" if missing else DONE
        if self.signalled or code in {128 + signal.SIGINT, -signal.SIGINT}:
            return INTERRUPTED
        how = f"killed by {signal.Signals(-code).name}: " if code < 0 else ""
        return f"failed: {how}{last_words(one.log, one.offset)}"

    @contextmanager
    def _handling(self) -> Generator[None]:
        """Signals end the runs; SIGINT too where a shell's background job, and what it starts, is told to ignore it."""

        def handle(signum: int, frame: FrameType | None) -> None:
            self.signalled = self.signalled or signum
            self._events.put("")

        before = {
            number: signal.signal(number, handle)
            for number in SIGNALS
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _spent(self) -> float:
        return (time.monotonic() - self._began) / 60

    def _count(self) -> str:
        return f"{self._left} of {self._all}"

    def _say(self, text: str) -> None:
        print(f"{_now():%H:%M} {self._spent():6.1f} min  {text}", flush=True)


def run(jobs: Sequence[Job], log: Path, lanes: int = 2, minutes: float | None = None) -> tuple[int, int]:
    """Runs what is not finished; see `Runner`. Gives how many are not finished then, and the signal that ended it.

    Raises:
        Vr1benchError: See `Runner.run`.
    """
    runner = Runner(list(jobs), lanes, log, minutes)
    return runner.run(), runner.signalled


@contextmanager
def alone(folder: Path) -> Generator[int]:
    """One runner at a time, and none while a killed one's runs still end; gives the lock, which children inherit.

    Raises:
        Vr1benchError: Another one is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Vr1benchError(
                f"another runner works in {folder}, or what one that was killed had started; wait for it, or end it"
            ) from None
        yield lock
    finally:
        os.close(lock)


def log_of(name: str) -> Path:
    """Where a job's output goes."""
    return RUNS / "logs" / f"{name.removeprefix('study/').replace('/', '-').replace(' ', '-')}.log"


def last_words(log: Path, offset: int) -> str:
    """What an attempt said last: its error, or its last line; at most 300 characters."""
    with log.open("rb") as file:
        file.seek(offset)
        text = "\n" + file.read()[-65536:].decode(errors="replace").strip()
    said = text.rpartition("\nerror: " if "\nerror: " in text else "\n")[2]
    return " ".join(said.split())[:300] or "it said nothing"


def _last_heard(lines: Sequence[Line]) -> dict[str, datetime.datetime]:
    """When what is said to run last printed something."""
    logs = {line.recipe: log_of(line.recipe) for line in lines if line.outcome == RUNNING}
    return {
        name: datetime.datetime.fromtimestamp(log.stat().st_mtime, datetime.UTC)
        for name, log in logs.items()
        if log.exists()
    }


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
