# pyright: basic
"""Transformers: batches of left-padded prompts, images decoded ahead by background threads."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from vr1bench.engines import Answer, EngineOptions
from vr1bench.engines.ahead import Ahead
from vr1bench.engines.hf_batch import Row, generate, render
from vr1bench.engines.hf_start import LoadedModel, start
from vr1bench.engines.pictures import Pictures
from vr1bench.engines.prompts import tokens_of, too_long, with_images, wrong_frame
from vr1bench.errors import Vr1benchError
from vr1bench.images import ImageError, load
from vr1bench.types import Completion, Failure, PixelBudget, Request, Sampling

if TYPE_CHECKING:
    from transformers import BatchFeature


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A request with its images, `reused` where earlier requests had them; `failure` where they cannot be used."""

    request: Request
    taken: float
    images: tuple[Image.Image, ...] = ()
    fed: tuple[int, int] = (0, 0)
    reused: bool = False
    failure: Failure | None = None

    @property
    def kind(self) -> tuple[Sampling, PixelBudget | None, bool]:
        """What the requests of one batch must share."""
        return self.request.sampling, self.request.pixels, bool(self.images)


class HfEngine:
    """See `vr1bench.engines.Engine`."""

    name = "hf"

    def __init__(self, options: EngineOptions) -> None:
        """Loads the model; see `open_engine` for the options, and `hf_start.start` for what it raises."""
        loaded = start(options)
        self.versions: Mapping[str, str] = loaded.versions
        self._family = options.family
        self._loaded: LoadedModel | None = loaded
        self._pictures = Pictures(load)
        self._batch_size = loaded.batch_size
        # The next batch is decoded while this one is generated.
        self._depth = max(1, min(self._batch_size, options.window - self._batch_size))

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.generate`; the answers of a batch come together, in the order of the requests.

        Raises:
            Vr1benchError: The engine is closed, or a batch does not fit the memory.
        """
        loaded = self._loaded
        if loaded is None:
            raise Vr1benchError("this transformers engine is closed; open another")
        batch: list[_Decoded] = []
        try:
            with Ahead(requests, self._decode, self._depth) as ahead:
                while (ready := ahead.take(wait=True)) is not None:
                    if ready.failure is not None:
                        yield ready.request, ready.failure
                        continue
                    if batch and batch[0].kind != ready.kind:
                        yield from self._answers(loaded, batch)
                        batch = []
                    batch.append(ready)
                    if len(batch) == self._batch_size:
                        yield from self._answers(loaded, batch)
                        batch = []
                if batch:
                    yield from self._answers(loaded, batch)
        finally:
            self._pictures.clear()

    def close(self) -> None:
        """See `Engine.close`."""
        if self._loaded is None:
            return
        import torch

        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _decode(self, request: Request) -> _Decoded:
        """Reads a request's images; runs in a background thread."""
        taken = time.perf_counter()
        try:
            found = [self._pictures(path, (request.width, request.height)) for path in request.images]
            images = tuple(image for image, _ in found)
            fed = self._family.fed_size(request.width, request.height, request.pixels) if images else (0, 0)
        except ImageError as error:
            return _Decoded(request, taken, failure=Failure(error=str(error), kind="image"))
        except ValueError as error:
            return _Decoded(request, taken, failure=Failure(error=f"the request cannot be rendered: {error}"))
        return _Decoded(request, taken, images, fed, bool(found) and all(known for _, known in found))

    def _answers(self, loaded: LoadedModel, batch: Sequence[_Decoded]) -> Iterator[Answer]:
        """Answers of a batch; what cannot be rendered, or does not fit, is a Failure, and the others go on."""
        try:
            messages = [with_images(one.request.messages, one.images, "image") for one in batch]
            inputs = render(loaded, messages, [one.images for one in batch], batch[0].request.pixels)
        except ValueError as error:
            if len(batch) == 1:
                yield batch[0].request, Failure(error=f"the request cannot be rendered: {error}")
                return
            for one in batch:
                yield from self._answers(loaded, [one])
            return
        yield from self._answers_to(loaded, batch, inputs)

    def _answers_to(self, loaded: LoadedModel, batch: Sequence[_Decoded], inputs: BatchFeature) -> Iterator[Answer]:
        left: list[_Decoded] = []
        for row, one in enumerate(batch):
            failure = self._refusal(loaded, one, inputs, row)
            if failure is None:
                left.append(one)
            else:
                yield one.request, failure
        if len(left) < len(batch):  # rendered anew, so that a refused prompt's length pads nobody
            if left:
                yield from self._answers(loaded, left)
            return
        prompts = inputs["attention_mask"].sum(dim=1).tolist()
        rows = generate(loaded, inputs, batch[0].request.sampling)
        for one, answer, n_prompt in zip(batch, rows, prompts, strict=True):
            yield one.request, _completion(loaded, one, answer, n_prompt)

    def _refusal(self, loaded: LoadedModel, one: _Decoded, inputs: BatchFeature, row: int) -> Failure | None:
        length = int(inputs["attention_mask"][row].sum())
        if length >= loaded.context:
            return Failure(error=too_long(length, loaded.context))
        if not one.images or loaded.image_token is None:
            return None
        tokens = int((inputs["input_ids"][row] == loaded.image_token).sum())
        grid = inputs["image_grid_thw"][row].tolist() if "image_grid_thw" in inputs else None
        return wrong_frame(self._family, one.request, one.fed, tokens, grid)


def open_engine(options: EngineOptions) -> HfEngine:
    """Opens the engine `hf`.

    Args:
        options: `args` takes `batch_size` (8 on a CPU, 16 on a GPU), `device`, `dtype`, `attn_implementation` and
            whatever else `from_pretrained` takes. On a CPU weights below 1 GB are computed in float32. Sampling with
            a temperature draws for a whole batch, so that answers then depend on the batch size.

    Raises:
        Vr1benchError: transformers is missing, refuses an option, or does not load the model.
    """
    return HfEngine(options)


def _completion(loaded: LoadedModel, one: _Decoded, row: Row, n_prompt: int) -> Completion:
    tokenizer = loaded.processor.tokenizer
    text_ids = row.ids[:-1] if row.stopped else row.ids
    text = tokenizer.decode(text_ids, skip_special_tokens=False)
    tokens = None
    if one.request.sampling.logprobs:
        tokens = tokens_of(tokenizer, text_ids, row.logprobs[: len(text_ids)], text)
    return Completion(
        text=text,
        finish="stop" if row.stopped else "length",
        tokens=tokens,
        n_tokens=len(row.ids),
        n_prompt=n_prompt,
        image_reused=one.reused,
        fed_width=one.fed[0],
        fed_height=one.fed[1],
        seconds=time.perf_counter() - one.taken,
    )
