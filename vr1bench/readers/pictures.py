"""Pictures whose size no annotation says, or that come inside a table: their headers, and files made of them."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vr1bench import images
from vr1bench.errors import Vr1benchError
from vr1bench.images import MAX_PIXELS, ImageError

_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif"}
"""Formats that are written to disk, and the suffix of each."""

Size = tuple[int, int]


def upright_size(picture: Path | bytes, where: str = "") -> tuple[Size, str]:
    """Width and height in pixels as `vr1bench.images.load` will show it, and the format, from the header alone.

    Args:
        picture: A file, or its bytes.
        where: Its name for messages, if it is no file.

    Raises:
        ImageError: It is missing, no picture, or has more than `MAX_PIXELS`.
    """
    where = where or str(picture)
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
            (width, height), kind = images.upright_size(image), image.format or ""
    except FileNotFoundError as error:
        raise ImageError(
            f"image {where}: no such file; its size is read from it, since the annotations do not say it: is the data "
            "folder complete?"
        ) from error
    except UnidentifiedImageError as error:  # whose own words name the object that was read
        length = len(picture) if isinstance(picture, bytes) else picture.stat().st_size
        raise ImageError(
            f"image {where}: no picture (no image format is recognised in its {length} bytes); fetch the file again"
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds on hostile or truncated bytes
        raise ImageError(
            f"image {where}: no picture ({type(error).__name__}: {error}); fetch the file again"
        ) from error
    if width * height > MAX_PIXELS:  # Pillow refuses from there on itself, unless somebody told it not to
        raise ImageError(f"image {where}: {width}x{height} pixels; expected at most {MAX_PIXELS} in all")
    return (width, height), kind


class Album:
    """A folder of pictures named by their content: the same bytes are one file, however often they come.

    Attributes:
        folder: Where they lie; made when the first is kept.
        lay_out: Whether they are written; where not, they are only looked at.
    """

    def __init__(self, folder: Path, *, lay_out: bool = True) -> None:
        self.folder = folder
        self.lay_out = lay_out
        self._sizes: dict[str, tuple[str, Size]] = {}

    def keep(self, data: bytes, where: str) -> tuple[str, Size]:
        """Writes a picture unless it is there (or `lay_out` is off), whole or not at all.

        Args:
            data: An image file's bytes.
            where: Its name for messages.

        Returns:
            The file's name in `folder`, and width and height in pixels.

        Raises:
            Vr1benchError: It is no picture of a known format, or the folder cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._sizes:
            size, kind = upright_size(data, where)
            if kind not in _SUFFIXES:
                raise ImageError(f"image {where}: format {kind or 'unknown'}; expected one of {', '.join(_SUFFIXES)}")
            name = digest[:40] + _SUFFIXES[kind]
            if self.lay_out:
                self._write(self.folder / name, data)
            self._sizes[digest] = name, size
        return self._sizes[digest]

    def _write(self, path: Path, data: bytes) -> None:
        if path.is_file() and path.stat().st_size == len(data):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(draft).chmod(0o644)  # a draft is its owner's alone; data folders are shared
                Path(draft).replace(path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise Vr1benchError(
                f"cannot write {path}: {error.strerror}; the pictures inside the table are laid out there once, since "
                "engines read files: copy the table to a folder that can be written, with room for them"
            ) from error
