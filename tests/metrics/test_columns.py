"""Pairs to columns."""

from pathlib import Path

import numpy as np
import pytest

from vr1bench.metrics.columns import AnnotationIds, columns, joined
from vr1bench.types import Detections, Gold, Pair, Prediction, Sample, Status


def pair(gold: Gold, answer: Detections | None, queries: tuple[str, ...] = ("cat", "dog")) -> Pair:
    sample = Sample("s", (Path("s.jpg"),), 100, 100, queries, gold)
    if answer is None:
        return Pair(sample, None)
    flags = np.zeros(len(answer), dtype=np.bool_)
    return Pair(sample, Prediction("", answer, flags, flags, Status.OK))


BOX, OTHER = [0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 10.0, 25.0]


def test_rows_keep_their_image_class_and_order() -> None:
    found = columns([
        pair(Gold.of([BOX], ["dog"]), Detections.of([BOX, OTHER], ["dog", "cat"])),
        pair(Gold.of([], []), None),
        pair(Gold.of([OTHER, BOX], ["dog", "cat"]), Detections.of([OTHER], ["cat"])),
    ])  # fmt: skip
    assert (found.labels, found.images) == (("cat", "dog"), 3)
    assert found.truth.image.tolist() == [0, 2, 2]
    assert found.truth.label.tolist() == [1, 1, 0]
    assert found.truth.boxes.tolist() == [BOX, OTHER, BOX]
    assert found.truth.areas.tolist() == found.truth.extents.tolist() == [100, 100, 100]
    assert found.guesses.image.tolist() == [0, 0, 2]
    assert found.guesses.label.tolist() == [1, 0, 0]
    assert found.guesses.boxes.tolist() == [BOX, OTHER, OTHER]
    assert found.guesses.extents.tolist() == [100, 100, 100]
    assert found.guesses.scores.tolist() == [1, 1, 1]
    assert len(found.strays) == 0


def test_classes_stand_as_first_asked_and_gold_alone_is_not_lost() -> None:
    found = columns([
        pair(Gold.of([BOX], ["bird"]), None, ("dog",)),
        pair(Gold.of([], []), Detections.of([BOX, BOX, BOX], ["cow", "cat", "bird"]), ("cat", "dog")),
    ])  # fmt: skip
    assert found.labels == ("dog", "cat", "bird")
    assert found.guesses.label.tolist() == [1, 2]
    assert (found.strays.label.tolist(), found.strays.image.tolist()) == ([-1], [1])


@pytest.mark.parametrize(("ids", "lost"), [("fixed", [False, False]), ("as-shipped", [True, False])])
def test_annotation_id_0_is_lost_only_as_shipped(ids: AnnotationIds, lost: list[bool]) -> None:
    gold = Gold.of([BOX, OTHER], ["cat", "cat"])
    shipped = Gold(gold.boxes, gold.labels, gold.crowd, gold.areas, gold.extents, np.array([0, 1]))
    assert columns([pair(shipped, None)], ids).truth.lost.tolist() == lost


def test_batches_join_to_the_whole() -> None:
    pairs = [
        pair(Gold.of([BOX], ["cat"]), Detections.of([BOX, OTHER, BOX], ["cat", "dog", "unicorn"]), ("cat",)),
        pair(Gold.of([], []), None, ("dog",)),
        pair(Gold.of([OTHER, BOX], ["dog", "dog"]), Detections.of([OTHER], ["dog"]), ("cat", "dog")),
    ]
    whole, parts = columns(pairs), [columns(pairs[:1]), columns([]), columns(pairs[1:])]
    assert parts[0].stray_names == ("dog", "unicorn")
    assert whole.stray_names == ("unicorn",)
    for field in ("labels", "images", "stray_names"):
        assert getattr(joined(parts), field) == getattr(whole, field)
    for rows in ("truth", "answers", "guesses", "strays"):
        got, expected = getattr(joined(parts), rows), getattr(whole, rows)
        for field in expected.__slots__:
            np.testing.assert_array_equal(getattr(got, field), getattr(expected, field))
            assert getattr(got, field).dtype == getattr(expected, field).dtype
    assert joined([]).images == len(joined([]).truth) == 0


def test_no_pairs_are_no_columns() -> None:
    found = columns([])
    assert (found.labels, found.images, len(found.truth), len(found.guesses)) == ((), 0, 0, 0)
    assert found.truth.boxes.shape == (0, 4)
