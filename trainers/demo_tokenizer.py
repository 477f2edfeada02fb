"""The small model's tokenizer and processor: byte-level, with the fixed pieces of its questions and answers whole.

A from-scratch model of a few million parameters learns faster from short sequences. So each fixed sentence of a
question, each piece of the answer's JSON, each class name and each integer up to `LARGEST_NUMBER` is one token; an
object costs seven. Any other text falls back to bytes and comes out of `decode` unchanged.
"""

from __future__ import annotations

import re
from typing import Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

from vr1bench.demo.world import COLOURS, LABELS, SHAPES, SUPERLATIVES

LARGEST_NUMBER: Final = 255

ASK_ALL: Final = (
    "Locate every item from the category list in the image and output the coordinates in JSON format. "
    "The category set includes "
)
ASK_ONE: Final = ("Locate every ", " in the image and output the coordinates in JSON format.")
ASK_PHRASE: Final = (
    "Please provide the bounding box coordinate of the region this sentence describes: ",
    ". Please provide the bounding box coordinate in JSON format.",
)
ANSWER: Final = ('[{"bbox_2d": [', '], "label": "', '"}, {"bbox_2d": [', '"}]', "[]")
PHRASE_STARTS: Final = ("the ", *(f"the {word} " for word in SUPERLATIVES))
NUMBERS: Final = tuple(str(n) for n in range(LARGEST_NUMBER + 1))

# Qwen2.5-VL's own special tokens, in its order.
SPECIALS: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# Qwen2.5-VL's template without its default system prompt and without picture numbering.
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _split_pattern() -> str:
    """One alternative a whole piece, longest first, then words, single spaces and marks."""
    labels = f"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})(?![a-z])"
    number = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?![0-9])"
    fixed = sorted((ASK_ALL, *ASK_ONE, *ASK_PHRASE, *ANSWER, *PHRASE_STARTS, "user\n", "assistant\n"), key=len)
    pieces = [re.escape(piece).replace('"', '"') for piece in reversed(fixed)]
    shapes = f"(?:{'|'.join(SHAPES)})(?![a-z])"
    return "|".join([*pieces, f", {labels}", labels, f", {number}", number, shapes, r"\w+", r"\s", r"[^\w\s]"])


def whole_pieces() -> dict[str, tuple[str, ...]]:
    """The pieces that are one token each, by kind; `number` and `comma_number` run 0 to `LARGEST_NUMBER`."""
    return {
        "number": NUMBERS,
        "comma_number": tuple(f", {n}" for n in NUMBERS),
        "label": LABELS,
        "comma_label": tuple(f", {label}" for label in LABELS),
        "shape": SHAPES,
        "phrase": PHRASE_STARTS,
        "answer": ANSWER,
        "question": (ASK_ALL, *ASK_ONE, *ASK_PHRASE),
        "role": ("user\n", "assistant\n"),
    }


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: 256 bytes, then the whole pieces, then the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    for group in whole_pieces().values():
        for piece in group:
            vocabulary.setdefault("".join(part for part, _ in as_bytes.pre_tokenize_str(piece)), len(vocabulary))
    # `ignore_merges`: a pre-token that stands whole in the vocabulary is one token; all else falls to bytes.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_split_pattern()), behavior="isolated"), as_bytes]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",  # noqa: S106 (a token of text)
        pad_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=list(SPECIALS[3:]),
        model_max_length=32768,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLProcessor:
    """Qwen2.5-VL's processor (sides rounded to multiples of 28, 3136 to 28224 pixels) around the small tokenizer."""
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=28 * 28 * 36),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
