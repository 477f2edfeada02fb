"""Score the checkpoints of a training as they come, beside it: `vr1bench train watch`.

For any trainer that writes Hugging Face checkpoints, LoRA adapters among them. It may be killed and started again at
any time: `scores.jsonl` in the training's folder says what is done, and a half-scored checkpoint goes on where it was.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn, Optional

import typer

from vr1bench.arguments import normalised, pairs
from vr1bench.commands.options import (
    Benchmarks,
    Changes,
    DataDir,
    EngineArgs,
    FamilyName,
    GenArgs,
    Output,
    Protocol,
    Scores,
    Split,
    Suite,
)
from vr1bench.errors import Vr1benchError
from vr1bench.trainers.attempting import keep_best
from vr1bench.trainers.attempts import STATE, Attempt, attempts, standing, step_of
from vr1bench.trainers.checkpoints import TRIES, Backlog, checkpoints, holding, is_whole
from vr1bench.trainers.saying import say
from vr1bench.trainers.scoring import Scoring, check

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
EXAMPLES = """\b
Examples: on a GPU of its own until the training is done; what stands there now, and no more; its curve:
  CUDA_VISIBLE_DEVICES=7 vr1bench train watch runs/grpo --suite odinw --keep-best --until-done
  vr1bench train watch runs/grpo --suite odinw --idle 0
  vr1bench board results --history runs/grpo
