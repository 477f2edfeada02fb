"""The command line: which commands there are, and what their exit codes say.

Exit codes: 0 good, 1 a negative verdict or incomplete, 2 usage or data, 3 not comparable, 130 interrupted (143 by
SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from vr1bench import __version__
from vr1bench.commands import asking, boards, data, engines, judging, rows, runs, scoring, training
from vr1bench.errors import Vr1benchError
from vr1bench.interrupts import heeded

app = typer.Typer(
    name="vr1bench",
    help="One command scores a vision-language model on detection and grounding benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Example: vr1bench run --model demo --suite demo",
)
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "run": (asking.run, "vr1bench run --model Qwen/Qwen2.5-VL-7B-Instruct --suite odinw --data-dir data"),
    "merge": (asking.merge, "vr1bench merge results machine-1/results machine-2/results"),
    "plan": (engines.plan, "vr1bench plan --model demo --suite demo --protocol standard --protocol qwen2.5"),
    "parity": (engines.parity, "vr1bench parity --model demo --benchmark demo/coco --engines vllm,hf --limit 20"),
    "score": (
        scoring.score,
        "vr1bench score --benchmark odinw/Raccoon --coco-results detections.json --model GroundingDINO-T",
    ),
    "board": (boards.board, "vr1bench board results --suite odinw --format html > odinw.html"),
    "compare": (judging.compare, "vr1bench compare demo@3e93 demo@51aa --results results"),
    "gate": (judging.gate, "vr1bench gate fresh --baseline results --junit gate.xml"),
    "power": (judging.power, "vr1bench power results"),
    "errors": (runs.errors, "vr1bench errors results/runs/MODEL/demo/coco/val.standard.constant"),
    "export": (
        runs.export,
        "vr1bench export results/runs/MODEL/odinw/Raccoon/val.standard.constant --format coco --to r.json",
    ),
    "parse": (
        scoring.parse,
        'echo \'[{"bbox_2d": [9, 9, 50, 40], "label": "dog"}]\' | vr1bench parse --family qwen2.5-vl --size 640x480 '
        "--input-size 644x476",
    ),
    "questions": (asking.questions, "vr1bench questions --family griffon --benchmark odinw/Raccoon > questions.jsonl"),
    "train": (training.train, "vr1bench train grpo demo-grpo --output-dir runs/demo"),
    "rows": (
        rows.rows,
        "vr1bench rows demo/coco --family qwen2.5-vl --boxes 1-30 --negatives 1-3 --output rows.jsonl",
    ),
    "prepare": (data.prepare, "vr1bench prepare odinw --data-dir data"),
    "list": (data.list_, "vr1bench list benchmarks"),
    "show": (data.show, "vr1bench show refcoco"),
    "doctor": (data.doctor, "vr1bench doctor"),
}
"""Name to function and an example, in the order of the help."""

CONTEXTS = {"train": training.PASSED_ON}
"""What a command's own line is read by, where that is not as usual."""

for _name, (_function, _example) in COMMANDS.items():
    app.command(name=_name, epilog=f"Example: {_example}", context_settings=CONTEXTS.get(_name))(_function)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vr1bench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version)] = False,
) -> None:
    """What may stand before a command."""


def main() -> None:
    """The `vr1bench` command."""
    from vr1bench.arguments import normalised, with_config

    with heeded() as heard:
        try:
            status = app(with_config(normalised(sys.argv[1:])), standalone_mode=False)
        except KeyboardInterrupt:
            status = 130
        except Exception as error:
            status = _exit_code(error)
        sys.exit(heard.code(status) if isinstance(status, int) else 0)


def _exit_code(error: Exception) -> int:
    """Says what went wrong and gives the exit code; an error of our own making keeps its traceback."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        error = Vr1benchError(f"cannot write: {error.strerror}; free space and type the same command again")
    if isinstance(error, Vr1benchError):
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    show = getattr(error, "show", None)  # typer's own usage errors know how to print themselves
    if show is None:
        raise error
    show()
    return 2


if __name__ == "__main__":
    main()
