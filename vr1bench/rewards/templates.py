"""The form of an answer: whether it is spelled as a paper's template says, told from the text alone.

The reader of `vr1bench.families` is kind: it takes strings for numbers, prose around the list and cut ends. A reward
for the form is not. Every pattern is searched in one pass: an answer that loops until the token limit costs no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from vr1bench.families.reading import answer_span

Template = Callable[[str], int | None]
"""Number of boxes in an answer that holds the template, None for one that does not."""

_JOINT = re.compile(r"</think>\s*<answer>")
_BOX = re.compile(r"\[\d+,\s*\d+,\s*\d+,\s*\d+\]")
_GRIFFON = re.compile(r"[^&]+-\[(?:[01]\.\d{3},){3}[01]\.\d{3}\]")


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    bbox_2d: tuple[int, int, int, int]
    label: str


_ITEMS = msgspec.json.Decoder(list[_Item])


def qwen(text: str) -> int | None:
    """Qwen2.5-VL's: a JSON list of objects with `bbox_2d` (four whole numbers) and `label`, in a fence or without.

    Thinking and answer tags around it are no part of it.
    """
    start, end = answer_span(text)
    body = text[start:end].strip()
    if body.startswith("```") and body.endswith("```"):
        body = body[3:-3].removeprefix("json")
    try:
        return len(_ITEMS.decode(body))
    except ValueError:  # of msgspec, and of text that is no Unicode
        return None


def griffon(text: str) -> int | None:
    """Griffon's: `dog-[0.123,0.234,0.500,0.999]`, joined by `&`, three decimals of parts of the image; or `None`.

    jefferyZhan/Griffon@9866875, griffon/coor_utils.py:512-535.
    """
    body = text.strip()
    if body == "None":
        return 0
    items = body.split("&")
    return len(items) if all(_GRIFFON.fullmatch(item) for item in items) else None


def tagged(text: str) -> bool:
    """Thinking in tags, then an answer in tags, and nothing else: `<think>…</think> <answer>…</answer>`.

    om-ai-lab/VLM-R1@90052f4, src/open-r1-multimodal/src/open_r1/grpo_jsonl.py:884-888.
    """
    return text.startswith("<think>") and text.endswith("</answer>") and _JOINT.search(text) is not None


def tagged_box(text: str) -> bool:
    """Thinking in tags, then somewhere an answer in tags with four whole numbers inside of braces; anything around it.

    om-ai-lab/VLM-R1@90052f4, src/open-r1-multimodal/src/open_r1/vlm_modules/qwen_module.py:90-98: one expression with
    six gaps, searched here a gap at a time, each from the first place that the one before allows.
    """
    opening = text.find("<think>")
    joint = _JOINT.search(text, opening + len("<think>")) if opening >= 0 else None
    brace = text.find("{", joint.end()) if joint else -1
    box = _BOX.search(text, brace + 1) if brace >= 0 else None
    close = text.find("}", box.end()) if box else -1
    return close >= 0 and text.find("</answer>", close) >= 0


def markdown_json(text: str) -> bool:
    """`tagged`, and the answer is one JSON list in a fence, or `None`: the check of VLM-R1's paper that its code lacks.

    arXiv 2504.07615: detection's format reward asks for markdown JSON inside of the answer's tag.
    """
    words = text.strip()
    if not tagged(words):
        return False
    start, end = answer_span(words)
    body = words[start:end].strip()
    return body == "None" or (body.startswith("```json") and qwen(words) is not None)
