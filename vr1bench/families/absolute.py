"""Any model that is told to answer in pixels of the original image, whose size the question states."""

from vr1bench.families import json_boxes
from vr1bench.families.definition import FamilyDefinition

FAMILY = FamilyDefinition(
    name="absolute",
    read=json_boxes.read,
    write=json_boxes.write,
    frame="original",
    decimals=None,
    instruction=(
        " The image is {width} pixels wide and {height} pixels high. Answer with a JSON list of objects like"
        ' {"bbox_2d": [x1, y1, x2, y2], "label": "name"}, in pixels of the image, the origin at its top left corner;'
        " answer [] if there is none."
    ),
)
