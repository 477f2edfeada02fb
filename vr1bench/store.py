"""Results on disk (JSON), and files that are written whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from vr1bench.errors import Vr1benchError
from vr1bench.types import FrozenModel, Sampling, Training

SCHEMA = 1


def file_name(text: str) -> str:
    """Text as one path component: only separators and control characters are replaced."""
    return re.sub(r"[/\\\x00-\x1f]+", "_", text)


def slug(model: str, revision: str, step: int | None) -> str:
    """A model, its revision and step as a file name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "__", model.strip("/."))
    return f"{plain}@{revision[:8]}" + ("" if step is None else f"-{step}")


class Metric(FrozenModel):
    """A number, as fractions.

    Attributes:
        value: In 0..1; None where it is undefined.
        low: Lower end of its 95 % interval, cut at 0; None where there is none.
        high: Upper end, cut at 1.
        sd: Standard deviation over resampled images; 0 where all of them fare alike, which says nothing.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    sd: float | None = None


class Spread(FrozenModel):
    """How far a metric moves when images are renumbered, which only breaks ties anew; fractions.

    Attributes:
        sd: Over the renumberings.
        low: The lowest value found.
        high: The highest.
    """

    sd: float
    low: float
    high: float


class Key(FrozenModel):
    """What a number belongs to: two numbers with different keys never share a leaderboard cell."""

    benchmark: str
    split: str
    protocol: str
    scores: str
    model: str
    revision: str
    step: int | None = None

    @property
    def column(self) -> tuple[str, str, str, str]:
        """What must agree for two numbers to stand in one column."""
        return self.benchmark, self.split, self.protocol, self.scores

    @property
    def slug(self) -> str:
        """The model as a file name, such as `Qwen__Qwen2.5-VL-7B-Instruct@1a2b3c4d`."""
        return slug(self.model, self.revision, self.step)

    @property
    def path(self) -> Path:
        """Where the Result goes, below the folder of results: one file a key."""
        return Path(self.benchmark) / file_name(f"{self.split}.{self.protocol}.{self.scores}") / f"{self.slug}.json"

    @property
    def title(self) -> str:
        """The model as people see it: name, revision, training step."""
        step = "" if self.step is None else f" step {self.step}"
        return f"{self.model}@{self.revision[:8]}{step}"


class Values(FrozenModel):
    """The deterministic part: the same records give the same values, to the bit.

    Attributes:
        primary: Name of the metric that stands for the benchmark.
        metrics: By name; fractions.
        replicates: Over resampled images, of the metrics that models are compared by: float32, base64
            (`vr1bench.metrics.bootstrap`). Results of the same data resample the same images.
        spread: Of the metrics that the order of images moves: those of ranked boxes, where scores tie.
        per_class: AP of each class, None where it has no gold; of questions, the primary metric of each kind.
        counts: Samples by status; they add up to `n`.
        broken: Items of answers that were not kept or were changed, by reason.
        flags: Boxes kept but flagged: duplicates, unknown labels; answers that a full stop makes wrong.
        boxes: Boxes and points that could be read; of questions, answers.
        n: Samples.
        images: Images that they show, of which the intervals are drawn; 0 in older Results, where each sample counts.
        requests: Questions asked.
        warnings: What the reader found odd in the data, counted.
        audit: How the boxes contradict the family's frame, in sentences; empty where they do not.
        audited: What the audit measured.
        verified: Largest differences to other engines, where `--verify` asked.
        fingerprint: Of every field of benchmark, protocol and family that can change a score.
        data_sha256: Of the annotation file.
    """

    primary: str
    metrics: dict[str, Metric]
    replicates: dict[str, str] = Field(default_factory=dict[str, str])
    spread: dict[str, Spread] = Field(default_factory=dict[str, Spread])
    per_class: dict[str, float | None] = Field(default_factory=dict[str, float | None])
    counts: dict[str, int]
    broken: dict[str, int] = Field(default_factory=dict[str, int])
    flags: dict[str, int] = Field(default_factory=dict[str, int])
    boxes: int
    n: int
    images: int = 0
    requests: int
    warnings: dict[str, int] = Field(default_factory=dict[str, int])
    audit: tuple[str, ...] = ()
    audited: dict[str, float] = Field(default_factory=dict[str, float])
    verified: dict[str, float] = Field(default_factory=dict[str, float])
    fingerprint: str
    data_sha256: str


class Usage(FrozenModel):
    """What the answers took, summed over all of them, those that an earlier run or another shard kept among them.

    Attributes:
        requests: Answers.
        prompt_tokens: Tokens asked, those of images included; 0 where the engine cannot tell.
        cached_tokens: Those of them that the engine had computed before for another request (its prefix cache).
        output_tokens: Tokens generated.
        reused_images: Requests whose picture came decoded and preprocessed from an earlier one.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reused_images: int = 0

    @property
    def said(self) -> str:
        """In words, such as "100 requests, 51,200 prompt tokens (93.8 % cached), 4,096 output tokens"."""
        cached = f" ({100 * self.cached_tokens / self.prompt_tokens:.1f} % cached)" if self.cached_tokens else ""
        reused = f", {100 * self.reused_images / self.requests:.1f} % of pictures reused" if self.reused_images else ""
        return (
            f"{self.requests:,} requests, {self.prompt_tokens:,} prompt tokens{cached}, "
            f"{self.output_tokens:,} output tokens{reused}"
        )


