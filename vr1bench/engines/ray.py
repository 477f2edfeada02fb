# pyright: basic
"""A cluster through Ray: replicas of a model as actors, which Ray places, starts anew where one dies, and asks again.

Ray Data is not used: it takes all of its input before the first answer (3000 of 3000 requests, from items as from a
generator, in Ray 2.60), keeps it to the end, and its readers run on the cluster, where the requests of a run are not.
Here a request is a call of an actor, and a replica has no more of them than fill its engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from vr1bench.engines import ENGINES, Answer, EngineOptions
from vr1bench.engines.ray_cluster import Cluster, Options, join, options_of, place
from vr1bench.engines.ray_replica import Replica
from vr1bench.errors import Vr1benchError
from vr1bench.families import Family
from vr1bench.types import Completion, Failure, Request

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

BEYOND = 48
"""Requests at a replica beyond its window: what its engine takes ahead (vLLM 16), and what it uses up in the time that
an answer and the next request are on their way."""
RESTARTS = 10
"""How often a replica is started anew: a request that kills it every time must end some time. The requests themselves
are asked again without limit, as a machine that is gone uses up any number of tries before Ray notices."""
START_S = 3600.0
"""How long the replicas may take to start: loading hundreds of GB over a network is slow, and no room is for ever."""
CLOSE_S = 10.0
"""How long a replica may take to end by itself."""


class Turns:
    """Which replica a request goes to: for the same picture as the one before, to the same; else to the least busy."""

    def __init__(self, replicas: int, most: int) -> None:
        """Of so many replicas, each with so many requests at most."""
        self._most = most
        self._busy = [0] * replicas
        self._last: tuple[tuple[Path, ...], int] = ((), 0)

    @property
    def room(self) -> bool:
        """Whether any replica may have another request."""
        return min(self._busy) < self._most

    def take(self, request: Request) -> int:
        """The replica's number; there must be room."""
        images, replica = self._last
        if request.images != images or self._busy[replica] == self._most:
            replica = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[replica] += 1
        self._last = request.images, replica
        return replica

    def give_back(self, replica: int) -> None:
        """It has answered one."""
        self._busy[replica] -= 1


class RayEngine:
    """See `vr1bench.engines.Engine`."""

    name = "ray"

    def __init__(self, options: EngineOptions) -> None:
        """Starts the replicas and waits for all of them; see `open_engine` for what it raises."""
        chosen = options_of(options.args)
        self._cluster: Cluster | None = join(chosen.address)
        self._replicas: list[ActorHandle] = []
        self._waiting = options.window + BEYOND
        try:
            self._start(chosen, replace(options, family=portable(options.family), args=chosen.inner, perfect=None))
            self.versions: Mapping[str, str] = self._opened()
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.generate`; the window is that of each replica.

        Raises:
            Vr1benchError: The engine is closed, or a replica's engine says so.
            RuntimeError: A replica died once too often.
        """
        if self._cluster is None:
            raise Vr1benchError("this ray engine is closed; open another")
        import ray

        turns = Turns(len(self._replicas), self._waiting)
        asked: dict[int, tuple[Request, int, ObjectRef]] = {}
        done: SimpleQueue[tuple[int, Future]] = SimpleQueue()
        source = enumerate(requests)
        try:
            while True:
                while turns.room and (taken := next(source, None)) is not None:
                    number, request = taken
                    replica = turns.take(request)
                    answer = self._replicas[replica].ask.remote(request)
                    asked[number] = request, replica, answer
                    answer.future().add_done_callback(partial(_put, done, number))
                if not asked:
                    return
                number, future = done.get()
                request, replica, _ = asked.pop(number)
                turns.give_back(replica)
                yield request, _outcome(future)
        finally:
            for _, _, answer in asked.values():
                ray.cancel(answer)

    def close(self) -> None:
        """See `Engine.close`; ends the replicas, and the cluster where it was started for this engine."""
        if self._cluster is None:
            return
        import ray

        cluster, self._cluster = self._cluster, None
        try:
            ends: list[Any] = [one.close.options(max_task_retries=0).remote() for one in self._replicas]
            if ends:
                ray.wait(ends, num_returns=len(ends), timeout=CLOSE_S)
        finally:
            for one in self._replicas:
                ray.kill(one)
            cluster.leave()

    def _start(self, chosen: Options, options: EngineOptions) -> None:
        import ray

        actor = ray.remote(Replica).options(
            **place(chosen),
            max_concurrency=self._waiting + 2,
            max_restarts=RESTARTS,
            max_task_retries=-1,
            scheduling_strategy="SPREAD",
        )
        self._replicas = [
            cast("ActorHandle", actor.remote(ENGINES[chosen.engine], options)) for _ in range(chosen.replicas)
        ]

    def _opened(self) -> dict[str, str]:
        """The versions that all replicas run.

        Raises:
            Vr1benchError: An engine does not open, or the machines differ in what is installed.
        """
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        try:
            found = ray.get([one.opened.remote() for one in self._replicas], timeout=START_S)
        except GetTimeoutError as error:
            raise Vr1benchError(
                f"after {START_S:.0f} s not all of {len(self._replicas)} replicas have started; has each a machine "
                "with room for all of it (`ray status`)? Lower --replicas, or wait for what else runs there"
            ) from error
        except RayError as error:
            if isinstance(cause := getattr(error, "cause", None), Vr1benchError):
                raise cause from None
            raise Vr1benchError(
                f"a replica does not start ({_one_line(error)}); is the same environment on every machine of the "
                "cluster, and does every one see the model's folder?"
            ) from error
        for versions in found:
            if versions != found[0]:
                raise Vr1benchError(
                    f"the machines of the cluster differ in what is installed: {found[0]} on one, {versions} on "
                    "another; bring them to the same versions"
                )
        return {"ray": ray.__version__, **found[0]}


def open_engine(options: EngineOptions) -> RayEngine:
    """Opens the engine `ray`.

    Every replica reads the pictures and the model itself, under the same paths as this machine.

    Args:
        options: `args` takes `address` (`auto`, or `HOST:6379`; without it $RAY_ADDRESS, else a cluster of this
            machine alone), `replicas` (1), `engine` (of each replica: `vllm` or `hf`; as `--engine auto` chooses),
            `num_gpus` (of each replica; what its tensor and pipeline parallelism take) and `num_cpus` (as many as
            leave room for all). All else goes to the replicas' engine. The window holds for each replica.

    Raises:
        Vr1benchError: Ray or the engine is missing, an option has a bad value, no cluster answers, it has no room for
            the replicas, or one of them does not start.
    """
    return RayEngine(options)


def portable(family: Family) -> Family:
    """The same family without what it has worked out for itself (decoders of its grammar), which cannot be pickled."""
    return type(family).model_validate(family.model_dump()) if isinstance(family, BaseModel) else family


def _put(done: SimpleQueue[tuple[int, Future]], number: int, future: Future) -> None:
    done.put((number, future))


def _outcome(future: Future) -> Completion | Failure:
    """An answer as its replica gave it.

    Raises:
        Vr1benchError: As the replica's engine raised it.
        RuntimeError: The replica's engine broke, or its process died `RESTARTS` times and once more.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        return future.result()
    except RayTaskError as error:
        if isinstance(error.cause, Vr1benchError):
            raise error.cause from None
        raise RuntimeError(f"the engine of a replica broke: {_one_line(error.cause)}") from error
    except RayError as error:
        raise RuntimeError(
            f"a replica died for good ({_one_line(error)}); it is started anew {RESTARTS} times; the logs of Ray on "
            "its machine say more (/tmp/ray/session_latest/logs)"
        ) from error


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
