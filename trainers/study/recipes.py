"""The recipes of the study's trainings, as the plan has them: written, never edited.

Those of `seeds`, `staged` and `labelled` take the learning rates that were chosen (`vr1bench.trainers.study.rates`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vr1bench.store import write_text
from vr1bench.trainers.recipe import RECIPES
from vr1bench.trainers.study.plan import (
    HACKED_STEPS,
    REWARDS,
    RUNS,
    SLOPPY,
    SLOPPY_ROWS,
    STARTS,
    Chosen,
    Run,
    base_of,
    runs,
)

HACKING = RECIPES / "study" / "sloppy" / "hacking.toml"
"""What the runs of `hacking` have in common."""
_WORDS = {"sft": "SFT", "grpo": "GRPO"}


def texts(chosen: Chosen) -> Iterator[tuple[Path, str]]:
    """Every recipe's file and text; of runs whose rate is not chosen none, and none of `incomplete/start`, a base.

    Args:
        chosen: The rate of each start and method that is decided.
    """
    yield HACKING, _hacking()
    for run in runs():
        if run.recipe == "study/sloppy/start":
            yield run.file, _sloppy(run)
        elif run.group in {"rates", "order"}:
            yield run.file, _rate(run)
        elif run.group == "hacking":
            yield run.file, _hacked(run)
        elif run.group != "starts" and base_of(run) in chosen:
            yield run.file, _seed(run, chosen[base_of(run)])


def write(chosen: Chosen) -> list[Path]:
    """Writes what is missing or says something else; gives the files written.

    Raises:
        Vr1benchError: The folder of recipes cannot be written.
    """
    written: list[Path] = []
    for path, text in texts(chosen):
        if not path.exists() or path.read_text() != text:
            write_text(path, text)
            written.append(path)
    return written


def _rate(run: Run) -> str:
    filed = run.group == "order"
    why = "Boxes in the file's order" if filed else "To choose the rate"
    about = f"{why}: {_WORDS[run.method]} from the start `{run.start}` at {run.rate}, scored on dev."
    return (
        _head(f"../{run.method}.toml", about)
        + _table("model", name=_quoted(STARTS[run.start]))
        + (_table("data", targets=_quoted("file")) if filed else "")
        + _table(
            run.method, output_dir=_quoted(run.folder), learning_rate=run.rate, save_steps=run.steps, seed=run.seed
        )
        + _table("score", suite=_quoted("study-in"), split=_quoted("dev"))
    )


def _seed(run: Run, rate: str) -> str:
    paid = f" paid {REWARDS[run.arm]}" if run.arm in REWARDS else ""
    about = f"{_WORDS[run.method]}{paid} from the start `{run.start}`, seed {run.seed}; the rate was chosen on dev."
    return (
        _head(f"../{run.method}.toml", about)
        + _table("model", name=_quoted(STARTS[run.start]))
        + _table(run.method, output_dir=_quoted(run.folder), learning_rate=rate, seed=run.seed)
        + _rewards(run)
    )


def _sloppy(run: Run) -> str:
    made = f"python -m vr1bench.trainers.demo_sloppy {SLOPPY_ROWS}"
    about = f"The start `sloppy`: the shipped model after SFT on careless targets ({made}), for the runs paid with AP."
    return (
        _head("../sft.toml", about)
        + _table("data", benchmarks="[]", rows=f"[{_quoted(SLOPPY_ROWS)}]")
        + _table(
            "sft", output_dir=_quoted(run.folder), learning_rate="4e-5", per_device_train_batch_size=32,
            max_steps=run.steps, save_steps=run.steps, seed=run.seed,
        )
        + _table("score", suite=_quoted("study/plain"))
    )  # fmt: skip


def _hacking() -> str:
    about = "What the runs paid with AP from the start `sloppy` have in common: demo-hackable's settings, fewer saves."
    return (
        _head("../grpo.toml", about)
        + _table("model", name=_quoted(SLOPPY))
        + _table("data", benchmarks=f"[{_quoted('demo/coco')}]", boxes="[1, 3]")
        + _table(
            "grpo", output_dir=_quoted(RUNS / "sloppy" / "hacking"), beta="0.0", temperature="1.0",
            learning_rate="5e-5", lr_scheduler_type=_quoted("constant"), per_device_train_batch_size=64,
            max_steps=HACKED_STEPS, save_steps=8,
        )
        + _table("score", suite=_quoted("study/plain"))
    )  # fmt: skip


def _hacked(run: Run) -> str:
    about = f"GRPO paid {REWARDS[run.arm]} from the start `{run.start}`, seed {run.seed}: is the reward hacked?"
    return _head(HACKING.name, about) + _table("grpo", output_dir=_quoted(run.folder), seed=run.seed) + _rewards(run)


def _head(extends: str, about: str) -> str:
    return f"extends = {_quoted(extends)}\nabout = {_quoted(about)}\n"


def _table(table: str, **literals: str | int) -> str:
    """A table of TOML; words come quoted."""
    return f"\n[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in literals.items())


def _quoted(value: object) -> str:
    return f'"{value}"'


def _rewards(run: Run) -> str:
    if run.arm not in REWARDS:
        return ""
    name = REWARDS[run.arm]
    return _table("rewards", **{name if name.replace("-", "").isalnum() else _quoted(name): "1.0"})
