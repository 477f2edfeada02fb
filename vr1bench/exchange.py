"""The exchange with an engine: questions as it takes them, answers checked and journalled as they come, and its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from vr1bench.engines import ENGINES, Answer, Engine, EngineOptions
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.job import Job
from vr1bench.journal import Journal
from vr1bench.types import Completion, Failure, Ints, Record, Request
from vr1bench.watchdog import Hang, Watchdog

TAIL = 2
"""Windows of requests at the end of a run that are asked by size, see `Job.largest_first`."""


@dataclass
class Open:
    """A job in progress: its journal, the rows that lacked answers at first and how many still do, its wall time."""

    job: Job
    journal: Journal
    rows: Ints
    waiting: int
    started: float = 0.0
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class Asking:
    """All pending requests as one stream, so that the engine never drains between benchmarks."""

    doing: Sequence[Open]
    window: int
    in_flight: dict[int, tuple[Open, Request]] = field(default_factory=dict[int, "tuple[Open, Request]"])

    def requests(self) -> Iterator[Request]:
        """Made as the engine takes them; may be drawn by a thread of its own."""
        *_, last = (one for one in self.doing if one.waiting)
        for one in self.doing:
            one.started = time.perf_counter()
            rows = one.rows
            if one is last:  # the engine drains after it
                rows = one.job.largest_first(rows, TAIL * self.window * len(rows) // one.waiting)
            for request in one.job.pending(one.journal, rows):
                self.in_flight[id(request)] = (one, request)  # holding the request keeps its id its own
                yield request

    def perfect(self, request: Request) -> str:
        """The oracle's answer."""
        return self.in_flight[id(request)][0].job.perfect(request)

    @property
    def kept(self) -> str:
        """What is safe, and how to go on, for an error message."""
        count = sum(len(one.journal) for one in self.doing)
        return f"{count} answers are kept: type the same command again to continue with the missing ones"

    def check(self, request: Request, answer: object) -> None:
        """Holds what an engine gave against what it was asked.

        Raises:
            IncompleteError: It is no answer, or not to a request that waits for one.
        """
        if id(request) in self.in_flight:
            if isinstance(answer, Completion | Failure):
                return
            fault = f"gave {type(answer).__name__} for sample {request.sample_id}"
        elif any(request.key in one.journal or request.key in one.journal.failures for one in self.doing):
            fault = f"gave a second answer for sample {request.sample_id}"
        else:
            fault = f"gave an answer for sample {request.sample_id} to a request that it was not sent"
        raise IncompleteError(
            f"engine {self.doing[0].job.engine!r} {fault}; expected one Completion or Failure for each request: "
            f"mend the engine, or choose another --engine and --output; {self.kept}"
        )

    def take(self, request: Request, answer: Completion | Failure) -> Open:
        """Journals an answer; gives the job that it belongs to."""
        one, _ = self.in_flight.pop(id(request))
        good = isinstance(answer, Completion)
        one.journal.append(
            Record(
                key=request.key,
                sample_id=request.sample_id,
                query=request.queries[0] if len(request.queries) == 1 else "",
                completion=answer if good else None,
                failure=None if good else answer,
            )
        )
        one.waiting -= 1
        return one


def ask(
    doing: Sequence[Open],
    engine_args: Mapping[str, Any],
    window: int,
    progress: bool,
    finish: Callable[[Open], None],
    timeout: float,
    on_hang: Callable[[str], None] | None,
) -> None:
    """Asks what is pending through one engine, and finishes each job with its last answer."""
    for one in doing:
        if not one.waiting:
            finish(one)
    total = sum(one.waiting for one in doing)
    if not total:
        return
    asking = Asking(doing, window)
    first = doing[0].job
    options = EngineOptions(
        first.model,
        first.family,
        engine_args,
        window,
        first.sampling.logprobs,
        max(one.job.max_image_tokens for one in doing),
        perfect=asking.perfect,
    )
    stacks = next(one for one in doing if one.waiting).job.folder / "hang.txt"

    def hung() -> str:
        return (
            f"engine {first.engine!r} gave no answer for {timeout:g} s (--timeout), and stood where {stacks} shows; "
            f"{asking.kept}, with a longer --timeout if it is only slow"
        )

    stacks.unlink(missing_ok=True)  # of an earlier run
    watchdog = Watchdog(timeout, stacks, on_hang and (lambda: on_hang(hung())))
    open_engine = ENGINES[first.engine]
    with _one_error(asking):
        engine = open_engine(options)
    try:
        with (
            watchdog,
            _closing(engine),
            tqdm(total=total, unit=" requests", disable=not progress, dynamic_ncols=True, file=sys.stderr) as bar,
            closing(_answers(engine, asking, watchdog)) as answers,  # before the engine, whatever ends the loop
        ):
            for request, answer in answers:
                one = asking.take(request, answer)
                bar.set_description_str(one.job.benchmark.name, refresh=False)
                bar.update()
                if not one.waiting:
                    one.seconds = time.perf_counter() - one.started
                    one.versions.update(engine.versions)
                    finish(one)
    except Hang as hang:
        raise _said_first(hang) or IncompleteError(hung()) from None


def _said_first(hang: Hang) -> IncompleteError | None:
    """What broke an engine that hung only while it was closed."""
    return hang.__context__ if isinstance(hang.__context__, IncompleteError) else None


@contextmanager
def _closing(engine: Engine) -> Generator[None]:
    """Closes an engine at the end; a dead one that cannot even be closed hides neither the answers nor its error."""
    try:
        yield
    finally:
        try:
            engine.close()
        except Exception as error:
            tqdm.write(f"warning: engine {engine.name!r} did not close: {_in_words(error)}", file=sys.stderr)


def _answers(engine: Engine, asking: Asking, watchdog: Watchdog) -> Generator[Answer]:
    """The engine's answers, each held against what was asked."""
    with _one_error(asking), ExitStack() as stack:
        answers = engine.generate(asking.requests())
        if isinstance(answers, Generator):
            stack.enter_context(closing(answers))
        watchdog.wait()
        for request, answer in answers:
            watchdog.rest()
            asking.check(request, answer)
            yield request, answer
            watchdog.wait()
        watchdog.rest()


@contextmanager
def _one_error(asking: Asking) -> Generator[None]:
    """Whatever an engine may raise becomes one error: what is kept is safe, and the next run goes on."""
    try:
        yield
    except Vr1benchError:
        raise
    except (Exception, SystemExit) as error:  # some library that an engine stands on may end the process, with code 0
        raise IncompleteError(
            f"engine {asking.doing[0].job.engine!r} broke: {_in_words(error)}; {asking.kept}"
        ) from error


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
