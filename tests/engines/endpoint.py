"""Endpoints on loopback: a small scripted one, and vLLM's own server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

READY_SECONDS = 300


@dataclass
class Reply:
    """What the endpoint writes: a status, a body of which `cut` bytes are missing, headers; or nothing at all."""

    status: int = 200
    body: bytes = b""
    cut: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False


def said(
    text: str, finish: str = "stop", logprobs: list[dict] | None = None, usage: tuple[int, ...] = (2000, 3)
) -> Reply:
    """A good answer; `usage` is its tokens of prompt and answer, and of the prompt those that were cached."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    if logprobs is not None:
        choice["logprobs"] = {"content": logprobs}
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage[:2])}
    if usage[2:]:
        counts["prompt_tokens_details"] = {"cached_tokens": usage[2]}
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": counts}
    return Reply(body=json.dumps(answer).encode())


def question(body: dict[str, Any]) -> str:
    """The text that was asked."""
    return body["messages"][0]["content"][-1]["text"]


class Endpoint:
    """A scripted endpoint: `answer(body, attempt)` makes its replies; `owner` is what it says it is."""

    def __init__(self, answer: Callable[[dict, int], Reply], owner: str = "vllm", models: Reply | None = None) -> None:
        self.answer, self.bodies, self.keys = answer, [], []
        listed = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": owner}]}
        self.models = models or Reply(body=json.dumps(listed).encode())
        self.now = self.most = 0
        self.dead = False
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.write(endpoint.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.write(endpoint.reply(body, self.headers["Authorization"]))

            def write(self, reply: Reply) -> None:
                if reply.closes or endpoint.dead:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body[: len(reply.body) - reply.cut])
                self.close_connection = self.close_connection or bool(reply.cut)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def reply(self, body: dict, key: str) -> Reply:
        """Counts who is here at once, and asks the script."""
        text = question(body)
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self._attempts[text] += 1
            attempt = self._attempts[text]
            self.bodies.append(body)
            self.keys.append(key)
        try:
            return self.answer(body, attempt)
        finally:
            with self._lock:  # before the reply is written: the next request may follow it at once
                self.now -= 1

    def die(self) -> Reply:
        """Nobody listens here any more."""
        self.dead = True
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.socket.close()
        return Reply(closes=True)

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()  # of a dead one too: its loop would spin on the closed socket for ever
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def vllm_server(model: Path, name: str, log: Path) -> Iterator[str]:
    """vLLM's own server on a free port, once it is ready, with all its processes ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", name,
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager", "--block-size", "32",
        "--trust-request-mm-kwargs",
    ]  # fmt: skip
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    environment.pop(
        "VLLM_ENABLE_V1_MULTIPROCESSING", None
    )  # this process's own engines are in-process; a server's is not
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            _await_ready(server, url, log)
            yield f"{url}/v1"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(30)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, signal.SIGKILL)


def _await_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(READY_SECONDS * 4):
        assert server.poll() is None, log.read_text("utf-8", "replace")[-2000:]
        with contextlib.suppress(OSError):
            opener.open(f"{url}/health", timeout=5).close()
            return
        time.sleep(0.25)
    raise AssertionError(f"vLLM's server was not ready after {READY_SECONDS} s: {log.read_text()[-2000:]}")
