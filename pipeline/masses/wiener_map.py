"""Mass map of the Wiener filter: mean over the galaxies' bins, and its standard deviation."""

from __future__ import annotations

import numpy as np

from equilens.pipeline.masses.harmonics import Floats, gaussian_window
from equilens.pipeline.masses.kaiser_squires import MassMap
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.shear import ShearMaps
from equilens.pipeline.masses.wiener import DEFAULT_TOLERANCE, WienerFilter

_DEPTHS = np.concatenate([[0.0], np.geomspace(1e-4, 1e4, 161)])


def wiener_filter(
    maps: ShearMaps,
    prior: ConvergencePrior,
    *,
    lmax: int | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    n_realisations: int = 0,
    seed: int = 0,
) -> MassMap:
    """Convergence of the mean galaxy given the shear.

    Parameters
    ----------
    prior : power of each pair of bins
    lmax : highest degree solved for; ``3 nside - 1``, or the prior's, by default. What the prior
        has beyond it is added to the variance
    tolerance : relative residual of the solver
    n_realisations : simulated skies that correct the analytic variance, each as dear as the map
    seed : of the realisations
    """
    solver = WienerFilter(maps, prior, lmax=lmax, tolerance=tolerance)
    kappa = solver.harmonics.scalar(maps.shares @ solver.solve(maps.shear).kappa)
    variance = local_variance(solver, maps.shares)
    if n_realisations:
        variance *= variance_correction(solver, maps.shares, variance, n_realisations, seed)
    modes = (2 * np.arange(prior.lmax + 1) + 1) / (4 * np.pi)
    unsolved = (modes * prior.of_mean(maps.shares))[solver.harmonics.lmax + 1 :].sum()
    return MassMap(kappa, np.sqrt(variance + unsolved), "wiener")


def local_variance(solver: WienerFilter, shares: Floats) -> Floats:
    """Posterior variance (n_pixels,) as if the sky had everywhere the depth found around a pixel.

    Exact on a sky of even depth without a mask: Σ_l (2l+1)/4π aᵀ (C_l⁻¹ + Rᵀ W R)⁻¹ a.
    """
    by_depth = np.array([_even_variance(solver, shares, depth) for depth in _DEPTHS])
    total = solver.weight.sum(axis=0, dtype=np.float64)
    ell = _resolved_degree(solver, shares)
    window = gaussian_window(180 * 60 / ell, solver.harmonics.lmax)
    around = np.maximum(solver.harmonics.smooth(total / total.mean(), window), 0.0)
    return np.interp(around, _DEPTHS, by_depth)


def variance_correction(
    solver: WienerFilter, shares: Floats, variance: Floats, n: int, seed: int
) -> Floats:
    """Mean squared error of simulated reconstructions over `variance`, smoothed, (n_pixels,).

    The error of a reconstruction does not depend on the data (Hoffman & Ribak 1991, ApJ 380, L5),
    so skies drawn from the prior show it.
    """
    rng = np.random.default_rng(seed)
    squared = np.zeros_like(variance)
    for _ in range(n):
        kappa, shear = solver.draw_sky(rng)
        error = solver.harmonics.scalar(shares @ (solver.solve(shear).kappa - kappa))
        squared += error**2 / n
    pixels = np.sqrt(solver.harmonics.pixel_area)
    window = gaussian_window(float(np.degrees(8 * pixels) * 60), solver.harmonics.lmax)
    return np.maximum(solver.harmonics.smooth(squared / variance, window), 0.05)


def _even_variance(solver: WienerFilter, shares: Floats, depth: float) -> float:
    posterior = solver.root @ np.linalg.inv(solver.information(depth)) @ solver.root
    modes = 2 * np.arange(len(posterior)) + 1
    return float((modes * np.einsum("k,lkj,j->l", shares, posterior, shares)).sum() / (4 * np.pi))


def _resolved_degree(solver: WienerFilter, shares: Floats) -> float:
    """Degree up to which the posterior is narrower than half the prior's variance."""
    covered = (solver.weight.sum(axis=0) > 0).mean()
    posterior = solver.root @ np.linalg.inv(solver.information(1 / covered)) @ solver.root
    after = np.einsum("k,lkj,j->l", shares, posterior, shares)
    before = np.einsum("k,lkj,j->l", shares, solver.spectra, shares)
    return float(max(8, (after < before / 2).sum()))
