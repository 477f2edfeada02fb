"""Readers: real annotation files to a Dataset. One file an annotation format; a new one is a file and a name here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from vr1bench.registry import Registry
from vr1bench.types import Bools, Floats, Gold, Ints, Labels, Sample, Task

Packed = NDArray[np.bytes_]


@dataclass(frozen=True)
class Files:
    """Where a split's files were found.

    Attributes:
        annotations: The annotation file; a folder of them where the data set has one file an image.
        images: The folder that the file names count from.
        options: What the reader must be told: the split's `options`. A reader refuses those that it does not know.
        lay_out: Whether pictures inside a table are written out as files; where not, nothing is written.
    """

    annotations: Path
    images: Path
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    lay_out: bool = True


@dataclass(frozen=True)
class Dataset(Sequence[Sample]):
    """All samples of one split, gold in columns: a Sample is made when it is asked for.

    Attributes:
        ids: Sample ids in the pinned order (COCO: image id ascending, as pycocotools sorts).
        names: File names under `folder`.
        folder: Where the images lie.
        sizes: (samples, 2) width and height in pixels.
        queries: What may be asked of each sample, or one tuple that serves all.
        problems: The shipped question of each sample; None where the data has none.
        starts: (samples + 1,) where each sample's gold begins in the columns below.
        boxes, labels, crowd, areas, extents, annotation_ids: Gold columns, see `Gold`; labels index `vocabulary`.
        vocabulary: Names that `labels` index.
        warnings: What the reader found odd but kept, for the result.
        sha256: Of the annotation file.
        choices, answers, tags: See `Sample`, one entry a sample; () where no sample has any.
        category_ids: Ids of `vocabulary` as the file has them, for files of detections; None where it has none.
        left_out: Ids of the file's images that are no samples.
    """

    ids: Packed
    names: Packed
    folder: Path
    sizes: Ints
    queries: Sequence[tuple[str, ...]]
    starts: Ints
    boxes: Floats
    labels: Ints
    crowd: Bools
    areas: Floats
    extents: Floats
    annotation_ids: Ints
    vocabulary: Labels
    sha256: str
    problems: Packed | None = None
    warnings: dict[str, int] = field(default_factory=dict[str, int])
    choices: Sequence[tuple[str, ...]] = ()
    answers: Sequence[tuple[str, ...]] = ()
    tags: Sequence[tuple[str, ...]] = ()
    category_ids: Packed | None = None
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """The sample at a place, or those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        rows = slice(int(self.starts[index]), int(self.starts[index + 1]))
        return Sample(
            id=text_of(self.ids[index]),
            images=(self.folder / text_of(self.names[index]),),
            width=int(self.sizes[index, 0]),
            height=int(self.sizes[index, 1]),
            queries=self.queries[index if len(self.queries) > 1 else 0],
            gold=Gold(
                self.boxes[rows],
                self.vocabulary[self.labels[rows]],
                self.crowd[rows],
                self.areas[rows],
                self.extents[rows],
                self.annotation_ids[rows],
            ),
            problem="" if self.problems is None else text_of(self.problems[index]),
            tags=self.tags[index] if self.tags else (),
            choices=self.choices[index] if self.choices else (),
            answers=self.answers[index] if self.answers else (),
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))


def packed(texts: Sequence[str]) -> Packed:
    """Texts as one block of UTF-8: strings of their own would hold on to the memory that decoding a file took.

    Each takes the room of the longest, and NUL at an end is lost: readers refuse such texts (`vr1bench.readers.files`).
    """
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def text_of(value: bytes) -> str:
    """One packed text."""
    return value.decode()


Reader = Callable[[Files], Dataset]

READERS = Registry[Reader](
    kind="reader",
    group="vr1bench.readers",
    builtin={
        "coco": "vr1bench.readers.coco:read",
        "ovdeval": "vr1bench.readers.ovdeval:read",
        "d3": "vr1bench.readers.d3:read",
        "rec": "vr1bench.readers.refer:read",
        "refer": "vr1bench.readers.refer_pickle:read",
        "reasonseg": "vr1bench.readers.reasonseg:read",
        "rec-rows": "vr1bench.readers.rows:read_sentences",
        "detect-rows": "vr1bench.readers.rows:read_detections",
        "vision-r1": "vr1bench.readers.rows:read_vision_r1",
        "qa-tsv": "vr1bench.readers.qa_tsv:read",
        "qa-rows": "vr1bench.readers.qa:read",
    },
)

TASKS: dict[str, tuple[Task, ...]] = {
    **dict.fromkeys(("coco", "ovdeval", "d3", "detect-rows", "vision-r1"), ("detect",)),
    **dict.fromkeys(("rec", "refer", "rec-rows", "reasonseg"), ("refer",)),
    **dict.fromkeys(("qa-tsv", "qa-rows"), ("qa",)),
}
"""The tasks that a reader's samples serve; of a reader that is not named here (an installed package's), any."""


def sorted_by_sample(samples: Ints, count: int) -> tuple[Ints, Ints]:
    """Order of rows grouped by sample (stable), and where each sample's rows start: (rows,), (count + 1,)."""
    order = np.argsort(samples, kind="stable")
    return order, np.searchsorted(samples[order], np.arange(count + 1))
