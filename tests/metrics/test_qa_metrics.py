"""Which option an answer means and which answer is right, against VLMEvalKit's rules written down a second time.

open-compass/VLMEvalKit@e8e78f0: `vlmeval/utils/matching_util.py`, `vlmeval/dataset/utils/vqa_eval.py`.
"""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vr1bench.families.answers import NO_OPTION, read_answer
from vr1bench.metrics.qa import exact, infer_option, options, relaxed, right, shares, stopped
from vr1bench.types import Completion, Gold, Pair, Sample

ANIMALS = ("cat", "dog", "a horse", "cow shed")
ANSWERS = [
    # the letter alone, however it is dressed
    ("B", "B"), ("B.", "B"), ("(B)", "B"), ("[B]", "B"), ("{B}", "B"), ("**B**", "B"), ("#B#", "B"), ("B:", "B"),
    ("B;", "B"), ("B!", "B"), ("B,", "B"), (" B \n", "B"), ("B) dog", "B"), ("B. dog", "B"), ("B: it barks", "B"),
    # a letter that no separator frees is none
    ("B?", None), ("'B'", None), ("B/C", None), ("b", None), ("Option-B", None),
    # in a sentence it must stand among the last four words
    ("The answer is B", "B"), ("The answer is B.", "B"), ("I would choose (B)", "B"), ("It must be B I think", "B"),
    ("B it is, as one sees", None), ("B because the animal is barking loudly", None),
    ("A dog barks", "A"),  # three words: the article counts as the letter
    ("A is what I see", None), ("There is A dog in it", "A"),
    # ... or follow "answer is", where case and word's end play no part
    ("The correct answer is **C**. Here is why, in a few more words", "C"),
    ("the answer is c, for many reasons that follow here", "C"), ("The answer is clearly seen in this picture", "C"),
    ("My answer is E, and here is a long reason for that", None),
    # several letters say nothing; then the words decide
    ("A or B", None), ("A and B are both wrong", None), ("Not A but B, the dog", "B"), ("A. cat B. dog", None),
    # no letter: the one option that the text holds
    ("dog", "B"), ("Dog.", "B"), ("It is a DOG", "B"), ("hotdogs", "B"), ("a cow shed", "D"), ("cow", None),
    ("the cat and the dog", None), ("a horse", "C"), ("horse", None),
    ("dog" + " " * 50, None), ("a dog" + "!" * 34, "B"),  # longer than twice all options together: not read
    # nothing, none of these, refusals
    ("", None), ("...", None), ("Z", None), ("Z dog", None), ("None of the above: a dog", "B"),
    ("I'm sorry, but without the image provided I say B", None), ("Cannot determine the answer, maybe B", None),
    ("I can't process this file. B", None), ("Sorry, I can't help with images of people yet. B", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "letter"), ANSWERS)
def test_an_option_from_an_answer(text, letter):
    assert reference(text, ANIMALS) == letter  # the table is of the rules, not of this code
    assert infer_option(text, ANIMALS) == letter


def reference(text, choices):
    """`can_infer`, step by step, with its False and its Z as None."""
    for refusal in (
        "Sorry, I can't help with images of people yet.", "I can't process this file.",
        "I'm sorry, but without the image provided", "Cannot determine the answer",
    ):  # fmt: skip
        if refusal in text:
            return None
    offered = dict(zip("ABCDEFGHIJ", choices, strict=False))
    offered = {letter: choice for letter, choice in offered.items() if choice != ""}
    spaced = text
    for mark in ".()[],:;!*#{}":
        spaced = spaced.replace(mark, " ")
    words = spaced.split()
    count = sum(1 for letter in offered if letter in words)
    if count == 1:
        for letter in offered:
            if letter in words and words.index(letter) > len(words) - 5:
                return letter
    if count == 0 and words.count("Z") > 0:
        return None
    verbose = re.search(r"(?i)answer\s+is\s+\**([ABCD])", text)
    if verbose and verbose.group(1).upper() in offered:
        return verbose.group(1).upper()
    if len(text) > 2 * len("".join(offered.values())):
        return None
    held = {letter for letter, choice in offered.items() if text.lower().find(choice.lower()) >= 0}
    return held.pop() if len(held) == 1 else None


pieces = st.sampled_from(
    ["A", "B", "C", "D", "E", "Z", "a", "(B)", "C.", "**D**", "the answer is", "answer is ", "dog", "Cat", "a horse",
     " ", "\n", ",", "cow", "is", "of", "what", "one sees", "é"]
)  # fmt: skip


@given(
    st.lists(pieces, max_size=9).map(" ".join) | st.lists(pieces, max_size=9).map("".join) | st.text(max_size=30),
    st.lists(st.sampled_from(["cat", "dog", "a horse", "A", "b", "", "10"]), min_size=1, max_size=5),
)
@example("A dog and a cat", ["", "dog"])
def test_any_answer_is_read_by_the_rules(text, choices):
    assert infer_option(text, choices) == reference(text, choices)


