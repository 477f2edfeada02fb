"""Engines turn Requests into Completions. One file an engine; a new one is a file and a line in `ENGINES`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

from vr1bench.defaults import WINDOW
from vr1bench.errors import Vr1benchError
from vr1bench.families import Family
from vr1bench.model import Model
from vr1bench.registry import Registry
from vr1bench.types import Completion, Failure, Request

Answer = tuple[Request, Completion | Failure]


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is opened with.

    Attributes:
        model: The model to load.
        family: Says the size that the model is fed and the image tokens that it should cost.
        args: The engine's own options (`--engine-args k=v`), passed through unread where the engine has such.
        window: Requests in flight at most: bounds the decoded images in memory.
        logprobs: Whether any request will ask for token log-probabilities.
        max_image_tokens: Image tokens of the largest image that will come; 0 where the family cannot tell.
        perfect: The perfect answer to a request; only the `oracle` engine may ask for it.
    """

    model: Model
    family: Family
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    window: int = WINDOW
    logprobs: bool = False
    max_image_tokens: int = 0
    perfect: Callable[[Request], str] | None = None


class Engine(Protocol):
    """Something that answers requests."""

    name: str
    versions: Mapping[str, str]

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answers in order of finishing, each request once; takes requests lazily, at most a window ahead.

        An image that cannot be decoded, or a request that the engine refuses, is a `Failure` of that request.
        An engine that breaks as a whole raises.
        """
        ...

    def close(self) -> None:
        """Frees memory and ends child processes; may be called twice."""
        ...


Open = Callable[[EngineOptions], Engine]

ENGINES = Registry[Open](
    kind="engine",
    group="vr1bench.engines",
    builtin={
        "vllm": "vr1bench.engines.vllm:open_engine",
        "hf": "vr1bench.engines.hf:open_engine",
        "openai": "vr1bench.engines.openai:open_engine",
        "ray": "vr1bench.engines.ray:open_engine",
        "oracle": "vr1bench.engines.replay:open_oracle",
        "replay": "vr1bench.engines.replay:open_replay",
    },
)


def default() -> str:
    """The engine that `--engine auto` takes: vLLM where it is installed, else transformers.

    Raises:
        Vr1benchError: Neither is installed.
    """
    if find_spec("vllm") is not None:
        return "vllm"
    if find_spec("transformers") is not None and find_spec("torch") is not None:
        return "hf"
    raise Vr1benchError(
        "no engine is installed; install one: uv sync --inexact --extra vllm (NVIDIA GPU), --extra cpu (vLLM on a CPU) "
        "or --extra hf (transformers); --engine replay and --engine oracle need none"
    )
