"""What thinking says is there: sentences with their meaning, and the counts that come of them."""

import pytest
from answering import SIDE
from hypothesis import given
from hypothesis import strategies as st

from vr1bench.rewards.presence import Presence, decisions, presence, thinking
from vr1bench.types import Gold, Sample

NAMES = ("dog", "cat", "bird")


def read(words: str) -> str:
    """`dog cat no bird`: what a text decides, in words as short as can be."""
    return " ".join(name if there else f"no {name}" for name, there in sorted(decisions(words, NAMES).items()))


@pytest.mark.parametrize(
    ("words", "decided"),
    [
        ("I see a dog.", "dog"),
        ("There is no dog.", "no dog"),
        ("There are two dogs and no cats.", "no cat dog"),
        ("A dog and no cat, bird or anything else.", "no bird no cat dog"),
        ("There is no dog but a cat.", "cat no dog"),
        ("No cats, dogs or birds are visible.", "no bird no cat no dog"),
        ("No visible dog, cat or bird.", "no bird no cat no dog"),
        ("There is no cat, there is a dog.", "no cat dog"),
        ("No cat and a dog.", "no cat dog"),
        ("Neither a dog nor a cat.", "no cat no dog"),
        ("An image without any dogs; 0 birds, 2 cats.", "no bird cat no dog"),
        ("The dog and the cat are not present.", "no cat no dog"),
        ("The dog is not present, the cat is.", "cat no dog"),
        ("Dog is not present, cat is present.", "cat no dog"),
        ("There's a dog and the cat is not visible.", "no cat dog"),
        ("The dog is not on the left.", "dog"),
        ("The cats aren’t visible.", "no cat"),
        ("The dog does not appear in the image, and the bird is missing.", "no bird no dog"),
        ("Birds can't be seen.", "no bird"),
        ("I can see a dog on the left; I don't see a cat.", "no cat dog"),
        ("I cannot find any bird and was unable to locate a cat.", "no bird no cat"),
        ("It is not a dog, it is a cat.", "cat no dog"),
        ("Nothing except a dog.", "dog"),
        ("Not only a dog but also a cat.", "cat dog"),
        ("No, there is a dog.", "dog"),
        ("dog: yes\ncat: not present\nbird: absent", "no bird no cat dog"),
        ("dog (yes), cat (no), bird ❌", "no bird no cat dog"),
        ("Present: dog, cat. Absent: bird.", "no bird cat dog"),
        ("Not visible in the image: dog, cat. Visible: bird.", "bird no cat no dog"),
        ("DOGS and Cats", "cat dog"),
    ],
)
def test_a_clause_calls_a_name_present_or_absent(words, decided):
    assert read(words) == decided


@pytest.mark.parametrize(
    "words",
    [
        "", "The wall is white.", "hotdogs and a catalogue", "I need to find dogs, cats and birds.",
        "The user asks for a dog.", "The categories are dog, cat, bird.", "Is there a dog?", "Maybe a dog.",
        "If there is a dog, I box it.", "No other dog is there.", "Locate every dog.",
        "It is unclear whether a cat sits.",
    ],
)  # fmt: skip
def test_what_restates_asks_or_doubts_decides_nothing(words):
    assert read(words) == ""


def test_a_question_is_decided_by_its_answer():
    assert read("Is there a dog? No. Is there a cat? Yes, on the left.") == "cat no dog"


def test_a_name_called_both_counts_by_the_last_word():
    assert read("There is no dog. Wait, there is a dog behind the sofa.") == "dog"
    assert read("A dog. Looking closer, there is no dog.") == "no dog"
    assert read("One dog, and no other dogs.") == "dog"


def test_longer_names_hide_what_is_in_them():
    names = ("dog", "red dog", "dog house", "no parking sign", "traffic_light")
    found = decisions("A red dog, the no parking sign, one dog house, two Traffic Lights. There is no dog.", names)
    assert found == {name: name != "dog" for name in names}


def test_names_that_differ_in_case_alone_are_kept_apart():
    assert decisions("There is a Q and no q.", ("Q", "q")) == {"Q": True, "q": False}
    assert decisions("There is a Dog.", ("dog", "DOG")) == {}
    assert decisions("A b and a B.", ("B",)) == {"B": True}
    assert decisions("There is no B but a b.", ("B",)) == {"B": False}


def sample(*there: str) -> Sample:
    return Sample("1", (), SIDE, SIDE, NAMES, Gold.of([[1, 1, 9, 9]] * len(there), there))


def test_right_decisions_are_counted_against_the_gold():
    text = "<think>A dog, and no cat.</think><answer>[]</answer>"
    assert presence(sample("dog"), text) == Presence(asked=3, decided=2, right=2)
    assert presence(sample("cat"), text) == Presence(asked=3, decided=2, right=0)
    assert presence(sample("dog", "dog", "cat"), text) == Presence(asked=3, decided=2, right=1)


def test_only_thinking_counts():
    assert thinking("<think>a dog</think> <answer>no cat</answer>") == "a dog"
    assert thinking("A dog. <answer>[]</answer>") == "A dog."
    assert thinking("<think>it never ends") == "it never ends"
    assert thinking("There is a dog: [[1, 2, 3, 4]]") == ""
    assert presence(sample("dog"), "There is a dog.") is None
    assert presence(sample("dog"), "<think> </think>[]") is None
    assert presence(Sample("1", (), 9, 9, (), Gold.of([], [])), "<think>a dog</think>") is None


@given(st.text(), st.lists(st.text(), max_size=4))
def test_any_text_can_be_read(words, names):
    assert set(decisions(words, names)) <= set(names)


@given(st.lists(st.sampled_from(["no", "a", "dog", "cat", "and", "is", "not", "there", ",", ".", "?"]), max_size=30))
def test_any_words_decide_at_most_what_they_name(words):
    assert all(name in words for name in decisions(" ".join(words), NAMES))
