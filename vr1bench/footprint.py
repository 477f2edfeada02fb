"""What a model takes of memory, told by its files: the weights, and the key-value cache of each token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Of a checkpoint, the first kind that there is; beside them lie an optimizer's state and other files of a trainer."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Of one number; a checkpoint that names no precision counts as bfloat16."""


def weight_bytes(location: str) -> int | None:
    """Of a checkpoint folder's weight files; None where it is no folder of this machine."""
    folder = Path(location)
    if not location or not folder.is_dir():
        return None
    found = (list(folder.glob(pattern)) for pattern in WEIGHTS)
    return sum(path.stat().st_size for path in next(filter(None, found), []))


def cache_bytes_a_token(config: Mapping[str, Any]) -> int | None:
    """Of the key-value cache, for each token in each layer a key and a value of each key-value head.

    None where a config does not name its layers and heads as transformers does. Layers that look back only over a
    window, or that keep a state instead of a cache, count as if they kept all: the figure is a bound.

    Args:
        config: The checkpoint's `config.json`; of a vision-language model the language model's part counts.
    """
    text = config.get("text_config", config)
    try:
        heads = int(text["num_attention_heads"])
        size = int(text.get("head_dim") or int(text["hidden_size"]) // heads)
        kept = int(text.get("num_key_value_heads") or heads)
        layers = int(text["num_hidden_layers"])
    except (KeyError, TypeError, ValueError):
        return None
    named = next((c[key] for c in (text, config) for key in ("dtype", "torch_dtype") if c.get(key)), "bfloat16")
    return 2 * layers * kept * size * BYTES.get(str(named), 2)
