"""Bringing data: a host that breaks off, lies and replaces files; archives that climb, link and burst."""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tarfile
import termios
import threading
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vr1bench.benchmark import benchmarks, find
from vr1bench.definitions import read_toml
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.prepare import failure, prepare
from vr1bench.unpack import DiskError, Limits, is_web_page, unpack

COMMAND = [sys.executable, "-m", "vr1bench.cli", "prepare"]
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


def no_wait(_):
    pass


def one(definition, root, **options):
    (row,) = prepare([definition], root, wait=options.pop("wait", no_wait), **options)
    return row


def lock_of(root):
    return json.loads((root / "vr1bench.lock").read_text())


def test_brings_the_data_once(define, root, host, packed):
    row = one(define(), root)
    assert (row.state, row.samples, row.images, row.notes, row.error) == ("prepared", 3, 3, [], None)
    assert sorted(path.name for path in root.iterdir()) == ["sets", "vr1bench.lock"]
    assert [path.name for path in (root / "sets").iterdir()] == ["small"]
    (seen,) = lock_of(root)["files"].values()
    assert (seen["sha256"], seen["bytes"]) == (hashlib.sha256(packed).hexdigest(), len(packed))
    assert seen["placed"] == {"sets": {"small": 1, "small/images": 3}}
    assert one(define(), root).state == "there already"
    assert len(host.asked) == 1


def test_a_file_of_no_archive_goes_to_its_path(define, root, host, tmp_path, coco_folder):
    host.files["/gold.json"] = (coco_folder / "gold.json").read_bytes()
    files = "".join(
        f'[[source.files]]\nurl = "{host.url}/{name}"\n{where}\n'
        for name, where in (("small.zip", 'unpack = "sets"'), ("gold.json", 'path = "sets/small/gold.json"'))
    )
    assert one(define(source=files), root).state == "prepared"
    (root / "sets/small/gold.json").write_bytes(b"")
    (root / "sets/small/gold.json").unlink()
    assert one(define(source=files), root).state == "prepared"
    assert [len(host.gets(f"/{name}")) for name in ("small.zip", "gold.json")] == [2, 2]


def test_a_dropped_connection_continues(define, root, host, packed):
    host.faults["/small.zip"] = [drop(100), drop(50)]
    waits = []
    assert one(define(), root, wait=waits.append).state == "prepared"
    assert [headers.get("Range") for headers in host.gets()] == [None, "bytes=100-", "bytes=150-"]
    assert len({headers["If-Range"] for headers in host.gets()[1:]}) == 1
    assert waits == [1.0, 2.0]


def test_a_connection_that_keeps_dropping_keeps_the_part(define, root, host, packed):
    host.faults["/small.zip"] = [drop(10)] * 5
    row = one(define(), root)
    assert isinstance(row.error, IncompleteError)
    assert "closed after 50 of" in str(row.error)
    assert "type the same command again" in str(row.error)
    (part,) = (root / "downloads").glob("*.part")
    assert part.read_bytes() == packed[:50]
    assert one(define(), root).state == "prepared"
    assert host.gets()[-1]["Range"] == "bytes=50-"


def test_a_file_that_changes_in_between_is_fetched_from_the_start(define, root, host, packed):
    def replace(request):
        host.files["/small.zip"] = packed
        request.serve()

    host.files["/small.zip"] = b"PK" + bytes(500)
    host.faults["/small.zip"] = [drop(100), replace]
    assert one(define(), root).state == "prepared"
    assert len(host.gets()) == 2


def test_a_range_of_another_version_is_not_taken(define, root, host, packed):
    """A host that does not know If-Range."""

    def blunt(request):
        host.files["/small.zip"] = packed
        del request.headers["If-Range"]
        request.serve()

    host.files["/small.zip"] = b"PK" + bytes(len(packed) - 2)
    host.faults["/small.zip"] = [drop(100), blunt]
    assert one(define(), root).state == "prepared"
    assert [headers.get("Range") for headers in host.gets()] == [None, "bytes=100-", None]


@pytest.mark.parametrize(("ranges", "validators", "last"), [(False, True, None), (True, False, "bytes=100-")])
def test_hosts_without_ranges_or_validators(define, root, host, ranges, validators, last):
    host.ranges, host.validators = ranges, validators
    host.faults["/small.zip"] = [drop(100), drop(0)]
    assert one(define(), root).state == "prepared"
    assert host.gets()[-1].get("Range") == last


