"""World coordinates of a cutout: a short header text, and the sky position of a pixel.

The text holds only the cards that place pixels on the sky, one a line; astropy reads it by
``Header.fromstring(text, sep="\\n")``. Plain TAN headers are solved here in closed form (Calabretta
and Greisen 2002, A&A 395, 1077: eqs. 2, 54, 55 and 14 to 15), all others by astropy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from equilens.pipeline.fits.cards import Cards

_KEYWORDS = [
    "CTYPE1",
    "CTYPE2",
    "CUNIT1",
    "CUNIT2",
    "CRPIX1",
    "CRPIX2",
    "CRVAL1",
    "CRVAL2",
    "CD1_1",
    "CD1_2",
    "CD2_1",
    "CD2_2",
    "PC1_1",
    "PC1_2",
    "PC2_1",
    "PC2_2",
    "CDELT1",
    "CDELT2",
    "CROTA2",
    "LONPOLE",
    "LATPOLE",
    "RADESYS",
    "EQUINOX",
]
_NEEDED = ("CTYPE1", "CTYPE2", "CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")
_OLD_MATRIX = {f"PC00{i}00{j}": f"PC{i}_{j}" for i in (1, 2) for j in (1, 2)}
_SCALED_MATRIX = {"PC1_1", "PC1_2", "PC2_1", "PC2_2", "CDELT1", "CDELT2", "CROTA2"}
_DISTORTION = re.compile(r"(?:A|B|AP|BP)_(?:ORDER|\d+_\d+)|PV\d_\d+")
_BESIDE_REFERENCE = (
    *(key for key in _KEYWORDS if not key.startswith("CRVAL")),
    *(*_OLD_MATRIX, "RADECSYS", "PV1_1", "PV2_1"),
)
_REFERENCE = re.compile(r"^CRVAL1  = ([^'\s]+)\nCRVAL2  = ([^'\s]+)$", re.MULTILINE)
_NO_POSITION = (math.nan, math.nan)


def wcs_text(cards: Mapping[str, Any]) -> str:
    """The celestial WCS cards of a header, with old ``PC001001`` keywords written the new way.

    Returns "" where the header has no celestial WCS.
    """
    if not isinstance(cards, Cards):
        return _whole_text(cards)
    # files of a survey repeat all but the reference position: the text around it is remembered
    around = _text_around(cards.raw(_BESIDE_REFERENCE))
    values = cards.get("CRVAL1"), cards.get("CRVAL2")
    if around is None or any(type(value) not in (int, float) for value in values):
        return _whole_text(cards)
    return f"{_card('CRVAL1', values[0])}\n{_card('CRVAL2', values[1])}".join(around)


@lru_cache(maxsize=256)
def _text_around(raw: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    """What comes before and after CRVAL1 and CRVAL2; None where these cards do not decide it."""
    cards = Cards({**dict(raw), "CRVAL1": "= 0.0", "CRVAL2": "= 0.0"})
    found = _REFERENCE.search(text := _whole_text(cards))
    if found is None or _is_distorted(cards):
        return None
    return text[: found.start()], text[found.end() :]


def _is_distorted(cards: Mapping[str, Any]) -> bool:
    return str(cards["CTYPE1"]).endswith(("SIP", "TPV")) or "PV1_1" in cards or "PV2_1" in cards


def _whole_text(cards: Mapping[str, Any]) -> str:
    if any(key not in cards for key in _NEEDED):
        return ""
    found = {key: cards[key] for key in _KEYWORDS if key in cards}
    if not str(found["CTYPE1"]).startswith(("RA", "DEC", "GLON", "GLAT")):
        return ""
    if any(isinstance(found[key], (str, bool, type(None))) for key in _NEEDED[2:]):
        return ""
    for old, new in _OLD_MATRIX.items():
        if old in cards and new not in found:
            found[new] = cards[old]
    if any(key.startswith("CD") and key[2:3].isdigit() for key in found):
        # the standard forbids both kinds of matrix; where both are written, CD is the older habit
        found = {key: value for key, value in found.items() if key not in _SCALED_MATRIX}
    if "RADESYS" not in found and "RADECSYS" in cards:
        found["RADESYS"] = cards["RADECSYS"]
    if _is_distorted(cards):
        found |= {key: cards[key] for key in cards if _DISTORTION.fullmatch(key)}
    return "\n".join(_card(key, value) for key, value in found.items() if value is not None)


def _card(key: str, value: Any) -> str:
    if isinstance(value, str):
        return f"{key:8}= '{value:8}'"
    if isinstance(value, bool):
        return f"{key:8}= {'T' if value else 'F'}"
    return f"{key:8}= {float(value)!r}".upper()


def shift_wcs(text: str, dx: float, dy: float) -> str:
    """Move the reference pixel by (`dx`, `dy`) pixels, as padding by that much does."""
    if not text:
        return ""
    steps = {"CRPIX1": dx, "CRPIX2": dy}
    lines = []
    for line in text.split("\n"):
        key = line[:8].rstrip()
        lines.append(_card(key, float(line[10:]) + steps[key]) if key in steps else line)
    return "\n".join(lines)


def parse_wcs(text: str) -> dict[str, float | str]:
    """The values in a text of `wcs_text`, by keyword."""
    values: dict[str, float | str] = {}
    for line in text.split("\n"):
        body = line[10:].strip()
        values[line[:8].rstrip()] = body.strip("'").rstrip() if body[0] == "'" else float(body)
    return values


def pixel_to_sky(text: str, x: float, y: float) -> tuple[float, float]:
    """ICRS position of pixel (`x`, `y`), counted from 0 at the centre of the first.

    Returns
    -------
    ra, dec : degrees; NaN where the header has no position or no valid one
    """
    if not text:
        return _NO_POSITION
    found = _REFERENCE.search(text)
    plane = found and _tangent_plane(text[: found.start()] + text[found.end() + 1 :])
    if not found or not plane or not abs(float(found[2])) < 90.0:
        return _astropy_sky(text, x, y)
    ra, dec = plane.to_sky(float(found[1]), float(found[2]), x, y)
    if plane.frame == "FK5":
        ra, dec = _rotate(ra, dec)
    return (ra, dec) if math.isfinite(ra + dec) else _NO_POSITION


def sky_to_pixel(text: str, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates, from 0, of ICRS positions in degrees; by astropy.

    Positions that do not project get NaN.
    """
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    wcs = _astropy_wcs(text)
    x, y = wcs.world_to_pixel(SkyCoord(ra * u.deg, dec * u.deg))
    return np.atleast_1d(x), np.atleast_1d(y)


