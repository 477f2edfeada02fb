# pyright: basic
"""OpenAI-compatible endpoints (`vllm serve`, SGLang, hosted models) through the official client.

A thread of its own runs the client's event loop, so that the servers stay busy while answers are journalled and
scored. Images are decoded and encoded ahead by a few threads (`ahead.Ahead`). At most `window` requests are with the
servers, all replicas together.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib.metadata import version
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from vr1bench.engines import Answer, EngineOptions
from vr1bench.engines.ahead import Ahead
from vr1bench.engines.openai_chat import Answer as Reply
from vr1bench.engines.openai_chat import body, completion
from vr1bench.engines.openai_images import data_url
from vr1bench.engines.openai_options import Options, Prices, Server, options_of
from vr1bench.engines.pictures import Pictures
from vr1bench.errors import Vr1benchError
from vr1bench.images import ImageError
from vr1bench.types import Completion, Failure, Request

if TYPE_CHECKING:
    import httpx2
    from openai import APIError, AsyncOpenAI

T = TypeVar("T")

DEPTH = 16
"""Requests encoded beyond the window at most."""
REFUSED = (401, 403, 404)
"""Statuses of a wrong key or an unknown model: before the first answer they mean that there will be none."""
CONNECT_SECONDS = 10.0
START_RETRIES = 2
LONGEST_ERROR = 500
"""Characters of a server's error that are kept; some servers send the whole request back, its images included."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A request ready to be sent; `failure` where it cannot be."""

    request: Request
    taken: float
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fed: tuple[int, int] = (0, 0)
    reused: bool = False
    failure: Failure | None = None


@dataclass(eq=False)
class _Replica:
    """One server; used in the loop's thread only."""

    url: str
    client: AsyncOpenAI
    busy: int = 0
    lost: bool = False


@dataclass
class _Counts:
    """What the run cost; written in the loop's thread only."""

    requests: int = 0
    posts: int = 0
    answers: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, prices: Prices) -> float:
        """US dollars."""
        fresh, answer, *cached = prices
        tokens = (self.prompt_tokens - self.cached_tokens) * fresh + self.completion_tokens * answer
        return (tokens + self.cached_tokens * (cached[0] if cached else fresh)) / 1e6


