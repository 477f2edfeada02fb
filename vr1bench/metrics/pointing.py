"""Metrics of models that answer in points: does the point lie in the box?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vr1bench.metrics.pointwise import Counts
from vr1bench.types import Bools, Floats, Pair


def inside(points: Floats, boxes: Floats) -> Bools:
    """Which point lies in which box, edges included: (n, 2), (m, 4) -> (n, m)."""
    x, y = points[:, None, 0], points[:, None, 1]
    return (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])


def pointed(pairs: Sequence[Pair], last: bool = False) -> Bools:
    """Whether each sample's point lies in a gold box of it, (n,); False where there is no point or no gold.

    Args:
        pairs: Samples of one phrase.
        last: Whether the last point counts instead of the first.
    """
    hits = np.zeros(len(pairs), dtype=np.bool_)
    for place, pair in enumerate(pairs):
        points = pair.prediction.points if pair.prediction is not None else None
        if points is not None and len(points):
            chosen = points.xy[-1:] if last else points.xy[:1]
            hits[place] = inside(chosen, pair.sample.gold.boxes).any()
    return hits


def point_counts(pairs: Sequence[Pair]) -> Counts:
    """Points that found a gold box of their label, each box found at most once; as many as can be matched.

    Points in a crowd box alone are excused: neither right nor guessed.
    """
    rows = [_matched(pair) for pair in pairs]
    return Counts(*(np.array(column, dtype=np.int64) for column in (zip(*rows, strict=True) if rows else ([], [], []))))


def _matched(pair: Pair) -> tuple[int, int, int]:
    """(right, guessed, gold) of one sample."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    gold, points = pair.sample.gold, pair.prediction.points if pair.prediction is not None else None
    wanted = ~gold.crowd
    if points is None or not len(points):
        return 0, 0, int(wanted.sum())
    hits = inside(points.xy, gold.boxes) & (points.labels[:, None] == gold.labels[None]) & ~points.unknown[:, None]
    excused = hits[:, gold.crowd].any(axis=1) & ~hits[:, wanted].any(axis=1)
    found = (
        maximum_bipartite_matching(csr_matrix(hits[:, wanted]), perm_type="column") if wanted.any() else np.array([-1])
    )
    return int((found >= 0).sum()), int((~excused).sum()), int(wanted.sum())
