"""Archives that climb, link and burst."""

import contextlib
import io
import os
import resource
import tarfile
import zipfile
import zlib

import pytest
from prepare.host import PAGE

from vr1bench.errors import Vr1benchError
from vr1bench.unpack import DiskError, Limits, is_web_page, unpack


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
