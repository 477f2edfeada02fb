"""The end of a run: requests of mixed sizes in several orders, the last window of them longest first or not.

`python tests/speed/measured/tail.py` prints a Markdown table: does it pay to begin the longest of the last requests
first, so that no long one is left alone at the end?
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clock import head, median_and_range, row
from grouping import PHOTO, answered, open_engine, shuffled
from sets import requests, scratch, shapes, shifted

IMAGE_TOKENS = (50, 345)
"""Least and most that a photo may cost; the most is all of the 640 by 426 pixels."""


def mixed(work: Path, photo: Path, count: int) -> list[Any]:
    """Questions in a drawn order: half about small pictures, half about a photo at sizes drawn evenly."""
    from vr1bench.types import PixelBudget

    draw = random.Random(7)  # noqa: S311  sizes, no secrets
    budgets = [PixelBudget(max_pixels=draw.randint(*IMAGE_TOKENS) * 28 * 28) for _ in range(count // 2)]
    large = requests(shifted(work / "photo", photo, len(budgets)), tokens=64)
    large = [replace(request, pixels=budget) for request, budget in zip(large, budgets, strict=True)]
    return shuffled([*requests(shapes(work / "shapes", count - len(large)), tokens=64), *large])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument("--photo", type=Path, default=PHOTO, help="a photo; each request shows it shifted")
    parser.add_argument("--work", type=Path, help="where pictures are written; a temporary folder if left out")
    args = parser.parse_args()
    with scratch(args.work) as work:
        asked = mixed(work, args.photo, args.requests)
        engine = open_engine(args.window)
        _, answers = answered(engine, asked)
        length = {key: answer.n_prompt for key, answer in answers.items()}

        def longest_first(some: Sequence[Any]) -> list[Any]:
            return sorted(some, key=lambda request: -length[request.key])

        last = args.window
        orders = {
            "as given": asked,
            "the last window longest first": [*asked[:-last], *longest_first(asked[-last:])],
            "the last two windows longest first": [*asked[: -2 * last], *longest_first(asked[-2 * last :])],
            "all longest first": longest_first(asked),
            "all shortest first": longest_first(asked)[::-1],
        }
        seconds: dict[str, list[float]] = {name: [] for name in orders}
        for turn in range(args.rounds):
            for name, order in list(orders.items())[:: -1 if turn % 2 else 1]:
                seconds[name].append(answered(engine, order)[0])
        engine.close()
    head("order", "requests", "s", "times the time as given")
    for name, taken in seconds.items():
        ratios = [one / given for one, given in zip(taken, seconds["as given"], strict=True)]
        row(name, len(asked), median_and_range(taken), median_and_range(ratios))


if __name__ == "__main__":
    main()
