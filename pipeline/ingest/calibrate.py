"""One object from file units to nJy, in the survey's shape, with what is to be known about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

import numpy as np

from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.fits.wcs import shift_wcs
from equilens.pipeline.geometry import Window
from equilens.pipeline.noise import plane_noise
from equilens.pipeline.psf import psf_fwhm_pixels
from equilens.pipeline.quarantine import (
    ALL_MASKED,
    BAD_ZEROPOINT,
    CONSTANT_IMAGE,
    IDENTICAL_BANDS,
    MISSING_BAND,
)
from equilens.pipeline.surveys.objects import RawCutout
from equilens.pipeline.surveys.survey import Survey

# the AB system: magnitude 0 is 3631 Jy (Oke & Gunn 1983)
AB_ZERO_NJY = 3.631e12


@dataclass
class Calibrated:
    """What is known about an object beside its pixels; per-band arrays have shape (B,).

    Attributes
    ----------
    flags : bits of `CutoutFlag`
    band_present : False where a band holds nothing to look at
    noise_njy : from the noise plane; NaN where there is none
    psf_fwhm_arcsec : from the PSF image, else the survey's typical width
    wcs_header : moved along with the pixels
    """

    flags: int
    band_present: np.ndarray
    noise_njy: np.ndarray
    psf_fwhm_arcsec: np.ndarray
    wcs_header: str


def njy_per_count(zeropoint: np.ndarray) -> np.ndarray:
    """Flux of one count: 3631 Jy times 10**(-0.4 zeropoint).

    Parameters
    ----------
    zeropoint : (B,) AB magnitude of one count
    """
    return AB_ZERO_NJY * 10 ** (-0.4 * np.asarray(zeropoint, dtype=np.float64))


def calibrate(raw: RawCutout, survey: Survey, images: np.ndarray, mask: np.ndarray) -> Calibrated:
    """Fill `images` and `mask` from one object's raw pixels.

    Parameters
    ----------
    raw : as its files hold it
    survey : whose shape and limits apply
    images : (B, ny, nx) float32, overwritten: nJy, 0 where masked
    mask : (B, ny, nx) bool, overwritten

    Raises
    ------
    RejectedObject
        If a rule of the quarantine table is broken.
    """
    window = Window.centred(raw.images.shape[-2:], images.shape[-2:])
    inner = (..., *window.target)
    counts = raw.images[(..., *window.source)]
    factor = _factors(raw)
    window.place(raw.mask, mask, True)
    clean = not mask.any()
    present = _usable_bands(raw, survey, counts, None if clean else mask[inner])
    _refuse_identical_bands(raw, survey, counts, present)
    if window.padded:
        images[...] = 0
    # float64 factors, so that the product is rounded once
    np.multiply(counts, factor[:, None, None], out=images[inner], casting="same_kind")
    if not present.all():
        mask[~present] = True
        clean = False
    if not clean:
        images[mask] = 0
    clean &= not _clear_wild_pixels(images, mask)
    noise = np.full(len(present), np.nan)
    if raw.rms is not None:
        noise = plane_noise(raw.rms[(..., *window.source)], mask[inner]) * factor
        noise[~present] = np.nan
    return Calibrated(
        flags=_flags(raw, window, present, None if clean else mask),
        band_present=present,
        noise_njy=noise,
        psf_fwhm_arcsec=_psf_widths(raw, survey),
        wcs_header=_moved(raw.wcs_header, window),
    )


def _factors(raw: RawCutout) -> np.ndarray:
    zeropoint = np.asarray(raw.zeropoint, dtype=np.float64)
    factor = _known_factors(zeropoint.tobytes(), np.asarray(raw.band_present, dtype=bool).tobytes())
    if factor is None:
        raise BAD_ZEROPOINT.broken(f"zero points {zeropoint.tolist()}", raw.source_file)
    return factor


@lru_cache(maxsize=256)
def _known_factors(zeropoint: bytes, present: bytes) -> np.ndarray | None:
    """Of the bands' zero points, 0 for a missing band; None where one is no flux."""
    missing = ~np.frombuffer(present, dtype=bool)
    with np.errstate(over="ignore"):
        factor = njy_per_count(np.frombuffer(zeropoint))
    if not (missing | (np.isfinite(factor) & (factor > 0))).all():
        return None
    factor[missing] = 0
    factor.flags.writeable = False
    return factor


