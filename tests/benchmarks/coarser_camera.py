"""A better camera's image as a coarser one would have taken it: for real lenses seen by HST.

The image is convolved with the Gaussian that widens its PSF to the other camera's, pixels are
summed two by two, and white noise is added until the background scatters as there. Nothing else
changes: passband, lens and sources stay HST's.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from equilens.pipeline.cutouts import CutoutBatch
    from equilens.pipeline.surveys.survey import Survey

BINNED = 2
FWHM = math.sqrt(8 * math.log(2))


def as_seen_by(batch: CutoutBatch, survey: Survey, draws: int, seed: int) -> CutoutBatch:
    """One object of one band as `draws` cutouts of another survey, which differ in their noise.

    Raises
    ------
    ValueError
        The image is no better than the survey's: wider PSF, more noise, or other pixels.
    """
    band, scale = survey.bands[0], float(batch.pixel_scale_arcsec[0])
    wider = band.psf_fwhm_arcsec**2 - float(batch.psf_fwhm_arcsec[0, 0]) ** 2
    if wider < 0 or not math.isclose(scale * BINNED, survey.pixel_scale_arcsec, rel_tol=0.02):
        wanted = f'{band.psf_fwhm_arcsec}" and pixels of {survey.pixel_scale_arcsec}"'
        raise ValueError(f"the image can not be brought to a PSF of {wanted}")
    width = math.sqrt(wider) / FWHM / scale
    image = binned(gaussian_filter(batch.images[0, 0].astype(float), width), survey.shape)
    left = noise_left(float(batch.noise_njy[0, 0]), width)
    if left > band.noise_njy:
        raise ValueError(f"noise must be below {band.noise_njy} nJy, the image has {left:.2f}")
    rng = np.random.default_rng(seed)
    extra = rng.normal(0, math.sqrt(band.noise_njy**2 - left**2), (draws, 1, *survey.shape))
    one = batch.take(np.zeros(draws, int))
    return replace(
        one,
        ids=np.array([f"{batch.ids[0]}-noise-{k:02d}" for k in range(draws)], object),
        images=(image + extra).astype(np.float32),
        mask=np.zeros((draws, 1, *survey.shape), bool),
        noise_njy=np.full((draws, 1), band.noise_njy, np.float32),
        psf_fwhm_arcsec=np.full((draws, 1), band.psf_fwhm_arcsec, np.float32),
        pixel_scale_arcsec=np.full(draws, survey.pixel_scale_arcsec, np.float32),
    )


def binned(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Sums of pixels two by two, cut to `shape` around the centre pixel, a quarter pixel off."""
    ny, nx = (BINNED * side for side in shape)
    row, column = (image.shape[0] - ny) // 2, (image.shape[1] - nx) // 2
    if min(row, column) < 0:
        raise ValueError(f"the image must have {ny} x {nx} pixels, got {image.shape}")
    cut = image[row : row + ny, column : column + nx]
    return cut.reshape(shape[0], BINNED, shape[1], BINNED).sum(axis=(1, 3))


def noise_left(noise: float, width: float) -> float:
    """Of a binned pixel, if white noise was smoothed by a Gaussian of that width (1σ, pixels)."""
    side = 2 * int(4 * width + 0.5) + BINNED + 1
    impulse = np.zeros((side, side))
    impulse[side // 2, side // 2] = 1
    kernel = gaussian_filter(impulse, width)
    boxed = sum(
        np.roll(kernel, (dy, dx), axis=(0, 1)) for dy in range(BINNED) for dx in range(BINNED)
    )
    return noise * float(np.sqrt(np.square(boxed).sum()))
