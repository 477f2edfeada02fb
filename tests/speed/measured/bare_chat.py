"""`vr1bench.run` beside a bare `LLM.chat` on pictures that are decoded already: one engine, interleaved pairs.

`python tests/speed/measured/bare_chat.py` prints a Markdown table. The harness's own CPU time is that of the main
thread and of the harness's threads over a whole run (definitions, questions, decoding, journal, reading, scoring,
intervals), less what they spend inside vLLM's `step`, `add_request` and `render_chat`, which a bare loop calls just so.
"Asking alone" leaves out definitions before the first question and scoring after the last answer. Each is divided by
the wall time of the bare loop's steps alone: the smallest, and so the strictest, of the times that a bare loop takes.
On a CPU the model's threads make the difference of two totals of CPU time too noisy to say anything; it is printed
beside.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path
from typing import Any

from clock import Clock, alternating, head, median_and_range, row
from one_engine import forget, lend, open_llm
from PIL import Image
from sets import SHARED, options, requests, scratch, shapes, shifted
from stages import PLAN, SCORE, STEP, VLLM, timed_run, watch_rendering, watched

PHOTO = SHARED / "coco_val2017" / "000000000139.jpg"
AFTER = (SCORE, "journal: read", "parse", "audit", "bootstrap")


def conversations(asked: list[Any]) -> list[list[dict[str, Any]]]:
    """The questions as `LLM.chat` takes them, pictures decoded."""
    from vr1bench.engines.prompts import with_images

    found: list[list[dict[str, Any]]] = []
    for request in asked:
        with Image.open(request.images[0]) as image:
            found.append(with_images(request.messages, [image.convert("RGB")], "image_pil"))
    return found


def bare(llm: Any, clock: Clock, asked: list[Any], said: list[Any]) -> tuple[dict[str, float], list[str]]:
    """One `LLM.chat` over everything: its times in ms a sample, and its answers."""
    from vllm import SamplingParams

    params = SamplingParams(temperature=0, max_tokens=asked[0].sampling.max_tokens)
    pixels = {"min_pixels": asked[0].pixels.min_pixels, "max_pixels": asked[0].pixels.max_pixels}
    clock.clear()
    start, cpu = time.perf_counter(), time.process_time()
    outputs = llm.chat(said, params, use_tqdm=False, mm_processor_kwargs=pixels)
    scale = 1000 / len(asked)
    times = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu, "step": clock.wall[STEP]}
    return {name: seconds * scale for name, seconds in times.items()}, [one.outputs[0].text for one in outputs]


def ours(clock: Clock, told: dict[str, Any], count: int) -> dict[str, float]:
    """One whole run: its times in ms a sample."""
    cpu = time.process_time()
    result, seconds = timed_run(clock, **told)
    total = time.process_time() - cpu
    own = sum(clock.cpu.values()) - sum(clock.cpu[stage] for stage in VLLM)
    around = clock.cpu[PLAN] + sum(clock.cpu[stage] for stage in AFTER)
    beside = own - sum(clock.main.values()) + sum(clock.main[stage] for stage in VLLM)
    times = {"own": own, "loop": own - around, "main": own - around - beside}
    times |= {"wall": seconds, "asking": result.run.seconds, "cpu": total}
    return {name: value * 1000 / count for name, value in times.items()}


def compare(llm: Any, clock: Clock, name: str, toml: Path, pairs: int, tokens: int | None) -> None:
    """Measures one set and prints its row."""
    asked = requests(toml, tokens=tokens)
    told, said = options(toml, tokens=tokens), conversations(asked)
    found: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    for who in ("ours", "bare"):  # to warm up
        forget(llm)
        _ = ours(clock, told, len(asked)) if who == "ours" else bare(llm, clock, asked, said)
    for _, who in alternating(pairs, ("bare", "ours")):
        forget(llm)
        gc.collect()
        found[who].append(ours(clock, told, len(asked)) if who == "ours" else bare(llm, clock, asked, said)[0])
    both = list(zip(found["bare"], found["ours"], strict=True))
    row(
        name,
        len(asked),
        median_and_range([one["step"] for one, _ in both]),
        median_and_range([one["wall"] for one, _ in both]),
        *(median_and_range([one[part] for _, one in both]) for part in ("own", "loop", "main")),
        *(
            median_and_range([100 * mine[part] / plain["step"] for plain, mine in both], "{:.1f}")
            for part in ("own", "loop", "main")
        ),
        median_and_range([100 * (mine["cpu"] / plain["cpu"] - 1) for plain, mine in both], "{:.1f}"),
        median_and_range([plain["wall"] / mine["asking"] for plain, mine in both]),
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=400, help="of the photo a fifth of that")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--photo", type=Path, default=PHOTO, help="a photo; each sample shows it shifted")
    parser.add_argument("--work", type=Path, help="where pictures are written; a temporary folder if left out")
    args = parser.parse_args()
    with scratch(args.work) as work:
        small = shapes(work / "shapes", args.samples)
        large = shifted(work / "photo", args.photo, args.samples // 5)
        llm = open_llm()
        clock = watched()
        watch_rendering(clock, llm)
        lend(llm)
        head(
            "set", "samples", "bare steps, wall ms", "bare LLM.chat, wall ms", "own CPU ms: whole run", "asking alone",
            "of that in the main thread", "% of the steps: whole run", "asking alone", "of that in the main thread",
            "CPU of the process, ours above bare, %", "bare LLM.chat's wall, times our asking's",
        )  # fmt: skip
        compare(llm, clock, "shapes", small, args.pairs, None)
        compare(llm, clock, "photo", large, args.pairs, 64)


if __name__ == "__main__":
    main()
