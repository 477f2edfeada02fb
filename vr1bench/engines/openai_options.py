"""The options of engine `openai`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, TypeAdapter, ValidationError

from vr1bench.errors import Vr1benchError
from vr1bench.registry import unknown

Server = Literal["vllm", "sglang", "other"]
"""Who answers: vLLM and SGLang take more than the API knows."""
LimitField = Literal["max_tokens", "max_completion_tokens"]
"""What a server calls the most tokens of an answer: the API's older name, which some refuse, or its newer one."""
Price = Annotated[float, Field(ge=0)]
Prices = tuple[Price, Price] | tuple[Price, Price, Price]
"""US dollars a million tokens: of prompts and of answers, and third of cached prompts where they cost less."""

_EXAMPLE = "base_url=http://HOST:8000/v1"

_OURS = {
    "model", "messages", "n", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p",
    "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "logprobs", "skip_special_tokens",
    "mm_processor_kwargs",
}  # fmt: skip
"""Fields of a request that the engine writes itself."""


@dataclass(frozen=True, slots=True)
class Options:
    """See `vr1bench.engines.openai.open_engine`; `api_key` is in no repr and no error."""

    base_urls: tuple[str, ...]
    api_key: str = field(default="", repr=False)
    timeout: float = 600.0
    max_retries: int = 8
    server: Server | None = None
    limit_field: LimitField = "max_tokens"
    prices: Prices | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict[str, Any])


_KINDS: dict[str, TypeAdapter[Any]] = {
    "base_url": TypeAdapter(str | list[str]),
    "api_key": TypeAdapter(SecretStr),
    "timeout": TypeAdapter(Annotated[float, Field(gt=0)]),
    "max_retries": TypeAdapter(Annotated[int, Field(ge=0)]),
    "server": TypeAdapter(Server),
    "limit_field": TypeAdapter(LimitField),
    "prices": TypeAdapter(Prices),
    "extra_body": TypeAdapter(dict[str, Any]),
}


def options_of(args: Mapping[str, Any]) -> Options:
    """Reads `--engine-args`, and the environment for the address and the key where they are left out.

    Raises:
        Vr1benchError: An option is unknown or has a bad value, or no address is given.
    """
    values = {name: _value(name, value) for name, value in args.items()}
    urls = values.pop("base_url", None) or os.environ.get("OPENAI_BASE_URL", "")
    key = values.pop("api_key", None)
    found = [urls] if isinstance(urls, str) else urls
    for url in found:
        if not re.fullmatch(r"https?://[^@\s]+", url):
            raise Vr1benchError(
                "engine openai needs the address of an endpoint, without a name or password in it; pass --engine-args "
                f"{_EXAMPLE}, or set OPENAI_BASE_URL"
            )
    for name in sorted(_OURS & set(values.get("extra_body", ()))):
        raise Vr1benchError(
            f"--engine-args extra_body: {name}: cannot be set here: what is asked and how it is decoded is the "
            "protocol's, and part of every result; change it with --set or --gen-args"
        )
    return Options(
        tuple(url.rstrip("/") for url in found),
        key.get_secret_value() if key else os.environ.get("OPENAI_API_KEY", ""),
        **values,
    )


def _value(name: str, value: object) -> Any:  # noqa: ANN401  as many kinds as options
    if name not in _KINDS:
        raise unknown("option of engine openai", name, _KINDS)
    if name == "api_key" and isinstance(value, int):  # digits alone come as a number
        value = str(value)
    try:
        return _KINDS[name].validate_python(value)
    except ValidationError as error:
        got = "" if name == "api_key" else f", got {value!r}"
        raise Vr1benchError(f"--engine-args {name}: {error.errors()[0]['msg']}{got}") from None
