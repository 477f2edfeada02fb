"""Rows of hub data sets: RefCOCO in two dialects, ODinW-13, Vision-R1's training data.

The same column `bbox` is xywh in one and xyxy in the other, so the split's options say which:

| hub id | reader | options |
|---|---|---|
| lmms-lab/RefCOCO, RefCOCOplus, RefCOCOg (now lmms-lab-encoder) | rec-rows | `boxes = "xywh"` |
| jxu124/refcoco, refcocoplus, refcocog | rec-rows | `boxes = "xyxy"` |
| kcz358/ODinW-13 | detect-rows | `dataset = "Aquarium"` |
| JefferyZhan/Vision-R1-Data | vision-r1 | |

Sources: the cards; EvolvingLMMs-Lab/lmms-eval `lmms_eval/tasks/refcoco/utils_rec.py` and `odinw13/utils.py`; Hugging
Face's cookbook on jxu124/refcoco; jefferyZhan/Griffon `Vision-R1/vision_r1/visionr1_qwen.py`.

Pictures inside a table are laid out once as files in `<table>.images` beside it, named by their content: engines read
files, and a journal's keys count a picture by its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from vr1bench.boxes import area
from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files, packed
from vr1bench.readers.files import (
    Box,
    Corners,
    Options,
    Row,
    Side,
    decoded,
    file_below,
    is_file_below,
    joint_sha256,
    odd_boxes,
    plain_ids,
    read_boxes,
    read_options,
    refuse_labels,
    refuse_names,
    refuse_texts,
)
from vr1bench.readers.pictures import Album, Size, upright_size
from vr1bench.readers.refer import Phrases, referring
from vr1bench.readers.refer_pickle import in_split, picture_name, read_refs
from vr1bench.readers.tables import find_table
from vr1bench.types import labels_of


class SentenceOptions(Options):
    """What the rows do not say.

    Attributes:
        boxes: What the numbers of `bbox` are.
        split: The rows of one split, where a table mixes several: by the column `split`, or by `refs`.
        refs: A `refs(unc).p`, relative to the table's folder: the rows whose annotation it has in `split`, each once.
            lmms-lab's `val` holds the UNC val (3,811 rows) and the google one (5,000) without a word which is which.
    """

    boxes: Corners
    split: str = ""
    refs: str = ""


class DetectionOptions(Options):
    """`dataset`: the rows with this `dataset_name`; may be left out where there is only one. `boxes`: as they are."""

    dataset: str = ""
    boxes: Corners = "xyxy"


class Picture(Row):
    """The hub's image column: a file's bytes, or where it lies."""

    data: bytes | None = msgspec.field(default=None, name="bytes")
    path: str | None = None


class Pictured(Row):
    """A row with a picture: inside (`image`), or by a name below the image folder."""

    image: Picture | str | None = None
    image_path: str | None = None
    file_name: str | None = None
    width: Side | None = None
    height: Side | None = None
    raw_image_info: str | None = None

    @property
    def inside(self) -> bytes | None:
        """The picture's bytes, if the table holds them."""
        return self.image.data if isinstance(self.image, Picture) else None

    @property
    def name(self) -> str:
        """The picture's file; RefCOCO's `file_name` without the annotation's number."""
        said = self.image.path if isinstance(self.image, Picture) else self.image
        return said or self.image_path or picture_name(self.file_name or "")


class SentenceRow(Pictured, kw_only=True):
    """One object and its sentences: `answer` (lmms-lab) or `captions` (jxu124)."""

    bbox: Box
    answer: list[str] | None = None
    captions: list[str] | None = None
    split: str | None = None
    ann_id: int | None = None
    question_id: int | str | None = None

    @property
    def annotation_id(self) -> int:
        """COCO's annotation id: `ann_id`, or lmms-lab's `question_id`; -1 where there is neither."""
        said = str(self.question_id if self.ann_id is None else self.ann_id)
        return int(said) if said.isdecimal() else -1


class DetectionRow(Pictured, kw_only=True):
    """One image of ODinW-13: `categories` may be asked, `labels` name the boxes."""

    categories: list[str]
    bboxes: list[Box]
    labels: list[str]
    dataset_name: str = ""


class VisionR1Row(Pictured, kw_only=True):
    """One image of Vision-R1's data; two columns are JSON inside a string."""

    problem: str
    solution: str
    target_id_maps: str


class ImageRecord(Row):
    """What counts of jxu124's `raw_image_info`, COCO's record of the image."""

    width: Side
    height: Side


