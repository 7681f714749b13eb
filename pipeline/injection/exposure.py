"""How pasted light is seen: through each cutout's own PSF, with photon noise of its own."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.exposure import (
    Setting,
    observe_with,
    psf_kernels,
    white_noise,
)
from equilens.pipeline.simulation.noise import add_noise, electrons_per_njy
from equilens.pipeline.simulation.psf import transfer_function


def observe_through(setting: Setting, scene: Tensor, psf_fwhm_arcsec: NDArray) -> Tensor:
    """Convolve each scene (R, B, G, G) with a PSF of its own widths (R, B), and crop it.

    Shapes and wings are those of the survey's conditions; the PSF is round, as a width says no
    more. A width that is not known, of a missing band, is the survey's.
    """
    typical = np.array([band.psf_fwhm_arcsec for band in setting.survey.bands])
    fwhm = np.where(np.isfinite(psf_fwhm_arcsec), psf_fwhm_arcsec, typical)
    kinds, which = np.unique(fwhm, axis=0, return_inverse=True)
    transfer = transfer_function(psf_kernels(setting, kinds), setting.transform_size)
    return observe_with(setting, scene, transfer, which.reshape(-1))


def photon_noise(
    setting: Setting, light: Tensor, noise_njy: NDArray, generator: torch.Generator
) -> Tensor:
    """The light (R, B, ny, nx) with its own photon noise and no other, resampled as the survey is.

    The gain is the one that makes the background, of `noise_njy` (R, B), the photon noise of the
    survey's sky.
    """
    conditions = setting.conditions
    noise = white_noise(setting, np.nan_to_num(noise_njy, nan=1.0))
    correlation = conditions.per_band("noise_correlation_pixels", setting.n_bands)
    gain = electrons_per_njy(noise, setting.grid.pixel_scale, conditions)
    noisy = light.clone()
    add_noise(noisy, torch.zeros_like(noise), gain, correlation, generator)
    return noisy
