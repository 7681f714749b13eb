"""What a simulation needs to know of a survey beyond its bands, pixels, PSF widths and noise.

Values with a source. Noise: background pixels of 12 Euclid Q1, 23 DES and 30 Pan-STARRS1 cutouts. A
pixel of Euclid scatters by 0.66 of the RMS plane in VIS and 0.24 in NISP, and correlates with its
neighbour by 0.25 and 0.82, with the next but one by 0.03 and 0.53; in DES and Pan-STARRS1, whose
noise is measured from pixels, by 0.16 and 0.21 and by nothing. PSF of Euclid: encircled energy of
its PSF planes. The lens-finding challenge (Metcalf et al. 2019, A&A 625, A119): Einstein radii are
quantiles of its two training keys, source magnitudes and sizes are fitted to the quantiles of
lensed flux and lensed pixels there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.simulation.errors import SimulationError

_DEFAULT_MIXTURE = MappingProxyType(
    {
        "galaxy": 0.32,
        "field": 0.06,
        "spiral": 0.14,
        "ring": 0.07,
        "merger": 0.09,
        "edge_on": 0.06,
        "group": 0.08,
        "alignment": 0.07,
        "double": 0.06,
        "polar_ring": 0.02,
        "star": 0.03,
    }
)
NON_LENS_CLASSES = tuple(_DEFAULT_MIXTURE)
ISOTHERMAL = (2.0, 0.0)
AB_MAGNITUDE_OF_ONE_NJY = 31.4
PsfSource = str | Path | NDArray
_Number = TypeVar("_Number", float, NDArray)
_DETECTION_ORDER = ("VIS", "i", "r", "z", "g")
_QUANTILES = (0.0, 0.05, 0.16, 0.25, 0.5, 0.75, 0.84, 0.95, 1.0)


@dataclass(frozen=True)
class SurveyConditions:
    """How one survey sees, and which part of the population it targets.

    Attributes
    ----------
    moffat_beta : wing slope of the PSF, per band; infinity for a Gaussian. One value serves all.
    psf_beta_scatter : lognormal scatter (1σ) of β − 1
    psf_wing_share, psf_wing_width : share of the light in a Gaussian wing, with lognormal scatter,
        and its width in those of the core
    psf_images : PSF image of each band in the survey's pixels, in place of a profile: an array, or
        a file (``.npy``, FITS as ``path#EXTENSION``); widths still vary by `psf_scatter`
    psf_scatter : relative scatter (1σ) of the PSF width from field to field
    psf_ellipticity : scatter (1σ) of each ellipticity component
    depth_scatter : lognormal scatter (1σ) of the background noise
    noise_correlation_pixels : width (1σ) of the resampling kernel, per band; 0 for white noise
    noise_of_pixel : whether the stated noise is what a pixel scatters by. If not, it is that of the
        white field before the kernel, as RMS planes of resampled images give it: apertures much
        wider than the kernel scatter by it
    sky_mag_per_arcsec2 : fixes the effective gain: the background is taken as photon noise of it
    sky_offset, sky_gradient : scatter (1σ) of the residual background and of its rise towards an
        edge, in units of the noise
    einstein_radius_range : arcsec, kept part of the physical population; None keeps radii above
        0.3 arcsec and half the PSF width of the detection band, and below 3 arcsec
    einstein_radius_quantiles : (probability, arcsec) pairs that replace the physical population
    lens_redshift_gamma : (shape, scale) of the gamma distribution of z_lens − 0.1
    galaxy_dispersion : km/s; wider splittings come from group haloes, not from brighter galaxies
    lens_mag_limit : faintest deflector, total AB magnitude in the detection band (see
        `detection_band`); None takes signal-to-noise 40 in an aperture of one arcsec radius
    source_mag_mean, source_mag_scatter : unlensed sources of median size, AB in the detection band
    source_mag_tail : degrees of freedom of Student's distribution; infinity for a normal one
    source_mag_per_size, source_mag_per_einstein_radius : magnitudes by which sources are brighter
        an e-fold of their own radius (at 2.2 surface brightness does not depend on size) and of the
        Einstein radius over one arcsec
    source_radius_arcsec, source_radius_scatter : median half-light radius of sources, and its
        lognormal scatter
    quasar_share : of sources that are a point in a host
    red_source_share : of sources that are old or dusty
    slope : mean and scatter of the density slope γ' of deflectors; `ISOTHERMAL` skips the series
    companion_share : of all objects that have bright satellites of their own
    partner_share : of lenses and plain galaxies that are a pair, in mass as in light
    bright_star_probability : of a star with halo and spikes in, or just outside, the field
    arc_snr_min : faintest lens: total signal-to-noise of its arcs over all bands; 0 keeps all
    missing_band_probability : for every band, up to the survey's own limit
    defect_probability : of bad columns, cosmic-ray hits and missing edges, each
    artefact_probability : of cosmic-ray hits and of bad columns that no mask tells of, each
    mixture : shares of the non-lens classes
    """

    moffat_beta: tuple[float, ...] = (3.5,)
    psf_beta_scatter: float = 0.1
    psf_wing_share: float = 0.0
    psf_wing_width: float = 3.0
    psf_images: tuple[PsfSource, ...] = ()
    psf_scatter: float = 0.12
    psf_ellipticity: float = 0.03
    depth_scatter: float = 0.25
    noise_correlation_pixels: tuple[float, ...] = (0.0,)
    noise_of_pixel: bool = False
    sky_mag_per_arcsec2: float = 21.5
    sky_offset: float = 0.1
    sky_gradient: float = 0.1
    einstein_radius_range: tuple[float, float] | None = None
    einstein_radius_quantiles: tuple[tuple[float, float], ...] = ()
    lens_redshift_gamma: tuple[float, float] = (4.5, 0.125)
    galaxy_dispersion: tuple[float, float] = (90.0, 330.0)
    lens_mag_limit: float | None = None
    source_mag_mean: float = 24.8
    source_mag_scatter: float = 1.3
    source_mag_tail: float = math.inf
    source_mag_per_size: float = 1.0
    source_mag_per_einstein_radius: float = 0.0
    source_radius_arcsec: float = 0.2
    source_radius_scatter: float = 0.5
    quasar_share: float = 0.05
    red_source_share: float = 0.15
    slope: tuple[float, float] = (2.05, 0.15)
    companion_share: float = 0.2
    partner_share: float = 0.08
    bright_star_probability: float = 0.04
    arc_snr_min: float = 15.0
    missing_band_probability: float = 0.02
    defect_probability: float = 0.03
    artefact_probability: float = 0.01
    mixture: Mapping[str, float] = field(default_factory=lambda: _DEFAULT_MIXTURE)

    def __post_init__(self) -> None:
        low, high = self.radius_range(0.0)
        if not 0 < low < high:
            raise SimulationError(
                f"einstein_radius_range must be positive and rising, got {low} to {high} arcsec"
            )
        unknown = set(self.mixture) - set(NON_LENS_CLASSES)
        if unknown or not sum(self.mixture.values()) > 0 or min(self.mixture.values()) < 0:
            raise SimulationError(
                f"mixture must give shares >= 0 of {', '.join(NON_LENS_CLASSES)}, "
                f"got {dict(self.mixture)}"
            )

    def radius_range(self, psf_fwhm_arcsec: float) -> tuple[float, float]:
        """Return the Einstein radii kept, arcsec, for a PSF width in the detection band."""
        return self.einstein_radius_range or (max(0.3, 0.5 * psf_fwhm_arcsec), 3.0)

    def per_band(self, name: str, n_bands: int) -> tuple[float, ...]:
        """Return a per-band setting at full length: one value serves all bands."""
        values: tuple[float, ...] = getattr(self, name)
        if len(values) == 1:
            return values * n_bands
        if len(values) != n_bands:
            raise SimulationError(f"{name} must have 1 or {n_bands} values, got {len(values)}")
        return values


_SPACE_RADII = (0.15, 0.169, 0.226, 0.303, 0.844, 2.449, 3.335, 4.524, 5.05)
_GROUND_RADII = (0.302, 0.362, 0.505, 0.647, 1.28, 3.096, 3.771, 5.307, 6.256)

# the challenge's non-lenses are its galaxies without a source; some of the ground set's are real
_CHALLENGE_MIXTURE = MappingProxyType(
    {
        "galaxy": 0.50,
        "spiral": 0.12,
        "ring": 0.05,
        "merger": 0.08,
        "edge_on": 0.06,
        "group": 0.07,
        "alignment": 0.05,
        "double": 0.05,
        "polar_ring": 0.01,
        "star": 0.01,
    }
)

_CHALLENGE = SurveyConditions(
    depth_scatter=0.02,
    sky_offset=0.03,
    sky_gradient=0.02,
    arc_snr_min=0.0,
    lens_redshift_gamma=(4.5, 0.165),
    galaxy_dispersion=(140.0, 230.0),
    lens_mag_limit=24.5,
    quasar_share=0.0,
    bright_star_probability=0.01,
    missing_band_probability=0.0,
    artefact_probability=0.0,
    mixture=_CHALLENGE_MIXTURE,
)

_KNOWN: Mapping[str, SurveyConditions] = MappingProxyType(
    {
        "bologna-space": replace(
            _CHALLENGE,
            moffat_beta=(math.inf,),
            source_mag_mean=23.58,
            source_mag_scatter=0.7,
            source_mag_tail=3.5,
            source_mag_per_size=1.6,
            source_mag_per_einstein_radius=0.5,
            source_radius_arcsec=0.40,
            source_radius_scatter=0.75,
            psf_scatter=0.02,
            sky_mag_per_arcsec2=22.3,
            einstein_radius_quantiles=tuple(zip(_QUANTILES, _SPACE_RADII, strict=True)),
        ),
        "bologna-ground": replace(
            _CHALLENGE,
            lens_redshift_gamma=(4.5, 0.14),
            lens_mag_limit=23.2,
            source_mag_mean=24.0,
            source_mag_scatter=0.85,
            source_mag_tail=3.5,
            source_mag_per_size=1.6,
            source_radius_arcsec=0.4,
            source_radius_scatter=0.6,
            einstein_radius_quantiles=tuple(zip(_QUANTILES, _GROUND_RADII, strict=True)),
        ),
        "euclid-mer": SurveyConditions(
            moffat_beta=(2.3, 4.0, 4.0, 4.0),
            psf_scatter=0.05,
            depth_scatter=0.16,
            noise_correlation_pixels=(0.39, 1.2, 1.2, 1.2),
            sky_mag_per_arcsec2=22.3,
            sky_offset=0.12,
            sky_gradient=0.08,
            defect_probability=0.06,
        ),
        "des-cube": SurveyConditions(
            moffat_beta=(3.0,),
            depth_scatter=0.16,
            noise_correlation_pixels=(0.35,),
            noise_of_pixel=True,
            sky_mag_per_arcsec2=20.8,
            sky_offset=0.09,
            sky_gradient=0.05,
            lens_mag_limit=21.2,
            source_mag_mean=23.8,
            missing_band_probability=0.01,
        ),
        "panstarrs1": SurveyConditions(
            moffat_beta=(3.0,),
            psf_wing_share=0.04,
            psf_scatter=0.15,
            depth_scatter=0.22,
            noise_correlation_pixels=(0.385,),
            noise_of_pixel=True,
            sky_mag_per_arcsec2=20.8,
            sky_offset=0.09,
            sky_gradient=0.07,
            lens_mag_limit=20.3,
            source_mag_mean=22.8,
            quasar_share=0.2,  # what a shallow survey finds
            missing_band_probability=0.03,
            defect_probability=0.06,
        ),
        "lsst-like": SurveyConditions(
            moffat_beta=(3.0,),
            psf_scatter=0.06,
            depth_scatter=0.12,
            noise_correlation_pixels=(0.35,),
            noise_of_pixel=True,
            sky_mag_per_arcsec2=20.8,
            sky_offset=0.1,
            lens_mag_limit=23.5,
            source_mag_mean=24.8,
        ),
    }
)


def survey_conditions(name: str) -> SurveyConditions:
    """Return the conditions of a survey by name; sensible defaults for any other name."""
    return _KNOWN.get(name, SurveyConditions())


def detection_band(generic_bands: Sequence[str]) -> int:
    """Return the index of the band that populations refer to: the deepest for galaxies."""
    for name in _DETECTION_ORDER:
        if name in generic_bands:
            return list(generic_bands).index(name)
    return 0


def flux_njy(mag: _Number) -> _Number:
    """Return the flux of an AB magnitude, nJy."""
    return 10 ** (-0.4 * (mag - AB_MAGNITUDE_OF_ONE_NJY))


def magnitude(flux_njy: _Number) -> _Number:
    """Return the AB magnitude of a flux in nJy, the inverse of `flux_njy`."""
    return AB_MAGNITUDE_OF_ONE_NJY - 2.5 * np.log10(flux_njy)


def aperture_magnitude(noise_njy: float, pixel_scale_arcsec: float, snr: float) -> float:
    """Return the AB magnitude that reaches `snr` in an aperture of one arcsec radius."""
    noise = noise_njy * math.sqrt(math.pi) / pixel_scale_arcsec
    return float(magnitude(snr * noise))
