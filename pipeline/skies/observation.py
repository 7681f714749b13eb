"""Shear as a survey measures it: reduced, diluted, biased, noisy, and not everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import healpy as hp
import numpy as np

from equilens.pipeline.skies.sources import SourceSample


@dataclass(frozen=True)
class ObservedShear:
    """Mean shear of the galaxies in each pixel, by redshift bin, in one ordering.

    Attributes
    ----------
    shear : (K, 2, npix) float32, along (e_θ, e_φ); NaN where masked
    counts : (K, npix) float32, galaxies
    weights : (K, npix) float32, 1/variance of either component; 0 where masked
    """

    shear: np.ndarray
    counts: np.ndarray
    weights: np.ndarray

    @property
    def nside(self) -> int:
        return hp.npix2nside(self.counts.shape[-1])

    @property
    def n_bins(self) -> int:
        return len(self.counts)


def observe(
    kappa: np.ndarray,
    shear: np.ndarray,
    members: np.ndarray | None,
    share: np.ndarray,
    sources: SourceSample,
    multiplicative_bias: np.ndarray,
    rng: np.random.Generator,
    reduced: bool = True,
) -> ObservedShear:
    """Measure shear from galaxies.

    Counts are Poisson in the unmasked part of a pixel. The mean ellipticity of a bin's galaxies is
    (1 + m) g/(1 + n) + noise: g = γ/(1 - κ) from the pixel's means of both, n the unlensed cluster
    members per source, and noise of variance σ_ε²/count a component.

    Parameters
    ----------
    kappa : (K, npix)
    shear : (K, 2, npix)
    members : (npix,) n; None for none
    share : (npix,) of each pixel that is observed
    multiplicative_bias : (K,) m
    reduced : whether g is measured, or γ
    """
    area = hp.nside2pixarea(hp.npix2nside(share.size)) * np.degrees(1.0) ** 2 * 3600
    extra = np.ones(share.size, np.float32) if members is None else 1 + members
    out = np.empty((sources.n_bins, 2, share.size), np.float32)
    counts = np.empty((sources.n_bins, share.size), np.float32)
    for k, density in enumerate(sources.galaxies_per_arcmin2_by_bin):
        counts[k] = rng.poisson(density * area * share * extra)
        g = reduced_shear(shear[k], kappa[k]) if reduced else shear[k]
        out[k] = (1 + multiplicative_bias[k]) * g / extra
        seen = counts[k] > 0
        scatter = sources.sigma_e / np.sqrt(counts[k, seen])
        for component in out[k]:
            component[seen] += scatter * rng.standard_normal(scatter.size, dtype=np.float32)
            component[~seen] = np.nan
    return ObservedShear(out, counts, (counts / sources.sigma_e**2).astype(np.float32))


def reduced_shear(shear: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """g = γ/(1 - κ), or 1/g* where that is smaller (Seitz & Schneider 1997, eq. 2.7).

    Parameters
    ----------
    shear : (2, npix)
    kappa : (npix,)
    """
    g = shear / (1 - kappa)
    size = np.sum(g**2, axis=0)
    # 1/g* = g/|g|²
    return g / np.maximum(size, 1.0)