def test_a_range_that_nobody_asked_for_is_not_taken(define, root, host):
    def odd(request):
        request.headers["Range"] = "bytes=7-"
        request.serve()

    host.faults["/small.zip"] = [odd, odd]
    assert one(define(), root).state == "prepared"
    assert len(host.gets()) == 3


def test_a_part_longer_than_the_file_is_dropped(define, root, host, packed):
    host.files["/small.zip"] = packed * 2
    host.faults["/small.zip"] = [drop(len(packed) + 1)] + [refuse(503)] * 4
    assert one(define(), root).error is not None
    host.files["/small.zip"] = packed
    host.validators = False
    host.faults["/small.zip"] = [refuse(416)]
    assert one(define(), root).state == "prepared"


def test_a_busy_host_says_how_long(define, root, host):
    host.faults["/small.zip"] = [refuse(503, Retry_After="7"), refuse(429, Retry_After="9999")]
    waits = []
    assert one(define(), root, wait=waits.append).state == "prepared"
    assert waits == [7.0, 60.0]


@pytest.mark.parametrize(
    ("status", "words"), [(404, "not there any more"), (403, "needs a login"), (400, "answered 400; expected the file")]
)
def test_a_refusal_is_not_repeated(define, root, host, status, words):
    host.faults["/small.zip"] = [refuse(status)]
    error = one(define(), root).error
    assert error is not None
    assert error.exit_code == 2
    assert words in str(error)
    assert "or put the file at downloads/" in str(error)
    assert len(host.asked) == 1


def test_a_file_put_there_by_hand_is_taken(define, root, host, packed):
    host.files.clear()
    error = str(one(define(), root).error)
    place = root / error.partition("or put the file at ")[2].partition(" in the data folder")[0]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(packed)
    assert one(define(), root).state == "prepared"
    assert len(host.asked) == 1


def test_no_host_is_incomplete(define, root, host):
    source = '[[source.files]]\nurl = "http://127.0.0.1:9/x.zip"\nunpack = "sets"\n'
    error = failure([one(define(source=source), root)])
    assert isinstance(error, IncompleteError)
    assert "no connection" in str(error)
    assert "tried 5 times" in str(error)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (f'sha256 = "{"0" * 64}"', "its sha256 is {sha256}, the benchmark's TOML says " + "0" * 64),
        (f'md5 = "{"0" * 32}"', "its md5 is {md5}, the benchmark's TOML says " + "0" * 32),
        ("bytes = 99999", "bytes there; expected 99999"),
    ],
)
def test_a_wrong_file_is_refused(define, root, packed, rest, words):
    error = one(define(rest=rest), root).error
    sums = {name: hashlib.new(name, packed).hexdigest() for name in ("sha256", "md5")}
    assert error is not None
    assert error.exit_code == 2
    assert words.format(**sums) in str(error)
    assert not [path for path in (root / "downloads").glob("*") if path.suffix == ".zip"]
    assert not (root / "sets").exists()


def test_the_right_sums_are_taken(define, root, packed):
    sums = f'md5 = "{hashlib.md5(packed).hexdigest()}"\nsha256 = "{hashlib.sha256(packed).hexdigest()}"'  # noqa: S324
    assert one(define(rest=f"bytes = {len(packed)}\n{sums}"), root).state == "prepared"


def test_the_first_sight_is_checked_ever_after(define, root, host, packed):
    one(define(), root)
    for path in (root / "sets/small").rglob("*.png"):
        path.unlink()
    host.files["/small.zip"] = packed + b"\0"
    error = str(one(define(), root).error)
    assert hashlib.sha256(packed).hexdigest() in error
    assert hashlib.sha256(packed + b"\0").hexdigest() in error
    assert f"delete its entry in {root / 'vr1bench.lock'}" in error
    (root / "vr1bench.lock").unlink()
    assert one(define(), root).state == "prepared"


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/zip"])
def test_a_web_page_is_no_zip(define, root, host, kind):
    host.files["/small.zip"] = PAGE
    host.types["/small.zip"] = kind
    error = one(define(rest="bytes = 99999"), root).error
    assert "sent a web page, which begins with b'<!DOCTYPE html>" in str(error)
    assert "login" in str(error)
    assert not list((root / "downloads").glob("*.part")) if (root / "downloads").exists() else True


