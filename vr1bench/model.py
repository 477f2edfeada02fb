"""What a model is to the suite: where its weights lie, which revision they are, what it was trained from."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vr1bench.errors import Vr1benchError
from vr1bench.types import Training

DEMO_FOLDER = Path(__file__).parent / "demo" / "model"
WHOLE_FILE_BYTES = 16 * 2**20
"""Files up to this size are hashed whole, larger ones by their first and last mebibyte and their length."""
ADAPTER_CONFIG = "adapter_config.json"
"""What makes a folder a LoRA adapter to peft (`peft.utils.CONFIG_NAME`)."""
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
TRAINING = "training.json"
_NO_PART = {
    ADAPTER_CONFIG, TRAINING, "best.json", "trainer_state.json", "training_args.bin", "optimizer.bin", "scheduler.bin",
}  # fmt: skip
"""What lies beside the weights of a whole model and is none of it: most of it for transformers' Trainer to resume."""


@dataclass(frozen=True)
class Model:
    """A model as named by its user.

    Attributes:
        name: As typed: `demo`, a folder, or a hub id.
        location: What an engine loads: a folder's path or the hub id; of a LoRA checkpoint the adapter's folder; ""
            of a model that somebody serves.
        revision: 40 hex digits of a hub commit, or of a hash over a local folder's files (of adapter and base), or over
            the name of a served model.
        step: Training step, where the folder's name says so (`checkpoint-500`).
        base: Of a LoRA checkpoint the whole model that it changes; None where this is a whole model.
        training: What made it, where `vr1bench train` did.
    """

    name: str
    location: str
    revision: str
    step: int | None = None
    base: Model | None = None
    training: Training | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's `config.json`, of a LoRA checkpoint its base's; empty where there is none to read."""
        if self.base:
            return self.base.config
        if not self.location:
            return {}
        path = Path(self.location) / "config.json"
        if path.is_file():
            return json.loads(path.read_text("utf-8"))
        return _hub_config(self.location, self.revision)

    @property
    def telling_name(self) -> str:
        """The name that may tell its family: that of the model it was trained from, where that is known."""
        if self.base:
            return self.base.name
        return self.training.base_model if self.training else self.name


def load(name: str) -> Model:
    """Finds a model: `demo`, a local checkpoint folder (whole or LoRA), or a hub id that is cached or can be reached.

    Raises:
        Vr1benchError: There is no such folder and no hub repository of that name can be read, or the folder holds no
            model, or an adapter whose base cannot be found or is not what it was trained on.
    """
    name = name.rstrip("/") or name
    folder = DEMO_FOLDER if name == "demo" else Path(name).expanduser()
    if folder.is_dir():
        return _of_folder(name, folder.resolve())
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith((".", "~")):
        raise Vr1benchError(
            f"model {name!r}: no such folder; expected 'demo', the path of a checkpoint folder, or a hub id "
            "such as Qwen/Qwen2.5-VL-7B-Instruct"
        )
    return Model(name, name, _hub_revision(name))


def folder_revision(folder: Path) -> str:
    """A hash over the files that make a checkpoint: names, lengths and contents (large files by their ends).

    What a trainer keeps beside them to resume does not count: a copy of the weights alone is the same model.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix not in {".json", ".safetensors", ".bin", ".jinja", ".txt", ".model"} or path.name in _NO_PART:
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= WHOLE_FILE_BYTES:
                digest.update(file.read())
            else:
                digest.update(file.read(2**20))
                file.seek(-(2**20), 2)
                digest.update(file.read())
    return digest.hexdigest()[:40]


def _of_folder(name: str, folder: Path) -> Model:
    found = re.search(r"(?:checkpoint|global_step)[-_](\d+)$", folder.name)
    step = int(found[1]) if found else None
    training = _training(folder)
    if (folder / ADAPTER_CONFIG).is_file():
        config = _adapter_config(name, folder)
        base = _base(name, str(config.pop("base_model_name_or_path")), training)
        # Without the base's place: wherever the base lies, the weights are the same.
        parts = (folder_revision(folder), json.dumps(config, sort_keys=True), base.revision)
        revision = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
        return Model(name, str(folder), revision, step, base, training)
    if not (folder / "config.json").is_file():
        raise Vr1benchError(
            f"model {name!r}: the folder {folder} holds no config.json; expected an ordinary Hugging Face "
            "checkpoint folder (config.json, *.safetensors, tokenizer and processor files), or a LoRA adapter's "
            f"({ADAPTER_CONFIG}, {ADAPTER_WEIGHTS[0]})"
        )
    return Model(name, str(folder), folder_revision(folder), step, None, training)


