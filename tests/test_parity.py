"""Two engines asked the same: what share is identical, where answers part, and what that does to scores."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import typed

import vr1bench
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.parity import agreement, as_json, text


def answers_of(folder: Path, **options) -> list[dict]:
    """The oracle's answers to the small set, as rows for `replay`."""
    vr1bench.run(
        "demo", benchmark=str(folder / "small.toml"), engine="oracle", family="absolute", data_dir=folder,
        output=folder / "out", **options,
    )  # fmt: skip
    (path,) = (folder / "out").rglob("records.jsonl")
    return [
        {"sample_id": row["sample_id"], "query": row.get("query", ""), "text": row["completion"]["text"]}
        for row in map(json.loads, path.read_text().splitlines())
    ]


def write(folder: Path, rows: list[dict]) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def compared(folder: Path, rows: list[dict], **options):
    chosen = {"engines": ["oracle", "replay"], "family": "absolute", "data_dir": folder} | options
    file = str(write(folder, rows))
    (found,) = agreement("demo", benchmark=str(folder / "small.toml"), engine_args={"replay.file": file}, **chosen)
    return found


def test_the_same_answers_agree(coco_folder):
    found = compared(coco_folder, answers_of(coco_folder))
    assert (found.requests, found.identical, found.share, found.differences) == (3, 3, 1.0, ())
    assert (found.samples, found.changed, found.scores) == (0, 0, (None, None))
    assert (found.reference, found.engine, found.metric) == ("oracle", "replay", "AP")


def test_one_changed_answer_is_shown_where_it_parts(coco_folder):
    rows = answers_of(coco_folder)
    (row,) = (row for row in rows if row["sample_id"] == "3")
    said = row["text"]
    at = said.index("dog")
    row["text"] = said.replace("dog", "cow", 1)
    found = compared(coco_folder, rows)
    assert (found.requests, found.identical) == (3, 2)
    assert found.share == pytest.approx(2 / 3)
    (one,) = found.differences
    assert (one.sample_id, one.unit, one.at, one.logprobs) == ("3", "character", at, (None, None))
    assert one.before == said[max(0, at - 24) : at]
    assert one.reference.startswith("dog")
    assert one.other.startswith("cow")
    assert (found.samples, found.changed) == (1, 1)
    assert found.scores == pytest.approx((1.0, 0.5))
    shown = text([found])
    assert re.search(r"oracle, replay +3 +2 \(66\.7 %\) +1 +1 +100\.0, 50\.0", shown)
    assert f"character {at}" in shown
    (told,) = json.loads(as_json([found]))
    assert told["share"] == pytest.approx(2 / 3)
    assert told["differences"][0]["at"] == at


def test_a_difference_that_moves_no_score_is_a_difference(coco_folder):
    rows = answers_of(coco_folder)
    rows[0]["text"] += "\n"
    found = compared(coco_folder, rows)
    (one,) = found.differences
    assert (one.at, one.reference, one.other) == (len(rows[0]["text"]) - 1, "", "\n")
    assert (found.identical, found.samples, found.changed) == (2, 1, 0)


def test_an_end_elsewhere_is_a_difference(coco_folder):
    rows = answers_of(coco_folder)
    rows[0]["finish"] = "length"
    (one,) = compared(coco_folder, rows).differences
    assert one.finish == ("stop", "length")
    assert one.at == len(rows[0]["text"])


def test_a_missing_answer_is_a_difference_without_a_score(coco_folder):
    rows = answers_of(coco_folder)
    told: list[str] = []
    found = compared(coco_folder, rows[1:], on_note=told.append)
    (one,) = found.differences
    assert (one.sample_id, one.finish) == (rows[0]["sample_id"], ("stop", "failed"))
    assert (found.identical, found.samples, found.changed) == (2, 0, 0)
    assert [note.partition(" (")[0] for note in told] == ["engine 'replay': small: 1 answers missing"]
    with pytest.raises(IncompleteError, match="'replay' gave nothing to compare"):
        compared(coco_folder, [{"sample_id": "nobody", "text": "None"}])


