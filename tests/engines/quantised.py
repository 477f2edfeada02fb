"""A checkpoint in int8, as compressed-tensors writes it: weights by output channel, activations by token."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

INT8 = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head", "re:.*visual.*"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True, "dynamic": False},
            "input_activations": {
                "num_bits": 8, "type": "int", "strategy": "token", "symmetric": True, "dynamic": True,
            },
        }
    },
}  # fmt: skip


def write_int8(source: Path, folder: Path) -> Path:
    """Copies a checkpoint, with the linear layers of its language model rounded to int8; the vision tower stays."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder, dirs_exist_ok=True)
    weights = load_file(source / "model.safetensors")
    for name in [name for name in weights if name.endswith("_proj.weight") and "visual" not in name]:
        exact = weights[name].float()
        scale = (exact.abs().amax(dim=1, keepdim=True) / 127).to(torch.bfloat16)
        weights[name] = torch.round(exact / scale.float()).clamp(-127, 127).to(torch.int8)
        weights[f"{name}_scale"] = scale
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": INT8}), "utf-8")
    return folder
