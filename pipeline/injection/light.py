"""The light of a real cutout's central galaxy: what an injected lens's mass has to follow.

Centre and shape come from adaptive moments: the Gaussian that fits the image best, found by
weighting the image with it (Bernstein & Jarvis 2002, AJ 123, 583; Hirata & Seljak 2003, MNRAS 343,
459, eqs. 5 to 7). A Gaussian weight keeps neighbours out, and is exact for Gaussian galaxies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FWHM_OF_SIGMA = math.sqrt(8 * math.log(2))
FLUX_RADIUS_IN_SIGMAS = 4.0
_ITERATIONS = 40
_FARTHEST_PIXELS = 4.0  # of a central galaxy from the central pixel
_NARROWEST_VARIANCE = 0.3  # pixels²: a Gaussian narrower than this falls between pixels
_WIDEST_SHARE = 0.14  # of the cutout's side, as a width (1σ)
_LEAST_RESOLVED = 0.15  # of the PSF's variance that the smaller axis must exceed the PSF by


@dataclass(frozen=True)
class CentralLight:
    """Central galaxies of N cutouts, in one band.

    Attributes
    ----------
    x, y : (N,) pixels from the central pixel; NaN where nothing could be measured
    moments : (N, 3) xx, xy, yy of the Gaussian that fits best, PSF included, pixels²
    radius : (N,) pixels, four geometric-mean widths, at least an arcsec
    flux : (N,) nJy within that radius of the centre
    snr : (N,) of that flux, background noise only
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    moments: NDArray[np.float64]
    radius: NDArray[np.float64]
    flux: NDArray[np.float64]
    snr: NDArray[np.float64]

    def take(self, index: NDArray) -> CentralLight:
        """The galaxies at `index`."""
        return CentralLight(**{name: value[index] for name, value in vars(self).items()})

    @classmethod
    def concatenate(cls, parts: list[CentralLight]) -> CentralLight:
        """Join measurements."""
        return cls(**{k: np.concatenate([vars(p)[k] for p in parts]) for k in vars(parts[0])})

    def turned(self, axes: NDArray, shift: NDArray) -> CentralLight:
        """The same galaxies in cutouts whose pixels moved.

        Parameters
        ----------
        axes : (N, 2, 2) orthogonal matrices that take (x, y) of the old cutout to the new
        shift : (N, 2) pixels along x and y, after the turn
        """
        x, y = np.einsum("nij,jn->in", axes, np.stack([self.x, self.y])) + shift.T
        xx, xy, yy = self.moments.T
        tensor = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)
        turned = axes @ tensor @ axes.transpose(0, 2, 1)
        moments = np.stack([turned[:, 0, 0], turned[:, 0, 1], turned[:, 1, 1]], axis=1)
        return replace(self, x=x, y=y, moments=moments)

    def area_over_psf(self, psf_fwhm_pixels: NDArray) -> NDArray[np.float64]:
        """Area of the Gaussian that fits best over the PSF's, (N,): about one for a star."""
        variance = (psf_fwhm_pixels / FWHM_OF_SIGMA) ** 2
        with np.errstate(divide="ignore"):
            return np.sqrt(_determinant(self.moments)) / variance

    def shape(self, psf_fwhm_pixels: NDArray) -> tuple[NDArray, NDArray]:
        """Axis ratio and angle of the major axis without the PSF, (N,) each; rad from +x to +y.

        A round PSF's second moments are taken off. Where hardly a galaxy is left, the axis that
        is lost counts as `_LEAST_RESOLVED` of the PSF: a point source is round.
        """
        floor = (psf_fwhm_pixels / FWHM_OF_SIGMA) ** 2
        xx, xy, yy = self.moments.T
        half, apart = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        long, short = (
            np.maximum(half + sign * apart - floor, _LEAST_RESOLVED * floor) for sign in (1, -1)
        )
        return np.sqrt(short / long), 0.5 * np.arctan2(2 * xy, xx - yy) % np.pi


