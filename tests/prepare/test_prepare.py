"""Bringing data: a host that breaks off, lies and replaces files."""

import base64
import fcntl
import hashlib
import io
import json
import os
import resource
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from prepare.host import PAGE, drop, lock_of, no_wait, one, refuse

from vr1bench.benchmark import benchmarks, find, suite
from vr1bench.definitions import read_toml
from vr1bench.errors import IncompleteError, Vr1benchError
from vr1bench.prepare import failure, prepare
from vr1bench.unpack import DiskError


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


def test_what_another_archive_brings_is_not_fetched_again(define, root, host, packed):
    """As COCO's train2014, which two hosts have in two folders: the second serves where the first is there."""
    mirror = f'[[source.files]]\nurl = "{host.url}/mirror.zip"\nunpack = "sets"\n' + (
        'gives = ["sets/elsewhere", "sets/small/images"]\n'
    )
    host.files["/mirror.zip"] = packed
    rows = prepare([define("first"), define("second", source=mirror)], root, wait=no_wait)
    assert [row.state for row in rows] == ["prepared"] * 2
    assert [path for _, path, _ in host.asked] == ["/small.zip"]


def test_where_the_first_archive_fails_the_second_is_fetched(define, root, host, packed):
    mirror = f'[[source.files]]\nurl = "{host.url}/mirror.zip"\nunpack = "sets"\ngives = "sets/small/images"\n'
    host.files["/mirror.zip"] = host.files.pop("/small.zip")
    rows = prepare([define("first"), define("second", source=mirror)], root, wait=no_wait)
    assert [row.state for row in rows] == ["prepared"] * 2


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
    zipfile.ZipFile(io.BytesIO(packed)).extractall(root / "sets")
    assert one(define(), root).state == "there already"
    assert not host.asked
    (gold,) = lock_of(root)["annotations"]
    assert gold == "sets/small/gold.json"


def test_what_is_given_is_not_fetched(define, root, host, packed, tmp_path):
    """A link to images that lie elsewhere, as many people have COCO's."""
    zipfile.ZipFile(io.BytesIO(packed)).extractall(tmp_path / "elsewhere")
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


@pytest.mark.parametrize("damage", [b"<!DOCTYPE html>", b"", b'{"images": 3}'])
@pytest.mark.parametrize("check", [True, False])
def test_another_split_that_is_damaged_is_a_warning(define, root, host, damage, check):
    """The benchmark runs on its default split without it."""
    definition = define(split='[splits.train]\nannotations = ["sets/small/train.json"]\n')
    one(definition, root)
    (root / "sets/small/train.json").write_bytes(damage)
    row = one(definition, root, check=check)
    assert (row.state, row.error, row.samples) == ("there already", None, 3)
    assert len(row.notes) == 1
    assert row.notes[0].startswith(f"split train: {root / 'sets/small/train.json'}")
    assert len(host.asked) == 1


def test_another_split_that_changes_is_a_warning(define, root):
    definition = define(split='[splits.train]\nannotations = ["sets/small/train.json"]\nimages = "images"\n')
    one(definition, root)
    gold = (root / "sets/small/gold.json").read_bytes()
    for more in (b"", b" "):
        (root / "sets/small/train.json").write_bytes(gold + more)
        row = one(definition, root)
    assert (row.state, row.error) == ("there already", None)
    assert "train.json changed" in row.notes[0]


def test_another_split_without_a_picture_is_a_warning(tmp_path):
    """ReasonSeg's sizes are read from its pictures."""
    for split in ("test", "train"):
        for n in range(2):
            place = tmp_path / f"reason_seg/ReasonSeg/{split}/{n}"
            place.parent.mkdir(parents=True, exist_ok=True)
            shape = {"label": "target", "points": [[0, 0], [5, 0], [5, 5]]}
            place.with_suffix(".json").write_text(json.dumps({"text": ["x"], "is_sentence": True, "shapes": [shape]}))
            Image.new("RGB", (8, 8)).save(place.with_suffix(".jpg"))
    (tmp_path / "reason_seg/ReasonSeg/train/1.jpg").unlink()
    (row,) = prepare(["lisa/reasonseg"], tmp_path, check=True)
    assert (row.state, row.error, row.samples) == ("there already", None, 2)
    assert any(note.startswith("split train: ") and "1.jpg" in note for note in row.notes)
    (tmp_path / "reason_seg/ReasonSeg/test/1.jpg").unlink()
    (row,) = prepare(["lisa/reasonseg"], tmp_path, check=True)
    assert (row.state, row.error.exit_code) == ("missing", 1)


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


def quiz(root):
    """Writes a table with its picture inside."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    inside = base64.b64encode(file.getvalue()).decode()
    (root / "qa").mkdir(parents=True)
    (root / "qa/GQA_TestDev_Balanced.tsv").write_text(
        f"index\timage\tquestion\tanswer\n1\t{inside}\tIs it?\tyes\n2\t1\tIs it not?\tno\n"
    )


def test_a_check_lays_out_no_pictures(root):
    quiz(root)
    (row,) = prepare(["qa/gqa"], root, check=True)
    assert (row.state, row.error, row.samples, row.images) == ("there already", None, 2, 1)
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["GQA_TestDev_Balanced.tsv"]
    assert not (root / "qa/GQA_TestDev_Balanced.images").exists()
    (row,) = prepare(["qa/gqa"], root)
    assert (row.state, row.images) == ("there already", 1)
    assert len([*(root / "qa/GQA_TestDev_Balanced.images").iterdir()]) == 1


def test_a_check_sees_a_picture_that_is_none(root):
    quiz(root)
    table = root / "qa/GQA_TestDev_Balanced.tsv"
    table.write_text(table.read_text().replace("\tiVBOR", "\tAAAAA"))
    (row,) = prepare(["qa/gqa"], root, check=True)
    assert "no picture" in str(row.error)


def test_names_may_be_joined_by_commas(define, tmp_path):
    rows = prepare(["coco,odinw", f"qa/gqa, {define()}"], tmp_path / "none", check=True)
    assert [row.benchmark for row in rows] == ["coco", *(one.name for one in suite("odinw")), "qa/gqa", "small"]
    with pytest.raises(Vr1benchError, match="expected suites or benchmarks to prepare, got none"):
        prepare([" ,"], tmp_path / "none", check=True)


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


def test_one_file_read_in_two_ways_is_two_things(define, root):
    path = Path(define(split='[splits.few]\nannotations = ["sets/small/gold.json"]\nimages = "images"\n'
                       'options = { keep = "10 boxes" }\n'))  # fmt: skip
    assert one(str(path), root).state == "prepared"
    path.write_text(path.read_text().replace("[splits.val]", 'split = "few"\n[splits.val]'))
    assert one(str(path), root).state == "there already"
    assert set(lock_of(root)["annotations"]) == {"sets/small/gold.json", "sets/small/gold.json (keep = 10 boxes)"}


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
        if not benchmark.source.files:
            assert benchmark.source.note
            continue
        assert benchmark.source.home
        targets = [f"{file.unpack}/" if file.unpack else file.path for file in benchmark.source.files]
        assert all(split.annotations[0].startswith(tuple(targets)) for split in benchmark.splits.values()), targets


def test_sources_are_short():
    """What a benchmark's author writes: a handful of lines."""
    for path in (Path(__file__).parents[2] / "benchmarks").rglob("*.toml"):
        if "source" in read_toml(path):
            source = path.read_text().partition("[source]")[2]
            assert len(source.splitlines()) <= 16, path
