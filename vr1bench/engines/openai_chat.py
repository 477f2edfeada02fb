# pyright: basic
"""The chat completions of an OpenAI-compatible endpoint: what is sent, and what is taken for an answer."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vr1bench.engines.openai_options import LimitField, Server
from vr1bench.engines.prompts import with_images
from vr1bench.errors import Vr1benchError
from vr1bench.families import Family
from vr1bench.types import Completion, Failure, Request, Sampling, Token

_ENDS = ("stop", "length")
_NO_CHARACTER = "\ufffd"
_NEUTRAL = {"min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""What else a generation_config.json may change (vLLM 0.31, `ModelConfig.get_diff_sampling_param`), left as it is."""


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Message(_Read):
    content: str | None = None
    refusal: str | None = None


class _Logprob(_Read):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Logprobs(_Read):
    content: list[_Logprob] | None = None


class _Choice(_Read):
    message: _Message
    finish_reason: str
    logprobs: _Logprobs | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        # A model that thinks may reach its limit before the first word of its answer.
        if self.text is None and self.finish_reason == "stop":
            raise ValueError("neither content nor refusal")
        return self

    @property
    def text(self) -> str | None:
        """The answer's words; a refusal's where there are no others."""
        return self.message.refusal if self.message.content is None else self.message.content


class _Cached(_Read):
    cached_tokens: int | None = None


class _Usage(_Read):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Cached | None = None

    @property
    def cached_tokens(self) -> int:
        """Of the prompt, those that the server had computed before; 0 where it does not say."""
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0


