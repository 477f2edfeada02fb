"""Images as files come: rotated, in odd modes, cut short, mislabelled, hostile."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vr1bench.errors import Vr1benchError
from vr1bench.images import MAX_PIXELS, ImageError, load
from vr1bench.readers.pictures import upright_size

ORIENTATION = 274


def jpeg(path: Path, size: tuple[int, int] = (40, 20), orientation: int | None = None) -> Path:
    """A JPEG whose left half is red and right half blue, as stored."""
    image = Image.new("RGB", size, (250, 0, 0))
    image.paste((0, 0, 250), (size[0] // 2, 0, *size))
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    image.save(path, quality=95, exif=exif)
    return path


def is_red(pixel: object) -> bool:
    red, _, blue = np.asarray(pixel).astype(int)
    return bool(red > 200 and blue < 60)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    path = jpeg(tmp_path / "a.jpg", orientation=orientation)
    upright = (20, 40) if orientation > 4 else (40, 20)
    image = load(path, upright)
    assert image.size == upright
    assert image.mode == "RGB"
    # Where the red half lies once the camera's note is followed (TIFF 6.0, tag 274).
    red_at = {1: (2, 10), 2: (37, 10), 3: (37, 10), 4: (2, 10), 5: (10, 2), 6: (10, 2), 7: (10, 37), 8: (10, 37)}
    assert is_red(image.getpixel(red_at[orientation]))
    assert image.getexif().get(ORIENTATION, 1) == 1


def test_raw_pixels_are_kept_where_the_annotations_were_drawn_on_them(tmp_path: Path) -> None:
    image = load(jpeg(tmp_path / "a.jpg", orientation=6), (40, 20))
    assert image.size == (40, 20)
    assert is_red(image.getpixel((2, 10)))


def test_a_square_photo_is_turned(tmp_path: Path) -> None:
    assert not is_red(load(jpeg(tmp_path / "a.jpg", (40, 40), 3), (40, 40)).getpixel((2, 20)))


def test_without_annotated_size_the_photo_is_turned(tmp_path: Path) -> None:
    assert load(jpeg(tmp_path / "a.jpg", orientation=8)).size == (20, 40)


def test_a_size_that_matches_neither_way_is_an_error(tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a.jpg", orientation=6)
    with pytest.raises(ImageError, match=r"a\.jpg: 40x20 pixels \(20x40 upright\); expected 41x20"):
        load(path, (41, 20))
    with pytest.raises(ImageError, match=r"b\.jpg: 40x20 pixels; expected 20x40"):
        load(jpeg(tmp_path / "b.jpg"), (20, 40))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("LA", (90, 0), (255, 255, 255)),
        ("P", 3, (3, 3, 3)),
        ("I;16", 100 * 257 + 100, (100, 100, 100)),
        ("I", 200 * 257 + 60, (200, 200, 200)),
        ("CMYK", (0, 0, 0, 0), (255, 255, 255)),
        ("F", 12.0, (12, 12, 12)),
    ],
)
def test_any_mode_becomes_rgb_of_eight_bits(
    tmp_path: Path, mode: str, colour: object, expected: tuple[int, int, int]
) -> None:
    image = Image.new("L" if mode == "P" else mode, (8, 6), colour)  # type: ignore[arg-type]
    if mode == "P":
        image = image.convert("P")
    path = tmp_path / ("a.tif" if mode in {"CMYK", "F", "I"} else "a.png")
    image.save(path)
    loaded = load(path, (8, 6))
    assert loaded.mode == "RGB"
    assert loaded.getpixel((3, 3)) == expected


def test_a_palette_keeps_its_colours_and_shows_its_transparency_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 30, 40])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    loaded = load(tmp_path / "a.png")
    assert loaded.getpixel((2, 2)) == (200, 30, 40)
    assert loaded.getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(1, 256)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    row = np.asarray(load(tmp_path / "a.png"))[0, :, 0]
    assert row.tolist() == list(range(256))


def test_the_first_frame_of_several(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert load(tmp_path / "a.tif").getpixel((4, 4)) == (200, 0, 0)


def test_the_name_says_nothing_about_the_format(tmp_path: Path) -> None:
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert load(tmp_path / "a.jpg", (5, 5)).size == (5, 5)


def test_missing_empty_or_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.jpg: no such file"):
        load(tmp_path / "none.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg: no image format is recognised in its 0 bytes"):
        load(tmp_path / "empty.jpg")
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    with pytest.raises(ImageError, match=r"in its 22 bytes; expected JPEG, PNG"):
        load(tmp_path / "page.jpg")
    with pytest.raises(ImageError, match="cannot be decoded"):
        load(tmp_path)
    assert issubclass(ImageError, Vr1benchError)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_every_cut_of_a_file_is_refused_or_whole(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    whole = tmp_path / f"a.{suffix}"
    Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(whole)
    data = whole.read_bytes()
    reference = np.asarray(load(whole))
    cut = tmp_path / f"cut.{suffix}"
    refused = 0
    lengths = [int(length) for length in rng.integers(1, len(data), 40)]
    for length in lengths:
        cut.write_bytes(data[:length])
        try:
            loaded = load(cut)
        except ImageError:
            refused += 1
        else:
            assert np.array_equal(np.asarray(loaded), reference)  # only trailing bytes without pixels were cut
    assert refused >= 35


def test_any_flipped_bytes_give_an_image_or_an_image_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole = jpeg(tmp_path / "a.jpg", orientation=6).read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] = int(rng.integers(0, 256))
        (tmp_path / "b.jpg").write_bytes(bytes(data))
        try:
            assert load(tmp_path / "b.jpg").mode == "RGB"
        except ImageError:
            continue


def png_of_size(path: Path, width: int, height: int) -> Path:
    """A PNG of some hundred bytes that claims any size: the classic bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def test_a_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = png_of_size(tmp_path / "bomb.png", 60_000, 60_000)
    with pytest.raises(ImageError, match=rf"bomb\.png.*{MAX_PIXELS}"):
        load(path, (60_000, 60_000))


def test_a_bomb_is_refused_even_where_pillows_own_bound_was_lifted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # some libraries do that on import
    with pytest.raises(ImageError, match=f"60000x60000 pixels; expected at most {MAX_PIXELS}"):
        load(png_of_size(tmp_path / "bomb.png", 60_000, 60_000))


def test_an_orientation_behind_the_pixels_of_a_png_is_ignored_by_all(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    late = path.read_bytes()
    start = late.index(b"eXIf") - 4
    length = 12 + int.from_bytes(late[start : start + 4], "big")
    end = late.index(b"IEND") - 4
    path.write_bytes(late[:start] + late[start + length : end] + late[start : start + length] + late[end:])
    assert load(path).size == load(path, (40, 20)).size == upright_size(path)[0] == (40, 20)
