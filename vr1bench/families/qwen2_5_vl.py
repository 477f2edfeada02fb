"""Qwen2.5-VL, and the Vision-R1 and VLM-R1 checkpoints trained from it: JSON in pixels of the resized input."""

from vr1bench.families import json_boxes
from vr1bench.families.definition import FamilyDefinition

FAMILY = FamilyDefinition(
    name="qwen2.5-vl",
    read=json_boxes.read,
    write=json_boxes.write,
    # VLM-R1 `qwen_module.py:125-130`: boxes are pixels of `image_grid_thw[1:] * 14`; patch 14, merged 2 by 2.
    frame="fed",
    factor=28,
    model_types=("qwen2_5_vl",),
    name_pattern=r"qwen2[._]5-?vl|vision-r1|vlm-r1",
)