"""


@app.command(epilog=EXAMPLES)
def watch(
    output_dir: Annotated[Path, typer.Argument(help="The training's folder, in which its checkpoint-N lie.")],
    suite: Suite = None,
    benchmark: Benchmarks = None,
    engine: Annotated[str, typer.Option(help="auto, vllm or hf.")] = "auto",
    family: FamilyName = "auto",
    protocol: Protocol = "standard",
    split: Split = None,
    limit: Annotated[Optional[int], typer.Option(help="First samples only.", min=1)] = None,
    scores: Scores = None,
    data_dir: DataDir = None,
    output: Output = Path("results"),
    engine_args: EngineArgs = None,
    gen_args: GenArgs = None,
    changes: Changes = None,
    base: Annotated[
        bool, typer.Option("--base/--no-base", help="Score the model that `vr1bench train` began with, as step 0.")
    ] = True,
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="Keep the best checkpoint's model files as OUTPUT_DIR/best.")
    ] = False,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="End when the training is done and all of it is scored.")
    ] = False,
    idle: Annotated[
        Optional[float], typer.Option(help="End after so many seconds without a new checkpoint.", min=0)
    ] = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks at the folder.", min=0.01)] = 10.0,
    timeout: Annotated[
        Optional[float],
        typer.Option(help="Seconds that one checkpoint may take; longer has failed.", min=0.1),
    ] = None,
    tries: Annotated[
        int, typer.Option(help="Over all starts, how often a checkpoint whose scoring fails is tried.", min=1)
    ] = TRIES,
) -> None:
    """Score the checkpoints of a training as they come: each once, whole, in order, as rows of the leaderboard.

    Runs until Ctrl-C, --until-done or --idle, and goes on where it stopped when it is started again. Exit code 1 where
    a checkpoint is not scored.
    """
    scoring = Scoring(
        suite=suite or "",
        benchmark=tuple(benchmark or ()),
        engine=engine,
        family=family,
        protocol=protocol,
        split=split,
        limit=limit,
        data_dir=str(data_dir) if data_dir else None,
        output=str(output),
        engine_args=pairs(engine_args, "--engine-args"),
        gen_args=pairs(gen_args, "--gen-args"),
        overrides=pairs(changes, "--set") | ({"scores": scores} if scores else {}),
        base=base,
        keep_best=keep_best,
        timeout_s=timeout,
    )
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        check(scoring)
        wait_for(output_dir, every, idle)
        with holding(output_dir):
            follow(Backlog(output_dir, scoring, tries), every, idle, until_done=until_done)
    except KeyboardInterrupt:
        say("interrupted; what is scored is kept: type the same command again to go on")
        raise typer.Exit(130) from None
    asked = " ".join(scoring.asked)
    noted = [one for one in attempts(output_dir) if base or step_of(Path(one.checkpoint)) is not None]
    failed = [one for one in standing(noted) if one.status == "failed" and one.asked == asked]
    if failed:
        say(f"not scored: {', '.join(one.checkpoint for one in failed)}")
        raise typer.Exit(1)


def wait_for(folder: Path, every_s: float, idle_s: float | None) -> None:
    """Waits until a trainer makes its folder.

    Raises:
        Vr1benchError: It is a checkpoint itself, or does not come in time.
    """
    if step_of(folder) is not None:
        raise Vr1benchError(f"{folder} is a checkpoint; expected the folder that it lies in: {folder.parent}")
    started = time.monotonic()
    if not folder.is_dir():
        say(f"{folder} is not there yet: waiting for it")
    while not folder.is_dir():
        if idle_s is not None and time.monotonic() - started >= idle_s:
            raise Vr1benchError(f"{folder} is no folder; expected the output folder of a training")
        time.sleep(every_s)


def follow(backlog: Backlog, every_s: float, idle_s: float | None, *, until_done: bool) -> None:
    """Scores what comes until its time is over.

    Args:
        backlog: What waits, in a folder that is held.
        every_s: Seconds between two looks.
        idle_s: It ends after so many seconds without a new checkpoint; None waits for ever.
        until_done: It ends when the training is done and nothing waits.

    Raises:
        Vr1benchError: `scores.jsonl` is damaged.
        KeyboardInterrupt: Ctrl-C.
    """
    folder = backlog.folder
    say(f"watching {folder} for checkpoints")
    if backlog.scoring.keep_best:
        keep_best(folder)
    busy = time.monotonic()
    while True:
        done = until_done and is_done(folder)  # before the look: what is saved between the two is still seen
        if attempt := backlog.score_next():
            look_for_hacking(backlog, attempt)
            busy = time.monotonic()
        elif done or (idle_s is not None and time.monotonic() - busy >= idle_s):
            break
        else:
            time.sleep(every_s)
    for path in checkpoints(folder):
        if not is_whole(path):
            say(f"WARNING: {path.name} passed over: it was never written to the end (no {STATE})")


def look_for_hacking(backlog: Backlog, attempt: Attempt) -> None:
    """Holds a GRPO training's reward against what was just scored: the trainer's own watch may have ended with it."""
    state = backlog.folder / attempt.checkpoint / STATE
    try:
        if not attempt.step or attempt.status != "scored" or b'"reward"' not in state.read_bytes():
            return
    except OSError:  # deleted meanwhile
        return
    from transformers import TrainerState

    from vr1bench.trainers.hacking import HackingWatch

    HackingWatch(backlog.folder, Path(backlog.scoring.output)).look(TrainerState.load_from_json(str(state)))


def is_done(folder: Path) -> bool:
    """Whether a training has ended.

    Its last checkpoint says so where it is of the last step, as transformers' Trainer saves it; else the folder's own
    `trainer_state.json`, which `Trainer.save_state` writes when a training ends, early or not.
    """
    ended, _ = _steps(folder / STATE)
    found = checkpoints(folder)
    if not found:
        return ended >= 0
    step, last = _steps(found[-1] / STATE)
    return 0 < last <= step or ended >= (step_of(found[-1]) or 0)


def main() -> None:
    """`vr1bench train watch`."""
    try:
        app(normalised(sys.argv[1:]), prog_name="vr1bench train watch")
    except Vr1benchError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


def _steps(state: Path) -> tuple[int, int]:
    """The step of a `trainer_state.json`, and that of the end; -1 where there is none."""
    try:
        said = json.loads(state.read_bytes())
        return int(said["global_step"]), int(said["max_steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1, -1


def _as_ctrl_c(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