def _usable_bands(
    raw: RawCutout, survey: Survey, counts: np.ndarray, mask: np.ndarray | None
) -> np.ndarray:
    """Bands with something to see: what is masked all over or does not vary holds no sky.

    `mask` is None where no pixel is masked.
    """
    covered = raw.band_present.copy()
    row = counts[:, counts.shape[1] // 2]
    if mask is None and covered.all() and not (row[:, 0] == row[:, 1]).any():
        return covered
    if mask is not None:
        covered &= ~mask.all(axis=(-2, -1))
    if not covered.any():
        raise ALL_MASKED.broken("no pixel of the cutout carries sky", raw.source_file)
    constant = _constant_bands(counts, mask, covered)
    present = covered & ~constant
    if present.all():
        return present
    n_missing = len(present) - np.count_nonzero(present)
    if n_missing > survey.max_missing_bands:
        rule = CONSTANT_IMAGE if constant.any() else MISSING_BAND
        names = ", ".join(np.array(survey.band_names)[~present])
        limit = f"survey {survey.name!r} allows {survey.max_missing_bands} missing"
        raise rule.broken(f"nothing to see in {names}; {limit}", raw.source_file)
    return present


def _constant_bands(counts: np.ndarray, mask: np.ndarray | None, covered: np.ndarray) -> np.ndarray:
    """Bands whose unmasked pixels are all equal; a look at one row spares most of the work."""
    row = counts[:, counts.shape[1] // 2]
    alike = (row == row[:, :1]).all(axis=-1)
    suspect = covered & (alike if mask is None else alike | mask.any(axis=(-2, -1)))
    constant = np.zeros(len(counts), dtype=bool)
    for band in np.flatnonzero(suspect):
        values = counts[band] if mask is None else counts[band][~mask[band]]
        constant[band] = values.min() == values.max()
    return constant


def _clear_wild_pixels(images: np.ndarray, mask: np.ndarray) -> bool:
    """Mask what is not finite though a plugin, or a factor, let it through; whether any was."""
    finite = np.isfinite(images)
    if finite.all():
        return False
    wild = ~finite
    mask |= wild
    images[wild] = 0
    return True


def _refuse_identical_bands(
    raw: RawCutout, survey: Survey, counts: np.ndarray, present: np.ndarray
) -> None:
    row = counts.shape[1] // 2
    values = counts[:, row, counts.shape[2] // 2].tolist()
    # one pixel tells almost always; NaN is never equal to itself
    if len(set(values)) == len(values) and all(value == value for value in values):
        return
    seen: dict[bytes, int] = {}
    for band in np.flatnonzero(present).tolist():
        twin = seen.setdefault(counts[band, row].tobytes(), band)
        if twin != band and np.array_equal(counts[band], counts[twin], equal_nan=True):
            names = f"{survey.band_names[twin]} and {survey.band_names[band]}"
            raise IDENTICAL_BANDS.broken(f"bands {names} are equal to the byte", raw.source_file)


def _flags(raw: RawCutout, window: Window, present: np.ndarray, mask: np.ndarray | None) -> int:
    conditions = (
        (CutoutFlag.MISSING_BAND, not present.all()),
        (CutoutFlag.PADDED, window.padded),
        (CutoutFlag.CROPPED, window.cropped),
        (CutoutFlag.NO_POSITION, not (isfinite(raw.ra) and isfinite(raw.dec))),
        (CutoutFlag.ZEROPOINT_DECLARED, raw.zeropoint_declared),
        (CutoutFlag.MASKED_CENTRE, mask is not None and _masked_centre(mask[present])),
    )
    return raw.flags | sum(flag for flag, holds in conditions if holds)


def _masked_centre(mask: np.ndarray) -> bool:
    y, x = mask.shape[-2] // 2, mask.shape[-1] // 2
    return bool(mask[:, y - 1 : y + 2, x - 1 : x + 2].any())


def _psf_widths(raw: RawCutout, survey: Survey) -> np.ndarray:
    widths = np.array([band.psf_fwhm_arcsec for band in survey.bands])
    for index, psf in enumerate(raw.psf):
        if psf is not None:
            measured = psf_fwhm_pixels(psf) * survey.pixel_scale_arcsec
            widths[index] = measured if isfinite(measured) else widths[index]
    return widths


def _moved(wcs_header: str, window: Window) -> str:
    dy, dx = window.shift
    return shift_wcs(wcs_header, dx, dy) if wcs_header and (dx or dy) else wcs_header
