"""JSON as models and families of users spell it: keys, corners, spellings, what a cut leaves, what says nothing."""

import json

import numpy as np
import pytest

import vr1bench
from vr1bench.families import FAMILIES
from vr1bench.families.grammars.json_boxes import JsonGrammar
from vr1bench.types import Completion, Request, Sampling, Token

BOX = (1, 2, 30, 40)


def read(text, family="absolute", queries=("dog", "cat")):
    return vr1bench.parse(text, family=family, size=(1000, 1000), queries=queries)


def items(got):
    return [
        (label, tuple(box))
        for label, box in zip(got.detections.labels.tolist(), got.detections.boxes.tolist(), strict=True)
    ]


def both(grammar, text):
    """A reading, the same with places and without."""
    plain, located = grammar.read(text), grammar.read(text, located=True)
    assert (plain.numbers, plain.labels, plain.broken) == (located.numbers, located.labels, located.broken)
    assert plain.nothing == located.nothing
    return plain


@pytest.mark.parametrize(
    "keys", [("xmin", "ymin", "xmax", "ymax"), ("X_MIN", "Y_MIN", "X_MAX", "Y_MAX"), ("x1", "y1", "x2", "y2")]
)
@pytest.mark.parametrize("order", ["xyxy", "yxyx"])
def test_corner_keys_say_their_order_themselves(keys, order):
    corners = json.dumps({**dict(zip(keys, BOX, strict=True)), "label": "dog"})
    grammar = JsonGrammar(kind="json", order=order)
    assert both(grammar, f"[{corners}]").numbers == [BOX]
    assert both(grammar, f"[{corners},,]").numbers == [BOX]
    assert both(grammar, f'[{{"bbox": {corners}, "label": "dog"}}]').numbers == [BOX]


FAMILY = {"kind": "json", "box_key": "b", "label_key": "l"}


@pytest.mark.parametrize(
    "text",
    [
        '[{"b": [1, 2, 30, 40], "l": "dog"}]',
        "[{'b': [1, 2, 30, 40], 'l': 'dog'}]",
        '[{"b": [1, 2, 30, 40], "l": "dog", "score": 1}]',
        '{"objects": [{"b": [1, 2, 30, 40], "l": "dog"}]}',
        '[{"B": [1, 2, 30, 40], "L": "dog"}]',
        '[{"b": [1, 2, 30, 40], "l": "dog", "note": "a "quoted" word"}]',
        '[{"b": [1, 2, 30, 40], "name": "Rex", "l": "dog"}]',
        '[{"b": [1, 2, 30, 40], "box": [5, 6, 7, 8], "l": "dog"},]',
    ],
)
def test_a_familys_own_keys_are_read_everywhere(text):
    got = both(JsonGrammar.model_validate(FAMILY), text)
    assert (got.numbers, got.labels) == ([BOX], ["dog"])


@pytest.mark.parametrize(
    "more",
    [
        {"corners": ("left", "top", "right", "bottom")},
        {"corners": ("left", "top", "right", "bottom"), "order": "yxyx"},
        {"corners": ("left edge", "top edge", "right edge", "bottom edge"), "inside": "things"},
        {"order": "yxyx"},
        {"inside": "things"},
        {"box_key": "", "label_key": ""},
        {"box_key": "label", "label_key": "box"},
        {"spelling": "<bbox>{x1} {y1} {x2} {y2}</bbox>"},
        {"spelling": "({x1};{y1}) - ({x2};{y2})"},
        {"spelling": "({x1};{y1}) - ({x2};{y2})", "order": "yxyx"},
        {"spelling": "x{x1}y{y1} to x{x2}y{y2}"},
        {"spelling": "[{y1}, {x1}, {y2}, {x2}]"},
        {"spelling": "{x1}/{y1}/{x2}/{y2}"},
        {"spelling": "{x1} {y1} {x2} {y2}"},
    ],
)
def test_what_a_family_writes_it_reads(more):
    grammar = JsonGrammar.model_validate(FAMILY | more)
    boxes, labels = [BOX, (5.5, 6, 7, 8)], ["dog", "cat"]
    named = labels if grammar.label_key else [None, None]
    text = grammar.write(labels, np.array(boxes, float))
    for spelled in (text, f"```json\n{text}\n```", f"Here: {text}.", f"{text[:-1]},{text[-1]}"):
        got = both(grammar, spelled)
        assert (got.numbers, got.labels) == (boxes, named), spelled
    cut = both(grammar, text[: text.rindex("5.5") + 2] + (text[-1] if not grammar.box_key else ""))
    assert cut.numbers in ([BOX], [])