def _training(folder: Path) -> Training | None:
    """What `training.json` says, in the output folder that a checkpoint lies in or is; None where it is nobody's."""
    for path in (folder / TRAINING, folder.parent / TRAINING):
        if not path.is_file() or b'"schema_version"' not in (text := path.read_bytes()):  # somebody's own file
            continue
        try:
            return Training.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise Vr1benchError(
                f"{path} is not what `vr1bench train` writes: {'.'.join(map(str, first['loc']))}: {first['msg']}; "
                "bring the trainer's file back, or remove it to score the checkpoint without its provenance"
            ) from error
    return None


def _adapter_config(name: str, folder: Path) -> dict[str, Any]:
    """What `adapter_config.json` says, `base_model_name_or_path` among it."""
    path = folder / ADAPTER_CONFIG
    if not any((folder / weights).is_file() for weights in ADAPTER_WEIGHTS):
        raise Vr1benchError(
            f"model {name!r}: the folder {folder} holds {path.name}, but no adapter; expected "
            f"{' or '.join(ADAPTER_WEIGHTS)} beside it: was the checkpoint written whole?"
        )
    try:
        config = json.loads(path.read_bytes())
        written = config["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise Vr1benchError(
            f"{path} is damaged ({error!r}); expected what peft writes, with base_model_name_or_path"
        ) from error
    if not isinstance(written, str) or not written:
        raise Vr1benchError(
            f"{path}: base_model_name_or_path is {written!r}; expected the folder or hub id of the model that the "
            "adapter was trained on: write it there"
        )
    return config


def _base(name: str, written: str, training: Training | None) -> Model:
    """The whole model that an adapter changes.

    Args:
        name: Of the adapter, as typed.
        written: What the adapter calls its base.
        training: What made the adapter, where that is known: it knows the base's name and revision as well.

    Raises:
        Vr1benchError: The base is not to be found, is an adapter itself, or is another by now.
    """
    if (Path(written).expanduser() / ADAPTER_CONFIG).is_file():
        raise Vr1benchError(
            f"model {name!r} is a LoRA adapter on {written!r}, which is an adapter itself; expected a whole model: "
            f"merge that one into its base, and write the merged folder into {ADAPTER_CONFIG} as "
            "base_model_name_or_path"
        )
    base = _found_base(name, written, training)
    if training is None or training.base_revision in {"", base.revision}:
        return base
    if not Path(base.location).is_dir():  # the hub has moved on, and keeps what was
        return replace(base, revision=training.base_revision)
    raise Vr1benchError(
        f"model {name!r} is a LoRA adapter, trained on {training.base_model} at {training.base_revision[:8]}, but "
        f"{base.location} is at {base.revision[:8]} now; bring the weights of then back"
    )


def _found_base(name: str, written: str, training: Training | None) -> Model:
    """The base under the name that the adapter gives it; where nothing is there, under the recipe's."""
    try:
        return load(written)
    except Vr1benchError as error:
        if training:
            with suppress(Vr1benchError):
                return load(training.base_model)
        raise Vr1benchError(
            f"model {name!r} is a LoRA adapter, and its base {written!r} cannot be found ({error}); bring the base "
            f"back, or write where it lies now into {ADAPTER_CONFIG} as base_model_name_or_path"
        ) from error


def _hub_revision(name: str) -> str:
    try:
        from huggingface_hub import HfApi, hf_hub_download
    except ImportError as error:
        raise Vr1benchError(
            f"model {name!r} is a hub id, but huggingface_hub is not installed; install an engine: "
            "uv sync --inexact --extra vllm (GPU) or --extra cpu"
        ) from error
    try:  # the local cache first: it needs no network and names the commit in its path
        return Path(hf_hub_download(name, "config.json", local_files_only=True)).parent.name
    except Exception:  # noqa: S110  the hub client raises many kinds; all of them mean "not cached"
        pass
    try:
        return str(HfApi().model_info(name).sha)
    except Exception as error:  # offline, private, gated, misspelt: the message says which
        raise Vr1benchError(
            f"model {name!r}: no such folder, not in the local hub cache, and the hub did not answer for it "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); check the spelling, "
            "log in with `hf auth login`, or give the path of a checkpoint folder"
        ) from error


def _hub_config(name: str, revision: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    return json.loads(Path(hf_hub_download(name, "config.json", revision=revision)).read_text("utf-8"))
