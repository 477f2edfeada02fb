"""Engine `ray` on a cluster of this machine: its contract with one replica, its options, and how a replica is fed."""

from __future__ import annotations

import asyncio
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from engines.tiny import SIZES, ask

from vr1bench import run
from vr1bench.engines import ENGINES, Engine, EngineOptions
from vr1bench.engines.ray import BEYOND, Turns, portable
from vr1bench.engines.ray_cluster import LOCAL, join, options_of, set_environment
from vr1bench.engines.ray_replica import Replica
from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.model import Model
from vr1bench.types import Completion, Failure, Gold, Request, Sample, Sampling

set_environment(LOCAL)  # before anything imports ray
ray = pytest.importorskip("ray", reason="needs Ray: uv sync --inexact --extra ray")

Options = Callable[..., EngineOptions]
Photos = dict[tuple[int, int], Path]
HF = {"engine": "hf", "num_cpus": 0.5}
CHANCE = {"seconds": 0.0, "n_cached": 0, "image_reused": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local cluster, which the engines here only join."""
    before = signal.getsignal(signal.SIGTERM)
    joined = join("")
    assert signal.getsignal(signal.SIGTERM) is before  # Ray's own would end a run without saving
    yield
    joined.leave()


@pytest.fixture(scope="module")
def ray_engine(cluster: None, options: Options) -> Iterator[Engine]:
    """One replica of the stand-in, with a window of 8."""
    engine = ENGINES["ray"](options(batch_size=5, **HF))
    yield engine
    engine.close()


def many(photos: Photos, rounds: int) -> list[Request]:
    return [ask(photos[size], size, text=f"Locate every red circle {n}") for n in range(rounds) for size in SIZES]


def bare(answers: Iterator[tuple[Request, Completion | Failure]]) -> dict[int, Completion | Failure]:
    """By request, without what depends on when and where each was asked; no request twice."""
    found: dict[int, Completion | Failure] = {}
    for request, answer in answers:
        assert id(request) not in found
        found[id(request)] = answer.model_copy(update=CHANCE) if isinstance(answer, Completion) else answer
    return found


def test_answers_are_those_of_one_machine_and_what_cannot_be_read_fails_alone(
    ray_engine: Engine, hf_engine: Engine, photos: Photos, tmp_path: Path
) -> None:
    requests = [*many(photos, 3), ask(tmp_path / "on another machine.png", (10, 10))]
    found = bare(ray_engine.generate(requests))
    assert found == bare(hf_engine.generate(requests))
    assert [type(found[id(request)]) for request in requests] == [Completion] * (len(requests) - 1) + [Failure]
    assert {"ray", "torch", "transformers"} <= set(ray_engine.versions)


def test_requests_are_taken_lazily_and_an_iterator_left_early_does_no_harm(ray_engine: Engine, photos: Photos) -> None:
    taken = 0

    def source() -> Iterator[Request]:
        nonlocal taken
        for request in many(photos, 30):
            taken += 1
            yield request

    answers = ray_engine.generate(source())
    for given in range(1, 4):
        next(answers)
        assert taken <= 8 + BEYOND + given - 1  # an answer's place is filled when the next is asked for
    answers.close()  # type: ignore[attr-defined]
    assert len(bare(ray_engine.generate(many(photos, 1)))) == len(SIZES)
    assert bare(ray_engine.generate([])) == {}


def test_a_run_on_a_cluster_has_the_values_of_one_machine(cluster: None, tmp_path: Path) -> None:
    def values(engine: str, args: dict[str, object]) -> str:
        output = tmp_path / engine
        (result,) = run("demo", benchmark="demo/coco", engine=engine, limit=6, engine_args=args, output=output)
        return result.values.model_dump_json()

    assert values("ray", {"batch_size": 2, **HF}) == values("hf", {"batch_size": 2})
    assert ray.is_initialized()  # the cluster was there before, and stays


def test_a_replica_that_does_not_open_says_why(cluster: None, options: Options) -> None:
    with pytest.raises(Vr1benchError, match=r"atn_implementation: .*did you mean attn_implementation"):
        ENGINES["ray"](options(atn_implementation="eager", **HF))


def test_a_cluster_without_room_says_what_it_has(cluster: None, options: Options) -> None:
    with pytest.raises(Vr1benchError, match=r"room for \d+ of 999 replicas of 1 CPUs .* lower --engine-args replicas"):
        ENGINES["ray"](options(replicas=999, engine="hf"))
    cores = ray.cluster_resources()["CPU"]
    with pytest.raises(Vr1benchError, match=r"room for 0 of 1 replicas of 1 CPUs and 4 GPUs"):
        ENGINES["ray"](options(engine="hf", num_cpus=1, num_gpus=4))

    @ray.remote(num_cpus=cores - 0.5 if cores > 1 else 0.5)
    class Neighbour:
        def there(self) -> bool:
            return True

    neighbour = Neighbour.remote()
    assert ray.get(neighbour.there.remote())
    with pytest.raises(Vr1benchError, match=r"CPUs [\d.]+ are free, but 1 replicas"):
        ENGINES["ray"](options(engine="hf", num_cpus=cores))
    ray.kill(neighbour)


def test_requests_of_one_picture_go_to_one_replica_while_it_has_room() -> None:
    def go(*pictures: str) -> list[int]:
        return [turns.take(ask(Path(picture), (10, 10))) for picture in pictures]

    turns = Turns(2, 3)
    assert go("a", "a", "b", "a") == [0, 0, 1, 1]  # pictures that alternate are nobody's grouped requests
    turns.give_back(1)
    assert go("c", "c", "c") == [1, 1, 0]  # the replica of `c` is full
    assert not turns.room
    turns.give_back(0)
    assert turns.room
    assert go("d") == [0]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_that_has_read_answers_still_travels(name: str) -> None:
    family = FAMILIES[name]
    sample = Sample("1", (), 640, 480, ("cat",), Gold.of([], ()))
    family.parse(Completion(text="no cat", fed_width=640, fed_height=480), sample)
    there = pickle.loads(pickle.dumps(portable(family)))  # noqa: S301
    assert (there, there.identity) == (family, family.identity)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"replicas": 0}, "replicas: .*greater than or equal to 1, got 0"),
        ({"replicas": "many"}, "replicas: .*got 'many'"),
        ({"num_cpus": 0}, "num_cpus: .*got 0"),
        ({"num_gpus": -1}, "num_gpus: .*got -1"),
        ({"engine": "oracle"}, "engine=oracle: holds no model; expected one of vllm, hf"),
        ({"engine": "ray"}, "engine=ray: holds no model"),
        ({"engine": "vllx"}, "did you mean 'vllm'"),
    ],
)
def test_options_that_cannot_be(args: dict[str, object], message: str) -> None:
    with pytest.raises(Vr1benchError, match=message):
        options_of(args)


def test_other_options_are_those_of_the_replicas_engine() -> None:
    found = options_of({"engine": "vllm", "replicas": 2, "tensor_parallel_size": 4, "dtype": "bfloat16"})
    assert (found.engine, found.replicas) == ("vllm", 2)
    assert found.inner == {"tensor_parallel_size": 4, "dtype": "bfloat16"}


class Batching:
    """An engine that answers by fours, notes how large each batch was, and breaks where a request says so."""

    name = "batching"

    def __init__(self, notes: list[object]) -> None:
        self.versions = {"batching": "1"}
        self.notes = notes

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        source = iter(requests)
        while batch := list(islice(source, 4)):
            self.notes.append(len(batch))
            if any(request.sample_id == "too large" for request in batch):
                raise Vr1benchError("a batch does not fit")
            yield from ((request, Completion(text=request.sample_id)) for request in batch)

    def close(self) -> None:
        self.notes.append("closed")


def question(name: str) -> Request:
    return Request(name, name, (), 0, 0, (), (), Sampling())


def asked_of_a_replica(notes: list[object], *names: str) -> list[Completion | Failure | BaseException]:
    """What a replica answers to questions that come at once, and to one more behind them."""

    async def conversation() -> list[Completion | Failure | BaseException]:
        options = EngineOptions(Model("none", "", ""), FAMILIES["qwen2.5-vl"])
        replica = Replica(lambda _: Batching(notes), options)
        assert await replica.opened() == {"batching": "1"}
        found = await asyncio.gather(*(replica.ask(question(name)) for name in names), return_exceptions=True)
        found += await asyncio.gather(replica.ask(question("later")), return_exceptions=True)
        await replica.close()
        return found

    return asyncio.run(conversation())


def test_a_replica_asks_its_engine_for_many_at_once() -> None:
    notes: list[object] = []
    names = [str(number) for number in range(10)]
    found = asked_of_a_replica(notes, *names)
    assert [answer.text for answer in found if isinstance(answer, Completion)] == [*names, "later"]
    assert notes == [4, 4, 2, 1, "closed"]


def test_what_breaks_a_replicas_engine_reaches_everyone_who_waits_or_asks_later() -> None:
    notes: list[object] = []
    *served, one, other, third, later = asked_of_a_replica(notes, "0", "1", "2", "3", "4", "too large", "5")
    assert [answer.text for answer in served if isinstance(answer, Completion)] == ["0", "1", "2", "3"]
    assert [str(error) for error in (one, other, third, later)] == ["a batch does not fit"] * 4
    assert notes == [4, 3, "closed"]
