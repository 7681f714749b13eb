"""The galaxies whose shapes are measured: how many, how far, in which redshift bins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from equilens.pipeline.skies.cosmology import Cosmology
from equilens.pipeline.skies.errors import SkyError

MAX_BINS = 10


@dataclass(frozen=True)
class SourceSample:
    """Source galaxies with n(z) ∝ z^α exp(-(z/z0)^β) (Smail et al. 1994) in K equal bins.

    Attributes
    ----------
    survey : name of the survey that it is like
    galaxies_per_arcmin2 : of all bins together
    z0, alpha, beta : of n(z)
    z_max : where n(z) is cut; nothing beyond it is simulated
    n_bins : redshift bins with an equal number of galaxies each and sharp edges
    sigma_e : scatter of one ellipticity component of a galaxy
    """

    survey: str
    galaxies_per_arcmin2: float
    z0: float
    alpha: float
    beta: float
    z_max: float
    n_bins: int = 2
    sigma_e: float = 0.26

    def __post_init__(self) -> None:
        if not 1 <= self.n_bins <= MAX_BINS:
            raise SkyError(f"bins must lie in 1..{MAX_BINS}, got {self.n_bins}")
        if not 0 < self.galaxies_per_arcmin2 < 1000:
            raise SkyError(
                f"galaxies per arcmin² must lie in 0..1000, got {self.galaxies_per_arcmin2}"
            )
        if not 0 < self.sigma_e < 1:
            raise SkyError(f"sigma_e must lie in 0..1, got {self.sigma_e}")

    @cached_property
    def redshift(self) -> np.ndarray:
        """Grid of redshifts, (n_z,)."""
        return np.linspace(0.0, self.z_max, 2001)

    @cached_property
    def bin_edges(self) -> np.ndarray:
        """Redshifts between the bins, (K + 1,)."""
        share = np.linspace(0, 1, self.n_bins + 1)
        return np.interp(share, self._cumulative / self._cumulative[-1], self.redshift)

    @cached_property
    def n_of_z(self) -> np.ndarray:
        """n(z) of each bin, integral 1, (K, n_z)."""
        inside = self.redshift >= self.bin_edges[:-1, None]
        inside &= self.redshift <= self.bin_edges[1:, None]
        density = np.where(inside, self._smail, 0.0)
        return density / np.trapezoid(density, self.redshift, axis=1)[:, None]

    @property
    def mean_redshift(self) -> np.ndarray:
        """Of each bin, (K,)."""
        return np.trapezoid(self.n_of_z * self.redshift, self.redshift, axis=1)

    @property
    def galaxies_per_arcmin2_by_bin(self) -> np.ndarray:
        """(K,)."""
        return np.full(self.n_bins, self.galaxies_per_arcmin2 / self.n_bins)

    def shares(self, edges: np.ndarray) -> np.ndarray:
        """Share of each bin's galaxies between consecutive redshifts, (K, n_edges - 1)."""
        step = np.diff(self.redshift)
        between = 0.5 * (self.n_of_z[:, 1:] + self.n_of_z[:, :-1]) * step
        cumulative = np.concatenate([np.zeros((self.n_bins, 1)), between.cumsum(1)], axis=1)
        at_edges = np.stack([np.interp(edges, self.redshift, row) for row in cumulative])
        return np.diff(at_edges, axis=1)

    def lensing_efficiency(self, cosmology: Cosmology, redshift: np.ndarray) -> np.ndarray:
        """Mean of D_ls/D_s over each bin's galaxies, 0 for those in front, (K, n).

        Parameters
        ----------
        redshift : (n,) of the lenses
        """
        grid = np.linspace(0, self.z_max, 401)
        lens = cosmology.comoving_distance_mpc(grid)[:, None]
        source = np.maximum(cosmology.comoving_distance_mpc(self.redshift), 1e-6)
        ratio = np.maximum(0, 1 - lens / source)
        mean = np.trapezoid(self.n_of_z[:, None, :] * ratio, self.redshift, axis=2)
        return np.stack([np.interp(redshift, grid, row, right=0.0) for row in mean])

    @property
    def _smail(self) -> np.ndarray:
        z = self.redshift
        return z**self.alpha * np.exp(-((z / self.z0) ** self.beta))

    @cached_property
    def _cumulative(self) -> np.ndarray:
        between = 0.5 * (self._smail[1:] + self._smail[:-1])
        return np.concatenate([[0.0], between.cumsum()])


# Euclid: arXiv:1110.3193, median redshift 0.9; DES year 3: arXiv:2105.13543, median about 0.6
_SURVEYS = {
    "euclid": SourceSample("euclid", 30.0, 0.9 / 2**0.5, 2.0, 1.5, 2.5),
    "des": SourceSample("des", 5.6, 0.6 / 2**0.5, 2.0, 1.5, 1.8),
}
SOURCE_SURVEYS = tuple(_SURVEYS)


def source_sample(
    survey: str, n_bins: int = 2, galaxies_per_arcmin2: float | None = None
) -> SourceSample:
    """Sources like a survey's.

    Raises
    ------
    SkyError
        An unknown survey, or numbers out of range.
    """
    if survey not in _SURVEYS:
        raise SkyError(f"survey must be one of {SOURCE_SURVEYS}, got {survey!r}")
    like = _SURVEYS[survey]
    density = like.galaxies_per_arcmin2 if galaxies_per_arcmin2 is None else galaxies_per_arcmin2
    return SourceSample(
        survey, density, like.z0, like.alpha, like.beta, like.z_max, n_bins, like.sigma_e
    )