@pytest.mark.parametrize("length", [0, 1, 60, -30])
def test_a_short_file_is_told(define, root, host, packed, length):
    host.files["/small.zip"] = packed[:length]
    error = one(define(), root).error
    assert error is not None
    assert error.exit_code == 2
    assert "cut short" in str(error)
    assert not (root / "sets/small").exists()


def test_more_than_promised_is_refused(define, root, host, packed):
    def endless(request):
        request.send_response(200)
        request.end_headers()
        request.wfile.write(packed + bytes(1000))

    host.faults["/small.zip"] = [endless]
    assert "more than the expected" in str(one(define(rest=f"bytes = {len(packed)}"), root).error)


def test_a_shared_archive_is_fetched_once(define, root, host):
    rows = prepare([define("first"), define("second"), define("third", rest='gives = "sets/x"')], root, wait=no_wait)
    assert [row.state for row in rows] == ["prepared"] * 3
    assert len(host.asked) == 1


def test_one_failure_stops_no_other(define, root, host, capsys):
    bad = define("bad", source=f'[[source.files]]\nurl = "{host.url}/gone.zip"\nunpack = "sets"\n')
    other = Path(bad).read_text().replace("sets/small", "sets/other")
    Path(bad).write_text(other)
    rows = prepare([bad, define()], root, wait=no_wait)
    assert [row.state for row in rows] == ["missing", "prepared"]
    error = failure(rows)
    assert error is not None
    assert "gone.zip: the host answered 404" in str(error)
    assert capsys.readouterr() == ("", "")


def test_somebodys_own_data_is_taken_as_it_is(define, root, host, packed):
    root.mkdir(parents=True)
    zipfile.ZipFile(io.BytesIO(packed)).extractall(root / "sets")  # noqa: S202
    assert one(define(), root).state == "there already"
    assert not host.asked
    (gold,) = lock_of(root)["annotations"]
    assert gold == "sets/small/gold.json"


def test_what_is_given_is_not_fetched(define, root, host, packed, tmp_path):
    """A link to images that lie elsewhere, as many people have COCO's."""
    zipfile.ZipFile(io.BytesIO(packed)).extractall(tmp_path / "elsewhere")  # noqa: S202
    (root / "sets/small").mkdir(parents=True)
    (root / "sets/small/images").symlink_to(tmp_path / "elsewhere/small/images")
    host.files["/gold.json"] = (tmp_path / "elsewhere/small/gold.json").read_bytes()
    source = (
        f'[[source.files]]\nurl = "{host.url}/small.zip"\nunpack = "sets"\ngives = "sets/small/images"\n'
        f'[[source.files]]\nurl = "{host.url}/gold.json"\npath = "sets/small/gold.json"\n'
    )
    assert one(define(source=source), root).state == "prepared"
    assert [path for _, path, _ in host.asked] == ["/gold.json"]
    next((tmp_path / "elsewhere").rglob("*.png")).unlink()
    error = str(one(define(source=source), root).error)
    assert "1 of 3 images are not in" in error
    assert "delete what is incomplete" in error


def test_another_number_of_samples_is_a_warning(define, root):
    rest = 'samples = 4\n[splits.test]\nannotations = ["sets/small/test.json"]'
    row = one(define(split=rest), root)
    assert (row.state, row.error) == ("prepared", None)
    assert row.notes == ["split val holds 3 samples where 4 were published", "split test is not there"]


def test_an_archive_with_another_layout_is_told(define, root, host):
    definition = define()
    text = Path(definition).read_text().replace("sets/small/gold.json", "sets/tiny/gold.json")
    Path(definition).write_text(text)
    assert "hold it elsewhere" in str(one(definition, root).error)
    assert "delete what is incomplete" in str(one(definition, root).error)
    assert len(host.asked) == 1


def test_a_benchmark_without_source_says_so(define, root):
    definition = define()
    Path(definition).write_text(Path(definition).read_text().partition("[[source")[0])
    assert "names no source" in str(one(definition, root).error)


