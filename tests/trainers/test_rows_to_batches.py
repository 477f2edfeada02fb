"""What the trainers feed: the evaluation's own prompts and pixels, masked questions, rows of every kind."""

import json
import re

import pytest
import torch
from PIL import Image
from training import GRPO, SFT, begun, recipe_of

from vr1bench.engines import EngineOptions
from vr1bench.engines.hf_batch import render
from vr1bench.engines.hf_start import start as start_hf
from vr1bench.engines.prompts import with_images
from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.images import load
from vr1bench.model import load as load_model
from vr1bench.rewards import REWARDS, as_trl, gold_text, sample_of
from vr1bench.rows import rows, write_rows
from vr1bench.running import plan
from vr1bench.trainers import grpo, sft
from vr1bench.trainers.loading import as_dataset, last_checkpoint, load_processor, note, start
from vr1bench.trainers.paid import completed, reward_functions
from vr1bench.types import Completion, Gold, Request, Sample, Sampling

DEMO = 'benchmarks = ["demo/coco"]\nlimit = 6'


def test_a_question_is_masked_and_its_answer_learned(tmp_path):
    one = begun(tmp_path, "sft", SFT)
    trainer = sft.make_trainer(one)
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(len(one.rows))])
    tokenizer = trainer.processing_class.tokenizer
    for row, labels in zip(one.rows, batch["labels"], strict=True):
        assert tokenizer.decode(labels[labels >= 0]) == f"{row.completion}<|im_end|>\n"
    assert batch["image_grid_thw"].shape[0] == sum(len(row.images) for row in one.rows)


def test_targets_lie_in_the_frame_that_is_fed(tmp_path):
    """Two released trainers write original pixels for a model that sees resized ones: here reading gives the gold."""
    one = begun(tmp_path, "sft", SFT, data='benchmarks = ["demo/coco"]\nlimit = 12')
    family = FAMILIES["qwen2.5-vl"]
    resized = 0
    for row in one.rows:
        gold = sample_of(row.gold)
        size = (gold.width, gold.height)
        request = Request("", "", (), *size, gold.queries, (), Sampling(), one.pixels)
        read = family.parse(Completion(text=row.completion), request).detections
        fed = family.fed_size(*size, one.pixels)
        resized += fed != size
        assert read.labels.tolist() == gold.gold.labels.tolist()
        assert abs(read.boxes - gold.gold.boxes).max(initial=0) <= max(size[0] / fed[0], size[1] / fed[1])
    assert resized >= 6


def test_prompts_and_pixels_are_those_of_the_evaluation(tmp_path):
    one = begun(tmp_path, "grpo", GRPO + "per_device_train_batch_size = 2", "[rewards]\nvision-r1 = 1.0", DEMO)
    trainer = grpo.make_trainer(one)
    prepared = trainer._generate_and_score_completions([trainer.train_dataset[place] for place in (0, 0, 5, 5)])
    loaded = start_hf(EngineOptions(load_model("demo"), one.family))
    (job,) = plan(
        "demo", None, "demo/coco", engine="hf", family="auto", protocol="standard", split="train", limit=None,
        changes={}, data_dir=None, output=tmp_path, seed=0, gen_args={}, engine_args={},
    )  # fmt: skip
    asked = {str(sample.images[0].resolve()): (sample, *job.requests(sample)) for sample in job.samples()}
    patches = []
    for place, row in ((0, one.rows[0]), (2, one.rows[5])):
        sample, request = asked[row.images[0]]
        images = [load(path, (sample.width, sample.height)) for path in request.images]
        fed = render(loaded, [with_images(request.messages, images, "image")], [images], request.pixels)
        ids = prepared["prompt_ids"][place][prepared["prompt_mask"][place].bool()]
        assert ids.tolist() == fed["input_ids"][0].tolist()
        patches += [fed["pixel_values"]] * 2
    assert torch.equal(prepared["pixel_values"], torch.cat(patches))


