"""Which model is meant, and which revision it is."""

import json

import pytest

from vr1bench import model
from vr1bench.errors import Vr1benchError
from vr1bench.store import slug
from vr1bench.types import Training


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


# LoRA checkpoints


REVISION = "0123456789" * 4
TRAINED = {
    "schema_version": 1, "method": "grpo", "recipe": "demo", "recipe_sha256": "ab" * 32, "base_model": "demo",
    "base_revision": "", "commit": "c" * 40,
}  # fmt: skip


def adapter_on(base, folder, **config):
    folder.mkdir(parents=True)
    settings = {"base_model_name_or_path": str(base), "peft_type": "LORA", "r": 4} | config
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "adapter_model.safetensors").write_bytes(bytes(100))
    return folder


@pytest.fixture
def adapter(checkpoint, tmp_path):
    return adapter_on(checkpoint, tmp_path / "lora" / "checkpoint-50")


def test_an_adapter_stands_on_its_base(adapter, checkpoint):
    found = model.load(str(adapter))
    assert (found.location, found.step) == (str(adapter), 50)
    assert found.base == model.load(str(checkpoint))
    assert found.config == {"model_type": "qwen2_5_vl"}
    assert found.telling_name == str(checkpoint)
    assert found.revision not in {found.base.revision, model.folder_revision(adapter)}


@pytest.mark.parametrize("base", ["demo", str(model.DEMO_FOLDER)])
def test_an_adapter_on_the_bundled_model(base, tmp_path):
    found = model.load(str(adapter_on(base, tmp_path / "lora")))
    assert (found.base, found.step) == (model.load(base), None)


def test_an_adapters_revision_is_of_its_weights_its_settings_and_its_bases(adapter, checkpoint):
    seen = [model.load(str(adapter)).revision]
    (adapter / "adapter_model.safetensors").write_bytes(b"\1" * 100)
    seen.append(model.load(str(adapter)).revision)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": 64}))
    seen.append(model.load(str(adapter)).revision)
    (checkpoint / "model.safetensors").write_bytes(b"\1" * 1000)
    seen.append(model.load(str(adapter)).revision)
    assert len(set(seen)) == 4


def test_an_adapters_revision_does_not_say_where_the_base_lies(adapter, checkpoint, tmp_path):
    moved = checkpoint.rename(tmp_path / "elsewhere")
    adapter_on(moved, tmp_path / "other" / "checkpoint-50")
    there = model.load(str(tmp_path / "other" / "checkpoint-50")).revision
    moved.rename(checkpoint)
    assert model.load(str(adapter)).revision == there


def test_what_a_trainer_keeps_to_resume_is_no_part_of_the_model(checkpoint):
    before = model.load(str(checkpoint)).revision
    for name in ("trainer_state.json", "training_args.bin", "optimizer.bin", "scheduler.bin", "optimizer.pt"):
        (checkpoint / name).write_text("x")
    assert model.load(str(checkpoint)).revision == before


def test_an_adapter_whose_base_is_gone(tmp_path):
    folder = adapter_on("/gone/base", tmp_path / "lora")
    with pytest.raises(
        Vr1benchError, match=r"its base '/gone/base' cannot be found .*no such folder.*bring the base back"
    ):
        model.load(str(folder))


def test_a_base_that_moved_is_found_as_the_recipe_names_it(tmp_path):
    folder = adapter_on("/gone/vr1bench/demo/model", tmp_path / "out" / "checkpoint-5")
    (tmp_path / "out" / "training.json").write_text(json.dumps(TRAINED))
    assert model.load(str(folder)).base == model.load("demo")
    (tmp_path / "out" / "training.json").write_text(json.dumps(TRAINED | {"base_model": "/gone/too"}))
    with pytest.raises(Vr1benchError, match=r"its base '/gone/vr1bench/demo/model' cannot be found"):
        model.load(str(folder))


def test_a_base_that_changed_since_the_training_is_refused(adapter, checkpoint):
    written = TRAINED | {"base_revision": model.load(str(checkpoint)).revision}
    (adapter.parent / "training.json").write_text(json.dumps(written))
    assert model.load(str(adapter)).base.revision == written["base_revision"]
    (checkpoint / "model.safetensors").write_bytes(b"\1" * 1000)
    with pytest.raises(Vr1benchError, match=f"trained on demo at {written['base_revision'][:8]}, but .* now"):
        model.load(str(adapter))


def test_a_base_on_the_hub_is_loaded_as_it_was_at_the_training(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--someone--base"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("f" * 40)
    (cached / "snapshots" / ("f" * 40)).mkdir(parents=True)
    (cached / "snapshots" / ("f" * 40) / "config.json").write_text("{}")
    folder = adapter_on("someone/base", tmp_path / "out" / "checkpoint-5")
    assert model.load(str(folder)).base == model.Model("someone/base", "someone/base", "f" * 40)
    (tmp_path / "out" / "training.json").write_text(json.dumps(TRAINED | {"base_revision": REVISION}))
    assert model.load(str(folder)).base == model.Model("someone/base", "someone/base", REVISION)


def test_an_adapter_on_an_adapter_is_refused(adapter, tmp_path):
    with pytest.raises(Vr1benchError, match=r"which is an adapter itself; .*merge that one"):
        model.load(str(adapter_on(adapter, tmp_path / "second")))
    with pytest.raises(Vr1benchError, match="which is an adapter itself"):
        model.load(str(adapter_on(tmp_path / "own", tmp_path / "own")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("{}", "is damaged .*base_model_name_or_path"),
        ("[]", "is damaged"),
        ('{"base_model_name_or_path": null}', "base_model_name_or_path is None; expected the folder or hub id"),
    ],
)
def test_an_adapter_that_names_no_base(adapter, text, message):
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(Vr1benchError, match=message):
        model.load(str(adapter))


def test_an_adapter_without_weights(adapter):
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(Vr1benchError, match=r"but no adapter; expected adapter_model\.safetensors"):
        model.load(str(adapter))


# What made a checkpoint


def test_a_training_is_told_beside_its_checkpoints(checkpoint, adapter):
    assert model.load(str(checkpoint)).training is None
    for folder in (checkpoint, adapter):
        (folder.parent / "training.json").write_text(json.dumps(TRAINED))
        assert model.load(str(folder)).training == Training(**TRAINED)
    assert model.load(str(checkpoint)).telling_name == "demo"


def test_a_training_is_told_in_the_folder_of_its_last_weights(checkpoint):
    before = model.load(str(checkpoint)).revision
    (checkpoint / "training.json").write_text(json.dumps(TRAINED))
    found = model.load(str(checkpoint))
    assert (found.training, found.revision) == (Training(**TRAINED), before)


def test_somebody_elses_training_file_says_nothing(checkpoint):
    (checkpoint.parent / "training.json").write_text('{"epochs": 3}')
    assert model.load(str(checkpoint)).training is None


def test_a_training_file_of_another_form_is_an_error(checkpoint):
    (checkpoint.parent / "training.json").write_text(json.dumps(TRAINED | {"schema_version": 2}))
    with pytest.raises(Vr1benchError, match=r"training\.json is not what `vr1bench train` writes: schema_version"):
        model.load(str(checkpoint))
