"""`parse` is total, linear in the length of the text, and invents nothing: hostile and mutated answers.

The slow tests mutate a million answers (`-m slow`). The branches that a smaller number of them reaches:

    coverage run --branch --include='vr1bench/families/grammars/*,vr1bench/families/reading.py' \
        tests/families/test_fuzz.py 30000 && coverage report
"""

import json
import random
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from vr1bench.families import DATA, FAMILIES
from vr1bench.families.grammars.numbers import NUMBER
from vr1bench.types import Completion, Detections, Request, Sampling, Token

NAMES = sorted(FAMILIES)
SIZE = (640, 480)
GOLD = Detections.of([[10, 20, 300, 400], [30.5, 40, 50, 60], [0, 0, 640, 480]], ["dog", "cat", "hot dog"])
MANY = (*(f"thing {i}" for i in range(78)), "dog", "cat")
MEGABYTE = 1_000_000


def written(name, count):
    """A family's own answer of `count` boxes."""
    return FAMILIES[name].format(GOLD.take(np.arange(count)), SIZE, FAMILIES[name].fed_size(*SIZE, None))


def parsed(name, text, queries=("dog", "cat"), tokens=()):
    request = Request("", "", (), *SIZE, queries, (), Sampling())
    return FAMILIES[name].parse(Completion(text=text, tokens=tokens or None), request)


