# pyright: basic
"""When a request may enter the engine: a new picture only where the vision encoder has room for it."""

from __future__ import annotations

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
