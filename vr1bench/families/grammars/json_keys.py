"""What the families and the usual answers call the parts of an object in JSON, and how a box is spelled in text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vr1bench.families.grammars.numbers import CORNERS, NUMBER

BOX_KEYS = ("bbox_2d", "box_2d", "bbox", "box", "bounding_box", "coordinates")
POINT_KEYS = ("point_2d", "point")
CORNER_KEYS = (("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))
LABEL_KEYS = ("label", "category", "name", "class", "object", "description", "phrase")
SCORE_KEYS = ("confidence", "Confidence", "score", "Score")
"""How sure the model says it is; `Confidence` is Visual-RFT's (Qwen2_VL_coco_infere.py:245-252)."""
LIST_KEYS = (
    *("annotations", "answer", "bboxes", "boundingboxes", "boxes", "data", "detection", "detections", "instances"),
    *("items", "objects", "output", "predictions", "regions", "response", "result", "results"),
)
"""Folded keys around lists of boxes that name nothing."""
SEPARATORS = str.maketrans("", "", " _-")


class Keys:
    """What a family calls things, in front of the usual names.

    Attributes:
        box: Keys of boxes, in order of preference.
        labels: Keys of labels, likewise; none of them is one of a box.
        corners: Folded keys of a box's four numbers.
        lists: Folded keys around lists of boxes that name nothing.
        wrappers: All folded keys that name nothing.
        labelled: Whether the family names its objects.
        spelled: A box as the family spells it in text, and the places of its numbers; None where it has none.
        framed: Whether something stands around the numbers of `spelled`.
        example: A box as spelled, of the numbers 1, 2, 3, 4 in the family's order.
        label_next: The key of a label behind a box.
        rough_label: A label in an object that is no JSON: what follows its key, up to where an object goes on or ends.
    """

    def __init__(
        self, box: str, label: str, corners: Sequence[str] | None, spelling: str, inside: str, *, swapped: bool
    ) -> None:
        order = (1, 0, 3, 2) if swapped else (0, 1, 2, 3)  # corners say by themselves which they are
        self.box = tuple(dict.fromkeys(key for key in (box, *BOX_KEYS) if key and key != label))
        self.labels = tuple(dict.fromkeys(key for key in (label, *LABEL_KEYS) if key and key != box))
        sets = (tuple(map(fold_key, corners or ())), *CORNER_KEYS)
        self.corners = tuple(tuple(names[i] for i in order) for names in sets if names)
        self.labelled = bool(label)
        self.spelled = _spelled(spelling, order)
        self.folded_box, self.folded_labels = frozenset(map(fold_key, self.box)), frozenset(map(fold_key, self.labels))
        self.lists = {*LIST_KEYS, fold_key(inside)}
        self.wrappers = {*self.lists, *self.folded_box, *self.folded_labels}
        self.framed = self.spelled is not None and bool(re.match(r"[^{].*[^}]\Z", spelling.strip(), re.DOTALL))
        self.example = re.sub(r"\{([xy][12])[^{}]*\}", lambda m: str(order.index(CORNERS.index(m[1])) + 1), spelling)
        rough = "|".join(map(re.escape, self.labels))
        self.label_next = re.compile(rf"\s*+,\s*+[\"'“]?(?:{rough})[\"'”]?\s*+(?::|\Z)")
        self.rough_label = re.compile(
            rf"(?<!\w)(?:{rough})(?!\w)[\"']?\s*+:\s*+(?:\"([^\"\n]*)\"|'([^'\n]*)'|(\w[\w .-]*+))\s*+(?=[,}}])"
        )


def fold_key(key: str) -> str:
    """A key without case and separators: `Bounding Box` and `bounding_box` fold alike."""
    return key.translate(SEPARATORS).casefold()


def _spelled(spelling: str, order: Sequence[int]) -> tuple[re.Pattern[str], tuple[int, ...]] | None:
    """A spelling as a pattern that lets white space vary, and the groups of its numbers in the family's order."""
    first, *parts = re.split(r"\{([xy][12])[^{}]*\}", spelling.strip())
    if sorted(parts[::2]) != sorted(CORNERS):
        return None
    pattern = _flexible(first) + r"\s*+"
    for literal in parts[1::2]:
        pattern += NUMBER + (r"\s++" if literal.isspace() else rf"\s*+{_flexible(literal)}\s*+")
    return re.compile(pattern.removesuffix(r"\s*+")), tuple(parts[::2].index(CORNERS[i]) + 1 for i in order)


def _flexible(literal: str) -> str:
    return r"\s*+".join(map(re.escape, literal.split()))
