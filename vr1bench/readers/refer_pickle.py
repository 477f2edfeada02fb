"""RefCOCO, RefCOCO+ and RefCOCOg as their authors ship them: `refs(unc).p` beside `instances.json`.

The pickle is a list of refs: `{ref_id, ann_id, image_id, split, sentences: [{sent, raw, sent_id, tokens}], ...}`; the
splitter (unc, google, umd) is part of its file name, so whoever names the file has said which (lichengunc/refer,
`refer.py`). Boxes (xywh) and image sizes stand in `instances.json`, and its `file_name` is the picture's; that of a ref
carries the annotation's number behind (`COCO_train2014_000000581857_16.jpg`) and is not a file.

These pickles were written by Python 2 (strings decode as latin1) and hold lists, dicts, strings and numbers. A pickle
is a program: this one may name no class at all, since those need none.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.readers import Dataset, Files
from vr1bench.readers.coco import Annotation, Image, refuse_repeats
from vr1bench.readers.files import (
    Options,
    Row,
    converted,
    joint_sha256,
    plain_ids,
    read_boxes,
    read_bytes,
    read_json,
    read_options,
    refuse,
)
from vr1bench.readers.refer import Phrases, referring

MAX_BYTES = 1 << 28
"""256 MiB; refs(umd).p of RefCOCOg, the largest, has some 30."""
MAX_SENTENCES = 10_000_000
"""A pickle can name one list a million times; RefCOCO, the largest, has 142,210."""
_NUMBERED = re.compile(r"(COCO_\w+2014_\d{12})_\d+(\.jpg)")


class ReferOptions(Options):
    """`split`: the refs' own (train, val, testA, testB, test). `instances`: that file, beside the pickle."""

    split: str
    instances: str = "instances.json"


class RefSentence(Row):
    """`sent` is what `raw` was cleaned to: small letters, no punctuation."""

    sent: str
    raw: str = ""

    @property
    def phrase(self) -> str:
        """`sent`, as VLM-R1 and LISA ask; `raw` where cleaning left nothing."""
        return self.sent if self.sent.strip() else self.raw


class Ref(Row):
    """One object and the sentences about it."""

    ann_id: int
    image_id: int
    split: str
    sentences: list[RefSentence]


class Instances(Row):
    """`instances.json`: COCO's records of the objects referred to."""

    images: list[Image]
    annotations: list[Annotation]


def read(source: Files) -> Dataset:
    """One sample a sentence, in the pickle's order; ids count from 0, gold keeps its annotation id and segment area.

    Options: `ReferOptions`.

    Raises:
        Vr1benchError: The pickle holds a class or is damaged, no ref has the split, a ref names an annotation or image
            that `instances.json` does not have or an annotation of another image, or an id stands there twice.
    """
    path = source.annotations
    told = read_options(source, ReferOptions)
    refs, sha256 = read_refs(path)
    rows = [(ref, sentence) for ref in in_split(refs, told.split, path) for sentence in ref.sentences]
    gold_path = path.parent / told.instances
    instances, gold_sha256 = read_json(gold_path, Instances)
    refuse_repeats(instances.annotations, gold_path, "annotations")
    refuse_repeats(instances.images, gold_path, "images")
    annotations = {row.id: row for row in instances.annotations}
    images = {row.id: row for row in instances.images}
    chosen = [annotations.get(ref.ann_id) for ref, _ in rows]
    lost = [row is None or ref.image_id not in images for (ref, _), row in zip(rows, chosen, strict=True)]
    named = [(ref.ann_id, ref.image_id) for ref, _ in rows]
    refuse(path, np.array(lost), "sentences", f"an (ann_id, image_id) that {gold_path.name} lists", named)
    gold = [row for row in chosen if row is not None]
    strange = [ref.image_id != row.image_id for (ref, _), row in zip(rows, gold, strict=True)]
    refuse(path, np.array(strange), "sentences", f"an ann_id that {gold_path.name} has on that image_id", named)
    areas = [row.bbox[2] * row.bbox[3] if row.area is None else row.area for row in gold]
    boxes = read_boxes(gold_path, [row.bbox for row in gold], "xywh", "annotations of the split", "bbox")
    bad = np.array([not 0 <= value < np.inf for value in areas], np.bool_)
    refuse(gold_path, bad, "annotations of the split", "a finite area of 0 or more", areas)
    pictures = [images[ref.image_id] for ref, _ in rows]
    table = Phrases(
        what="a sentence in sent or raw",
        names=[picture.file_name for picture in pictures],
        sizes=[(picture.width, picture.height) for picture in pictures],
        boxes=boxes,
        phrases=[sentence.phrase for _, sentence in rows],
        areas=areas,
        annotation_ids=plain_ids([row.id for row in gold]),
    )
    return referring(path, source.images, table, joint_sha256(sha256, gold_sha256))


def read_refs(path: Path) -> tuple[list[Ref], str]:
    """The refs of a `refs(<splitter>).p`, and the sha256 of its bytes.

    Raises:
        Vr1benchError: See `read_pickle`; a ref lacks a field or has one of another type.
    """
    value, sha256 = read_pickle(path)
    rows: list[Any] = value if isinstance(value, list) else []
    lists = [row.get("sentences") for row in rows if isinstance(row, dict)]
    sentences = sum(len(said) for said in lists if isinstance(said, list))
    if sentences > MAX_SENTENCES:
        raise Vr1benchError(f"{path}: {sentences} sentences; expected at most {MAX_SENTENCES}: this is no refs file")
    return converted(value, list[Ref], path), sha256


def in_split(refs: list[Ref], split: str, path: Path) -> list[Ref]:
    """The refs of a split.

    Raises:
        Vr1benchError: There are none; lists the splits that there are.
    """
    chosen = [ref for ref in refs if ref.split == split]
    if not chosen:
        found = ", ".join(f"{name} ({count})" for name, count in sorted(Counter(ref.split for ref in refs).items()))
        raise Vr1benchError(
            f"{path}: no ref has the split {split!r}; expected one of: {found or 'none, for it is empty'}"
        )
    return chosen


def read_pickle(path: Path) -> tuple[Any, str]:
    """A pickle of plain values, and the sha256 of its bytes; nothing in it is ever called.

    Raises:
        Vr1benchError: It is missing, larger than `MAX_BYTES`, damaged, or names a class or function.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise Vr1benchError(
            f"{path}: {path.stat().st_size} bytes; expected at most {MAX_BYTES} of a pickle of annotations: fetch the "
            "authors' file again"
        )
    data = read_bytes(path)
    try:
        return _Plain(path, data).load(), hashlib.sha256(data).hexdigest()
    except Vr1benchError:
        raise
    except Exception as error:  # damaged bytes raise many kinds
        raise Vr1benchError(
            f"{path}: no pickle of plain values ({type(error).__name__}: {error}); expected the authors' file: "
            "fetch it again"
        ) from error


def picture_name(file_name: str) -> str:
    """COCO's name of a ref's picture: without the annotation's number; any other name stays."""
    found = _NUMBERED.fullmatch(file_name)
    return f"{found[1]}{found[2]}" if found else file_name


class _Plain(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]
    """Lists, dicts, strings, numbers. Python's own code, whose memo is a dict: the C one lets five bytes take 64 GB."""

    def __init__(self, path: Path, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  as the base class has it
        raise Vr1benchError(
            f"{self._path}: the pickle names {module}.{name}; expected lists, dicts, strings and numbers only, as the "
            "authors' files hold; nothing of it was run: do not load this file elsewhere, fetch it from its source"
        )
