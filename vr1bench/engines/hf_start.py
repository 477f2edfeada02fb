# pyright: basic
"""Loads a transformers model: which options it gets, and what its failures mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vr1bench.engines import EngineOptions, adapters
from vr1bench.engines.weights import are_small
from vr1bench.errors import Vr1benchError

if TYPE_CHECKING:
    import torch

Loaded = TypeVar("Loaded")

BATCH_SIZE_CPU, BATCH_SIZE_GPU = 8, 16
_KNOWN = (
    "attn_implementation", "batch_size", "device", "device_map", "dtype", "low_cpu_mem_usage", "max_memory",
    "offload_folder", "quantization_config", "torch_dtype", "trust_remote_code", "use_safetensors", "variant",
)  # fmt: skip
"""For the nearest to a misspelt one; `from_pretrained` has no complete list of what it takes."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to generate.

    Attributes:
        model: transformers' model, in evaluation mode, on its device.
        processor: Its processor; the tokenizer pads on the left.
        device: Where inputs go.
        batch_size: Prompts a batch.
        context: Positions that the model was made for.
        image_token: Id of the token that stands for a piece of an image; None where the model names none.
        ends: Ids that end an answer: the generation config's and the tokenizer's, as vLLM takes them.
        versions: Of the libraries.
    """

    model: Any
    processor: Any
    device: torch.device
    batch_size: int
    context: int
    image_token: int | None
    ends: frozenset[int]
    versions: dict[str, str]


def start(options: EngineOptions) -> LoadedModel:
    """Loads model and processor.

    Raises:
        Vr1benchError: transformers (or peft, for a LoRA checkpoint) is missing, an option is unknown, or the
            checkpoint does not load.
    """
    try:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor
        from transformers.utils import logging as hf_logging
    except ImportError as error:
        raise Vr1benchError(
            f"engine hf cannot be imported ({error}); install it: uv sync --inexact --extra hf"
        ) from error
    args = dict(options.args)
    name = str(args.pop("device", "cuda" if torch.cuda.is_available() else "cpu"))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise Vr1benchError(f"--engine-args device: got {name!r}; expected cpu, cuda or cuda:1, say") from error
    batch_size = _batch_size(args.pop("batch_size", BATCH_SIZE_CPU if device.type == "cpu" else BATCH_SIZE_GPU))
    weights = adapters.weights_of(options.model)
    trust = {"trust_remote_code": args["trust_remote_code"]} if "trust_remote_code" in args else {}
    small_on_cpu = device.type == "cpu" and are_small(weights.location)
    args.setdefault("dtype", args.pop("torch_dtype", "float32" if small_on_cpu else "auto"))
    if Path(weights.location).is_dir():
        hf_logging.disable_progress_bar()  # of weights that are here already; a download keeps its bar
    beside = adapters.source(adapters.processor_of(options.model))
    processor = _loaded(options, lambda: AutoProcessor.from_pretrained(**beside, **trust))
    source = adapters.source(weights)
    model: Any = _loaded(options, lambda: AutoModelForImageTextToText.from_pretrained(**source, **args).eval())
    if "device_map" not in args:
        model = _loaded(options, lambda: model.to(device))
    if options.model.base:
        model = _loaded(options, lambda: adapters.merged(model, options.model))
    processor.tokenizer.padding_side = "left"
    ends = model.generation_config.eos_token_id
    return LoadedModel(
        model=model,
        processor=processor,
        device=model.device,
        batch_size=min(batch_size, options.window),
        context=int(model.config.get_text_config().max_position_embeddings),
        image_token=getattr(processor, "image_token_id", getattr(model.config, "image_token_id", None)),
        ends=frozenset(
            id_
            for id_ in (*(ends if isinstance(ends, list) else [ends]), processor.tokenizer.eos_token_id)
            if id_ is not None
        ),
        versions={name: version(name) for name in ("torch", "transformers")},
    )


def _batch_size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Vr1benchError(f"--engine-args batch_size: got {value!r}; expected a whole number from 1 on, such as 8")
    return value


def _loaded(options: EngineOptions, load: Callable[[], Loaded]) -> Loaded:
    try:
        return load()
    except Vr1benchError:
        raise
    except TypeError as error:  # a model's constructor refuses what from_pretrained passed on
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        near = difflib.get_close_matches(unknown[1], _KNOWN, n=1)
        hint = f"did you mean {near[0]}?" if near else "it goes to from_pretrained, which does not know it"
        raise Vr1benchError(f"--engine-args {unknown[1]}: transformers has no such option; {hint}") from error
    except Exception as error:  # from_pretrained raises many kinds: OSError, ValueError, ImportError, CUDA's
        memory = "out of memory" in str(error).lower()
        step = "load it in fewer bits or on several devices (device_map=auto)" if memory else "is the checkpoint whole?"
        raise Vr1benchError(
            f"transformers does not load {options.model.name} ({type(error).__name__}: {error}); {step}"
        ) from error
