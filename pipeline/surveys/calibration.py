"""A survey's rules applied to its pixels: zero points, asinh-scaled archive files, masks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import Cards

if TYPE_CHECKING:
    from equilens.pipeline.surveys.survey import MaskRule, Survey


def zeropoint_of(survey: Survey, band: str, cards: Cards) -> float:
    """AB magnitude of one count in an image.

    Parameters
    ----------
    survey : whose rule holds
    band : name of the image's band
    cards : the image's header

    Raises
    ------
    RejectedObject
        If the header lacks what the rule needs.
    """
    declared = survey.band(band).zeropoint
    if survey.zeropoint_rule == "band":
        assert declared is not None  # the survey checked it
        return declared
    if survey.zeropoint_rule == "stack-exptime":
        assert declared is not None
        return declared + 2.5 * math.log10(_positive(cards, "EXPTIME", band))
    if survey.zeropoint_rule == "flux-keyword":
        return 2.5 * math.log10(_positive(cards, survey.zeropoint_keyword, band))
    value = cards.number(survey.zeropoint_keyword)
    if value is None or not -50.0 < value < 100.0:
        raise _no_zeropoint(survey.zeropoint_keyword, value, band)
    return value


def _positive(cards: Cards, keyword: str, band: str) -> float:
    value = cards.number(keyword)
    if value is None or not 0 < value < math.inf:
        raise _no_zeropoint(keyword, value, band)
    return value


def _no_zeropoint(keyword: str, value: float | None, band: str) -> RejectedObject:
    found = "is missing or no number" if value is None else f"= {value}"
    return RejectedObject(
        "no-zeropoint",
        f"band {band}: card {keyword} {found}",
        "write it into the header, or declare zero points in the survey",
    )


def linear_pixels(pixels: np.ndarray, cards: Cards) -> np.ndarray:
    """Pixels in linear units.

    Archive stacks of Pan-STARRS1 are asinh-scaled and say so by two cards (STScI, PS1 Stack
    images): flux = BOFFSET + 2 BSOFTEN sinh(ln(10) / 2.5 · value).
    """
    soften, offset = cards.number("BSOFTEN"), cards.number("BOFFSET")
    if soften is None or offset is None:
        return pixels
    with np.errstate(over="ignore"):
        grown = np.sinh(pixels.astype(np.float64) * (math.log(10) / 2.5))
        return (offset + 2.0 * soften * grown).astype(np.float32)


def mask_planes(rule: MaskRule, images: np.ndarray, rms: np.ndarray | None) -> np.ndarray:
    """Where pixels carry no sky.

    Parameters
    ----------
    rule : the survey's
    images : (B, h, w), file units
    rms : (B, h, w) noise planes, or None

    Returns
    -------
    mask : (B, h, w) bool, True for such pixels
    """
    mask = ~np.isfinite(images)
    for value in rule.values:
        mask |= images == np.float32(value)
    if rms is not None and rule.rms_above is not None:
        mask |= rms >= rule.rms_above
    return mask
