"""What a run would cost: counts equal what a run asks, and what is not known is not made up."""

import base64
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import typed

import vr1bench
from vr1bench.benchmark import chosen
from vr1bench.costs import Cost, Estimate, table
from vr1bench.families import FAMILIES
from vr1bench.model import DEMO_FOLDER
from vr1bench.planning import estimate

needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None, reason="transformers is not installed (extra hf)"
)


def small(folder: Path, **options) -> Estimate:
    chosen = {"engine": "oracle", "family": "absolute", "data_dir": folder} | options
    return estimate("demo", benchmark=str(folder / "small.toml"), **chosen)


@pytest.mark.parametrize("protocol", ["standard", "qwen2.5"])
def test_counts_are_those_of_a_run(tmp_path, protocol):
    found = estimate("demo", "demo", engine="oracle", protocols=[protocol], limit=4)
    results = vr1bench.run("demo", "demo", engine="oracle", protocol=protocol, limit=4, output=tmp_path)
    assert [(one.benchmark, one.split, one.protocol) for one in found.costs] == [
        (one.key.benchmark, one.key.split, one.key.protocol) for one in results
    ]
    assert [one.samples for one in found.costs] == [one.values.n for one in results]
    journals = {
        path.parents[1].relative_to(path.parents[3]).as_posix(): len(path.read_text().splitlines())
        for path in (tmp_path / "runs").rglob("records.jsonl")
    }
    assert {one.benchmark: one.requests for one in found.costs} == journals
    assert not found.missing


def test_one_class_a_prompt_asks_every_picture_again(coco_folder):
    tall, wide = ((one.costs[0]) for one in (small(coco_folder), small(coco_folder, overrides={"query": "one"})))
    assert (tall.samples, tall.requests, tall.images) == (3, 3, 3)
    assert (wide.samples, wide.requests, wide.images) == (3, 6, 3)
    assert wide.output_tokens == 2 * tall.output_tokens == 6 * 2048
    assert small(coco_folder, gen_args={"max_tokens": 10}).costs[0].output_tokens == 30
    (positive,) = small(coco_folder, overrides={"query": "positive"}).costs
    assert (positive.samples, positive.requests, positive.images) == (3, 3, 2)  # one image shows nothing


def test_image_tokens_are_the_familys(coco_folder):
    (cost,) = small(coco_folder, family="qwen2.5-vl", overrides={"query": "one"}).costs
    family = FAMILIES["qwen2.5-vl"]
    each = [family.image_tokens(*family.fed_size(*size, family.pixels)) for size in ((64, 48), (64, 48), (50, 40))]
    assert cost.image_tokens == 2 * sum(each) > 0
    (unknown,) = small(coco_folder).costs
    assert unknown.image_tokens is FAMILIES["absolute"].image_tokens(64, 48)


@needs_transformers
def test_input_tokens_are_those_of_the_models_own_processor():
    from transformers import AutoProcessor

    found = estimate("demo", benchmark="demo/coco", engine="oracle", limit=4)
    processor = AutoProcessor.from_pretrained(DEMO_FOLDER)
    length = 0
    for row in vr1bench.questions("demo/coco", family="qwen2.5-vl", limit=4):
        content = [{"type": "image", "image": row["image"]}, {"type": "text", "text": row["text"]}]
        made = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
        )  # fmt: skip
        length += len(made["input_ids"][0])
    assert found.counted
    assert found.costs[0].image_tokens + found.costs[0].text_tokens == length