def test_rows_of_every_kind_train_with_a_users_own_reward(tmp_path):
    (tmp_path / "mine.py").write_text(
        "SEEN = []\n"
        "def words_known(completions, words, **_):\n"
        "    SEEN.extend(words)\n"
        "    return [float(len(text[0]['content'])) for text in completions]\n"
        "def near(sample, prediction):\n"
        "    assert sample.queries\n"
        "    return float(len(prediction.detections) > 0)\n"
    )
    settings = GRPO + "per_device_train_batch_size = 4\ngradient_accumulation_steps = 3\nmax_steps = 1"
    rewards = f'[rewards]\n"{tmp_path}/mine.py:words_known" = 1.0\n"{tmp_path}/mine.py:near" = 0.5\nvlm-r1-rec = 1.0'
    one = begun(tmp_path, "grpo", settings, rewards)
    assert [len(row.images) for row in one.rows] == [1, 2, 0, 1, 2, 0]
    trainer = grpo.make_trainer(one)
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    seen = trainer.reward_funcs[0].__wrapped__.__globals__["SEEN"]
    assert sorted(map(str, seen)) == sorted(2 * ["text 0", "[1]", "text 2", "[3]", "text 4", "[5]"])
    (log,) = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert 0 <= log["rewards/near/mean"] <= 1
    assert log["monitor/predicted_over_gold"] >= 0
    assert any(not torch.equal(before[name], weight) for name, weight in trainer.model.named_parameters())


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ("vision-r2 = 1.0", "unknown reward 'vision-r2'; did you mean 'vision-r1'"),
        ('"no.py:f" = 1.0', "there is no such file"),
        ('"{folder}/broken.py:f" = 1.0', "does not load: ZeroDivisionError"),
        ('"{folder}/fine.py:g" = 1.0', "unknown function .*'g'.*known: f"),
    ],
)
def test_rewards_that_are_none(tmp_path, rewards, said):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "fine.py").write_text("def f(sample, prediction):\n    return 1.0\n")
    settings = GRPO + "per_device_train_batch_size = 2"
    one = begun(tmp_path, "grpo", settings, "[rewards]\n" + rewards.replace("{folder}", str(tmp_path)))
    with pytest.raises(Vr1benchError, match=said):
        grpo.make_trainer(one)


def test_only_the_language_model_learns(tmp_path):
    one = begun(tmp_path, "sft", SFT + "max_steps = 1", model='weights = "language"')
    trainer = sft.make_trainer(one)
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, weight in trainer.model.named_parameters() if not torch.equal(before[name], weight)}
    assert any("layers" in name for name in moved)
    assert not [name for name in moved if re.search(r"\bvisual\b", name)]


def test_an_adapter_learns_beside_frozen_weights(tmp_path):
    lora = '[lora]\nr = 4\nlora_alpha = 8\ntarget_modules = "all-linear"\nexclude_modules = ".*visual.*"'
    one = begun(tmp_path, "sft", SFT + "max_steps = 1", lora, model='weights = "lora"')
    trainer = sft.make_trainer(one)
    learning = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert learning
    assert all("lora_" in name and "visual" not in name for name in learning)


def test_what_is_trained_on_is_not_scored_on(tmp_path, capsys):
    data = 'benchmarks = ["demo/coco"]\nsplit = "val"'
    score = '[score]\nsuite = "demo/coco"'
    with pytest.raises(Vr1benchError, match=r"100 images are trained on and scored on.*allow_leakage"):
        start(recipe_of(tmp_path, "sft", SFT, score, data))
    start(recipe_of(tmp_path, "sft", SFT, score, data + "\nallow_leakage = true"))
    assert "WARNING: 100 images" in capsys.readouterr().err
    start(recipe_of(tmp_path, "sft", SFT, score, 'benchmarks = ["demo/coco"]'))  # its train split shares none


def test_a_folder_with_checkpoints_is_not_begun_anew(tmp_path):
    one = begun(tmp_path, "sft", SFT)
    out = tmp_path / "out"
    assert last_checkpoint(one, out, resume=False) is None
    with pytest.raises(Vr1benchError, match="holds no whole checkpoint"):
        last_checkpoint(one, out, resume=True)
    (out / "checkpoint-3").mkdir(parents=True)
    (out / "checkpoint-5").mkdir()  # killed while it was saved
    (out / "checkpoint-3" / "trainer_state.json").write_text("{}")
    with pytest.raises(Vr1benchError, match=r"holds checkpoints; pass --resume to go on from checkpoint-3"):
        last_checkpoint(one, out, resume=False)
    assert last_checkpoint(one, out, resume=True) == str(out / "checkpoint-3")
    other = begun(tmp_path, "sft", SFT + "max_steps = 9")
    note(other, out)
    with pytest.raises(Vr1benchError, match=r"another recipe: sft\.max_steps 9, now None"):
        last_checkpoint(one, out, resume=True)


