"""CPU time of a whole run by stage, a sample: on the small model's pictures and on photos.

`python tests/speed/measured/stages.py` prints a Markdown table. The model's own time is wall time of its steps, which
on a CPU says nothing about a GPU; all else is CPU time of the threads that do it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clock import Clock, head, row
from one_engine import forget, lend, open_llm
from sets import SHARED, options, scratch, shapes, shifted

PHOTO = SHARED / "coco_val2017" / "000000000139.jpg"
STEP, RENDER, ADD = "engine step (vLLM; wall)", "rendering and preprocessing (vLLM)", "add_request (vLLM)"
VLLM = (STEP, RENDER, ADD)
PLAN, SCORE, REST = "plan: definitions, annotations", "scoring", "the rest of the loop"
ENGINE = "engine: texts of answers, queues"
STAGES = (
    PLAN, "questions", "image decode", RENDER, ADD, STEP, ENGINE, "journal: append", REST, "journal: read", "parse",
    "audit", SCORE, "bootstrap",
)  # fmt: skip


def watched() -> Clock:
    """A clock on all stages of `vr1bench.run` with the engine `vllm`."""
    from vllm.v1.engine.llm_engine import LLMEngine

    from vr1bench import images, running
    from vr1bench.audit import Audit
    from vr1bench.engines import vllm as engine
    from vr1bench.job import Job
    from vr1bench.journal import Journal
    from vr1bench.metrics import bootstrap, order, replay

    clock = Clock()
    clock.watch(STEP, LLMEngine, "step")
    clock.watch(ADD, LLMEngine, "add_request")
    clock.watch_function(PLAN, running.plan)
    clock.watch("questions", Job, "requests")
    clock.watch_function("image decode", images.load)
    clock.watch_iterator(ENGINE, engine.VllmEngine, "generate")
    clock.watch_threads(ENGINE, "vr1bench")
    clock.watch("journal: append", Journal, "append")
    clock.watch("journal: read", Journal, "read")
    clock.watch("parse", Job, "_read")
    clock.watch("audit", Audit, "add")
    clock.watch_function(SCORE, running.finished)
    for function in (replay.replicates, bootstrap.count_replicates, bootstrap.interval, bootstrap.sd, order.spread):
        clock.watch_function("bootstrap", function)
    clock.watch("bootstrap", bootstrap.Draws, "blocks")
    return clock


def watch_rendering(clock: Clock, llm: Any) -> None:
    """Makes that engine's rendering a stage; of its class, so that LLM.chat's is one as well."""
    clock.watch(RENDER, type(llm.llm_engine.renderer), "render_chat")


def timed_run(clock: Clock, **told: Any) -> tuple[Any, float]:
    """One run into a folder of its own: its Result, and wall seconds of the whole. The clock is cleared before."""
    import vr1bench

    clock.clear()
    with TemporaryDirectory() as output:
        start = time.perf_counter()
        with clock.stage(REST):
            (result,) = vr1bench.run("demo", engine="vllm", output=output, **told)
        return result, time.perf_counter() - start


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200, help="of the photo a quarter of that")
    parser.add_argument("--rounds", type=int, default=3, help="the least of so many runs is printed, stage by stage")
    parser.add_argument("--photo", type=Path, default=PHOTO, help="a photo; each sample shows it shifted")
    parser.add_argument("--work", type=Path, help="where pictures are written; a temporary folder if left out")
    args = parser.parse_args()
    with scratch(args.work) as work:
        sets = {
            "shapes": options(shapes(work / "shapes", args.samples)),
            "photo": options(shifted(work / "photo", args.photo, args.samples // 4), tokens=64),
        }
        samples = {"shapes": args.samples, "photo": args.samples // 4}
        llm = open_llm()
        clock = watched()
        watch_rendering(clock, llm)
        lend(llm)
        found: dict[str, dict[str, float]] = {}
        for name, told in sets.items():
            runs: list[dict[str, float]] = []
            for _ in range(1 + args.rounds):
                forget(llm)
                timed_run(clock, **told)
                times = {**clock.cpu, STEP: clock.wall[STEP]}
                runs.append({stage: times.get(stage, 0.0) * 1000 / samples[name] for stage in STAGES})
            found[name] = {stage: min(run[stage] for run in runs[1:]) for stage in STAGES}
    head("CPU ms a sample", *sets)
    for stage in STAGES:
        row(stage, *(f"{times[stage]:.3f}" for times in found.values()))
    for name, left_out in (("the harness: all but vLLM's three", VLLM), ("with rendering", (STEP, ADD))):
        row(name, *(f"{sum(ms for stage, ms in one.items() if stage not in left_out):.3f}" for one in found.values()))


if __name__ == "__main__":
    main()