def test_words_of_a_model_without_a_tokenizer_are_guessed_and_said_so(coco_folder):
    found = estimate(
        "someone", benchmark=str(coco_folder / "small.toml"), engine="oracle", family="absolute", data_dir=coco_folder
    )
    assert not found.counted
    words = [row["text"] for row in vr1bench.questions(
        str(coco_folder / "small.toml"), family="absolute", data_dir=coco_folder)]  # fmt: skip
    assert found.costs[0].text_tokens == sum(-(-len(text.encode()) // 4) for text in words)
    assert any("text tokens are guessed" in note for note in found.notes)
    assert f"~{found.costs[0].text_tokens}" in table(found)


def test_missing_data_is_said_with_its_command_and_the_others_stand(coco_folder):
    words = ["plan", "--model", "demo", "--benchmark", coco_folder / "small.toml", "--benchmark", "odinw/Raccoon",
             "--family", "qwen2.5-vl", "--engine", "oracle", "--data-dir", coco_folder]  # fmt: skip
    done = typed(*words)
    assert done.returncode == 1
    assert "vr1bench prepare odinw/Raccoon" in done.stderr
    assert any(line.startswith("small val") for line in done.stdout.splitlines())
    assert any(line.startswith("odinw/Raccoon") and line.endswith("missing") for line in
               map(str.rstrip, done.stdout.splitlines()))  # fmt: skip
    told = json.loads(typed(*words, "--format", "json").stdout)
    assert [one["benchmark"] for one in told["costs"]] == ["small"]
    assert [one["benchmark"] for one in told["missing"]] == ["odinw/Raccoon"]


def test_nothing_is_written(coco_folder, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    before = {path: path.stat().st_mtime_ns for path in coco_folder.rglob("*")}
    done = typed("plan", "--model", "demo", "--benchmark", coco_folder / "small.toml", "--data-dir", coco_folder,
                 "--engine", "oracle", "--protocol", "standard", "--protocol", "qwen2.5", cwd=here)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[-1:]] == [["total", "6"]]
    assert not list(here.iterdir())
    assert {path: path.stat().st_mtime_ns for path in coco_folder.rglob("*")} == before


def test_pictures_inside_a_table_stay_there(coco_folder):
    folder = coco_folder / "quiz"
    folder.mkdir()
    picture = base64.b64encode((coco_folder / "a 3.png").read_bytes()).decode()
    (folder / "q.tsv").write_text(f"index\tquestion\tA\tB\tanswer\timage\n1\tWhich?\ta\tb\tA\t{picture}\n")
    definition = coco_folder / "quiz.toml"
    definition.write_text(
        'name = "quiz"\ntask = "qa"\nreader = "qa-tsv"\n[splits.val]\nannotations = ["quiz/q.tsv"]\n'
        'options = { questions = "choice" }\n'
    )
    found = estimate("demo", benchmark=str(definition), engine="oracle", family="qwen2.5-vl", data_dir=coco_folder)
    assert [one.requests for one in found.costs] == [1], found.missing
    assert [path.name for path in folder.iterdir()] == ["q.tsv"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--suite", "demo"], "--model is missing"),
        (["--model", "demo", "--suite", "dem"], "did you mean 'demo'"),
        (["--model", "demo", "--suite", "demo", "--protocol", "standrd"], "did you mean 'standard'"),
        (["--model", "demo", "--suite", "demo", "--engine", "vlm"], "unknown engine"),
        (["--model", "demo", "--suite", "demo", "--set", "scores=own"], "a detector's"),
        (["--model", "./nowhere", "--suite", "demo", "--engine", "hf"], "no such folder"),
        (["--model", "demo", "--suite", "demo", "--limit", "0"], "1 or more samples"),
        (["--model", "demo", "--suite", "demo", "--format", "xml"], "unknown format"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_read(words, told):
    done = typed("plan", *words, "--probe", "0")
    assert done.returncode == 2
    assert told in done.stderr


def test_a_total_is_the_sum_and_time_is_known_only_where_all_is():
    one = Cost("a", "val", "standard", 10, 20, 10, 100, 200, 300, measured=True, probed=8, rate=2.0)
    other = Cost("b", "val", "standard", 5, 5, 5, 50, 50, 50)
    whole = Estimate((one, one), (), "hf", 3.0, counted=True)
    assert whole.seconds == 23.0
    assert Estimate((one, other), (), "hf", 3.0).seconds is None
    lines = table(whole).splitlines()
    assert lines[-3].split() == ["total", "20", "40", "200", "400", "~600", "0:00:20"]
    assert lines[-1].split() == ["all", "0:00:23"]
    mixed = table(Estimate((one, other), ())).splitlines()[-1].split()
    assert mixed == ["total", "15", "25", "150", "~250", "≤350", "-"]


@needs_transformers
def test_a_probe_measures_output_and_time(coco_folder):
    found = estimate(
        "demo", benchmark=["demo/coco", str(coco_folder / "small.toml")], engine="hf", probe=2, limit=6,
        data_dir=coco_folder, gen_args={"max_tokens": 4},
    )  # fmt: skip
    for cost in found.costs:
        assert cost.measured
        assert cost.rate > 0
        assert cost.seconds == cost.requests / cost.rate
        assert 0 < cost.output_tokens <= 4 * cost.requests
    assert [one.probed for one in found.costs] == [2, 2]
    assert found.start > 0
    assert found.seconds == pytest.approx(found.start + sum(one.seconds for one in found.costs))


@needs_transformers
def test_what_cannot_be_measured_is_a_note_and_the_bound_stays(coco_folder):
    for path in coco_folder.glob("*.png"):
        path.unlink()
    found = small(coco_folder, engine="hf", family="auto")
    assert any("the images are not there" in note for note in found.notes)
    assert (found.start, found.costs[0].rate, found.costs[0].output_tokens) == (None, None, 3 * 2048)
    stuck = estimate("demo", benchmark="demo/coco", engine="hf", limit=2, engine_args={"device": "toaster"})
    assert any(note.startswith("nothing is measured") for note in stuck.notes)
    assert stuck.costs[0].output_tokens == 2 * 2048


def test_memory_is_that_of_the_weights_and_of_the_cache_that_transformers_keeps():
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    import torch

    found = estimate("demo", benchmark="demo/coco", limit=3, probe=0, window=16).memory
    model = transformers.AutoModelForImageTextToText.from_pretrained(DEMO_FOLDER)
    with torch.no_grad():
        kept = model(input_ids=torch.ones(1, 7, dtype=torch.long), use_cache=True).past_key_values
    held = sum(t.numel() * t.element_size() for layer in kept.layers for t in (layer.keys, layer.values))
    assert model.dtype == torch.bfloat16
    assert found.a_token == held / 7
    assert found.weights == (DEMO_FOLDER / "model.safetensors").stat().st_size
    assert found.cache == found.a_token * 16 * found.longest
    sizes = chosen(None, "demo/coco")[0].load("val", None).sizes[:3].tolist()
    family = FAMILIES["qwen2.5-vl"]
    fed = [family.fed_size(w, h, family.pixels) for w, h in sizes]
    assert found.pictures == 16 * max(3 * w * h + 24 * a * b for (w, h), (a, b) in zip(sizes, fed, strict=True))
    assert found.longest > 2048 + 36


def test_memory_is_unknown_where_the_files_are_not_here(coco_folder):
    command = ["plan", "--benchmark", coco_folder / "small.toml", "--data-dir", coco_folder, "--probe", "0", "--quiet"]
    assert "memory" not in typed(*command, "--model", "some/model", "--engine", "oracle").stderr
    assert "note: memory, in the checkpoint's precision: weights 0.0" in typed(*command, "--model", "demo").stderr
