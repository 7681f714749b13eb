"""Populations of deflectors, sources and neighbours: who is out there, before any pixel.

All draws are numpy arrays over objects. Every object, lens or not, is a draw from the same
population of central galaxies, so that brightness, size, colour and surroundings do not give the
label away; a class decides only what is built from the draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from equilens.pipeline.simulation.conditions import SurveyConditions
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.seds import (
    apparent_magnitude,
    arcsec_per_kpc,
    einstein_radius_arcsec,
)

_MAX_DRAWS = 200
_COUNTS_SLOPE = 0.32  # dex a magnitude of the faint galaxy counts
_GALAXIES_PER_ARCMIN2_AT_25 = 35.0


@dataclass(frozen=True)
class Galaxies:
    """Central galaxies: all (n,) arrays.

    einstein_radius in arcsec (what a source at z_source would see), mag AB total in the detection
    band, radius the half-light radius in arcsec, youth as in `seds`.
    """

    z_lens: NDArray
    z_source: NDArray
    einstein_radius: NDArray
    mag: NDArray
    radius: NDArray
    youth: NDArray

    def __len__(self) -> int:
        return len(self.mag)

    def take(self, index: NDArray | slice) -> Galaxies:
        """Return the galaxies at `index`."""
        return Galaxies(**{name: value[index] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Neighbours:
    """Field galaxies and stars: (K,) arrays; positions in arcsec, `owner` the cutout's row."""

    owner: NDArray
    x: NDArray
    y: NDArray
    mag: NDArray
    radius: NDArray
    redshift: NDArray
    youth: NDArray


def draw_galaxies(
    rng: np.random.Generator,
    n: int,
    conditions: SurveyConditions,
    box_nm: tuple[float, float],
    mag_limit: float,
    psf_fwhm_arcsec: float,
) -> Galaxies:
    """Draw deflectors that the survey would target: bright enough, with θ_E in the kept range.

    Parameters
    ----------
    box_nm : centre and width of the band that magnitudes refer to
    mag_limit : faintest total magnitude kept
    psf_fwhm_arcsec : of the same band; smaller splittings are not kept
    """
    kept: list[Galaxies] = []
    missing = n
    low, high = conditions.radius_range(psf_fwhm_arcsec)
    if conditions.einstein_radius_quantiles:
        low, high = 0.0, np.inf
    for _ in range(_MAX_DRAWS):
        batch = _propose(rng, max(2 * missing, 64), conditions, box_nm)
        inside = (batch.einstein_radius > low) & (batch.einstein_radius < high)
        accepted = batch.take(np.flatnonzero(inside & (batch.mag < mag_limit))[:missing])
        kept.append(accepted)
        missing -= len(accepted)
        if not missing:
            names = vars(kept[0])
            return Galaxies(**{k: np.concatenate([vars(g)[k] for g in kept]) for k in names})
    raise SimulationError(
        f"the population has hardly a deflector brighter than mag {mag_limit:.1f} with an Einstein "
        f"radius in {low:.2f} to {high:.2f} arcsec; widen the range or deepen the limit"
    )


def _propose(
    rng: np.random.Generator, n: int, conditions: SurveyConditions, box_nm: tuple[float, float]
) -> Galaxies:
    z_lens = np.clip(0.1 + rng.gamma(*conditions.lens_redshift_gamma, n), 0.1, 1.8)
    z_source = np.clip(z_lens + 0.25 + rng.gamma(2.0, 0.55, n), None, 5.0)
    if conditions.einstein_radius_quantiles:
        probability, radius = np.array(conditions.einstein_radius_quantiles).T
        theta = np.exp(np.interp(rng.random(n), probability, np.log(radius)))
        unit = einstein_radius_arcsec(np.ones(n), z_lens, z_source)
        dispersion = np.sqrt(theta / unit)
    else:
        dispersion = np.clip(rng.normal(225.0, 55.0, n), 100.0, 420.0)
        theta = einstein_radius_arcsec(dispersion, z_lens, z_source)
    youth = np.clip(rng.beta(1.2, 9.0, n), 0, 0.6)
    absolute = _faber_jackson(rng, np.clip(dispersion, *conditions.galaxy_dispersion), z_lens)
    kpc = 4.2 * 10 ** (-0.24 * (absolute + 22.0) + rng.normal(0, 0.15, n)) * (1 + z_lens) ** -0.4
    return Galaxies(
        z_lens=z_lens,
        z_source=z_source,
        einstein_radius=theta,
        mag=apparent_magnitude(absolute, box_nm, z_lens, youth),
        radius=np.clip(kpc * arcsec_per_kpc(z_lens), 0.12, 3.5),
        youth=youth,
    )


