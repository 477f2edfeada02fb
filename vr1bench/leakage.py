"""Images that are trained on and evaluated: the same file, the same COCO image, or the same bytes."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vr1bench.benchmark import Benchmark
from vr1bench.errors import Vr1benchError
from vr1bench.readers import text_of

_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)20\d\d_)?(\d{12})(?:_\d+)?\.(?:jpe?g|png)", re.IGNORECASE)
"""COCO's file names of 2014 and 2017: an image keeps its id in both, and changes its split. Refer's pickles put an
annotation's number behind it."""


class LeakageError(Vr1benchError):
    """What is to be trained on is evaluated on. Exit code 1: a verdict."""

    exit_code = 1


@dataclass(frozen=True)
class HeldOut:
    """Images that must not be trained on.

    Attributes:
        name: Of the benchmark and its split.
        images: Their files, each once.
    """

    name: str
    images: tuple[Path, ...]


@dataclass(frozen=True)
class Leakage:
    """What was found.

    Attributes:
        shared: Image to train on to where it is evaluated, in words.
        unseen: Images of either side whose files are not there: they were compared by name alone.
    """

    shared: Mapping[str, str]
    unseen: int


def held_out(chosen: Iterable[Benchmark], data_dir: Path | None, split: str | None = None) -> list[HeldOut]:
    """The images of benchmarks' evaluation splits.

    Args:
        chosen: See `vr1bench.benchmark.chosen`.
        data_dir: As in `vr1bench.run`.
        split: Of every benchmark; None takes each benchmark's own.

    Raises:
        Vr1benchError: The data of one is not there.
    """
    found: list[HeldOut] = []
    for one in chosen:
        data = one.load(split or one.split, data_dir)
        names = sorted({text_of(name) for name in np.unique(data.names)})
        found.append(HeldOut(f"{one.name} {split or one.split}", tuple(data.folder / name for name in names)))
    return found


def shared_images(images: Iterable[str | Path], against: Iterable[HeldOut], *, progress: bool = False) -> Leakage:
    """Finds images that are trained on though they are evaluated.

    Two images are one where they are the same file, carry the same COCO image id in their names (train2014, val2014
    and 2017 share ids), or hold the same bytes. A copy that was resized or saved anew under another name is not found.

    Args:
        images: Files to train on; they need not be there.
        against: What is evaluated.
        progress: Draw a progress bar on stderr.
    """
    train = {Path(image).resolve(): str(image) for image in images}
    places: dict[Path, str] = {}
    for one in against:
        for image in one.images:
            places.setdefault(image.resolve(), f"{one.name}: {image.name}")
    ids = {number: where for image, where in places.items() if (number := coco_id(image))}
    shared: dict[str, str] = {}
    for image, said in train.items():
        if image in places:
            shared[said] = f"{places[image]}, the same file"
        elif (number := coco_id(image)) in ids:
            shared[said] = f"{ids[number]}, the same COCO image"
    rest = [image for image, said in train.items() if said not in shared]
    twins, unseen = _same_bytes(rest, places.keys(), progress)
    shared |= {train[image]: f"{places[twin]}, the same bytes" for image, twin in twins.items()}
    return Leakage(shared, unseen)


def coco_id(image: Path) -> str | None:
    """The twelve digits that name an image of COCO in every edition; None where the name is another one's."""
    match = _COCO_NAME.fullmatch(image.name)
    return match[1] if match else None


def _same_bytes(train: Collection[Path], tested: Collection[Path], progress: bool) -> tuple[dict[Path, Path], int]:
    """Training image to the evaluated one that equals it, and how many files are not there.

    Only files whose size occurs on both sides are read.
    """
    sizes = [{image: size for image in side if (size := _size(image)) is not None} for side in (train, tested)]
    both = set(sizes[0].values()) & set(sizes[1].values())
    ours, theirs = ([image for image, size in side.items() if size in both] for side in sizes)
    twins: dict[Path, Path] = {}
    with tqdm(
        total=len(ours) + len(theirs), unit=" files", desc="comparing images", delay=2, disable=not progress,
        dynamic_ncols=True, file=sys.stderr,
    ) as bar:  # fmt: skip
        digests: dict[bytes, Path] = {}
        for image in theirs:
            digests.setdefault(_digest(image), image)
            bar.update()
        for image in ours:
            if twin := digests.get(_digest(image)):
                twins[image] = twin
            bar.update()
    return twins, len(train) + len(tested) - sum(map(len, sizes))


def _size(image: Path) -> int | None:
    try:
        return image.stat().st_size
    except OSError:
        return None


def _digest(image: Path) -> bytes:
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
