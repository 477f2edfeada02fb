"""Families that users bring: a TOML by path; and the choice among those that are known."""

import json
import re
from pathlib import Path

import pytest

import vr1bench
from vr1bench.errors import NotComparableError, Vr1benchError
from vr1bench.families import FAMILIES, choose

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
        (("highest = 999", "decimals = 3"), "does not|x1"),
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
    ],
)
def test_auto(name, config, family):
    chosen, because = choose("auto", name, config)
    assert chosen.name == family
    assert because


def test_choose_refuses_what_it_cannot_know():
    assert choose("absolute", "x/y", {"model_type": "qwen3_vl"})[0].name == "absolute"
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