def _is_plain_tan(values: Mapping[str, float | str]) -> bool:
    units = {values.get("CUNIT1", "deg"), values.get("CUNIT2", "deg")}
    return (
        values["CTYPE1"] == "RA---TAN"
        and values["CTYPE2"] == "DEC--TAN"
        and units <= {"deg", ""}
        and values.get("LONPOLE", 180.0) == 180.0
        and not values.get("CROTA2")
        and not any(key.startswith("PV") for key in values)
        and all(isinstance(values[key], float) for key in ("CRPIX1", "CRPIX2"))
    )


def _frame(values: Mapping[str, float | str]) -> str:
    """ICRS, FK5 of equinox 2000, or other; the defaults of FITS standard 4.0, section 8.3."""
    equinox = values.get("EQUINOX")
    system = values.get("RADESYS", "ICRS" if equinox is None else "FK5")
    if system == "ICRS":
        return "ICRS"
    return "FK5" if system == "FK5" and equinox in (None, 2000.0) else "other"


def _matrix(values: Mapping[str, float | str]) -> tuple[float, float, float, float]:
    if any(key.startswith("CD") and key[2:3].isdigit() for key in values):
        entries = [values.get(f"CD{i}_{j}", 0.0) for i in (1, 2) for j in (1, 2)]
        return tuple(float(entry) for entry in entries)  # type: ignore[return-value]
    step = float(values.get("CDELT1", 1.0)), float(values.get("CDELT2", 1.0))
    return (
        step[0] * float(values.get("PC1_1", 1.0)),
        step[0] * float(values.get("PC1_2", 0.0)),
        step[1] * float(values.get("PC2_1", 0.0)),
        step[1] * float(values.get("PC2_2", 1.0)),
    )


@dataclass(frozen=True)
class _TangentPlane:
    """Everything of a plain TAN header but its reference position; `frame` is ICRS or FK5."""

    matrix: tuple[float, float, float, float]
    crpix: tuple[float, float]
    frame: str

    def to_sky(self, crval1: float, crval2: float, x: float, y: float) -> tuple[float, float]:
        """Gnomonic deprojection, as a vector: centre + xi east + eta north, normalised."""
        a, b, c, d = self.matrix
        if a * d - b * c == 0:
            return _NO_POSITION
        dx, dy = x + 1 - self.crpix[0], y + 1 - self.crpix[1]
        xi, eta = math.radians(a * dx + b * dy), math.radians(c * dx + d * dy)
        ra0, dec0 = math.radians(crval1), math.radians(crval2)
        along = math.cos(dec0) - eta * math.sin(dec0)
        ra = ra0 + math.atan2(xi, along)
        dec = math.atan2(math.sin(dec0) + eta * math.cos(dec0), math.hypot(xi, along))
        return math.degrees(ra) % 360.0, math.degrees(dec)


@lru_cache(maxsize=256)
def _tangent_plane(text: str) -> _TangentPlane | None:
    """From a text of `wcs_text` without CRVAL1 and CRVAL2; None where astropy has to solve it."""
    values = parse_wcs(text.rstrip("\n"))
    if not _is_plain_tan(values) or (frame := _frame(values)) == "other":
        return None
    crpix = float(values["CRPIX1"]), float(values["CRPIX2"])
    return _TangentPlane(_matrix(values), crpix, frame)


@lru_cache(maxsize=1)
def _fk5_to_icrs() -> np.ndarray:
    """The frames' constant rotation, from astropy: both axes triads taken to ICRS."""
    from astropy.coordinates import FK5, ICRS, CartesianRepresentation

    axes = CartesianRepresentation(np.eye(3))
    return np.asarray(FK5(axes).transform_to(ICRS()).cartesian.xyz.value)


def _rotate(ra: float, dec: float) -> tuple[float, float]:
    lon, lat = math.radians(ra), math.radians(dec)
    vector = (math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat))
    x, y, z = _fk5_to_icrs() @ vector
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def _astropy_wcs(text: str) -> Any:
    import warnings

    from astropy.io.fits import Header
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(Header.fromstring(text, sep="\n")).celestial


def _astropy_sky(text: str, x: float, y: float) -> tuple[float, float]:
    from astropy.io.fits import VerifyError

    try:
        sky = _astropy_wcs(text).pixel_to_world(x, y).icrs
        ra, dec = float(sky.ra.deg), float(sky.dec.deg)
    # wcslib's errors are ValueErrors; a header without a usable WCS means: no position
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, VerifyError):
        return _NO_POSITION
    return (ra, dec) if math.isfinite(ra + dec) else _NO_POSITION
