"""What detectors and pipelines leave in images: sloping skies, unmasked hits and bad columns."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.conditions import SurveyConditions
from equilens.pipeline.simulation.noise import bad_columns, cosmic_rays

_RAY_SIGMAS = (5.0, 300.0)  # of the noise of a pixel, log-uniform
_COLUMN_SIGMAS = (1.0, 20.0)


def add_residual_sky(
    rng: np.random.Generator, images: Tensor, noise_njy: NDArray, conditions: SurveyConditions
) -> None:
    """Add a constant and a slope to images (N, B, ny, nx) in place.

    The slope's scatter is that from the centre to an edge. Both are in units of the noise.
    """
    ny, nx = images.shape[2:]
    shape = (3, *noise_njy.shape)
    scatter = np.array([conditions.sky_offset, *2 * (conditions.sky_gradient,)])
    plane = rng.normal(0, 1, shape) * scatter[:, None, None] * noise_njy
    level, slope_y, slope_x = torch.from_numpy(plane.astype(np.float32)).to(images.device)
    images += level[:, :, None, None]
    if conditions.sky_gradient:
        y, x = (torch.linspace(-1, 1, n, device=images.device) for n in (ny, nx))
        images.addcmul_(slope_y[:, :, None, None], y[:, None])
        images.addcmul_(slope_x[:, :, None, None], x)


def add_unmasked_defects(
    rng: np.random.Generator, images: Tensor, noise_njy: NDArray, probability: float
) -> None:
    """Add cosmic-ray hits and bad columns that no mask tells of, each to a share of the objects."""
    n, n_bands, *shape = images.shape
    for draw, sigmas in ((cosmic_rays, _RAY_SIGMAS), (bad_columns, _COLUMN_SIGMAS)):
        low, high = np.log(sigmas)
        for row in np.flatnonzero(rng.random(n) < probability):
            band = rng.integers(n_bands)
            hit = torch.from_numpy(draw(rng, (shape[0], shape[1]))).to(images.device)
            sign = rng.choice([-1, 1]) if draw is bad_columns else 1
            level = sign * np.exp(rng.uniform(low, high)) * noise_njy[row, band]
            images[row, band] += hit * float(level)
