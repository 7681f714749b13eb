"""Cutouts as pictures: three bands in colour, one in grey, both behind an asinh stretch.

Colours follow Lupton et al. 2004 (PASP 116, 133): one stretch for three bands, so that a pixel's
colour does not depend on its brightness. Each band is first divided by the brightness of its own
central galaxy, so that an arc differs in hue from the galaxy that bends it. Brightness is taken at
the resolution of the sharpest band, hue at that of the widest.
"""

from __future__ import annotations

import base64
import io
from functools import lru_cache

import matplotlib.image
import numpy as np
from scipy.ndimage import gaussian_filter

from equilens.pipeline.errors import SurveyError
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys.registry import get_survey

MASKED_COLOUR = 0.16
FWHM_OF_SIGMA = 2.3548
HUE_BLUR_PX = 0.7
_FAINTEST_SIGMAS = 12.0
_PREFERRED = ("g", "r", "i")


@lru_cache(maxsize=32)
def band_wavelengths(survey: str, bands: tuple[str, ...]) -> tuple[float, ...]:
    """Wavelengths in nm; the order of the bands where the survey is not installed."""
    try:
        known = get_survey(survey)
        return tuple(known.band(name).wavelength_nm for name in bands)
    except SurveyError:
        return tuple(float(k) for k in range(len(bands)))


def colour_bands(survey: str, bands: tuple[str, ...], present: np.ndarray) -> tuple[int, ...]:
    """Indices of the bands for blue, green and red; of one band where three are not there."""
    there = [k for k in range(len(bands)) if present[k]]
    if len(there) < 3:
        return (there[0],) if there else (0,)
    names = {name: k for k, name in enumerate(bands) if present[k]}
    if all(name in names for name in _PREFERRED):
        return tuple(names[name] for name in _PREFERRED)
    wavelength = band_wavelengths(survey, bands)
    ordered = sorted(there, key=lambda k: wavelength[k])
    return ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]


def picture(
    images: np.ndarray,
    mask: np.ndarray,
    noise_njy: np.ndarray,
    psf_fwhm_px: np.ndarray,
    bands: tuple[int, ...],
) -> np.ndarray:
    """A picture of one cutout.

    Parameters
    ----------
    images, mask : (B, ny, nx) of one object
    noise_njy : (B,)
    psf_fwhm_px : (B,) widths of the PSF; NaN where unknown
    bands : indices for blue, green and red, or of one band

    Returns
    -------
    (ny, nx, 3) float in [0, 1], first row at the top: y runs upwards in the sky's usual view
    """
    chosen = list(bands)
    noise = np.where(noise_njy[chosen] > 0, noise_njy[chosen], 1.0).astype(float)
    mask = mask[chosen]
    planes = [_without_sky(images[k], m, n) for k, m, n in zip(bands, mask, noise, strict=True)]
    units = np.array([_brightness(p, m, n) for p, m, n in zip(planes, mask, noise, strict=True)])
    scaled = np.stack(planes) / units[:, None, None]
    # the stretch turns from linear to logarithmic at two sigmas of the mean plane
    softening = 2.0 * float(np.sqrt(np.sum((noise / units) ** 2))) / len(planes)
    fwhm = psf_fwhm_px[chosen]
    sharpest = scaled[np.nanargmin(fwhm)] if np.isfinite(fwhm).any() else scaled.mean(axis=0)
    brightness = 0.5 * (scaled.mean(axis=0) + sharpest)
    stretched = np.arcsinh(np.clip(brightness, 0, None) / softening) / np.arcsinh(1 / softening)
    colour = _hue(planes, mask, noise, fwhm, softening) * stretched
    colour /= np.maximum(colour.max(axis=0), 1.0)
    rgb = np.repeat(colour, 3, axis=0) if len(bands) == 1 else colour[::-1]
    rgb = np.where(mask.all(axis=0), MASKED_COLOUR, rgb)
    return np.moveaxis(rgb, 0, -1)[::-1]


def _hue(
    planes: list[np.ndarray],
    mask: np.ndarray,
    noise: np.ndarray,
    fwhm: np.ndarray,
    softening: float,
) -> np.ndarray:
    """Share of each band in the mean, at the resolution of the widest PSF; 1 down in the noise."""
    widest = np.nanmax(fwhm) if np.isfinite(fwhm).any() else 0.0
    narrowing = np.sqrt(np.clip(widest**2 - np.nan_to_num(fwhm, nan=widest) ** 2, 0, None))
    shares = []
    # a sharp band beside blurred ones would give every point source a core of its own colour
    for plane, bad, sigma, width in zip(planes, mask, noise, narrowing, strict=True):
        blurred = gaussian_filter(plane, float(np.hypot(width / FWHM_OF_SIGMA, HUE_BLUR_PX)))
        shares.append(np.clip(blurred / _brightness(blurred, bad, sigma), 0, None))
    matched = np.stack(shares) + 0.5 * softening
    return matched / matched.mean(axis=0)


def _without_sky(image: np.ndarray, mask: np.ndarray, noise: float) -> np.ndarray:
    sky = float(np.median(image[~mask])) if (~mask).any() else 0.0
    return np.where(mask, 0.0, image - np.clip(sky, -3 * noise, 3 * noise))


def _brightness(plane: np.ndarray, mask: np.ndarray, noise: float) -> float:
    """Of the central galaxy: a high percentile of the inner fifth, never down in the noise."""
    ny, nx = plane.shape
    inner = (slice(2 * ny // 5, -(2 * ny // 5)), slice(2 * nx // 5, -(2 * nx // 5)))
    known = plane[inner][~mask[inner]]
    peak = float(np.percentile(known, 97)) if known.size else 0.0
    return max(peak, _FAINTEST_SIGMAS * noise)


def store_picture(store: CutoutStore, row: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """The picture of one object of a store, and the names of its bands, from blue to red."""
    rows = slice(row, row + 1)
    names = ("band_present", "psf_fwhm_arcsec", "pixel_scale_arcsec", "noise_njy")
    present, fwhm, scale, noise = (store.facts(name, rows)[0] for name in names)
    chosen = colour_bands(store.survey_name, store.band_names, present)
    images, mask = (store.read_pixels(name, rows)[0] for name in ("images", "mask"))
    rgb = picture(images, mask, noise, fwhm / scale, chosen)
    return rgb, tuple(store.band_names[k] for k in chosen)


def png_uri(rgb: np.ndarray) -> str:
    """A picture as a ``data:`` address."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, np.clip(rgb, 0, 1), format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
