"""A Qwen2.5-VL of random weights, and requests to it: agreement between engines needs no trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vr1bench.types import PixelBudget, Request, Sampling

SIZES = ((140, 140), (300, 200), (97, 211), (640, 480), (333, 257), (28, 500))
"""(width, height) of the pictures: most are no multiples of 28, and one is long."""
BUDGET = PixelBudget(max_pixels=64 * 28 * 28)

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TEXT = (
    'Locate every red circle and output the coordinates: [{"bbox_2d": [12, 34, 156, 278], "label": "red circle"}]',
    "user assistant system You are a helpful assistant. 0 1 2 3 4 5 6 7 8 9 blue square green triangle yellow star",
)
# Qwen2.5-VL's own template, without the default system prompt and without videos.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENDS = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
PROCESSOR_SIZE = {"shortest_edge": 56 * 56, "longest_edge": 256 * 28 * 28}
"""The stand-in's own pixel budget: another than the family's, as in checkpoints that people have tuned."""
CONTEXT = 1024
"""Positions of the stand-in: short enough that a test can overrun it."""


def _tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    core.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    tokenizer = Qwen2TokenizerFast(tokenizer_object=core, **ENDS)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _config(tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in SPECIAL}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
    ends = {"bos_token_id": None, "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"]}
    text = {
        "hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
        "intermediate_size": 512, "vocab_size": len(tokenizer), "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True, "rope_parameters": rope, "use_sliding_window": False, **ends,
    }  # fmt: skip
    vision = {
        "hidden_size": 128, "depth": 2, "num_heads": 4, "intermediate_size": 384, "out_hidden_size": 192,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 448,
        "fullatt_block_indexes": [0, 1],
    }  # fmt: skip
    return Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"], **ends,
    )  # fmt: skip


def build_tiny_model(folder: Path) -> Path:
    """Writes a checkpoint folder as `save_pretrained` does: weights, tokenizer, processor with its video section."""
    import torch
    from transformers import (
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = _tokenizer()
    torch.manual_seed(7)
    model = Qwen2_5_VLForConditionalGeneration(_config(tokenizer)).to(torch.float32)
    for name, weight in model.named_parameters():
        # Weights far larger than an initialiser's: answers then depend on the picture, and ties are rare.
        if weight.ndim > 1:
            scale = 1.0 if "embed_tokens" in name else 2.0 / weight[0].numel() ** 0.5
            weight.data.normal_(0.0, scale)
    model.save_pretrained(folder)
    images, videos = Qwen2VLImageProcessor(size=PROCESSOR_SIZE), Qwen2VLVideoProcessor()
    processor = Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)
    processor.save_pretrained(folder)
    # One token in sixteen ends an answer, so that lengths differ and requests leave a batch at different times.
    ends = [*range(0, len(tokenizer) - len(SPECIAL), 16), tokenizer.eos_token_id]
    generation = {"eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id, "repetition_penalty": 1.05}
    (folder / "generation_config.json").write_text(json.dumps(generation), "utf-8")
    return folder


def ask(
    image: Path | None,
    size: tuple[int, int],
    text: str = "Locate every red circle",
    pixels: PixelBudget | None = BUDGET,
    **sampling: Any,
) -> Request:
    """A request with the picture before the text; keywords are `Sampling`'s, with 24 tokens as the default."""
    parts = [*([{"type": "image"}] if image else []), {"type": "text", "text": text}]
    return Request(
        key=f"{image}{text}",
        sample_id=f"{image and image.name}/{text}",
        images=(image,) if image else (),
        width=size[0],
        height=size[1],
        queries=("red circle",),
        messages=({"role": "user", "content": parts},),
        sampling=Sampling(**{"max_tokens": 24, **sampling}),
        pixels=pixels,
    )
