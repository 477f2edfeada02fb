"""What a run would cost, as values and as a table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import timedelta

from tabulate import tabulate


@dataclass(frozen=True, slots=True)
class Cost:
    """What one benchmark under one protocol would cost.

    Attributes:
        benchmark: Which.
        split: Which of its splits.
        protocol: How it would be asked.
        samples: How many.
        requests: How many, one class a prompt counted one by one.
        images: Different picture files.
        image_tokens: Input tokens of pictures, over all requests; None where the family cannot tell.
        text_tokens: Input tokens of words, over all requests.
        output_tokens: Over all requests: from the probe, else the most that the protocol allows.
        longest: Tokens of the longest request, the most that its answer may have among them.
        measured: Whether the output tokens are from the probe.
        probed: Requests that the probe had answered.
        rate: Requests a second in the probe; None where nothing was measured.
    """

    benchmark: str
    split: str
    protocol: str
    samples: int
    requests: int
    images: int
    image_tokens: int | None
    text_tokens: int
    output_tokens: int
    longest: int = 0
    measured: bool = False
    probed: int = 0
    rate: float | None = None

    @property
    def seconds(self) -> float | None:
        """Of asking everything at the probe's rate, start-up apart; None where there is none."""
        return self.requests / self.rate if self.rate else None


@dataclass(frozen=True, slots=True)
class Missing:
    """A benchmark that cannot be planned, and why: most often its data is not there."""

    benchmark: str
    protocol: str
    reason: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What an engine would hold, in bytes and in the checkpoint's own precision; activations are not known.

    Attributes:
        weights: Of the weights; None where they are not on this machine.
        a_token: Of the key-value cache, for each token; None where the model's config does not say.
        requests: In flight at most.
        longest: Tokens of the longest request, see `Cost.longest`.
        pictures: Of the pictures of the requests in flight, decoded and preprocessed in the host's memory, were all as
            large as the largest and no two requests of one; fewer are held where the key-value cache is smaller.
    """

    weights: int | None
    a_token: int | None
    requests: int
    longest: int
    pictures: int

    @property
    def cache(self) -> int | None:
        """Bytes of a key-value cache in which all requests in flight, each as long as the longest, have room."""
        return None if self.a_token is None else self.a_token * self.requests * self.longest

    @property
    def said(self) -> str:
        """In words."""
        room = "" if self.cache is None else f" ({self.requests} requests of {self.longest:,}: {_gib(self.cache)})"
        return (
            f"weights {_gib(self.weights)}, key-value cache {'?' if self.a_token is None else f'{self.a_token:,} B'} a "
            f"token{room}, pictures {_gib(self.pictures)} of the host's at most; activations come on top"
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would cost.

    Attributes:
        costs: One a benchmark and protocol, protocols of a benchmark side by side.
        missing: Those that could not be planned.
        engine: The engine that was probed; "" where none was.
        start: Seconds until the engine had answered its first requests; None where nothing was measured.
        counted: Whether the words were counted by the model's tokenizer; where not, `text_tokens` are guessed.
        memory: What an engine would hold; None where the model's files are not here.
        notes: What a reader of the numbers should know.
    """

    costs: tuple[Cost, ...]
    missing: tuple[Missing, ...]
    engine: str = ""
    start: float | None = None
    counted: bool = False
    memory: Memory | None = None
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """All of it, start-up among it; None where some time is not known."""
        times = [one.seconds for one in self.costs]
        known = [value for value in times if value is not None]
        if self.start is None or len(known) < len(times):
            return None
        return self.start + sum(known)


def table(found: Estimate, form: str = "simple") -> str:
    """The costs as a table with their total; `~` is before what is guessed, `≤` before what is a bound.

    Args:
        found: What `estimate` gives.
        form: `simple` or `pipe`, as tabulate names them.
    """
    about = "" if found.counted else "~"
    rows = [
        {"benchmark": f"{one.benchmark} {one.split}", "protocol": one.protocol, "samples": _thousands(one.samples),
         "requests": _thousands(one.requests), "images": _thousands(one.images),
         "image tokens": "?" if one.image_tokens is None else _thousands(one.image_tokens),
         "text tokens": about + _thousands(one.text_tokens),
         "output tokens": ("~" if one.measured else "≤") + _thousands(one.output_tokens),
         "requests/s": "-" if one.rate is None else f"{one.rate:.2f}", "time": _duration(one.seconds)}
        for one in found.costs
    ]  # fmt: skip
    rows += [{"benchmark": one.benchmark, "protocol": one.protocol, "samples": "missing"} for one in found.missing]
    if len(found.costs) > 1:
        rows.append(_total(found))
    if found.start is not None:
        rows.append({"benchmark": f"start-up of {found.engine}", "time": _duration(found.start)})
        rows.append({"benchmark": "all", "time": _duration(found.seconds)})
    align = ["left"] * 2 + ["right"] * 8
    columns = ["benchmark", "protocol", "samples", "requests", "images", "image tokens", "text tokens"]
    columns += ["output tokens", "requests/s", "time"]
    cells = [[row.get(name, "") for name in columns] for row in rows]
    return tabulate(cells, headers=columns, tablefmt=form, disable_numparse=True, colalign=align)


def as_json(found: Estimate) -> str:
    """The same as JSON; seconds are numbers."""
    whole = asdict(found) | {
        "costs": [asdict(one) | {"seconds": one.seconds} for one in found.costs],
        "seconds": found.seconds,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _total(found: Estimate) -> dict[str, str]:
    """The sums over all rows."""
    costs = found.costs
    pictures = [one.image_tokens for one in costs]
    known = [value for value in pictures if value is not None]
    times = [one.seconds for one in costs]
    measured = [value for value in times if value is not None]
    bound = "~" if all(one.measured for one in costs) else "≤"
    return {
        "benchmark": "total",
        "samples": _thousands(sum(one.samples for one in costs)),
        "requests": _thousands(sum(one.requests for one in costs)),
        "image tokens": _thousands(sum(known)) if len(known) == len(pictures) else "?",
        "text tokens": ("" if found.counted else "~") + _thousands(sum(one.text_tokens for one in costs)),
        "output tokens": bound + _thousands(sum(one.output_tokens for one in costs)),
        "time": _duration(sum(measured) if len(measured) == len(times) else None),
    }


def _thousands(value: int) -> str:
    return f"{value:,}"


def _duration(seconds: float | None) -> str:
    """`0:03:20`; "-" where nobody knows."""
    return "-" if seconds is None else str(timedelta(seconds=math.ceil(seconds)))


def _gib(value: int | None) -> str:
    return "?" if value is None else f"{value / 2**30:.2f} GiB"
