"""Grids made of rings of equal latitude, symmetric about the equator: HEALPix and Gauss-Legendre.

A grid is its northern rings, from the pole to the equator; the south is their mirror image. Rings
of the polar cap have 4, 8, 12 … pixels, the first half a pixel east of φ = 0. The belt between
the caps has rings of one length, whose first pixel is at φ = 0 or half a pixel east of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from equilens.models.errors import HarmonicError
from equilens.models.spherical.wigner import wigner_d


@dataclass(frozen=True, eq=False)
class RingGrid:
    """Geometry of a grid of rings.

    Attributes
    ----------
    theta : (rings,) float64 Tensor, radians; colatitude of northern rings and of the equator's
    weights : (rings,) float64 Tensor; quadrature weight of a pixel in each, 4π in all
    cap_rings : rings in the northern cap
    belt_pixels : pixels in each ring of the belt
    shifted : first northern ring of the belt that starts half a pixel off, and every second
        from there; None where all start at φ = 0
    has_equator : whether the last ring is its own mirror image
    """

    theta: Tensor
    weights: Tensor
    cap_rings: int
    belt_pixels: int
    shifted: int | None
    has_equator: bool

    @property
    def rings(self) -> int:
        """Northern rings, with the equator's."""
        return len(self.theta)

    @property
    def cap_pixels(self) -> int:
        """Pixels of the northern cap."""
        return 2 * self.cap_rings * (self.cap_rings + 1)

    @property
    def belt_rings(self) -> int:
        """Rings of the belt, on both sides."""
        return 2 * (self.rings - self.cap_rings) - self.has_equator

    @property
    def pixels(self) -> int:
        """Pixels of the whole sphere."""
        return 2 * self.cap_pixels + self.belt_rings * self.belt_pixels

    def lengths(self) -> Tensor:
        """Pixels of each northern ring: (rings,) int64 Tensor."""
        cap = 4 * torch.arange(1, self.cap_rings + 1)
        return torch.cat((cap, torch.full((self.rings - self.cap_rings,), self.belt_pixels)))

    def offsets(self) -> Tensor:
        """Whether each northern ring starts half a pixel east of φ = 0: (rings,) bool Tensor."""
        belt = torch.arange(self.rings - self.cap_rings) % 2 == (
            -1 if self.shifted is None else self.shifted
        )
        return torch.cat((torch.ones(self.cap_rings, dtype=torch.bool), belt))


@cache
def healpix_rings(nside: int) -> RingGrid:
    """HEALPix in ring ordering (Górski et al. 2005, ApJ 622, 759, eqs. 4 to 9).

    Raises
    ------
    HarmonicError
        Where nside is not a power of two.
    """
    check_nside(nside)
    ring = torch.arange(1, 2 * nside + 1, dtype=torch.float64)
    in_cap = 2 * torch.asin((ring / (6**0.5 * nside)).clamp(max=1.0))
    in_belt = torch.acos((4 - 2 * ring / nside) / 3)
    return RingGrid(
        theta=torch.where(ring < nside, in_cap, in_belt),
        weights=torch.full_like(ring, 4 * torch.pi / (12 * nside**2)),
        cap_rings=nside - 1,
        belt_pixels=4 * nside,
        shifted=0,
        has_equator=True,
    )


@cache
def gauss_legendre_rings(lmax: int) -> RingGrid:
    """lmax + 1 rings at Gauss-Legendre nodes, of 2 lmax + 2 pixels each.

    Quadrature on it is exact for products of two harmonics of degrees up to lmax.
    """
    if lmax < 0:
        raise HarmonicError(f"lmax must be at least 0, got {lmax}")
    theta, weights = gauss_legendre_nodes(lmax + 1)
    north = slice(lmax // 2 + 1)
    pixels = 2 * lmax + 2
    return RingGrid(
        theta=theta[north],
        weights=weights[north] * 2 * torch.pi / pixels,
        cap_rings=0,
        belt_pixels=pixels,
        shifted=None,
        has_equator=lmax % 2 == 0,
    )


def gauss_legendre_nodes(count: int) -> tuple[Tensor, Tensor]:
    """Colatitudes of the zeros of P_n, north to south, and weights in cos θ: float64 Tensors.

    numpy's nodes are good, but its weights near the poles are off by 1e-11 at n = 100 and 1e-8 at
    1,000. They are w = 2 / P'_n(θ)², after a step of Newton's method in θ.
    """
    nodes, _ = np.polynomial.legendre.leggauss(count)
    theta = torch.from_numpy(np.arccos(-nodes))
    value, slope = legendre_polynomial(count, theta)
    theta = theta - value / slope
    _, slope = legendre_polynomial(count, theta)
    return theta, 2 / slope**2


def legendre_polynomial(degree: int, theta: Tensor) -> tuple[Tensor, Tensor]:
    """P_n(cos θ) and its derivative in θ, n (cos θ P_n − P_(n−1)) / sin θ."""
    before, value = wigner_d(degree, 0, 0, theta)[degree - 1 :]
    return value, degree * (torch.cos(theta) * value - before) / torch.sin(theta)


def check_nside(nside: int) -> None:
    """Raise HarmonicError unless nside is a power of two."""
    if isinstance(nside, int) and nside > 0 and nside & (nside - 1) == 0:
        return
    if not isinstance(nside, int) or nside < 1:
        raise HarmonicError(f"nside must be a power of two, got {nside!r}")
    below = 1 << (nside.bit_length() - 1)
    raise HarmonicError(
        f"nside must be a power of two, got {nside}; nearest are {below} and {2 * below}"
    )
