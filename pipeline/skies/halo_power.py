"""The power that painted haloes bring, and what of it to take out of the smooth matter.

Haloes of mass M are Poisson points of density n(M)(1 + b(M) δ_R), where δ_R is the smooth matter
δ_s of their shell, smoothed over R. With ũ the transform of their profile, matter then has

    P = P_s (1 + B)² + P_1h,    P_1h = ∫ dM n (M ũ/ρ_m)²,    B = ∫ dM n b (M ũ/ρ_m) W_R

(the halo model's terms; Cooray & Sheth 2002, arXiv:astro-ph/0206508, eqs. 84-86). So the smooth
field is drawn with P_s = (P - P_1h)/(1 + B)², P being halofit's: nothing is counted twice. Where
P_1h exceeds P, which it may because halofit is no halo model of the same haloes, a small share of P
is left. All of it per shell, in Limber's approximation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from equilens.pipeline.skies import nfw
from equilens.pipeline.skies.halo_statistics import HaloStatistics
from equilens.pipeline.skies.shells import Shells
from equilens.pipeline.skies.spectra import multipoles

SMOOTHING_MPC = 8.0
"""R: comoving scale on which haloes follow the smooth matter, Gaussian."""
SMALLEST_SHARE = 0.05
"""Of the power of matter that the smooth field keeps at any degree."""
_SLICES = 4


@dataclass(frozen=True)
class HaloPower:
    """What haloes bring to the overdensity of each shell, (n_shells, lmax + 1).

    Attributes
    ----------
    one_halo : angular power C_1h
    response : B, overdensity in haloes per smooth overdensity
    """

    one_halo: np.ndarray
    response: np.ndarray


def halo_power(shells: Shells, haloes: HaloStatistics, lmax: int) -> HaloPower:
    """Both terms for every shell; 0 in shells without haloes."""
    sampled = multipoles(lmax) + 0.5
    ell = np.log(np.arange(lmax + 1) + 0.5)
    one_halo, response = np.zeros((2, shells.n_shells, lmax + 1))
    first, last = shells.cosmology.comoving_distance_mpc(haloes.redshift[[0, -1]])
    for i, (low, high) in enumerate(pairwise(shells.edges_mpc)):
        start, stop = max(low, first), min(high, last)
        if stop <= start:
            continue
        distances = start + (np.arange(_SLICES) + 0.5) / _SLICES * (stop - start)
        terms = [_terms(shells, haloes, distance, sampled) for distance in distances]
        # the window of the shell is 1/(high - low), along the part of it that has haloes
        share = (stop - start) / (high - low) / _SLICES
        power = sum(power / d**2 for d, (power, _) in zip(distances, terms, strict=True))
        one_halo[i] = np.interp(ell, np.log(sampled), power * share / (high - low))
        mean = sum(response for _, response in terms)
        response[i] = np.interp(ell, np.log(sampled), mean * share)
    return HaloPower(one_halo, response)


def without_haloes(spectra: np.ndarray, haloes: HaloPower) -> np.ndarray:
    """Spectra of the smooth matter, of which haloes are to be drawn.

    Parameters
    ----------
    spectra : (n, n_correlated + 1, lmax + 1), of all matter, as `shell_spectra` gives
    """
    smooth = np.zeros_like(spectra)
    left = np.maximum(spectra[:, 0] - haloes.one_halo, SMALLEST_SHARE * spectra[:, 0])
    smooth[:, 0] = left / (1 + haloes.response) ** 2
    for d in range(1, spectra.shape[1]):
        both = (1 + haloes.response[d:]) * (1 + haloes.response[:-d])
        smooth[d:, d] = spectra[d:, d] / both
    return smooth


def smoothing_window(ell: np.ndarray, distance_mpc: float) -> np.ndarray:
    """W_R(ℓ) at a comoving distance, a Gaussian."""
    return np.exp(-0.5 * ((np.asarray(ell) + 0.5) / distance_mpc * SMOOTHING_MPC) ** 2)


def _terms(
    shells: Shells, haloes: HaloStatistics, distance: float, sampled: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """P_1h in Mpc³ and B at one distance, for the degrees ℓ + ½ in `sampled`."""
    cosmology = shells.cosmology
    redshift = float(cosmology.redshift_at(distance))
    concentration = haloes.row("concentration", redshift)
    radius = nfw.radius_200(haloes.mass, cosmology.critical_density(redshift)) * (1 + redshift)
    wavenumber = sampled[:, None] / distance
    transform = nfw.mass_unit(haloes.mass, concentration) * nfw.fourier_mass(
        wavenumber * radius / concentration, nfw.truncation(concentration)
    )
    share = transform / cosmology.matter_density
    density = haloes.row("density", redshift)
    one_halo = np.trapezoid(density * share**2, haloes.ln_mass, axis=1)
    biased = density * haloes.row("bias", redshift) * share
    window = smoothing_window(sampled - 0.5, distance)
    return one_halo, np.trapezoid(biased, haloes.ln_mass, axis=1) * window
