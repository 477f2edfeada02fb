"""Anybody's COCO files: ground truth and results in, numbers out.

`coco_eval` equals pycocotools 2.0.11 to the bit on every input that is valid; `docs/edge_cases.md` lists what counts as
valid, what is read leniently and what is refused, case by case. Files' ids are used once, to say which rows belong
together; inside, images and classes are numbered from 0 in pycocotools' order (ascending id). Callers' dicts are not
changed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import numbers
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from vr1bench.errors import Vr1benchError
from vr1bench.match import Guesses, Truth
from vr1bench.metrics.ap import ap
from vr1bench.metrics.columns import AnnotationIds, Columns
from vr1bench.types import Bools, Floats, Ints

Json = Any
Rows = Sequence[Json]  # of objects, if the file is honest


def coco_eval(
    gt: str | Path | Mapping[str, Json], results: str | Path | Rows, *, ids: AnnotationIds = "fixed"
) -> dict[str, float]:
    """COCO's twelve numbers of a result file, and AP_tie and AP50_tie (`vr1bench.metrics.ap`).

    Args:
        gt: Ground truth: a path or the loaded dict with `images`, `categories` and `annotations`.
        results: Detections: a path or the loaded list of `{image_id, category_id, bbox: [x, y, w, h], score}`; an
            empty list scores 0.
        ids: What annotation id 0 does. pycocotools reads a match with it as no match, so that a correct detection
            counts as false ("as-shipped"); "fixed" counts it right.

    Returns:
        Fractions; -1.0 for a number that no gold box enters, as in pycocotools.

    Raises:
        Vr1benchError: A file cannot be read or says something that has no honest score.

    Warns:
        UserWarning: Rows were dropped because the ground truth lists no such class (or, for gold, image).
    """
    columns = load(gt, results, ids=ids)
    return ap(columns.truth, columns.guesses, len(columns.labels)).numbers


def load(gt: str | Path | Mapping[str, Json], results: str | Path | Rows, *, ids: AnnotationIds = "fixed") -> Columns:
    """Ground truth and results as columns; see `coco_eval`. Detections of unknown classes are the strays."""
    if ids not in get_args(AnnotationIds):
        raise Vr1benchError(f"expected one of {get_args(AnnotationIds)} as ids, got {ids!r}")
    place, other = _name(gt, "ground truth"), _name(results, "results")
    content = _json(gt)
    if not isinstance(content, Mapping):
        raise Vr1benchError(
            f"{place}: expected an object with images, categories and annotations, got {_kind(content)}; "
            "a result file belongs in the other argument"
        )
    images, _ = _listed(_rows(content, "images", place), f"{place}: images")
    classes, entries = _listed(_rows(content, "categories", place), f"{place}: categories")
    truth = _truth(_rows(content, "annotations", place), images, classes, ids, f"{place}: annotations")
    answers = _listed_answers(_json(results), other)
    guesses = _guesses(answers, images, classes, other)
    strays = tuple(str(row["category_id"]) for row, place in zip(answers, guesses.label, strict=True) if place < 0)
    if strays:
        _warn(f"{other}: dropped {len(strays)} detections of classes that the ground truth does not list")
    labels = tuple(str(entry.get("name", entry["id"])) for entry in entries)
    return Columns(labels, len(images), truth, guesses, strays)


def read_detections(path: Path, images: Mapping[Json, int], classes: Mapping[Json, int]) -> tuple[Guesses, str]:
    """A result file against images and classes that are known already.

    As strict as `coco_eval`, and twice stricter, since a row of a leaderboard comes of it: there a class that is not
    listed, and corners beyond all numbers, cost nothing.

    Args:
        path: The file; read once, so a pipe will do.
        images: Place of each image by id.
        classes: Place of each class by id.

    Returns:
        Detections in the file's order, labelled by the classes' places; and the sha256 of the file.

    Raises:
        Vr1benchError: The file cannot be read or says something that has no honest score.
    """
    text, where = _bytes(path), str(path)
    rows = _listed_answers(_parsed(text, path), where)
    guesses = _guesses(rows, images, classes, where)
    if (guesses.label < 0).any():
        row = int(np.argmax(guesses.label < 0))
        known = list({place: key for key, place in classes.items()}.values())
        some = ", ".join(map(repr, known if len(known) <= 8 else known[:7])) + (", ..." if len(known) > 8 else "")
        raise Vr1benchError(
            f"{where}[{row}]: expected a category_id of the annotation file ({some}), got "
            f"{_shown(rows[row]['category_id'])}; write the ids of that file, not a model's own numbers"
        )
    _refuse_huge(guesses.boxes, guesses.extents, _boxes(rows, where), where)
    return guesses, hashlib.sha256(text).hexdigest()


def _listed_answers(content: Json, where: str) -> Rows:
    if not isinstance(content, Sequence) or isinstance(content, str):
        raise Vr1benchError(
            f"{where}: expected a list of {{image_id, category_id, bbox, score}}, got {_kind(content)}"
            + ("; pass its 'annotations'" if isinstance(content, Mapping) and "annotations" in content else "")
        )
    return content


def _truth(rows: Rows, images: dict[Json, int], classes: dict[Json, int], ids: AnnotationIds, where: str) -> Truth:
    xywh = _boxes(rows, where)
    small = np.flatnonzero((xywh[:, 2:] < 0).any(axis=1))
    if len(small):
        raise Vr1benchError(
            f"{where}[{small[0]}]: expected a width and height of at least 0, got bbox {xywh[small[0]].tolist()}; "
            "COCO boxes are [x, y, width, height]"
        )
    corners, extents = _corners(xywh), _extents(xywh)
    _refuse_huge(corners, extents, xywh, where)
    areas = _numbers(
        [row.get("area", extent) for row, extent in zip(rows, extents.tolist(), strict=True)], where, "area"
    )
    if (areas < 0).any():
        row = int(np.argmax(areas < 0))
        raise Vr1benchError(f"{where}[{row}]: expected an area of at least 0, got {areas[row]}; leave it out for w * h")
    image = _places(rows, "image_id", images, where)
    label = _places(rows, "category_id", classes, where)
    truth = Truth(
        image, label, corners, _crowd(rows, where), areas, extents, _zero_ids(rows, where) & (ids == "as-shipped")
    )
    known = (image >= 0) & (label >= 0)
    if not known.all():
        _warn(f"{where}: dropped {int((~known).sum())} boxes of images or classes that the file does not list")
    return truth.take(known)


def _refuse_huge(corners: Floats, extents: Floats, xywh: Floats, where: str) -> None:
    huge = np.flatnonzero(~np.isfinite(corners).all(axis=1) | ~np.isfinite(extents))
    if len(huge):
        raise Vr1benchError(
            f"{where}[{huge[0]}]: expected a box of finite corners and area, got bbox {xywh[huge[0]].tolist()}; mend it"
        )


def _guesses(rows: Rows, images: Mapping[Json, int], classes: Mapping[Json, int], where: str) -> Guesses:
    xywh = _boxes(rows, where)
    image = _places(rows, "image_id", images, where)
    if (image < 0).any():
        row = int(np.argmax(image < 0))
        got = rows[row]["image_id"]
        alike = [known for known in images if str(known) == str(got)]
        hint = f"the ground truth writes it {alike[0]!r}" if alike else "are these results of another split?"
        raise Vr1benchError(f"{where}[{row}]: expected the id of a listed image, got {got!r}; {hint}")
    scores = _numbers(_field(rows, "score", where), where, "score")
    return Guesses(image, _places(rows, "category_id", classes, where), _corners(xywh), scores, _extents(xywh))


def _corners(xywh: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def _extents(xywh: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return xywh[:, 2] * xywh[:, 3]


def _json(source: Json) -> Json:
    """The source itself, or the content of the file that it names."""
    return _parsed(_bytes(Path(source)), source) if isinstance(source, str | Path) else source


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected a COCO json file") from error


def _parsed(text: bytes, source: str | Path) -> Json:
    if not text.strip():
        raise Vr1benchError(f"{source}: expected json, got an empty file; download or write it again")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Vr1benchError(f"{source}: expected json, got something else ({error}); is it cut short?") from error


def _rows(content: Mapping[str, Json], key: str, where: str) -> Rows:
    rows = content.get(key)
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        got = _kind(rows) if key in content else f"only {sorted(map(str, content))}"
        raise Vr1benchError(f"{where}: expected a list under {key!r}, got {got}; is this a COCO ground truth?")
    return rows


def _listed(rows: Rows, where: str) -> tuple[dict[Json, int], Rows]:
    """Ids in ascending order with their places, and the entries in that order; a repeated equal entry is one."""
    entries: dict[Json, Mapping[str, Json]] = {}
    for row, (key, entry) in enumerate(zip(_field(rows, "id", where), rows, strict=True)):
        if not isinstance(key, str) and not _is_number(key):
            raise Vr1benchError(f"{where}[{row}]: expected an id that is a number or a string, got {key!r}")
        if entries.setdefault(key, entry) != entry:
            raise Vr1benchError(f"{where}[{row}]: expected unique ids, got {key!r} twice with different content")
    if not entries:
        raise Vr1benchError(f"{where}: expected at least one, got none; nothing can be scored")
    try:
        order = sorted(entries)
    except TypeError as error:
        raise Vr1benchError(f"{where}: expected ids of one type, got numbers and strings; write all alike") from error
    return {key: place for place, key in enumerate(order)}, [entries[key] for key in order]


def _places(rows: Rows, key: str, listed: Mapping[Json, int], where: str) -> Ints:
    """Place of every row's id among those listed, -1 for unlisted ones."""
    values = _field(rows, key, where)
    try:
        return np.fromiter((listed.get(value, -1) for value in values), np.int64, len(values))
    except TypeError:
        row = next(i for i, value in enumerate(values) if isinstance(value, dict | list))
        raise Vr1benchError(
            f"{where}[{row}]: expected a number or a string as {key}, got {_kind(values[row])}"
        ) from None


