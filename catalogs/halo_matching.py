"""Peaks against true haloes, one to one, and how complete a list is at a density of false peaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from equilens.catalogs.crossmatch import unit_vectors
from equilens.catalogs.errors import PositionError
from equilens.catalogs.intervals import Estimate, proportion

FloatArray = NDArray[np.float64]
_ARCMIN = np.pi / (180 * 60)


@dataclass(frozen=True)
class HaloTargets:
    """Haloes that a list of peaks should have, and those that it may.

    Attributes
    ----------
    m200c_msun : least mass of a target, solar masses without h
    z_min, z_max : redshifts of targets, exclusive
    real_msun : a peak that matches a halo from here on, at any redshift, is no false one; equal to
        infinity, every peak that matches no target is false
    """

    m200c_msun: float = 2e14
    z_min: float = 0.1
    z_max: float = 0.6
    real_msun: float = 1e14

    def targets(self, mass: FloatArray, redshift: FloatArray) -> NDArray[np.bool_]:
        """Which haloes a list should have."""
        return (mass >= self.m200c_msun) & (redshift > self.z_min) & (redshift < self.z_max)

    def real(self, mass: FloatArray, redshift: FloatArray) -> NDArray[np.bool_]:
        """Which haloes a peak may match without being false; targets always."""
        return (mass >= self.real_msun) | self.targets(mass, redshift)


def match_one_to_one(
    peak_ra: ArrayLike,
    peak_dec: ArrayLike,
    score: ArrayLike,
    halo_ra: ArrayLike,
    halo_dec: ArrayLike,
    mass: ArrayLike,
    radius_arcmin: float,
) -> NDArray[np.int64]:
    """Halo of each peak, (n_peaks,); -1 where there is none.

    From the highest score down, a peak takes the most massive halo within the radius that is still
    free. Which haloes the best peaks have so does not depend on how far down the list goes.
    """
    if not radius_arcmin > 0:
        raise PositionError(f"a match radius must be positive, got {radius_arcmin} arcmin")
    peaks, haloes = unit_vectors(peak_ra, peak_dec), unit_vectors(halo_ra, halo_dec)
    mass, found = np.asarray(mass, np.float64), np.full(len(peaks), -1, np.int64)
    if not len(peaks) or not len(haloes):
        return found
    near = KDTree(haloes).query_ball_point(peaks, 2 * np.sin(radius_arcmin * _ARCMIN / 2))
    taken = np.zeros(len(haloes), bool)
    for peak in np.argsort(-np.asarray(score, np.float64), kind="stable"):
        free = [halo for halo in near[peak] if not taken[halo]]
        if free:
            found[peak] = max(free, key=lambda halo: mass[halo])
            taken[found[peak]] = True
    return found


@dataclass(frozen=True, eq=False)
class JudgedPeaks:
    """One sky's peaks and targets after matching.

    Attributes
    ----------
    scores : (n_peaks,)
    false : (n_peaks,) bool, matches no real halo
    found_at : (n_targets,) score of the peak that has this target, -inf where none has
    mass, redshift : (n_targets,)
    area_sq_deg : searched
    """

    scores: FloatArray
    false: NDArray[np.bool_]
    found_at: FloatArray
    mass: FloatArray
    redshift: FloatArray
    area_sq_deg: float


def threshold_at_density(false_scores: ArrayLike, area_sq_deg: float, per_sq_deg: float) -> float:
    """Least score above which there are at most so many false peaks a square degree.

    NaN where the list of peaks does not go far enough down to tell.
    """
    falling = np.sort(np.asarray(false_scores, np.float64))[::-1]
    allowed = int(np.floor(per_sq_deg * area_sq_deg))
    return float(np.nextafter(falling[allowed], np.inf)) if allowed < len(falling) else np.nan


def completeness(
    skies: list[JudgedPeaks],
    threshold: float,
    mass: tuple[float, float] = (0.0, np.inf),
    redshift: tuple[float, float] = (0.0, np.inf),
) -> Estimate:
    """Share of all skies' targets in a range, lower ends included, that peaks of a score have."""
    found = n = 0
    for sky in skies:
        counted = (sky.mass >= mass[0]) & (sky.mass < mass[1])
        counted &= (sky.redshift >= redshift[0]) & (sky.redshift < redshift[1])
        found += int((sky.found_at[counted] >= threshold).sum())
        n += int(counted.sum())
    return proportion(found, n)
