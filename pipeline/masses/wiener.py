"""Mask-aware Wiener filter of shear in redshift bins: the mean of κ given the data, and its spread.

Data d = R κ + n, with R from κ_lm of each bin to shear maps, prior covariance C_l between the bins,
and noise that is independent from pixel to pixel, its inverse variance W zero where masked. The
mean ``κ̂ = (C⁻¹ + Rᵀ W R)⁻¹ Rᵀ W d`` (Wiener 1949; Zaroubi et al. 1995, ApJ 449, 446, eq. 8) is
found by conjugate gradients for x = L⁻¹ κ with C = L Lᵀ, so that a degree without power needs no
inverse. On a Gaussian sky no estimate has a smaller mean squared error.

Five sets of alm and one bin's shear are in memory at a time: with 2 bins at nside 2048 and lmax
6143, 3.0 GB and 0.8 GB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equilens.pipeline.masses.errors import WienerError
from equilens.pipeline.masses.harmonics import (
    Alm,
    Floats,
    Harmonics,
    alm_dot,
    degrees,
)
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.shear import ShearMaps, gaussian_noise
from equilens.pipeline.skies.shear_maps import shear_factor

DEFAULT_TOLERANCE = 1e-5
MOST_ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class WienerSolution:
    """Posterior mean.

    Attributes
    ----------
    kappa : (K, n_alm) of each bin
    iterations : of the conjugate gradients
    residual : of the equation solved, relative to its right-hand side, in the preconditioner's norm
    """

    kappa: Alm
    iterations: int
    residual: float


class WienerFilter:
    """The filter of one sky's weights, ready for any shear with that noise.

    Parameters
    ----------
    maps : whose weights it is for
    prior : of the same bins
    lmax : highest degree that is solved for; ``3 nside - 1``, or the prior's, by default
    tolerance : relative residual at which the solution counts as found
    threads : of the transforms
    """

    def __init__(
        self,
        maps: ShearMaps,
        prior: ConvergencePrior,
        *,
        lmax: int | None = None,
        tolerance: float = DEFAULT_TOLERANCE,
        threads: int = 1,
    ) -> None:
        if not 0 < tolerance < 1:
            raise WienerError(f"tolerance must lie between 0 and 1, got {tolerance}")
        highest = min(3 * maps.nside - 1, prior.lmax) if lmax is None else lmax
        self.harmonics = Harmonics(maps.nside, highest, threads)
        self.weight, self.tolerance = maps.weight, tolerance
        self.spectra = prior.to(self.harmonics.lmax, maps.n_bins)
        self.root = _matrix_root(self.spectra)
        self._preconditioner = np.asarray(np.linalg.inv(self.information(1.0)), np.float64)

    def information(self, depth: float) -> Floats:
        """``1 + Lᵀ Rᵀ W R L`` of each degree for a sky without a mask, (lmax+1, K, K).

        Parameters
        ----------
        depth : weight of the sky in units of its mean over all pixels
        """
        mean = self.weight.mean(axis=1, dtype=np.float64)
        per_mode = mean * depth / self.harmonics.pixel_area
        response = shear_factor(self.harmonics.lmax) ** 2
        seen = np.einsum("l,lkj,k,lki->lji", response, self.root, per_mode, self.root)
        return np.eye(len(self.weight)) + seen

    def solve(self, shear: Floats) -> WienerSolution:
        """Posterior mean given shear (K, 2, n_pixels).

        Raises
        ------
        WienerError
            The tolerance is not reached.
        """
        residual = self._mix(self._seen(shear), transpose=True)
        x, direction = np.zeros_like(residual), self._precondition(residual)
        old = whole = self._dot(residual, direction)
        iterations = 0
        while old > self.tolerance**2 * whole and iterations < MOST_ITERATIONS:
            applied = self._apply(direction)
            step = old / self._dot(direction, applied)
            _add(x, step, direction)
            _add(residual, -step, applied)
            del applied
            conditioned = self._precondition(residual)
            new = self._dot(residual, conditioned)
            direction *= new / old
            direction += conditioned
            del conditioned
            old = new
            iterations += 1
        relative = float(np.sqrt(old / whole)) if whole > 0 else 0.0
        if relative > self.tolerance:
            raise WienerError(
                f"the Wiener filter must reach a residual of {self.tolerance:g}, got "
                f"{relative:.2g} after {iterations} iterations: give a larger tolerance or a "
                "smaller lmax"
            )
        return WienerSolution(self._mix(x), iterations, relative)

    def draw_sky(self, rng: np.random.Generator) -> tuple[Alm, Floats]:
        """Convergence from the prior and shear data of it, as this filter expects both."""
        kappa = self._mix(np.stack([self._white(rng) for _ in self.weight]))
        shear = np.stack([self.harmonics.shear_from_kappa(one) for one in kappa])
        observed = (self.weight > 0)[:, None]
        return kappa, shear * observed + gaussian_noise(self.weight, rng)

    def _apply(self, x: Alm) -> Alm:
        mixed = self._mix(x)
        for k, one in enumerate(mixed):
            mixed[k] = self._seen_again(k, one)
        mixed = self._mix(mixed, transpose=True)
        mixed += x
        return mixed

    def _seen_again(self, k: int, kappa: Alm) -> Alm:
        """Rᵀ W R of one bin's κ."""
        shear = self.harmonics.shear_from_kappa(kappa)
        shear *= self.weight[k]
        return self.harmonics.kappa_adjoint(shear)

    def _seen(self, shear: Floats) -> Alm:
        """Rᵀ W of shear (K, 2, n_pixels)."""
        weighed = (
            np.multiply(*pair, dtype=np.float64) for pair in zip(self.weight, shear, strict=True)
        )
        return np.stack([self.harmonics.kappa_adjoint(one) for one in weighed])

    def _mix(self, alm: Alm, transpose: bool = False) -> Alm:
        return _by_degree(self.root.swapaxes(1, 2) if transpose else self.root, alm)

    def _precondition(self, alm: Alm) -> Alm:
        return _by_degree(self._preconditioner, alm)

    def _dot(self, a: Alm, b: Alm) -> float:
        return alm_dot(a, b, self.harmonics.lmax)

    def _white(self, rng: np.random.Generator) -> Alm:
        size = len(degrees(self.harmonics.lmax))
        alm = (rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2)
        zonal = slice(0, self.harmonics.lmax + 1)
        alm[zonal] = np.sqrt(2) * alm[zonal].real
        return alm


def _add(total: Alm, factor: float, term: Alm) -> None:
    """``total += factor * term``, bin by bin."""
    for k, one in enumerate(term):
        total[k] += factor * one


def _by_degree(matrices: Floats, alm: Alm) -> Alm:
    """Matrices (lmax+1, K, K) on the bins of alm (K, n_alm), degree by degree."""
    ell = degrees(len(matrices) - 1)
    mixed = np.zeros_like(alm)
    for k in range(len(alm)):
        for j in range(len(alm)):
            mixed[k] += matrices[ell, k, j] * alm[j]
    return mixed


def _matrix_root(spectra: Floats) -> Floats:
    """Symmetric L with L L = C at each degree."""
    values, vectors = np.linalg.eigh(spectra)
    return np.einsum("lki,li,lji->lkj", vectors, np.sqrt(np.maximum(values, 0)), vectors)