def _field(rows: Rows, key: str, where: str) -> list[Json]:
    try:
        return [row[key] for row in rows]
    except (KeyError, TypeError, IndexError):
        row = next(i for i, row in enumerate(rows) if not isinstance(row, Mapping) or key not in row)
    got = f"only {sorted(map(str, rows[row]))}" if isinstance(rows[row], Mapping) else _kind(rows[row])
    raise Vr1benchError(f"{where}[{row}]: expected an object with {key!r}, got {got}")


def _boxes(rows: Rows, where: str) -> Floats:
    """Boxes as the file has them: (n, 4) x, y, width, height."""
    return _numbers(_field(rows, "bbox", where), where, "bbox", 4).reshape(-1, 4)


def _numbers(values: list[Json], where: str, key: str, width: int = 0) -> Floats:
    """Finite numbers, (n,), or (n, width) where each value is a sequence of `width`."""
    floats = _plain(values, (len(values), width) if width else (len(values),))
    if floats is None:
        floats = np.array([_floats(value, width) for value in values])
    fine = np.isfinite(floats).all(axis=1) if width else np.isfinite(floats)
    if not fine.all():
        row = int(np.argmin(fine))
        expected = f"{width} finite numbers" if width else "a finite number"
        raise Vr1benchError(f"{where}[{row}]: expected {expected} as {key}, got {_shown(values[row])}; mend or drop it")
    return floats


