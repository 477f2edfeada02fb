# pyright: basic
"""Requests rendered for vLLM: image decoded, chat template filled, processor run, size checked."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from vr1bench.engines.pictures import KEPT, Pictures
from vr1bench.engines.prompts import too_long, with_images, wrong_frame
from vr1bench.families import Family
from vr1bench.images import ImageError, load
from vr1bench.types import Failure, PixelBudget, Request

if TYPE_CHECKING:
    from vllm.inputs import EngineInput
    from vllm.multimodal.cache import MultiModalProcessorOnlyCache
    from vllm.renderers import BaseRenderer


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request on its way to the engine.

    Attributes:
        request: As taken.
        taken: `time.perf_counter()` of then.
        prompt: What vLLM's `add_request` takes; None where the request failed.
        fed: (width, height) in pixels of the image as the model sees it; zeros without an image.
        pictures: What the engine knows its images by.
        tokens: Of the prompt.
        image_tokens: Those of them that are its images.
        reused: Whether its images were decoded and preprocessed for an earlier request.
        failure: Why it cannot be asked.
    """

    request: Request
    taken: float
    prompt: EngineInput | None = None
    fed: tuple[int, int] = (0, 0)
    pictures: tuple[str, ...] = ()
    tokens: int = 0
    image_tokens: int = 0
    reused: bool = False
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class _Picture:
    """A decoded image, and the name under which vLLM knows it: of its file, as it is now."""

    image: Image.Image
    name: str


class Rendering:
    """Renders requests as `LLM.chat` does; safe to call from several threads.

    Decoding runs side by side. Rendering itself takes turns: vLLM's own server gives its multimodal processor one
    thread, too, and some processors must not be entered twice.

    Of requests for one picture that follow each other the first decodes and preprocesses it; see `Pictures`. By the
    picture's name the engine then knows what of their prompts it has encoded and computed already.
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
        self._pictures = Pictures(_read)
        self._preprocessed = _keep_preprocessed(renderer)

    def __call__(self, request: Request) -> Rendered:
        """Decodes, renders and checks one request; whatever is wrong with it is its `failure`."""
        taken = time.perf_counter()
        try:
            found = [self._pictures(path, (request.width, request.height)) for path in request.images]
            messages = with_images(request.messages, [picture.image for picture, _ in found], "image_pil")
            names = [picture.name for picture, _ in found]
            fed = self._family.fed_size(request.width, request.height, request.pixels) if found else (0, 0)
            with self._turn:
                hits = self._hits()
                prompt = self._render(messages, names, request.pixels)
                reused = 0 < len(found) == self._hits() - hits and all(known for _, known in found)
        except ImageError as error:
            return Rendered(request, taken, failure=Failure(error=str(error), kind="image"))
        except self._refusals as error:
            return Rendered(request, taken, failure=Failure(error=f"the request cannot be rendered: {error}"))
        parts = cast("dict[str, Any]", prompt)
        failure = self._refusal(request, parts, fed)
        if failure is not None:
            return Rendered(request, taken, fed=fed, failure=failure)
        pictures = tuple(parts.get("mm_hashes", {}).get("image", ()))
        image_tokens = sum(place.get_num_embeds() for place in parts.get("mm_placeholders", {}).get("image", ()))
        return Rendered(request, taken, prompt, fed, pictures, len(parts["prompt_token_ids"]), image_tokens, reused)

    def clear(self) -> None:
        """Forgets the last pictures, so that none stays in memory while nothing is asked."""
        self._pictures.clear()
        with self._turn:
            if self._preprocessed is not None:
                self._preprocessed.clear_cache()

    def _hits(self) -> int:
        """Images found preprocessed so far."""
        return 0 if self._preprocessed is None else self._preprocessed.make_stats().hits

    def _render(self, messages: list[dict[str, Any]], names: list[str], pixels: PixelBudget | None) -> EngineInput:
        """Tokens and processed image. vLLM and transformers both read `min_pixels` and `max_pixels` of each call."""
        from vllm.renderers import ChatParams

        budget = None if pixels is None else {"min_pixels": pixels.min_pixels, "max_pixels": pixels.max_pixels}
        template = {"add_generation_prompt": True, "tokenize": False}
        chat = ChatParams(chat_template_kwargs=template, mm_processor_kwargs=budget)
        # The template writes the begin-of-text token itself, where a model has one.
        text = self._renderer.default_chat_tok_params.with_kwargs(add_special_tokens=False)
        extras: dict[str, Any] = {} if budget is None else {"mm_processor_kwargs": budget}
        if names:  # with the budget, if there is one, the key of all that vLLM remembers of an image
            extras["multi_modal_uuids"] = {"image": names}
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


def _read(path: Path, size: tuple[int, int]) -> _Picture:
    image = load(path, size)
    written = path.stat()
    # Not of its pixels, as vLLM's own: hashing those of a photo takes 1 ms.
    name = os.fsencode(path) + f"\0{written.st_mtime_ns}\0{written.st_size}".encode()
    return _Picture(image, hashlib.blake2b(name, digest_size=16).hexdigest())


def _keep_preprocessed(renderer: BaseRenderer) -> MultiModalProcessorOnlyCache | None:
    """Lets the renderer keep what it last preprocessed, `KEPT` images; None where the model takes no images.

    Not vLLM's own `mm_processor_cache_gb`: a part of that cache lies in the engine and must see the requests in the
    order of rendering, and its bound in GiB holds hundreds of images that will not come again.
    """
    from vllm.multimodal.cache import MultiModalProcessorOnlyCache
    from vllm.utils.cache import LRUCache

    if renderer.mm_processor is None:
        return None
    kept = MultiModalProcessorOnlyCache(renderer.model_config)
    kept._cache = LRUCache(KEPT)
    renderer._mm_processor_cache = kept
    return kept
