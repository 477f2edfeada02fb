"""The names of recipes, mixes, and the forms that trainers call."""

from types import SimpleNamespace

import pytest
from answering import SIDE, read, said, sample, spelled

from vr1bench.errors import Vr1benchError
from vr1bench.rewards import REWARDS, as_easyr1, as_swift, as_trl, as_verl, at, gold_text, mix, sample_of
from vr1bench.rewards.reward import changes
from vr1bench.rewards.vision_r1 import VisionR1
from vr1bench.types import Sample

GOLD = [[0, 0, 100, 100]]
SAMPLE = sample(GOLD)
ROWS = [([0, 0, 100, 60], "dog")]
TEXT = spelled(ROWS)
HALF = VisionR1(switch=0.5)


def test_a_mix_is_the_weighted_sum() -> None:
    both = mix({"vision-r1": 1.0, "format": 0.5, "vision-r1-count": -1})
    assert both(SAMPLE, said(ROWS)) == pytest.approx(1 + 1 + 0.6 + 0.0 - 1)
    assert not changes(both)
    staged = mix({"vision-r1-step-1/2": 2.0})
    assert changes(staged)
    assert staged(SAMPLE, said(ROWS)) == pytest.approx(2 * 2.6)
    assert at(staged, 0.5)(SAMPLE, said(ROWS)) == 2.0
    assert at(REWARDS["format"], 0.5) is REWARDS["format"]
    own = mix({"mine": 3}, known={"mine": lambda sample, prediction: 0.5})
    assert own(SAMPLE, said(ROWS)) == 1.5


def test_names_that_nobody_has() -> None:
    with pytest.raises(Vr1benchError, match=r"'vision-r2'; did you mean 'vision-r1'\? \(known: vision-r1,"):
        mix({"vision-r2": 1.0})
    with pytest.raises(Vr1benchError, match="no rewards to mix"):
        mix({})
    with pytest.raises(Vr1benchError, match="weight of reward 'format': expected a finite number, got nan"):
        mix({"format": float("nan")})


def test_every_name_is_a_reward() -> None:
    for name in REWARDS:
        assert isinstance(REWARDS[name](SAMPLE, said(ROWS)), float), name


def test_a_sample_travels_as_text() -> None:
    back = sample_of(gold_text(SAMPLE))
    assert isinstance(back, Sample)
    assert (back.id, back.images, back.width, back.queries) == (SAMPLE.id, SAMPLE.images, SIDE, SAMPLE.queries)
    assert back.gold.boxes.tolist() == GOLD
    assert back.gold.labels.tolist() == ["dog"]
    assert len(sample_of(gold_text(sample([]))).gold) == 0
    with pytest.raises(Vr1benchError, match="gold of a training row is not valid JSON"):
        sample_of("<answer>")
    with pytest.raises(Vr1benchError, match="1 boxes with 0 labels"):
        sample_of(gold_text(SAMPLE).replace('"labels":["dog"]', '"labels":[]'))
    with pytest.raises(Vr1benchError, match="gold of a training row: width"):
        sample_of(gold_text(SAMPLE).replace(f'"width":{SIDE}', '"width":0'))


def test_trl_tells_the_step() -> None:
    pay = as_trl(HALF, "absolute", name="vision-r1")
    assert pay.__name__ == "vision-r1"
    for step, expected in ((0, 2.6), (49, 2.6), (50, 1.0), (100, 1.0)):
        state = SimpleNamespace(global_step=step, max_steps=100)
        paid = pay(
            prompts=["?"] * 2, completions=[TEXT] * 2, completion_ids=[[1]] * 2, sample=[SAMPLE, gold_text(SAMPLE)],
            trainer_state=state, log_extra=None, log_metric=None,
        )  # fmt: skip
        assert paid == pytest.approx([expected] * 2)
    for nothing in (None, SimpleNamespace(global_step=0, max_steps=0)):
        with pytest.raises(Vr1benchError, match="changes with training, and trainer_state"):
            pay(completions=[TEXT], sample=[SAMPLE], trainer_state=nothing)


def test_ms_swift() -> None:
    """It calls the class in `orms` with its arguments, then the object with completions and columns."""
    pay = as_swift(HALF, "absolute")(args=SimpleNamespace())
    state = SimpleNamespace(global_step=1, max_steps=10)
    assert pay([TEXT], trainer_state=state, sample=[gold_text(SAMPLE)], messages=[[]]) == pytest.approx([2.6])


def test_easyr1() -> None:
    compute_score = as_easyr1(REWARDS["vision-r1"], "absolute")
    rows = [{"response": TEXT, "response_length": 9, "ground_truth": gold_text(SAMPLE)}] * 2
    assert compute_score(rows) == [{"overall": pytest.approx(2.6)}] * 2
    assert compute_score([]) == []
    with pytest.raises(Vr1benchError, match="EasyR1 tells a reward no step"):
        as_easyr1(HALF, "absolute")


def test_verl() -> None:
    compute_score = as_verl(REWARDS["vision-r1"], "absolute")
    paid = compute_score(
        data_source="d3", solution_str=TEXT, ground_truth=gold_text(SAMPLE), extra_info={"num_turns": 1}
    )
    assert paid == pytest.approx(2.6)
    with pytest.raises(Vr1benchError, match="verl tells a reward no step"):
        as_verl(mix({"vision-r1-step-1/3": 1.0}), "absolute")


def test_completions_are_read_as_the_evaluation_reads_them() -> None:
    assert as_trl(REWARDS["vision-r1"], "absolute")([TEXT], [SAMPLE]) == [REWARDS["vision-r1"](SAMPLE, read(TEXT))]
