"""Which object of one list lies near which of another, on the sphere.

Positions are unit vectors in a k-d tree; an angle θ is a chord of 2 sin(θ/2), so poles and the
0/360 degree seam need no care. Positions that are not finite match nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from equilens.catalogs.errors import PositionError

FloatArray = NDArray[np.float64]

ARCSEC = np.pi / (180 * 3600)


@dataclass(frozen=True)
class Match:
    """Nearest neighbour of each of N objects.

    Attributes
    ----------
    index : (N,) array of int64, row in the other list, -1 where nothing is near
    separation_arcsec : (N,) array of float64, NaN where nothing is near
    """

    index: NDArray[np.int64]
    separation_arcsec: FloatArray

    @property
    def matched(self) -> NDArray[np.bool_]:
        return self.index >= 0


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> FloatArray:
    """(N, 3) unit vectors of positions in degrees; NaN where a position is not finite."""
    ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    if ra.shape != dec.shape or ra.ndim != 1:
        raise PositionError(f"ra and dec must be lists of one length, got {ra.shape}, {dec.shape}")
    if np.any(np.abs(dec) > 90):
        worst = dec[np.abs(dec) > 90][0]
        raise PositionError(f"dec must lie within [-90, 90] degrees, got {worst}; swapped with ra?")
    known = np.isfinite(ra) & np.isfinite(dec)
    lon = np.radians(np.where(known, ra, np.nan))
    lat = np.radians(np.where(known, dec, np.nan))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def separation_arcsec(a: FloatArray, b: FloatArray) -> FloatArray:
    """Angle between unit vectors (..., 3), accurate at any size: 2 atan2(|a - b|, |a + b|)."""
    apart = np.linalg.norm(a - b, axis=-1)
    together = np.linalg.norm(a + b, axis=-1)
    return 2 * np.arctan2(apart, together) / ARCSEC


def match_nearest(
    ra: ArrayLike,
    dec: ArrayLike,
    other_ra: ArrayLike,
    other_dec: ArrayLike,
    radius_arcsec: ArrayLike,
) -> Match:
    """Nearest object of the other list that has this one within its radius.

    Parameters
    ----------
    ra, dec : (N,) degrees
    other_ra, other_dec : (M,) degrees
    radius_arcsec : scalar, or (M,) where objects of the other list differ in extent
    """
    vectors, others = unit_vectors(ra, dec), unit_vectors(other_ra, other_dec)
    radii = np.broadcast_to(np.asarray(radius_arcsec, dtype=np.float64), (len(others),))
    if np.any(~(radii > 0)):
        raise PositionError(f"a match radius must be positive, got {radii[~(radii > 0)][0]} arcsec")
    index = np.full(len(vectors), -1, dtype=np.int64)
    best = np.full(len(vectors), np.inf)
    rows = np.flatnonzero(np.isfinite(vectors[:, 0]))
    for radius in np.unique(radii):
        members = np.flatnonzero((radii == radius) & np.isfinite(others[:, 0]))
        if not len(members) or not len(rows):
            continue
        # a hair wider than the radius: the exact angle decides below
        chord = 2 * np.sin(min(radius * ARCSEC, np.pi) / 2) * (1 + 1e-9)
        _, nearest = KDTree(others[members]).query(vectors[rows], distance_upper_bound=chord)
        hit = nearest < len(members)
        found, neighbour = rows[hit], members[nearest[hit]]
        angle = separation_arcsec(vectors[found], others[neighbour])
        closer = (angle <= radius) & (angle < best[found])
        index[found[closer]], best[found[closer]] = neighbour[closer], angle[closer]
    return Match(index, np.where(index >= 0, best, np.nan))
