"""The study's data sets: read by the real readers, of pictures that no other set and no training has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from vr1bench import leakage
from vr1bench.benchmark import benchmarks, find, suite
from vr1bench.demo import datasets
from vr1bench.demo.datasets import STUDY_SEED, write_demo, write_demo_train
from vr1bench.demo.looks import LOOKS
from vr1bench.demo.study import IDS_A_SET, STUDY, STUDY_ID, StudySet, other_phrases, write_study
from vr1bench.demo.world import COLOURS, TRAIN_SEED_START, Scene, Thing, make_scene, referrals

COUNT = 12
SPLITS = [(one, split) for one in STUDY for split in one.pictures]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that holds small sets, as if drawn on first use."""
    folder = tmp_path_factory.mktemp("cache")
    write_study(folder / "study-1", count=COUNT)
    write_demo(folder / "demo-2", count=COUNT)
    write_demo_train(folder / "demo-2-train", count=COUNT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VR1BENCH_CACHE", str(folder))
        yield folder


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_writing_again_gives_the_same_bytes(cache: Path, tmp_path: Path) -> None:
    write_study(tmp_path / "again", count=COUNT)
    assert digests(tmp_path / "again") == digests(cache / "study-1")


def test_benchmarks_read_what_is_written(cache: Path) -> None:
    assert [one.name for one in suite("study")] == [f"study/{one.folder}" for one in STUDY]
    assert [one.name for one in suite("study-in") + suite("study-out")] == [one.name for one in suite("study")]
    for one in STUDY:
        benchmark = find(f"study/{one.folder}")
        assert (benchmark.split, benchmark.generated) == ("test", "study")
        assert {split: where.samples for split, where in benchmark.splits.items()} == one.pictures
        for split in one.pictures:
            data = benchmark.load(split, None)
            assert len(data) == COUNT
            assert data.folder.is_relative_to(cache / "study-1")
            for sample, scene in zip(data, _scenes(one, split, COUNT), strict=True):
                assert sample.images[0].is_file()
                assert (sample.width, sample.height) == (scene.width, scene.height)
                gold = sorted(zip(sample.gold.labels.tolist(), sample.gold.boxes.tolist(), strict=True))
                if one.phrases is None:
                    assert gold == sorted((thing.label, list(thing.box)) for thing in scene.things)
                else:
                    ((phrase, box),) = gold
                    assert (phrase, box) in [(said, list(scene.things[i].box)) for said, i in one.phrases(scene)]


def test_the_sizes_that_ship_are_drawn_from_seeds_that_no_other_set_has() -> None:
    taken: set[int] = set()
    for one, split in SPLITS:
        seeds = {scene.seed for scene in _scenes(one, split, one.pictures[split])}
        assert len(seeds) == one.pictures[split]
        # Other sets of write_demo and trainers.score_demo (from half of the training's first seed) lie on either side.
        assert STUDY_SEED <= min(seeds) <= max(seeds) < TRAIN_SEED_START // 2
        assert not seeds & taken
        taken |= seeds
    assert datasets.SEEDS * datasets.SETS * datasets.SEEDS_A_SET <= STUDY_SEED


def test_sets_hold_scenes_of_their_look() -> None:
    assert {one.look.name for one in STUDY} == {look.name for look in LOOKS}
    for one, split in SPLITS:
        for scene in _scenes(one, split, one.pictures[split]):
            assert scene.look is one.look
            assert one.look.counts[0] <= len(scene.things) <= one.look.counts[1]


def _scenes(one: StudySet, split: str, count: int) -> list[Scene]:
    return one.scenes(STUDY_SEED + SPLITS.index((one, split)) * datasets.SEEDS_A_SET, count)


@pytest.mark.usefixtures("cache")
def test_no_picture_is_trained_on_or_stands_in_another_set() -> None:
    """By file, COCO id and bytes; a recipe that trains on the demo and is scored on the study is not refused."""
    held = leakage.held_out(suite("study"), None) + leakage.held_out(suite("study-in"), None, "dev")
    trained = leakage.held_out([find("demo/coco"), find("demo/rec")], None, "train")
    others = leakage.held_out([one for one in suite("demo") if one.task != "qa"], None)
    for part in trained + others:
        found = leakage.shared_images(part.images, held)
        assert (found.shared, found.unseen) == ({}, 0)
    numbers = [{int(leakage.coco_id(image) or 0) for image in part.images} for part in held]
    assert {len(part) for part in numbers} == {COUNT}
    blocks = [{number // IDS_A_SET for number in part} for part in numbers]
    assert sorted(map(sorted, blocks)) == [[STUDY_ID // IDS_A_SET + place] for place in range(len(SPLITS))]


def test_image_ids_of_the_largest_sets_keep_apart() -> None:
    assert datasets.TRAINING_ID + 38 * datasets.MOST_PICTURES < STUDY_ID
    assert all(38 * pictures < IDS_A_SET for one in STUDY for pictures in one.pictures.values())


def test_masks_of_other_forms_are_exact(cache: Path) -> None:
    coco = COCO(str(cache / "study-1/forms/annotations/instances_test.json"))
    assert not any(row["iscrowd"] for row in coco.loadAnns(coco.getAnnIds()))
    for row in coco.loadAnns(coco.getAnnIds()):
        rows, columns = np.nonzero(coco.annToMask(row))
        x, y, width, height = row["bbox"]
        assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (x, x + width, y, y + height)
        assert len(rows) == row["area"] < width * height


@pytest.mark.slow  # draws 3,000 pictures
def test_a_missing_collection_is_drawn_whole_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path))
    for one, split in SPLITS:
        data = find(f"study/{one.folder}").load(split, None)
        assert (len(data), data.warnings) == (one.pictures[split], {})
        assert data.folder.is_relative_to(tmp_path / "study-1")


def test_the_words_of_definitions_and_of_stored_results_are_one() -> None:
    """Results go by fingerprints of what was written when there was one collection."""
    written = {name: benchmarks()[name].model_dump(mode="json")["generated"] for name in ("coco", "demo/coco")}
    assert written == {"coco": False, "demo/coco": True}
    assert benchmarks()["study/plain"].model_dump(mode="json")["generated"] == "study"
    for one in benchmarks().values():
        stored = json.loads(json.dumps(one.model_dump(mode="json")))
        assert type(one).model_validate(stored).generated == one.generated


def holds(scene: Scene, phrase: str, index: int) -> bool:
    """Whether a phrase, read independently of the generator, means this thing and needs no superlative for it."""
    the, superlative, *words = phrase.split()
    name = " ".join(words)
    members = [i for i, thing in enumerate(scene.things) if name in (thing.label, thing.shape)]
    place = {"leftmost": 0, "rightmost": 0, "topmost": 1, "lowest": 1}
    sign = -1 if superlative in ("rightmost", "lowest", "largest") else 1
    rivals = [thing for thing in scene.things if words[0] not in COLOURS or thing.shape == words[-1]]

    def rank(thing: Thing) -> float:
        return sign * (thing.centre[place[superlative]] if superlative in place else thing.area_px)

    return the == "the" and members == [index] and min(rank(thing) for thing in rivals) < rank(scene.things[index])


def test_other_phrases_are_true_and_none_that_was_trained_on() -> None:
    words: set[str] = set()
    for seed in range(150):
        scene = make_scene(seed)
        phrases = other_phrases(scene)
        assert len({phrase for phrase, _ in phrases}) == len(phrases)
        assert not {phrase for phrase, _ in phrases} & {phrase for phrase, _ in referrals(scene)}
        for phrase, index in phrases:
            assert holds(scene, phrase, index), (seed, phrase)
            words |= {phrase.split()[1]}
    assert words == {"leftmost", "rightmost", "topmost", "lowest", "largest", "smallest"}
