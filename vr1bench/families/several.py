"""Several answers about one picture, one class each, as one prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vr1bench.types import Detections, Points, Prediction, Status

WORST_FIRST = (
    Status.MALFORMED, Status.REFUSED, Status.EMPTY, Status.TRUNCATED, Status.SALVAGED, Status.OK, Status.NONE,
)  # fmt: skip


def merged(parts: Sequence[Prediction]) -> Prediction:
    """One prediction from the answers to all of a sample's requests, in the order asked; the worst status stands.

    "Nothing there" beside boxes elsewhere is good news: `ok` wins over `none`.
    """
    if len(parts) == 1:
        return parts[0]
    statuses = {part.status for part in parts}
    broken: Counter[str] = Counter()
    for part in parts:
        broken.update(part.broken)
    return Prediction(
        text="\n".join(part.text for part in parts),
        detections=Detections(
            np.concatenate([part.detections.boxes for part in parts]),
            np.concatenate([part.detections.labels for part in parts]),
            np.concatenate([part.detections.scores for part in parts]),
        ),
        duplicate=np.concatenate([part.duplicate for part in parts]),
        unknown=np.concatenate([part.unknown for part in parts]),
        status=next(status for status in WORST_FIRST if status in statuses),
        broken=dict(broken),
        written=[numbers for part in parts for numbers in part.written],
        points=_merged_points([part.points for part in parts if part.points]),
        fed=parts[0].fed,
        parts=tuple(len(part.detections) for part in parts),
    )


def _merged_points(parts: Sequence[Points]) -> Points | None:
    if not parts:
        return None
    columns = zip(*((part.xy, part.labels, part.unknown) for part in parts), strict=True)
    return Points(*(np.concatenate(column) for column in columns))
