"""A host on the loopback that breaks off, lies and replaces files; and what every test of `prepare` says."""

import contextlib
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from command_line import started

from vr1bench.prepare import prepare

TOKEN = {"HF_TOKEN": "hf_secret"}
PAGE = b"<!DOCTYPE html>\n<html><title>Sign in</title></html>"


class Host(ThreadingHTTPServer):
    """A host on the loopback. `faults` of a path are done one a request; then it serves well.

    A fault is a function of the request, which may call `request.serve`.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Request)
        self.files, self.types, self.faults, self.asked = {}, {}, {}, []
        self.ranges = self.validators = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def gets(self, path=None):
        return [headers for verb, asked, headers in self.asked if verb == "GET" and path in {None, asked}]


class Request(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        host = self.server
        host.asked.append((self.command, self.path, dict(self.headers)))
        queue = host.faults.get(self.path, [])
        with contextlib.suppress(ConnectionError):
            (queue.pop(0) if queue else Request.serve)(self)

    def serve(self, sent=None):
        """Well behaved; `sent` bytes and then a closed connection, if given."""
        host = self.server
        if self.path not in host.files:
            self.refuse(404)
            return
        body = host.files[self.path]
        etag = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
        start = 0
        wanted = self.headers.get("Range") if host.ranges else None
        if wanted and self.headers.get("If-Range") in {None, etag}:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.refuse(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if host.validators:
            self.send_header("ETag", etag)
        self.send_header("Content-Type", host.types.get(self.path, "application/octet-stream"))
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[start:][:sent])

    def refuse(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def drop(sent):
    return lambda request: request.serve(sent)


def refuse(status, **headers):
    return lambda request: request.refuse(status, **headers)


def no_wait(_):
    pass


def one(definition, root, **options):
    (row,) = prepare([definition], root, wait=options.pop("wait", no_wait), **options)
    return row


def lock_of(root):
    return json.loads((root / "vr1bench.lock").read_text())


def command(*arguments, **environment):
    online = {"HF_HUB_OFFLINE": "0"}  # the hub of these tests is on loopback, whatever the caller's shell forbids
    return started("prepare", *arguments, **online | environment)