@pytest.mark.parametrize("spelling", ["({x1};{y1}) - ({x2};{y2})", "[{y1}, {x1}, {y2}, {x2}]"])
def test_a_spelled_box_is_found_without_json(spelling):
    grammar = JsonGrammar.model_validate(FAMILY | {"spelling": spelling})
    text = spelling.format(x1=1, y1=2, x2=30, y2=40)
    assert both(grammar, f"It is at {text}, {text[:-3]}").numbers == [BOX]


@pytest.mark.parametrize(
    "key",
    [
        "bounding_box_2d",
        "bbox2d",
        "box2d",
        "coords",
        "rect",
        "location",
        "position",
        "BBOX_2D",
        "Bounding Box",
        "Box",
        "boxes",
    ],
)
@pytest.mark.parametrize("label", ["label", "Label", "category"])
def test_the_only_box_beside_a_label_is_its_box(key, label):
    for box in ([1, 2, 30, 40], [[1, 2, 30, 40]], ["1", "2", "30", "40"]):
        text = json.dumps([{label: "dog", key: box, "score": 1, "size": [3, 4]}])
        assert items(read(text)) == [("dog", BOX)]
        assert items(read(text.replace('"', "'"))) == [("dog", BOX)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"dog": {"bbox": [1, 2, 30, 40]}}', [("dog", BOX)]),
        ('{"dog": [{"bbox": [1, 2, 30, 40]}, {"x1": 1, "y1": 2, "x2": 30, "y2": 40}]}', [("dog", BOX)] * 2),
        ('{"results": {"dog": [1, 2, 30, 40], "cat": [[5, 6, 7, 8]]}}', [("dog", BOX), ("cat", (5, 6, 7, 8))]),
        ('{"dog": {"label": "cat", "bbox": [1, 2, 30, 40]}}', [("cat", BOX)]),
        ('{"Box": [1, 2, 30, 40], "Dog": [5, 6, 7, 8]}', [("Box", BOX), ("dog", (5, 6, 7, 8))]),
    ],
)
def test_a_key_that_is_no_box_is_the_name(text, found):
    assert items(read(text)) == found


@pytest.mark.parametrize(
    "text", ['{"objects": [{"bbox": [1, 2, 30, 40]}]}', '{"Results": [[1, 2, 30, 40]]}', '{"Bbox": [1, 2, 30, 40]}']
)
def test_a_wrapper_names_nothing(text):
    assert items(read(text, queries=("dog",))) == [("dog", BOX)]


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d":[1,2,30,40],"label":"ca',
        '[{"bbox_2d":[1,2,30,40],"lab',
        '[{"bbox_2d":[1,2,30,40]',
        "[{'bbox_2d':[1,2,30,40],'label':'ca",
        "{bbox_2d: [1,2,30,40], label: ca",
        '{"things": [{"bbox_2d":[1,2,30,40],"label":"ca',
        '[{"bounding_box_2d":[1,2,30,40],"label":"ca',
        '```json\n[{"bbox_2d":[1,2,30,40],"label":"ca',
    ],
)
def test_an_object_that_was_cut_is_given_up(text):
    got = read(text, queries=("dog",))
    assert (items(got), got.status) == ([], "truncated")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[[1, 2, 30, 40], [5, 6, 7", [("dog", BOX)]),
        ('{"dog": [[1, 2, 30, 40], [5, 6, 7', [("dog", BOX)]),
        ("{'dog': [[1, 2, 30, 40], [5, 6, 7", [("dog", BOX)]),
        ('{"objects": [[1, 2, 30, 40], [5, 6, 7', [("dog", BOX)]),
        ('[{"bbox_2d":[1,2,30,40],"label":"dog"},{"bbox_2d":[5,6,7,8],"label":"ca', [("dog", BOX)]),
    ],
)
def test_whole_items_of_a_cut_answer_are_kept(text, found):
    got = read(text, queries=("dog",))
    assert (items(got), got.status) == (found, "truncated")


