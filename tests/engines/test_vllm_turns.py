"""Which pictures may enter the engine while others are being encoded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from engines.tiny import ask

from vr1bench.engines.vllm_render import Rendered
from vr1bench.engines.vllm_turns import CacheRoom, PictureTurns


def shown(tokens: int, *pictures: str, words: int = 0) -> Rendered:
    return Rendered(ask(None, (0, 0)), 0.0, pictures=pictures, tokens=tokens + words, image_tokens=tokens)


def test_a_new_picture_waits_for_room_and_the_questions_about_one_inside_do_not() -> None:
    states: dict[str, Any] = {}
    room = SimpleNamespace(mm_encoder_cache_size=100)
    engine: Any = SimpleNamespace(output_processor=SimpleNamespace(request_states=states), input_processor=room)
    turns = PictureTurns(engine)

    def enter(name: str, ready: Rendered) -> None:
        assert turns.may_enter(ready)
        states[name] = SimpleNamespace(is_prefilling=True)
        turns.entered(ready, name)

    enter("1", shown(60, "a"))
    enter("2", shown(60, "a"))  # of the same picture
    enter("3", shown(40, "b"))  # fills the rest
    enter("4", shown(0))  # no picture
    assert not turns.may_enter(shown(1, "c"))
    states["3"].is_prefilling = False  # has answered a token
    assert turns.may_enter(shown(40, "c"))
    assert not turns.may_enter(shown(41, "c"))
    del states["1"]  # was aborted
    assert turns.may_enter(shown(1000, "d"))  # the engine's to refuse


def test_what_the_cache_cannot_hold_waits_and_a_picture_counts_once() -> None:
    cache = SimpleNamespace(num_gpu_blocks=10, block_size=16)
    engine: Any = SimpleNamespace(vllm_config=SimpleNamespace(cache_config=cache))
    room = CacheRoom(engine)
    large = shown(1000, "z")
    assert room.may_enter(large)  # the engine's to refuse, or to split
    inside = [shown(100, "a", words=10), shown(100, "a", words=10), shown(0, words=20), shown(20, "b")]
    for ready in inside:
        assert room.may_enter(ready)
        room.entered(ready)  # 100 + 10 + 10 + 20 + 20
    assert not room.may_enter(shown(0, words=1))
    room.left(inside[0])  # the other one still shows `a`
    assert room.may_enter(shown(0, words=10))
    assert not room.may_enter(shown(0, words=11))
    room.left(inside[1])
    assert room.may_enter(shown(120, "c"))
    assert not room.may_enter(shown(121, "c"))
    for ready in inside[2:]:
        room.left(ready)
    assert room.may_enter(large)
    cache.num_gpu_blocks = None
    unknown = CacheRoom(engine)
    unknown.entered(large)
    assert unknown.may_enter(large)
