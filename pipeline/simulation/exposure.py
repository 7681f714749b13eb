"""How a survey observes scenes: grid, PSFs, noise and bands of a chunk of objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.conditions import (
    SurveyConditions,
    aperture_magnitude,
    detection_band,
)
from equilens.pipeline.simulation.noise import add_noise, draw_missing_bands, electrons_per_njy
from equilens.pipeline.simulation.psf import (
    convolve,
    fast_grid_size,
    psf_kernel,
    transfer_function,
)
from equilens.pipeline.simulation.rendering import Grid
from equilens.pipeline.simulation.seds import band_box_nm
from equilens.pipeline.surveys.survey import Survey

CHUNK = 64
OBJECTS_A_PSF = 4  # neighbours share an exposure, and so its PSF
_PSFS_A_CHUNK = CHUNK // OBJECTS_A_PSF
_MARGIN_IN_FWHM = 1.2  # light from beyond the frame that is scattered into it
_CONVOLVED_AT_ONCE = 8  # objects: their spectra stay in cache
_TARGET_SNR = 40.0  # of the faintest deflector, where the conditions set no limit
_NEIGHBOUR_SNR = 2.5


@dataclass(frozen=True)
class Setting:
    """One survey's fixed numbers.

    detection is the index of the band that magnitudes of the populations refer to, boxes_nm the
    centre and width of every band, transform_size and kernel_size the pixels a side of the periodic
    grid and of the PSF kernels.
    """

    survey: Survey
    conditions: SurveyConditions
    grid: Grid
    detection: int
    transform_size: int
    boxes_nm: list[tuple[float, float]]
    kernel_size: int
    device: torch.device

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return len(self.boxes_nm)

    @property
    def mag_limit(self) -> float:
        """Faintest deflector, total AB magnitude in the detection band."""
        return self.conditions.lens_mag_limit or self._magnitude_at(_TARGET_SNR)

    @property
    def faintest_neighbour(self) -> float:
        """Faintest field galaxy drawn, AB magnitude in the detection band."""
        return self._magnitude_at(_NEIGHBOUR_SNR)

    def _magnitude_at(self, snr: float) -> float:
        noise = self.survey.bands[self.detection].noise_njy
        return aperture_magnitude(noise, self.survey.pixel_scale_arcsec, snr)

    def crop(self, images: Tensor) -> Tensor:
        """Return the cutout's part of images on the grid."""
        ny, nx = self.survey.shape
        top, left = self.grid.centre - ny // 2, self.grid.centre - nx // 2
        return images[..., top : top + ny, left : left + nx]


@dataclass(frozen=True)
class Exposure:
    """How a chunk was observed.

    noise_njy, psf_fwhm_arcsec and present (a band is there) are (CHUNK, B) arrays; transfer holds
    the transforms of the PSFs, one for every `OBJECTS_A_PSF` objects.
    """

    noise_njy: NDArray
    psf_fwhm_arcsec: NDArray
    transfer: Tensor
    present: NDArray


def prepare(survey: Survey, conditions: SurveyConditions, device: torch.device | str) -> Setting:
    """Return the setting of a survey; grids are square and hold the longer side."""
    widest = max(band.psf_fwhm_arcsec for band in survey.bands) / survey.pixel_scale_arcsec
    margin = int(np.ceil(_MARGIN_IN_FWHM * widest)) + 1
    side = max(survey.shape)
    transform_size = fast_grid_size(side + 3 * margin)
    half = min(int(np.ceil(4 * widest)) + 2, (transform_size - 1) // 2)
    return Setting(
        survey=survey,
        conditions=conditions,
        grid=Grid(side + 2 * margin, margin + side // 2, float(survey.pixel_scale_arcsec)),
        detection=detection_band([band.generic for band in survey.bands]),
        transform_size=transform_size,
        boxes_nm=[band_box_nm(band.generic, band.wavelength_nm) for band in survey.bands],
        kernel_size=2 * half + 1,
        device=torch.device(device),
    )


def draw_exposure(rng: np.random.Generator, setting: Setting) -> Exposure:
    """Draw noise, PSFs and missing bands of a chunk, whatever its objects are."""
    conditions, bands = setting.conditions, setting.survey.bands
    typical = np.array([band.noise_njy for band in bands])
    depth = rng.normal(0, conditions.depth_scatter, (CHUNK, 1))
    depth = depth + rng.normal(0, 0.3 * conditions.depth_scatter, (CHUNK, len(bands)))
    p = (_PSFS_A_CHUNK, 1), (_PSFS_A_CHUNK, len(bands))
    scatter = rng.normal(0, conditions.psf_scatter, p[0])
    scatter = scatter + rng.normal(0, 0.4 * conditions.psf_scatter, p[1])
    fwhm = np.array([b.psf_fwhm_arcsec for b in bands]) * np.exp(np.clip(scatter, -0.4, 0.4))
    ellipticity = np.clip(rng.normal(0, conditions.psf_ellipticity, (2, *p[1])), -0.15, 0.15)
    beta = torch.tensor(conditions.per_band("moffat_beta", len(bands)))
    kernels = psf_kernel(
        to_tensor(fwhm / setting.grid.pixel_scale, setting),
        to_tensor(ellipticity[0], setting),
        to_tensor(ellipticity[1], setting),
        setting.kernel_size,
        beta.to(setting.device).expand(*p[1]),
    )
    return Exposure(
        noise_njy=typical * np.exp(depth),
        psf_fwhm_arcsec=np.repeat(fwhm, OBJECTS_A_PSF, axis=0),
        transfer=transfer_function(kernels, setting.transform_size),
        present=draw_missing_bands(
            rng,
            CHUNK,
            len(bands),
            conditions.missing_band_probability,
            setting.survey.max_missing_bands,
        ),
    )


def observe(setting: Setting, scene: Tensor, exposure: Exposure, rows: NDArray) -> Tensor:
    """Return scenes (n, B, G, G) of the chunk's `rows` convolved and cropped to the cutout."""
    psf = torch.from_numpy(rows // OBJECTS_A_PSF).to(setting.device)
    observed = scene.new_empty((len(scene), setting.n_bands, *setting.survey.shape))
    for start in range(0, len(scene), _CONVOLVED_AT_ONCE):
        part = slice(start, start + _CONVOLVED_AT_ONCE)
        image = convolve(scene[part], exposure.transfer[psf[part]], setting.transform_size)
        observed[part] = setting.crop(image)
    return observed


def add_exposure_noise(
    rng: np.random.Generator,
    setting: Setting,
    exposure: Exposure,
    images: Tensor,
    generator: torch.Generator,
) -> None:
    """Add background, photon noise and a residual sky to images (CHUNK, B, ny, nx) in place."""
    conditions = setting.conditions
    noise = to_tensor(exposure.noise_njy, setting)
    gain = electrons_per_njy(noise, setting.grid.pixel_scale, conditions)
    correlation = conditions.per_band("noise_correlation_pixels", setting.n_bands)
    add_noise(images, noise, gain, correlation, generator)
    offset = rng.normal(0, conditions.sky_offset, exposure.noise_njy.shape)
    images += to_tensor(offset * exposure.noise_njy, setting)[:, :, None, None]


def to_tensor(values: NDArray, setting: Setting) -> Tensor:
    """Return float32 values on the setting's device."""
    return torch.from_numpy(values.astype(np.float32)).to(setting.device)
