"""HEALPix's own symmetry: which pixels see the same surroundings, so that they share a table row.

Rotations by 90° about the axis, the mirror φ → −φ and the mirror θ → π − θ keep the grid: about
1/16 of the pixels stand for all. In the belt between the caps, all pixels of a ring are alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import healpy
import numpy as np

from equilens.models.spherical.pixels import Integers, require_nside, ring_positions


@dataclass(frozen=True)
class PixelRows:
    """Where pixels find their row, and which mirrors lead there; each (n,)."""

    row: Integers
    east_west: np.ndarray
    north_south: np.ndarray


@dataclass(frozen=True)
class SharedRows:
    """One row for all pixels whose window looks the same but for rotations and mirrors.

    Parameters
    ----------
    nside : int
    margin : int
        Rings that a window reaches to the north or south of its pixel.
    """

    nside: int
    margin: int

    def __post_init__(self) -> None:
        require_nside(self.nside)

    @cached_property
    def _first_belt_ring(self) -> int:
        """First ring whose windows stay within the belt, at most one beyond the equator."""
        return min(self.nside + self.margin, 2 * self.nside + 1)

    @cached_property
    def _starts(self) -> Integers:
        """First row of each ring, entries 1 … 2 nside + 1; entry 0 is 0."""
        rings = np.arange(1, 2 * self.nside + 1)
        quarter = np.minimum(rings, self.nside)
        own = np.where(self._begins_on_meridian(rings), quarter // 2 + 1, (quarter + 1) // 2)
        sizes = np.where(rings < self._first_belt_ring, own, 1)
        return np.concatenate([[0, 0], np.cumsum(sizes)])

    def _begins_on_meridian(self, ring: Integers) -> np.ndarray:
        """True where the first pixel is at φ = 0, not half a step east of it."""
        return (ring > self.nside) & ((ring - self.nside) % 2 == 1)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def find(self, pixels: Integers) -> PixelRows:
        """Return the rows of NESTED pixels."""
        ring, place = ring_positions(self.nside, pixels)
        southern = ring > 2 * self.nside
        ring = np.where(southern, 4 * self.nside - ring, ring)
        quarter = np.minimum(ring, self.nside)
        place = place % quarter
        mirrored = (quarter - place - ~self._begins_on_meridian(ring)) % quarter
        belt = ring >= self._first_belt_ring
        row = self._starts[ring] + np.where(belt, 0, np.minimum(place, mirrored))
        return PixelRows(row, (mirrored < place) & ~belt, southern)

    def representatives(self, rows: Integers) -> Integers:
        """Return for each of some rows a NESTED pixel that needs no mirror."""
        ring = np.searchsorted(self._starts[1:], rows, side="right")
        cap = 2 * self.nside * (self.nside - 1)
        belt_start = cap + (ring - self.nside) * 4 * self.nside
        start = np.where(ring < self.nside, 2 * ring * (ring - 1), belt_start)
        return healpy.ring2nest(self.nside, start + rows - self._starts[ring])
