"""One class a prompt: the questions of a picture together, or shuffled, through the vLLM engine of vr1bench.

`python tests/speed/measured/grouping.py` prints a Markdown table. The key-value cache holds what the window needs and a
quarter more: a real set's pictures do not fit into a real GPU's cache either, but these few would.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clock import head, median_and_range, row
from one_engine import engine_arguments
from sets import SHARED, requests, scratch, shapes, shifted

PHOTO = SHARED / "coco_val2017" / "000000000139.jpg"
CLASSES = tuple(f"{size} {name}" for name in ("chair", "vase", "clock", "screen") for size in ("small", "big"))
CACHE_A_TOKEN = 2 * 5 * 2 * 32 * 4
"""Bytes of the demo model's keys and values: 5 layers, 2 heads of 32, float32."""


def open_engine(window: int, cache_tokens: int | None = None) -> Any:
    """The engine on the demo model, with a cache of so many tokens, or our default."""
    engine_arguments()  # sets the environment
    from vr1bench import model
    from vr1bench.engines import EngineOptions, vllm
    from vr1bench.families import FAMILIES

    args = {"kv_cache_memory_bytes": cache_tokens * CACHE_A_TOKEN, "max_model_len": 2048} if cache_tokens else {}
    return vllm.open_engine(EngineOptions(model.load("demo"), FAMILIES["qwen2.5-vl"], args=args, window=window))


def answered(engine: Any, asked: Sequence[Any]) -> tuple[float, dict[str, Any]]:
    """Wall seconds for these requests in this order, all caches empty, and each one's Completion by its key."""
    llm = engine._started.engine
    llm.reset_prefix_cache()
    llm.reset_encoder_cache()
    start = time.perf_counter()
    found = {request.key: answer for request, answer in engine.generate(asked)}
    return time.perf_counter() - start, found


def by_class(asked: Sequence[Any]) -> list[Any]:
    """All pictures for the first class, then all for the second."""
    return sorted(asked, key=lambda request: request.queries)


def shuffled(asked: Sequence[Any]) -> list[Any]:
    """In an order drawn once."""
    return random.Random(7).sample(list(asked), len(asked))  # noqa: S311  an order, no secret


ORDERS: dict[str, Callable[[Sequence[Any]], Sequence[Any]]] = {
    "shuffled": shuffled,
    "class after class": by_class,
    "picture after picture": list,
}


def compare(name: str, toml: Path, args: argparse.Namespace, tokens: int) -> None:
    """Measures one set in all orders, which take turns, and prints their rows."""
    asked = requests(toml, {"query": "one"}, tokens)
    wide = open_engine(args.window)
    _, warm = answered(wide, asked[: 2 * args.window])
    wide.close()
    longest = max(answer.n_prompt for answer in warm.values()) + tokens
    engine = open_engine(args.window, args.window * 5 * (longest + 31) // 4)
    answered(engine, asked[: 2 * args.window])
    seconds: dict[str, list[float]] = {order: [] for order in ORDERS}
    answers: dict[str, dict[str, Any]] = {}
    for _ in range(args.rounds):
        for order, arrange in ORDERS.items():
            taken, answers[order] = answered(engine, arrange(asked))
            seconds[order].append(taken)
    engine.close()
    texts = [[found[request.key].text for request in asked] for found in answers.values()]
    for order, found in answers.items():
        prompt, cached = (sum(getattr(one, of) for one in found.values()) for of in ("n_prompt", "n_cached"))
        reused = sum(one.image_reused for one in found.values())
        ratios = [plain / taken for plain, taken in zip(seconds["shuffled"], seconds[order], strict=True)]
        equal = sum(one == other for one, other in zip(texts[0], texts[list(ORDERS).index(order)], strict=True))
        row(
            name, len(asked), order, median_and_range(seconds[order]), median_and_range(ratios),
            f"{100 * cached / prompt:.0f}", f"{100 * reused / len(asked):.0f}", f"{equal} of {len(asked)}",
        )  # fmt: skip


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--photo", type=Path, default=PHOTO, help="a photo; each picture shows it shifted")
    parser.add_argument("--work", type=Path, help="where pictures are written; a temporary folder if left out")
    args = parser.parse_args()
    with scratch(args.work) as work:
        head(
            "set", "questions", "order", "s", "times as fast as shuffled", "prompt tokens from the cache, %",
            "pictures reused, %", "answers as shuffled",
        )  # fmt: skip
        compare("shapes, 24 classes", shapes(work / "shapes", args.pictures), args, 64)
        compare("photo, 8 classes", shifted(work / "photo", args.photo, args.pictures, CLASSES), args, 32)


if __name__ == "__main__":
    main()
