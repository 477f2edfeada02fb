"""Families that users bring: a TOML by path; and the choice among those that are known."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vr1bench
from vr1bench.errors import NotComparableError, Vr1benchError
from vr1bench.families import DATA, FAMILIES, choose

DOCS = Path(__file__).resolve().parents[2] / "docs" / "families.md"


@pytest.fixture
def documented(tmp_path):
    """The family of docs/families.md, as a file."""
    (block,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    path = tmp_path / "my_family.toml"
    path.write_text(block)
    return path


def test_the_documented_family_reads_and_writes(documented):
    text = "<obj>dog</obj><at>0,0,500,999</at><obj>cat</obj><at>100,"
    got = vr1bench.parse(text, family=str(documented), size=(200, 100), queries=["dog", "cat"])
    assert got.detections.boxes.tolist() == [[0.0, 0.0, 100.0, 99.9]]
    assert got.detections.labels.tolist() == ["dog"]
    assert got.status == "truncated"
    assert vr1bench.parse("nothing", family=str(documented), size=(9, 9)).status == "none"


def test_a_run_with_it_and_scoring_again_with_another_frame(documented, tmp_path, monkeypatch):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    options = {"benchmark": "demo/rec", "limit": 5, "output": tmp_path / "out"}
    (result,) = vr1bench.run("x", engine="oracle", family=str(documented), **options)
    assert result.primary.value == 1.0
    (folder,) = (tmp_path / "out" / "runs").glob("*/demo/rec/*")
    with pytest.raises(Vr1benchError, match=r"'my-family' is not known here; pass its file"):
        vr1bench.rescore(folder, limit=5)
    text = documented.read_text().replace("extent = 1000", "extent = 4000").replace("highest = 999", "highest = 3999")
    documented.write_text(text)
    again, _ = vr1bench.rescore(folder, family=str(documented), limit=5)
    assert again.primary.value == 0.0
    assert again.values.fingerprint != result.values.fingerprint
    with pytest.raises(NotComparableError, match="asks 'Locate every object"):
        vr1bench.rescore(folder, family="qwen3-vl", limit=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("extent = 1000", ""), "grids and squares need one"),
        (('of = "grid"', 'of = "fed"'), "grids and squares need one"),
        (('kind = "text"', 'kind = "prose"'), "grammar"),
        (("{x2}", ""), "expected each of"),
        (('box = "{x1}', 'columns = 32\nbox = "{x1}'), "need columns above 0"),
        (("<at>{box}</at>", ""), "expected {box} once"),
        (('name = "<obj>{label}</obj>"', 'name = "<x>{label}</x>"'), "between two tags"),
        (('"smart_resize"', '"shrink"'), "unknown input.rule"),
        (("factor = 28", "factor = 0"), "greater than 0"),
        (("[grammar]", 'name_pattern = "("\n[grammar]'), "name_pattern: no regular expression"),
        (("[grammar]", 'pattern = "x"\n[grammar]'), "unknown field of family .*name_pattern"),
        (("empty =", "emty ="), r"unknown field of \[grammar\] in .*'emty'; did you mean 'empty'"),
        (("factor =", "factr ="), r"unknown field of \[input\] in .*'factr'; did you mean 'factor'"),
        (("refer =", "reffer ="), r"unknown field of \[questions\] in .*did you mean 'refer'"),
        (('kind = "text"', ""), "grammar.kind: Field required; expected one of json, text, points"),
        (('rule = "smart_resize"', ""), "input.rule: Field required; expected one of as_is, smart_resize"),
        (('"smart_resize"', '"smart_resise"'), "unknown input.rule .*did you mean 'smart_resize'"),
        (("factor = 28", "factor = 28\nmin_pixels = -5"), r"toml: input\.min_pixels: .*greater than 0, got -5"),
        (("factor = 28", "factor = 28\nmax_pixels = 0"), r"toml: input\.max_pixels: .*greater than 0, got 0"),
        (("factor = 28", "factor = 28\nmin_pixels = 900\nmax_pixels = 800"), "min_pixels 900 is above max_pixels 800"),
        (("highest = 999", "highest = -1"), "frame.highest: .*greater than 0"),
        (("highest = 999", "decimals = 400"), "frame.decimals: .*less than or equal to 12"),
        (("highest = 999", "highest = 99"), "does not read what it writes"),
        (('"{x1},{y1},{x2},{y2}"', '"{x1}{y1}{x2}{y2}"'), "something between two numbers"),
        (('"{x1},{y1},{x2},{y2}"', '"{x1}.{y1},{x2},{y2}"'), "something between two numbers"),
        (('"{x1},', '"{x1:z},'), "formats like 04d or .3f"),
        (('all = "Find these: {labels}."', 'all = "Find all."'), r"questions\.all: expected {labels}"),
        (
            ('all = "Find these: {labels}."', 'all = "Find {label}."'),
            r"questions\.all: {label} stands for nothing here",
        ),
        (('one = "Find every {label}."', 'one = "Find every."'), r"questions\.one: expected {label}"),
        (('one = "Find every {label}."', 'one = "{labels}"'), r"questions\.one: {labels} stands for nothing here"),
        (('refer = "Find {phrase}."', 'refer = "Find {phrse}."'), r"questions\.refer: {phrse} stands for nothing here"),
        (('refer = "Find {phrase}."', 'refer = "Find it."'), r"questions\.refer: expected {phrase}"),
        (("[grammar]", 'instruction = "{label}"\n[grammar]'), "instruction: {label} stands for nothing here"),
        (('name = "my-family"', 'name = "qwen2.5-vl"'), "choose another: results and run folders go by it"),
        (('name = "my-family"', 'name = "claude"'), "choose another: results and run folders go by it"),
        (("[frame]", "[frame"), "valid TOML|cannot read"),
    ],
)
def test_a_bad_file_is_refused_with_the_field(documented, change, message):
    text = documented.read_text()
    assert change[0] in text
    documented.write_text(text.replace(*change))
    with pytest.raises(Vr1benchError, match=message) as caught:
        vr1bench.parse("", family=str(documented), size=(9, 9))
    assert "my_family.toml" in str(caught.value)


def test_numbers_that_the_example_cannot_spell_are_refused(documented):
    text = documented.read_text().replace("highest = 999", "highest = 999\ndecimals = 3")
    documented.write_text(text.replace("{x1}", "{x1:04d}"))
    with pytest.raises(Vr1benchError, match="cannot spell numbers of the frame, which have decimals = 3"):
        vr1bench.parse("", family=str(documented), size=(9, 9))


@pytest.mark.parametrize("words", ["<OD>", "<image> is {width} wide: {labels}", ""])
def test_questions_that_are_fine(documented, words):
    documented.write_text(documented.read_text().replace("Find these: {labels}.", words))
    assert FAMILIES[str(documented)].questions.all == words


def test_a_file_of_the_package_may_be_named_by_path():
    assert FAMILIES[str(DATA / "qwen3-vl.toml")] == FAMILIES["qwen3-vl"]


def test_a_missing_file_is_said():
    with pytest.raises(Vr1benchError, match=r"nowhere\.toml"):
        vr1bench.parse("", family="nowhere.toml", size=(9, 9))


def test_answers_to_printed_questions_come_back_by_replay(tmp_path, monkeypatch):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    rows = list(vr1bench.questions("demo/coco", family="griffon", limit=3))
    assert [set(row) for row in rows] == [{"sample_id", "query", "image", "text", "max_tokens"}] * 3
    assert all(Path(row["image"]).is_file() for row in rows)
    assert rows[0]["text"].startswith("Examine the image for any objects from the category set.")
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({**row, "text": "None"}) + "\n" for row in rows))
    (result,) = vr1bench.run(
        "griffon-g", benchmark="demo/coco", family="griffon", engine="replay", engine_args={"file": str(answers)},
        limit=3, output=tmp_path / "out",
    )  # fmt: skip
    assert result.values.counts == {"none": 3}
    one = list(vr1bench.questions("demo/coco", family="kosmos-2", limit=1, overrides={"query": "one"}))
    assert len(one) == 24
    assert one[0]["text"] == f"<grounding><phrase> {one[0]['query']}</phrase>"


@pytest.mark.parametrize(
    ("name", "config", "family"),
    [
        ("x/y", {"model_type": "qwen2_5_vl"}, "qwen2.5-vl"),
        ("IDEA-Research/Rex-Omni", {"model_type": "qwen2_5_vl"}, "rex-omni"),  # the type alone would mislead
        ("omlab/Qwen2.5VL-3B-VLM-R1-REC-500steps", {}, "qwen2.5-vl"),
        ("JefferyZhan/Vision-R1-Qwen2.5-VL-7B", {}, "qwen2.5-vl"),
        ("Qwen/Qwen2-VL-7B-Instruct", {"model_type": "qwen2_vl"}, "qwen2-vl"),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", {"model_type": "qwen3_vl_moe"}, "qwen3-vl"),
        ("OpenGVLab/InternVL3-8B", {"model_type": "internvl_chat"}, "internvl"),
        ("deepseek-ai/deepseek-vl2-small", {"model_type": "deepseek_vl_v2"}, "deepseek-vl2"),
        ("zai-org/GLM-4.5V", {"model_type": "glm4v_moe"}, "glm-4v"),
        ("google/paligemma2-3b-mix-448", {"model_type": "paligemma"}, "paligemma"),
        ("microsoft/Florence-2-large", {"model_type": "florence2"}, "florence-2"),
        ("microsoft/kosmos-2-patch14-224", {"model_type": "kosmos-2"}, "kosmos-2"),
        ("allenai/Molmo-7B-D-0924", {"model_type": "molmo"}, "molmo"),
        ("allenai/Molmo2-8B", {"model_type": "molmo2"}, "molmo2"),
        ("vikhyatk/moondream2", {"model_type": "moondream1"}, "moondream"),
        ("JefferyZhan/Griffon-G-gemma2-9b", {}, "griffon"),
        ("gemini-2.5-pro", {}, "gemini"),
        ("doubao-1-5-vision-pro", {}, "seed"),
        ("doubao-seed-1-6-vision-250815", {}, "seed"),
        ("bytedance-seed/seed-1.6", {}, "seed"),
        ("google/gemini-flash-latest", {}, "gemini"),
        ("allenai/molmo-2025", {}, "molmo"),
        ("qwen25vl-grpo", {}, "qwen2.5-vl"),
        ("me/Qwen2_5_VL-tuned", {}, "qwen2.5-vl"),
        ("/data/x/paligemma/Qwen2-VL-7B", {}, "qwen2-vl"),
        ("/data/paligemma/Qwen2-VL-7B", {"model_type": "qwen2_vl"}, "qwen2-vl"),
        ("/runs/Rex-Omni/checkpoint-500", {"model_type": "qwen2_5_vl"}, "rex-omni"),
        ("/runs/Rex-Omni/checkpoint-500/", {}, "rex-omni"),
        ("/hub/models--IDEA-Research--Rex-Omni/snapshots/" + "0a" * 20, {"model_type": "qwen2_5_vl"}, "rex-omni"),
        ("/rex-omni-data/Qwen2.5-VL-3B", {"model_type": "qwen2_5_vl"}, "qwen2.5-vl"),
        ("zai-org/cogvlm-grounding-generalist-hf", {"architectures": ["CogVLMForCausalLM"]}, "cogvlm"),
        ("me/minigpt-v2-hf", {"model_type": "minigpt"}, "minigpt-v2"),
    ],
)
def test_auto(name, config, family):
    chosen, because = choose("auto", name, config)
    assert chosen.name == family
    known = config.get("model_type") not in {None, "minigpt"}
    assert because == (
        f"config.json says model_type {config['model_type']!r}" if known else f"the model's name {name!r}"
    )


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("griffon-ckpts/llava", {"model_type": "llava"}, "no family is known"),
        ("x/griffon", {"model_type": "llava"}, "no family is known"),
        ("griffon/llava", {}, "no family is known"),
        ("a/gemini-2-distill-qwen", {"model_type": "qwen2"}, "no family is known"),
        ("a/gemini-2-distill-qwen", {"architectures": ["X"]}, "no family is known"),
        ("random-seed-1.0-llava", {}, "no family is known"),
        ("random-seed-1.6-llava", {}, "no family is known"),
        ("gemini-pro-vision", {}, "no family is known"),
        ("doubao-embedding", {}, "embeds or ranks"),
        ("gemini-embedding-001", {}, "embeds or ranks"),
        ("Qwen/Qwen3-VL-Embedding-2B", {"model_type": "qwen3_vl"}, "embeds or ranks"),
        ("Qwen/Qwen3-VL-Reranker-2B", {}, "embeds or ranks"),
        ("me/Griffon-PaliGemma", {}, "several families: griffon, paligemma"),
        ("me/Rex-Omni-vs-Qwen2.5-VL", {"model_type": "qwen2_5_vl"}, "several families: qwen2.5-vl, rex-omni"),
        ("", {}, "no family is known"),
        ("/", {}, "no family is known"),
    ],
)
def test_auto_refuses(name, config, message):
    with pytest.raises(Vr1benchError, match=message):
        choose("auto", name, config)


@pytest.mark.parametrize("name", ["gemini", "seed", "cogvlm", "minigpt-v2", "molmo"])
def test_a_family_that_contradicts_the_config_is_refused(name):
    with pytest.raises(Vr1benchError, match="does not match the model"):
        choose(name, "x/y", {"model_type": "qwen2_5_vl"})
    if not FAMILIES[name].model_types:
        assert choose(name, "x/y", {"model_type": "llama"})[0].name == name


def test_an_own_family_fits_any_model_unless_it_names_types(documented):
    qwen, text = {"model_type": "qwen2_5_vl"}, documented.read_text()
    documented.write_text('name_pattern = "mymodel"\n' + text)
    assert choose(str(documented), "x/y", qwen)[0].name == "my-family"
    documented.write_text('model_types = ["qwen2_5_vl"]\n' + text)
    assert choose(str(documented), "x/y", qwen)[0].name == "my-family"
    documented.write_text('model_types = ["qwen3_vl"]\n' + text)
    with pytest.raises(Vr1benchError, match="does not match the model"):
        choose(str(documented), "x/y", qwen)


PLUGIN = """
from pathlib import Path
from vr1bench.families.definition import read_family
FAMILY = read_family(Path(__file__).with_name("plugged.toml"))
"""


@pytest.fixture
def plugged(documented, tmp_path):
    """Runs Python where a package that offers a family is installed."""
    site = tmp_path / "site"
    about = site / "plugged-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[vr1bench.families]\nmy-family = plugged:FAMILY\n")
    (site / "plugged.py").write_text(PLUGIN)
    marks = 'aliases = ["mine", "claude"]\nmodel_types = ["my_vl"]\nname_pattern = "mymodel"\n'
    (site / "plugged.toml").write_text(marks + documented.read_text())

    def run(*arguments, text=""):
        environment = {**os.environ, "PYTHONPATH": str(site), "VR1BENCH_CACHE": str(tmp_path / "cache")}
        return subprocess.run([sys.executable, *arguments], input=text, capture_output=True, text=True, env=environment)

    run.site = site
    return run


@pytest.mark.parametrize("name", ["my-family", "mine"])
def test_a_family_of_an_installed_package(plugged, name, tmp_path):
    parse = ["-m", "vr1bench.cli", "parse", "--size", "200x100", "--family"]
    done = plugged(*parse, name, text="<obj>dog</obj><at>0,0,500,999</at>")
    assert json.loads(done.stdout)["boxes"] == [[0.0, 0.0, 100.0, 99.9]], done.stderr
    done = plugged(*parse, "claude", text='[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]')
    assert json.loads(done.stdout)["boxes"] == [[1.0, 2.0, 3.0, 4.0]]  # a built-in family keeps its aliases
    options = ["--engine", "oracle", "--benchmark", "demo/rec", "--limit", "2", "--output", str(tmp_path / "out")]
    done = plugged("-m", "vr1bench.cli", "run", "--model", "x", "--family", name, *options)
    assert "note: family my-family: named on the command line\n" in done.stderr
    (folder,) = (tmp_path / "out" / "runs").glob("*/demo/rec/*")
    assert plugged("-m", "vr1bench.cli", "score", str(folder), "--limit", "2").returncode == 0
    assert "my-family" in plugged("-m", "vr1bench.cli", "list", "families").stdout


def test_auto_finds_a_family_of_an_installed_package(plugged):
    code = "from vr1bench.families import choose; print(*choose('auto', {!r}, {!r})[0].aliases)"
    for name, config in (("x/y", {"model_type": "my_vl"}), ("x/MyModel-7B", {})):
        assert plugged("-c", code.format(name, config)).stdout == "mine claude\n"


def test_a_package_without_the_family_that_it_promises_is_said(plugged, documented):
    command = ["-m", "vr1bench.cli", "parse", "--size", "9x9", "--family"]
    done = plugged(*command, str(documented))
    assert "choose another: results" in done.stderr
    (plugged.site / "plugged.toml").write_text(documented.read_text().replace('"my-family"', '"other"'))
    assert "gives the family 'other'; rename one" in plugged(*command, "my-family").stderr
    (plugged.site / "plugged.py").write_text("import nowhere_to_be_found")
    done = plugged(*command, "my-family")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nowhere_to_be_found" in done.stderr


def test_choose_refuses_what_it_cannot_know():
    assert choose("absolute", "x/y", {"model_type": "qwen3_vl"})[0].name == "absolute"
    assert choose("claude", "x/y", {"model_type": "qwen3_vl"})[0].name == "absolute"
    assert choose("rex-omni", "x/y", {"model_type": "qwen2_5_vl"})[0].name == "rex-omni"
    assert choose("vlm-r1", "x/y", {})[0].name == "qwen2.5-vl"
    with pytest.raises(Vr1benchError, match="does not match the model"):
        choose("qwen2-vl", "x/y", {"model_type": "qwen2_5_vl"})
    with pytest.raises(Vr1benchError, match="no family is known"):
        choose("auto", "x/y", {})
    with pytest.raises(Vr1benchError, match="did you mean 'qwen3-vl'"):
        choose("qwen3vl", "x/y", {})


def test_every_question_has_its_source():
    for family in FAMILIES.values():
        asked = {kind for kind in ("all", "one", "refer") if getattr(family.questions, kind)}
        assert asked == set(family.questions.sources), family.name
        assert "refer" in asked
        assert family.frame.source
        for kind, place in (("all", "{labels}"), ("one", "{label}"), ("refer", "{phrase}")):
            assert kind not in asked or place in getattr(family.questions, kind) or family.name == "florence-2"