def test_a_family_without_labels_keeps_the_box_of_a_cut_object():
    grammar = JsonGrammar(kind="json", label_key="")
    assert both(grammar, '[{"bbox_2d": [1, 2, 30, 40]').numbers == [BOX]


def scores(pieces, family="absolute"):
    """The scores where the pieces marked with `!` are of probability 0.5, with `?` of 0.25, and all others hardly."""
    sure = {"!": np.log(0.5), "?": np.log(0.25)}
    tokens = tuple(Token(text=piece.rstrip("!?"), logprob=sure.get(piece[-1], -99)) for piece in pieces)
    request = Request("", "", (), 1000, 1000, ("dog", "cat"), (), Sampling())
    completion = Completion(text="".join(token.text for token in tokens), tokens=tokens)
    return FAMILIES[family].parse(completion, request).detections.scores.tolist()


@pytest.mark.parametrize("family", ["absolute", "gemini"])
@pytest.mark.parametrize(
    "pieces",
    [
        [
            '[{"xmin": ',
            "1!",
            ', "ymin": ',
            "2!",
            ', "xmax": ',
            "30!",
            ', "ymax": ',
            "40!",
            ', "label": "',
            "dog!",
            '"}, {"xmin": ',
            "5?",
            ', "ymin": ',
            "6?",
            ', "xmax": ',
            "70?",
            ', "ymax": ',
            "80?",
            ', "label": "',
            "dog?",
            '"}]',
        ],
        [
            '[{"label": "',
            "dog!",
            '", "score": ',
            "9",
            ', "y1": ',
            "2!",
            ', "x1": ',
            "1!",
            ', "x2": ',
            "30!",
            ', "y2": ',
            "40!",
            "}, {",
            '"label": "',
            "dog?",
            '", "y1": ',
            "6?",
            ', "x1": "',
            "5?",
            '", "x2": ',
            "70?",
            ', "y2": ',
            "80?",
            "}]",
        ],
        [
            "[{x1: ",
            "1!",
            ", y1: ",
            "2!",
            ", x2: ",
            "30!",
            ", y2: ",
            "40!",
            ", label: '",
            "dog!",
            "'}, {x1: ",
            "5?",
            ", y1: ",
            "6?",
            ", x2: ",
            "70?",
            ", y2: ",
            "80?",
            ", label: '",
            "dog?",
            "'}]",
        ],
    ],
)
def test_keys_between_numbers_do_not_count(pieces, family):
    assert scores(pieces, family) == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize(
    "pieces",
    [
        [
            '[{"bbox": [',
            "1, 2, 3, 4!",
            '], "label": "',
            "dog!",
            '"}, {"bbox": [',
            "5, 6, 7, 8?",
            '], "label": "',
            "dog?",
            '"}, {}]',
        ],
        [
            '[{"label": "',
            "dog!",
            '", "rect": [',
            "1, 2, 3, 4!",
            ']}, {"label": "',
            "dog?",
            '", "rect": [',
            "5, 6, 7, 8?",
            "]}]",
        ],
        ['{"', "dog!", '": {"bbox": [', "1, 2, 3, 4!", ']}, "', "cat?", '": {"bbox": [', "5, 6, 7, 8?", "]}}"],
        ["dog!", ": [", "1, 2, 3, 4!", "]\n", "cat?", ": [", "5, 6, 7, 8?", "]"],
        [
            "<|object_ref_start|>",
            "dog!",
            "<|object_ref_end|><|box_start|>(",
            "1,2),(3,4!",
            ")<|box_end|><|object_ref_start|>",
            "cat?",
            "<|object_ref_end|><|box_start|>(",
            "5,6),(7,8?",
            ")<|box_end|>",
        ],
    ],
)
def test_each_item_has_its_own_label_and_numbers(pieces):
    assert scores(pieces) == pytest.approx([0.5, 0.25])


