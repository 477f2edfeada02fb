"""Questions about images as hub rows: GQA, AI2D, ChartQA and the images of SEED-Bench, in lmms-eval's copies.

The split's option `form` says which columns there are; one organisation has two names, lmms-lab and lmms-lab-encoder:

| form | hub id | columns that count |
|---|---|---|
| gqa | lmms-lab/GQA `testdev_balanced_instructions` | imageId, question, answer; `testdev_balanced_images`: id, image |
| ai2d | lmms-lab/ai2d, and ai2d-no-mask | question, options, answer (the option's place, from "0"), image |
| chartqa | lmms-lab/ChartQA | type (human_test or augmented_test), question, answer, image |
| seed | lmms-lab/SEED-Bench | question, choice_a to choice_d, answer (a letter), data_type, image (a list) |

Source: EvolvingLMMs-Lab/lmms-eval@75571cf, `lmms_eval/tasks/{gqa,ai2d,chartqa,seedbench}`. None was seen real.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.metrics.qa import LETTERS, options
from vr1bench.readers import Dataset, Files, packed
from vr1bench.readers.files import (
    LONGEST_TEXT,
    Options,
    Row,
    joint_sha256,
    read_options,
    refuse_ids,
    refuse_names,
    refuse_texts,
)
from vr1bench.readers.pictures import Size
from vr1bench.readers.rows import Picture, Pictured, Shelf
from vr1bench.readers.tables import find_table
from vr1bench.types import labels_of


class RowOptions(Options):
    """What the rows do not say.

    Attributes:
        form: Whose columns they are.
        pictures: The table of GQA's pictures, relative to the questions' folder.
    """

    form: Literal["gqa", "ai2d", "chartqa", "seed"]
    pictures: str = ""


class GqaRow(Row, kw_only=True):
    """A question; `imageId` is the `id` of a picture."""

    imageId: str
    question: str
    answer: str


class GqaPicture(Pictured, kw_only=True):
    """A picture of GQA."""

    id: str


class Ai2dRow(Pictured, kw_only=True):
    """A question with options; `answer` is the place of one."""

    question: str
    options: list[str]
    answer: str


class ChartQaRow(Pictured, kw_only=True):
    """A question about a chart."""

    type: str
    question: str
    answer: str


class SeedRow(Row, kw_only=True):
    """A question with four options; a video's has several pictures."""

    question: str
    choice_a: str
    choice_b: str
    choice_c: str
    choice_d: str
    answer: str
    data_type: str
    image: list[Picture | str]
    question_type_id: int | str | None = None


@dataclass
class Quiz:
    """Questions as they come in: what every reader of questions comes to.

    Attributes:
        path: The file, for messages.
        warnings: What was odd and kept, or left out, counted.
    """

    path: Path
    warnings: Counter[str] = field(default_factory=Counter[str])
    _pictures: list[str] = field(default_factory=list[str])
    _places: list[str] = field(default_factory=list[str])
    _questions: list[str] = field(default_factory=list[str])
    _choices: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    _answers: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    _tags: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    def add(
        self,
        where: str,
        picture: str,
        question: str,
        answers: tuple[str, ...],
        *,
        choices: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
    ) -> None:
        """Takes in a question.

        Args:
            where: Its name for messages.
            picture: What its picture is called in `dataset`'s table.
            question: As shipped.
            answers: The right option's letter, or all accepted texts.
            choices: The options, "" for a letter without one; () where the question is open.
            tags: As many for every question, "" for none; columns of tags that are all the same are dropped.

        Raises:
            Vr1benchError: There is no question or no answer, a text is too long, or the answer is no option.
        """
        texts = [("question", question), *(("option", text) for text in choices)]
        for what, text in [*texts, *(("answer", text) for text in answers)]:
            if len(text) > LONGEST_TEXT or (what != "option" and not text.strip()):
                raise Vr1benchError(
                    f"{where}: expected {'an' if what[0] in 'ao' else 'a'} {what} of 1 to {LONGEST_TEXT} characters, "
                    f"got {len(text)}: {text[:40]!r}; is this the file of another set, or one without public answers?"
                )
        offered = options(choices)
        if choices and (len(choices) > len(LETTERS) or not set(answers) <= set(offered)):
            raise Vr1benchError(
                f"{where}: expected the letter of an option as the answer, got {answers[0]!r} and the options "
                f"{', '.join(offered) or 'none'}; repair the file"
            )
        self._places.append(where)
        self._pictures.append(picture)
        self._questions.append(question)
        self._choices.append(choices)
        self._answers.append(answers)
        self._tags.append(tags)

    def dataset(
        self, pictures: Mapping[str, tuple[str, Size]], folder: Path, sha256: str, ids: Sequence[str] = ()
    ) -> Dataset:
        """The dataset of all questions.

        Args:
            pictures: File name, and width and height in pixels, of each picture.
            folder: Where the files lie.
            sha256: Of what was read.
            ids: Sample ids; () counts from 0.

        Raises:
            Vr1benchError: There is no question, or one asks about a picture that is not there.
        """
        count = len(self._questions)
        if not count:
            raise Vr1benchError(f"{self.path}: expected at least one question about an image, got none")
        for where, picture in zip(self._places, self._pictures, strict=True):
            if picture not in pictures:
                raise Vr1benchError(
                    f"{where}: asks about picture {picture!r}, which no row holds; fetch the file again"
                )
        refuse_texts(self.path, self._questions, "questions", "a question")
        refuse_ids(self.path, ids, "questions by id")
        shown = [pictures[picture] for picture in self._pictures]
        refuse_names(self.path, [name for name, _ in shown], "pictures of questions", folder)
        none = np.zeros(0)
        return Dataset(
            ids=packed(ids or [str(i) for i in range(count)]),
            names=packed([name for name, _ in shown]),
            folder=folder,
            sizes=np.array([size for _, size in shown], np.int64),
            queries=[()],
            starts=np.zeros(count + 1, np.int64),
            boxes=np.zeros((0, 4)),
            labels=np.zeros(0, np.int64),
            crowd=np.zeros(0, np.bool_),
            areas=none,
            extents=none,
            annotation_ids=np.zeros(0, np.int64),
            vocabulary=labels_of([]),
            sha256=sha256,
            problems=packed(self._questions),
            choices=self._choices if any(self._choices) else (),
            answers=self._answers,
            tags=self._telling_tags(),
            warnings=dict(self.warnings),
        )

    def _telling_tags(self) -> Sequence[tuple[str, ...]]:
        """The tags of each question from the columns that tell questions apart."""
        columns = [j for j, column in enumerate(zip(*self._tags, strict=True)) if len({*column} - {""}) > 1]
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        for tags in self._tags:
            shared.setdefault(tags, tuple(tags[j] for j in columns if tags[j]))
        return [shared[tags] for tags in self._tags] if columns else ()