class RunInfo(FrozenModel):
    """How the records were made; may differ between runs of equal values.

    `seconds` is the wall time from the benchmark's first question to its last answer in the process that finished it;
    benchmarks of one run overlap. A file of detections (engine "detections") has no family, no sampling, and 0 seconds:
    nobody was asked. `usage` is what the answers took, `training` what made a checkpoint where `vr1bench train` did.
    """

    family: str = ""
    family_because: str = ""
    engine: str
    sampling: Sampling | None = None
    versions: dict[str, str]
    commit: str
    date: str
    seconds: float
    usage: Usage = Usage()
    training: Training | None = None


class Result(FrozenModel):
    """One benchmark's numbers for one model under one protocol."""

    schema_version: int = SCHEMA
    key: Key
    values: Values
    run: RunInfo

    @property
    def primary(self) -> Metric:
        """The metric that stands for the benchmark."""
        return self.values.metrics[self.values.primary]


_STREAM = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+")
"""Names of what this process has open: what stands there already is not its to replace."""


def write_text(path: Path, text: str) -> None:
    """Writes a file, UTF-8, whole or not at all; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; a link stays, and what it points to is written.

    What exists and is no regular file, such as a FIFO or `/dev/stdout`, is written straight into.

    Raises:
        Vr1benchError: The disk is full, the folder cannot be written, or the path is a folder.
    """
    if path.is_dir():
        raise Vr1benchError(f"cannot write {path}: it is a folder; expected the name of a file")
    try:
        if (path.exists() and not path.is_file()) or _STREAM.fullmatch(str(path)):
            with path.open("ab", buffering=0) as stream:
                rest = memoryview(data)
                while rest:
                    rest = rest[stream.write(rest) :]
            return
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from error


def write_result(path: Path, result: Result) -> None:
    """Writes a Result; NaN is refused by its type."""
    write_text(path, result.model_dump_json(indent=1) + "\n")


def read_result(path: Path) -> Result:
    """Reads a Result.

    Raises:
        Vr1benchError: It is no Result, or of another schema version.
    """
    try:
        return Result.model_validate_json(path.read_bytes())
    except OSError as error:
        raise Vr1benchError(f"cannot read {path}: {error.strerror}; expected a result of `vr1bench run`") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise Vr1benchError(
            f"{path} is no result of schema version {SCHEMA}: {'.'.join(map(str, first['loc']))}: {first['msg']}; "
            "score its run folder again: vr1bench score RUN_DIR"
        ) from error


def read_results(folder: Path) -> Iterator[tuple[Path, Result]]:
    """Every Result under a folder, sorted by path; other files, and the run folders, are passed over.

    Raises:
        Vr1benchError: A file that looks like a result is none.
    """
    for path in sorted(folder.rglob("*.json")):
        if "runs" in path.relative_to(folder).parts or path.name.startswith("."):
            continue
        with path.open("rb") as file:
            if b'"schema_version"' not in file.read(200):  # somebody's own file
                continue
        yield path, read_result(path)


def cannot_write(path: Path, error: OSError) -> Vr1benchError:
    """What to say where a disk is full or a folder is not one's own."""
    return Vr1benchError(
        f"cannot write {path}: {error.strerror or error}; nothing that was written before is lost: "
        "free space or fix the permissions and type the same command again"
    )
