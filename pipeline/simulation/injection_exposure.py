"""How pasted light is seen: through each cutout's own PSF, with photon noise of its own."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.exposure import Setting, to_tensor
from equilens.pipeline.simulation.noise import (
    add_noise,
    electrons_per_njy,
    pixel_scatter_ratio,
)
from equilens.pipeline.simulation.psf import (
    convolve,
    core_and_wing,
    psf_kernel,
    transfer_function,
)
from equilens.pipeline.simulation.psf_images import stretched_kernels

_AT_ONCE = 8


def observe_through(setting: Setting, scene: Tensor, psf_fwhm_arcsec: NDArray) -> Tensor:
    """Convolve each scene (R, B, G, G) with a PSF of its own widths (R, B), and crop it.

    Shapes and wings are those of the survey's conditions; the PSF is round, as a width says no
    more. A width that is not known, of a missing band, is the survey's.
    """
    typical = np.array([band.psf_fwhm_arcsec for band in setting.survey.bands])
    fwhm = np.where(np.isfinite(psf_fwhm_arcsec), psf_fwhm_arcsec, typical)
    kinds, which = np.unique(fwhm, axis=0, return_inverse=True)
    transfer = transfer_function(_round_kernels(setting, kinds), setting.transform_size)
    psf = torch.from_numpy(which.reshape(-1))
    observed = scene.new_empty((len(scene), setting.n_bands, *setting.survey.shape))
    for start in range(0, len(scene), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        image = convolve(scene[part], transfer[psf[part]], setting.transform_size)
        observed[part] = setting.crop(image)
    return observed


def _round_kernels(setting: Setting, fwhm_arcsec: NDArray) -> Tensor:
    """PSF kernels (P, B, K, K) of the conditions' kind and of these widths (P, B)."""
    conditions, size = setting.conditions, setting.kernel_size
    pixels = to_tensor(fwhm_arcsec / setting.grid.pixel_scale, setting)
    none = torch.zeros_like(pixels)
    if setting.psf_images:
        typical = np.array([band.psf_fwhm_arcsec for band in setting.survey.bands])
        stretch = to_tensor(fwhm_arcsec / typical, setting)
        bands = [
            stretched_kernels(image, stretch[:, b], (none[:, b], none[:, b]), size)
            for b, image in enumerate(setting.psf_images)
        ]
        return torch.stack(bands, dim=1)
    beta = torch.tensor(conditions.per_band("moffat_beta", setting.n_bands)).expand(pixels.shape)
    core = psf_kernel(pixels, none, none, size, beta)
    if not conditions.psf_wing_share:
        return core
    wing = psf_kernel(conditions.psf_wing_width * pixels, none, none, size)
    return core_and_wing(core, wing, torch.full_like(pixels, conditions.psf_wing_share))


def photon_noise(
    setting: Setting, light: Tensor, noise_njy: NDArray, generator: torch.Generator
) -> Tensor:
    """The light (R, B, ny, nx) with its own photon noise and no other, resampled as the survey is.

    The gain is the one that makes the background, of `noise_njy` (R, B), the photon noise of the
    survey's sky.
    """
    conditions = setting.conditions
    noise = to_tensor(np.nan_to_num(noise_njy, nan=1.0), setting)
    correlation = conditions.per_band("noise_correlation_pixels", setting.n_bands)
    if conditions.noise_of_pixel:
        noise = noise / noise.new_tensor([pixel_scatter_ratio(width) for width in correlation])
    gain = electrons_per_njy(noise, setting.grid.pixel_scale, conditions)
    noisy = light.clone()
    add_noise(noisy, torch.zeros_like(noise), gain, correlation, generator)
    return noisy
