"""Kosmos-2's boxes and phrases are what the real processor reads, on its own examples and on random cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vr1bench

real = pytest.importorskip("transformers.models.kosmos2.processing_kosmos2")
SIZE = (640, 480)
CELL = st.integers(0, 31)

# Hugging Face card microsoft/kosmos-2-patch14-224; microsoft/unilm@768a3c8 kosmos-2/demo/decode_string.py:91.
EXAMPLES = (
    "<grounding> An image of<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object> "
    "warming himself by<phrase> a fire</phrase><object><patch_index_0005><patch_index_0911></object>.",
    "<grounding><phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object> is warming himself "
    "by<phrase> the fire</phrase><object><patch_index_0006><patch_index_0878></object>",
    "<grounding><phrase> a snowman next to a fire</phrase><object><patch_index_0044><patch_index_0863></object>",
    "<grounding> Question: Where is<phrase> the fire</phrase><object><patch_index_0005><patch_index_0911></object> "
    "next to? Answer: Near<phrase> the snowman</phrase><object><patch_index_0044><patch_index_0863></object>.",
    "<grounding> Question: What is special about this image? Answer: The image features<phrase> a snowman</phrase>"
    "<object><patch_index_0044><patch_index_0863></object> sitting by<phrase> a campfire</phrase><object>"
    "<patch_index_0643><patch_index_1009></object> in the snow.",
    "<grounding> Describe this image in detail: The image features a snowman sitting by<phrase> a campfire</phrase>"
    "<object><patch_index_0005><patch_index_1007></object> in the snow. He is wearing<phrase> a hat</phrase><object>"
    "<patch_index_0048><patch_index_0250></object>,<phrase> scarf</phrase><object><patch_index_0240><patch_index_0604>"
    "</object>, and<phrase> gloves</phrase><object><patch_index_0400><patch_index_0532></object>, with<phrase> a pot"
    "</phrase><object><patch_index_0610><patch_index_0872></object> nearby and<phrase> a cup</phrase><object>"
    "<patch_index_0796><patch_index_1023></object> nearby. The snowman appears to be enjoying the warmth of the fire, "
    "and it appears to have a warm and cozy atmosphere.",
    "a wet suit is at <object><patch_index_0003><patch_index_0004></delimiter_of_multi_objects/><patch_index_0005>"
    "<patch_index_0006></object> in the picture",
)


def theirs(text):
    """The phrases ("" where there is none) and the boxes in pixels, in the order of the text."""
    _, entities = real.clean_text_and_extract_entities_with_bboxes(text)
    rows = [("" if name.startswith("<patch") else name, box) for name, _, boxes in entities for box in boxes]
    return [name for name, _ in rows], np.array([box for _, box in rows]).reshape(-1, 4) * (SIZE * 2)


def ours(text, queries=()):
    got = vr1bench.parse(text, family="kosmos-2", size=SIZE, queries=queries)
    return got.detections.labels.tolist(), got.detections.boxes


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_published_examples(text):
    names, boxes = theirs(text)
    labels, mine = ours(text, [name for name in names if name])
    np.testing.assert_allclose(mine, boxes, atol=1e-9)
    if all(names):
        assert labels == names


@given(rows=st.lists(st.tuples(CELL, CELL, CELL, CELL, st.integers(1, 3)), min_size=1, max_size=5))
def test_random_cells(rows):
    parts = []
    for i, (xa, ya, xb, yb, count) in enumerate(rows):
        first, last = min(ya, yb) * 32 + min(xa, xb), max(ya, yb) * 32 + max(xa, xb)
        pair = f"<patch_index_{first:04d}><patch_index_{last:04d}>"
        boxes = "</delimiter_of_multi_objects/>".join([pair] * count)
        parts.append(f"<phrase> thing {i}</phrase><object>{boxes}</object>")
    text = " and".join(parts) + "."
    names, boxes = theirs(text)
    labels, mine = ours(text, sorted(set(names)))
    np.testing.assert_allclose(mine, boxes, atol=1e-9)
    assert labels == names


def test_the_processor_stretches_to_the_fed_size():
    image = pytest.importorskip("PIL.Image")
    clip = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    processor = clip.CLIPImageProcessorPil(use_square_size=True)
    from vr1bench.families import FAMILIES

    for size in ((640, 480), (300, 900), (50, 20)):
        pixels = processor(image.new("RGB", size), return_tensors="np")["pixel_values"]
        assert FAMILIES["kosmos-2"].fed_size(*size, None) == (pixels.shape[3], pixels.shape[2])
