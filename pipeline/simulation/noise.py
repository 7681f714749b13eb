"""Noise, masks and missing bands."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.conditions import SurveyConditions, flux_njy


def electrons_per_njy(
    noise_njy: Tensor, pixel_scale_arcsec: float, conditions: SurveyConditions
) -> Tensor:
    """Return the gain that makes the background photon noise of the sky: σ² = sky / gain."""
    sky = flux_njy(conditions.sky_mag_per_arcsec2) * pixel_scale_arcsec**2
    return noise_njy.square().reciprocal() * sky


def resampling_taps(width_pixels: float) -> tuple[int, float]:
    """Return (passes, weight) of the two-tap kernel (1 − w, w) with the asked-for width.

    m passes have the variance m w (1 − w) along each axis; they stand for the interpolation of a
    resampled image, and sum to one.
    """
    variance = width_pixels**2
    passes = max(1, math.ceil(4 * variance))
    return passes, 0.5 - math.sqrt(0.25 - variance / passes)


def pixel_scatter_ratio(width_pixels: float) -> float:
    """Return the scatter of one pixel over the stated noise for a resampling kernel."""
    if width_pixels <= 0:
        return 1.0
    passes, weight = resampling_taps(width_pixels)
    kernel = np.poly1d([1.0])
    for _ in range(passes):
        kernel = kernel * np.poly1d([1 - weight, weight])
    return float((kernel.coeffs**2).sum())


def add_noise(
    images: Tensor,
    noise_njy: Tensor,
    gain: Tensor,
    correlation_pixels: tuple[float, ...],
    generator: torch.Generator,
) -> None:
    """Add background and photon noise in place.

    Per pixel the white field has variance σ² + max(signal, 0) / gain: the normal limit of Poisson
    statistics, good where the background gives tens of electrons. Correlated bands are then
    smoothed by their unit-sum kernel.

    Parameters
    ----------
    images : (N, B, ny, nx) Tensor, nJy, noiseless
    noise_njy, gain : (N, B) Tensor; nJy and electrons per nJy
    """
    photon = images.clamp_min(0).mul_((1 / gain)[:, :, None, None])
    sigma = photon.add_(noise_njy.square()[:, :, None, None]).sqrt_()
    for band, width in enumerate(correlation_pixels):
        if width <= 0:
            white = torch.empty_like(sigma[:, band]).normal_(generator=generator)
            images[:, band].addcmul_(white, sigma[:, band])
        else:
            images[:, band] += _correlated(sigma[:, band], width, generator)


def _correlated(sigma: Tensor, width: float, generator: torch.Generator) -> Tensor:
    passes, weight = resampling_taps(width)
    before = round(passes * weight)  # keeps the noise map centred on the light that made it
    border = (before, passes - before)
    padded = torch.nn.functional.pad(sigma[:, None], border * 2, mode="replicate")[:, 0]
    field = torch.empty_like(padded).normal_(generator=generator).mul_(padded)
    for _ in range(passes):
        field = torch.lerp(field[:, :-1], field[:, 1:], weight)
    for _ in range(passes):
        field = torch.lerp(field[:, :, :-1], field[:, :, 1:], weight)
    return field


def draw_missing_bands(
    rng: np.random.Generator, n: int, n_bands: int, probability: float, limit: int
) -> NDArray[np.bool_]:
    """Return which bands are present, (n, B); at most `limit` are missing from an object."""
    missing = rng.random((n, n_bands)) < probability
    rank = np.argsort(np.argsort(rng.random((n, n_bands)) - missing, axis=1), axis=1)
    return ~(missing & (rank < limit))


def draw_masks(
    rng: np.random.Generator, n: int, n_bands: int, shape: tuple[int, int], probability: float
) -> NDArray[np.bool_]:
    """Return masked pixels (n, B, ny, nx): bad columns, cosmic-ray hits, missing edges."""
    mask = np.zeros((n, n_bands, *shape), dtype=bool)
    for draw in (bad_columns, cosmic_rays, _missing_edge):
        for row in np.flatnonzero(rng.random(n) < probability):
            band = slice(None) if rng.random() < 0.3 else rng.integers(n_bands)
            mask[row, band] |= draw(rng, shape)
    return mask


def bad_columns(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return pixels (ny, nx) of one to three neighbouring columns, or rows."""
    mask = np.zeros(shape, dtype=bool)
    start = rng.integers(shape[1])
    mask[:, start : start + rng.integers(1, 4)] = True
    return mask.T if rng.random() < 0.5 and shape[0] == shape[1] else mask


def cosmic_rays(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return pixels (ny, nx) of one to four tracks of up to twelve pixels."""
    mask = np.zeros(shape, dtype=bool)
    for _ in range(rng.integers(1, 5)):
        length, turn = rng.uniform(1, 12), rng.uniform(0, np.pi)
        steps = np.arange(0, length, 0.5)
        row = rng.integers(shape[0]) + np.round(steps * np.sin(turn)).astype(int)
        column = rng.integers(shape[1]) + np.round(steps * np.cos(turn)).astype(int)
        inside = (row >= 0) & (row < shape[0] - 1) & (column >= 0) & (column < shape[1] - 1)
        mask[row[inside], column[inside]] = True
        mask[row[inside] + 1, column[inside]] = True
    return mask


def _missing_edge(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    turn = rng.uniform(0, 2 * np.pi)
    across = (x - shape[1] / 2) * np.cos(turn) + (y - shape[0] / 2) * np.sin(turn)
    return across > rng.uniform(0.25, 0.6) * min(shape)
