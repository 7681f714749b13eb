"""Width of a point-spread function from its image."""

from __future__ import annotations

import math

import numpy as np

# samples a pixel along each axis of the interpolated image
OVERSAMPLING = 8


def psf_fwhm_pixels(psf: np.ndarray) -> float:
    """Full width at half maximum, in pixels: of the circle with the area above half maximum.

    Parameters
    ----------
    psf : (ny, nx), any sum

    Returns
    -------
    NaN where the image has no positive peak.
    """
    from scipy.ndimage import zoom

    image = np.nan_to_num(np.asarray(psf, dtype=np.float64))
    if not image.max() > 0:
        return math.nan
    # the core only: a spline through a steep peak is exact to some 1e-3 there
    y, x = np.unravel_index(image.argmax(), image.shape)
    core = image[max(0, y - 10) : y + 11, max(0, x - 10) : x + 11]
    fine = zoom(core, OVERSAMPLING, order=3, mode="nearest", grid_mode=True)
    area = np.count_nonzero(fine > fine.max() / 2) / OVERSAMPLING**2
    return 2 * math.sqrt(area / math.pi)
