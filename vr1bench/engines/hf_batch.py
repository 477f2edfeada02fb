# pyright: basic
"""One batch through transformers: rendered, left-padded, generated, cut where each answer ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from vr1bench.engines.hf_logprobs import SampledLogprobs
from vr1bench.engines.hf_start import LoadedModel
from vr1bench.errors import Vr1benchError
from vr1bench.types import PixelBudget, Sampling

if TYPE_CHECKING:
    from transformers import BatchFeature, GenerationConfig


@dataclass(frozen=True, slots=True)
class Row:
    """What one prompt of a batch generated.

    Attributes:
        ids: Generated token ids without padding, with the one that ended the answer.
        logprobs: One natural logarithm for each id; empty where none were asked for.
        stopped: Whether the last id ended the answer.
    """

    ids: list[int]
    logprobs: list[float]
    stopped: bool


def render(
    loaded: LoadedModel,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    images: Sequence[Sequence[Image.Image]],
    pixels: PixelBudget | None,
) -> BatchFeature:
    """Chat template, tokens and processed images: transformers' BatchFeature, on the CPU.

    Raises:
        ValueError: The template or the processor refuses one of them.
    """
    texts = [
        loaded.processor.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        for messages in conversations
    ]
    # The spelling that Qwen's processors take for each call; `size={"shortest_edge", "longest_edge"}` is the same.
    budget = {} if pixels is None else {"min_pixels": pixels.min_pixels, "max_pixels": pixels.max_pixels}
    return loaded.processor(
        text=texts,
        images=[list(row) for row in images] if any(images) else None,
        padding=True,
        return_tensors="pt",
        return_mm_token_type_ids=True,  # without these Qwen2.5-VL computes wrong positions, and says nothing
        add_special_tokens=False,  # the template writes those that the model wants
        **budget,
    )


def generate(loaded: LoadedModel, inputs: BatchFeature, sampling: Sampling) -> list[Row]:
    """Generates; a row is cut at its first ending token, at `max_tokens`, or where its context is full.

    Raises:
        Vr1benchError: The batch does not fit the memory.
    """
    import torch
    from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

    width = inputs["input_ids"].shape[1]
    limits = [min(sampling.max_tokens, loaded.context - int(row.sum())) for row in inputs["attention_mask"]]
    recorder = SampledLogprobs(width) if sampling.logprobs else None
    chain = LogitsProcessorList([recorder] if recorder else [])
    if sampling.repetition_penalty != 1.0:  # after the recorder: vLLM's log-probabilities are the raw ones, too
        chain.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature:
        torch.manual_seed(sampling.seed)
    try:
        with torch.inference_mode():
            sequences = loaded.model.generate(
                **inputs.to(loaded.device, dtype=loaded.model.dtype),
                generation_config=_generation_config(loaded, sampling, max(limits)),
                logits_processor=chain,
            )
    except torch.OutOfMemoryError as error:
        raise Vr1benchError(
            f"a batch of {len(limits)} does not fit the memory ({error}); lower --engine-args batch_size or the "
            "pixel budget"
        ) from error
    logprobs = recorder.finish(sequences) if recorder else [[] for _ in limits]
    return [
        _row(ids, values, limit, loaded.ends)
        for ids, values, limit in zip(sequences[:, width:].tolist(), logprobs, limits, strict=True)
    ]


def _row(ids: list[int], logprobs: list[float], limit: int, ends: frozenset[int]) -> Row:
    end = next((index for index, token in enumerate(ids[:limit]) if token in ends), None)
    length = limit if end is None else end + 1
    return Row(ids[:length], logprobs[:length], end is not None)


def _generation_config(loaded: LoadedModel, sampling: Sampling, max_tokens: int) -> GenerationConfig:
    """Sets every field of decoding: what is left open, `generate` fills from the checkpoint's own file.

    Qwen2.5-VL's file asks for a repetition penalty of 1.05, which would bend every list of boxes.
    """
    from transformers import GenerationConfig

    drawn = sampling.temperature > 0
    pad = loaded.processor.tokenizer.pad_token_id
    return GenerationConfig(
        max_new_tokens=max_tokens,
        do_sample=drawn,
        temperature=sampling.temperature if drawn else 1.0,
        top_p=sampling.top_p if drawn else 1.0,
        top_k=max(sampling.top_k, 0) if drawn else 50,  # 50 is transformers' "not set", 0 its "all"
        repetition_penalty=1.0,
        num_beams=1,
        eos_token_id=sorted(loaded.ends),
        pad_token_id=min(loaded.ends) if pad is None else pad,
    )
