"""Answers to questions: which option a text means, and whether an answer is right.

The rules are VLMEvalKit's without a judge model (its `exact_matching`): open-compass/VLMEvalKit@e8e78f0,
`vlmeval/utils/matching_util.py` (`can_infer`), `vlmeval/dataset/utils/vqa_eval.py` (`accuracy`, `relaxed_accuracy`).
Nothing is random: with a judge, it asks a language model for what the rules leave open, and draws lots where that
fails too; here, as there without one, such an answer is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase

import numpy as np

from vr1bench.types import Bools, Pair

LETTERS = ascii_uppercase
"""What options are called, in order."""
REJECTIONS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
"""Phrases that VLMEvalKit takes for a refusal, whatever else the answer says."""
_SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_TAIL = 4
"""A letter counts where it first stands among the last four words: an article `A` mostly stands further in front."""
_ANSWER_IS = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)
"""It ends at no word's edge: "the answer is blue" says B. VLMEvalKit's, kept."""
_TOLERANCE = 0.05
"""Of the gold number, the bound included: ChartQA (arXiv 2203.10244), section 5.1."""


def options(choices: Sequence[str]) -> dict[str, str]:
    """Letters to the options that are offered: a blank one keeps its letter and is none."""
    return {letter: choice for letter, choice in zip(LETTERS, choices, strict=False) if choice}


def rejects(text: str) -> bool:
    """Whether an answer holds one of `REJECTIONS`."""
    return any(phrase in text for phrase in REJECTIONS)


def infer_option(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the option that a text means; None where it means none, or several.

    In turn: the one letter that stands alone, among the last words; the letter after "answer is"; the one option whose
    words the text holds, unless it is more than twice as long as all options together. A refusal, or a lone `Z` ("none
    of these"), ends the search.

    Args:
        text: The answer, without thinking.
        choices: The options, in the order of their letters.
    """
    if rejects(text):
        return None
    offered = options(choices)
    words = text.translate(_SEPARATORS).split()
    said = [letter for letter in offered if letter in words]
    if len(said) == 1 and words.index(said[0]) >= len(words) - _TAIL:
        return said[0]
    if not said and "Z" in words:
        return None
    found = _ANSWER_IS.search(text)
    if found and found[1].upper() in offered:
        return found[1].upper()
    return _named(text.lower(), offered)


def _named(text: str, offered: Mapping[str, str]) -> str | None:
    """The one option whose words a text in small letters holds."""
    if len(text) > 2 * sum(map(len, offered.values())):
        return None
    named = [letter for letter, choice in offered.items() if choice.lower() in text]
    return named[0] if len(named) == 1 else None


def exact(answer: str, gold: str) -> bool:
    """Whether two texts agree but for case and the space around them; a full stop makes a difference."""
    return answer.strip().lower() == gold.strip().lower()


def relaxed(answer: str, gold: str) -> bool:
    """Whether a number lies within 5 % of the gold one, or a text equals it but for case.

    "5%" is .05, so that 5 is wrong where 5% is right. A gold 0 is compared as a text: no share of it is any tolerance.
    Years are numbers: 1990 passes for 2010.
    """
    answer = answer.strip()
    guess, target = _number(answer), _number(gold)
    if guess is None or not target:
        return answer.lower() == gold.lower()
    return abs(guess - target) / abs(target) <= _TOLERANCE


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def right(pairs: Sequence[Pair], *, within: bool = False) -> Bools:
    """Which samples are answered right, (n,): by option, or as any accepted answer says.

    Args:
        pairs: Questions; one without an answer is wrong.
        within: Whether open answers are compared by `relaxed` instead of `exact`.
    """
    return np.array([_right(pair, within) for pair in pairs], dtype=np.bool_)


def stopped(pairs: Sequence[Pair], *, within: bool = False) -> int:
    """How many open answers are wrong, and would be right without the full stop that ends them."""
    ended = [pair for pair in pairs if _answer(pair).endswith(".")]
    return sum(not _right(pair, within) and _agrees(pair, _answer(pair)[:-1], within) for pair in ended)


def _right(pair: Pair, within: bool) -> bool:
    if pair.sample.choices:
        return _answer(pair) in pair.sample.answers
    return _agrees(pair, _answer(pair), within)


def _agrees(pair: Pair, answer: str, within: bool) -> bool:
    agree = relaxed if within else exact
    return any(agree(answer, gold) for gold in pair.sample.answers)


def _answer(pair: Pair) -> str:
    return (pair.prediction.answer if pair.prediction else None) or ""


def shares(marks: Iterable[tuple[Sequence[str], bool]]) -> dict[str, float]:
    """The share of True by tag, tags sorted; {} without any.

    Args:
        marks: Tags and mark of each sample.
    """
    found: dict[str, list[bool]] = {}
    for tags, mark in marks:
        for tag in tags:
            found.setdefault(tag, []).append(mark)
    return {tag: sum(of) / len(of) for tag, of in sorted(found.items())}
