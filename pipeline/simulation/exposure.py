"""How a survey observes scenes: grid, PSFs, noise and bands of a chunk of objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.artefacts import add_residual_sky, add_unmasked_defects
from equilens.pipeline.simulation.conditions import (
    SurveyConditions,
    aperture_magnitude,
    detection_band,
)
from equilens.pipeline.simulation.noise import (
    add_noise,
    draw_missing_bands,
    electrons_per_njy,
    pixel_scatter_ratio,
)
from equilens.pipeline.simulation.psf import (
    convolve,
    core_and_wing,
    fast_grid_size,
    psf_kernel,
    transfer_function,
)
from equilens.pipeline.simulation.psf_images import load_psf_images, stretched_kernels
from equilens.pipeline.simulation.rendering import Grid
from equilens.pipeline.simulation.seds import band_box_nm
from equilens.pipeline.surveys.survey import Survey

CHUNK = 64
OBJECTS_A_PSF = 4  # neighbours share an exposure, and so its PSF
_PSFS_A_CHUNK = CHUNK // OBJECTS_A_PSF
_MARGIN_IN_FWHM = 1.2  # light from beyond the frame that is scattered into it
_CONVOLVED_AT_ONCE = 4  # objects: their spectra stay in cache
_TARGET_SNR = 40.0  # of the faintest deflector, where the conditions set no limit
_NEIGHBOUR_SNR = 2.5


@dataclass(frozen=True)
class Setting:
    """One survey's fixed numbers.

    detection is the index of the band that magnitudes of the populations refer to, boxes_nm the
    centre and width of every band, transform_size and kernel_size the pixels a side of the periodic
    grid and of the PSF kernels, psf_images one given PSF a band, or none.
    """

    survey: Survey
    conditions: SurveyConditions
    grid: Grid
    detection: int
    transform_size: int
    boxes_nm: list[tuple[float, float]]
    kernel_size: int
    device: torch.device
    psf_images: tuple[NDArray, ...] = ()

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
        psf_images=tuple(load_psf_images(conditions.psf_images, len(survey.bands)))
        if conditions.psf_images
        else (),
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
    kernels = _draw_kernels(rng, setting, fwhm, ellipticity)
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


def _draw_kernels(
    rng: np.random.Generator, setting: Setting, fwhm: NDArray, ellipticity: NDArray
) -> Tensor:
    """Return PSF kernels (P, B, K, K) with slopes and wings that scatter; fwhm (P, B) in arcsec."""
    if setting.psf_images:
        return psf_kernels(setting, fwhm, ellipticity)
    conditions = setting.conditions
    beta = np.array(conditions.per_band("moffat_beta", setting.n_bands))
    slopes = 1 + (beta - 1) * np.exp(rng.normal(0, conditions.psf_beta_scatter, fwhm.shape))
    if not conditions.psf_wing_share:
        return psf_kernels(setting, fwhm, ellipticity, slopes)
    share = np.clip(conditions.psf_wing_share * rng.lognormal(0, 0.4, fwhm.shape), 0, 0.5)
    return psf_kernels(setting, fwhm, ellipticity, slopes, share)


def psf_kernels(
    setting: Setting,
    fwhm_arcsec: NDArray,
    ellipticity: NDArray | None = None,
    slopes: NDArray | None = None,
    wing_share: NDArray | None = None,
) -> Tensor:
    """PSF kernels of the conditions' kind: a given image, or a Moffat core with its wing.

    Parameters
    ----------
    fwhm_arcsec : (P, B)
    ellipticity : (2, P, B), round if not given
    slopes : (P, B) Moffat β, the conditions' if not given; of no use to a given image
    wing_share : (P, B) share of the light in the wing, the conditions' if not given

    Returns
    -------
    (P, B, K, K) Tensor
    """
    conditions, size, shape = setting.conditions, setting.kernel_size, fwhm_arcsec.shape
    e1, e2 = to_tensor(np.zeros((2, *shape)) if ellipticity is None else ellipticity, setting)
    if setting.psf_images:
        typical = np.array([band.psf_fwhm_arcsec for band in setting.survey.bands])
        stretch = to_tensor(fwhm_arcsec / typical, setting)
        bands = [
            stretched_kernels(image, stretch[:, b], (e1[:, b], e2[:, b]), size)
            for b, image in enumerate(setting.psf_images)
        ]
        return torch.stack(bands, dim=1)
    if slopes is None:
        beta = np.array(conditions.per_band("moffat_beta", setting.n_bands))
        slopes = np.broadcast_to(beta, shape)
    pixels = to_tensor(fwhm_arcsec / setting.grid.pixel_scale, setting)
    core = psf_kernel(pixels, e1, e2, size, to_tensor(slopes, setting))
    if not conditions.psf_wing_share:
        return core
    if wing_share is None:
        wing_share = np.full(shape, conditions.psf_wing_share)
    wing = psf_kernel(conditions.psf_wing_width * pixels, e1, e2, size)
    return core_and_wing(core, wing, to_tensor(wing_share, setting))


def observe(setting: Setting, scene: Tensor, exposure: Exposure, rows: NDArray) -> Tensor:
    """Return scenes (n, B, G, G) of the chunk's `rows` convolved and cropped to the cutout."""
    return observe_with(setting, scene, exposure.transfer, rows // OBJECTS_A_PSF)


def observe_with(setting: Setting, scene: Tensor, transfer: Tensor, which: NDArray) -> Tensor:
    """Convolve scenes (n, B, G, G) with `transfer[which]`, `which` (n,) int, and crop them."""
    psf = torch.from_numpy(which).to(setting.device)
    observed = scene.new_empty((len(scene), setting.n_bands, *setting.survey.shape))
    for start in range(0, len(scene), _CONVOLVED_AT_ONCE):
        part = slice(start, start + _CONVOLVED_AT_ONCE)
        image = convolve(scene[part], transfer[psf[part]], setting.transform_size)
        observed[part] = setting.crop(image)
    return observed


def white_noise(setting: Setting, noise_njy: NDArray) -> Tensor:
    """Noise (n, B) before it is correlated: what `noise_njy` of the pixels takes to make."""
    noise, conditions = to_tensor(noise_njy, setting), setting.conditions
    if not conditions.noise_of_pixel:
        return noise
    correlation = conditions.per_band("noise_correlation_pixels", setting.n_bands)
    return noise / noise.new_tensor([pixel_scatter_ratio(width) for width in correlation])


def add_exposure_noise(
    rng: np.random.Generator,
    setting: Setting,
    exposure: Exposure,
    images: Tensor,
    generator: torch.Generator,
) -> None:
    """Add noise, a residual sky and unmasked defects to images (CHUNK, B, ny, nx) in place."""
    conditions = setting.conditions
    noise = white_noise(setting, exposure.noise_njy)
    correlation = conditions.per_band("noise_correlation_pixels", setting.n_bands)
    gain = electrons_per_njy(noise, setting.grid.pixel_scale, conditions)
    add_noise(images, noise, gain, correlation, generator)
    add_residual_sky(rng, images, exposure.noise_njy, conditions)
    add_unmasked_defects(rng, images, exposure.noise_njy, conditions.artefact_probability)


def to_tensor(values: NDArray, setting: Setting) -> Tensor:
    """Return float32 values on the setting's device."""
    return torch.from_numpy(values.astype(np.float32)).to(setting.device)
