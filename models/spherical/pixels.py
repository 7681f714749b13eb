"""HEALPix pixels in NESTED order: windows of neighbours, rings, and parallel transport.

A base pixel is a square grid of ``nside`` × ``nside`` pixels, x to the north-east and y to the
north-west (Górski et al. 2005, arXiv:astro-ph/0409513, figure 4). Twelve of them are glued along
their edges, where the axes may turn; at eight corners only three meet, so that a window there
lacks its diagonal.
"""

from __future__ import annotations

import healpy
import numpy as np
from numpy.typing import NDArray

from equilens.models.errors import PixelError

Integers = NDArray[np.int64]

NEIGHBOUR_FACE = np.array(
    [
        [8, 9, 10, 11, -1, -1, -1, -1, 10, 11, 8, 9],  # south
        [5, 6, 7, 4, 8, 9, 10, 11, 9, 10, 11, 8],  # south-east
        [-1, -1, -1, -1, 5, 6, 7, 4, -1, -1, -1, -1],  # east
        [4, 5, 6, 7, 11, 8, 9, 10, 11, 8, 9, 10],  # south-west
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],  # itself
        [1, 2, 3, 0, 0, 1, 2, 3, 5, 6, 7, 4],  # north-east
        [-1, -1, -1, -1, 7, 4, 5, 6, -1, -1, -1, -1],  # west
        [3, 0, 1, 2, 3, 0, 1, 2, 4, 5, 6, 7],  # north-west
        [2, 3, 0, 1, -1, -1, -1, -1, 0, 1, 2, 3],  # north
    ]
)
"""Base pixel on each side of the twelve, −1 where three of them meet."""

TURN = np.array(
    [[0, 0, 3], [0, 0, 6], [0, 0, 0], [0, 0, 5], [0, 0, 0], [5, 0, 0]] + [[0, 0, 0]] * 3
)
TURN[7:, 0] = (6, 3)
"""What happens to the axes on the way there, by side and cap (north, belt, south): bits 1 and 2
reverse x and y, bit 4 swaps them afterwards."""


def require_nside(nside: int, at_least: int = 1) -> None:
    """Raise PixelError unless ``nside`` is a power of two that is large enough."""
    if nside >= 1 and nside & (nside - 1):
        below = 1 << (nside.bit_length() - 1)
        raise PixelError(
            f"nside must be a power of two, got {nside}; nearest are {below} and {2 * below}"
        )
    if nside < at_least:
        raise PixelError(f"nside must be at least {at_least} here, got {nside}")


def window_offsets(first: int, last: int) -> tuple[Integers, Integers]:
    """Return the offsets (i, j) along x and y of a square window, x slowest."""
    steps = np.arange(first, last + 1)
    i, j = np.meshgrid(steps, steps, indexing="ij")
    return i.ravel(), j.ravel()


def shifted(nside: int, pixels: Integers, i: Integers, j: Integers) -> Integers:
    """Return the pixels that lie i steps along x and j along y of their base pixel's grid.

    Parameters
    ----------
    pixels : (n,) integers, NESTED
    i, j : (k,) integers
        Smaller than ``nside``.

    Returns
    -------
    (n, k) integers, −1 where there is none.
    """
    x, y, face = healpy.pix2xyf(nside, pixels, nest=True)
    inside = (x + i.min() >= 0) & (x + i.max() < nside)
    inside &= (y + j.min() >= 0) & (y + j.max() < nside)
    grid = x[:, None] + i, y[:, None] + j, face[:, None]
    found = np.empty((len(pixels), len(i)), dtype=np.int64)
    found[inside] = healpy.xyf2pix(nside, *(part[inside] for part in grid), nest=True)
    found[~inside] = _across_edges(nside, *(part[~inside] for part in grid))
    return found


def _across_edges(nside: int, x: Integers, y: Integers, face: Integers) -> Integers:
    """Return the pixels at places on the grid of a base pixel, prolonged over its edges."""
    side = 4 + (x >= nside) - (x < 0).astype(int) + 3 * ((y >= nside) - (y < 0).astype(int))
    turn = TURN[side, face >> 2]
    x, y = x % nside, y % nside
    x = np.where(turn & 1, nside - 1 - x, x)
    y = np.where(turn & 2, nside - 1 - y, y)
    x, y = np.where(turn & 4, y, x), np.where(turn & 4, x, y)
    reached = NEIGHBOUR_FACE[side, face]
    found = healpy.xyf2pix(nside, x, y, np.maximum(reached, 0), nest=True)
    return np.where(reached < 0, -1, found)


def ring_positions(nside: int, pixels: Integers) -> tuple[Integers, Integers]:
    """Return the ring, 1 in the north to 4 nside − 1, and the place along it of NESTED pixels."""
    ring_pixel = healpy.nest2ring(nside, pixels)
    n_pixels, cap = 12 * nside**2, 2 * nside * (nside - 1)
    southern = ring_pixel >= n_pixels - cap
    # pixel numbers count a cap from its pole, so that both use one formula
    polar = np.where(southern, n_pixels - 1 - ring_pixel, ring_pixel)
    polar_ring = (1 + np.floor(np.sqrt(1 + 2 * polar + 0.5)).astype(int)) // 2
    polar_place = polar - 2 * polar_ring * (polar_ring - 1)
    polar_place = np.where(southern, 4 * polar_ring - 1 - polar_place, polar_place)
    polar_ring = np.where(southern, 4 * nside - polar_ring, polar_ring)
    in_belt = (ring_pixel >= cap) & ~southern
    belt_ring = (ring_pixel - cap) // (4 * nside) + nside
    ring = np.where(in_belt, belt_ring, polar_ring)
    return ring, np.where(in_belt, (ring_pixel - cap) % (4 * nside), polar_place)


def frames(nside: int, pixels: Integers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return r, e_θ and e_φ at the centres of NESTED pixels, each (..., 3)."""
    theta, phi = healpy.pix2ang(nside, pixels, nest=True)
    cosine, sine = np.cos(phi), np.sin(phi)
    radial = np.stack(healpy.pix2vec(nside, pixels, nest=True), axis=-1)
    south = np.stack([np.cos(theta) * cosine, np.cos(theta) * sine, -np.sin(theta)], axis=-1)
    return radial, south, np.stack([-sine, cosine, np.zeros_like(phi)], axis=-1)


def transport(
    nside: int, centres: Integers, other_nside: int, others: Integers
) -> tuple[np.ndarray, np.ndarray]:
    """Return where other pixels lie as seen from a centre, and how their frames turn on the way.

    Parameters
    ----------
    centres : (n,) integers, NESTED at ``nside``
    others : (n, k) integers, NESTED at ``other_nside``

    Returns
    -------
    positions : (n, k) complex, radians
        Riemannian normal coordinates: geodesic distance times e^{iα}, α from e_θ to e_φ.
    phases : (n, k) complex
        e^{iτ}: a spin-s value z of the other, moved along the geodesic, is e^{isτ} z at the centre.
    """
    r, south, east = (axis[:, None] for axis in frames(nside, centres))
    other_r, other_south, other_east = frames(other_nside, others)
    cosine = (r * other_r).sum(axis=-1)
    there = (other_r * south).sum(axis=-1) + 1j * (other_r * east).sum(axis=-1)
    onward = -(r * other_south).sum(axis=-1) - 1j * (r * other_east).sum(axis=-1)
    sine = np.abs(there)
    same = sine < 1e-14
    scale = np.where(same, 1.0, np.arctan2(sine, cosine) / np.where(same, 1.0, sine))
    turned = np.where(same, 1.0, there * onward.conj())
    return there * scale, turned / np.abs(turned)
