"""Which model is meant, and which revision it is."""

import json

import pytest

from vr1bench import model
from vr1bench.errors import Vr1benchError
from vr1bench.store import slug


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint-500"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def test_a_folder(checkpoint):
    found = model.load(str(checkpoint))
    assert (found.location, found.step) == (str(checkpoint), 500)
    assert found.config == {"model_type": "qwen2_5_vl"}
    assert slug(found.name, found.revision, found.step).endswith(f"checkpoint-500@{found.revision[:8]}-500")
    assert "/" not in slug(found.name, found.revision, found.step)
    assert model.load(f"{checkpoint}/") == found


def test_other_weights_are_another_revision(checkpoint):
    before = model.load(str(checkpoint)).revision
    (checkpoint / "notes.md").write_text("x")
    assert model.load(str(checkpoint)).revision == before
    (checkpoint / "model.safetensors").write_bytes(b"\1" + bytes(999))
    assert model.load(str(checkpoint)).revision != before


def test_large_files_are_told_apart_by_their_ends(checkpoint):
    large = checkpoint / "model.safetensors"
    large.write_bytes(bytes(model.WHOLE_FILE_BYTES + 1))
    before = model.load(str(checkpoint)).revision
    with large.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    assert model.load(str(checkpoint)).revision != before


@pytest.mark.parametrize("name", ["nope", "a/b/c", "./missing", "~/missing/x"])
def test_no_such_model(name):
    with pytest.raises(Vr1benchError, match="no such folder; expected 'demo'"):
        model.load(name)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(Vr1benchError, match=r"holds no config\.json"):
        model.load(str(tmp_path))


def test_a_hub_id_that_nobody_answers_for(monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Vr1benchError, match="not in the local hub cache"):
        model.load("nobody/no-such-model")


def test_the_bundled_model():
    found = model.load("demo")
    assert found.name == "demo"
    assert found.config["model_type"] == "qwen2_5_vl"
