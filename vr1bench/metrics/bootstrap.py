"""Error bars: the bootstrap over images, 1000 replicates from a stored seed.

A replicate is a data set of the same size, drawn from the images with replacement. The interval of a number is the
estimate +- 1.96 times the standard deviation of its replicates. Their percentiles are not used: drawing images twice
raises AP (an image and its copy find the same, and rare classes drop out), so that at COCO's size the estimate itself
lies at the lower percentile. The standard deviation has no such bias.

The draws depend on the seed and the number of images alone. Two Results of the same data therefore hold replicates of
the same resampled data sets, and the difference of two models is the difference of their replicates, one by one.

AP is replayed in `vr1bench.metrics.replay`; what is a ratio of sums over images is here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vr1bench.errors import Vr1benchError
from vr1bench.metrics.ap import ABSENT
from vr1bench.metrics.pointwise import Counts
from vr1bench.types import Floats, Ints

Block = NDArray[np.uint8]
"""(B, n): how often each replicate holds each image."""
_DRAWS_AT_ONCE = 1 << 20
Z = 1.96
"""Standard deviations to either side that hold 95 % of a normal distribution."""


def seed_of(sha256: str) -> int:
    """The seed that belongs to some data: the first 12 hex digits of its sha256, a number that JSON holds exactly.

    Raises:
        Vr1benchError: This is no sha256.
    """
    try:
        return int(sha256[:12].rjust(12, "?"), 16)
    except ValueError as error:
        raise Vr1benchError(f"no seed from {sha256!r}; expected a sha256 of at least 12 hex digits") from error


@dataclass(frozen=True, slots=True)
class Draws:
    """Replicates of a data set, made anew at every use: 0.1 s for 1000 of 5000 images.

    The numbers come straight from PCG64, whose stream numpy promises to keep (its distributions may change): half a
    word u, low half first, draws image floor(u n / 2^32). That favours no image by more than n / 2^32.

    Attributes:
        images: Number of images, n.
        seed: Of the data, see `seed_of`.
        replicates: How many data sets are drawn, B; fewer are the first ones of more.
    """

    images: int
    seed: int
    replicates: int = 1000

    def blocks(self) -> Iterator[Block]:
        """Consecutive replicates as multiplicities, a few megabytes at a time; every row sums to n."""
        source = np.random.PCG64(self.seed)
        step = max(1, _DRAWS_AT_ONCE // max(1, self.images))
        for low in range(0, self.replicates, step):
            size = min(step, self.replicates - low)
            words = np.asarray(source.random_raw((size, (self.images + 1) // 2)), dtype="<u8")
            drawn = words.view("<u4")[:, : self.images].astype(np.uint64) * np.uint64(self.images) >> np.uint64(32)
            places = drawn.astype(np.int64) + np.arange(size)[:, None] * self.images
            counts = np.bincount(places.ravel(), minlength=size * self.images)
            # An image drawn more than 255 times in one replicate is less likely than 1e-500.
            yield counts.astype(np.uint8).reshape(size, self.images)


def multiplicities(images: int, seed: int, replicates: int = 1000) -> Block:
    """All draws at once, (replicates, images); `Draws.blocks` needs less memory."""
    return np.concatenate([np.empty((0, images), np.uint8), *Draws(images, seed, replicates).blocks()])


def ratios(draws: Draws, part: Floats | Ints, whole: Floats | Ints) -> Floats:
    """Sum of `part` over sum of `whole` in each replicate, (B,); 0 where the latter is 0, as in the metrics themselves.

    Args:
        draws: Of n images.
        part: (n,) of each image.
        whole: (n,) of each image.
    """
    columns = np.stack([np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)], axis=1)
    sums = np.concatenate([np.empty((0, 2)), *(block.astype(np.float64) @ columns for block in draws.blocks())])
    return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] != 0)


def means(draws: Draws, values: Floats | Ints) -> Floats:
    """Mean over images in each replicate, (B,): accuracies and mean IoU; 0 without images.

    Args:
        draws: Of n images.
        values: (n,) of each image; 0 and 1 for an accuracy.
    """
    return ratios(draws, values, np.ones(len(values)))


def count_replicates(draws: Draws, counts: Counts) -> dict[str, Floats]:
    """Replicates of `f1`, `precision` and `recall`, (B,) each.

    Args:
        draws: Of n images.
        counts: Of each image, not summed.
    """
    return {
        "f1": ratios(draws, 2 * counts.right, counts.guessed + counts.gold),
        "precision": ratios(draws, counts.right, counts.guessed),
        "recall": ratios(draws, counts.right, counts.gold),
    }


def sd(replicates: Floats) -> float | None:
    """The sample standard deviation of a number over its replicates; None where fewer than two have a number.

    It says how far the number would move with other images of the same kind. Where every image fares alike (all
    right, all wrong, or a single image) the replicates do not differ, and 0 says nothing.

    Args:
        replicates: (B,); those that are `ABSENT` are left out.
    """
    kept = replicates[replicates != ABSENT]
    return float(np.std(kept, ddof=1)) if len(kept) > 1 else None


def interval(estimate: float, replicates: Floats) -> tuple[float, float] | None:
    """The 95 % interval of a fraction, (low, high): estimate +- 1.96 `sd`, cut to [0, 1]; None without `sd`.

    Args:
        estimate: The number on the data as they are.
        replicates: (B,).
    """
    spread = sd(replicates)
    return None if spread is None else (max(0.0, estimate - Z * spread), min(1.0, estimate + Z * spread))


def packed(replicates: Floats) -> str:
    """Replicates as text for a Result: base64 of little-endian float32, 5.3 kB for 1000."""
    return base64.b64encode(replicates.astype("<f4").tobytes()).decode("ascii")


def unpacked(text: str) -> Floats:
    """What `packed` packed, rounded to float32.

    Raises:
        Vr1benchError: The text is damaged.
    """
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float64)
    except (ValueError, binascii.Error) as error:
        raise Vr1benchError(
            f"bootstrap replicates are damaged ({error}); expected base64 of float32: score the run folder again"
        ) from error
    if not np.isfinite(values).all():
        raise Vr1benchError("bootstrap replicates are not finite; expected fractions: score the run folder again")
    return values
