r"""What thinking says is there and is not there, before the boxes: the "OD aha moment" of VLM-R1, counted.

VLM-R1's authors saw a detector trained by reinforcement first sort out which of the asked objects the image shows,
then box those (arXiv 2504.07615; om-ai-lab.github.io/2025_03_20.html); they show examples and no measure. This is one:
of the asked names, how many does the thinking decide, and how many of these rightly?

Limits. Rules over English words, not a reader of sentences: they tell trends of one training, not models apart. Names
count as asked, with a plural s; synonyms, hypernyms and irregular plurals (knives) do not. A name of one letter counts
as it is spelled, so `A` and `I` are found where a sentence only begins with them. A denial reaches to the end of its
clause, or to a comma or "and" behind which something new begins ("no cat, and there is a dog"); what stands in brackets
of thought between ("neither a cat nor, I think, a dog"), or under a heading on lines of its own, it misses. Where one
phrase is asked that is always there, as in referring, right says nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

from vr1bench.families.reading import THINK_BEGIN, THINK_END, WORD_EDGE, answer_span
from vr1bench.types import Sample


@dataclass(frozen=True, slots=True)
class Presence:
    """What the thinking of one answer decides.

    Attributes:
        asked: Names that were asked.
        decided: Of these, those that it calls present or absent.
        right: Of these, those that it calls rightly.
    """

    asked: int
    decided: int
    right: int


def presence(sample: Sample, text: str) -> Presence | None:
    """How an answer's thinking sorts the asked names into present and absent.

    Args:
        sample: A name is present where a gold box has it.
        text: The whole answer.

    Returns:
        None where nothing is asked by name, or the answer has no thinking part.
    """
    names = tuple(dict.fromkeys(sample.queries))
    words = thinking(text)
    if not names or not words:
        return None
    found = decisions(words, names)
    there = set(sample.gold.labels.tolist())
    return Presence(len(names), len(found), sum(said == (name in there) for name, said in found.items()))


def thinking(text: str) -> str:
    """The part of an answer in front of what is scored, without its tags; "" where there is none.

    Tags mark it (`<think>`, or `<answer>` behind it): a plain answer thinks nothing, whatever it says around its list.
    """
    words = text[: answer_span(text)[0]]
    return _TAG.sub(" ", words).strip()


def decisions(words: str, names: Sequence[str]) -> dict[str, bool]:
    """The names that a text calls present (True) or absent (False); the others it does not decide.

    A name is absent where a denial governs it ("no dog", "cats and dogs are not visible", "dog: no"), else present.
    It is neither in a clause that only restates the task, asks, or doubts ("I need to find dogs", "if there is a dog",
    "maybe a dog"); a question that the next words answer with yes or no is decided by them. A name that is called both
    counts by what is said last: thinking corrects itself, and its last word is what the boxes follow from.

    Args:
        words: Thinking, without tags.
        names: As asked. Longer ones are found first: in "red dog" no "dog" is seen, where both are asked. Case,
            hyphens and underscores do not count, but where names differ in nothing else (`Q` and `q`).
    """
    finder, ordered = _finder(tuple(names))
    found: dict[str, bool] = {}
    asked: list[str] = []
    for clause, mark in _clauses(normalize("NFC", words).replace("’", "'").replace(_NAME, " ")):
        said = [ordered[match.lastindex - 1] for match in finder.finditer(clause) if match.lastindex]
        if asked and (reply := _REPLY.match(clause)):
            found.update(dict.fromkeys(asked, reply[1].lower() == "yes"))
        asked = said if mark == "?" else []
        if mark == "?" or _UNDECIDED.search(clause):
            continue
        plain = finder.sub(_NAME, clause)
        for name, place in zip(said, re.finditer(_NAME, plain), strict=True):
            verdict = _verdict(plain[: place.start()], plain[place.end() :])
            if verdict is not None:
                found[name] = verdict
    return found


_TAG = re.compile(rf"{THINK_BEGIN.pattern}|{THINK_END.pattern}|</?answer>", re.IGNORECASE)
_NAME = "\x00"
"""Stands for a name, so that a name's own words ("no parking sign") deny nothing."""
_BREAK = re.compile(
    r"([.!?]+(?=\s|$)|[;\n]+|"
    r"\b(?:but|however|though|although|whereas|while|except|only|besides|other than|apart from)\b)",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"\b(?:whether|if|maybe|perhaps|possibly|might|may|could be|unclear|uncertain|(?:not|n't) (?:sure|certain|clear)|"
    r"user|question|task|asked|asks|requested|categories|category (?:set|list)|classes|listed|such as|for example|"
    r"need|needs|must|should|let me|let's|let us|(?:look|looking|search|searching|check|checking) for|"
    r"(?<!able )(?<!fail )(?<!fails )(?<!failed )to (?:find|detect|locate|identify|check|see|determine|look))\b|"
    r"^\W*(?:find|detect|locate|identify|check)\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"(?:\b(?:no|not|without|neither|nor|never|nothing|nowhere|cannot|unable to|fail(?:s|ed)? to|absence of|"
    r"lack(?:s|ing)?|none of|rather than|instead of|(?:absent|missing)(?=[^,]*:)|(?:zero|0)(?=\s*$))\b|n't\b)"
    r"(?!\s+(?:other|others|more|further|additional|another|extra|just|doubt|longer)\b)",
    re.IGNORECASE,
)
_ONLY_MORE = re.compile(r"\b(?:no|not any|n't any)\s+(?:other|others|more|further|additional|another|extra)\b", re.I)
_ANEW = re.compile(
    r"(?:,|\band\b)\s*(?:there|here|i|we|it|a|an|one|two|three|four|five|six|seven|eight|nine|ten|\d+|some|several|many|"
    r"also|then)\b|,\s*the\b|"
    r"\b(?:present|visible|there|seen|found|shown|image|picture|photo|scene|anywhere)\b[^,:\x00]*(?:,|\band\b)",
    re.IGNORECASE,
)
"""Where a denial's reach ends: something new begins, or its own sentence was whole."""
_GONE = (
    r"(?:\s+\w+){0,3}?\s+(?:present|visible|there|here|seen|found|shown|located|detected|identified|depicted|available|"
    r"apparent|appear\w*|exist\w*|in (?:the|this) (?:image|picture|photo|scene|frame|view))\b"
)
_MISSING = r"(?:\s+\w+){0,2}?\s+(?:absent|missing|nowhere|unseen|invisible)\b"
_DENIED_AFTER = re.compile(
    rf"\s*(?:[:=\u2013\u2014-]|\()\s*(?:no|not|none|absent|missing|nowhere|zero|0|false|n/a)\b|\s*[:=\u2013\u2014-]?\s*[❌✗✘]|"
    rf"\s*(?:is|was|does|has)(?:n't|\s+(?:not|never)){_GONE}|\s*(?:is|was){_MISSING}|\s*not{_GONE}|"
    rf"(?:[\s,/&{_NAME}]|\band\b|\bor\b|\bthe\b|\ban?\b|\bany\b|\bboth\b)*(?:(?:are|were|do|have)"
    rf"(?:n't|\s+(?:not|never)){_GONE}|(?:are|were){_MISSING}|(?:can|could)(?:'t|n't|\s*not){_GONE})",
    re.IGNORECASE,
)
_REPLY = re.compile(r"\W*(yes|no|nope)\b", re.IGNORECASE)


def _clauses(words: str) -> list[tuple[str, str]]:
    """Clauses with the mark that ends each: "?" for a question, else anything."""
    parts = [*_BREAK.split(words), ""]
    return [(clause, mark[-1:]) for clause, mark in zip(parts[::2], parts[1::2], strict=True) if clause.strip()]


def _verdict(before: str, after: str) -> bool | None:
    """Whether a clause calls a name present, from the words on its two sides; None where it says neither."""
    if _DENIED_AFTER.match(after):
        return False
    denials = [match.end() for match in _DENIAL.finditer(before)]
    if denials:
        return bool(_ANEW.search(before, denials[-1]))
    return None if _ONLY_MORE.search(before) else True


@lru_cache(maxsize=256)
def _finder(names: tuple[str, ...]) -> tuple[re.Pattern[str], list[str]]:
    """Finds names, the longest first, and tells them by the number of the group: the names in the groups' order."""
    alike = Counter(map(_folded, names))
    ordered = sorted(filter(_folded, names), key=len, reverse=True)

    def pattern(name: str) -> str:
        words = r"[\s_-]+".join(map(re.escape, re.split(r"[\s_-]+", normalize("NFC", name).strip())))
        exact = alike[_folded(name)] > 1 or len(name.strip()) == 1
        return f"({words})" if exact else f"((?i:{words}(?:e?s)?))"

    words = "|".join(map(pattern, ordered)) or "(?!)"
    return re.compile(rf"(?<!{WORD_EDGE})(?:{words})(?!{WORD_EDGE})"), ordered


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", normalize("NFC", name)).strip().casefold()
