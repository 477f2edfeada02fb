"""Reads an image once, upright, as RGB, at the size that its annotations were drawn on.

Every engine reads through `load`, so that all of them see the same pixels. Image files come from outside: they
may be missing, cut short, mislabelled or made to fill the memory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vr1bench.errors import Vr1benchError

MAX_PIXELS = 178_956_970
"""Larger pictures are refused unread (540 MB as RGB). Pillow refuses from there on itself: twice its
`MAX_IMAGE_PIXELS`; from once that on it warns."""

_TRANSPOSED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height (TIFF 6.0, tag 274)."""
_ORIENTATION_TAG = 274
_WIDE_MODES = ("I", "F")
"""Pillow's modes of more than 8 bits a channel; `I;16` and its byte orders begin with the same letter."""
_EIGHT_BITS = 255.0


class ImageError(Vr1benchError):
    """An image cannot be used: says path, what is wrong, and what was expected."""


def load(path: str | Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Decodes one image.

    EXIF orientation is applied once, here. Some data sets were annotated on the raw pixels of rotated photos:
    where the raw pixels have the annotated size and the upright ones do not, the raw ones are kept.

    Args:
        path: The file, of any format that Pillow reads; of several frames the first.
        size: (width, height) in pixels as the annotations say; None takes the image as it is.

    Returns:
        An RGB image, decoded, with its file closed.

    Raises:
        ImageError: Missing, unreadable or cut short; more than `MAX_PIXELS`; of another size than `size`.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            turn = _turn(image, path, size)
            image.load()
            return _rgb(ImageOps.exif_transpose(image) if turn else image.copy())
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"image {path}: no such file; expected it there: is the data folder complete?") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"image {path}: {error}; expected at most {MAX_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        length = path.stat().st_size if path.is_file() else 0
        raise ImageError(
            f"image {path}: no image format is recognised in its {length} bytes; expected JPEG, PNG or the like: "
            "fetch the file again"
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds on hostile or truncated bytes
        raise ImageError(
            f"image {path}: cannot be decoded ({type(error).__name__}: {error}); expected a whole image file: "
            "fetch it again"
        ) from error


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in pixels once EXIF orientation is applied, from the header alone."""
    width, height = image.size
    sideways = _oriented(image) and image.getexif().get(_ORIENTATION_TAG) in _TRANSPOSED
    return (height, width) if sideways else (width, height)


def _oriented(image: Image.Image) -> bool:
    """Whether the header has an orientation; one behind a PNG's pixels, for which all are decoded, is ignored."""
    return image.format != "PNG" or "exif" in image.info


def _turn(image: Image.Image, path: Path, size: tuple[int, int] | None) -> bool:
    """Whether to apply the EXIF orientation; refuses a wrong size before any pixel is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"image {path}: {width}x{height} pixels; expected at most {MAX_PIXELS} in all")
    upright = upright_size(image)
    if size is None or upright == size:
        return _oriented(image)
    if (width, height) == size:
        return False
    turned = f" ({upright[0]}x{upright[1]} upright)" if upright != (width, height) else ""
    raise ImageError(
        f"image {path}: {width}x{height} pixels{turned}; expected {size[0]}x{size[1]}, as the annotations say: "
        "the file belongs to another version of the data set, or was resized"
    )


def _rgb(image: Image.Image) -> Image.Image:
    """As RGB of 8 bits a channel; transparent pixels show white, as a viewer's page would."""
    if image.mode.startswith(_WIDE_MODES):
        return Image.fromarray(_eight_bit(image), "L").convert("RGB")
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(page, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bit(image: Image.Image) -> np.ndarray:
    """Wide grey values as (height, width) uint8: 16-bit ones divided by 257, others stretched over their range.

    Pillow's own conversion clips at 255, which turns a 16-bit photo white.
    """
    grey = np.asarray(image, dtype=np.float64)
    if image.mode.startswith("I") and grey.min() >= 0 and grey.max() <= np.iinfo(np.uint16).max:
        # Mode "I" also carries ordinary 8-bit values; only what exceeds them is a 16-bit picture.
        scaled = grey / 257.0 if image.mode != "I" or grey.max() > _EIGHT_BITS else grey
    else:
        low, high = float(grey.min()), float(grey.max())
        scaled = (grey - low) * (_EIGHT_BITS / (high - low)) if high > low else np.clip(grey, 0, _EIGHT_BITS)
    return np.rint(scaled).astype(np.uint8)
