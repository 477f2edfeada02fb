"""Anybody's detections under a benchmark's protocol: COCO result files in, rows of the leaderboard out.

A detector that writes no text has no family, no questions and no journal: only a file, whose ids say which image and
which class of the benchmark's annotation file a box belongs to. What a protocol judges (ids, ties of NMS-AP, repeats,
how many boxes count) it judges as for a model; what it asks is read as follows.

* **Scores** are the detector's `own`, as papers' are (`benchmarks/published.csv`), unless another rule is asked for:
  `constant` shows what a model without scores would get for the same boxes, `order` takes the file's order for them.
  Each is a column of its own.
* **query = "positive"** asks only for the classes that an image's gold holds. A detector is not asked, so boxes of
  other classes are dropped, and images without such a class are unasked: the same oracle as for a model. Under "all"
  and "one" every box of the file counts.
* **Names of each image's own** (OVDEval, D3). A box of a class that its image is not asked for counts as that class's
  false positive, as in the official evaluation, which is COCOeval on the whole file; `unknown = "drop"` drops it. Not
  so for a model, whose stray name is no class at all.
* **Boxes** are not clipped to the image: COCOeval does not.
* **Order** among equal scores: image id ascending, then the file's order, as pycocotools has it.

Numbers equal pycocotools on the annotation file (with `ids = "as-shipped"`), but for the last bit of areas, which are
taken between corners. Two things are as in every run: classes that share a name are one, and images that the reader
leaves out, since nothing is asked of them, are not scored. Both are counted in the Result's warnings.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vr1bench import protocol as protocols
from vr1bench.benchmark import Benchmark, chosen, fingerprint
from vr1bench.coco import read_detections
from vr1bench.errors import Vr1benchError
from vr1bench.match import Guesses
from vr1bench.protocol import Protocol
from vr1bench.provenance import commit, versions
from vr1bench.readers import Dataset, text_of
from vr1bench.score import check_verifiable, score
from vr1bench.store import Key, Result, RunInfo, Values, write_result
from vr1bench.types import Bools, Detections, Ints, Pair, Prediction, Sample, Status, labels_of

ENGINE = "detections"
"""What a Result calls the engine where there was none."""


def score_detections(
    results: str | Path,
    suite: str | None = None,
    benchmark: str | Sequence[str] | None = None,
    *,
    model: str | None = None,
    protocol: str = "standard",
    split: str | None = None,
    scores: str | None = None,
    data_dir: str | Path | None = None,
    output: str | Path = "results",
    overrides: Mapping[str, Any] | None = None,
    verify: bool = False,
) -> list[Result]:
    """Scores a detector's COCO result files; the twin of `vr1bench score --benchmark ... --coco-results FILE`.

    A Result is written beside those of model runs; scoring a file again replaces it. Nothing is written unless all
    files can be scored.

    Args:
        results: A list of `{image_id, category_id, bbox: [x, y, w, h], score}`, with the ids of the annotation file; or
            for several benchmarks a folder that holds one for each: `ovdeval/logo.json`, or `logo.json` where no other
            chosen benchmark's name ends so. An empty list scores 0.
        suite: Name of a suite; or
        benchmark: names or TOML paths of benchmarks.
        model: What the row is called; None takes the name of the file or folder. Its revision is the file's sha256
            (over those of all files, in the suite's order, where there are several: one row for one folder).
        protocol: Name of a protocol.
        split: Of every benchmark; None takes each benchmark's own.
        scores: own (as None), constant or order.
        data_dir: Folder that holds the data sets; None takes `$VR1BENCH_DATA` or `./data`.
        output: Folder of results.
        overrides: Changes to protocol fields (`--set`).
        verify: Score again with pycocotools and faster-coco-eval, and store the largest differences.

    Returns:
        One Result a benchmark, in the suite's order.

    Raises:
        Vr1benchError: Something named is unknown or missing, the benchmark does not go by COCO's ids, or a file says
            something that has no honest score.
    """
    members, where = chosen(suite, benchmark), Path(results).expanduser()
    files = _files(where, members)
    name = _name(model or (where.resolve().name if where.is_dir() else where.stem))
    changes = {"scores": "own"} | dict(overrides or {}) | ({"scores": scores} if scores else {})
    rules = [_rule(protocol, changes, one, verify=verify) for one in members]
    root = Path(data_dir).expanduser().resolve() if data_dir else None
    found: list[tuple[Key, Values, str]] = []
    for one, rule, file in zip(members, rules, files, strict=True):
        answers = load(one, split or one.split, rule, file, root)
        found.append((answers.key(name), score(answers.pairs(), answers, verify=verify), answers.sha256))
    revision = _revision([sha256 for _, _, sha256 in found])
    keys = [key.model_copy(update={"revision": revision}) for key, _, _ in found]
    return [_written(key, values, Path(output)) for key, (_, values, _) in zip(keys, found, strict=True)]


@dataclass(frozen=True)
class Answers:
    """A file of detections beside a benchmark's split and a protocol: what `score` judges.

    Attributes:
        benchmark: What is measured.
        split: Which of its splits.
        protocol: How.
        dataset: The split's samples; its `warnings` also count what the protocol makes of the file.
        guesses: Detections of the samples that are scored, by sample, then in the file's order; `image` is a place in
            the dataset, `label` one in its vocabulary.
        asked: (n,) whether the class of each is one that the protocol asks of its image.
        sha256: Of the file.
        family: None: a detector writes no text.
    """

    benchmark: Benchmark
    split: str
    protocol: Protocol
    dataset: Dataset
    guesses: Guesses
    asked: Bools
    sha256: str
    family: None = None

    @property
    def count(self) -> int:
        """Samples to score."""
        return len(self.order)

    @cached_property
    def order(self) -> Sequence[int]:
        """Rows of the dataset that the protocol scores, in its order."""
        return self.protocol.order(len(self.dataset))

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that can change the score: the definition, the protocol's rules and the file."""
        rule = self.protocol.rule(self.benchmark.task)
        return fingerprint(self.benchmark.of_split(self.split), self.split, rule, ENGINE, self.sha256)

    def key(self, model: str) -> Key:
        """What the number belongs to; the revision is not known yet where there are several files."""
        return Key(
            benchmark=self.benchmark.name,
            split=self.split,
            protocol=self.protocol.name,
            scores=self.protocol.scores,
            model=model,
            revision=self.sha256[:40],
        )

    def pairs(self) -> Iterator[Pair]:
        """Samples beside their detections, in the pinned order; one without any said that nothing is there."""
        starts = np.searchsorted(self.guesses.image, np.arange(len(self.dataset) + 1))
        repeated = _repeated(self.guesses)
        for place in self.order:
            sample = self.dataset[place]
            rows = np.arange(starts[place], starts[place + 1])
            if self.protocol.query == "positive":
                rows = rows[self.asked[rows]]
                if not asked_of(sample, self.protocol):
                    yield Pair(sample, None, 0)
                    continue
            yield Pair(sample, self._prediction(rows, repeated), 0)

    def _prediction(self, rows: Ints, repeated: Bools) -> Prediction:
        kept = self.guesses.take(rows)
        drops = self.protocol.unknown == "drop"
        return Prediction(
            text="",
            detections=Detections(kept.boxes, self.dataset.vocabulary[kept.label], kept.scores),
            duplicate=repeated[rows],
            unknown=~self.asked[rows] if drops else np.zeros(len(rows), dtype=np.bool_),
            status=Status.OK if len(rows) else Status.NONE,
        )


def load(benchmark: Benchmark, split: str, protocol: Protocol, file: Path, data_dir: Path | None) -> Answers:
    """Reads a split and a file of detections of it.

    Raises:
        Vr1benchError: The data is missing, its reader knows no ids of classes, or the file is refused.
    """
    dataset = benchmark.load(split, data_dir)
    if dataset.category_ids is None:
        raise Vr1benchError(
            f"{benchmark.name}: its data (reader {benchmark.reader!r}) has no category ids, by which COCO results name "
            "their classes; expected a benchmark whose annotations are a COCO file, such as ovdeval/logo"
        )
    classes = _listed(dataset.category_ids.tolist(), f"{benchmark.name}: categories")
    images = _listed([*dataset.ids.tolist(), *dataset.left_out], f"{benchmark.name}: images")
    every, sha256 = read_detections(file, images, classes)
    scored = np.zeros(len(dataset) + len(dataset.left_out), dtype=np.bool_)
    scored[list(protocol.order(len(dataset)))] = True
    kept = scored[every.image]
    _, first, inverse = np.unique(dataset.vocabulary, return_index=True, return_inverse=True)
    guesses = every.take(kept)
    guesses = replace(guesses, label=first[inverse][guesses.label]).take(np.argsort(guesses.image, kind="stable"))
    asked = _asked(dataset, protocol, guesses)
    fate = "counted as wrong" if protocol.query != "positive" and protocol.unknown == "keep" else "dropped"
    counts = {
        "detections of images that are not scored, dropped": int((~kept).sum()),
        f"detections of classes that their image is not asked for, {fate}": int((~asked).sum()),
        "classes with the name of another, counted as one": len(dataset.vocabulary) - len(first),
    }
    told = dataset.warnings | {what: count for what, count in counts.items() if count}
    return Answers(benchmark, split, protocol, replace(dataset, warnings=told), guesses, asked, sha256)


def asked_of(sample: Sample, protocol: Protocol) -> tuple[str, ...]:
    """The classes that a protocol asks of a sample."""
    if protocol.query != "positive":
        return sample.queries
    present = set(sample.gold.labels.tolist())
    return tuple(name for name in sample.queries if name in present)


def _asked(dataset: Dataset, protocol: Protocol, guesses: Guesses) -> Bools:
    """(n,) whether each detection's class is one that its image is asked for; rows stand by image."""
    asked = np.ones(len(guesses), dtype=np.bool_)
    if protocol.query != "positive" and len(dataset.queries) == 1:
        return asked  # every image is asked for every class of the file
    places, starts = np.unique(guesses.image, return_index=True)
    for place, first, last in zip(places.tolist(), starts, np.append(starts, len(guesses))[1:], strict=True):
        names = labels_of(asked_of(dataset[place], protocol))
        asked[first:last] = np.isin(dataset.vocabulary[guesses.label[first:last]], names)
    return asked


def _repeated(guesses: Guesses) -> Bools:
    """(n,) where an earlier detection of the image has the same box and class, whatever the scores."""
    keys = np.column_stack([guesses.image, guesses.label, guesses.boxes])
    order = np.lexsort(keys.T)
    repeated = np.zeros(len(keys), dtype=np.bool_)
    repeated[order[1:]] = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    return repeated


def _listed(ids: Sequence[bytes | str], where: str) -> dict[Any, int]:
    """Place of each id, as text and, where it is a whole number, as that: files of results write either."""
    texts = [name if isinstance(name, str) else text_of(name) for name in ids]
    listed: dict[Any, int] = {text: place for place, text in enumerate(texts)}
    if len(listed) < len(texts):
        raise Vr1benchError(f"{where}: some ids are equal but for their kind (1 and '1'); write all alike")
    return listed | {int(text): place for place, text in enumerate(texts) if re.fullmatch(r"0|-?[1-9]\d{0,30}", text)}


def _files(where: Path, members: Sequence[Benchmark]) -> list[Path]:
    """The file of each benchmark.

    Raises:
        Vr1benchError: A benchmark is none of detection, or a file is missing.
    """
    for one in members:
        if one.task != "detect":
            raise Vr1benchError(
                f"{one.name}: its task is {one.task!r}, and a file of detections answers no question of it; expected "
                "detection benchmarks; `vr1bench list benchmarks` shows them"
            )
    if not where.is_dir():
        if len(members) > 1:
            raise Vr1benchError(f"{where} is no folder; expected one with a file for each of {len(members)} benchmarks")
        return [where]
    ends = Counter(one.name.rpartition("/")[2] for one in members)
    places = [
        [where / f"{name}.json" for name in dict.fromkeys([one.name, one.name.rpartition("/")[2]])
         if name == one.name or ends[name] == 1]
        for one in members
    ]  # fmt: skip
    missing = [" or ".join(map(str, some)) for some in places if not any(path.exists() for path in some)]
    if missing:
        raise Vr1benchError(f"{len(missing)} of {len(members)} files of detections are missing: {', '.join(missing)}")
    return [next(path for path in some if path.exists()) for some in places]


def _name(name: str) -> str:
    if not name.strip() or not name.isprintable() or "|" in name:
        raise Vr1benchError(f"--model {name!r}: expected a name for the row: one line, without |")
    return name


def _rule(name: str, changes: Mapping[str, Any], benchmark: Benchmark, *, verify: bool) -> Protocol:
    rule = protocols.protocol(name, changes, benchmark.name)
    if rule.scores == "logprob":
        raise Vr1benchError(
            "scores 'logprob': a file of detections holds no token log-probabilities; expected own, constant or order"
        )
    if verify:
        check_verifiable(rule)
    return rule


def _revision(hashes: Sequence[str]) -> str:
    """40 hex digits: of the one file, or over those of several."""
    return (hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest())[:40]


def _written(key: Key, values: Values, output: Path) -> Result:
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    info = RunInfo(engine=ENGINE, versions=versions(), commit=commit(), date=date, seconds=0.0)
    result = Result(key=key, values=values, run=info)
    write_result(output / key.path, result)
    return result
