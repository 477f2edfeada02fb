"""The size at which a family's processor feeds an image, and the image tokens that it costs."""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vr1bench.types import FrozenModel, PixelBudget

Size = tuple[int, int]
MAX_ASPECT = 200
"""Qwen's `smart_resize` refuses longer images (transformers, `image_processing_qwen2_vl.py`)."""


class Rule(FrozenModel):
    """What all rules offer; by itself: the image as it is, and tokens unknown.

    Attributes:
        source: Who says so.
    """

    source: str = ""

    @property
    def pixels(self) -> PixelBudget | None:
        """The bounds that the family's own processor keeps; None where it has none."""
        return None

    def fed_size(self, width: int, height: int, pixels: PixelBudget | None) -> Size:
        """(width, height) unchanged."""
        return width, height

    def image_tokens(self, fed_width: int, fed_height: int) -> int | None:
        """How many image tokens a fed image costs; None where unknown."""
        return None


class AsIs(Rule):
    """The image as it is, or its size does not matter: the frame does not count fed pixels."""

    rule: Literal["as_is"] = "as_is"


class SmartResize(Rule):
    """Qwen's and its kin's: multiples of `factor` pixels, within the pixel budget, aspect nearly kept.

    Follows `smart_resize` of transformers' Qwen2-VL image processor, which takes and gives (height, width); Python's
    round-half-to-even is part of it.

    Attributes:
        factor: Side in pixels of the square behind one image token.
        min_pixels: The family's own lower bound on the area.
        max_pixels: The family's own upper bound.
        enlarge: Whether an image with a side below `factor` is first enlarged to it, as GLM's processor does.
    """

    rule: Literal["smart_resize"] = "smart_resize"
    factor: int = Field(gt=0)
    min_pixels: int = Field(default=PixelBudget().min_pixels, gt=0)
    max_pixels: int = Field(default=PixelBudget().max_pixels, gt=0)
    enlarge: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> SmartResize:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        return self

    @property
    def pixels(self) -> PixelBudget:
        """See `Rule.pixels`."""
        return PixelBudget(min_pixels=self.min_pixels, max_pixels=self.max_pixels)

    def fed_size(self, width: int, height: int, pixels: PixelBudget | None) -> Size:
        """(width, height) in pixels after the resize.

        Raises:
            ValueError: One side is more than 200 times the other.
        """
        if self.enlarge and min(width, height) < self.factor:
            scale = self.factor / min(width, height)
            width, height = int(width * scale), int(height * scale)
        if max(width, height) / min(width, height) > MAX_ASPECT:
            raise ValueError(
                f"image of {width}x{height}: the longer side must be at most {MAX_ASPECT} times the shorter"
            )
        budget, factor = pixels or self.pixels, self.factor
        fed_width = round(width / factor) * factor
        fed_height = round(height / factor) * factor
        if fed_width * fed_height > budget.max_pixels:
            beta = math.sqrt(width * height / budget.max_pixels)
            fed_width = max(factor, math.floor(width / beta / factor) * factor)
            fed_height = max(factor, math.floor(height / beta / factor) * factor)
        elif fed_width * fed_height < budget.min_pixels:
            beta = math.sqrt(budget.min_pixels / (width * height))
            fed_width = math.ceil(width * beta / factor) * factor
            fed_height = math.ceil(height * beta / factor) * factor
        return fed_width, fed_height

    def image_tokens(self, fed_width: int, fed_height: int) -> int | None:
        """One token a square of `factor` pixels."""
        return (fed_width // self.factor) * (fed_height // self.factor)


class Square(Rule):
    """Every image is squeezed, or padded, to a square of one size.

    Attributes:
        side: Of the square, in pixels; checkpoints of one family may differ: then the common one.
        tokens: Image tokens of the square; None where checkpoints differ.
    """

    rule: Literal["square"] = "square"
    side: int = Field(gt=0)
    tokens: int | None = Field(default=None, gt=0)

    def fed_size(self, width: int, height: int, pixels: PixelBudget | None) -> Size:
        """(side, side)."""
        return self.side, self.side

    def image_tokens(self, fed_width: int, fed_height: int) -> int | None:
        """The same for every image."""
        return self.tokens


class Tiles(Rule):
    """InternVL's: the image is stretched to the grid of tiles nearest to its aspect.

    Follows `get_optimal_tiled_canvas` of transformers' GOT-OCR2 image processor, which InternVL uses.

    Attributes:
        tile: Side of a tile in pixels.
        least: Tiles at least.
        most: Tiles at most.
        tokens: Image tokens of one tile.
        thumbnail: Whether the whole image follows as one more tile where there are several.
    """

    rule: Literal["tiles"] = "tiles"
    tile: int = Field(gt=0)
    least: int = Field(default=1, gt=0)
    most: int = Field(gt=0)
    tokens: int = Field(gt=0)
    thumbnail: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Tiles:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}")
        return self

    def fed_size(self, width: int, height: int, pixels: PixelBudget | None) -> Size:
        """(width, height) in pixels of the grid; of two grids as near, the larger while the image fills half of it."""
        best, nearest = (1, 1), math.inf
        for columns, rows in _grids(self.least, self.most):
            distance = abs(width / height - columns / rows)
            fills = width * height > 0.5 * self.tile**2 * columns * rows
            if distance < nearest or (distance == nearest and fills):
                best, nearest = (columns, rows), distance
        return best[0] * self.tile, best[1] * self.tile

    def image_tokens(self, fed_width: int, fed_height: int) -> int | None:
        """Those of all tiles, the thumbnail's included."""
        tiles = (fed_width // self.tile) * (fed_height // self.tile)
        return (tiles + (self.thumbnail and tiles > 1)) * self.tokens


class PaddedTiles(Rule):
    """DeepSeek-VL2's: the grid of tiles that keeps most of the image's pixels, then wastes least; the rest is padded.

    Follows the authors' `select_best_resolution` and `tokenize_with_images` (processing_deepseek_vl_v2.py).

    Attributes:
        tile: Side of a tile in pixels.
        most: Tiles at most.
        side: Image tokens on one side of a tile.
    """

    rule: Literal["padded_tiles"] = "padded_tiles"
    tile: int = Field(gt=0)
    most: int = Field(gt=0)
    side: int = Field(gt=0)

    def fed_size(self, width: int, height: int, pixels: PixelBudget | None) -> Size:
        """(width, height) in pixels of the grid, padding included."""

        def worth(grid: Size) -> tuple[int, int]:
            across, down = grid[0] * self.tile, grid[1] * self.tile
            scale = min(across / width, down / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            return kept, kept - across * down

        columns, rows = max(_grids(1, self.most), key=worth)
        return columns * self.tile, rows * self.tile

    def image_tokens(self, fed_width: int, fed_height: int) -> int | None:
        """A thumbnail with a line end a row, a separator, and the grid with a line end a row."""
        columns, rows = fed_width // self.tile, fed_height // self.tile
        return self.side * (self.side + 1) + 1 + self.side * rows * (self.side * columns + 1)


class OverlappingTiles(Rule):
    """Moondream's: a grid of tiles that share their margins, as many as the image fills.

    Follows the authors' `select_tiling` and `overlap_crop_image` (moondream/torch/image_crops.py).

    Attributes:
        tile: Side of a tile in pixels.
        margin: Pixels on each side of a tile that belong to its neighbour too.
        most: Tiles at most.
        tokens: Image tokens of any image.
    """

    rule: Literal["overlapping_tiles"] = "overlapping_tiles"
    tile: int = Field(gt=0)
    margin: int = Field(ge=0)
    most: int = Field(gt=0)
    tokens: int = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> OverlappingTiles:
        if 2 * self.margin >= self.tile:
            raise ValueError(f"margin {self.margin} leaves nothing of a tile of {self.tile}")
        return self

    def fed_size(self, width: int, height: int, pixels: PixelBudget | None) -> Size:
        """(width, height) in pixels of the grid."""
        edges = 2 * self.margin
        window = self.tile - edges
        columns, rows = self._grid(width - edges, height - edges, window)
        return columns * window + edges, rows * window + edges

    def _grid(self, width: int, height: int, window: int) -> Size:
        if width <= window or height <= window:
            return 1, 1
        columns, rows = math.ceil(width / window), math.ceil(height / window)
        if columns * rows > self.most:
            share = math.sqrt(self.most / (columns * rows))
            return max(1, math.floor(columns * share)), max(1, math.floor(rows * share))
        columns = max(math.floor(math.sqrt(self.most * width / height)), columns)
        rows = max(math.floor(math.sqrt(self.most * height / width)), rows)
        if columns * rows <= self.most:
            return columns, rows
        return (max(1, self.most // rows), rows) if columns > rows else (columns, max(1, self.most // columns))

    def image_tokens(self, fed_width: int, fed_height: int) -> int | None:
        """The same for every image."""
        return self.tokens


@cache
def _grids(least: int, most: int) -> list[Size]:
    """(columns, rows) of every grid with so many tiles, few tiles first."""
    sides = range(1, most + 1)
    return sorted(((c, r) for c in sides for r in sides if least <= c * r <= most), key=lambda grid: grid[0] * grid[1])


Input = Annotated[AsIs | SmartResize | Square | Tiles | PaddedTiles | OverlappingTiles, Field(discriminator="rule")]