def test_kept_archives_serve_again_and_are_checked(define, root, host):
    one(define(), root, keep_archives=True)
    (kept,) = (root / "downloads").iterdir()
    assert one(define(), root, check=True).error is None
    (root / "sets/small/gold.json").unlink()
    assert one(define(), root, keep_archives=True).state == "prepared"
    assert len(host.asked) == 1
    kept.write_bytes(kept.read_bytes() + b"x")
    error = one(define(), root, check=True).error
    assert f"delete {kept}" in str(error)
    assert error is not None
    assert error.exit_code == 2


def test_check_needs_no_network_and_writes_nothing(define, root, host):
    row = one(define(), root, check=True)
    assert (row.state, failure([row]).exit_code) == ("missing", 1)
    assert not root.exists()
    one(define(), root)
    asked = len(host.asked)
    (root / "sets/small/images/a 3.png").unlink()
    row = one(define(), root, check=True)
    assert "1 of 3 images are not in" in str(row.error)
    assert row.notes == [f"{root / 'sets/small/images'} holds 2 files; 3 were unpacked there"]
    assert len(host.asked) == asked
    assert one(define(), root).state == "prepared"


@pytest.mark.parametrize("check", [True, False])
def test_changed_annotations_are_refused(define, root, host, check):
    one(define(), root)
    gold = root / "sets/small/gold.json"
    first = hashlib.sha256(gold.read_bytes()).hexdigest()
    gold.write_text(gold.read_text() + " ")
    row = one(define(), root, check=check)
    assert row.state == "refused"
    assert first in str(row.error)
    assert hashlib.sha256(gold.read_bytes()).hexdigest() in str(row.error)
    assert failure([row]).exit_code == 2
    gold.unlink()
    assert one(define(), root).state == "prepared"


def test_a_damaged_lock_is_told(define, root):
    root.mkdir(parents=True)
    (root / "vr1bench.lock").write_text('{"files": 3}')
    with pytest.raises(Vr1benchError, match=r"vr1bench.lock is damaged: files: .* or delete it"):
        one(define(), root)


def test_one_process_at_a_time(define, root, host):
    root.mkdir(parents=True)
    folder = os.open(root, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)  # even a reader keeps others out
    with pytest.raises(Vr1benchError, match="in use by another"):
        one(define(), root)
    os.close(folder)
    assert one(define(), root).state == "prepared"


def test_a_disk_that_takes_no_more_is_told(define, root, packed):
    """A limit on the size of files stands in for a full disk: the same system call fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        with pytest.raises(DiskError, match=r"cannot write .*: File too large; .* the same command again"):
            one(define(), root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert one(define(), root).state == "prepared"


def test_a_disk_that_takes_no_more_leaves_nothing_half_unpacked(tmp_path):
    archive = tmp_path / "x.zip"
    archive.write_bytes(zipped(GOOD, ("long", os.urandom(9999), 0)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        with pytest.raises(DiskError, match="File too large"):
            unpack(archive, tmp_path / "target")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert everything(tmp_path / "target") == []


def test_too_little_space_is_told_before(define, root, host):
    def huge(request):
        request.send_response(200)
        request.send_header("Content-Length", str(10**18))
        request.end_headers()
        request.wfile.write(b"PK")

    host.faults["/small.zip"] = [huge]
    with pytest.raises(DiskError, match=r"needs 1000000.0 TB, and .* free space or name another --data-dir"):
        one(define(), root)


def test_a_folder_that_cannot_be_made_is_told(define, root):
    root.parent.mkdir()
    root.write_text("")
    with pytest.raises(DiskError, match="cannot write"):
        one(define(), root)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('unpack = "sets"', "either url, or file"),
        ('url = "http://x/y"', "either unpack"),
        ('url = "http://x/y"\nunpack = "a"\npath = "b"', "either unpack"),
        ('url = "http://x/y"\nunpack = "../a"', "below the data folder"),
        ('url = "http://x/y"\npath = "/etc/passwd"', "below the data folder"),
        ('url = "http://x/y"\nunpack = "."', "below the data folder"),
        ('url = "file:///etc/passwd"\nunpack = "a"', "url"),
        ('file = "x.zip"\nunpack = "a"', "expected the repo"),
        ('url = "http://x/y"\nunpack = "a"\nsha256 = "abc"', "sha256"),
    ],
)
def test_bad_sources_are_refused(define, source, words):
    with pytest.raises(Vr1benchError, match=words):
        find(define(source=f"[[source.files]]\n{source}\n"))


def test_shipped_sources_lead_to_their_annotations():
    for benchmark in benchmarks().values():
        if benchmark.generated:
            continue
        assert benchmark.source.home
        targets = [f"{file.unpack}/" if file.unpack else file.path for file in benchmark.source.files]
        assert all(split.annotations[0].startswith(tuple(targets)) for split in benchmark.splits.values()), targets


# Archives


def zipped(*members):
    """A zip of (name, bytes, mode) members, whatever their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, data)
    return buffer.getvalue()


