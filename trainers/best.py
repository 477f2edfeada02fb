"""`best/` of a training's output folder: the model files of the checkpoint that scored best, whatever rotation deletes.

Hard links: they take no room while the checkpoint stands, and outlive it. A checkpoint is linked before it is scored,
so that one which rotation deletes meanwhile can still be kept.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from pydantic import ValidationError

from vr1bench.errors import Vr1benchError
from vr1bench.metrics.aspects import mean
from vr1bench.store import write_text
from vr1bench.trainers.attempts import Attempt, attempts, saved, standing, step_of
from vr1bench.types import FrozenModel

BEST, NOTE = "best", "best.json"
_FOR_RESUMING = (
    "optimizer*", "scheduler*", "scaler.pt", "rng_state*", "random_states*", "trainer_state.json", "training_args.bin",
    "latest", "zero_to_fp32.py",
)  # fmt: skip
"""What transformers 5.17, accelerate 1.15 and DeepSpeed keep beside the model; their folders are left out as well."""


class Best(FrozenModel):
    """What `best/best.json` says.

    Attributes:
        step: Of the checkpoint.
        checkpoint: Its folder's name.
        value: Its mean, a fraction.
        metric: What that is: a metric, or `mean of 3`.
        columns: What it is the mean over.
        saved: When the checkpoint was saved.
    """

    step: int
    checkpoint: str
    value: float
    metric: str
    columns: tuple[str, ...]
    saved: str


def judged(attempt: Attempt) -> Best | None:
    """What an attempt says of its checkpoint: the mean over benchmarks of the primary metric, order-free where it can.

    None where it was not scored, or a benchmark's number is undefined.
    """
    values = {name: score.order_free_value for name, score in attempt.metrics.items()}
    known = {name: value for name, value in values.items() if value is not None}
    if attempt.status != "scored" or not known or len(known) < len(values):
        return None
    value, title = mean(known)
    metrics = {score.order_free for score in attempt.metrics.values()}
    name = next(iter(metrics)) if len(metrics) == 1 else "primary metrics"
    return Best(
        step=attempt.step,
        checkpoint=attempt.checkpoint,
        value=value,
        metric=name if len(known) == 1 else f"{title}: {name}",
        columns=attempt.columns,
        saved=attempt.saved,
    )


def hold(checkpoint: Path) -> None:
    """Links a checkpoint's model files, so that they outlive it until `keep` has judged it.

    Raises:
        OSError: It is gone, or nothing can be written.
    """
    target = _held(checkpoint.parent, checkpoint.name, saved(checkpoint))
    draft = target.with_name(f"{target.name}.part")
    for old in (draft, target):
        shutil.rmtree(old, ignore_errors=True)
    draft.mkdir()
    for file in sorted(checkpoint.iterdir()):
        if file.is_file() and not any(fnmatch(file.name, pattern) for pattern in _FOR_RESUMING):
            _link(file.resolve(), draft / file.name)
    draft.rename(target)


def release(folder: Path) -> None:
    """Removes all that is held and was not kept."""
    for held in folder.glob(f".{BEST}.*"):
        shutil.rmtree(held, ignore_errors=True)


def kept(folder: Path) -> Best | None:
    """What `best/` holds; None where there is none.

    Raises:
        Vr1benchError: Something else lies there.
    """
    note = folder / BEST / NOTE
    if not (folder / BEST).exists():
        return None
    try:
        return Best.model_validate_json(note.read_bytes())
    except (OSError, ValidationError) as error:
        raise Vr1benchError(
            f"{folder / BEST} is not what --keep-best wrote: it holds no good {NOTE}; move it away, and the best "
            "checkpoint is kept there"
        ) from error


def keep(folder: Path) -> Best | None:
    """Makes `best/` the best of all checkpoints that can still be had; of equal ones the earliest step.

    Only checkpoints judged by the same benchmarks, splits and protocols as the one scored last compare.

    Args:
        folder: The training's output folder.

    Returns:
        What is kept anew; None where the best one stays.

    Raises:
        Vr1benchError: Something else lies in `best/`, or `scores.jsonl` is damaged.
        OSError: Nothing can be written.
    """
    everything = attempts(folder)
    saved_ones = [one for one in everything if step_of(Path(one.checkpoint)) is not None]  # without the base model
    found = [one for attempt in standing(saved_ones) if (one := judged(attempt))]
    last = next((one for attempt in reversed(everything) if (one := judged(attempt)) in found), None)
    if last is None:
        return None
    known = sorted((one for one in found if one.columns == last.columns), key=lambda one: (-one.value, one.step))
    now = kept(folder)
    if now in known:  # else it is of an earlier training, or of other benchmarks
        known = known[: known.index(now)]
    for one in known:
        if _is_held(folder, one):
            _replace(folder, one)
            return one
    return None


def _held(folder: Path, name: str, when: str) -> Path:
    return folder / f".{BEST}.{name}.{re.sub(r'[^0-9]', '', when)}"


def _is_held(folder: Path, one: Best) -> bool:
    """Whether the model files of a checkpoint are held, or can be."""
    if _held(folder, one.checkpoint, one.saved).is_dir():
        return True
    if saved(folder / one.checkpoint) != one.saved:
        return False
    with suppress(FileNotFoundError):  # rotation takes it at this moment
        hold(folder / one.checkpoint)
        return True
    return False


def _replace(folder: Path, one: Best) -> None:
    new, old = _held(folder, one.checkpoint, one.saved), folder / f".{BEST}.old"
    write_text(new / NOTE, one.model_dump_json(indent=1) + "\n")
    shutil.rmtree(old, ignore_errors=True)
    if (folder / BEST).exists():
        (folder / BEST).rename(old)
    # Killed between the two, the next `keep` finds no best, and what is held.
    new.rename(folder / BEST)
    shutil.rmtree(old, ignore_errors=True)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copy2(file, target)