def read_sentences(source: Files) -> Dataset:
    """RefCOCO rows: one sample a sentence, in the table's order; ids count from 0.

    Options: `SentenceOptions`. Counted in `warnings`: blank sentences, which are left out; rows of an annotation that
    another row has too, which tells a table of several splits.

    Raises:
        Vr1benchError: A row lacks `bbox` or a sentence, a box is bad, no row has the split, or a picture is missing.
    """
    told = read_options(source, SentenceOptions)
    wanted, refs_sha256 = _wanted(source.annotations, told)
    shelf = Shelf(source)
    boxes: list[Box] = []
    phrases: list[str] = []
    ids: list[int] = []
    seen: Counter[int] = Counter()
    blank = 0
    for row, where in shelf.table.typed(SentenceRow):
        sentences = row.answer if row.captions is None else row.captions
        if sentences is None:
            raise Vr1benchError(f"{where}: expected the column answer or captions, with the row's sentences; got none")
        seen[row.annotation_id] += 1
        if wanted is not None and (row.annotation_id not in wanted or seen[row.annotation_id] > 1):
            continue
        if wanted is None and told.split and row.split != told.split:
            continue
        said = [sentence for sentence in sentences if sentence.strip()]
        blank += len(sentences) - len(said)
        shelf.add(row, where, len(said))
        boxes += [row.bbox] * len(said)
        phrases += said
        ids += [row.annotation_id] * len(said)
    if not boxes:
        raise _no_sentence(source.annotations, told, sum(seen.values()), blank)
    repeats = sum(count - 1 for i, count in seen.items() if i >= 0) if wanted is None else 0
    counts = {"blank sentences, left out": blank, "rows of an annotation that an earlier row has too": repeats}
    corners = read_boxes(source.annotations, boxes, told.boxes, "sentences", "bbox")
    what = "a sentence in answer or captions"
    table = Phrases(what, shelf.names, shelf.sizes, corners, phrases, annotation_ids=plain_ids(ids))
    warnings = {what: count for what, count in counts.items() if count}
    return referring(source.annotations, shelf.folder, table, joint_sha256(shelf.table.sha256, *refs_sha256), warnings)


def _no_sentence(path: Path, told: SentenceOptions, rows: int, blank: int) -> Vr1benchError:
    """The error of a table that leaves nothing to ask."""
    if not rows:
        return Vr1benchError(f"{path}: expected at least one row, got none; fetch the file again")
    if blank or not (told.split or told.refs):
        return Vr1benchError(f"{path}: expected a sentence in answer or captions, got {blank} blank ones; repair it")
    of = f" in {told.refs}" if told.refs else ""
    return Vr1benchError(f"{path}: no row of split {told.split!r}{of}, of {rows}; expected some: mend `options`")


def read_detections(source: Files) -> Dataset:
    """ODinW-13 rows: one sample an image, in the table's order; ids count from 0, annotation ids from 1.

    Options: `DetectionOptions`.

    Raises:
        Vr1benchError: A row lacks a column, a box has no label of `categories`, or the table holds several sets and
            `dataset` does not say which.
    """
    told = read_options(source, DetectionOptions)
    shelf = Shelf(source)
    gold = _Gold()
    found: Counter[str] = Counter()
    for row, where in shelf.table.typed(DetectionRow):
        found[row.dataset_name] += 1
        if told.dataset in {"", row.dataset_name}:
            shelf.add(row, where)
            gold.add(tuple(dict.fromkeys(row.categories)), row.bboxes, row.labels, where)
    if not found:
        raise Vr1benchError(f"{source.annotations}: expected at least one row, got none; fetch the file again")
    if not gold.queries or (not told.dataset and len(found) > 1):
        wrong = (
            f"no rows of dataset {told.dataset!r}" if told.dataset else f"{len(found)} sets, and no `dataset` is named"
        )
        sets = ", ".join(f"{name!r} ({count})" for name, count in found.items())
        raise Vr1benchError(
            f"{source.annotations}: {wrong}; expected one set; the table holds: {sets}: mend `options` in the "
            "benchmark's TOML"
        )
    return gold.dataset(source.annotations, shelf, told.boxes)


def read_vision_r1(source: Files) -> Dataset:
    """Vision-R1's rows: one sample an image, asked for the names of `target_id_maps` in the order of their ids.

    `solution` is `[[name, [[x1, y1, x2, y2], ...]], ...]` in pixels of the original image. Their loader compares names
    in small letters, so a gold name takes the map's spelling. Id 0 is the background and no name. Takes no options.

    Raises:
        Vr1benchError: A row lacks a column, one of the strings is no such JSON, or a gold name is not in the map.
    """
    read_options(source)
    shelf = Shelf(source)
    gold = _Gold()
    problems: list[str] = []
    for row, where in shelf.table.typed(VisionR1Row, strict=False):
        ids = decoded(row.target_id_maps.encode(), dict[str, int], f"{where}: target_id_maps")
        queries = tuple(name for name, i in sorted(ids.items(), key=lambda item: item[1]) if i > 0)
        spelled = {name.lower(): name for name in reversed(queries)} | {name: name for name in queries}
        said = decoded(row.solution.encode(), list[tuple[str, list[Box]]], f"{where}: solution")
        pairs = [(spelled.get(name, spelled.get(name.lower(), name)), box) for name, boxes in said for box in boxes]
        shelf.add(row, where)
        gold.add(queries, [box for _, box in pairs], [name for name, _ in pairs], where)
        problems.append(row.problem)
    return gold.dataset(source.annotations, shelf, "xyxy", problems)


