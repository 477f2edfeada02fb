# pyright: basic
"""What the engines that run a model themselves share: filling images in, checking what was fed, reading tokens back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vr1bench.families import Family
from vr1bench.types import Failure, Request, Token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm.tokenizers import TokenizerLike


def with_images(messages: Sequence[Mapping[str, Any]], images: Sequence[object], kind: str) -> list[dict[str, Any]]:
    """The messages with their `{"type": "image"}` parts filled, in order, by `{"type": kind, kind: image}`.

    Raises:
        ValueError: The messages have more or fewer image parts than there are images.
    """
    left = iter(images)
    filled: list[dict[str, Any]] = []
    parts_seen = 0
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            parts: list[Any] = []
            for part in content:
                is_image = part["type"] == "image"
                parts_seen += is_image
                parts.append({"type": kind, kind: next(left, None)} if is_image else part)
            content = parts
        filled.append({**message, "content": content})
    if parts_seen != len(images):
        raise ValueError(f"the messages have {parts_seen} image parts; expected {len(images)}, one for each image")
    return filled


def wrong_frame(
    family: Family, request: Request, fed: tuple[int, int], tokens: int, grid: Sequence[int] | None
) -> Failure | None:
    """A Failure where the processor fed another size than the family says: its boxes would be read in a wrong frame.

    Args:
        family: Says the size and the tokens.
        request: For the message.
        fed: (width, height) in pixels by the family's rule.
        tokens: Image tokens in the rendered prompt.
        grid: The processor's `image_grid_thw`: (time, height, width) in patches; None where it gives none.

    Returns:
        None where all agree, or where the family feeds by no pixel budget: then its numbers count no fed pixels.
    """
    expected = family.image_tokens(*fed) if family.pixels else None
    if expected is None:
        return None
    skewed = grid is not None and fed[0] * grid[1] != fed[1] * grid[2]
    if tokens == expected and not skewed:
        return None
    seen = "" if grid is None else f" in a grid of {grid[2]}x{grid[1]} patches"
    return Failure(
        error=f"sample {request.sample_id}: family {family.name} says that an image of "
        f"{request.width}x{request.height} is fed as {fed[0]}x{fed[1]} pixels, {expected} image tokens, but the "
        f"processor made {tokens}{seen}; boxes would be read in a wrong frame. Check --family, and the pixel budget "
        "against the checkpoint's preprocessor_config.json"
    )


def too_long(prompt_tokens: int, context: int) -> str:
    """The error of a prompt that leaves no room for an answer."""
    return (
        f"the prompt has {prompt_tokens} tokens, images included; expected fewer than the model's context of "
        f"{context}; lower the pixel budget or ask for fewer classes at once, or raise max_model_len where the "
        "memory allows it"
    )


def tokens_of(
    tokenizer: TokenizerLike | PreTrainedTokenizerBase, ids: Sequence[int], logprobs: Sequence[float], text: str
) -> tuple[Token, ...]:
    """Token texts and log-probabilities; the texts joined are `text`.

    A character whose bytes lie in several tokens is the text of the last of them; the others have "".

    Args:
        tokenizer: A Hugging Face tokenizer; one without a fast backend is asked token by token.
        ids: Generated token ids, without the one that ended the answer.
        logprobs: Natural logarithms, one for each id.
        text: `ids` decoded.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        pieces = [str(tokenizer.decode([token])) for token in ids]
    else:
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(skip_special_tokens=False)
        pieces = [stream.step(backend, token) or "" for token in ids]
        if pieces:  # bytes of a character that never came to its end
            pieces[-1] += text[sum(map(len, pieces)) :]
    return tuple(Token(text=piece, logprob=value) for piece, value in zip(pieces, logprobs, strict=True))