def tarred(*members, mode="w:gz"):
    """A tar of (name, type, link) members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = 3 if kind == tarfile.REGTYPE else 0
            file.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


def encrypted():
    data = bytearray(zipped(("a", b"abc", 0o100644)))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    return bytes(data)


GOOD = ("good", b"abc", 0o100644)
UNSAFE = {
    "zip-climbs": (zipped(GOOD, ("../evil", b"x", 0o100644)), "leaves the folder: '../evil'"),
    "zip-climbs-inside": (zipped(("a/../../evil", b"x", 0)), "leaves the folder"),
    "zip-climbs-as-windows": (zipped(("..\\evil", b"x", 0)), "leaves the folder"),
    "zip-absolute": (zipped(GOOD, ("/tmp/evil", b"x", 0o100644)), "leaves the folder: '/tmp/evil'"),  # noqa: S108
    "zip-drive": (zipped(("C:\\evil", b"x", 0)), "leaves the folder"),
    "zip-link": (zipped(("link", b"/etc", 0o120777), ("link/evil", b"x", 0o100644)), "a link or device: 'link'"),
    "zip-device": (zipped(("null", b"", 0o020666)), "a link or device"),
    "zip-encrypted": (encrypted(), "an encrypted member"),
    "zip-name-too-long": (zipped(("x" * 300, b"x", 0)), "a name that cannot be written"),
    "zip-file-and-folder": (zipped(("a", b"x", 0), ("a/b", b"x", 0)), "a name that cannot be written"),
    "tar-climbs": (tarred(("good", tarfile.REGTYPE, ""), ("../evil", tarfile.REGTYPE, "")), "leaves the folder"),
    "tar-absolute": (tarred(("/tmp/evil", tarfile.REGTYPE, "")), "leaves the folder"),  # noqa: S108
    "tar-symlink": (tarred(("a", tarfile.SYMTYPE, "/etc")), "a link or device: 'a'"),
    "tar-hardlink": (tarred(("a", tarfile.LNKTYPE, "/etc/passwd")), "a link or device: 'a'"),
    "tar-device": (tarred(("a", tarfile.CHRTYPE, "")), "a link or device: 'a'"),
    "tar-fifo": (tarred(("a", tarfile.FIFOTYPE, "")), "a link or device: 'a'"),
}
BROKEN = {
    "nothing": (b"", "was cut short: 0 bytes"),
    "text": (b"hello", "is no zip and no tar"),
    "page": (PAGE, "is a web page, not an archive"),
    "zip-cut": (zipped(GOOD)[:40], "was cut short"),
    "zip-wrong-sum": (
        zipped(("a", b"0123", 0)).replace(zlib.crc32(b"0123").to_bytes(4, "little"), bytes(4)),
        "Bad CRC",
    ),
    "zip-empty": (zipped(), "holds no file"),
    "tar-cut": (tarred(*[(str(n), tarfile.REGTYPE, "") for n in range(999)])[:600], "is damaged"),
}


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_archives_are_refused_whole(tmp_path, name):
    data, words = UNSAFE[name]
    archive, target = tmp_path / "x.zip", tmp_path / "deep" / "target"
    archive.write_bytes(data)
    target.mkdir(parents=True)
    with pytest.raises(Vr1benchError, match="is not safe to unpack") as caught:
        unpack(archive, target)
    assert words in str(caught.value)
    assert "nothing was unpacked" in str(caught.value)
    assert everything(tmp_path) == ["deep", "deep/target", "x.zip"]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_archives_are_told(tmp_path, name):
    data, words = BROKEN[name]
    archive = tmp_path / "x.zip"
    archive.write_bytes(data)
    with pytest.raises(Vr1benchError) as caught:
        unpack(archive, tmp_path / "target")
    assert words in str(caught.value)
    assert everything(tmp_path) == ["target", "x.zip"]


def test_any_flipped_byte_is_told_or_harmless(tmp_path):
    """A damaged zip or tar never crashes, and never leaves half of itself, nor anything elsewhere."""
    archive, target = tmp_path / "x", tmp_path / "target"
    whole = zipped(GOOD, ("b", bytes(range(200)), 0)), tarred(("a", tarfile.REGTYPE, ""), ("b", tarfile.REGTYPE, ""))
    for data in whole:
        for place in range(0, len(data), 3):
            archive.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
            with contextlib.suppress(Vr1benchError):
                unpack(archive, target)
    assert not list(target.glob(".unpacking-*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "x"]


@pytest.mark.parametrize(
    "data", [zipped(("zeros", bytes(2**21), 0)), zipped(("a", bytes(2**20), 0), ("b", bytes(2**20), 0))]
)
def test_a_zip_bomb_is_refused_before_it_is_written(tmp_path, data):
    archive = tmp_path / "x.zip"
    archive.write_bytes(data)
    written = []
    with pytest.raises(Vr1benchError, match=r"would become 2.1 MB or more; expected at most 1.0 MB .*bomb"):
        unpack(archive, tmp_path / "target", Limits(floor=10**6), written.append)
    assert not written
    assert unpack(archive, tmp_path / "target", Limits(floor=3 * 10**6))


def test_a_real_bomb_is_refused(tmp_path):
    """The limits as shipped: 100 MB from 100 kB."""
    archive = tmp_path / "x.zip"
    archive.write_bytes(zipped(("zeros", bytes(10**8), 0)))
    with pytest.raises(Vr1benchError, match="bomb"):
        unpack(archive, tmp_path / "target")


def test_a_lying_zip_is_refused(tmp_path):
    """A header that says 3 bytes where 2 million come."""
    data = zipped(("zeros", bytes(2**21), 0))
    archive = tmp_path / "x.zip"
    archive.write_bytes(data.replace((2**21).to_bytes(4, "little"), (3).to_bytes(4, "little")))
    with pytest.raises(Vr1benchError, match="damaged"):
        unpack(archive, tmp_path / "target", Limits(floor=10**6))


def test_a_tar_bomb_and_a_sparse_one_are_refused(tmp_path):
    archive = tmp_path / "x.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        info = tarfile.TarInfo("zeros")
        info.size = 2**21
        file.addfile(info, io.BytesIO(bytes(2**21)))
    with pytest.raises(Vr1benchError, match="bomb"):
        unpack(archive, tmp_path / "target", Limits(floor=10**6))
    assert everything(tmp_path) == ["target", "x.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
@pytest.mark.parametrize("first", [True, False])
def test_a_tar_header_does_not_fill_the_memory(tmp_path, kind, first):
    """Python's reader takes a long name whole, 8 GB of zeros as well; they pack to 8 MB."""
    archive = tmp_path / "x.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        if not first:
            file.addfile(tarfile.TarInfo("good"))
        info = tarfile.TarInfo("long")
        info.type, info.size = kind, 2**21
        file.addfile(info, io.BytesIO(bytes(2**21)))
    with pytest.raises(Vr1benchError, match="is no zip and no tar" if first else "a header of type"):
        unpack(archive, tmp_path / "target")
    assert everything(tmp_path / "target") == []


