"""From a file's pixel order to NESTED, one base pixel at a time.

In NESTED order a base pixel, a twelfth of the sky, is one contiguous run of nside² pixels: the unit
that is read, turned and written, so that no second copy of the sky is ever in memory.
"""

from __future__ import annotations

import healpy as hp
import numpy as np

from equilens.pipeline.errors import MapPixelError

N_BASE_PIXELS = 12


def block_pixels(nside: int, base_pixel: int, ordering: str) -> np.ndarray:
    """Numbers in `ordering` of a base pixel's pixels, in NESTED sequence, (nside²,) int64."""
    nested = np.arange(base_pixel * nside**2, (base_pixel + 1) * nside**2)
    return nested if ordering == "nested" else hp.nest2ring(nside, nested)


class PixelOrder:
    """Where the rows of a table lie on the sky.

    Parameters
    ----------
    nside, ordering : of the file
    pixels : (n,) pixel numbers of a partial map; None where row k is pixel k
    file : for messages

    Raises
    ------
    MapPixelError
        A pixel off the sky, or listed twice.
    """

    def __init__(self, nside: int, ordering: str, pixels: np.ndarray | None, file: str) -> None:
        self.nside, self.ordering = nside, ordering
        self._rows: np.ndarray | None = None
        if pixels is None:
            return
        _refuse_impossible(pixels, nside, file)
        nested = pixels if ordering == "nested" else hp.ring2nest(nside, pixels)
        self._rows = np.argsort(nested, kind="stable")
        self._nested = nested[self._rows]
        repeated = np.flatnonzero(np.diff(self._nested) == 0)
        if repeated.size:
            twice = pixels[self._rows[repeated[0]]]
            raise MapPixelError(
                f"{file}: a pixel is listed once, got {repeated.size} repeated, first pixel {twice}"
            )

    def block(self, values: np.ndarray, base_pixel: int) -> tuple[np.ndarray, np.ndarray]:
        """One base pixel of a column, and which of its pixels the file does not list.

        Both (nside²,), in NESTED order.
        """
        if self._rows is None:
            pixels = block_pixels(self.nside, base_pixel, self.ordering)
            return values[pixels], np.zeros(pixels.size, bool)
        size = self.nside**2
        start, stop = np.searchsorted(self._nested, np.array([0, size]) + base_pixel * size)
        rows, places = self._rows[start:stop], self._nested[start:stop] - base_pixel * size
        block, unlisted = np.zeros(size, values.dtype), np.ones(size, bool)
        block[places], unlisted[places] = values[rows], False
        return block, unlisted


def _refuse_impossible(pixels: np.ndarray, nside: int, file: str) -> None:
    off = pixels[(pixels < 0) | (pixels >= N_BASE_PIXELS * nside**2)]
    if off.size:
        raise MapPixelError(
            f"{file}: pixel numbers must lie in 0..{N_BASE_PIXELS * nside**2 - 1} at nside "
            f"{nside}, got {off[0]} and {off.size - 1} more outside"
        )
