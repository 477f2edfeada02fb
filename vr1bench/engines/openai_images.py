"""Images as data URLs: lossless, at their own size, upright."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from vr1bench.images import load

_SENT_AS_IS = {"JPEG": "image/jpeg", "PNG": "image/png"}
_ORIENTATION_TAG = 274
_UPRIGHT = 1
_FAST = 1
"""zlib's level: the picture is sent once, and compressing it harder takes longer than a network needs for the rest."""


def data_url(path: Path, size: tuple[int, int]) -> str:
    """An image file as a `data:` URL.

    The file's own bytes where any decoder reads the same RGB pixels from them: a JPEG or PNG of one frame, 8 bits a
    channel, upright, without transparency. Everything else is decoded as every engine decodes it, and sent as PNG.

    Args:
        path: The file.
        size: (width, height) in pixels as the annotations say.

    Raises:
        ImageError: The image cannot be decoded, or has another size.
    """
    image = load(path, size)
    content = path.read_bytes()
    kind = _kind(content)
    if kind is None:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=_FAST)
        kind, content = "image/png", buffer.getvalue()
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _kind(content: bytes) -> str | None:
    """The media type of a file that can be sent as it is; None where it must be written anew."""
    with Image.open(io.BytesIO(content)) as image:
        plain = (
            image.mode == "RGB"
            and "transparency" not in image.info
            and getattr(image, "n_frames", 1) == 1
            and image.getexif().get(_ORIENTATION_TAG, _UPRIGHT) == _UPRIGHT
        )
        return _SENT_AS_IS.get(image.format or "") if plain else None