class OpenAIEngine:
    """See `vr1bench.engines.Engine`."""

    name = "openai"

    def __init__(self, options: EngineOptions) -> None:
        """Asks every server what it serves; see `open_engine` for the options and what it raises."""
        self._options: Options = options_of(options.args)
        self._family, self._model, self._window = options.family, options.model.name, max(1, options.window)
        self._counts = _Counts()
        try:
            self.versions: Mapping[str, str] = {"openai": version("openai")}
            self._replicas = [_Replica(url, self._client(url)) for url in self._options.base_urls]
        except ImportError as error:
            raise Vr1benchError(
                f"engine openai cannot be imported ({error}); install it: uv sync --inexact --extra openai"
            ) from error
        self._urls = Pictures(data_url)
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = threading.Thread(
            target=self._loop.run_forever, name="vr1bench-openai", daemon=True
        )
        self._thread.start()
        try:
            self._server: Server = self._started()
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Engine.generate`; closing the iterator, or Ctrl-C, cancels what is on its way.

        Raises:
            Vr1benchError: The engine is closed; the endpoint refuses the key or the model before the first answer; or
                the protocol's pixel budget cannot be told to this server.
            ConnectionError: No server can be reached any more.
        """
        if self._thread is None:
            raise Vr1benchError("this openai engine is closed; open another")
        flying: dict[Future[Completion | Failure], Request] = {}
        done: SimpleQueue[Future[Completion | Failure]] = SimpleQueue()
        with Ahead(requests, self._encode, min(DEPTH, self._window)) as ahead:
            try:
                while True:
                    while flying and (len(flying) == self._window or ahead.exhausted or not done.empty()):
                        future = done.get()
                        yield flying.pop(future), future.result()
                    ready = ahead.take(wait=True)
                    if ready is None:
                        if not flying:
                            return
                        continue
                    if ready.failure is not None:
                        yield ready.request, ready.failure
                        continue
                    future = self._submit(self._ask(ready))
                    flying[future] = ready.request
                    future.add_done_callback(done.put)
            finally:
                for future in flying:
                    future.cancel()

    def close(self) -> None:
        """See `Engine.close`; says on stderr what the run cost."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._submit(self._ended()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join()
        self._loop.close()
        counts = self._counts
        if counts.requests:
            cost = f", ${counts.cost(self._options.prices):.4f}" if self._options.prices else ""
            print(
                f"openai: {counts.requests} requests, {counts.posts - counts.requests} retries, "
                f"{counts.prompt_tokens} prompt tokens, {counts.completion_tokens} completion tokens{cost}",
                file=sys.stderr,
            )

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _client(self, url: str) -> AsyncOpenAI:
        """The official client, with its own retries: 408, 409, 429, 5xx, timeouts, broken connections.

        It waits half a second, then twice as long each time up to 8 s, less a quarter by chance, or as long as
        `Retry-After` says up to two minutes; where that says more, the request has failed. What comes with status 200
        and is no answer is made a broken connection by `_check`, so that it is asked again by the same rule and out of
        the same budget.
        """
        import httpx2
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

        return AsyncOpenAI(
            base_url=url,
            api_key=self._options.api_key or "none",  # a server without keys; the client insists on one
            timeout=Timeout(self._options.timeout, connect=min(CONNECT_SECONDS, self._options.timeout)),
            max_retries=self._options.max_retries,
            http_client=DefaultAsyncHttpxClient(
                limits=httpx2.Limits(),  # the window bounds the connections
                event_hooks={"request": [self._count], "response": [self._check]},
            ),
        )

    async def _count(self, request: httpx2.Request) -> None:
        self._counts.posts += request.method == "POST"

    async def _check(self, response: httpx2.Response) -> None:
        """Raises where a good status comes with a body that is no answer."""
        import httpx2

        if response.request.method != "POST" or not response.is_success:
            return
        content = await response.aread()
        try:
            Reply.model_validate_json(content)
        except ValueError as error:
            what = " ".join(str(error).splitlines()[1:3]) or str(error)
            raise httpx2.RemoteProtocolError(
                f"status {response.status_code} with {len(content)} bytes that are no chat completion: {what}",
                request=response.request,
            ) from error

    def _started(self) -> Server:
        async def all_servers() -> Sequence[Server]:
            return await asyncio.gather(*map(self._kind, self._replicas))

        found = self._submit(all_servers()).result()
        if self._options.server:
            return self._options.server
        if len(set(found)) > 1:
            kinds = ", ".join(f"{one.url}: {kind}" for one, kind in zip(self._replicas, found, strict=True))
            raise Vr1benchError(
                f"the servers are of different kinds ({kinds}); expected replicas of one: their answers would mix"
            )
        return found[0]

    async def _kind(self, replica: _Replica) -> Server:
        """What kind of server it is, by its list of models; one without a list is any other.

        Raises:
            Vr1benchError: It cannot be reached, refuses the key, or does not serve the model.
        """
        import httpx2
        from openai import APIConnectionError, APIStatusError

        client = replica.client.with_options(max_retries=min(START_RETRIES, self._options.max_retries))
        try:
            response = await client.get("/models", cast_to=httpx2.Response)
            rows = [row for row in response.json()["data"] if isinstance(row, dict)]
        except APIConnectionError as error:
            raise Vr1benchError(
                f"no server answers at {replica.url} ({self._said(error)}); is it up, and is base_url right, with its "
                "/v1 at the end?"
            ) from error
        except APIStatusError as error:
            if error.status_code in (401, 403):
                raise self._refusal(replica, error) from error
            return "other"
        except (ValueError, KeyError, TypeError):
            return "other"
        owners = {row.get("owned_by") for row in rows}
        kind: Server = "vllm" if "vllm" in owners else "sglang" if "sglang" in owners else "other"
        names = [str(row.get("id")) for row in rows]
        if kind != "other" and self._model not in names:
            raise Vr1benchError(
                f"{replica.url} does not serve {self._model!r}; expected --model with one of: {', '.join(names)}"
            )
        return kind

    def _encode(self, request: Request) -> _Ready:
        """Encodes a request's images; runs in a background thread."""
        taken = time.perf_counter()
        try:
            size = (request.width, request.height)
            found = [self._urls(path, size) for path in request.images]
            urls = [url for url, _ in found]
            fed = self._family.fed_size(*size, request.pixels) if urls else (0, 0)
            sent = body(request, urls, self._family, self._model, self._server, self._options.limit_field)
        except ImageError as error:
            return _Ready(request, taken, failure=Failure(error=str(error), kind="image"))
        except ValueError as error:
            return _Ready(request, taken, failure=Failure(error=f"the request cannot be rendered: {error}"))
        sent["extra_body"] = {**sent["extra_body"], **self._options.extra_body}
        return _Ready(request, taken, sent, fed, bool(found) and all(known for _, known in found))

    async def _ask(self, ready: _Ready) -> Completion | Failure:
        """One answer, from the least busy server; where that one has gone, from another."""
        from openai import APIError

        self._counts.requests += 1
        while True:
            replica = min((one for one in self._replicas if not one.lost), key=lambda one: one.busy, default=None)
            if replica is None:
                raise ConnectionError(f"no server answers any more at {', '.join(one.url for one in self._replicas)}")
            replica.busy += 1
            try:
                raw = await replica.client.chat.completions.with_raw_response.create(**ready.body)
                reply = Reply.model_validate_json(raw.content)
            except APIError as error:
                if _gone(error):
                    replica.lost = True
                    continue
                if not self._counts.answers and getattr(error, "status_code", 0) in REFUSED:
                    raise self._refusal(replica, error) from error
                return Failure(error=f"{replica.url} gave no answer ({self._said(error)})")
            finally:
                replica.busy -= 1
            self._counts.answers += 1
            if reply.usage:
                self._counts.prompt_tokens += reply.usage.prompt_tokens
                self._counts.cached_tokens += reply.usage.cached_tokens
                self._counts.completion_tokens += reply.usage.completion_tokens
            seconds = time.perf_counter() - ready.taken
            return completion(reply, ready.request, self._family, ready.fed, seconds, reused=ready.reused)

    async def _ended(self) -> None:
        """Cancels what is left and closes the connections."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for replica in self._replicas:
            await replica.client.close()

    def _refusal(self, replica: _Replica, error: APIError) -> Vr1benchError:
        return Vr1benchError(
            f"{replica.url} refuses model {self._model!r} ({self._said(error)}); check the key (OPENAI_API_KEY in the "
            "environment), the name that the server gives the model (--model), and the path of base_url"
        )

    def _said(self, error: APIError) -> str:
        """What went wrong, in one line, without the key."""
        cause = error.__cause__
        text = str(error) if cause is None else f"{type(cause).__name__}: {cause}"
        if self._options.api_key:
            text = text.replace(self._options.api_key, "***")
        return " ".join(text.split())[:LONGEST_ERROR]


def open_engine(options: EngineOptions) -> OpenAIEngine:
    """Opens the engine `openai`.

    Args:
        options: `args` takes `base_url` (one, or a list of replicas, each request going to the least busy one;
            `OPENAI_BASE_URL` in the environment where it is left out), `api_key` (better: `OPENAI_API_KEY` in the
            environment), `timeout` in seconds without a byte from the server (600), `max_retries` (8), `extra_body` (a
            mapping of further fields of each request), `server` (`vllm`, `sglang`, `other`) where a proxy hides
            which it is, `limit_field=max_completion_tokens` for a server that refuses `max_tokens`, and `prices` (US
            dollars a million tokens of prompts and of answers, and third of cached prompts), by which it tells at the
            end what the run cost.

    Raises:
        Vr1benchError: The client is missing, an option is unknown or wrong, or a server does not answer, refuses the
            key, or does not serve the model.
    """
    return OpenAIEngine(options)


def _gone(error: APIError) -> bool:
    """Whether no connection could be made, to the last retry."""
    import httpx2

    return isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