def test_tokens_tell_the_place_where_both_engines_give_them(coco_folder):
    texts = {"one": ["Dog", "s", " at", " 10", "."], "two": ["Dog", "", "s at", " 11", "."], "three": ["Dog", "s"]}
    files = {}
    for name, pieces in texts.items():
        tokens = [{"text": piece, "logprob": -0.5 * place} for place, piece in enumerate(pieces)]
        completion = {"text": "".join(pieces), "tokens": tokens}
        files[name] = coco_folder / f"{name}.jsonl"
        rows = [{"sample_id": sample, "completion": completion} for sample in ("3", "5", "7")]
        files[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = {"benchmark": str(coco_folder / "small.toml"), "data_dir": coco_folder, "family": "absolute"}
    second, third = agreement(
        "someone", engines=["replay"] * 3, limit=1,
        engine_args={"replay.file": str(files["one"]), "2.file": str(files["two"]), "3.file": str(files["three"])},
        **chosen,
    )  # fmt: skip
    (one,) = second.differences
    assert (one.unit, one.at, one.before, one.reference, one.other) == ("token", 1, "Dog", "s at 10.", "s at 11.")
    assert one.logprobs == (-0.5, -0.5)
    (one,) = third.differences
    assert (one.unit, one.at, one.before, one.reference, one.other) == ("token", 2, "Dogs", " at 10.", "")
    assert one.logprobs == (-1.0, None)
    assert re.search(r"' at 10\.' -1\.000 +\(stop\)", text([third]))


def test_one_class_a_prompt_is_compared_prompt_by_prompt(coco_folder):
    rows = answers_of(coco_folder, overrides={"query": "one"})
    assert len(rows) == 6
    rows[-1]["text"] = "no idea"
    found = compared(coco_folder, rows, overrides={"query": "one"})
    assert (found.requests, found.identical) == (6, 5)
    assert [(one.sample_id, one.query) for one in found.differences] == [(rows[-1]["sample_id"], rows[-1]["query"])]


def test_several_engines_and_what_cannot_be_compared(coco_folder):
    rows = answers_of(coco_folder)
    chosen = {"benchmark": str(coco_folder / "small.toml"), "data_dir": coco_folder, "family": "absolute"}
    file = {"replay.file": str(write(coco_folder, rows))}
    found = agreement("demo", engines=["oracle", "replay", "oracle"], engine_args=file, **chosen)
    assert [(one.reference, one.engine, one.share) for one in found] == [
        ("oracle", "replay", 1.0), ("oracle", "oracle", 1.0),
    ]  # fmt: skip
    with pytest.raises(Vr1benchError, match="expected two engines or more"):
        agreement("demo", engines=["oracle"], **chosen)
    with pytest.raises(Vr1benchError, match="option of engine oracle"):
        agreement("demo", engines=["oracle", "replay"], engine_args={"file": file["replay.file"]}, **chosen)


def test_the_command_says_by_its_exit_code_and_keeps_nothing(coco_folder, tmp_path):
    rows = answers_of(coco_folder)
    rows[0]["text"] = "no idea"
    here = tmp_path / "here"
    here.mkdir()
    answers = write(coco_folder, rows)
    words = [
        "parity", "--model", "demo", "--benchmark", coco_folder / "small.toml", "--data-dir", coco_folder,
        "--engines", "oracle,replay", "--family", "absolute", "--engine-args", f"replay.file={answers}",
    ]  # fmt: skip
    done = typed(*words, cwd=here)
    assert done.returncode == 1, done.stderr
    assert "2 (66.7 %)" in done.stdout
    done = typed(*words, "--at-least", "0.6", "--format", "json", cwd=here)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["identical"] == 2
    assert not list(here.iterdir())
    assert typed("parity", "--model", "demo", "--engines", "oracle,replay", "--suite", "dem").returncode == 2
    assert "--model is missing" in typed("parity", "--engines", "oracle,oracle", "--suite", "demo").stderr


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed (extra hf)")
def test_transformers_agree_with_themselves():
    (found,) = agreement("demo", benchmark="demo/coco", engines=["hf", "hf"], limit=4)
    assert (found.requests, found.share) == (4, 1.0)
