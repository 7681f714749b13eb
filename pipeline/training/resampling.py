"""Images scaled, shifted by parts of a pixel and blurred, one axis after the other.

Scale and shift are cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153, equation 15), blur is
a Gaussian. No product of matrices is taken, though one an axis would do: a library's threads would
fight for the cores with the training's own.

Interpolation and blur average pixels, so that the sky's noise gets fainter and its pixels become
correlated. A sharper or blurrier night has neither: there the sky is blurred before the noise of
the detector and of the sky's photons comes in. White noise is added that brings every pixel back
to the variance it had, so that the stated noise stays right for each pixel. What remains is a
correlation of neighbours, as in any survey that resamples its exposures: at half a pixel 41 % of
the variance is of the old, correlated kind, with a blur of one pixel 8 %.

Surface brightness is kept: a scaled galaxy has the same nJy a pixel, and scale² times the flux.
Shift and blur keep the flux.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

_USABLE = 0.75
_INTERPOLATED = 0.5
_WIDTHS = 4.0


@dataclass(frozen=True)
class AxisMove:
    """Where the pixels of one axis come from.

    Attributes
    ----------
    taps : (4, side) int, old pixels; beyond the edge, the edge is repeated
    weights : (4, side) float32, of them
    outside : (side,) bool, new pixels that lie beyond the old edge
    """

    taps: np.ndarray
    weights: np.ndarray
    outside: np.ndarray

    def kept_variance(self, kernel: np.ndarray) -> np.ndarray:
        """Share of white noise's variance that each pixel keeps, blurred by `kernel`; (side,)."""
        if len(kernel) == 1:
            return (self.weights**2).sum(axis=0)
        side = self.taps.shape[1]
        matrix = np.zeros((side, side), np.float32)
        for taps, weights in zip(self.taps, self.weights, strict=True):
            # pixels of one tap are different rows: nothing is added twice
            matrix[np.arange(side), taps] += weights
        matrix = correlate1d(matrix, kernel, axis=0, mode="nearest")
        return (matrix**2).sum(axis=1)


def axis_move(side: int, scale: float, shift: float) -> AxisMove:
    """Scale about the centre of an axis of `side` pixels, then shift by `shift` pixels.

    A scale of more than 1 makes things larger.
    """
    centre = (side - 1) / 2
    source = centre + (np.arange(side) - centre - shift) / scale
    taps = np.floor(source).astype(int) + np.arange(-1, 3)[:, None]
    weights = cubic_convolution(source - taps).astype(np.float32)
    outside = (source < -0.5) | (source > side - 0.5)
    return AxisMove(np.clip(taps, 0, side - 1), weights, outside)


def cubic_convolution(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = −1/2: exact for quadratics, 1 at 0 and 0 at other whole numbers."""
    d = np.abs(distance)
    near = (1.5 * d - 2.5) * d**2 + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def gaussian_kernel(sigma: float) -> np.ndarray:
    """Odd float32 kernel of unit sum, out to four widths; the single pixel for sigma 0."""
    reach = math.ceil(_WIDTHS * sigma)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / max(sigma, 1e-3)) ** 2)
    return (kernel / kernel.sum()).astype(np.float32)


def resampled(
    pixels: np.ndarray,
    mask: np.ndarray,
    noise: np.ndarray,
    moves: tuple[AxisMove, AxisMove],
    blur: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """New pixels and mask of one cutout, with the noise in each pixel that it had.

    Parameters
    ----------
    pixels : (B, ny, nx) float32, nJy, 0 where masked
    mask : (B, ny, nx) bool
    noise : (B,) float32, nJy; 0 for a missing band
    moves : of y and of x
    blur : (B,) widths, pixels
    """
    kernels = {float(width): gaussian_kernel(width) for width in np.unique(blur)}
    image = _moved(pixels, moves, kernels, blur)
    outside = moves[0].outside[:, None] | moves[1].outside[None, :]
    masked = np.broadcast_to(outside, mask.shape).copy()
    # a band without any sky needs no arithmetic; it is masked as a whole
    n_bad = np.count_nonzero(mask, axis=(1, 2))
    masked[n_bad == mask[0].size] = True
    partly = np.flatnonzero((n_bad > 0) & (n_bad < mask[0].size))
    if partly.size:
        # bad pixels have no say: their weight goes to the good ones around them
        share = _moved((~mask[partly]).astype(np.float32), moves, kernels, blur[partly])
        masked[partly] |= share < _USABLE
        image[partly] /= np.maximum(share, _INTERPOLATED)
    fresh = rng.standard_normal(image.shape, np.float32)
    for width, kernel in kernels.items():
        kept = np.outer(*(move.kept_variance(kernel) for move in moves))
        lost = np.sqrt(np.maximum(1 - kept, 0))
        for band in np.flatnonzero(blur == width):
            image[band] += fresh[band] * (lost * noise[band])
    return image, masked


def _moved(
    image: np.ndarray,
    moves: tuple[AxisMove, AxisMove],
    kernels: dict[float, np.ndarray],
    blur: np.ndarray,
) -> np.ndarray:
    """Interpolated along y, then along x, then blurred."""
    down, across = moves
    rows = sum(image[:, t] * w[:, None] for t, w in zip(down.taps, down.weights, strict=True))
    new = sum(rows[:, :, t] * w for t, w in zip(across.taps, across.weights, strict=True))
    for band, width in enumerate(blur):
        if width:
            for axis in (0, 1):
                new[band] = correlate1d(new[band], kernels[float(width)], axis, mode="nearest")
    return new
