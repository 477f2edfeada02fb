"""Rules of reading that no published answer happens to show, a line each."""

import numpy as np
import pytest

import vr1bench
from vr1bench.families import FAMILIES
from vr1bench.families.inputs import AsIs, OverlappingTiles, PaddedTiles, SmartResize, Square, Tiles
from vr1bench.types import Completion, Request, Sampling, Token


def read(text, family="absolute", queries=("dog", "cat"), size=(640, 480)):
    return vr1bench.parse(text, family=family, size=size, queries=queries)


@pytest.mark.parametrize(
    ("written", "boxes"),
    [
        ([-50, -40, -10, -5], [0, 0, 0, 0]),
        ([700, 500, 800, 900], [640, 480, 640, 480]),
        ([-0.5, -0.5, 640.5, 480.5], [0, 0, 640, 480]),
        ([5, 6, 5, 6], [5, 6, 5, 6]),
    ],
)
def test_what_overruns_the_image_ends_at_its_edge(written, boxes):
    assert read(f"[{written}]").detections.boxes.tolist() == [boxes]


@pytest.mark.parametrize(
    ("written", "clipped"),
    [
        ([-1, -1, 1001, 1001], 0),
        ([-1.1, 0, 9, 9], 1),
        ([0, -1.1, 9, 9], 1),
        ([0, 0, 1001.1, 9], 1),
        ([0, 0, 9, 1001.1], 1),
    ],
)
def test_one_step_over_the_edge_is_rounding(written, clipped):
    assert read(f"[{written}]", "qwen3-vl", size=(1000, 1000)).broken.get("clipped", 0) == clipped


@pytest.mark.parametrize(
    ("family", "text", "status", "boxes", "broken"),
    [
        ("seed", "<bbox>1 2 <bbox>1 2 3 4]", "salvaged", 1, {"not four numbers": 1}),
        ("seed", "<bbox>1 2 3 4</bbox> <bbox>1 2", "truncated", 1, {}),
        ("seed", "<bbox>1 2</bbox> <bbox>1 2", "truncated", 0, {"not four numbers": 1}),
        ("absolute", "{'a': {}, 'box': [1, 2, 3, 4]}", "salvaged", 1, {}),
        ("absolute", "{'a': {'box': [1, 2, 3, 4]}, 'b': {???}}", "salvaged", 1, {"unreadable item": 1}),
        ("absolute", '[{"box": ["1_0", 2, 3, 4]}]', "malformed", 0, {"not four numbers": 1}),
        ("absolute", '[{"box": [" 1 ", "2.5", "3", "4"]}]', "ok", 1, {}),
        ("absolute", '[{"box": [1, 2, 3, 1' + "0" * 400 + "]}]", "malformed", 0, {"non-finite": 1}),
        ("absolute", '```json{"box": [1, 2, 3, 4]}\n[]\n```', "ok", 1, {}),
        ("absolute", '{"a": [], "b": null} {}', "none", 0, {}),
        ("absolute", "{924: [1, 2, 3, 4]}", "salvaged", 1, {}),
        ("absolute", '{"box": [1, 2, 3, 0./* x */5], a: 1}', "malformed", 0, {"unreadable item": 1}),
        ("absolute", '[{"box": [1, 2, 3, 4], "label": "dog"}, {"box": [5, 6, 7, 8]}]', "salvaged", 1, {"no label": 1}),
        ("absolute", '{} [{"box": [1, 2, 3, 4]}] []', "ok", 1, {}),
        ("absolute", "{'box': [1, 2, 3, 4], /* the {dog} */ // x\n 'label': 'dog'}", "salvaged", 1, {}),
        ("absolute", "{'box': [1, 2, 3, 4], 'label': '/* dog'}", "salvaged", 1, {}),
        ("absolute", '{"box": [1, 2, 3, 4],} "dog', "truncated", 1, {}),
        ("absolute", '{"box": [1, 2, 3, 4],} "do\\"g"', "salvaged", 1, {}),
        ("internvl", '<ref>the "bbox": sign</ref><box>[[1, 2, 3, 4]]</box>', "ok", 1, {}),
        ("florence-2", '"<loc_1><loc_2><loc_3><loc_4>', "ok", 1, {}),
    ],
)
def test_rule(family, text, status, boxes, broken):
    got = read(text, family, queries=())
    assert (got.status, len(got.detections), dict(got.broken)) == (status, boxes, broken)


@pytest.mark.parametrize("located", [False, True])
def test_an_escaped_quote_in_a_label_escapes_no_json(located):
    text = '[{"bbox_2d": [1, 2, 3, 4], "label": "sign {\\"A, B\\""}, {"bbox_2d": [4'
    assert FAMILIES["absolute"].grammar.read(text, located).labels == ['sign {"A, B"']


