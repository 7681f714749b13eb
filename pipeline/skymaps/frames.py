"""Coordinate frames of sky maps, and which columns turn with them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

# HEALPix's E is the mean ecliptic of J2000; its C (equatorial) differs from ICRS by 0.02"
FRAMES = {"galactic": "galactic", "icrs": "icrs", "ecliptic": "barycentricmeanecliptic"}

# columns that belong together, and the spin of the field that they are components of
_COMPONENTS = {
    ("Q", "U"): 2,
    ("IQ", "IU"): 2,
    ("TQ", "TU"): 2,
    ("QQ", "UU"): 4,
    ("QQ", "QU"): 4,
    ("G1", "G2"): 2,
    ("E1", "E2"): 2,
    ("GAMMA1", "GAMMA2"): 2,
}


def to_map_frame(ra: np.ndarray, dec: np.ndarray, frame: str) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude in a map's frame, degrees.

    Parameters
    ----------
    ra, dec : (N,) float64, ICRS degrees, finite
    frame : a key of `FRAMES`
    """
    if frame == "icrs":
        return ra, dec
    there = SkyCoord(ra * u.deg, dec * u.deg, frame="icrs").transform_to(FRAMES[frame])
    return there.spherical.lon.deg, there.spherical.lat.deg


def spins(columns: Sequence[str]) -> dict[str, int]:
    """Spin of each column, by name: 0 for scalars, 2 for polarisation and shear components.

    A component is known by its partner: ``Q_STOKES`` beside ``U_STOKES`` is polarisation, whereas
    ``U_DEPTH`` beside ``G_DEPTH`` is the depth in two bands.
    """
    found = dict.fromkeys(columns, 0)
    by_tokens = {tuple(_tokens(name)): name for name in columns}
    for tokens, name in by_tokens.items():
        for (first, second), spin in _COMPONENTS.items():
            partner = by_tokens.get(tuple(second if t == first else t for t in tokens))
            if first in tokens and partner is not None:
                found[name] = found[partner] = spin
    return found


def _tokens(name: str) -> list[str]:
    return re.split(r"[^A-Z0-9]+", name.upper())
