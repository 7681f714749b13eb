"""Patches of a HEALPix sky: square tiles, with a margin that a network can see into."""

from __future__ import annotations

import numpy as np

from equilens.models.spherical.mapper_spec import MapperSpec
from equilens.models.spherical.tiles import Tiling
from equilens.pipeline.errors import SkyMapError


def patch_tiling(spec: MapperSpec, n_squares: int, margin_pixels: int) -> Tiling:
    """A sky cut into ``12 n_squares²`` squares.

    Parameters
    ----------
    spec : of the network, which pools down to blocks of ``4^depth`` pixels
    n_squares : along the side of a base pixel, a power of two
    margin_pixels : around a square, rounded up to whole blocks

    Raises
    ------
    SkyMapError
        Squares that are no power of two, or smaller than a block.
    """
    block = 2**spec.depth
    most = spec.nside // block
    if n_squares < 1 or n_squares & (n_squares - 1) or n_squares > most:
        raise SkyMapError(
            f"squares along a base pixel must be a power of two up to {most} at nside "
            f"{spec.nside} and depth {spec.depth}, got {n_squares}"
        )
    return Tiling(spec.nside, n_squares, most, rings=-(-margin_pixels // block))


def quarter_turn(nside: int, pixels: np.ndarray, turns: int) -> np.ndarray:
    """NESTED pixels turned eastward by 90° about the poles, so many times, in the same order.

    Base pixels k and k + 1 of a ring of four differ by such a turn and nothing else: HEALPix's
    stencils, and components along its meridians, are the same after it.
    """
    base, rest = np.divmod(pixels, nside**2)
    return (base // 4 * 4 + (base + turns) % 4) * nside**2 + rest
