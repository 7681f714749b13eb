"""Names of candidates by IAU rules: acronym, J, right ascension and declination, truncated.

``EQL J041507.95-500042.7`` says hhmmss.ss±ddmmss.s. Digits are cut off, never rounded, so a name
is always the corner, nearest the equinox and the equator, of the cell that holds the position
(https://cds.unistra.fr/Dic/iau-spec.html).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.errors import PositionError

ACRONYM = "EQL"

# 42.7" in degrees is a float that lies a hair below 42.7". A ten-millionth of the last digit
# (about 1e-8 arcsec) is far above float noise and far below any astrometry.
_FLOAT_NOISE = 1e-7


def iau_name(ra: float, dec: float, acronym: str = ACRONYM) -> str:
    """Name of an ICRS position in degrees; right ascension is taken modulo 360.

    Raises
    ------
    PositionError
        If the position is not finite or the declination lies outside [-90, 90].
    """
    ra, dec = float(ra), float(dec)
    if not (math.isfinite(ra) and -90 <= dec <= 90):
        raise PositionError(
            f"a name needs a finite ra and a dec within [-90, 90] degrees, got ({ra}, {dec})"
        )
    # whole hundredths of a second of time, and whole tenths of an arcsecond
    time = math.floor((ra % 360) * 24_000 + _FLOAT_NOISE) % (24 * 360_000)
    arc = math.floor(abs(dec) * 36_000 + _FLOAT_NOISE)
    hours, minutes, seconds = _split(time, 100)
    degrees, arcmin, arcsec = _split(arc, 10)
    right_ascension = f"{hours:02d}{minutes:02d}{seconds // 100:02d}.{seconds % 100:02d}"
    declination = f"{degrees:02d}{arcmin:02d}{arcsec // 10:02d}.{arcsec % 10:d}"
    return f"{acronym} J{right_ascension}{'-' if dec < 0 else '+'}{declination}"


def _split(parts: int, parts_a_second: int) -> tuple[int, int, int]:
    """Whole units, sixtieths, and what is left in parts of a second."""
    minutes, seconds = divmod(parts, 60 * parts_a_second)
    return minutes // 60, minutes % 60, seconds


def candidate_names(
    ra: ArrayLike,
    dec: ArrayLike,
    ids: Iterable[str],
    survey: str,
    acronym: str = ACRONYM,
) -> NDArray[np.object_]:
    """Name every object; where the position is unknown (NaN), by its survey and ID.

    Returns
    -------
    names : (N,) array of str, such as "EQL J041507.95-500042.7" or "EQL des-cube 17"
    """
    positions = zip(np.asarray(ra).tolist(), np.asarray(dec).tolist(), ids, strict=True)
    return np.array(
        [
            iau_name(a, d, acronym)
            if math.isfinite(a) and math.isfinite(d)
            else f"{acronym} {survey} {name}"
            for a, d, name in positions
        ],
        dtype=object,
    )
