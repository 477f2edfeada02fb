"""The monitors of a step: what they count, and how TRL gets them without a reward more."""

import asyncio
from dataclasses import replace

import pytest
from answering import read, said, sample, spelled, thought

from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.rewards import REWARDS, as_trl, gold_text
from vr1bench.rewards.monitors import monitors, watched

FAMILY = "qwen2.5-vl"
A, B = [10, 10, 60, 60], [100, 100, 200, 200]


def test_boxes_are_counted_over_all_answers():
    answered = [
        (sample([A, B], ["dog", "cat"]), said([(A, "dog"), (A, "dog"), (B, "bird"), (B, "wolf")])),
        (sample([A]), said([(A, "dog")])),
        (sample([]), said([(A, "dog")])),
    ]
    found = monitors(answered)
    assert found["predicted_over_gold"] == 6 / 3
    assert found["duplicates"] == 1 / 6
    assert found["unknown_labels"] == 1 / 6  # the wolf
    assert found["absent_labels"] == 2 / 6  # the bird, and the dog where nothing is


def test_broken_items_count_as_predicted():
    text = '[{"bbox_2d": [10, 10, 60, 60], "label": "dog"}, {"bbox_2d": [1, 2], "label": "dog"}]'
    assert monitors([(sample([A]), read(text))])["predicted_over_gold"] == 2.0


def test_where_no_name_is_asked_none_is_unknown():
    asked = sample([A])
    wolf = said([(A, "wolf")])
    assert monitors([(asked, wolf)])["unknown_labels"] == 1
    assert monitors([(replace(asked, queries=()), wolf)])["unknown_labels"] == 0


def test_kinds_of_answers_add_up_to_one():
    texts = [
        spelled([(A, "dog")]), "None", "[]", '[{"bbox_2d": [10, 10, 60, 60], "label": "dog"',
        '[{"bbox_2d": [10, 10, 60, 60], "label": "dog"}, {"bbox_2d": [1, 2], "label": "dog"}]', "The dog sits.", "",
        "I'm sorry, but I cannot help with that.",
    ]  # fmt: skip
    answered = [(sample([A]), read(text)) for text in texts]
    found = monitors(answered)
    kinds = [found[name] for name in ("format", "salvaged", "truncated", "malformed")]
    assert kinds == [3 / 8, 1 / 8, 1 / 8, 3 / 8]
    assert sum(kinds) == 1


def test_thinking_is_judged_where_there_is_some():
    answered = [
        (sample([A]), read("<think>A dog, no cat and no bird.</think><answer>[]</answer>")),
        (sample([A], ["cat"]), read("<think>A dog.</think><answer>[]</answer>")),
        (sample([A]), said([(A, "dog")])),
        (sample([A]), read(thought("[]"))),
    ]
    found = monitors(answered)
    assert found["thinking"] == 3 / 4
    assert found["presence_decided"] == (3 + 1 + 0) / 9
    assert found["presence_right"] == 3 / 9


def test_what_has_nothing_to_stand_on_is_left_out():
    assert monitors([]) == {}
    assert set(monitors([(sample([]), read("None"))])) == {"format", "salvaged", "truncated", "malformed", "thinking"}


@pytest.fixture
def step() -> dict:
    """What TRL hands a reward function: two answers to a row with gold, one to a row without."""
    rows = [gold_text(sample([A]))] * 2 + [""]
    texts = [spelled([(A, "dog"), (B, "cat")]), spelled([(A, "dog")]), spelled([(A, "dog")] * 9)]
    messages = [[{"role": "assistant", "content": text}] for text in texts]
    return {"prompts": ["?"] * 3, "completions": messages, "completion_ids": [[1]] * 3, "sample": rows}


def test_the_watched_reward_pays_the_same_and_logs(step):
    logged: dict[str, float] = {}
    plain = as_trl(REWARDS["vlm-r1-od-length"], FAMILY, name="vlm-r1-od-length")
    reward = watched(plain, FAMILY)
    paid = reward(**step, log_metric=logged.__setitem__)
    assert paid == plain(**step)
    assert (paid[0], paid[2]) == (paid[1] / 2, None)
    assert reward.__name__ == "vlm-r1-od-length"
    assert logged["monitor/predicted_over_gold"] == 3 / 2  # the row without gold is not looked at
    assert logged["monitor/absent_labels"] == 1 / 3
    assert not any("length" in name for name in logged)  # TRL's own


def test_rows_without_gold_log_nothing(step):
    logged: dict[str, float] = {}
    watched(lambda completions, **_: [1.0] * len(completions), FAMILY)(
        **step | {"sample": [""] * 3}, log_metric=logged.__setitem__
    )
    assert logged == {}


def test_a_trainer_without_log_metric_is_paid_all_the_same(step):
    assert watched(as_trl(REWARDS["vlm-r1-ap50"], FAMILY), FAMILIES[FAMILY])(**step) == [1.0, 1.0, None]


def test_a_waiting_reward_stays_one(step):
    logged: dict[str, float] = {}

    async def judge(completions, **_):
        return [0.25] * len(completions)

    reward = watched(judge, FAMILY)
    assert asyncio.iscoroutinefunction(reward)
    assert asyncio.run(reward(**step, log_metric=logged.__setitem__)) == [0.25] * 3
    assert logged["monitor/predicted_over_gold"] == 3 / 2


def test_an_unknown_family_is_refused():
    with pytest.raises(Vr1benchError, match="did you mean"):
        watched(as_trl(REWARDS["vlm-r1-ap50"], FAMILY), "qwen25")
