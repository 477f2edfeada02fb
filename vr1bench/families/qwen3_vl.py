"""Qwen3-VL: JSON on a 0 to 1000 grid."""

from vr1bench.families import json_boxes
from vr1bench.families.definition import FamilyDefinition

FAMILY = FamilyDefinition(
    name="qwen3-vl",
    read=json_boxes.read,
    write=json_boxes.write,
    # Qwen3-VL `qwen-vl-finetune/tools/process_bbox.ipynb`: x / width * 1000; patch 16, merged 2 by 2.
    frame="norm1000",
    factor=32,
    model_types=("qwen3_vl", "qwen3_vl_moe"),
    name_pattern=r"qwen3-?vl",
)
