"""What a model is to the suite: where its weights lie, and which revision they are."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vr1bench.errors import Vr1benchError

DEMO_FOLDER = Path(__file__).parent / "demo" / "model"
WHOLE_FILE_BYTES = 16 * 2**20
"""Files up to this size are hashed whole, larger ones by their first and last mebibyte and their length."""


@dataclass(frozen=True)
class Model:
    """A model as named by its user.

    Attributes:
        name: As typed: `demo`, a folder, or a hub id.
        location: What an engine loads: a folder's path or the hub id.
        revision: 40 hex digits of a hub commit, or of a hash over a local folder's files.
        step: Training step, where the folder's name says so (`checkpoint-500`).
    """

    name: str
    location: str
    revision: str
    step: int | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's `config.json`; empty where there is none to read."""
        import json

        path = Path(self.location) / "config.json"
        if path.is_file():
            return json.loads(path.read_text("utf-8"))
        return _hub_config(self.location, self.revision)


def load(name: str) -> Model:
    """Finds a model: `demo`, a local checkpoint folder, or a hub id that is cached or can be reached.

    Raises:
        Vr1benchError: There is no such folder and no hub repository of that name can be read.
    """
    name = name.rstrip("/") or name
    folder = DEMO_FOLDER if name == "demo" else Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise Vr1benchError(
                f"model {name!r}: the folder {folder} holds no config.json; expected an ordinary Hugging Face "
                "checkpoint folder (config.json, *.safetensors, tokenizer and processor files)"
            )
        step = re.search(r"(?:checkpoint|global_step)[-_](\d+)$", folder.resolve().name)
        return Model(name, str(folder.resolve()), folder_revision(folder), int(step[1]) if step else None)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith((".", "~")):
        raise Vr1benchError(
            f"model {name!r}: no such folder; expected 'demo', the path of a checkpoint folder, or a hub id "
            "such as Qwen/Qwen2.5-VL-7B-Instruct"
        )
    return Model(name, name, _hub_revision(name))


def folder_revision(folder: Path) -> str:
    """A hash over the files that make a checkpoint: names, lengths and contents (large files by their ends)."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix not in {".json", ".safetensors", ".bin", ".jinja", ".txt", ".model"}:
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
    import json

    from huggingface_hub import hf_hub_download

    return json.loads(Path(hf_hub_download(name, "config.json", revision=revision)).read_text("utf-8"))
