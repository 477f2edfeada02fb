"""Hosts on the loopback, and definitions of a small set that they hold."""

import io
import threading
import zipfile

import pytest
from prepare.host import Host


@pytest.fixture
def make_host(monkeypatch):
    """Hosts, on the loopback only."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    started = []

    def start():
        host = Host()
        thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((host, thread))
        return host

    yield start
    for host, thread in started:
        host.shutdown()
        thread.join(10)
        host.server_close()


@pytest.fixture
def host(make_host, packed):
    made = make_host()
    made.files["/small.zip"] = packed
    return made


@pytest.fixture
def packed(coco_folder):
    """A zip of the small COCO set, and nothing of it left on the disk."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(coco_folder / "gold.json", "small/gold.json")
        for image in coco_folder.glob("*.png"):
            file.write(image, f"small/images/{image.name}")
    return buffer.getvalue()


@pytest.fixture
def define(tmp_path, host):
    """A definition of the small set."""

    def write(name="small", rest="", source="", split=""):
        path = tmp_path / f"{name}.toml"
        source = source or f'[[source.files]]\nurl = "{host.url}/small.zip"\nunpack = "sets"\n{rest}\n'
        path.write_text(
            f'name = "{name}"\ntask = "detect"\nreader = "coco"\n'
            f'[splits.val]\nannotations = ["sets/small/gold.json"]\nimages = "images"\n{split}\n{source}'
        )
        return str(path)

    return write


@pytest.fixture
def root(tmp_path):
    return tmp_path / "here" / "data"