def as_field_galaxies(
    rng: np.random.Generator, galaxies: Galaxies, chosen: NDArray[np.bool_]
) -> Galaxies:
    """Return the galaxies with the `chosen` (n,) made fainter, smaller and of any colour."""
    n = len(galaxies)
    fainter = np.where(chosen, rng.uniform(0.0, 4.0, n), 0.0)
    shrink = 10 ** (-0.13 * fainter + rng.normal(0, 0.15, n) * chosen)
    return replace(
        galaxies,
        mag=galaxies.mag + fainter,
        radius=np.clip(galaxies.radius * shrink, 0.06, None),
        youth=np.where(chosen, rng.beta(1.5, 1.2, n), galaxies.youth),
    )


def _faber_jackson(rng: np.random.Generator, dispersion: NDArray, z: NDArray) -> NDArray:
    # L ∝ σ⁴ with passive brightening of one magnitude a unit of redshift; scatter 0.35 mag
    return -22.0 - 10 * np.log10(dispersion / 220.0) - 1.0 * z + rng.normal(0, 0.35, len(z))


def draw_neighbours(
    rng: np.random.Generator, n: int, half_width_arcsec: float, faintest_mag: float
) -> Neighbours:
    """Draw field galaxies, a few stars and clustered companions around n positions.

    Counts follow 10^{0.32 m} with 35 galaxies an arcmin² brighter than 25 mag; half a companion an
    object lies within 6 arcsec of the centre, for lenses and non-lenses alike.
    """
    density = _GALAXIES_PER_ARCMIN2_AT_25 * 10 ** (_COUNTS_SLOPE * (faintest_mag - 25))
    expected = density * (2 * half_width_arcsec / 60) ** 2
    field = np.repeat(np.arange(n), rng.poisson(expected, n))
    close = np.repeat(np.arange(n), rng.poisson(0.5, n))
    owner = np.concatenate([field, close])
    k, k_close = len(owner), len(close)
    x, y = rng.uniform(-half_width_arcsec, half_width_arcsec, (2, k))
    distance = rng.uniform(0.8, min(6.0, half_width_arcsec), k_close)
    turn = rng.uniform(0, 2 * np.pi, k_close)
    x[len(field) :], y[len(field) :] = distance * np.cos(turn), distance * np.sin(turn)
    mag = faintest_mag + np.log10(1 - rng.random(k) * (1 - 1e-3)) / _COUNTS_SLOPE
    radius = 0.33 * 10 ** (-0.13 * (mag - 23) + rng.normal(0, 0.2, k))
    is_star = rng.random(k) < 0.06
    old = rng.random(k) < 0.25
    return Neighbours(
        owner=owner,
        x=x,
        y=y,
        mag=mag,
        radius=np.where(is_star, 0.01, np.clip(radius, 0.05, 2.5)),
        redshift=np.where(is_star, 0.0, np.clip(0.15 + rng.gamma(2.0, 0.35, k), 0, 4)),
        youth=np.where(old, rng.uniform(0, 0.3, k), rng.uniform(0.5, 1.0, k)),
    )


def draw_source_mag(
    rng: np.random.Generator,
    faintest: NDArray,
    conditions: SurveyConditions,
    brighter: NDArray | float = 0.0,
) -> NDArray:
    """Draw unlensed source magnitudes, cut at `faintest`, (L,).

    Parameters
    ----------
    brighter : (L,) by how much the mean is brighter, mag
    """
    mean = conditions.source_mag_mean - brighter
    scatter, degrees = conditions.source_mag_scatter, conditions.source_mag_tail
    normal = math.isinf(degrees)
    depth = (faintest - mean) / scatter
    ceiling = ndtr(depth) if normal else stdtr(degrees, depth)
    chance = np.clip(rng.random(len(faintest)), 1e-4, None) * np.maximum(ceiling, 1e-9)
    return mean + scatter * (ndtri(chance) if normal else stdtrit(degrees, chance))
