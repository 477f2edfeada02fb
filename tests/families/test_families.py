"""Families read what was published, and read back what they write."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vr1bench
from vr1bench.boxes import iou
from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.types import Completion, Detections, PixelBudget, Request, Sampling, Status, Token

NAMES = sorted(FAMILIES)
POINTING = ("molmo", "molmo2")
UNNAMED = ("qwen3_rec_nolabel", "minigpt_v2", "glm45v", "doubao", "json_xyminmax")
"""Answers of the battery that do not say which box is whose: the labels that it lists cannot be read from them."""
SIZES = st.tuples(st.integers(40, 900), st.integers(40, 900))


def read(text, family="qwen2.5-vl", size=(640, 480), input_size=(644, 476), queries=("dog", "cat")):
    return vr1bench.parse(text, family=family, size=size, input_size=input_size, queries=queries)


def cases(shared_data: Path, part: str) -> list[dict]:
    return [c for c in json.loads((shared_data / "transcripts.json").read_text())[part] if c["family"] in FAMILIES]


def test_battery(shared_data):
    read_right = []
    for case in cases(shared_data, "battery"):
        got = read(case["text"], case["family"], tuple(case["image_wh"]), tuple(case["input_wh"]))
        gold = np.array([e["box_xyxy"] for e in case["expect"]], dtype=float).reshape(-1, 4)
        assert len(got.detections) == len(gold), case["id"]
        assert (np.diag(iou(got.detections.boxes, gold)) >= 0.93).all(), case["id"]
        if case["id"] not in UNNAMED:
            assert got.detections.labels.tolist() == [e["label"] for e in case["expect"]], case["id"]
        read_right.append(case["id"])
    assert len(read_right) == 24


def test_published_completions(shared_data):
    found = cases(shared_data, "real")
    assert found
    for case in found:
        got = read(case["text"], case["family"], (1000, 1000), (1000, 1000), case["queries"])
        expected = case["expect_input_px"]
        assert got.detections.boxes.tolist() == [box for _, box in expected], case["id"]
        assert got.detections.labels.tolist() == [label for label, _ in expected], case["id"]
        assert got.status is Status.OK
        assert not got.unknown.any()


def test_golden_coordinates(shared_data):
    data = json.loads((shared_data / "transcripts.json").read_text())
    (row,) = data["coordinates"]
    height, width = row["image_hw"]
    gold = Detections.of([row["box_xyxy"]], ["x"])
    for names, expected in (("qwen2.5-vl", row["qwen2.5-vl"]), ("qwen2-vl qwen3-vl", row["qwen2-vl / qwen3-vl"])):
        for name in names.split():
            family = FAMILIES[name]
            text = family.format(gold, (width, height), family.fed_size(width, height, None))
            assert [int(n) for n in re.findall(r"\d+(?=[,)\]])", text)] == expected, name
    for row in data["smart_resize"]:
        height, width = row["hw"]
        fed = FAMILIES["qwen2.5-vl"].fed_size(width, height, PixelBudget(max_pixels=row["max_pixels"]))
        assert [fed[1], fed[0]] == row["input_hw"]


LABELS = (
    "dog", "cat", "no-mask", "o ", "Q", "q", "R&", "R", "bat (animal)", 'say "x", y', "bbox sign", "π/2", "<7>", "it's",
    "[a, b]", "a ; b", "x_1", "猫", "</answer>", "a: b", "{c}", "back\\slash", "hot dog",
)  # fmt: skip
CORNERS = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), size=SIZES)
def test_parse_reads_what_format_writes(name, data, size):
    family = FAMILIES[name]
    shares = np.array(data.draw(st.lists(CORNERS, max_size=6)), dtype=float).reshape(-1, 4)
    boxes = np.concatenate([np.minimum(shares[:, :2], shares[:, 2:]), np.maximum(shares[:, :2], shares[:, 2:])], axis=1)
    boxes *= np.array([*size, *size])
    queries = LABELS if family.labelled else ("dog",)
    labels = data.draw(st.lists(st.sampled_from(queries), min_size=len(boxes), max_size=len(boxes)))
    fed = family.fed_size(*size, None)
    text = family.format(Detections.of(boxes, labels), size, fed)
    got = vr1bench.parse(text, family=name, size=size, input_size=fed, queries=queries)
    assert got.status is (Status.OK if len(boxes) else Status.NONE)
    at = family.frame.placing(size, fed)
    step = np.array([at.scale_x, at.scale_y]) * at.step + 1e-9
    if name in POINTING:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        found, wanted = (got.points.xy, got.points.labels) if got.points else (np.empty((0, 2)), np.empty(0)), centres
        assert (np.abs(found[0] - wanted) <= step).all()
        assert found[1].tolist() == labels
        return
    assert got.detections.labels.tolist() == labels
    assert (np.abs(got.detections.boxes - boxes) <= np.tile(step, 2)).all()


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text() | st.text(alphabet='[]{}"`,:.0123456789 bboxlab_2d<>|()think/aswer\n', max_size=80))
def test_parse_never_raises(name, text):
    got = read(text, name)
    count = len(got.detections)
    assert count == len(got.duplicate) == len(got.unknown) == len(got.detections.labels)
    assert np.isfinite(got.detections.boxes).all()
    assert (got.detections.boxes >= 0).all()
    assert (got.detections.boxes <= np.array([640, 480, 640, 480])).all()


@pytest.mark.parametrize(
    ("text", "status", "boxes", "broken"),
    [
        ("", Status.EMPTY, 0, {}),
        (" \n", Status.EMPTY, 0, {}),
        ("None", Status.NONE, 0, {}),
        ("null", Status.NONE, 0, {}),
        ("[]", Status.NONE, 0, {}),
        ("There are no dogs in the image.", Status.NONE, 0, {}),
        ("I'm sorry, I can't help with that.", Status.REFUSED, 0, {}),
        ("The answer is 5.", Status.MALFORMED, 0, {}),
        ("<think>a dog at [1, 2, 3, 4]", Status.TRUNCATED, 0, {}),
        ('<think>[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]</think>[]', Status.NONE, 0, {}),
        ("{'bbox_2d': [1, 2, 3, 4], 'label': 'dog',}", Status.SALVAGED, 1, {}),
        ('[{bbox_2d: [1, 2, 3, 4], label: "dog"}] // the only one', Status.SALVAGED, 1, {}),
        ('[{"bbox_2d": ["1", "2", "3", "4"], "label": "dog"}]', Status.OK, 1, {}),
        ("look: [1, 2, 30, 40]", Status.OK, 1, {}),
        ('[{"bbox_2d": [1, 2, NaN, 4], "label": "dog"}]', Status.MALFORMED, 0, {"non-finite": 1}),
        ('[{"bbox_2d": [10, 2, 3, 4], "label": "dog"}]', Status.MALFORMED, 0, {"inverted": 1}),
        ('[{"bbox_2d": [1, 2, 9999, 4], "label": "dog"}]', Status.OK, 1, {"clipped": 1}),
        ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}, {"bbox_2d": [5, 6', Status.TRUNCATED, 1, {}),
        ('[{"box": [1]}, {"box": [1, 2, 3, 4], "name": "cat"}]', Status.SALVAGED, 1, {"not four numbers": 1}),
        ('```\n[{"bbox": [1, 2, 3, 4]}]\n```\nand\n```json\n[{"bbox": [1, 2, 3, 5]}]\n```', Status.OK, 2, {}),
        ('{"bbox_2d": [[1, 2, 3, 4], [5, 6, 7, 8]], "label": "dog"}', Status.OK, 2, {}),
        ('{"bbox_2d": 5}', Status.MALFORMED, 0, {"not four numbers": 1}),
        ('[{"label": "dog"}]', Status.MALFORMED, 0, {}),
        ('{"objects": [{"bbox": [1, 2, 3, 4], "label": "dog"}], "count": 1}', Status.OK, 1, {}),
        ('{"dog": [[1, 2, 3, 4]], "cat": null}', Status.OK, 1, {}),
        ('[{"bbox": [1, 2, 3, 4], "label": "a } b"}, {"bbox": [1, 2', Status.TRUNCATED, 1, {}),
        ('{"a": {"b": {"c": {"d": {"bbox": [1, 2, 3, 4]}}}}}', Status.OK, 1, {}),
        ('[{"box": [true, 2, 3, 4]}, {"box": ["x", 2, 3, 4]}]', Status.MALFORMED, 0, {"not four numbers": 2}),
        ('[{"bbox": [1, 2, 3, 4], "label": "dog"}, {"name": "cat"}, 7]', Status.SALVAGED, 1, {"no box": 2}),
        ('[{"bbox": [1e999, 2, 3, 4]}]', Status.MALFORMED, 0, {"non-finite": 1}),
        ('{"dog": [1, 2, 3, 4]}', Status.OK, 1, {}),
        ("{'box': [1, 2, 3, 4]}, {???}", Status.SALVAGED, 1, {"unreadable item": 1}),
        ("{'box': [1, 2, 3, 4]}, {'box': [1]}", Status.SALVAGED, 1, {"not four numbers": 1}),
        ("{'box': [1, 2, 3, 4]}, {'label': 'cat'}", Status.SALVAGED, 1, {"no box": 1}),
        ("here [1, 2, 3, 4] and [1e, 2, 3, 4] [", Status.TRUNCATED, 1, {}),
        ("No dog.", Status.NONE, 0, {}),
        ("I cannot find any dog here.", Status.NONE, 0, {}),
        ("<think>hm</think>", Status.EMPTY, 0, {}),
        ("<think>hm</think><answer></answer>", Status.EMPTY, 0, {}),
        ("no " * 20_000, Status.NONE, 0, {}),
    ],
)  # fmt: skip
def test_status(text, status, boxes, broken):
    got = read(text)
    assert (got.status, len(got.detections), dict(got.broken)) == (status, boxes, broken)


def test_the_token_limit_shows_even_where_the_text_is_whole():
    request = Request("", "", (), 64, 64, ("dog",), (), Sampling())
    text = '[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]'
    got = FAMILIES["absolute"].parse(Completion(text=text, finish="length"), request)
    assert got.status is Status.TRUNCATED
    assert len(got.detections) == 1


def test_labels():
    rows = [("Q", False), ("q", False), ("No Mask", False), ("elephant", True), ("no-mask", False)]
    text = json.dumps([{"bbox_2d": [i, i, i + 9, i + 9], "label": label} for i, (label, _) in enumerate(rows)])
    got = read(text, queries=("Q", "q", "no-mask"))
    assert got.detections.labels.tolist() == ["Q", "q", "no-mask", "elephant", "no-mask"]
    assert got.unknown.tolist() == [unknown for _, unknown in rows]


def test_a_reply_without_labels_takes_the_only_query():
    got = read("[[1, 2, 3, 4]]", queries=("the dog",))
    assert got.detections.labels.tolist() == ["the dog"]
    assert not got.unknown.any()


def test_duplicates_are_flagged_and_kept():
    row = {"bbox_2d": [1, 2, 3, 4], "label": "dog"}
    got = read(json.dumps([row, {**row, "label": "cat"}, row, row]))
    assert got.duplicate.tolist() == [False, False, True, True]


def test_duplicates_go_by_the_name_that_was_meant():
    got = read('[{"bbox": [1, 2, 3, 4], "label": "dog"}, {"bbox": [1, 2, 3, 4], "label": "Dog."}]')
    assert got.duplicate.tolist() == [False, True]


def test_labels_may_be_digits():
    got = read('[{"bbox": [1, 2, 3, 4], "label": 7}, {"bbox": [1, 2, 3, 4], "label": ["8"]}]', queries=("7", "8"))
    assert got.detections.labels.tolist() == ["7", "8"]


@pytest.mark.parametrize(
    "text",
    [
        "dog(156,250),(469,750)cat(625,125),(875,417)",
        '[{"bbox_2d": [156, 250, 469, 750], "label": "dog"}, {"bbox_2d": [625, 125, 875, 417], "label": "cat"}]',
        '[{"box": [156, 250, 469, 750], "label": "dog"}, {"box": [625, 125, 875, 417], "label": "cat"}]',
    ],
)
def test_qwen2_vl_without_its_tokens_and_in_json(text):
    got = read(text, "qwen2-vl")
    assert got.detections.labels.tolist() == ["dog", "cat"]
    assert got.detections.boxes[0] == pytest.approx([99.84, 120, 300.16, 360])


@pytest.mark.parametrize(
    ("family", "answer", "scores"),
    [  # tokens apart by |, the log-probability of those that count behind each; the others have -9
        (
            "absolute",
            '[{"bbox_2d": [|1:-1|, |2:-2|, |3:-3|, |4:-4|], "label": "|do:-.5|g:-.25|"}, {"bbox_2d": [|10:-.1|, '
            '|20:-.1|, |30:-.1|, |40:-.1|], "label": "|cat:-5|"}]',
            [[-1, -2, -3, -4, -0.5, -0.25], [-0.1, -0.1, -0.1, -0.1, -5]],
        ),
        ("griffon", "dog:-.7|-[|0.:-.1|1:-.2|,|0.2:-.3|,|0.3:-.4|,|0.4:-.5|]", [[-0.7, -0.1, -0.2, -0.3, -0.4, -0.5]]),
        (
            "paligemma",
            "<loc0100>:-.1|<loc0200>:-.2|<loc0300>:-.3|<loc0400>:-.4| |cat:-2",
            [[-0.1, -0.2, -0.3, -0.4, -2.0]],
        ),
        (  # behind thinking, which counts nothing though it names a box
            "qwen3-vl",
            '<think>[5, 6, 7, 8]</think>|[{"label": "|dog:-1|", "bbox_2d": [|1, 2, 3, 4:-.5|]}]',
            [[-1.0, -0.5]],
        ),
    ],
)
def test_a_score_is_the_mean_probability_of_coordinates_and_label(family, answer, scores):
    pieces = [re.fullmatch(r"(.*?)(?::(-[.0-9]+))?", piece) for piece in answer.split("|")]
    tokens = tuple(Token(text=piece[1], logprob=float(piece[2] or -9)) for piece in pieces)
    request = Request("", "", (), 1000, 1000, ("dog", "cat"), (), Sampling())
    got = FAMILIES[family].parse(Completion(text="".join(piece[1] for piece in pieces), tokens=tokens), request)
    assert got.detections.scores == pytest.approx([np.mean(np.exp(logs)) for logs in scores])


def test_an_item_behind_the_last_token_has_no_score_to_lose():
    request = Request("", "", (), 64, 64, ("dog",), (), Sampling())
    text = '[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]'
    got = FAMILIES["absolute"].parse(Completion(text=text, tokens=(Token(text="[", logprob=-1.0),)), request)
    assert got.detections.scores.tolist() == [1.0]


def test_an_item_without_a_label_has_the_mean_of_its_box():
    request = Request("", "", (), 64, 64, ("dog",), (), Sampling())
    tokens = tuple(Token(text=text, logprob=log) for text, log in (("[[", -9.0), ("1, 2, ", -1.0), ("3, 4]", -2.0)))
    got = FAMILIES["absolute"].parse(Completion(text="[[1, 2, 3, 4]", tokens=tokens), request)
    assert len(got.detections) == 1
    assert 0 < got.detections.scores[0] < 1


def test_a_broken_item_of_a_bare_label_spoils_no_other():
    got = read("cat-[0.1,0.2,0.3,0.4]&dog-[0.1,0.2,0.3]&cat-[0.1,0.2,0.3,0.5]", "griffon")
    assert got.detections.labels.tolist() == ["cat", "cat"]
    assert (got.status, dict(got.broken)) == (Status.SALVAGED, {"not four numbers": 1})
    got = read("dog<loc_1><loc_2><loc_30>cat<loc_1><loc_2><loc_30><loc_40>", "florence-2")
    assert got.detections.labels.tolist() == ["cat"]
    assert dict(got.broken) == {"not four numbers": 1}
    assert read("dog-[[0.1,0.2,0.3,0.4],[0.1,0.2,0.3,0.5]]", "griffon").detections.labels.tolist() == ["dog", "dog"]
    assert read("dog&cat-[0.1,0.2,0.3,0.4]", "griffon").detections.labels.tolist() == ["cat"]


def test_a_polygon_is_no_box():
    got = read(
        "dog<poly><loc_1><loc_2><loc_30><loc_40><loc_50><loc_60></poly>cat<loc_1><loc_2><loc_30><loc_40>", "florence-2"
    )
    assert got.detections.labels.tolist() == ["cat"]
    assert dict(got.broken) == {"polygon": 1}


@pytest.mark.parametrize(
    ("text", "family", "unknown"),
    [
        ("There is no dog, but a cat [1, 2, 300, 400].", "ferret", True),
        ("There is no cat, but a dog [1, 2, 300, 400].", "ferret", False),
        ("The location is [1, 2, 300, 400].", "ferret", False),
        ("[1, 2, 300, 400]", "ferret", False),
        ("cat(1,2),(300,400)", "qwen2-vl", True),
        ("cat[[1, 2, 300, 400]]", "internvl", True),
        ("<ref>cat</ref><box>[[1, 2, 300, 400]]</box>", "internvl", True),
        ("It is at [[1, 2, 300, 400]]", "internvl", False),
    ],
)
def test_what_is_something_else_is_not_credited_to_the_only_query(text, family, unknown):
    assert read(text, family, queries=("dog",)).unknown.tolist() == [unknown]


def test_a_point_where_a_box_was_asked_is_said():
    got = read('[{"point_2d": [5, 5], "label": "dog"}]', "qwen3-vl")
    assert dict(got.broken) == {"point instead of box": 1}


def test_points_past_the_edge_are_clipped_and_counted():
    got = read('<point x="61.5" y="140.4" alt="dog">dog</point>', "molmo")
    assert got.points.xy.tolist() == [[pytest.approx(393.6), 480.0]]
    assert (got.status, dict(got.broken)) == (Status.OK, {"clipped": 1})


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("No problem! The dog is at the top left.", Status.MALFORMED),
        ("I can’t see any dog.", Status.NONE),
        ("The image doesn't contain any dogs.", Status.NONE),
        ("N/A", Status.NONE),
        ("Kein Hund gefunden", Status.NONE),
        ("犬はいません", Status.NONE),
        ("I’m sorry, I can’t help with that.", Status.REFUSED),
        ("I can't identify people in images.", Status.REFUSED),
        ("I do not see an image. Please provide one.", Status.REFUSED),
        ("抱歉，我无法回答", Status.REFUSED),
        ("```json\n[]\n```", Status.NONE),
    ],
)
def test_words_of_an_answer_without_boxes(text, status):
    assert read(text, "internvl").status is status


def test_an_answer_inside_of_the_thinking_counts_where_nothing_follows():
    text = '<think>hm <answer>[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]</answer></think>'
    assert len(read(text).detections) == 1


def test_a_box_is_found_however_deep():
    assert len(read('{"a": ' * 8 + '{"bbox": [1, 2, 3, 4]}' + "}" * 8).detections) == 1


def test_an_image_too_long_for_the_family_is_said():
    with pytest.raises(Vr1benchError, match="at most 200 times the shorter"):
        vr1bench.parse("[]", family="qwen2.5-vl", size=(10_000, 20))
    with pytest.raises(Vr1benchError, match="expected a positive"):
        vr1bench.parse("[]", family="qwen2.5-vl", size=(0, 20))
    assert vr1bench.parse(
        '[{"bbox": [1, 2, 3, 4], "label": "x"}]', family="absolute", size=(9, 9)
    ).unknown.tolist() == [False]
