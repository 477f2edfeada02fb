"""What every engine that runs a model itself promises: the same tests through vLLM and through transformers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines.tiny import CONTEXT, SIZES, ask

from vr1bench.engines import Engine
from vr1bench.engines.prompts import wrong_frame
from vr1bench.families import FAMILIES
from vr1bench.types import Completion, Failure, PixelBudget, Request

Photos = dict[tuple[int, int], Path]


def answers(engine: Engine, requests: list[Request]) -> dict[str, Completion | Failure]:
    """By sample id; each request must be answered once."""
    found = {}
    for request, answer in engine.generate(requests):
        assert request.sample_id not in found
        found[request.sample_id] = answer
    assert set(found) == {request.sample_id for request in requests}
    return found


def completions(engine: Engine, requests: list[Request]) -> dict[str, Completion]:
    found = answers(engine, requests)
    failures = [answer for answer in found.values() if isinstance(answer, Failure)]
    assert not failures
    return {name: answer for name, answer in found.items() if isinstance(answer, Completion)}


def many(photos: Photos, rounds: int, **sampling: object) -> list[Request]:
    return [
        ask(photos[size], size, text=f"Locate every red circle {number}", **sampling)
        for number in range(rounds)
        for size in SIZES
    ]


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_engines_give_the_same_greedy_answers(
    vllm_engine: Engine, hf_engine: Engine, photos: Photos, penalty: float
) -> None:
    requests = many(photos, 5, logprobs=True, repetition_penalty=penalty)
    by_vllm, by_hf = completions(vllm_engine, requests), completions(hf_engine, requests)
    for name, one in by_vllm.items():
        other = by_hf[name]
        bare = {"tokens": None, "seconds": 0.0, "n_cached": 0, "image_reused": False}
        assert one.model_copy(update=bare) == other.model_copy(update=bare)
        assert one.tokens is not None
        assert other.tokens is not None
        assert "".join(token.text for token in one.tokens) == one.text
        assert [token.text for token in one.tokens] == [token.text for token in other.tokens]
        assert [t.logprob for t in one.tokens] == pytest.approx([t.logprob for t in other.tokens], abs=2e-3)
        assert all(token.logprob <= 0 for token in one.tokens)
    # Not vacuous: the answers depend on the picture, and end both ways.
    assert len({one.text for one in by_vllm.values()}) > len(requests) / 2
    assert {one.finish for one in by_vllm.values()} == {"stop", "length"}


def test_questions_about_one_picture_share_it(engine: Engine, photos: Photos) -> None:
    pixels = PixelBudget(max_pixels=50 * 28 * 28)  # of this test alone: no other has encoded these
    sizes = ((640, 480), (300, 200))
    requests = [ask(photos[size], size, text=f"Locate every {n}", pixels=pixels) for size in sizes for n in range(6)]
    found = completions(engine, requests)
    assert sum(one.image_reused for one in found.values()) == len(requests) - len(sizes)
    # In the order in which they come, and no memory of them afterwards: another run decodes them again.
    again = completions(engine, requests[:6])
    assert sum(one.image_reused for one in again.values()) == 5
    assert {name: one.text for name, one in again.items()} == {name: found[name].text for name in again}
    assert all(
        one.n_prompt > FAMILIES["qwen2.5-vl"].image_tokens(one.fed_width, one.fed_height) for one in found.values()
    )


def test_without_a_picture_none_is_reused(engine: Engine) -> None:
    found = completions(engine, [ask(None, (0, 0), text=f"circle {n}") for n in range(3)])
    assert not any(one.image_reused for one in found.values())
    assert all(one.n_prompt > 0 for one in found.values())


def test_a_repetition_penalty_is_the_requests_and_never_the_checkpoints(engine: Engine, photos: Photos) -> None:
    # The stand-in's generation_config.json asks for 1.05, as Qwen2.5-VL's does.
    plain = completions(engine, many(photos, 1))
    as_checkpoint = completions(engine, many(photos, 1, repetition_penalty=1.05, max_tokens=24))
    assert {name: one.text for name, one in plain.items()} != {name: one.text for name, one in as_checkpoint.items()}


def test_token_counts_and_ends(engine: Engine, photos: Photos) -> None:
    found = completions(engine, many(photos, 2, max_tokens=5))
    assert all(one.n_tokens <= 5 for one in found.values())
    assert all(one.n_tokens == 5 for one in found.values() if one.finish == "length")
    assert any(one.n_tokens < 5 for one in found.values())
    assert all(one.tokens is None for one in found.values())
    assert not any(one.text.endswith("<|im_end|>") for one in found.values())


def test_what_cannot_be_read_fails_alone(engine: Engine, photos: Photos, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    good = many(photos, 1)
    bad = [ask(broken, (10, 10)), ask(tmp_path / "missing.png", (10, 10)), ask(photos[300, 200], (301, 200))]
    found = answers(engine, [*good[:2], *bad, *good[2:]])
    failures = {name: answer for name, answer in found.items() if isinstance(answer, Failure)}
    assert set(failures) == {request.sample_id for request in bad}
    assert {failure.kind for failure in failures.values()} == {"image"}
    assert "301x200" in failures[bad[2].sample_id].error


def test_a_prompt_beyond_the_context_fails_alone(engine: Engine, photos: Photos) -> None:
    size = (640, 480)
    by_text = ask(photos[size], size, text="0 1 2 3 4 5 6 7 8 9 " * 100)
    by_image = ask(photos[size], size, text="large", pixels=PixelBudget(min_pixels=CONTEXT * 28 * 28))
    fits = ask(photos[size], size)
    found = answers(engine, [by_text, fits, by_image])
    assert isinstance(found[fits.sample_id], Completion)
    for refused in (by_text, by_image):
        failure = found[refused.sample_id]
        assert isinstance(failure, Failure)
        assert failure.kind == "engine"
        assert str(CONTEXT) in failure.error


def test_an_answer_ends_where_the_context_does(vllm_engine: Engine, hf_engine: Engine, photos: Photos) -> None:
    # 950 or 961 image tokens leave room for some dozens behind the question.
    pixels = PixelBudget(min_pixels=729_316)
    requests = [
        ask(photos[size], size, text="red" + " 1" * extra, pixels=pixels, max_tokens=500)
        for size in ((140, 140), (300, 200))
        for extra in range(0, 20, 4)
    ]
    by_vllm, by_hf = completions(vllm_engine, requests), completions(hf_engine, requests)
    for name, one in by_vllm.items():
        assert (one.text, one.finish, one.n_tokens) == (by_hf[name].text, by_hf[name].finish, by_hf[name].n_tokens)
    assert any(one.finish == "length" and one.n_tokens < 100 for one in by_vllm.values())


def test_the_pixel_budget_reaches_the_processor(engine: Engine, photos: Photos) -> None:
    # The engine compares the prompt's image tokens with the family's, so that a Completion proves that it was fed so.
    family = FAMILIES["qwen2.5-vl"]
    budgets = [PixelBudget(max_pixels=16 * 784), PixelBudget(max_pixels=64 * 784), PixelBudget(min_pixels=100 * 784)]
    for size in ((640, 480), (97, 211)):
        requests = [ask(photos[size], size, text=f"budget {i}", pixels=b) for i, b in enumerate(budgets)]
        found = completions(engine, requests)
        fed = [(found[r.sample_id].fed_width, found[r.sample_id].fed_height) for r in requests]
        assert fed == [family.fed_size(*size, budget) for budget in budgets]
        assert len({family.image_tokens(*one) for one in fed}) == len(set(fed)) > 1


def test_another_frame_than_the_familys_is_a_failure_with_both_numbers(engine: Engine, photos: Photos) -> None:
    # Without a budget the stand-in's processor stops at 256 tokens, where the family's rule goes on.
    request = ask(photos[640, 480], (640, 480), pixels=None)
    failure = answers(engine, [request])[request.sample_id]
    assert isinstance(failure, Failure)
    assert "644x476" in failure.error
    assert "391 image tokens" in failure.error
    assert "made 234" in failure.error


def test_a_frame_on_its_side_is_another_frame(photos: Photos) -> None:
    family, request = FAMILIES["qwen2.5-vl"], ask(photos[300, 200], (300, 200))
    assert wrong_frame(family, request, (280, 140), 50, (1, 10, 20)) is None
    turned = wrong_frame(family, request, (280, 140), 50, (1, 20, 10))
    assert turned is not None
    assert "10x20 patches" in turned.error


def test_a_request_without_an_image(engine: Engine) -> None:
    request = ask(None, (0, 0), text="red circle")
    answer = completions(engine, [request])[request.sample_id]
    assert (answer.fed_width, answer.fed_height) == (0, 0)


def test_messages_and_images_must_agree(engine: Engine, photos: Photos) -> None:
    two = ask(photos[140, 140], (140, 140), text="two")
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "two"}]
    request = Request(**{**_fields(two), "messages": ({"role": "user", "content": content},)})
    failure = answers(engine, [request])[request.sample_id]
    assert isinstance(failure, Failure)
    assert "2 image parts" in failure.error


def test_requests_are_taken_lazily(engine: Engine, photos: Photos) -> None:
    requests, outstanding, highest, taken = many(photos, 20), 0, 0, 0

    def source() -> Iterator[Request]:
        nonlocal outstanding, highest, taken
        for request in requests:
            outstanding += 1
            taken += 1
            highest = max(highest, outstanding)
            yield request

    left_at_first_answer = None
    for _ in engine.generate(source()):
        left_at_first_answer = len(requests) - taken if left_at_first_answer is None else left_at_first_answer
        outstanding -= 1
    assert highest <= 8 + 16  # the window, and what is taken beyond it
    assert left_at_first_answer is not None
    assert left_at_first_answer >= len(requests) - (8 + 16)


def test_an_iterator_left_early_ends_its_threads_and_the_engine_goes_on(engine: Engine, photos: Photos) -> None:
    def source() -> Iterator[Request]:
        yield from many(photos, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(engine.generate(source()))
    left = engine.generate(many(photos, 2))
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vr1bench-ahead")]
    assert len(completions(engine, many(photos, 1))) == len(SIZES)


def test_no_requests(engine: Engine) -> None:
    assert list(engine.generate([])) == []


def test_an_engine_names_its_versions(engine: Engine) -> None:
    assert {"torch", "transformers"} <= set(engine.versions)


def _fields(request: Request) -> dict[str, object]:
    return {name: getattr(request, name) for name in Request.__slots__}
