"""VLM-R1's form of a training row: a question of `human` and an answer of `gpt`, which may hold the gold.

A line holds `id`, `image` (a name, several, or none), `conversations` and, where it wants, `accu_reward_method`
(om-ai-lab/VLM-R1@90052f4, src/open-r1-multimodal/src/open_r1/grpo_jsonl.py, and its README, "For your own data").
Boxes are xyxy in pixels of the original image, as VLM-R1's own data has them.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from vr1bench.errors import Vr1benchError
from vr1bench.readers.pictures import upright_size
from vr1bench.readers.refer import PROBLEM_PREFIX
from vr1bench.rewards import gold_text
from vr1bench.types import Gold, Sample, Task

_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_LISTED = re.compile(r"following (?:objects|targets): (.+?)\. ?Output", re.DOTALL)
"""The names in VLM-R1's two questions of detection (om-ai-lab.github.io 2025_03_24, sections 4.1 and 5.1)."""
_SIDES = 4


def turns(talk: object, where: str) -> tuple[str, Any]:
    """The question and the answer of a conversation.

    Raises:
        Vr1benchError: It is none of just these two.
    """
    said = [cast("dict[str, Any]", one) for one in cast("list[object]", talk if isinstance(talk, list) else [])
             if isinstance(one, dict)]  # fmt: skip
    if [one.get("from") for one in said] != ["human", "gpt"] or not isinstance(said[0].get("value"), str):
        raise Vr1benchError(
            f"{where}: conversations: expected a text of `human` and one answer of `gpt`, got {talk!r:.200}"
        )
    if "value" not in said[1]:
        raise Vr1benchError(f"{where}: conversations: the answer has no value; expected a text, number or list")
    return said[0]["value"], said[1]["value"]


def solution(sample: Sample, task: Task) -> str | Sequence[float]:
    """The gold as VLM-R1's answers have it, in pixels of the original image; whole ones are written so."""
    boxes = [[int(x) if x.is_integer() else x for x in box] for box in sample.gold.boxes.tolist()]
    if task == "refer" and len(boxes) == 1:
        return boxes[0]
    if not boxes:
        return "None"
    items = [{"bbox_2d": box, "label": name} for box, name in zip(boxes, sample.gold.labels.tolist(), strict=True)]
    return f"```json\n{json.dumps(items, ensure_ascii=False)}\n```"


def gold_of(answer: object, prompt: str, image: Path, name: str) -> str:
    """The gold of an answer of VLM-R1's about one image, as text; "" where it holds no boxes."""
    phrase = (prompt.partition(PROBLEM_PREFIX)[2] or prompt).strip().removesuffix(".")
    asked = _names(prompt)
    found = _boxes(answer, phrase)
    if found is None and asked and isinstance(answer, str) and _bare(answer).lower() == "none":
        found = []
    if found is None:
        return ""
    boxes, labels = [box for box, _ in found], [label for _, label in found]
    (width, height), _ = upright_size(image)
    queries = tuple(dict.fromkeys([*asked, *labels]))
    return gold_text(Sample(name, (image,), width, height, queries, Gold.of(boxes, labels)))


def _bare(answer: str) -> str:
    """An answer without the tags that VLM-R1's loader takes off."""
    return answer.replace("<answer>", "").replace("</answer>", "").strip()


def _boxes(answer: object, phrase: str) -> list[tuple[list[float], str]] | None:
    """Boxes and labels of an answer; one without a label is of the phrase. None where it is of another kind."""
    value = answer
    if isinstance(answer, str):
        fenced = _FENCE.search(answer)
        try:
            value = json.loads(fenced[1] if fenced else _bare(answer))
        except ValueError:
            return None
    if _is_box(value):
        return [(cast("list[float]", value), phrase)]
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    found: list[tuple[list[float], str]] = []
    for item in items:
        fields = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        if not _is_box(fields.get("bbox_2d")):
            return None
        found.append((fields["bbox_2d"], str(fields.get("label") or phrase)))
    return found or None


def _is_box(value: object) -> bool:
    """Whether this is four finite numbers, xyxy, not inverted."""
    numbers = cast("list[Any]", value) if isinstance(value, list) else []
    plain = len(numbers) == _SIDES and all(type(x) in (int, float) and math.isfinite(x) for x in numbers)
    return plain and numbers[0] <= numbers[2] and numbers[1] <= numbers[3]


def _names(prompt: str) -> list[str]:
    """The names that one of VLM-R1's questions lists; none where it is another question."""
    match = _LISTED.search(prompt)
    if not match:
        return []
    listed = match[1].strip()
    if listed.startswith("["):
        with suppress(ValueError, SyntaxError):
            return [str(name) for name in ast.literal_eval(listed)]
    parts = listed.strip("[]").split(";" if ";" in listed else ",")
    return [part.strip() for part in parts if part.strip()]
