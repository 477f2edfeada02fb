"""Files of a hub repository."""

import hashlib
import subprocess
import sys

import pytest
from prepare.host import TOKEN, command, drop, lock_of, refuse


@pytest.fixture
def hub(make_host, packed):
    """A hub, and the storage that it sends people to."""
    front, storage = make_host(), make_host()
    path = "/datasets/some/sets/resolve/main/odd%20dir/small.zip"
    storage.files["/blob"] = packed

    def send(request, sha256=""):
        request.send_response(302)
        request.send_header("Location", f"http://localhost:{storage.server_port}/blob")  # another host than the hub's
        request.send_header("X-Linked-ETag", f'"{sha256 or hashlib.sha256(packed).hexdigest()}"')
        request.send_header("X-Linked-Size", str(len(packed)))
        request.send_header("X-Repo-Commit", "c" * 40)
        request.send_header("Content-Length", "0")
        request.end_headers()

    front.faults[path] = [send] * 9
    front.send = send
    front.path = path
    return front, storage


@pytest.fixture
def hub_definition(define):
    return define(
        source='[source]\nrepo = "datasets/some/sets"\nfiles = [{ file = "odd dir/small.zip", unpack = "sets" }]\n'
    )


def test_hub_files(hub, hub_definition, root, packed):
    front, storage = hub
    storage.faults["/blob"] = [drop(100)]
    done = command(hub_definition, "--data-dir", root, HF_ENDPOINT=front.url, **TOKEN)
    assert done.returncode == 0, done.stderr
    assert list(lock_of(root)["files"]) == ["hf://datasets/some/sets@main/odd dir/small.zip"]
    tokens = [headers["authorization"] for verb, path, headers in front.asked if path == front.path]
    assert tokens == ["Bearer hf_secret"] * 2
    assert [headers.get("Range") for headers in storage.gets()] == [None, "bytes=100-"]
    assert not [name for headers in storage.gets() for name in headers if name.lower() == "authorization"]


def test_small_hub_files_come_with_the_token(make_host, hub_definition, root, packed):
    front, path = make_host(), "/datasets/some/sets/resolve/main/odd%20dir/small.zip"
    front.files[path] = packed
    done = command(hub_definition, "--data-dir", root, HF_ENDPOINT=front.url, **TOKEN)
    assert done.returncode == 0, done.stderr
    assert front.gets(path)[0]["Authorization"] == "Bearer hf_secret"


def test_the_hubs_own_checksum_is_checked(hub, hub_definition, root, packed):
    front, _ = hub
    front.faults[front.path] = [lambda request: front.send(request, "0" * 64)] * 9
    done = command(hub_definition, "--data-dir", root, HF_ENDPOINT=front.url)
    assert done.returncode == 2
    assert f"its sha256 is {hashlib.sha256(packed).hexdigest()}, the hub says {'0' * 64}" in done.stderr


@pytest.mark.parametrize(
    ("status", "words"), [(401, "set HF_TOKEN"), (404, "not there any more"), (403, "set HF_TOKEN")]
)
def test_a_hub_that_refuses(make_host, hub_definition, root, status, words):
    front = make_host()
    front.faults["/datasets/some/sets/resolve/main/odd%20dir/small.zip"] = [refuse(status)] * 9
    done = command(hub_definition, "--data-dir", root, HF_ENDPOINT=front.url)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_offline_is_said_at_once(hub_definition, root):
    done = command(hub_definition, "--data-dir", root, HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "HF_HUB_OFFLINE is set" in done.stderr


def test_without_huggingface_hub_it_says_so(hub_definition, root):
    code = (
        "import sys; sys.modules['huggingface_hub'] = None; sys.argv[0] = 'vr1bench';"
        "from vr1bench.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "prepare", hub_definition, "--data-dir", str(root)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "huggingface_hub is not installed; install it, or put the file at downloads/" in done.stderr