def test_too_many_members_are_refused(tmp_path):
    archive = tmp_path / "x.zip"
    archive.write_bytes(zipped(*((f"f{n}", b"", 0) for n in range(11))))
    with pytest.raises(Vr1benchError, match="more than 10 members"):
        unpack(archive, tmp_path / "target", Limits(members=10))
    assert unpack(archive, tmp_path / "target", Limits(members=11)) == {".": 11}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars_of_every_kind(tmp_path, mode):
    archive = tmp_path / "x.zip"  # its name is not what tells
    archive.write_bytes(
        tarred(("./", tarfile.DIRTYPE, ""), ("./a/b", tarfile.REGTYPE, ""), ("c", tarfile.REGTYPE, ""), mode=mode)
    )
    assert unpack(archive, tmp_path / "target") == {".": 1, "a": 1}
    assert (tmp_path / "target/a/b").read_bytes() == b"abc"


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = zipped(GOOD)
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as file:
        info = tarfile.TarInfo("inner.zip")
        info.size = len(inner)
        file.addfile(info, io.BytesIO(inner))
    assert zipfile.is_zipfile(archive)
    unpack(archive, tmp_path / "target")
    assert everything(tmp_path / "target") == ["inner.zip"]


def test_unpacking_joins_what_is_there_and_sweeps_what_was_killed(tmp_path):
    target = tmp_path / "target"
    (target / "a").mkdir(parents=True)
    (target / "a/mine").write_text("mine")
    (target / "a/theirs").write_text("old")
    (target / ".unpacking-killed").mkdir()
    archive = tmp_path / "x.zip"
    archive.write_bytes(zipped(("a/theirs", b"new", 0o100600), ("b/c", b"c", 0)))
    assert unpack(archive, target) == {"a": 1, "b": 1}
    assert everything(target) == ["a", "a/mine", "a/theirs", "b", "b/c"]
    assert (target / "a/theirs").read_text() == "new"
    assert (target / "a/mine").read_text() == "mine"


