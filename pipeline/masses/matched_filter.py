"""Multi-scale matched filter for haloes in shear: signal-to-noise of a known profile everywhere.

The filter of E modes ``Ψ_l = τ_l s_l / (s_l² C_l + N)`` is the best for a halo with harmonics τ_l
in Gaussian noise: shape noise N and the power C_l of all other matter (Maturi et al. 2005, A&A 442,
851, eq. 14; Hennawi & Spergel 2005, ApJ 624, 59). Each pixel's shear counts with its weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.masses.errors import HaloFilterError
from equilens.pipeline.masses.halo_profile import lensing_response, nfw_window
from equilens.pipeline.masses.harmonics import Floats, Harmonics
from equilens.pipeline.masses.kernels import squared_kernel_window
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.shear import ShearMaps
from equilens.pipeline.skies.pixel_window import pixel_window
from equilens.pipeline.skies.shear_maps import shear_factor

SCALES_ARCMIN = (3.0, 6.0, 12.0)
CONCENTRATION = 4.0
LENS_REDSHIFT = 0.3
LEAST_COVERAGE = 0.5


@dataclass(frozen=True, eq=False)
class FilteredMap:
    """Signal-to-noise of one template in each pixel, RING.

    Attributes
    ----------
    snr : (n_pixels,) 0 where not searched
    searched : (n_pixels,) bool
    theta200_arcmin : of the template
    """

    snr: Floats
    searched: NDArray[np.bool_]
    theta200_arcmin: float


@dataclass(frozen=True, eq=False)
class _Template:
    """A filter, and what the mask makes of its noise.

    Attributes
    ----------
    e_filter : (lmax+1,) Ψ_l
    deviation : (n_pixels,) of the filtered map where there is no halo
    searched : (n_pixels,) bool
    theta200_arcmin : of the halo
    """

    e_filter: Floats
    deviation: Floats
    searched: NDArray[np.bool_]
    theta200_arcmin: float


class MatchedFilter:
    """Filters of one sky's weights, ready for any shear with that noise.

    Parameters
    ----------
    maps : whose weights they are for
    prior : power of what is in front of and behind the halo
    scales_arcmin : θ200 of the templates
    concentration : of the NFW profile
    response : (K,) lensing strength of the bins; by default of a lens at `LENS_REDSHIFT` where
        the sky states its bins' redshifts, equal where it does not
    lmax : highest degree; ``3 nside - 1``, or the prior's, by default
    threads : of the transforms
    """

    def __init__(
        self,
        maps: ShearMaps,
        prior: ConvergencePrior,
        *,
        scales_arcmin: Sequence[float] = SCALES_ARCMIN,
        concentration: float = CONCENTRATION,
        response: Sequence[float] | None = None,
        lmax: int | None = None,
        threads: int = 1,
    ) -> None:
        if not scales_arcmin:
            raise HaloFilterError("a matched filter needs at least one scale, got none")
        highest = min(3 * maps.nside - 1, prior.lmax) if lmax is None else lmax
        self.harmonics = Harmonics(maps.nside, highest, threads)
        self.response = bin_response(maps) if response is None else np.asarray(response, float)
        weight = maps.stacked(self.response).weight[0]
        mean = weight[weight > 0].mean()
        self._relative, self._noise = weight / mean, self.harmonics.pixel_area / mean
        self._power = prior_of_stack(maps, prior, self.response, highest)
        self._templates = [self._template(float(s), concentration) for s in scales_arcmin]

    def filter(self, maps: ShearMaps) -> list[FilteredMap]:
        """Signal-to-noise of each template in shear of these weights, one map a scale."""
        return list(self.filter_by_scale(maps))

    def filter_by_scale(self, maps: ShearMaps) -> Iterator[FilteredMap]:
        """The maps of `filter`, one in memory at a time.

        A pixel is searched where it has shear and where at least half of the filter's weight lies
        on the sky that was observed.
        """
        shear = self._relative * maps.stacked(self.response).shear[0]
        e_modes = self.harmonics.shear_analysis(shear, iterations=0)
        del shear
        for one in self._templates:
            values = self.harmonics.scalar(self.harmonics.scale(e_modes, one.e_filter))
            snr = np.divide(values, one.deviation, out=np.zeros_like(values), where=one.searched)
            yield FilteredMap(snr, one.searched, one.theta200_arcmin)

    def _template(self, scale: float, concentration: float) -> _Template:
        harmonics = self.harmonics
        window = nfw_window(scale, concentration, harmonics.lmax)
        window *= pixel_window(harmonics.nside, harmonics.lmax)
        e_filter = optimal_filter(window, self._power, self._noise)
        variance, coverage = _variance(
            harmonics, e_filter, self._relative, self._power, self._noise
        )
        searched = (self._relative > 0) & (coverage > LEAST_COVERAGE)
        return _Template(e_filter, np.sqrt(variance), searched, scale)


def matched_filter(maps: ShearMaps, prior: ConvergencePrior, **options: Any) -> list[FilteredMap]:
    """Filter one sky with each template; see `MatchedFilter` for the options."""
    return MatchedFilter(maps, prior, **options).filter(maps)


def optimal_filter(template: Floats, power: Floats, noise: float) -> Floats:
    """Ψ_l of the module's equation, (lmax+1,)."""
    response = shear_factor(len(template) - 1)
    return template * response / (response**2 * power + noise)


def expected_snr(template: Floats, power: Floats, noise: float) -> float:
    """Signal-to-noise of a halo of unit integrated convergence, on a whole sky of even depth."""
    ell = np.arange(len(template))
    response = shear_factor(len(template) - 1)
    information = (response * template) ** 2 / (response**2 * power + noise)
    return float(np.sqrt(((2 * ell + 1) / (4 * np.pi) * information).sum()))


def bin_response(maps: ShearMaps) -> Floats:
    """Lensing strength of the bins for a lens at `LENS_REDSHIFT`, (K,)."""
    redshifts = maps.facts.get("mean_redshift")
    if redshifts is None or len(redshifts) != maps.n_bins:
        return np.ones(maps.n_bins)
    return lensing_response(LENS_REDSHIFT, redshifts)


def prior_of_stack(maps: ShearMaps, prior: ConvergencePrior, response: Floats, lmax: int) -> Floats:
    """Power of the convergence in the stacked shear of all bins, (lmax+1,)."""
    total = maps.weight.sum(axis=1, dtype=np.float64)
    shares = response * total / (response**2 * total).sum()
    return np.einsum("k,lkj,j->l", shares, prior.to(lmax, maps.n_bins), shares)


def _variance(
    harmonics: Harmonics, e_filter: Floats, relative: Floats, power: Floats, noise: float
) -> tuple[Floats, Floats]:
    """Variance of a filtered map, and the share of the filter that lies on observed sky.

    Shape noise is exact for any mask. Other matter enters through the share squared, as if what is
    masked took the same part of signal and kernel.
    """
    modes = (2 * np.arange(harmonics.lmax + 1) + 1) / (4 * np.pi)
    window = squared_kernel_window(e_filter, harmonics.lmax)
    coverage = np.maximum(harmonics.smooth(relative, window / window[0]), 0.0)
    shapes = noise * (modes * e_filter**2).sum() * coverage
    matter = (modes * (e_filter * shear_factor(harmonics.lmax)) ** 2 * power).sum()
    return shapes + matter * coverage**2, coverage
