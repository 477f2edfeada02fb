# pyright: basic
"""Requests rendered for vLLM: image decoded, chat template filled, processor run, size checked."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from vr1bench.engines.prompts import too_long, with_images, wrong_frame
from vr1bench.families import Family
from vr1bench.images import ImageError, load
from vr1bench.types import Failure, PixelBudget, Request

if TYPE_CHECKING:
    from vllm.inputs import EngineInput
    from vllm.renderers import BaseRenderer


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request on its way to the engine.

    Attributes:
        request: As taken.
        taken: `time.perf_counter()` of then.
        prompt: What vLLM's `add_request` takes; None where the request failed.
        fed: (width, height) in pixels of the image as the model sees it; zeros without an image.
        failure: Why it cannot be asked.
    """

    request: Request
    taken: float
    prompt: EngineInput | None = None
    fed: tuple[int, int] = (0, 0)
    failure: Failure | None = None


class Rendering:
    """Renders requests as `LLM.chat` does; safe to call from several threads.

    Decoding runs side by side. Rendering itself takes turns: vLLM's own server gives its multimodal processor one
    thread, too, and some processors must not be entered twice.
    """

    def __init__(
        self, renderer: BaseRenderer, family: Family, context: int, refusals: tuple[type[Exception], ...]
    ) -> None:
        """Takes vLLM's renderer, the model's context in tokens, and what vLLM raises on a bad request."""
        self._renderer = renderer
        self._family = family
        self._context = context
        self._refusals = refusals
        self._turn = threading.Lock()

    def __call__(self, request: Request) -> Rendered:
        """Decodes, renders and checks one request; whatever is wrong with it is its `failure`."""
        taken = time.perf_counter()
        try:
            images = [load(path, (request.width, request.height)) for path in request.images]
            messages = with_images(request.messages, images, "image_pil")
            fed = self._family.fed_size(request.width, request.height, request.pixels) if images else (0, 0)
            with self._turn:
                prompt = self._render(messages, request.pixels)
        except ImageError as error:
            return Rendered(request, taken, failure=Failure(error=str(error), kind="image"))
        except self._refusals as error:
            return Rendered(request, taken, failure=Failure(error=f"the request cannot be rendered: {error}"))
        failure = self._refusal(request, cast("dict[str, Any]", prompt), fed)
        return Rendered(request, taken, None if failure else prompt, fed, failure)

    def _render(self, messages: list[dict[str, Any]], pixels: PixelBudget | None) -> EngineInput:
        """Tokens and processed image. vLLM and transformers both read `min_pixels` and `max_pixels` of each call."""
        from vllm.renderers import ChatParams

        budget = None if pixels is None else {"min_pixels": pixels.min_pixels, "max_pixels": pixels.max_pixels}
        template = {"add_generation_prompt": True, "tokenize": False}
        chat = ChatParams(chat_template_kwargs=template, mm_processor_kwargs=budget)
        # The template writes the begin-of-text token itself, where a model has one.
        text = self._renderer.default_chat_tok_params.with_kwargs(add_special_tokens=False)
        extras = None if budget is None else {"mm_processor_kwargs": budget}
        _, prompts = self._renderer.render_chat([cast("Any", messages)], chat, text, prompt_extras=extras)
        return prompts[0]

    def _refusal(self, request: Request, prompt: dict[str, Any], fed: tuple[int, int]) -> Failure | None:
        length = len(prompt["prompt_token_ids"])
        if length >= self._context:
            return Failure(error=too_long(length, self._context))
        places = prompt.get("mm_placeholders", {}).get("image", [])
        for place, item in zip(places, prompt["mm_kwargs"]["image"] if places else (), strict=True):
            field = item.get("image_grid_thw") if item else None
            grid = None if field is None else field.data.tolist()
            failure = wrong_frame(self._family, request, fed, place.get_num_embeds(), grid)
            if failure is not None:
                return failure
        return None
