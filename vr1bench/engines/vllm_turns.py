# pyright: basic
"""When a request may enter the engine: where the vision encoder and the key-value cache have room for it."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from vr1bench.engines.vllm_render import Rendered

if TYPE_CHECKING:
    from vllm.v1.engine.llm_engine import LLMEngine


class PictureTurns:
    """Holds a new picture back while those before it fill the encoder's budget of tokens a step.

    vLLM takes a request whose picture it cannot encode in the same step all the same, computes the few words before
    the picture, and never looks for its prefix again. With several large pictures waiting, every question about each
    of them but the first would compute its whole prompt.
    """

    def __init__(self, engine: LLMEngine) -> None:
        """Takes the engine, whose requests it watches."""
        self._states = engine.output_processor.request_states
        self._room = engine.input_processor.mm_encoder_cache_size  # which is also what a step may encode
        self._first: dict[tuple[str, ...], tuple[str, int]] = {}

    def may_enter(self, ready: Rendered) -> bool:
        """Whether a request may be added now; it may where nothing is in the engine."""
        if not ready.pictures or ready.pictures in self._first:
            return True
        # The picture's first request holds its room until it has answered a token, or is gone.
        self._first = {
            pictures: (request, tokens)
            for pictures, (request, tokens) in self._first.items()
            if (state := self._states.get(request)) is not None and state.is_prefilling
        }
        taken = sum(tokens for _, tokens in self._first.values())
        return not taken or taken + ready.image_tokens <= self._room

    def entered(self, ready: Rendered, request: str) -> None:
        """Notes a request that was added, by the id that the engine gave it."""
        if ready.pictures:
            self._first.setdefault(ready.pictures, (request, ready.image_tokens))


class CacheRoom:
    """Holds requests back that the key-value cache cannot hold beside those inside.

    They would only wait in the engine, each with its preprocessed picture in memory: 100 MB for one of 4 megapixels.
    Answers are not counted, for they are short beside pictures, and what lacks then the engine makes by waiting.
    """

    def __init__(self, engine: LLMEngine) -> None:
        """Takes the engine, whose cache it reads the size of; where that is unknown, nothing is held back."""
        cache = engine.vllm_config.cache_config
        self._most = (cache.num_gpu_blocks or 0) * cache.block_size or math.inf
        self._tokens = 0
        self._showing: Counter[tuple[str, ...]] = Counter()

    def may_enter(self, ready: Rendered) -> bool:
        """Whether a request may be added now; it may where nothing is in the engine."""
        return not self._tokens or self._tokens + self._more(ready) <= self._most

    def entered(self, ready: Rendered) -> None:
        """Notes a request that was added."""
        self._tokens += self._more(ready)
        self._showing[ready.pictures] += 1

    def left(self, ready: Rendered) -> None:
        """Notes that it was answered."""
        self._showing[ready.pictures] -= 1
        if not self._showing[ready.pictures]:
            del self._showing[ready.pictures]
        self._tokens -= self._more(ready)

    def _more(self, ready: Rendered) -> int:
        """Its tokens; without its picture's where another request inside shows it, which the cache holds once."""
        shared = ready.pictures and ready.pictures in self._showing
        return ready.tokens - (ready.image_tokens if shared else 0)
