"""A mass map against the true convergence: correlation by degree, error, and stated variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.masses.errors import SkyEvaluationError
from equilens.pipeline.masses.harmonics import Floats, Harmonics
from equilens.pipeline.masses.kaiser_squires import MassMap

N_BANDS = 12
LOWEST_DEGREE = 10


@dataclass(frozen=True, eq=False)
class MapQuality:
    """Figures of one map of one sky, over the pixels compared.

    Attributes
    ----------
    correlation : (bands,) r_l, NaN in a band without power
    mse : mean squared error of κ
    truth_variance : mean square of the true κ about its mean: the error of a map of nothing
    chi_squared : mean of the squared error over its stated variance; 1 where that is right
    within_1_sigma, within_2_sigma : share of pixels; 0.683 and 0.954 for Gaussian errors
    n_pixels : compared
    """

    correlation: Floats
    mse: float
    truth_variance: float
    chi_squared: float
    within_1_sigma: float
    within_2_sigma: float
    n_pixels: int


def band_edges(lmax: int, n_bands: int = N_BANDS) -> NDArray[np.int64]:
    """Limits of bands of degrees, about equally wide in ln l; each holds its lower limit."""
    edges = np.geomspace(min(LOWEST_DEGREE, lmax // 2), lmax + 1, n_bands + 1)
    return np.unique(np.round(edges).astype(np.int64))


def map_quality(
    mass: MassMap, truth: Floats, compared: NDArray[np.bool_], edges: Sequence[int]
) -> MapQuality:
    """Compare a map with the truth where both are known.

    ``r_l = C_l^{κ̂κ} / sqrt(C_l^{κ̂κ̂} C_l^{κκ})`` of the two maps cut by the same mask, each about
    its mean there, the spectra summed over the (2l+1) modes of each degree in a band.

    Parameters
    ----------
    truth : (n_pixels,) true convergence, RING
    compared : (n_pixels,) the pixels that count
    edges : limits of the bands of degrees

    Raises
    ------
    SkyEvaluationError
        The maps differ in size, no pixel counts, or map or truth are not finite in one that does.
    """
    if not mass.kappa.shape == mass.sigma.shape == truth.shape == compared.shape:
        raise SkyEvaluationError(
            "map, truth and mask must be of one nside, got "
            f"{mass.kappa.shape}, {truth.shape} and {compared.shape} pixels"
        )
    if not compared.any():
        raise SkyEvaluationError("every pixel is masked: there is nothing to compare")
    estimate, true, sigma = (m[compared] for m in (mass.kappa, truth, mass.sigma))
    if not (np.isfinite(estimate) & np.isfinite(true) & (sigma > 0)).all():
        raise SkyEvaluationError(
            "map and truth must be finite and sigma above 0 in every pixel compared: mask the rest"
        )
    error, normalised = estimate - true, np.abs(estimate - true) / sigma
    return MapQuality(
        correlation=band_correlation(mass.kappa, truth, compared, edges),
        mse=float(np.mean(error**2)),
        truth_variance=float(true.var()),
        chi_squared=float(np.mean(normalised**2)),
        within_1_sigma=float(np.mean(normalised < 1)),
        within_2_sigma=float(np.mean(normalised < 2)),
        n_pixels=int(compared.sum()),
    )


def band_correlation(
    first: Floats, second: Floats, compared: NDArray[np.bool_], edges: Sequence[int]
) -> Floats:
    """Correlation of two maps in bands of degrees, (len(edges) - 1,)."""
    harmonics = Harmonics(hp.npix2nside(len(first)), int(edges[-1]) - 1)
    alm = [
        harmonics.scalar_analysis(np.where(compared, m - m[compared].mean(), 0.0), iterations=1)
        for m in (first, second)
    ]
    lmax = harmonics.lmax
    pairs = ((alm[0], alm[1]), (alm[0], alm[0]), (alm[1], alm[1]))
    modes = 2 * np.arange(lmax + 1) + 1
    cross, auto, other = (
        np.add.reduceat((modes * hp.alm2cl(a, b, lmax=lmax))[: int(edges[-1])], edges[:-1])
        for a, b in pairs
    )
    power = np.sqrt(auto * other)
    return np.divide(cross, power, out=np.full(len(power), np.nan), where=power > 0)
