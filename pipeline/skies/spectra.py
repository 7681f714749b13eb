"""Angular power spectra of the shells' overdensity, from CAMB's P(k, z), and of convergence.

Between two shells i and j of uniform weight, distance χ and thickness Δ, in the flat-sky limit
without Limber's (compare Gao, Raccanelli & Vlah 2023, arXiv:2307.13768, eq. 3.4):

    C_ij(ℓ) = 1/(π χ_i χ_j) ∫_0^∞ dk∥ P(√(k∥² + k⊥²)) sinc(k∥Δ_i/2) sinc(k∥Δ_j/2) cos(k∥(χ_i - χ_j))

with k⊥ = (ℓ + ½)/√(χ_i χ_j) and sinc(x) = sin(x)/x. P between two redshifts is the geometric
mean. Limber's formula is the limit ℓ Δ/χ ≫ 1; what it gains by letting χ vary across a shell is
put back as a factor, which matters in the nearest two shells only.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from equilens.pipeline.skies.matter_power import MatterPower
from equilens.pipeline.skies.shells import Shells

N_CORRELATED = 2
"""Shells behind which one still correlates with another; beyond, 400 Mpc apart, below 1e-3."""
_PERIODS, _STEPS = 64, 32


def multipoles(lmax: int) -> np.ndarray:
    """The degrees that are computed, all others being interpolated: dense where spectra bend."""
    first = np.arange(min(16, lmax + 1))
    rest = np.unique(np.geomspace(min(16, lmax), lmax, 96).round().astype(int))
    return np.union1d(first, rest)


def shell_spectra(
    shells: Shells, power: MatterPower, lmax: int, n_correlated: int = N_CORRELATED
) -> np.ndarray:
    """C_ℓ of the shells' overdensity, (n, n_correlated + 1, lmax + 1).

    Entry [i, d] is the spectrum between shells i and i - d; 0 where there is no shell i - d.
    """
    sampled = multipoles(lmax)
    out = np.zeros((shells.n_shells, n_correlated + 1, lmax + 1))
    factors = _distance_factor(shells, power, sampled)
    autos = np.empty((shells.n_shells, sampled.size))
    ell = np.log(np.arange(lmax + 1) + 0.5)
    for i in range(shells.n_shells):
        autos[i] = _flat_sky(shells, power, i, i, sampled) * factors[i]
        out[i, 0] = np.exp(np.interp(ell, np.log(sampled + 0.5), np.log(autos[i])))
        for d in range(1, min(n_correlated, i) + 1):
            j = i - d
            cross = _flat_sky(shells, power, i, j, sampled) * np.sqrt(factors[i] * factors[j])
            # the correlation is smooth and keeps the matrix positive where both are interpolated
            correlation = cross / np.sqrt(autos[i] * autos[j])
            between = np.interp(ell, np.log(sampled + 0.5), correlation)
            out[i, d] = between * np.sqrt(out[i, 0] * out[j, 0])
    return out


def convergence_spectra(spectra: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """C_ℓ of the convergence between bins of sources, (K, K, lmax + 1).

    Parameters
    ----------
    spectra : (n, n_correlated + 1, lmax + 1) of `shell_spectra`
    weights : (K, n) of `Shells.lensing_weights`
    """
    total = np.einsum("ai,bi,il->abl", weights, weights, spectra[:, 0])
    for d in range(1, spectra.shape[1]):
        cross = np.einsum("ai,bi,il->abl", weights[:, d:], weights[:, :-d], spectra[d:, d])
        total += cross + cross.swapaxes(0, 1)
    return total


def _flat_sky(
    shells: Shells, power: MatterPower, i: int, j: int, sampled: np.ndarray
) -> np.ndarray:
    first, second = shells.thickness_mpc[i], shells.thickness_mpc[j]
    near, far = shells.middle_mpc[j], shells.middle_mpc[i]
    shortest = 2 * np.pi / max(first, second, far - near)
    along = (np.arange(_PERIODS * _STEPS) + 0.5) * shortest / _STEPS
    window = np.sinc(along * first / 2 / np.pi) * np.sinc(along * second / 2 / np.pi)
    window *= np.cos(along * (far - near))
    across = (sampled + 0.5) / np.sqrt(near * far)
    wavenumber = np.hypot(along, across[:, None])
    both = power.at(shells.redshift[i], wavenumber)
    if i != j:
        both = np.sqrt(both * power.at(shells.redshift[j], wavenumber))
    return (both * window).sum(1) * (along[1] - along[0]) / (np.pi * near * far)


def _distance_factor(shells: Shells, power: MatterPower, sampled: np.ndarray) -> np.ndarray:
    """Limber's integral across each shell over its value for the middle, (n, n_sampled)."""
    factors = np.empty((shells.n_shells, sampled.size))
    for i, (low, high) in enumerate(pairwise(shells.edges_mpc)):
        distance = low + (np.arange(64) + 0.5) / 64 * (high - low)
        redshift = shells.cosmology.redshift_at(distance)
        across = (sampled + 0.5)[:, None] / distance
        varying = [power.at(z, across[:, n]) / distance[n] ** 2 for n, z in enumerate(redshift)]
        middle = shells.middle_mpc[i]
        fixed = power.at(shells.redshift[i], (sampled + 0.5) / middle) / middle**2
        factors[i] = np.mean(varying, axis=0) / fixed
    return factors
