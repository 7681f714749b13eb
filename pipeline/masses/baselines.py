"""The classical methods, each from the shear maps that a network is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from equilens.pipeline.masses.errors import SkyEvaluationError
from equilens.pipeline.masses.kaiser_squires import MassMap, kaiser_squires
from equilens.pipeline.masses.matched_filter import SCALES_ARCMIN, FilteredMap, MatchedFilter
from equilens.pipeline.masses.peaks import Peaks, find_halo_peaks
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.shear import ShearMaps
from equilens.pipeline.masses.wiener import DEFAULT_TOLERANCE
from equilens.pipeline.masses.wiener_map import wiener_filter

MATCHED_FILTER = "matched-filter"
MASS_METHODS = ("kaiser-squires", "wiener")
METHODS = (*MASS_METHODS, MATCHED_FILTER)


@dataclass(frozen=True)
class BaselineSettings:
    """What the methods are told.

    Attributes
    ----------
    lmax : highest degree; None for all that the pixels hold
    fwhm_arcmin : of the Gaussian that smooths Kaiser and Squires' map
    tolerance : of the Wiener filter
    n_realisations : that correct the Wiener filter's variance
    scales_arcmin : of the matched filter
    """

    lmax: int | None = None
    fwhm_arcmin: float = 10.0
    tolerance: float = DEFAULT_TOLERANCE
    n_realisations: int = 0
    scales_arcmin: tuple[float, ...] = SCALES_ARCMIN


def mass_map(
    method: str, maps: ShearMaps, prior: ConvergencePrior, settings: BaselineSettings
) -> MassMap:
    """Mass map of one of `MASS_METHODS`."""
    makers: dict[str, Callable[[], MassMap]] = {
        "kaiser-squires": lambda: kaiser_squires(
            maps, fwhm_arcmin=settings.fwhm_arcmin, lmax=settings.lmax
        ),
        "wiener": lambda: wiener_filter(
            maps,
            prior,
            lmax=settings.lmax,
            tolerance=settings.tolerance,
            n_realisations=settings.n_realisations,
        ),
    }
    if method not in makers:
        raise SkyEvaluationError(f"method must be one of {METHODS}, got {method!r}")
    return makers[method]()


def halo_filter(
    maps: ShearMaps, prior: ConvergencePrior, settings: BaselineSettings
) -> MatchedFilter:
    """The matched filter of a sky's weights."""
    return MatchedFilter(maps, prior, scales_arcmin=settings.scales_arcmin, lmax=settings.lmax)


def halo_maps(
    maps: ShearMaps, prior: ConvergencePrior, settings: BaselineSettings
) -> tuple[list[FilteredMap], Peaks]:
    """Signal-to-noise maps of the matched filter on one sky, and the peaks of them all."""
    found = halo_filter(maps, prior, settings).filter(maps)
    return found, find_halo_peaks(found, method=MATCHED_FILTER)