def test_a_blank_option_keeps_its_letter_and_is_not_offered():
    assert options(["cat", "", "dog"]) == {"A": "cat", "C": "dog"}
    assert infer_option("B", ["cat", "", "dog"]) is None
    assert infer_option("C", ["cat", "", "dog"]) == "C"


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("14", "14", True), ("14.0", "14", True), (" 14 ", "14", True), ("1.4e1", "14", True),
        ("105", "100", True), ("95", "100", True), ("105.01", "100", False), ("94.99", "100", False),  # 5 % counts
        ("1.05", "1", False),  # and floats are what they are: 1.05 - 1 is more than .05
        ("-14", "14", False), ("-14.5", "-14", True),
        ("5%", "5%", True), ("5.2%", "5%", True), ("5.3%", "5%", False), ("0.05", "5%", True),
        ("5", "5%", False), ("5%", "5", False), ("5 %", "5%", True), ("%", "%", True),
        ("1990", "2010", True), ("1909", "2010", False), ("in 2010", "2010", False),  # years are numbers
        ("0", "0", True), ("0.0", "0", False), ("0.001", "0", False), ("0%", "0%", True),  # a gold 0 is a text
        ("1,000", "1000", False), ("1000", "1,000", False), ("$5", "5", False),
        ("Yes", "yes", True), ("Yes.", "yes", False), ("yes ", "yes", True), ("yes", "yes ", False), ("", "yes", False),
        ("nan", "nan", False), ("inf", "5", False), ("five", "5", False), ("14.", "14", True),
    ],
)  # fmt: skip
def test_relaxed_accuracy(answer, gold, expected):
    assert relaxed(answer, gold) is expected


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_text_breaks_the_comparison(answer, gold):
    assert isinstance(relaxed(answer, gold), bool)
    assert exact(answer, gold) is (answer.strip().lower() == gold.strip().lower())


def pair(text, answers, choices=(), tags=(), finish="stop"):
    sample = Sample("1", (Path("x.png"),), 9, 9, (), Gold.of([], []), "?", tags, choices, answers)
    return Pair(sample, read_answer(Completion(text=text, finish=finish), choices))


def test_right_by_option_by_any_text_or_not_at_all():
    pairs = [
        pair("The answer is B", ("B",), ANIMALS), pair("dog", ("A",), ANIMALS), pair("fish", ("A",), ANIMALS),
        pair("<think>A</think> Yes", ("no", "yes")), pair("98", ("100",)), pair("", ("yes",)),
    ]  # fmt: skip
    assert right(pairs).tolist() == [True, False, False, True, False, False]
    assert right(pairs, within=True).tolist() == [True, False, False, True, True, False]
    assert right([]).shape == (0,)
    assert right([Pair(pairs[0].sample, None)]).tolist() == [False]


def test_full_stops_that_make_an_answer_wrong_are_counted():
    pairs = [pair("Yes.", ("yes",)), pair("No.", ("yes",)), pair("14.", ("14",)), pair("B.", ("B",), ANIMALS)]
    assert stopped(pairs) == 2
    assert stopped(pairs, within=True) == 1  # 14. is a number


def test_shares_by_tag():
    assert shares([(("b", "a"), True), (("a",), False), ((), True)]) == {"a": 0.5, "b": 1.0}
    assert shares([]) == {}


@pytest.mark.parametrize(
    ("text", "finish", "status", "answer", "choices"),
    [
        ("B", "stop", "ok", "B", ANIMALS),
        ("<think>A or B, hm</think>\n<answer>C</answer>", "stop", "ok", "C", ANIMALS),
        ("<think>the answer is A", "stop", "truncated", None, ANIMALS),
        ("<think>the answer is A", "length", "truncated", None, ANIMALS),
        ("B, for the animal", "length", "truncated", "B", ANIMALS),
        ("a fish", "stop", "malformed", None, ANIMALS),
        ("I'm sorry, I can't help with that.", "stop", "refused", None, ANIMALS),
        ("Cannot determine the answer", "stop", "refused", None, ANIMALS),
        ("I can't see the image, but the answer is B", "stop", "ok", "B", ANIMALS),
        ("", "stop", "empty", None, ANIMALS),
        (" \n", "length", "empty", None, ()),
        ("<think>hm</think>", "stop", "empty", None, ()),
        ("yes", "stop", "ok", "yes", ()),
        ("[[1, 2, 3, 4]]", "stop", "ok", "[[1, 2, 3, 4]]", ()),
        ("I'm sorry, I can't help with that.", "stop", "refused", "I'm sorry, I can't help with that.", ()),
    ],
)
def test_what_kind_of_answer_it_is(text, finish, status, answer, choices):
    read = read_answer(Completion(text=text, finish=finish), choices)
    assert (read.status, read.answer, len(read.detections)) == (status, answer, 0)
    named = bool(choices) and answer is None and text.strip() != "" and "<think>" not in text
    assert read.broken == ({NO_OPTION: 1} if named else {})


@given(st.text(max_size=60), st.sampled_from(["stop", "length"]), st.booleans())
def test_no_answer_raises(text, finish, of_options):
    read = read_answer(Completion(text=text, finish=finish), ANIMALS if of_options else ())
    assert read.text == text
