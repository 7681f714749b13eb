"""Haloes of one realisation: how many, how heavy, and where in the matter of their shell."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import healpy as hp
import numpy as np

from equilens.pipeline.skies import nfw
from equilens.pipeline.skies.cosmology import SPEED_OF_LIGHT_KM_S, Cosmology
from equilens.pipeline.skies.errors import SkyError
from equilens.pipeline.skies.halo_power import smoothing_window
from equilens.pipeline.skies.halo_statistics import HaloStatistics

CONCENTRATION_SCATTER = 0.3
"""Scatter of ln c at fixed mass (Diemer & Joyce 2019 find 0.16 dex)."""
_LARGEST_DENSITY_NSIDE = 256
_SLICES = 8


@dataclass(frozen=True)
class Haloes:
    """Haloes on the sky, each attribute (n,).

    Attributes
    ----------
    theta, phi : colatitude and longitude, radians, of ICRS
    redshift
    m200c_msun : without h
    concentration : r200c/r_s
    """

    theta: np.ndarray
    phi: np.ndarray
    redshift: np.ndarray
    m200c_msun: np.ndarray
    concentration: np.ndarray

    def __len__(self) -> int:
        return self.redshift.size

    def __getitem__(self, rows: np.ndarray | slice) -> Self:
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """All of several."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))

    @classmethod
    def none(cls) -> Self:
        """No halo."""
        return cls(*(np.empty(0) for _ in fields(cls)))

    @property
    def ra_deg(self) -> np.ndarray:
        return np.degrees(self.phi)

    @property
    def dec_deg(self) -> np.ndarray:
        return 90 - np.degrees(self.theta)

    def theta200(self, cosmology: Cosmology) -> np.ndarray:
        """Angle that r200c spans, radians."""
        distance = cosmology.comoving_distance_mpc(self.redshift) / (1 + self.redshift)
        return nfw.radius_200(self.m200c_msun, cosmology.critical_density(self.redshift)) / distance


def draw_haloes(
    statistics: HaloStatistics,
    cosmology: Cosmology,
    z_low: float,
    z_high: float,
    overdensity: np.ndarray | None,
    rng: np.random.Generator,
) -> Haloes:
    """Poisson haloes between two redshifts, where the smooth matter is.

    Parameters
    ----------
    overdensity : smoothed, of `smoothed_overdensity`, RING; None for haloes anywhere
    """
    low = max(z_low, float(statistics.redshift[0]))
    high = min(z_high, float(statistics.redshift[-1]))
    if high <= low:
        return Haloes.none()
    mass, redshift = _masses_and_redshifts(statistics, cosmology, low, high, rng)
    median = statistics.look_up("concentration", mass, redshift)
    scatter = rng.standard_normal(mass.size) * CONCENTRATION_SCATTER
    bias = statistics.look_up("bias", mass, redshift)
    theta, phi = _positions(bias, overdensity, rng)
    return Haloes(theta, phi, redshift, mass, median * np.exp(scatter))


def smoothed_overdensity(overdensity: np.ndarray, distance_mpc: float) -> np.ndarray:
    """A shell's overdensity on the scale that haloes follow, RING, at nside 256 or less."""
    nside = min(hp.get_nside(overdensity), _LARGEST_DENSITY_NSIDE)
    lmax = 3 * nside - 1
    nested = hp.reorder(overdensity, r2n=True)
    coarse = hp.reorder(nested.reshape(hp.nside2npix(nside), -1).mean(axis=1), n2r=True)
    modes = hp.map2alm(coarse, lmax=lmax, iter=0, pol=False)
    window = smoothing_window(np.arange(lmax + 1), distance_mpc)
    return hp.alm2map(hp.almxfl(modes, window), nside, lmax=lmax, pol=False)


def _masses_and_redshifts(
    statistics: HaloStatistics,
    cosmology: Cosmology,
    low: float,
    high: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw from n(M, z) dV on a grid fine enough to be uniform within its cells."""
    edges = np.linspace(low, high, _SLICES + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    volume = 4 * np.pi * cosmology.comoving_distance_mpc(middle) ** 2
    volume *= SPEED_OF_LIGHT_KM_S / cosmology.hubble_km_s_mpc(middle) * np.diff(edges)
    density = np.stack([statistics.row("density", z) for z in middle])
    step = np.diff(statistics.ln_mass)
    expected = volume[:, None] * 0.5 * (density[:, 1:] + density[:, :-1]) * step
    counts = rng.poisson(expected)
    slice_of, mass_of = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
    ln_mass = statistics.ln_mass[mass_of] + rng.random(mass_of.size) * step[mass_of]
    redshift = edges[slice_of] + rng.random(slice_of.size) * (edges[1] - edges[0])
    return np.exp(ln_mass), redshift


def _positions(
    bias: np.ndarray, overdensity: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of density ∝ max(0, 1 + b δ), by rejection."""
    theta, phi = _uniform(bias.size, rng)
    if overdensity is None or not bias.size:
        return theta, phi
    nside, highest = hp.get_nside(overdensity), float(overdensity.max())
    if not np.isfinite(highest):
        raise SkyError("the overdensity of a shell must be finite, got NaN or infinity")
    left = np.arange(bias.size)
    while left.size:
        theta[left], phi[left] = _uniform(left.size, rng)
        there = overdensity[hp.ang2pix(nside, theta[left], phi[left])]
        accepted = (1 + bias[left] * there) > rng.random(left.size) * (1 + bias[left] * highest)
        left = left[~accepted]
    return theta, phi


def _uniform(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return np.arccos(rng.uniform(-1, 1, n)), rng.uniform(0, 2 * np.pi, n)