class Answer(_Read):
    """The body of an answer, as far as it is read; `model_validate_json` raises ValueError on anything less."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def body(
    request: Request, urls: Sequence[str], family: Family, model: str, server: Server, limit_field: LimitField
) -> dict[str, Any]:
    """The keyword arguments of the client's `chat.completions.create`.

    What the API does not know goes into `extra_body`. vLLM and SGLang fill what is left out from the checkpoint's
    generation_config.json, and drop special tokens from the text, which some families write their boxes with: they are
    told all of it. A pixel budget that the protocol changed from the family's own goes to a vLLM server, which takes it
    where it was started with --trust-request-mm-kwargs. Otherwise the server feeds by the checkpoint's own bounds,
    which should be the family's: `completion` refuses what was certainly fed smaller.

    Args:
        request: What is asked.
        urls: Its images, in the order of the image parts.
        family: Says which pixel budget is the processor's own.
        model: The served name.
        server: Who answers.
        limit_field: What the server calls the most tokens of an answer.

    Raises:
        ValueError: The messages have more or fewer image parts than there are images.
        Vr1benchError: The protocol changes the pixel budget, or decoding, in a way that this server cannot be told.
    """
    sampling = request.sampling
    return {
        "model": model,
        "messages": with_images(request.messages, [{"url": url} for url in urls], "image_url"),
        limit_field: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        **({"seed": sampling.seed} if sampling.temperature else {}),  # greedy decoding draws nothing
        **({"logprobs": True} if sampling.logprobs else {}),
        "extra_body": {**_decoding(sampling, server), **_budget(request, family, server)},
    }


def completion(
    answer: Answer, request: Request, family: Family, fed: tuple[int, int], seconds: float, *, reused: bool = False
) -> Completion | Failure:
    """The first choice as a Completion; a Failure where it was cut by something else than its end or the limit.

    A prompt of fewer tokens than its image alone should have was fed smaller than the family says: a Failure, too.
    Smaller differences hide behind the tokens of the text, which an endpoint does not count apart.

    Args:
        answer: As read.
        request: What was asked.
        family: Says the image tokens.
        fed: (width, height) in pixels by the family's rule; zeros without an image.
        seconds: From the taking of the request to its answer.
        reused: Whether its images were encoded for an earlier request.
    """
    choice = answer.choices[0]
    text = choice.text or ""
    if choice.finish_reason not in _ENDS:
        return Failure(error=f"the endpoint ended the answer with finish_reason {choice.finish_reason!r}")
    expected = family.image_tokens(*fed) if request.images and family.pixels else None
    if expected and answer.usage and 0 < answer.usage.prompt_tokens < expected:
        return Failure(
            error=f"sample {request.sample_id}: family {family.name} says that an image of "
            f"{request.width}x{request.height} is fed as {fed[0]}x{fed[1]} pixels, {expected} image tokens, but the "
            f"whole prompt has {answer.usage.prompt_tokens}; boxes would be read in a wrong frame. Check --family, and "
            "start the server with the family's bounds (vLLM: --mm-processor-kwargs '{\"max_pixels\": ...}')"
        )
    usage = answer.usage or _Usage()
    tokens = None
    if request.sampling.logprobs:
        rows = (choice.logprobs and choice.logprobs.content) or []
        tokens = _tokens(rows, text, choice.finish_reason)
        if tokens is None:
            return Failure(
                error=f"the endpoint gives {len(rows)} token log-probabilities, whose tokens do not spell its answer; "
                "scores cannot be read from them: pass --scores constant"
            )
    return Completion(
        text=text,
        finish=cast("Literal['stop', 'length']", choice.finish_reason),
        tokens=tokens,
        n_tokens=usage.completion_tokens,
        n_prompt=usage.prompt_tokens,
        n_cached=usage.cached_tokens,
        image_reused=reused,
        fed_width=fed[0],
        fed_height=fed[1],
        seconds=seconds,
    )


def _decoding(sampling: Sampling, server: Server) -> dict[str, Any]:
    known = {"top_k": sampling.top_k, "repetition_penalty": sampling.repetition_penalty}
    if server != "other":
        return {**known, **_NEUTRAL, "skip_special_tokens": False}
    # A hosted API refuses names that it does not know, even with values that change nothing.
    return {name: value for name, value in known.items() if value != Sampling.model_fields[name].default}


def _budget(request: Request, family: Family, server: Server) -> Mapping[str, Any]:
    pixels = request.pixels
    if pixels is None or not request.images or pixels == family.pixels:
        return {}
    if server == "vllm":
        return {"mm_processor_kwargs": {"min_pixels": pixels.min_pixels, "max_pixels": pixels.max_pixels}}
    raise Vr1benchError(
        f"the protocol feeds {pixels.min_pixels} to {pixels.max_pixels} pixels, which only a vLLM server can be told "
        f"(this one is {server!r}); boxes would be read in a wrong frame: choose another protocol, or pass "
        "--engine-args server=vllm where a proxy hides one"
    )


def _tokens(rows: Sequence[_Logprob], text: str, finish: str) -> tuple[Token, ...] | None:
    """Token texts and log-probabilities that joined are `text`, without the token that ended it; None: they are not.

    A character whose bytes lie in several tokens is the text of the last of them, and bytes that are no character are
    that of the next token, as in `prompts.tokens_of`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(bytes(row.bytes)) if row.bytes is not None else row.token for row in rows]
    ended = finish == "stop" and pieces[-1:] == [""]  # the token that ended it, whose text nobody gives
    for count in (len(pieces) - ended, len(pieces) - 1):
        spelt = _spelt(pieces[:count], text)
        if spelt:
            return tuple(Token(text=piece, logprob=row.logprob) for piece, row in zip(spelt, rows, strict=False))
    return None if text else ()


def _spelt(pieces: Sequence[str], text: str) -> list[str] | None:
    """The pieces with what they leave out of the text: vLLM gives "" for bytes that the text shows as U+FFFD."""
    found: list[str] = []
    at = 0
    for piece in pieces:
        start = at
        while not text.startswith(piece, start):
            if not text.startswith(_NO_CHARACTER, start):
                return None
            start += 1
        end = start + len(piece)
        found.append(text[at:end])
        at = end
    if not found or text[at:].strip(_NO_CHARACTER):
        return None
    found[-1] += text[at:]
    return found
