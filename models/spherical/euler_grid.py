"""Grids of Euler angles on which integrals over the sphere and SO(3) are exact sums.

α and γ are equidistant; β stands on Gauss-Legendre nodes, where lmax + 1 rings do for degree
lmax, or on the equiangular rings of Driscoll and Healy (1994), 2 (lmax + 1) of them, where most
data are. Either set of rings is its own mirror image, so d^l_mn(π − β) is never tabulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from equilens.models.errors import HarmonicError

RINGS = ("gauss-legendre", "equiangular")


@dataclass(frozen=True)
class EulerGrid:
    """A product grid of n_beta × n_alpha points on S², times n_gamma on SO(3).

    Parameters
    ----------
    n_beta, n_alpha, n_gamma : int
        Rings, points on a ring, angles γ at each point.
    rings : {"gauss-legendre", "equiangular"}
    """

    n_beta: int
    n_alpha: int
    n_gamma: int = 1
    rings: str = "gauss-legendre"

    def __post_init__(self) -> None:
        if self.rings not in RINGS:
            raise HarmonicError(f"rings must be one of {RINGS}, got {self.rings!r}")
        if min(self.n_beta, self.n_alpha, self.n_gamma) < 1:
            raise HarmonicError(f"a grid must have a point on each axis, got {self}")
        if self.rings == "equiangular" and self.n_beta % 2:
            raise HarmonicError(f"equiangular rings must be even in number, got {self.n_beta}")

    @classmethod
    def of_band(
        cls,
        lmax: int,
        n_max: int = 0,
        oversampling: float = 1.0,
        fibre_oversampling: float | None = None,
    ) -> EulerGrid:
        """Return the Gauss-Legendre grid with that many times the points that a band needs.

        With a factor of (p + 1) / 2 the analysis of p-th powers of a field is exact too. γ has a
        factor of its own where it is given.
        """
        along_fibre = oversampling if fibre_oversampling is None else fibre_oversampling
        if min(oversampling, along_fibre) < 1:
            raise HarmonicError(
                f"oversampling must be at least 1, got {min(oversampling, along_fibre):g}"
            )
        return cls(
            _at_least(oversampling * (lmax + 1)),
            _at_least(oversampling * (2 * lmax + 1)),
            _at_least(along_fibre * (2 * n_max + 1)),
        )

    @property
    def lmax(self) -> int:
        """Highest degree that analysis on this grid recovers exactly."""
        per_ring = (self.n_alpha - 1) // 2
        return min(per_ring, self.n_beta // (1 if self.rings == "gauss-legendre" else 2) - 1)

    @property
    def n_max(self) -> int:
        """Highest frequency in γ that it recovers exactly."""
        return (self.n_gamma - 1) // 2

    def require(self, lmax: int, n_max: int = 0) -> None:
        """Raise HarmonicError where the grid is too coarse for a band."""
        if lmax > self.lmax or n_max > self.n_max:
            raise HarmonicError(
                f"degrees up to {lmax} and orders n up to {n_max} need more points than {self} "
                f"has, which recovers {self.lmax} and {self.n_max}; see EulerGrid.of_band"
            )

    def beta(self) -> Tensor:
        """Return the colatitudes of the rings, radians, north to south, float64."""
        return torch.tensor(_rings(self.rings, self.n_beta)[0], dtype=torch.float64)

    def ring_weights(self) -> Tensor:
        """Return weights of ∫ … sin β dβ, float64; they add to 2."""
        return torch.tensor(_rings(self.rings, self.n_beta)[1], dtype=torch.float64)

    def alpha(self) -> Tensor:
        """Return the longitudes, radians, from 0, float64."""
        return _turn(self.n_alpha)

    def gamma(self) -> Tensor:
        """Return the angles γ, radians, from 0, float64."""
        return _turn(self.n_gamma)


def _at_least(points: float) -> int:
    return math.ceil(points - 1e-9)


def _turn(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float64) * (2 * torch.pi / n)


@lru_cache(maxsize=256)
def _rings(kind: str, n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if kind == "gauss-legendre":
        nodes, weights = np.polynomial.legendre.leggauss(n)
        beta, weights = np.arccos(nodes[::-1]), weights[::-1]
    else:
        # Driscoll & Healy 1994, shifted by half a step as in Kostelec & Rockmore 2008, eq. 17
        beta = np.pi * (np.arange(n) + 0.5) / n
        odd = 2 * np.arange(n // 2) + 1
        weights = 4 / n * np.sin(beta) * (np.sin(np.outer(beta, odd)) / odd).sum(axis=1)
    # symmetric to the last bit, so that rings can be swapped
    return tuple((beta + np.pi - beta[::-1]) / 2), tuple((weights + weights[::-1]) / 2)