def test_only_so_many_objects_are_mended():
    got = read("{'dog': [1, 2, 3, 4], 'cat': [5, 6, 7, 8]} " * 10_050)
    assert (len(got.detections), got.broken) == (20_000, {"unreadable item": 50})


@pytest.mark.parametrize("depth", [300, 480, 600, 950])
def test_nesting_without_a_box(depth):
    assert read("[" * depth + '"x"' + "]" * depth).status == "malformed"


@pytest.mark.parametrize(
    "text",
    ['<point x = "50" y = "25">dog</point>', "<point x='50'  y='25' alt='dog'/>", '<point x=50 y=25 alt="dog">',
     '<points x1=" 50" y1 = " 25" alt = "dog">dog</points>'],
)  # fmt: skip
def test_attributes_may_stand_apart(text):
    got = read(text, "molmo")
    assert got.points.xy.tolist() == [[320, 120]]
    assert got.points.labels.tolist() == ["dog"]


def scored(family, pieces):
    """The scores where the pieces marked with `!` are half sure and all others hardly."""
    tokens = tuple(Token(text=p.rstrip("!"), logprob=np.log(0.5) if p.endswith("!") else -9) for p in pieces)
    request = Request("", "", (), 640, 480, ("dog", "cat"), (), Sampling())
    text = "".join(token.text for token in tokens)
    return FAMILIES[family].parse(Completion(text=text, tokens=tokens), request).detections.scores


@pytest.mark.parametrize(
    ("family", "pieces"),
    [
        ("absolute", ["{'box': [", "1, 2!", ", 3, 4!", "], 'label': '", "dog!", "',}"]),
        ("absolute", ["{“box”: [", "1, 2, 3, 4!", "], “label”: “", "dog!", "”}"]),
        ("absolute", ['[{"box": ["', '1", "2", "3", "4!', '"', '], "label": "', "dog!", '"}]']),
        ("absolute", ['{"', "dog!", '": [[', "1, 2, 3, 4!", "]], x}"]),
        ("qwen-vl", ["<ref>", "dog!", "</ref><box>(", "1,2),(3,4!", ")</box>"]),
        ("shikra", ["dog!", " [", "0.1,0.2,0.3,0.4!", "]"]),
    ],
)
def test_where_an_item_stands(family, pieces):
    scores = scored(family, pieces)
    assert len(scores) == 1
    assert scores[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("rule", "size", "fed", "tokens"),
    [
        (AsIs(), (5, 6), (5, 6), None),
        (Square(side=336, tokens=576), (5, 6), (336, 336), 576),
        (Tiles(tile=448, most=12, tokens=256, thumbnail=False), (800, 400), (896, 448), 512),
        (Tiles(tile=448, most=12, tokens=256), (800, 400), (896, 448), 768),
        (Tiles(tile=448, most=12, tokens=256), (4000, 2000), (1792, 896), 9 * 256),
        (Tiles(tile=448, most=12, tokens=256), (40, 40), (448, 448), 256),
        (PaddedTiles(tile=384, most=9, side=14), (384, 384), (384, 384), 14 * 15 + 1 + 14 * 15),
        (PaddedTiles(tile=384, most=9, side=14), (700, 300), (768, 384), 14 * 15 + 1 + 14 * 29),
        (OverlappingTiles(tile=378, margin=56, most=12, tokens=729), (100, 100), (378, 378), 729),
        (OverlappingTiles(tile=378, margin=56, most=12, tokens=729), (1000, 800), (1176, 910), 729),
        (OverlappingTiles(tile=378, margin=56, most=12, tokens=729), (4000, 3000), (1176, 644), 729),
        (OverlappingTiles(tile=378, margin=56, most=12, tokens=729), (700, 700), (910, 910), 729),
        (OverlappingTiles(tile=378, margin=56, most=12, tokens=729), (1500, 420), (1708, 644), 729),
        (OverlappingTiles(tile=378, margin=56, most=12, tokens=729), (420, 1500), (644, 1708), 729),
        (SmartResize(factor=28), (280, 560), (280, 560), 200),
        (SmartResize(factor=28), (5600, 28), (5600, 28), 200),
        (SmartResize(factor=28), (14, 28), (56, 84), 6),
        (SmartResize(factor=28, min_pixels=1), (3, 9), (28, 28), 1),
        (SmartResize(factor=28, min_pixels=1, enlarge=True), (3, 9), (28, 84), 3),
        (SmartResize(factor=28, max_pixels=100 * 28 * 28), (560, 560), (280, 280), 100),
    ],
)
def test_fed_sizes(rule, size, fed, tokens):
    assert rule.fed_size(*size, None) == fed
    assert rule.image_tokens(*fed) == tokens


def test_an_image_too_long_is_refused():
    with pytest.raises(ValueError, match="200 times"):
        SmartResize(factor=28).fed_size(5601, 28, None)
