"""The transformers engine beyond the contract: batches, options, closing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from engines.tiny import SIZES, ask

from vr1bench.engines import ENGINES, Engine, EngineOptions
from vr1bench.errors import Vr1benchError
from vr1bench.types import Completion, PixelBudget, Request

pytest.importorskip("transformers", reason="needs transformers: uv sync --inexact --extra hf")

Options = Callable[..., EngineOptions]
Photos = dict[tuple[int, int], Path]


def texts(engine: Engine, requests: list[Request]) -> list[str]:
    found = [answer for _, answer in engine.generate(requests) if isinstance(answer, Completion)]
    assert len(found) == len(requests)
    return [answer.text for answer in found]


def test_answers_do_not_depend_on_the_batch(options: Options, hf_engine: Engine, photos: Photos) -> None:
    requests = [
        ask(photos[size], size, text="red circle " * length, max_tokens=16 + length, pixels=PixelBudget(max_pixels=p))
        for length in (1, 1, 5)
        for p in (20_000, 50_000)
        for size in SIZES
    ]
    alone = ENGINES["hf"](options(batch_size=1))
    assert texts(alone, requests) == texts(hf_engine, requests)
    alone.close()


def test_a_batch_is_no_larger_than_the_window(options: Options, photos: Photos) -> None:
    taken = 0

    def source() -> list[Request]:
        return [ask(photos[size], size) for size in SIZES]

    def counted() -> object:
        nonlocal taken
        for request in source():
            taken += 1
            yield request

    engine = ENGINES["hf"](options(window=2, batch_size=64))
    answers = engine.generate(counted())  # type: ignore[arg-type]
    next(answers)
    assert taken <= 3
    assert len(list(answers)) == len(SIZES) - 1
    engine.close()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"batch_size": 0}, "batch_size: got 0; expected a whole number from 1 on"),
        ({"batch_size": "many"}, "batch_size: got 'many'"),
        ({"atn_implementation": "eager"}, "atn_implementation: .*did you mean attn_implementation"),
        ({"zzzz": 1}, "zzzz: transformers has no such option"),
        ({"attn_implementation": "nope"}, "transformers does not load .*nope"),
        ({"dtype": "float31"}, "transformers does not load .*float31"),
        ({"device": "warp"}, "device: got 'warp'; expected cpu"),
    ],
)
def test_options_that_cannot_be(options: Options, args: dict[str, object], message: str) -> None:
    with pytest.raises(Vr1benchError, match=message):
        ENGINES["hf"](options(**args))


def test_options_reach_the_model(options: Options, photos: Photos) -> None:
    requests = [ask(photos[size], size, logprobs=True) for size in SIZES]

    def logprobs(**args: object) -> list[float]:
        engine = ENGINES["hf"](options(**args))
        found = [answer for _, answer in engine.generate(requests) if isinstance(answer, Completion)]
        engine.close()
        return [token.logprob for answer in found for token in answer.tokens or ()]

    exact = logprobs(dtype="float32", attn_implementation="eager")
    assert logprobs() == pytest.approx(exact, abs=2e-3)  # float32 is what a small model gets on a CPU
    assert logprobs(dtype="bfloat16") != pytest.approx(exact, abs=2e-3)


def test_a_closed_engine_says_so(options: Options) -> None:
    engine = ENGINES["hf"](options())
    engine.close()
    engine.close()
    with pytest.raises(Vr1benchError, match="closed"):
        next(engine.generate([]))


def test_one_seed_draws_one_answer(hf_engine: Engine, photos: Photos) -> None:
    def drawn(seed: int) -> list[str]:
        return texts(hf_engine, [ask(photos[size], size, temperature=1.0, top_k=20, seed=seed) for size in SIZES])

    assert drawn(1) == drawn(1) != drawn(2)
