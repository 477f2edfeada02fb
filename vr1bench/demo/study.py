"""The study's data sets: pictures as the small model was trained on, and pictures whose looks it never saw.

`write_study` lays out, in COCO's form, and in REC's where a set asks for phrases::

    plain/annotations/instances_test.json, instances_dev.json     in domain; pictures under plain/test/ and plain/dev/
    plain-rec/rec_jsons_processed/demo_test.json, demo_dev.json   in domain; pictures under plain-rec/train2014/
    shades/, grounds/, forms/, sizes/, crowds/                    as plain/, test alone; see `vr1bench.demo.looks`
    phrases/                                                      as plain-rec/, test alone; see `other_phrases`

No seed and no image id is one of another set's, whether `write_demo`'s, a training's or `trainers.score_demo`'s.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vr1bench.demo.coco import Expressions, write_coco, write_rec
from vr1bench.demo.datasets import SEEDS_A_SET, STUDY_SEED, replaced
from vr1bench.demo.looks import CROWDS, GROUNDS, OTHER_FORMS, PLAIN, SHADES, SIZES, Look
from vr1bench.demo.world import LABELS, Scene, extremes, make_scene, referrals

STUDY_ID: Final = 1_000_000
IDS_A_SET: Final = 100_000


def other_phrases(scene: Scene) -> tuple[tuple[str, int], ...]:
    """Expressions that mean exactly one thing, of a form that `referrals` never makes: with a needless superlative.

    `the leftmost red circle` of a picture with one red circle, where another circle lies further left; or `the largest
    circle` of one with one circle, where another thing is larger. Who heeds the superlative alone goes wrong.

    Returns:
        (phrase, index into `scene.things`), in a fixed order.
    """
    found: list[tuple[str, int]] = []
    for phrase, index in referrals(scene):
        name = phrase.removeprefix("the ")
        if name not in (scene.things[index].label, scene.things[index].shape):
            continue  # one of several, which does need its superlative
        shape = name.split()[-1] if name in LABELS else ""
        rivals = [place for place, thing in enumerate(scene.things) if shape in ("", thing.shape)]
        if len(rivals) > 1:
            found += [(f"the {word} {name}", index) for word, other in extremes(scene, rivals) if other != index]
    return tuple(found)


@dataclass(frozen=True)
class StudySet:
    """One set.

    Attributes:
        folder: Under the study's, and the last part of the benchmark's name.
        look: Of its scenes.
        pictures: Split to the number of its pictures.
        phrases: What is asked for, in REC's form; None for every class, in COCO's.
    """

    folder: str
    look: Look
    pictures: Mapping[str, int]
    phrases: Expressions | None = None

    def scenes(self, first: int, count: int) -> list[Scene]:
        """The first scenes from a seed on that hold something to ask for."""
        drawn = (make_scene(seed, look=self.look) for seed in itertools.count(first))
        asked = (scene for scene in drawn if self.phrases is None or self.phrases(scene))
        return list(itertools.islice(asked, count))

    def write(self, root: Path, split: str, scenes: list[Scene], first_id: int) -> None:
        """One split; image ids begin at `first_id`."""
        if self.phrases:
            write_rec(root / self.folder, scenes, split, first_id=first_id, phrases=self.phrases)
        else:
            write_coco(root / self.folder, scenes, split, first_id=first_id, crowds=0)


STUDY: Final = (
    StudySet("plain", PLAIN, {"test": 400, "dev": 200}),
    StudySet("plain-rec", PLAIN, {"test": 400, "dev": 200}, referrals),
    StudySet("shades", SHADES, {"test": 300}),
    StudySet("grounds", GROUNDS, {"test": 300}),
    StudySet("forms", OTHER_FORMS, {"test": 300}),
    StudySet("sizes", SIZES, {"test": 300}),
    StudySet("crowds", CROWDS, {"test": 300}),
    StudySet("phrases", PLAIN, {"test": 300}, other_phrases),
)


def write_study(root: Path, *, count: int | None = None) -> None:
    """Write the sets, all of them or nothing; the same arguments give the same bytes.

    Args:
        root: Folder to make. One that an earlier call made is replaced.
        count: Pictures in each split; None takes each split's own number.

    Raises:
        FileExistsError: If `root` holds anything else than an earlier call's data sets.
    """
    splits = [(one, split) for one in STUDY for split in one.pictures]
    with replaced(root, {one.folder for one in STUDY}) as fresh:
        for place, (one, split) in enumerate(splits):
            scenes = one.scenes(STUDY_SEED + place * SEEDS_A_SET, count or one.pictures[split])
            one.write(fresh, split, scenes, STUDY_ID + place * IDS_A_SET)