@pytest.mark.parametrize("head", [PAGE, b"\n <HTML lang=en>", b"\xef\xbb\xbf<!-- x --> <html>", b"<head>"])
def test_web_pages_are_known(head):
    assert is_web_page(head)


@pytest.mark.parametrize("head", [b"", b"PK\x03\x04", b'{"images"', b"<?xml version='1.0'?><annotation>", b"<htmlx"])
def test_other_files_are_no_web_pages(head):
    assert not is_web_page(head)


# The command


def command(*arguments, **environment):
    online = {"HF_HUB_OFFLINE": "0"}  # the hub of these tests is on loopback, whatever the caller's shell forbids
    environment = {**os.environ, **online, **environment}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=120
    )


def test_the_command_says_what_it_did(define, root, host):
    done = command(define(), "--data-dir", root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["small", "val", "3", "3", "prepared"]
    assert f"fetching {host.url}/small.zip" in done.stderr
    assert "\r" not in done.stderr  # no bar without a terminal
    done = command(define(), "--data-dir", root.parent / "other", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    done = command(define(split="samples = 5"), "--data-dir", root, "--quiet")
    assert "there already" in done.stdout
    assert done.stderr == "warning: small: split val holds 3 samples where 5 were published\n"
    (root / "sets/small/gold.json").unlink()
    done = command(define(), "--data-dir", root, "--check")
    assert done.returncode == 1
    assert "missing" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_terminal_shows_a_bar(define, root):
    master, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    subprocess.run(
        [*COMMAND, define(), "--data-dir", str(root)], stdout=subprocess.DEVNULL, stderr=terminal, timeout=60
    )
    os.close(terminal)
    shown = os.read(master, 2**16)
    os.close(master)
    assert b"small.zip:   0%|" in shown


def test_the_command_refuses_with_words(define, root):
    assert command().returncode == 2
    done = command("odinv")
    assert done.returncode == 2
    assert "did you mean 'odinw'" in done.stderr
    done = command(define(rest=f'sha256 = "{"0" * 64}"'), "--data-dir", root)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: http://127.0.0.1")


def test_ctrl_c_keeps_the_part(define, root, host, packed):
    stalled, go_on = threading.Event(), threading.Event()

    def stall(request):
        request.serve(100)
        request.wfile.flush()
        stalled.set()
        go_on.wait(60)

    # The part is written before the host is asked for more: wait until it is there.
    host.faults["/small.zip"] = [drop(100), stall]
    process = subprocess.Popen(
        [*COMMAND, define(), "--data-dir", str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert stalled.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    go_on.set()
    assert process.returncode == 130
    assert "what was fetched is kept: type the same command again to continue" in err
    assert "Traceback" not in err
    assert out == ""
    (part,) = (root / "downloads").glob("*.part")
    have = part.stat().st_size
    assert packed.startswith(part.read_bytes())
    assert have >= 100
    assert one(define(), root).state == "prepared"
    assert host.gets()[-1]["Range"] == f"bytes={have}-"


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


def test_sources_are_short():
    """What a benchmark's author writes: a handful of lines."""
    for path in (Path(__file__).parents[1] / "benchmarks").rglob("*.toml"):
        if "source" in read_toml(path):
            source = path.read_text().partition("[source]")[2]
            assert len(source.splitlines()) <= 16, path