def _wanted(path: Path, told: SentenceOptions) -> tuple[set[int] | None, tuple[str, ...]]:
    """Annotation ids of the split in `refs`, and the sha256 of that file; None and () where that is not asked."""
    if not told.refs:
        return None, ()
    refs_path = path.parent / told.refs
    refs, sha256 = read_refs(refs_path)
    return {ref.ann_id for ref in in_split(refs, told.split, refs_path)}, (sha256,)


class Shelf:
    """The pictures of a table's rows: names and sizes, one for each sample, all in one folder."""

    def __init__(self, source: Files) -> None:
        self.table = find_table(source.annotations)
        self._album = Album(source.annotations.parent / f"{self.table.name}.images", lay_out=source.lay_out)
        self._images = source.images
        self._inside: bool | None = None
        self._known: dict[str, Size] = {}
        self.names: list[str] = []
        self.sizes: list[Size] = []

    @property
    def folder(self) -> Path:
        """Where the names count from."""
        return self._album.folder if self._inside else self._images

    def add(self, row: Pictured, where: str, times: int = 1) -> None:
        """Takes in a row's picture, as often as the row makes samples.

        Raises:
            Vr1benchError: The row has no picture, or has it outside where others have it inside.
        """
        data = row.inside
        if self._inside not in {None, data is not None}:
            raise Vr1benchError(f"{where}: some rows hold their picture, others name a file; expected one kind")
        self._inside = data is not None
        name, size = self._album.keep(data, where) if data is not None else self._outside(row, where)
        self.names += [name] * times
        self.sizes += [size] * times

    def _outside(self, row: Pictured, where: str) -> tuple[str, Size]:
        if not is_file_below(row.name):
            raise Vr1benchError(
                f"{where}: expected {file_below(self._images)}, got {row.name[:200]!r}; repair the table"
            )
        if row.width and row.height:
            return row.name, (row.width, row.height)
        if row.raw_image_info:
            told = decoded(row.raw_image_info.encode(), ImageRecord, f"{where}: raw_image_info")
            return row.name, (told.width, told.height)
        if row.name not in self._known:
            self._known[row.name] = upright_size(self._images / row.name)[0]
        return row.name, self._known[row.name]


@dataclass
class _Gold:
    """Boxes of detection rows as they come in, one entry of `queries` and `counts` a sample."""

    queries: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    counts: list[int] = field(default_factory=list[int])
    boxes: list[Box] = field(default_factory=list[Box])
    labels: list[str] = field(default_factory=list[str])

    def add(self, queries: tuple[str, ...], boxes: Sequence[Box], labels: Sequence[str], where: str) -> None:
        """Takes in a sample.

        Raises:
            Vr1benchError: Boxes and labels differ in number, nothing is asked, or a label is none of the names asked.
        """
        if len(boxes) != len(labels):
            raise Vr1benchError(f"{where}: {len(boxes)} boxes and {len(labels)} labels; expected as many")
        strange = [label for label in labels if label not in queries]
        if strange or not all(queries) or not queries:
            raise Vr1benchError(
                f"{where}: expected names, and labels among them, got the names {list(queries)} and the label "
                f"{strange[:1] or 'of none'}; names keep case and spaces"
            )
        self.queries.append(queries)
        self.counts.append(len(boxes))
        self.boxes += boxes
        self.labels += labels

    def dataset(self, path: Path, shelf: Shelf, corners: Corners, problems: Sequence[str] | None = None) -> Dataset:
        """The dataset of all samples.

        Raises:
            Vr1benchError: There is none, or a box is bad.
        """
        count = len(self.counts)
        if not count:
            raise Vr1benchError(f"{path}: expected at least one row, got none")
        boxes = read_boxes(path, self.boxes, corners, "boxes", "bboxes")
        vocabulary = list(dict.fromkeys(name for queries in dict.fromkeys(self.queries) for name in queries))
        place = {name: i for i, name in enumerate(vocabulary)}
        refuse_labels(path, vocabulary, "names")
        refuse_names(path, shelf.names, "rows", shelf.folder)
        refuse_texts(path, problems or (), "rows", "a problem", blank=True)
        starts = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        sizes, extents = np.array(shelf.sizes, np.int64), area(boxes)
        return Dataset(
            ids=packed([str(i) for i in range(count)]),
            names=packed(shelf.names),
            folder=shelf.folder,
            sizes=sizes,
            queries=self.queries,
            starts=starts,
            boxes=boxes,
            labels=np.array([place[label] for label in self.labels], np.int64),
            crowd=np.zeros(len(boxes), np.bool_),
            areas=extents,
            extents=extents,
            annotation_ids=np.arange(1, len(boxes) + 1),
            vocabulary=labels_of(vocabulary),
            sha256=shelf.table.sha256,
            problems=None if problems is None else packed(problems),
            warnings=odd_boxes(boxes, np.repeat(sizes, self.counts, axis=0), extents),
        )
