"""A run, sample by sample, in forms that other tools read: pandas, JSON lines, Parquet, COCO results.

>>> import vr1bench
>>> vr1bench.load("results/runs/MODEL/demo/coco/val.standard.constant").to_pandas()  # doctest: +SKIP
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vr1bench.as_published import vlm_r1_iou
from vr1bench.boxes import iou
from vr1bench.errors import Vr1benchError
from vr1bench.job import Job
from vr1bench.metrics.pointing import point_counts, pointed
from vr1bench.metrics.pointwise import accuracy, detection_counts, referring_ious
from vr1bench.metrics.qa import right
from vr1bench.numbers import one_box
from vr1bench.readers import text_of
from vr1bench.rescoring import opened
from vr1bench.score import judged
from vr1bench.store import Result, write_bytes, write_text
from vr1bench.types import Pair

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


class Written(NamedTuple):
    """What `Run.to_coco` did.

    Attributes:
        boxes: In the file.
        left_out: Boxes whose name is no class of the benchmark.
    """

    boxes: int
    left_out: int


@dataclass(frozen=True)
class Run:
    """A complete run folder, and how to read it; nothing is held in memory.

    Attributes:
        folder: It holds `run.json` and `records.jsonl`.
        options: As of `vr1bench.rescore`: `protocol_name`, `changes`, `data_dir`, `family`, `limit`.
    """

    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def rows(self) -> Iterator[Row]:
        """One row a sample, in the pinned order: what was asked, said and read, the gold, and how it scores.

        Boxes are xyxy in pixels of the original image, as the protocol judges them; `text` is everything that was said.
        Detection has `right`, `guessed` and `gold` (boxes at IoU 0.5, the counts of F1), referring `iou` and `correct`
        (at 0.5), questions `correct`. A family that answers in points has its points in the place of
        boxes: `right` lie in a gold box, `guessed` are all, `correct` is whether the one point lies in the gold box.

        Raises:
            Vr1benchError: See `vr1bench.rescore`.
        """
        with opened(self.folder, **self.options) as (job, journal):
            yield from (_row(pair, job) for pair in job.pairs(journal))

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a table; lists and counts stay objects."""
        import pandas as pd

        return pd.DataFrame(list(self.rows()))

    def to_jsonl(self, path: Path) -> int:
        """Writes the rows as JSON lines, whole or not at all; gives their number."""
        lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in self.rows()]
        write_text(path, "".join(f"{line}\n" for line in lines))
        return len(lines)

    def to_parquet(self, path: Path) -> int:
        """Writes the rows as Parquet, whole or not at all; gives their number.

        Raises:
            Vr1benchError: pyarrow is not installed, or the file cannot be written.
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise Vr1benchError(
                f"{path}: Parquet needs pyarrow, which is not installed: pip install 'vr1bench[rows]'"
            ) from error
        # Counts by reason become a list of pairs: as columns, each reason would be one.
        rows = [{**row, "broken": [f"{count} {what}" for what, count in row["broken"].items()]} for row in self.rows()]
        held = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), held)
        write_bytes(path, held.getvalue())
        return len(rows)

    def to_coco(self, path: Path) -> Written:
        """Writes the boxes as a COCO result file with the annotation file's own ids.

        Boxes of names that are no class of the benchmark have no id, and are left out, as from AP.

        Returns:
            How many boxes were written, and how many were left out, whether the protocol counts them or not.

        Raises:
            Vr1benchError: The answers are points, the benchmark is none of detection, or its data has no category ids.
        """
        with opened(self.folder, **self.options) as (job, journal):
            dataset = job.dataset
            if job.benchmark.task != "detect" or dataset.category_ids is None:
                raise Vr1benchError(
                    f"{job.benchmark.name}: COCO results need boxes of classes with ids; expected a detection "
                    "benchmark whose annotations are a COCO file"
                )
            if job.family.pointing:
                raise Vr1benchError(
                    f"{self.folder}: family {job.family.name!r} answers in points, COCO results need boxes; expected a "
                    "run of a family that gives boxes (--format jsonl writes the points)"
                )
            ids = zip(dataset.vocabulary.tolist(), dataset.category_ids.tolist(), strict=True)
            places = {name: _id(text_of(number)) for name, number in ids}
            found: list[Row] = []
            left_out = 0
            for pair in job.pairs(journal):
                found += _coco(pair, job, places)
                left_out += _strays(pair, places)
        write_text(path, json.dumps(found, allow_nan=False) + "\n")
        return Written(len(found), left_out)


def load(folder: str | Path, **options: Any) -> Run:  # noqa: ANN401  those of `rescore`
    """A complete run folder, for reading sample by sample.

    Args:
        folder: As `vr1bench run` printed it: `OUTPUT/runs/MODEL/BENCHMARK/SPLIT.PROTOCOL.SCORES`.
        options: As of `vr1bench.rescore`.

    Raises:
        Vr1benchError: The folder holds no run, or an option is unknown.
    """
    known = ("protocol_name", "changes", "data_dir", "family", "limit")
    strange = sorted(set(options) - set(known))
    if strange:
        raise Vr1benchError(f"unknown option {strange[0]!r}; expected some of {', '.join(known)}")
    path = Path(folder)
    if not (path / "run.json").is_file():
        raise Vr1benchError(f"{path} holds no run.json; expected a run folder of `vr1bench run`")
    return Run(path, options)


def _row(pair: Pair, job: Job) -> Row:
    sample, said = pair.sample, pair.prediction
    seen = judged(said, job.protocol) if said else None
    found = seen.detections if seen else None
    row: Row = {
        "benchmark": job.benchmark.name,
        "id": sample.id,
        "image": str(sample.images[0].relative_to(job.dataset.folder)),
        "width": sample.width,
        "height": sample.height,
        "queries": list(sample.queries),
        "requests": pair.requests,
        "status": str(said.status) if said else "unasked",
        "text": said.text if said else "",
        "boxes": found.boxes.tolist() if found else [],
        "labels": found.labels.tolist() if found else [],
        "scores": found.scores.tolist() if found else [],
        "points": said.points.xy.tolist() if said and said.points else [],
        "broken": dict(said.broken) if said else {},
        "gold_boxes": sample.gold.boxes.tolist(),
        "gold_labels": sample.gold.labels.tolist(),
        "gold_crowd": sample.gold.crowd.tolist(),
    }
    return row | _scored(Pair(sample, seen, pair.requests), job)


def _scored(pair: Pair, job: Job) -> Row:
    if job.benchmark.task == "qa":
        within = job.benchmark.primary == "relaxed accuracy"
        answer = pair.prediction.answer if pair.prediction else None
        asked = {"question": pair.sample.problem, "choices": list(pair.sample.choices)}
        correct = bool(right([pair], within=within)[0])
        return asked | {"answers": list(pair.sample.answers), "answer": answer, "correct": correct}
    if job.benchmark.task == "refer":
        if job.family.pointing:
            return {"correct": bool(pointed([pair], last=job.protocol.boxes == "last")[0])}
        overlaps = vlm_r1_iou if job.protocol.iou == "vlm-r1" else iou
        ious = referring_ious([one_box(pair, job.protocol)], overlaps)
        return {"iou": float(ious[0]), "correct": bool(accuracy(ious, 0.5, job.protocol.match == ">"))}
    counts = point_counts([pair]) if job.family.pointing else detection_counts([pair])
    return {"right": int(counts.right[0]), "guessed": int(counts.guessed[0]), "gold": int(counts.gold[0])}


def _coco(pair: Pair, job: Job, places: Mapping[str, int | str]) -> list[Row]:
    if pair.prediction is None:
        return []
    found = judged(pair.prediction, job.protocol).detections
    corners = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1)
    return [
        {"image_id": _id(pair.sample.id), "category_id": places[label], "bbox": box, "score": score}
        for label, box, score in zip(found.labels.tolist(), corners.tolist(), found.scores.tolist(), strict=True)
        if label in places
    ]


def _strays(pair: Pair, places: Mapping[str, int | str]) -> int:
    """Boxes that no class can be given to: of a name that is none, or that was not asked for."""
    said = pair.prediction
    if said is None:
        return 0
    named = zip(said.detections.labels.tolist(), said.unknown.tolist(), strict=True)
    return sum(unknown or label not in places for label, unknown in named)


def _id(text: str) -> int | str:
    """A whole number where the file had one; ids that are text stay text."""
    return int(text) if text.lstrip("-").isdecimal() and str(int(text)) == text else text


def lm_eval_json(results: Iterable[Result]) -> str:
    """Results of one model as lm-evaluation-harness writes them: `results.TASK["METRIC,none"]`, fractions.

    The standard error is the standard deviation over resampled images; "N/A" without one.

    Raises:
        Vr1benchError: There is none, or they are of several models.
    """
    found = list(results)
    titles = {result.key.title for result in found}
    if len(titles) != 1:
        raise Vr1benchError(f"expected results of one model, got {len(titles)}: {', '.join(sorted(titles)) or 'none'}")
    whole = {
        "results": {_task(result): _metrics(result) for result in found},
        "configs": {
            _task(result): {"task": _task(result), **result.key.model_dump(), "fingerprint": result.values.fingerprint}
            for result in found
        },
        "versions": {_task(result): result.values.fingerprint[:12] for result in found},
        "n-samples": {_task(result): {"original": result.values.n, "effective": result.values.n} for result in found},
        "higher_is_better": {_task(result): dict.fromkeys(result.values.metrics, True) for result in found},
        "config": {"model": found[0].run.engine, "model_args": f"pretrained={found[0].key.model}"},
        "git_hash": found[0].run.commit or None,
        "model_name": found[0].key.model,
    }
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def _task(result: Result) -> str:
    return f"{result.key.benchmark} {result.key.split} {result.key.protocol} {result.key.scores}"


def _metrics(result: Result) -> Row:
    row: Row = {"alias": result.key.benchmark}
    for name, metric in result.values.metrics.items():
        if metric.value is not None:
            row[f"{name},none"] = metric.value
            row[f"{name}_stderr,none"] = "N/A" if metric.sd is None else metric.sd
    return row
