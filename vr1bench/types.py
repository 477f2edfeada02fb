"""The nouns of vr1bench: what passes between the rooms of the house.

Every box is ``xyxy`` in pixels of the original image, float64, unless its name says otherwise. Values are
frozen; what touches disk (`vr1bench.store`, `vr1bench.benchmark`) is pydantic, what stays in memory is a dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Labels = NDArray[np.str_]

Task = Literal["detect", "refer", "qa"]
Kind = Literal["all", "one", "refer", "choose", "answer"]
"""What a question asks for: all classes, one class, a phrase, one of its options, a text."""
ScoreRule = Literal["constant", "logprob", "order", "own"]


class FrozenModel(BaseModel):
    """A pydantic record that touches disk: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def labels_of(names: Sequence[str]) -> Labels:
    """Names as a string array, shape (n,); an empty sequence keeps the string type."""
    return np.array(names, dtype=np.str_) if len(names) else np.empty(0, dtype="<U1")


def boxes_of(rows: Sequence[Sequence[float]] | Floats) -> Floats:
    """Rows of four numbers as an (n, 4) float64 array; an empty sequence gives (0, 4)."""
    return np.asarray(rows, dtype=np.float64).reshape(-1, 4)


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes that somebody says are there: a model's answer, in order of emission.

    Attributes:
        boxes: (n, 4) float64, xyxy pixels of the original image.
        labels: (n,) names, exactly as the benchmark spells them where one matched.
        scores: (n,) float64; 1.0 where a model gives none.
    """

    boxes: Floats
    labels: Labels
    scores: Floats

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of(cls, boxes: Sequence[Sequence[float]] | Floats, labels: Sequence[str]) -> Detections:
        """Detections with the constant score 1.0."""
        return cls(boxes_of(boxes), labels_of(labels), np.ones(len(labels)))

    def take(self, keep: Bools | Ints) -> Detections:
        """The chosen rows, in the order chosen."""
        return Detections(self.boxes[keep], self.labels[keep], self.scores[keep])


@dataclass(frozen=True, slots=True)
class Gold:
    """The annotated boxes of one sample.

    Attributes:
        boxes: (n, 4) float64, xyxy pixels of the original image; may overrun it or have no size (real files do).
        labels: (n,) names as the annotation file spells them.
        crowd: (n,) True where the box covers a group and can absorb any number of predictions (COCO's `iscrowd`).
        areas: (n,) square pixels that decide small / medium / large: COCO's annotated (segment) area.
        extents: (n,) width times height as the file gives them; kept so that IoU equals pycocotools' to the bit.
        ids: (n,) annotation ids as shipped; only `ids="as-shipped"` reads them.
    """

    boxes: Floats
    labels: Labels
    crowd: Bools
    areas: Floats
    extents: Floats
    ids: Ints

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of(cls, boxes: Sequence[Sequence[float]] | Floats, labels: Sequence[str]) -> Gold:
        """Plain gold boxes: no crowd, areas from the boxes, ids from 1."""
        xyxy = boxes_of(boxes)
        extents = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
        count = len(xyxy)
        return cls(xyxy, labels_of(labels), np.zeros(count, dtype=np.bool_), extents, extents, np.arange(1, count + 1))


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to be answered: an image, what is asked about it, and the gold.

    Attributes:
        id: Unique within the benchmark's split; the reader's order of samples is the pinned order of ties.
        images: Paths; exactly one here.
        width: Pixels of the original image, as the annotation file says.
        height: Pixels of the original image.
        queries: Class names that may be asked (detect), or the one phrase (refer); () for a question.
        gold: Annotated boxes.
        problem: The full question where the data set ships one (VLM-R1's `problem`; a question is that), else "".
        tags: Free words for breakdowns.
        choices: A question's options, in the order of their letters, "" for a letter that is not offered; () where it
            is open.
        answers: What answers the question: the right option's letter, or every accepted text.
    """

    id: str
    images: tuple[Path, ...]
    width: int
    height: int
    queries: tuple[str, ...]
    gold: Gold
    problem: str = ""
    tags: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Questions(FrozenModel):
    """What is asked, word for word.

    `{labels}` is the class list, `{list}` the same as Python prints a list, `{label}` one class, `{phrase}` the phrase,
    `{problem}` the data set's own sentence around it. A question of the data set stands for
    `{question}`, and its options, a line each, for `{options}`: `choose` asks with options, `answer` without.
    """

    all: str = ""
    one: str = ""
    refer: str = ""
    choose: str = ""
    answer: str = ""

    @model_serializer(mode="wrap")
    def _without_blank(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the words for questions where there are none: older fingerprints stay what they were."""
        return {name: value for name, value in plain(self).items() if name not in ("choose", "answer") or value}


class Sampling(FrozenModel):
    """How a model decodes; part of every request's key."""

    max_tokens: int = Field(default=2048, gt=0)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = -1
    repetition_penalty: float = Field(default=1.0, gt=0)
    seed: int = 0
    logprobs: bool = False


class PixelBudget(FrozenModel):
    """Bounds on the area that a processor may feed, in pixels of the resized image."""

    min_pixels: int = Field(default=56 * 56, gt=0)
    max_pixels: int = Field(default=16384 * 28 * 28, gt=0)


@dataclass(frozen=True, slots=True)
class Request:
    """One question to an engine.

    Attributes:
        key: Hash of model revision, messages, image and sampling (`vr1bench.job.Job`).
        sample_id: The sample it belongs to; several requests may share one (one class a prompt).
        images: Paths, in the order of the image parts of `messages`.
        width: Pixels of the original image.
        height: Pixels of the original image.
        queries: Names that this request asks for: what `parse` falls back on where a reply names none.
        messages: OpenAI chat form; images are `{"type": "image"}` parts without content.
        sampling: Decoding options.
        pixels: Bounds for the processor; None leaves the model's own.
    """

    key: str
    sample_id: str
    images: tuple[Path, ...]
    width: int
    height: int
    queries: tuple[str, ...]
    messages: tuple[Mapping[str, Any], ...]
    sampling: Sampling
    pixels: PixelBudget | None = None


class Token(FrozenModel):
    """One generated token."""

    text: str
    logprob: float


class Completion(FrozenModel):
    """What an engine answered to one request.

    Attributes:
        text: The answer without special tokens that end it.
        finish: "stop", or "length" where the token limit cut it.
        tokens: Token texts and log-probabilities where asked for, else None.
        n_tokens: Number of generated tokens; 0 where the engine cannot tell.
        n_prompt: Number of tokens asked, those of images included; 0 where the engine cannot tell.
        n_cached: Those of them that the engine had computed before, for another request (its prefix cache).
        image_reused: Whether the picture came from an earlier request: decoded, by vLLM preprocessed as well, and for
            an endpoint encoded for sending.
        fed_width: Pixels of the resized image that the model saw; 0 where unknown.
        fed_height: See `fed_width`.
        seconds: Wall time from the engine's taking of the request to its end.
    """

    text: str
    finish: Literal["stop", "length"] = "stop"
    tokens: tuple[Token, ...] | None = None
    n_tokens: int = 0
    n_prompt: int = 0
    n_cached: int = 0
    image_reused: bool = False
    fed_width: int = Field(default=0, ge=0)
    fed_height: int = Field(default=0, ge=0)
    seconds: float = 0.0


class Failure(FrozenModel):
    """An engine could not answer: never scored, asked again by the next run."""

    error: str
    kind: Literal["image", "engine"] = "engine"


class Record(FrozenModel):
    """One line of a run's journal: a request's key and what came of it.

    `query` is the class or phrase where the request asked for just one: it tells a sample's requests apart.
    """

    key: str
    sample_id: str
    query: str = ""
    completion: Completion | None = None
    failure: Failure | None = None


class Training(FrozenModel):
    """Where a checkpoint comes from: `training.json`, which `vr1bench train` writes into its output folder.

    Attributes:
        method: Which trainer.
        recipe: The recipe's name.
        recipe_sha256: 64 hex digits of its text.
        base_model: What training began with, as the recipe names it.
        base_revision: 40 hex digits, as of `vr1bench.model.Model`.
        commit: Of the source tree that trained; "" outside of a checkout.
    """

    schema_version: Literal[1] = 1
    method: Literal["grpo", "sft"]
    recipe: str
    recipe_sha256: str
    base_model: str
    base_revision: str
    commit: str = ""


class Status(StrEnum):
    """What kind of answer a text is."""

    OK = "ok"
    NONE = "none"
    SALVAGED = "salvaged"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    REFUSED = "refused"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Points:
    """Points that a model gave instead of boxes, in order of emission.

    Attributes:
        xy: (n, 2) float64 pixels of the original image.
        labels: (n,) names, exactly as the benchmark spells them where one matched.
        unknown: (n,) True where the label is none of those asked.
    """

    xy: Floats
    labels: Labels
    unknown: Bools

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A completion as read by its family: nothing dropped that could be read, nothing silently mended.

    Attributes:
        text: What the model said.
        detections: Every well-formed box in order of emission, original pixels, clipped to the image.
        duplicate: (n,) True where an earlier row has the same box and label.
        unknown: (n,) True where the label is none of those asked.
        status: See `Status`.
        broken: Items that could not be kept, and boxes that were changed, counted by reason.
        written: The four numbers of each box as the model wrote them, turned to xyxy: what an audit looks at.
        points: What a model that points gave; None where there are none.
        fed: (width, height) in pixels at which the model saw the image.
        parts: How many boxes each of several answers gave, in order; () for a single answer.
        answer: To a question: the letter of the option that was chosen, or the text; None where there is neither.
    """

    text: str
    detections: Detections
    duplicate: Bools
    unknown: Bools
    status: Status
    broken: Mapping[str, int] = field(default_factory=dict[str, int])
    written: Sequence[tuple[float, ...]] = ()
    points: Points | None = None
    fed: tuple[int, int] = (0, 0)
    parts: tuple[int, ...] = ()
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A sample beside what was answered to all its requests: what metrics eat.

    `prediction` is None only where the protocol asked nothing of the sample (no positive class). `completions` are
    what it was read from; a file of detections has none.
    """

    sample: Sample
    prediction: Prediction | None
    requests: int = 1
    completions: Sequence[Completion] = ()