def measure_centrals(
    images: NDArray, mask: NDArray, noise_njy: NDArray, pixel_scale_arcsec: float
) -> CentralLight:
    """Measure the galaxy at the centre of each cutout.

    Parameters
    ----------
    images, mask : (N, ny, nx) of one band; masked pixels count nothing
    noise_njy : (N,)

    Returns
    -------
    CentralLight
        All NaN where the fit leaves the centre or finds no light.
    """
    side = min(images.shape[-2:])
    fit = _Fit(images, ~mask, (_WIDEST_SHARE * side) ** 2)
    for _ in range(_ITERATIONS):
        fit.step()
    sigma = np.sqrt(np.sqrt(np.maximum(_determinant(fit.moments), _NARROWEST_VARIANCE**2)))
    radius = np.maximum(FLUX_RADIUS_IN_SIGMAS * sigma, 1 / pixel_scale_arcsec)
    x, y = fit.centre.T.copy()
    flux, n_pixels = aperture_flux(images, mask, x, y, radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = flux / (noise_njy * np.sqrt(n_pixels))
    light = CentralLight(x, y, fit.moments, radius, flux, snr)
    for values in vars(light).values():
        values[~(fit.found() & np.isfinite(snr) & (flux > 0))] = np.nan
    return light


def aperture_flux(
    images: NDArray, mask: NDArray, x: NDArray, y: NDArray, radius: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of the unmasked pixels within `radius` of (x, y), pixels from the centre."""
    rows, columns = _pixel_axes(images.shape)
    distance = np.hypot(columns - x[:, None, None], rows - y[:, None, None])
    inside = (distance <= radius[:, None, None]) & ~mask
    flux = np.where(inside, images, 0).sum(axis=(1, 2), dtype=np.float64)
    return flux, inside.sum(axis=(1, 2))


def _pixel_axes(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ny, nx = shape[-2:]
    rows, columns = np.ogrid[:ny, :nx]
    return (rows - ny // 2).astype(np.float64), (columns - nx // 2).astype(np.float64)


class _Fit:
    """Adaptive moments of N images, one iteration at a time; `good` is (N, ny, nx) bool."""

    def __init__(self, images: NDArray, good: NDArray, widest: float) -> None:
        self.rows, self.columns = _pixel_axes(images.shape)
        self.light = np.where(good, images, 0).astype(np.float64)
        self.widest = widest
        n = len(images)
        self.centre = np.zeros((n, 2))
        self.moments = np.tile([4.0, 0.0, 4.0], (n, 1))
        self.amplitude = np.zeros(n)

    def step(self) -> None:
        """Weight by the Gaussian found so far; its product with a Gaussian has half the moments."""
        dx = self.columns - self.centre[:, 0, None, None]
        dy = self.rows - self.centre[:, 1, None, None]
        xx, xy, yy = (m[:, None, None] for m in self.moments.T)
        form = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / (xx * yy - xy * xy)
        weighted = np.exp(-0.5 * form) * self.light
        self.amplitude = weighted.sum(axis=(1, 2))
        total = np.where(self.amplitude > 0, self.amplitude, np.inf)
        offset = np.stack([(weighted * d).sum(axis=(1, 2)) / total for d in (dx, dy)], axis=1)
        second = np.stack(
            [(weighted * p).sum(axis=(1, 2)) / total for p in (dx * dx, dx * dy, dy * dy)], axis=1
        )
        limit = 1.5 * _FARTHEST_PIXELS
        self.centre = np.clip(self.centre + 2 * offset, -limit, limit)
        self.moments = self._bounded(2 * second)

    def _bounded(self, moments: NDArray) -> NDArray:
        xx, xy, yy = moments.T
        half, apart = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        long = np.clip(half + apart, _NARROWEST_VARIANCE, self.widest)
        short = np.clip(half - apart, _NARROWEST_VARIANCE, self.widest)
        scale = (long - short) / 2 / np.where(apart > 0, apart, 1)
        mean = (long + short) / 2
        return np.stack(
            [mean + scale * (xx - yy) / 2, scale * xy, mean - scale * (xx - yy) / 2], axis=1
        )

    def found(self) -> NDArray[np.bool_]:
        """Which fits hold light, and stayed at the centre."""
        return (self.amplitude > 0) & (np.hypot(*self.centre.T) <= _FARTHEST_PIXELS)


def _determinant(moments: NDArray) -> NDArray:
    xx, xy, yy = moments.T
    return xx * yy - xy * xy
