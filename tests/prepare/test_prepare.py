"""Bringing data: archives that sets share, what is there already, checks, and what is refused."""

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
from prepare.host import lock_of, no_wait, one

from vr1bench.benchmark import benchmarks, find, suite
from vr1bench.definitions import read_toml
from vr1bench.errors import Vr1benchError
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
