"""Fetching one file: a host that breaks off, lies, replaces files, and what is checked of what it sent."""

import hashlib

import pytest
from prepare.host import PAGE, drop, one, refuse

from vr1bench.errors import IncompleteError
from vr1bench.prepare import failure


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
