"""The sky in square tiles with halos: for training on patches, and for maps larger than memory.

A tile's core is one pixel of a coarse map; its halo is made of whole blocks, pixels of a map in
between, so that a network may change the resolution down to that of the blocks. Core pixels come
first, in NESTED order, at every resolution.

>>> tiling = Tiling(nside=128, core_nside=8, block_nside=32)
>>> tiling.tile(100)
Tile(nside=128, number=100, 256 core pixels of 576)
>>> sky = np.random.default_rng(0).normal(size=(2, 12 * 128**2)).astype(np.float32)
>>> doubled = apply_by_tiles(lambda features, geometry: 2 * features, tiling, sky)
>>> bool((doubled == 2 * sky).all())
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from equilens.models.errors import PixelError
from equilens.models.spherical.pixels import Integers, require_nside, shifted, window_offsets
from equilens.models.spherical.tile_geometry import TileGeometry

Network = Callable[[Tensor, TileGeometry], Tensor]
"""Takes features (B, channels, n) and the geometry of their n pixels, gives features on them."""


@dataclass(frozen=True, repr=False)
class Tile:
    """One core with its halo.

    Attributes
    ----------
    number : int
        Of the core, NESTED at the tiling's ``core_nside``.
    pixels : (n,) integers
        NESTED; the core's first.
    core_size : int
        Pixels of the core.
    """

    nside: int
    number: int
    pixels: Integers = field(compare=False)
    core_size: int

    def __repr__(self) -> str:
        n = len(self.pixels)
        return (
            f"Tile(nside={self.nside}, number={self.number}, {self.core_size} core pixels of {n})"
        )

    @property
    def core(self) -> slice:
        """The core's pixels on the sky."""
        return slice(self.number * self.core_size, (self.number + 1) * self.core_size)

    @cached_property
    def geometry(self) -> TileGeometry:
        """What layers need to know."""
        return TileGeometry(self.nside, self.pixels)


@dataclass(frozen=True)
class Tiling:
    """All tiles of a map.

    Parameters
    ----------
    nside : int
        Of the map.
    core_nside : int
        The cores are the pixels of this resolution.
    block_nside : int
        The halo is made of pixels of this resolution, ``core_nside`` to ``nside``; networks may
        pool down to it.
    rings : int
        Blocks that the halo is deep.
    """

    nside: int
    core_nside: int
    block_nside: int
    rings: int = 1

    def __post_init__(self) -> None:
        for nside in (self.nside, self.core_nside, self.block_nside):
            require_nside(nside)
        if not self.core_nside <= self.block_nside <= self.nside:
            raise PixelError(
                "a tiling needs core_nside ≤ block_nside ≤ nside, got "
                f"{self.core_nside}, {self.block_nside}, {self.nside}"
            )
        if not 0 <= self.rings < self.block_nside:
            raise PixelError(f"rings must be 0 … {self.block_nside - 1}, got {self.rings}")

    def __len__(self) -> int:
        return 12 * self.core_nside**2

    def __iter__(self) -> Iterator[Tile]:
        return map(self.tile, range(len(self)))

    @property
    def halo(self) -> int:
        """Pixels that the halo is deep."""
        return self.rings * (self.nside // self.block_nside)

    def tile(self, number: int) -> Tile:
        """Return the tile around one pixel of the coarse map."""
        if not 0 <= number < len(self):
            raise PixelError(f"tiles are 0 … {len(self) - 1} in {self!r}, got {number}")
        inside = (self.block_nside // self.core_nside) ** 2
        core = np.arange(number * inside, (number + 1) * inside)
        # what lies around the core's rim is all that lies around the core
        beside = shifted(self.block_nside, core, *window_offsets(-1, 1))
        rim = core[(beside // inside != number).any(axis=1)]
        window = shifted(self.block_nside, rim, *window_offsets(-self.rings, self.rings))
        halo = np.setdiff1d(window[window >= 0], core)
        size = (self.nside // self.block_nside) ** 2
        blocks = np.concatenate([core, halo])
        pixels = (blocks[:, None] * size + np.arange(size)).ravel()
        return Tile(self.nside, number, pixels, inside * size)

    def together(self, numbers: Iterable[int]) -> TileGeometry:
        """Return several tiles as places of one geometry, for a batch from all over the sky.

        Fetch its maps by ``geometry.pixels`` with ``gather_pixels``; the first
        ``core_size`` columns are the cores.
        """
        tiles = [self.tile(number) for number in numbers]
        longest = max(len(tile.pixels) for tile in tiles)
        pixels = np.full((len(tiles), longest), -1, dtype=np.int64)
        for row, tile in zip(pixels, tiles, strict=True):
            row[: len(tile.pixels)] = tile.pixels
        return TileGeometry(self.nside, pixels)

    @property
    def core_size(self) -> int:
        """Pixels of a core."""
        return (self.nside // self.core_nside) ** 2


def tile_around(nside: int, pixel: int, core_nside: int, block_nside: int, rings: int = 1) -> Tile:
    """Return the tile whose core holds a NESTED pixel of the map."""
    tiling = Tiling(nside, core_nside, block_nside, rings)
    return tiling.tile(pixel // tiling.core_size)


def gather_pixels(sky: np.ndarray, pixels: Integers) -> Tensor:
    """Return the values of a map (..., n_sky) at pixels of any shape; 0 where they are −1.

    Sky arrays may be memory maps or Zarr arrays: whole runs of pixels are read at a time.
    """
    flat = pixels.ravel()
    values = np.zeros((*sky.shape[:-1], flat.size), dtype=sky.dtype)
    breaks = np.flatnonzero(np.diff(flat) != 1) + 1
    for start, stop in zip(np.r_[0, breaks], np.r_[breaks, flat.size], strict=True):
        if flat[start] >= 0:
            values[..., start:stop] = sky[..., flat[start] : flat[start] + stop - start]
    return torch.from_numpy(values.reshape(*sky.shape[:-1], *pixels.shape))


def apply_to_tile(network: Network, tile: Tile, sky: np.ndarray) -> np.ndarray:
    """Return what a network gives on a tile's core, (out channels, core_size).

    The unit of distributed work: a tile reads its pixels and its halo, and owns its core.

    Parameters
    ----------
    sky : (channels, n_sky) array-like
    """
    with torch.inference_mode():
        features = gather_pixels(sky, tile.pixels)[None]
        return network(features, tile.geometry)[0, :, : tile.core_size].numpy()


def apply_by_tiles(network: Network, tiling: Tiling, sky: np.ndarray) -> np.ndarray:
    """Return what a network gives on the whole sky, one tile in memory at a time."""
    return np.concatenate([apply_to_tile(network, tile, sky) for tile in tiling], axis=1)
