"""Offline vLLM: continuous batching fed from a bounded window.

Images are decoded and prompts rendered by a few threads (`ahead.Ahead`) while the engine generates. At most
`window` requests are in the engine and `DEPTH` more on their way there, so that memory does not grow with the
number of samples; each answer is given out in the step that finishes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, cast

from vr1bench.engines import Answer, EngineOptions
from vr1bench.engines.ahead import Ahead
from vr1bench.engines.prompts import tokens_of, too_long, with_images, wrong_frame
from vr1bench.engines.vllm_start import start
from vr1bench.images import ImageError, load
from vr1bench.types import Completion, Failure, PixelBudget, Request, Sampling, Vr1benchError

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams
    from vllm.v1.engine.llm_engine import LLMEngine

DEPTH = 16
"""Requests being rendered or ready, beside those in the engine: what one step may finish without a gap after it."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request on its way: rendered, or failed before the engine saw it."""

    request: Request
    taken: float
    prompt: Any = None
    fed: tuple[int, int] = (0, 0)
    failure: Failure | None = None


class VllmEngine:
    """See `vr1bench.engines.Engine`."""

    name = "vllm"

    def __init__(self, options: EngineOptions) -> None:
        """Starts the engine; see `vllm_start.start` for what it raises."""
        self.versions: Mapping[str, str] = _versions()
        self._family = options.family
        self._window = options.window
        self._started = start(options)
        self._refusals = self._started.refusals
        self._engine: LLMEngine | None = self._started.engine
        self._render_lock = threading.Lock()
        self._params: dict[Sampling, SamplingParams] = {}
        self._count = 0

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.generate`; closing the iterator, or Ctrl-C, ends the threads and aborts what is in the engine.

        Raises:
            Vr1benchError: The engine is closed.
        """
        if self._engine is None:
            raise Vr1benchError("this vLLM engine is closed; open another")
        flying: dict[str, _Prepared] = {}
        with Ahead(requests, self._prepare, min(DEPTH, self._window)) as ahead:
            try:
                while True:
                    yield from self._admit(ahead, flying)
                    if not flying and ahead.exhausted:
                        return
                    for output in self._engine.step():
                        if output.finished:
                            yield self._answer(flying.pop(output.request_id), cast("RequestOutput", output))
            finally:
                if flying:
                    self._engine.abort_request(list(flying))

    def close(self) -> None:
        """See `Engine.close`."""
        if self._engine is None:
            return
        self._engine = None
        self._started.stop()

    def _admit(self, ahead: Ahead[_Prepared], flying: dict[str, _Prepared]) -> Iterator[Answer]:
        """Moves rendered requests into the engine up to the window; waits only where the engine would idle."""
        while len(flying) < self._window:
            ready = ahead.take(wait=not flying)
            if ready is None:
                return
            failure = ready.failure or self._add(ready, flying)
            if failure is not None:
                yield ready.request, failure

    def _add(self, ready: _Prepared, flying: dict[str, _Prepared]) -> Failure | None:
        assert self._engine is not None
        self._count += 1
        name = str(self._count)
        try:
            self._engine.add_request(name, ready.prompt, self._sampling_params(ready.request.sampling))
        except self._refusals as error:
            return Failure(error=f"vLLM refuses the request: {error}")
        flying[name] = ready
        return None

    def _prepare(self, request: Request) -> _Prepared:
        """Decodes and renders one request; runs in a background thread."""
        taken = time.perf_counter()
        try:
            images = [load(path, (request.width, request.height)) for path in request.images]
            messages = with_images(request.messages, images, "image_pil")
            with self._render_lock:
                prompt = self._render(messages, request.pixels)
            fed = self._family.fed_size(request.width, request.height, request.pixels) if images else (0, 0)
        except ImageError as error:
            return _Prepared(request, taken, failure=Failure(error=str(error), kind="image"))
        except self._refusals as error:
            return _Prepared(request, taken, failure=Failure(error=f"the request cannot be rendered: {error}"))
        return _Prepared(request, taken, prompt, fed, self._refusal(request, prompt, fed))

    def _render(self, messages: list[dict[str, Any]], pixels: PixelBudget | None) -> Any:
        """Chat template, tokens and processed image: vLLM's `EngineInput`, as `LLM.chat` makes it.

        `min_pixels` and `max_pixels` are read by vLLM's Qwen classes and by transformers' processors alike.
        """
        from vllm.renderers import ChatParams

        assert self._engine is not None
        renderer = self._engine.renderer
        budget = None if pixels is None else {"min_pixels": pixels.min_pixels, "max_pixels": pixels.max_pixels}
        chat = ChatParams(
            chat_template_kwargs={"add_generation_prompt": True, "tokenize": False}, mm_processor_kwargs=budget
        )
        # The template writes the begin-of-text token itself, where a model has one.
        text = renderer.default_chat_tok_params.with_kwargs(add_special_tokens=False)
        extras = None if budget is None else {"mm_processor_kwargs": budget}
        _, prompts = renderer.render_chat([cast("Any", messages)], chat, text, prompt_extras=extras)
        return prompts[0]

    def _refusal(self, request: Request, prompt: Any, fed: tuple[int, int]) -> Failure | None:
        assert self._engine is not None
        context = self._engine.model_config.max_model_len
        length = len(prompt["prompt_token_ids"])
        if length >= context:
            return Failure(error=too_long(length, context))
        places = prompt.get("mm_placeholders", {}).get("image", [])
        for place, item in zip(places, prompt["mm_kwargs"]["image"] if places else (), strict=True):
            grid = item.get("image_grid_thw") if item else None
            patches = None if grid is None else cast("list[int]", grid.data.tolist())
            failure = wrong_frame(self._family, request, fed, place.get_num_embeds(), patches)
            if failure is not None:
                return failure
        return None

    def _answer(self, done: _Prepared, output: RequestOutput) -> Answer:
        assert self._engine is not None
        answer = output.outputs[0]
        if answer.finish_reason not in {"stop", "length"}:
            return done.request, Failure(error=f"vLLM ended the request with {answer.finish_reason!r}; run it again")
        ids = list(answer.token_ids)
        text_ids = ids[:-1] if answer.finish_reason == "stop" else ids  # the last token is the one that stopped it
        tokenizer = self._engine.get_tokenizer()
        text = tokenizer.decode(text_ids, skip_special_tokens=False)
        tokens = None
        if done.request.sampling.logprobs and answer.logprobs is not None:
            values = [row[token].logprob for row, token in zip(answer.logprobs, ids, strict=True)]
            tokens = tokens_of(tokenizer, text_ids, values[: len(text_ids)], text)
        completion = Completion(
            text=text,
            finish=answer.finish_reason,
            tokens=tokens,
            n_tokens=len(ids),
            fed_width=done.fed[0],
            fed_height=done.fed[1],
            seconds=time.perf_counter() - done.taken,
        )
        return done.request, completion

    def _sampling_params(self, sampling: Sampling) -> SamplingParams:
        """vLLM's form of the decoding options; made once for each kind of request."""
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


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("vllm", "vllm-cpu", "torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