def test_one_label_of_two_boxes_counts_for_both():
    assert scores(['{"', "dog!", '": [[', "1, 2, 3, 4!", "], [", "5, 6, 7, 8?", "]]}"]) == pytest.approx([0.5, 0.375])


@pytest.mark.parametrize(
    "text",
    [
        "null<|im_end|>",
        "null",
        "null\n</s>",
        '[{"bbox_2d": null}]',
        '{"bbox_2d": [], "label": "dog"}',
        "[[]]",
        "[{}]",
        '[{"bbox_2d": null, "label": "dog"}]',
        '```json\n[{"bbox_2d": [], "label": "dog"}]\n```',
        '{"a": {"objects": [{}]}}',
        '{"dog": {"bbox": null}}',
        '{"dog": [[]], "cat": null}',
        '{"name": []}',
    ],
)
def test_what_says_nothing(text):
    got = read(text)
    assert (got.status, dict(got.broken)) == ("none", {})


@pytest.mark.parametrize(
    "text", ['{"label": "dog"}', '[{"bbox_2d": "none", "label": "dog"}]', '{"a": 1}', '{"bbox": [1]}', "null and void"]
)
def test_what_does_not(text):
    assert read(text).status == "malformed"


QWEN = "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(1,2),(30,40)<|box_end|>"


@pytest.mark.parametrize(
    ("text", "found", "status"),
    [
        (QWEN, [("dog", BOX)], "ok"),
        (f"{QWEN}<|box_start|>(5,6),(7,8)<|box_end|><|im_end|>", [("dog", BOX), ("dog", (5, 6, 7, 8))], "ok"),
        (f"The {QWEN} and {QWEN.replace('dog', 'cat')}.", [("dog", BOX), ("cat", BOX)], "ok"),
        (f"{QWEN}\n{QWEN.replace('dog', 'cat')[:-13]}", [("dog", BOX)], "truncated"),
        (f"{QWEN}\n<|box_start|>(1,2),(3", [("dog", BOX)], "truncated"),
        (f"{QWEN}\n<|box_start|>(1,2)<|box_end|>", [("dog", BOX)], "salvaged"),
        ("<|box_start|>(1,2)<|box_end|>", [], "malformed"),
        ("dog: [1,2,30,40]\ncat: [5,6,7,8]", [("dog", BOX), ("cat", (5, 6, 7, 8))], "ok"),
        (
            "- **Dog**: [1,2,30,40], [5,6,7,8]\n- **a cat**:\n[5,6,7,8]",
            [("dog", BOX), ("dog", (5, 6, 7, 8)), ("cat", (5, 6, 7, 8))],
            "ok",
        ),
        ("1. dog: (1, 2, 30, 40)\n2. cat: (5, 6, 7, 8)", [("dog", BOX), ("cat", (5, 6, 7, 8))], "ok"),
        ("dog: [[1,2,30,40],[5,6,7,8]]", [("dog", BOX), ("dog", (5, 6, 7, 8))], "ok"),
        ("dog: [1,2,30,40], cat: [5,6,7,8]", [("dog", BOX), ("cat", (5, 6, 7, 8))], "ok"),
    ],
)
def test_names_in_front_of_bare_boxes(text, found, status):
    got = read(text, "qwen3-vl")
    assert [(label, tuple(round(number) for number in box)) for label, box in items(got)] == found
    assert got.status == status


@pytest.mark.parametrize(
    "lead",
    ["Output", "bbox", "Bounding box", "bbox_2d", "The bounding box coordinates are", "Result", "Final answer", "Box"],
)
def test_words_that_are_no_name_leave_the_one_that_was_asked_for(lead):
    assert items(read(f"{lead}: [1, 2, 30, 40]", queries=("dog",))) == [("dog", BOX)]


def test_qwens_tags_are_in_the_familys_frame():
    fed = vr1bench.parse(QWEN, family="qwen2.5-vl", size=(1000, 1000), input_size=(500, 500), queries=("dog",))
    assert items(fed) == [("dog", (2, 4, 60, 80))]
