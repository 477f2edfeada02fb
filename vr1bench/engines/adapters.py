# pyright: basic
"""LoRA checkpoints: merged into their base, so that every engine runs the weights that training ended with."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from vr1bench.errors import Vr1benchError
from vr1bench.model import Model

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


def weights_of(model: Model) -> Model:
    """The whole model to load first: an adapter's base, or the model itself."""
    return model.base or model


def processor_of(model: Model) -> Model:
    """Where the processor comes from: the checkpoint, where training wrote it there, else the adapter's base."""
    has_one = any((Path(model.location) / name).is_file() for name in PROCESSOR_FILES)
    return model if has_one else weights_of(model)


def source(model: Model) -> dict[str, Any]:
    """The arguments of `from_pretrained` that name a whole model, or a processor, at its revision."""
    place = {"pretrained_model_name_or_path": model.location}
    return place if Path(model.location).is_dir() else {**place, "revision": model.revision}


def merged(base: Any, model: Model) -> Any:  # noqa: ANN401  transformers' model
    """A loaded base with the adapter's changes added to its weights; the base itself is used up.

    Raises:
        Vr1benchError: peft is missing, or the adapter does not belong to this base or cannot be merged.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise Vr1benchError(
            f"model {model.name!r} is a LoRA adapter, which needs peft ({error}); install it: "
            "uv sync --inexact --extra train"
        ) from error
    config = PeftConfig.from_pretrained(model.location)
    if config.is_prompt_learning:
        raise Vr1benchError(
            f"model {model.name!r}: a peft adapter of type {config.peft_type} adds to the prompt and cannot be merged "
            "into weights; expected LoRA or its kin"
        )
    shared = _untied(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s).*\b(tie_|tied\b)", UserWarning)  # peft's, of what is mended here
        adapted = PeftModel(base, config)
        # As `PeftModel.from_pretrained` does, which passes over weights that find no place in the base.
        loaded = adapted.load_adapter(model.location, "default", torch_device=str(base.device))
        _check_fit(model, loaded)
        whole = adapted.merge_and_unload()
    if shared:
        _tie_again(whole)
    return whole.eval()


def _check_fit(model: Model, loaded: Any) -> None:  # noqa: ANN401  torch's result of loading
    for kind, names in (("has no weights for", loaded.missing_keys), ("has weights for", loaded.unexpected_keys)):
        if names:
            raise Vr1benchError(
                f"model {model.name!r} does not fit its base {weights_of(model).location}: the adapter {kind} "
                f"{names[0]!r} ({len(names)} such); was it trained on another model, or with transformers before 4.52, "
                "where the parts of a model have other names? Merge it there, and score the merged folder"
            )


def _untied(base: Any) -> bool:  # noqa: ANN401
    """Gives the output layer a copy where it shares the input's weights; whether it did.

    An adapter on one of the two was trained on that one alone, and merging it would change both.
    """
    inputs, outputs = base.get_input_embeddings(), base.get_output_embeddings()
    if outputs is None or outputs.weight is not inputs.weight:
        return False
    outputs.weight = type(outputs.weight)(outputs.weight.detach().clone(), requires_grad=False)
    return True


def _tie_again(whole: Any) -> None:  # noqa: ANN401
    """Lets input and output share equal weights again; where they differ now, the config says that they are two.

    vLLM goes by the language model's part of the config, peft sets only the whole model's.
    """
    inputs, outputs = whole.get_input_embeddings(), whole.get_output_embeddings()
    same = outputs.weight.shape == inputs.weight.shape and bool((outputs.weight == inputs.weight).all())
    if same:
        outputs.weight = inputs.weight
    for config in (whole.config, whole.config.get_text_config()):
        config.tie_word_embeddings = same


def written(whole: Any, processor: Any) -> tempfile.TemporaryDirectory[str]:  # noqa: ANN401  transformers' own
    """A merged model and its processor as an ordinary checkpoint folder, removed by `cleanup` or with the process.

    It lies where temporary files go (`$TMPDIR`) and is as large as the base.

    Raises:
        Vr1benchError: There is no room for it.
    """
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    folder = tempfile.TemporaryDirectory(prefix="vr1bench-merged-")
    try:
        whole.save_pretrained(folder.name)
        processor.save_pretrained(folder.name)
    except OSError as error:
        folder.cleanup()
        raise Vr1benchError(
            f"cannot write the merged model into {folder.name}: {error}; name a folder with room for it: TMPDIR=..."
        ) from error
    return folder