def test_answers_are_read_as_the_engines_give_them(tmp_path):
    """TRL's texts lack special tokens, which Qwen2-VL writes boxes with, and do not tell whether an answer was cut."""
    one = begun(tmp_path, "grpo", GRPO, "[rewards]\nvision-r1 = 1.0")
    processor = load_processor(one)
    made, tokenizer = completed(one, processor), processor.tokenizer
    text = "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(10,20),(300,400)<|box_end|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "box_start" not in tokenizer.decode(ids, skip_special_tokens=True)
    whole, cut = made([*ids, tokenizer.eos_token_id]), made(ids)
    assert (whole.text, whole.finish, cut.text, cut.finish) == (text, "stop", text, "length")
    gold = Sample("1", (), 1000, 1000, ("dog",), Gold.of([[10, 20, 300, 400]], ["dog"]))
    pay = as_trl(REWARDS["vlm-r1-rec"], "qwen2-vl", completed=made)
    shown = [[{"role": "assistant", "content": tokenizer.decode(ids, skip_special_tokens=True)}]]
    assert pay(completions=shown, completion_ids=[[*ids, tokenizer.eos_token_id]], sample=[gold]) == [1.0]


def test_each_row_is_paid_by_the_method_that_it_names(tmp_path):
    """VLM-R1's `accu_reward_method`: two boxes of which one is right are worth less to odLength than to AP."""
    one = begun(tmp_path, "grpo", GRPO, "[rewards]\nvlm-r1-accuracy = 1.0")
    (pay,), _ = reward_functions(one, load_processor(one))
    gold = gold_text(Sample("1", (), 140, 140, ("dog",), Gold.of([[10, 20, 80, 90]], ["dog"])))
    text = '[{"bbox_2d": [10, 20, 80, 90], "label": "dog"}, {"bbox_2d": [1, 2, 8, 9], "label": "dog"}]'
    methods = [None, "iou", "map", "odLength"]
    given = {"completions": [text] * 4, "sample": [gold] * 4}
    assert pay(**given, accu_reward_method=methods) == pytest.approx([1.0, 1.0, 1.0, 0.5])
    assert pay(**given) == pytest.approx([1.0] * 4)
    with pytest.raises(Vr1benchError, match="unknown accu_reward_method of a row 'llm'"):
        pay(**given, accu_reward_method=[*methods[:3], "llm"])


def test_a_picture_is_turned_as_its_gold_says(tmp_path):
    """A camera's note on its orientation holds for those who saw the picture upright, and only for them."""
    sideways = Image.new("RGB", (90, 60))
    exif = sideways.getexif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "a.jpg", exif=exif)
    for size in ((90, 60), (60, 90)):
        gold = gold_text(Sample("1", (), *size, ("dog",), Gold.of([[1, 2, 30, 40]], ["dog"])))
        row = {"images": ["a.jpg"], "prompt": "Where?", "completion": "there", "gold": gold}
        (tmp_path / "one.jsonl").write_text(json.dumps(row))
        one = begun(tmp_path, "grpo", GRPO, "[rewards]\nvision-r1 = 1.0", f'rows = ["{tmp_path}/one.jsonl"]')
        assert as_dataset(one.rows, targets=False)[0]["images"][0].size == size


@pytest.mark.parametrize("made_for", ["qwen3-vl", "another size"])
def test_targets_of_another_frame_are_refused(tmp_path, made_for):
    """Rows of a file look alike whichever family or size they were made for."""
    family, changes = ("qwen2.5-vl", {"max_pixels": 6272}) if made_for == "another size" else (made_for, {})
    write_rows(rows("demo/coco", family=family, overrides=changes, limit=20), tmp_path / "them.jsonl")
    data = f'rows = ["{tmp_path}/them.jsonl"]'
    with pytest.raises(Vr1benchError, match=r"not in the frame or the words of family qwen2\.5-vl"):
        begun(tmp_path, "sft", SFT, data=data)
    write_rows(rows("demo/coco", family="qwen2.5-vl", limit=20), tmp_path / "them.jsonl")
    assert len(begun(tmp_path, "sft", SFT, data=data).rows) == 20
