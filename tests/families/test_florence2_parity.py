"""Our reading of Florence-2's answers is that of transformers' own class, `Florence2Processor.post_process_generation`.

The class cuts the fractions of pixels off and keeps only ASCII letters in labels; boxes are compared as it cuts them.
"""

import numpy as np
import pytest

import vr1bench

pytest.importorskip("transformers", reason="needs transformers: uv sync --inexact --extra hf")

OD, OVD, GROUNDING, PROPOSAL = (
    "<OD>", "<OPEN_VOCABULARY_DETECTION>", "<CAPTION_TO_PHRASE_GROUNDING>", "<REGION_PROPOSAL>",
)  # fmt: skip
CAR = "</s><s>car<loc_53><loc_333><loc_933><loc_774>"
# Texts of tests/models/florence2/test_modeling_florence2.py (1505215) and test_processing_florence2.py (37a7b82) of
# huggingface/transformers, with the boxes that they expect where they say; then grammars of our own.
EXAMPLES = [
    (
        OD,
        (640, 480),
        f"{CAR}door handle<loc_425><loc_503><loc_474><loc_515>wheel<loc_709><loc_576><loc_865><loc_772>"
        "<loc_150><loc_584><loc_309><loc_773></s><pad><pad>",
        [[34, 160, 597, 371], [272, 241, 303, 247], [454, 276, 553, 370], [96, 280, 198, 371]],
    ),
    (OVD, (640, 480), "</s><s>car<loc_52><loc_334><loc_932><loc_774></s><pad><pad>", [[33, 160, 596, 371]]),
    (
        PROPOSAL,
        (1300, 876),
        "</s><s><s><s><loc_0><loc_0><loc_999><loc_675><loc_0><loc_0><loc_310><loc_671><loc_763><loc_0><loc_999>"
        "<loc_663><loc_524><loc_544><loc_921><loc_762><loc_163><loc_132><loc_363><loc_422><loc_802><loc_674><loc_890>"
        "<loc_758><loc_566><loc_677><loc_646><loc_760></s>",
        [
            [0, 0, 1299, 591], [0, 0, 403, 588], [992, 0, 1299, 581], [681, 476, 1197, 667],
            [212, 116, 472, 370], [1043, 590, 1157, 664], [736, 593, 840, 666],
        ],
    ),
    (
        PROPOSAL,
        (1000, 1000),
        "</s><s><loc_53><loc_334><loc_933><loc_775><loc_711><loc_203><loc_906><loc_546><loc_585><loc_309><loc_774>"
        "<loc_709><loc_577></s><pad>",
        [[53, 334, 933, 775], [711, 203, 906, 546], [585, 309, 774, 709]],
    ),
    (
        OD,
        (1000, 1000),
        "</s><s>car<loc_53><loc_334><loc_933><loc_775>door handle<loc_425><loc_504><loc_474><loc_516></s><pad>",
        [[53, 334, 933, 775], [425, 504, 474, 516]],
    ),
    (
        GROUNDING,
        (1000, 1000),
        "</s><s>red car<loc_53><loc_334><loc_933><loc_775><loc_711><loc_203><loc_906><loc_546>"
        "sky<loc_0><loc_0><loc_1000><loc_300></s>",
        [[53, 334, 933, 775], [711, 203, 906, 546], [0, 0, 1000, 300]],
    ),
    (OD, (1000, 1000), "car<loc_53><loc_334><loc_933><loc_775>", [[53, 334, 933, 775]]),
    (GROUNDING, (640, 480), "</s><s><s><s>A green car<loc_54><loc_330><loc_911><loc_780>a yellow building"
     "<loc_0><loc_8><loc_998><loc_635></s>", None),
    (OD, (333, 977), f"{CAR}t-shirt, red<loc_1><loc_2><loc_3><loc_4>cut<loc_5><loc_6><loc_7", None),
    (OD, (640, 480), "</s><s></s>", []),
    (OD, (640, 480), "", []),
]  # fmt: skip


@pytest.fixture(scope="module")
def processor():
    """The real class, with a tokenizer of six words: reading an answer needs no more."""
    from transformers import BartTokenizer, CLIPImageProcessor, Florence2Processor

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a"]
    tokenizer = BartTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    tokenizer.image_token, tokenizer.image_token_id = "<image>", 3
    images = CLIPImageProcessor(size={"height": 768, "width": 768}, do_center_crop=False)
    images.image_seq_length = 577
    kinds = ("description_with_bboxes", "description_with_bboxes_or_polygons", "phrase_grounding", "bboxes")
    return Florence2Processor(images, tokenizer, post_processor_config={kind: {} for kind in kinds})


def theirs(processor, task, size, text) -> tuple[list, list]:
    answer = processor.post_process_generation(text=text, task=task, image_size=size)[task]
    return answer["bboxes"], answer.get("labels", answer.get("bboxes_labels"))


def same(processor, task, size, text):
    boxes, labels = theirs(processor, task, size, text)
    ours = vr1bench.parse(text, family="florence-2", size=size, input_size=None, queries=())
    assert ours.detections.labels.tolist() == labels
    lost = ours.detections.boxes - np.array(boxes, dtype=float).reshape(-1, 4)
    # The fraction that they cut off. They sum in 32 bits and we in 64: a whole number may fall to either side.
    assert ((lost > -1e-3) & (lost < 1 + 1e-3)).all()


@pytest.mark.parametrize(("task", "size", "text", "published"), EXAMPLES)
def test_their_own_examples(processor, task, size, text, published):
    same(processor, task, size, text)
    if published is not None:
        assert theirs(processor, task, size, text)[0] == published


def test_every_bin_and_many_sizes(processor):
    for size in [(640, 480), (1000, 1000), (37, 1999), (1301, 877)]:
        text = "".join(f"thing<loc_{n}><loc_{n}><loc_{999 - n // 2}><loc_{999}>" for n in range(0, 660, 3))
        same(processor, OD, size, f"</s><s>{text}</s>")


def test_what_is_written_is_read_by_them(processor):
    family = vr1bench.families.FAMILIES["florence-2"]
    gold = vr1bench.types.Detections.of([[100, 120, 300, 360], [0, 0, 640, 480]], ["dog", "cat"])
    text = family.format(gold, (640, 480), (768, 768))
    boxes, labels = theirs(processor, OD, (640, 480), text)
    assert labels == ["dog", "cat"]
    assert np.abs(np.array(boxes) - gold.boxes).max() <= 1.64  # a pixel cut off, and one bin


def test_questions_are_taken_by_the_processor(processor):
    """The processor puts its sentences in the place of the tokens, and refuses words beside `<OD>`."""
    questions = vr1bench.families.FAMILIES["florence-2"].questions
    asked = [questions.all, questions.one.replace("{label}", "car"), questions.refer.replace("{phrase}", "a red car")]
    assert processor._construct_prompts(asked) == [
        "Locate the objects with category name in the image.",
        "Locate car in the image.",
        "Locate the phrases in the caption: a red car",
    ]
