"""Answers to questions: words, not boxes, so no family's grammar reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vr1bench.families.reading import ENDED, REFUSAL, WORDS_READ, answer_span
from vr1bench.metrics.qa import infer_option, rejects
from vr1bench.types import Completion, Detections, Prediction, Status

NO_OPTION = "no option in the answer"


def read_answer(completion: Completion, choices: Sequence[str] = ()) -> Prediction:
    """Reads an answer to a question; no text raises.

    Thinking and tags go as for boxes (`answer_span`). What is left of a cut answer counts as far as it goes.

    Args:
        completion: The answer.
        choices: The options, in the order of their letters; () for an open question.

    Returns:
        A prediction without boxes. `answer` is the option's letter, or the text; None where there is neither.
    """
    start, end = answer_span(completion.text)
    words = completion.text[start:end].strip()
    answer = (infer_option(words, choices) if choices else words) if words else None
    return Prediction(
        text=completion.text,
        detections=Detections.of([], []),
        duplicate=np.zeros(0, dtype=np.bool_),
        unknown=np.zeros(0, dtype=np.bool_),
        status=_status(completion, words, answer, bool(choices)),
        broken={NO_OPTION: 1} if words and answer is None else {},
        fed=(completion.fed_width, completion.fed_height),
        answer=answer,
    )


def _status(completion: Completion, words: str, answer: str | None, of_options: bool) -> Status:
    text = completion.text
    if completion.finish == "length":
        return Status.TRUNCATED if text.strip() else Status.EMPTY
    if not words:  # thinking that never ended holds no answer
        return Status.EMPTY if not text.strip() or ENDED.search(text) else Status.TRUNCATED
    if of_options and answer is not None:
        return Status.OK
    if rejects(words) or REFUSAL.search(words[:WORDS_READ].replace("’", "'")):
        return Status.REFUSED
    return Status.MALFORMED if of_options else Status.OK