def _plain(values: list[Json], shape: tuple[int, ...]) -> Floats | None:
    """The quick way for plain ints and floats in rows of equal length; None where somebody must look closer."""
    try:
        items = itertools.chain.from_iterable(values) if len(shape) > 1 else values
        if set(map(type, items)) <= {int, float}:
            array = np.array(values, dtype=np.float64)
            return array.reshape(shape) if array.size == math.prod(shape) else None
    except (TypeError, ValueError, OverflowError):
        pass
    return None


def _floats(value: Json, width: int) -> list[float] | float:
    """The value as floats; NaN stands for whatever is no number, and the caller refuses it."""
    if not width:
        return _float(value)
    try:
        items = list(value)
    except TypeError:
        items = []
    good = len(items) == width and not isinstance(value, str | Mapping)
    return [_float(item) for item in items] if good else [math.nan] * width


def _float(value: Json) -> float:
    try:
        return math.nan if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    except OverflowError:
        return math.inf


def _crowd(rows: Rows, where: str) -> Bools:
    flags = [row.get("iscrowd", 0) for row in rows]
    for row, flag in enumerate(flags):
        if not isinstance(flag, numbers.Real | np.bool_):
            raise Vr1benchError(f"{where}[{row}]: expected 0 or 1 as iscrowd, got {_shown(flag)}")
    return np.array(flags, dtype=np.bool_)


def _zero_ids(rows: Rows, where: str) -> Bools:
    """Where the annotation id is 0, after a check that ids are numbers and unique."""
    ids = _field(rows, "id", where)
    seen: set[Json] = set()
    for row, key in enumerate(ids):
        if not _is_number(key):
            raise Vr1benchError(f"{where}[{row}]: expected a number as id, got {_shown(key)}; number them from 1")
        if key in seen:
            raise Vr1benchError(f"{where}[{row}]: expected unique annotation ids, got {key!r} twice; number them anew")
        seen.add(key)
    return np.fromiter((key == 0 for key in ids), np.bool_, len(ids))


def _is_number(value: Json) -> bool:
    return isinstance(value, int | np.integer) or (isinstance(value, float) and math.isfinite(value))


def _kind(value: Json) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _shown(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _name(source: Json, default: str) -> str:
    return str(source) if isinstance(source, str | Path) else default


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)