def read(source: Files) -> Dataset:
    """One sample a row, in the table's order; ids count from 0.

    Options: `RowOptions`. Counted in `warnings`: SEED-Bench's questions about videos, which are left out.

    Raises:
        Vr1benchError: A row lacks a column, a picture or an answer, or an image question has not just one picture.
    """
    told = read_options(source, RowOptions)
    if (told.form == "gqa") != bool(told.pictures):
        raise Vr1benchError(
            f"{source.annotations}: options of the split: `pictures` goes with form gqa, got {dict(source.options)!r}; "
            "name the table of GQA's pictures there, relative to that of the questions"
        )
    quiz = Quiz(source.annotations)
    if told.form == "gqa":
        return _gqa(quiz, source, told.pictures)
    shelf = Shelf(source)
    add = {"ai2d": _add_ai2d, "chartqa": _add_chartqa, "seed": _add_seed}[told.form]
    add(quiz, shelf)
    return quiz.dataset(dict(_shown(shelf)), shelf.folder, shelf.table.sha256)


def _add_ai2d(quiz: Quiz, shelf: Shelf) -> None:
    for row, where in shelf.table.typed(Ai2dRow):
        place = int(row.answer) if row.answer.isdecimal() and len(row.answer) < 3 else len(row.options)
        if place >= min(len(row.options), len(LETTERS)):
            raise Vr1benchError(
                f"{where}: expected the place of one of {len(row.options)} options as the answer, from 0, got "
                f"{row.answer!r}; repair the table"
            )
        quiz.add(where, _put(shelf, row, where), row.question, (LETTERS[place],), choices=tuple(row.options))


def _add_chartqa(quiz: Quiz, shelf: Shelf) -> None:
    for row, where in shelf.table.typed(ChartQaRow):
        quiz.add(where, _put(shelf, row, where), row.question, accepted(row.answer), tags=(split_tag(row.type),))


def _add_seed(quiz: Quiz, shelf: Shelf) -> None:
    for row, where in shelf.table.typed(SeedRow):
        if row.data_type != "image":
            quiz.warnings[f"{row.data_type[:40]} questions, left out"] += 1
            continue
        if len(row.image) != 1:
            raise Vr1benchError(f"{where}: {len(row.image)} pictures; expected one of a question about an image")
        choices = (row.choice_a, row.choice_b, row.choice_c, row.choice_d)
        tag = "" if row.question_type_id is None else f"type {row.question_type_id}"
        name = _put(shelf, Pictured(image=row.image[0]), where)
        quiz.add(where, name, row.question, (row.answer,), choices=choices, tags=(tag,))


def _gqa(quiz: Quiz, source: Files, pictures: str) -> Dataset:
    table = find_table(source.annotations)
    shelf = Shelf(replace(source, annotations=source.annotations.parent / pictures))
    ids: list[str] = []
    for row, where in shelf.table.typed(GqaPicture):
        _put(shelf, row, where)
        ids.append(row.id)
    for row, where in table.typed(GqaRow):
        quiz.add(where, row.imageId, row.question, accepted(row.answer))
    shown = dict(zip(ids, zip(shelf.names, shelf.sizes, strict=True), strict=True))
    return quiz.dataset(shown, shelf.folder, joint_sha256(table.sha256, shelf.table.sha256))


def accepted(answer: str) -> tuple[str, ...]:
    """The texts that answer an open question: a list of Python spells several, as VLMEvalKit reads it (`process_line`).

    Its `eval` is a reading of literals here. ChartQA's golds hold such lists where all of their items are asked for;
    one of them is enough there, and so here.
    """
    said = answer.strip()
    if said.startswith("[") and said.endswith("]"):
        try:
            value = literal_eval(said)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return (answer,)
        if isinstance(value, list) and value:
            return tuple(str(item) for item in cast("list[Any]", value))
    return (answer,)


def split_tag(name: str) -> str:
    """`human` of VLMEvalKit's `test_human` and of lmms-lab's `human_test`."""
    return re.sub(r"^test_|_test$", "", name)


def _put(shelf: Shelf, row: Pictured, where: str) -> str:
    """Takes in a row's picture, and gives its name."""
    shelf.add(row, where)
    return shelf.names[-1]


def _shown(shelf: Shelf) -> Iterator[tuple[str, tuple[str, Size]]]:
    return ((name, (name, size)) for name, size in zip(shelf.names, shelf.sizes, strict=True))