def halves(text):
    """The text as tokens of different probability."""
    cuts = [0, len(text) // 3, len(text) // 2, len(text)]
    return tuple(Token(text=text[i:j], logprob=-0.1 * i) for i, j in pairwise(cuts))


# Linear time: units that are repeated, and texts that were once quadratic, as (head, unit, tail).

PLAIN = (
    "[", "1", "{", "}", "]", "(", "<", ">", '"', "'", " ", "\n", "\t", ",", ";", ":", "-", ".", "\\", "_", "&", "/",
    "a", "猫", "e", "1e", "1,", "1 ", "1.", ", ", "[[", "{}", "{},", '{"', '{"\\"', '"\\', '"":', '"a":', "{'a':1}",
    "{a:1},", '{"bbox_2d": [', '{"a":{', "[1,2,3,", "[1,2,3,4", "[1,2,3,4,", "[1,2,3,4]", "dog [1,2,3,4;",
    "1 2 3 4 5 ", "<loc0256>", "<loc_5>", "<ref>", "<box>", "<bbox>", "<bbox>1 2 3 4", "<think>", "</think>",
    "<answer>", "</answer>", "```", "```json\n", "```json\n[", "/*", "//", "*/", "// ", "<a", "</", "<points",
    '<points coords="1 1 ', "x1=1 ", "<point x=1 y=1>", "no ", "There is no ", "nan", "Infinity", " and ", "&amp;",
    "dog-", "{'bbox': [1, 2, 3, 4]} ", '{"x1": 1e1, "y1": 1, "x2": 20, "y2": 3}, ',
    '{"bbox": ["1", "2", "3", "4"], "label": "\\u0064og"}, ',
)  # fmt: skip
FRAMED = (
    ("[", '"\\', ""), ("[1, a ", '"\\', "\\"), ("{", "/*", "}"), ("{", "//", '""}'), ("<point x=", " ", ">"),
    ("<point ", "x= ", ">"), ('<points coords="', "1 ", '">'), ('{"', "a", '": 1}'), ("```", " ", "```"),
    ("[", '["1", "2", "3", "4"], ', "[]]"), ("[", '{"x1": 1e1, "y1": 1, "x2": 20, "y2": 3}, ', "{}]"),
    ("[", '{"bbox": [1, 2, 3, 4], "label": "\\u0064og"}, ', "{}]"), ("<ref>", "a", "</ref><box>(1,2),(3,4)</box>"),
    ("{'dog': [", "[1, 2, 3, 4], ", "]}"), ('{"dog": [', "[1, 2, 3, 4], ", "[1, 2, 3, 4]]}"),
)  # fmt: skip
ISSUE = ("[", '{"bbox_2d": [', "7")


def hostile(name):
    """Texts of any length, as functions of it."""
    own = written(name, 2)
    pieces = [own, own[:-1], own[1:], own + "\n", *(own[i : i + n] for i in range(0, len(own), 9) for n in (5, 19))]
    framed = [("", unit, "") for unit in dict.fromkeys([*PLAIN, *pieces])] + list(FRAMED)
    for head, unit, tail in framed:
        yield (
            unit if not head + tail else f"{head}|{unit}|{tail}",
            lambda n, h=head, u=unit, t=tail: h + u * (n // len(u)) + t,
        )


def seconds(name, text, *, tokens, queries):
    """CPU seconds, the better of two where it is long enough to matter."""
    best = float("inf")
    cut = tuple(Token(text=text[i : i + 4], logprob=-0.5) for i in range(0, len(text), 4)) if tokens else ()
    for _ in range(2):
        start = process_time()
        parsed(name, text, queries, cut)
        best = min(best, process_time() - start)
        if best < 0.05:
            break
    return best


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_megabyte_of_brackets_boxes_begun_or_digits_takes_less_than_a_second(name):
    for unit in ISSUE:
        for queries in ((), MANY):
            took = seconds(name, unit * (MEGABYTE // len(unit)), tokens=False, queries=queries)
            assert took < 1, unit


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_four_times_the_text_takes_no_more_than_eight_times_as_long(name):
    for tokens, queries in ((False, ()), (False, MANY), (True, ("dog",))):
        for unit, text in hostile(name):
            long = seconds(name, text(80_000), tokens=tokens, queries=queries)
            if long > 0.05:
                assert long < 8 * seconds(name, text(20_000), tokens=tokens, queries=queries) + 0.02, (unit, tokens)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_megabyte_of_anything_takes_about_a_second(name):
    for unit, text in hostile(name):
        took = seconds(name, text(MEGABYTE), tokens=False, queries=())
        assert took < 2.5, unit  # a second on a quiet machine


@pytest.mark.parametrize("gap", ["", " "])
@pytest.mark.parametrize(
    ("name", "head", "unit", "tail"),
    [
        ("qwen-vl", "<ref>%s</ref>", "<box>(1,2),(3,4)</box>", ""),
        ("qwen2.5-vl", '{"%s": [', "[1, 2, 3, 4], ", "[1, 2, 3, 4]]}"),
        ("qwen2.5-vl", '[{"bbox": [1, 2, 3, 4], "label": "%s"}', ', {"bbox": [1, 2, 3, 4], "label": "b"}', "]"),
        ("molmo", '<points alt="%s" ', "", 'x1="5" y1="5">'),
    ],
)
def test_one_endless_name_among_many_boxes_is_kept_short(name, head, unit, tail, gap):
    text = head % (gap + "a" * 300_000) + unit * 10_000 + tail
    got = parsed(name, text, queries=("dog", "cat"), tokens=(Token(text=text, logprob=-1.0),))
    labels = got.points.labels if got.points else got.detections.labels
    assert len(labels) >= (len(unit) > 0) * 10_000
    assert {len(label) for label in labels.tolist()} <= {1, 299, 300}
    assert labels.nbytes < 20_000_000


@pytest.mark.parametrize("value", ['{"c": [1, 2, 3, 4], "a": %s}', "[[1, 2, 3, 4], %s]"])
def test_nesting_beyond_pythons_own_bound_is_counted(value):
    head, tail = value.split("%s")
    for depth in (100, 600, 5000):
        got = parsed("qwen2.5-vl", head * depth + "[1, 2, 3, 4]" + tail * depth)
        assert got.status in ("salvaged", "ok")


# Mutated answers.

STRANGE = (
    "[", "]", "{", "}", "(", ")", "<", ">", '"', "'", ",", ";", ":", "\\", "\n", " ", "  ", "&", "/", "|", "```",
    "```json\n", "<think>", "</think>", "<answer>", "</answer>", "</s>", "<ref>", "</ref>", "<box>", "</box>",
    "<bbox>", "</bbox>", "<loc0100>", "<loc_7>", "NaN", "nan", "inf", "-Infinity", "1e999", "-1e308", "9" * 400, "0",
    "-5", "0.5", "1e3", "007", '"1_0"', "٣", "None", "null", "true", "[]", "{}", "猫", "\u2028", "\ud800", "\x00", "“",
    "”", "’", "é", "// x\n", "/* x */", ",]", ",}", "and", " and ", "no ", "I cannot help", "sorry", "There is no dog",
    '"label": "dog"', "bbox", "label:", '"bbox_2d": ', '{"bbox": [1, 2, 3, 4]}',
    '{"x1": 1, "y1": 2, "x2": 3, "y2": 4, "name": 7}', "[1, 2, 3, 4]", "[5,6,7,8;",
    '{"dog": [[1, 2, 3, 4], [5, 6, 7, 8]]}', '{"objects": []}', '{"point_2d": [3, 4], "label": "dog"}',
    "'box': (1, 2, 3, 4)", '"<bbox>1 2 3 4</bbox>"', "{'box': [1, 2, 3, 4], 'label': {'a': 1}}",
    '{"a": {"b": {"c": {"d": {"e": [1, 2, 3, 4]}}}}}', '{"bbox": [1, 2, 3]}',
    '{"label": ["dog"], "box": [1, 2, 3, true]}', 'alt="a" ', "x3=5 ", "y3='7'", 'coords="1 2 3 4;5"', "[[[[[[1]]]]]]",
    "<points ", "</points>", "</delimiter_of_multi_objects/>", "<patch_index_0005>", "<patch_index_9999999>",
)  # fmt: skip
PIECE = re.compile(r"\d+|\s+|\w+|[^\w\s]")
WORD = re.compile(NUMBER)


def corpus():
    """(family, pieces) of what every family writes and of every answer in answers/."""
    texts = [(name, written(name, count)) for name in NAMES for count in (0, 1, 2, 3)]
    for path in sorted((Path(__file__).parent / "answers").glob("*.toml")):
        texts += [(path.stem, case["text"]) for case in tomllib.loads(path.read_text("utf-8"))["answer"]]
    return [(name, PIECE.findall(text[:1500])) for name, text in texts]


def mutated(rng, pieces, other):
    """The pieces with one to four slips."""
    pieces = pieces[:]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        count = len(pieces)
        i, j = rng.randrange(count + 1), rng.randrange(count + 1)
        slip = rng.randrange(9)
        if slip == 0:
            del pieces[i : i + rng.choice((1, 1, 1, 2, 5))]
        elif slip == 1:
            pieces[j:j] = pieces[i : i + rng.choice((1, 1, 4, 12))]
        elif slip == 2 and i < count and j < count:
            pieces[i], pieces[j] = pieces[j], pieces[i]
        elif slip == 3:
            pieces[i : i + 1] = [rng.choice(STRANGE)]
        elif slip == 4:
            pieces[i:i] = [rng.choice(STRANGE)]
        elif slip == 5:
            del pieces[i:]
        elif slip == 6:
            pieces[i:] = other[rng.randrange(len(other) + 1) :]
        elif slip == 7 and i < count:
            pieces[i] = pieces[i][: rng.randrange(len(pieces[i]) + 1)]
        elif slip == 8:
            pieces[i:i] = (rng.choice(("```json\n", "<think>", "<answer>", " ", "[", "{")),)
            pieces.append(rng.choice(("```", "</think>", "</answer>", " ", "]", "}")))
    return "".join(pieces)


def check(name, text, *, queries=("dog", "cat", "hot dog")):
    """What holds for any text."""
    plain, sure = parsed(name, text, queries), parsed(name, text, queries, halves(text) if text else ())
    boxes, labels = plain.detections.boxes, plain.detections.labels.tolist()
    count = len(boxes)
    assert len(labels) == count == len(plain.duplicate) == len(plain.unknown) == len(plain.detections.scores)
    assert sure.status == plain.status
    assert sure.detections.labels.tolist() == labels
    assert sure.detections.boxes.tolist() == boxes.tolist()
    assert dict(sure.broken) == dict(plain.broken)
    for found in (plain.detections.scores, sure.detections.scores):
        assert ((found >= 0) & (found <= 1)).all()
    if count:
        assert boxes.shape == (count, 4)
        assert np.isfinite(boxes).all()
        assert (boxes >= 0).all()
        assert (boxes <= np.array(SIZE * 2)).all()
        assert (boxes[:, :2] <= boxes[:, 2:]).all()
        if not getattr(FAMILIES[name].grammar, "columns", 0):  # a cell is no number of the text
            there = {abs(float(number)) for number in WORD.findall(text)}
            assert all(abs(number) in there for box in plain.written for number in box)
    if plain.points is not None:
        assert np.isfinite(plain.points.xy).all()
        assert ((plain.points.xy >= 0) & (plain.points.xy <= np.array(SIZE))).all()
        assert len(plain.points.labels) == len(plain.points.xy) == len(plain.points.unknown)


def fuzz(count, seed=0):
    rng = random.Random(seed)  # noqa: S311  no secret
    answers = corpus()
    for _ in range(count):
        name, pieces = rng.choice(answers)
        text = mutated(rng, pieces, rng.choice(answers)[1])
        reader = name if rng.random() < 0.8 else rng.choice(NAMES)
        try:
            check(reader, text, queries=rng.choice((("dog", "cat", "hot dog"), ("dog",), ())))
        except Exception as error:
            raise AssertionError(f"{reader} on {text!r}: {error!r}") from error


def test_a_few_thousand_mutated_answers():
    fuzz(4000)


def test_every_cut_of_an_answer_makes_no_number_up():
    for name in NAMES:
        text = written(name, 2)
        for end in range(len(text)):
            check(name, text[:end])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_million_mutated_answers(seed):
    fuzz(100_000, seed)


@pytest.mark.slow
def test_mutated_answers_reach_the_branches(tmp_path):
    """See the command above; `coverage` watches the smaller run in a process of its own."""
    watched = [*(DATA.parent / "grammars").glob("*.py"), DATA.parent / "reading.py"]
    command = [sys.executable, "-m", "coverage", "run", "--rcfile=", "--branch", f"--data-file={tmp_path / 'data'}"]
    command += [f"--include={','.join(map(str, watched))}", __file__, "30000"]
    subprocess.run(command, check=True)
    report = [sys.executable, "-m", "coverage", "json", "--rcfile=", f"--data-file={tmp_path / 'data'}"]
    subprocess.run([*report, "-o", str(tmp_path / "report.json")], check=True)
    totals = json.loads((tmp_path / "report.json").read_text())["totals"]
    assert totals["covered_branches"] >= 0.95 * totals["num_branches"]


if __name__ == "__main__":
    fuzz(int(sys.argv[1]))
