"""The reward's door to the reader: what it pays is what the evaluation counts."""

from pathlib import Path

import pytest

from vr1bench import as_trl
from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.metrics.pointwise import referring_ious
from vr1bench.rewards import referring_iou
from vr1bench.types import Completion, Gold, Pair, PixelBudget, Request, Sample, Sampling

SAMPLE = Sample("1", (Path("x.png"),), 640, 480, ("the dog",), Gold.of([[100, 120, 300, 360]], ["the dog"]))
TEXTS = (
    '<think>[1, 2, 3, 4]</think><answer>```json\n[{"bbox_2d": [101, 119, 302, 357], "label": "the dog"}]\n```</answer>',
    '[{"bbox_2d": [101, 119, 202, 357], "label": "the dog"}',
    "None",
    "",
)


def test_reward_and_evaluation_read_alike():
    family = FAMILIES["qwen2.5-vl"]
    request = Request("", "1", SAMPLE.images, 640, 480, SAMPLE.queries, (), Sampling())
    pairs = [Pair(SAMPLE, family.parse(Completion(text=text), request)) for text in TEXTS]
    paid = as_trl(referring_iou, "qwen2.5-vl")(completions=list(TEXTS), sample=[SAMPLE] * 4, prompts=["?"] * 4)
    assert paid == referring_ious(pairs).tolist()
    assert paid[0] == pytest.approx(1.0, abs=0.02)
    assert 0 < paid[1] < 0.6
    assert paid[2:] == [0.0, 0.0]


def test_chat_messages_are_read_like_texts():
    chat = [[{"role": "assistant", "content": text}] for text in TEXTS]
    reward = as_trl(referring_iou, "qwen2.5-vl")
    assert reward(completions=chat, sample=[SAMPLE] * 4) == reward(completions=list(TEXTS), sample=[SAMPLE] * 4)
    assert reward.__name__ == "referring_iou"


def test_the_trainers_pixel_budget_decides_the_frame():
    small = PixelBudget(max_pixels=320 * 240)
    fed = FAMILIES["qwen2.5-vl"].fed_size(640, 480, small)
    text = f'[{{"bbox_2d": [0, 0, {fed[0]}, {fed[1]}]}}]'
    whole = Sample("1", (Path("x.png"),), 640, 480, ("all",), Gold.of([[0, 0, 640, 480]], ["all"]))
    assert as_trl(referring_iou, "qwen2.5-vl", small)([text], [whole]) == pytest.approx([1.0])
    assert as_trl(referring_iou, "qwen2.5-vl")([text], [whole])[0] < 0.5


def test_an_unknown_family_is_said_at_once():
    with pytest.raises(Vr1benchError, match="did you mean 'qwen2-vl'"):
        as_trl(referring_iou, "qwen2vl")
