"""Sky coverage of a catalogue as a multi-order coverage map (MOC, IVOA recommendation 2.0)."""

from __future__ import annotations

import os
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import Latitude, Longitude
from mocpy import MOC
from numpy.typing import ArrayLike

from equilens.catalogs.errors import PositionError

DEFAULT_ORDER = 16
"""HEALPix cells of 3.2 arcsec, finer than a cutout is wide."""


def footprint(
    ra: ArrayLike, dec: ArrayLike, radius_arcsec: float, order: int = DEFAULT_ORDER
) -> MOC:
    """Union of discs around the known positions; unknown ones (NaN) are left out.

    Parameters
    ----------
    ra, dec : (N,) ICRS degrees
    radius_arcsec : of a disc; half the diagonal of a cutout covers it whole
    order : finest HEALPix order, at most 29; a disc covers each cell that it touches
    """
    if not radius_arcsec > 0:
        raise PositionError(f"a footprint needs a positive radius, got {radius_arcsec} arcsec")
    ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        return MOC.new_empty(order)
    return MOC.from_cones(
        lon=Longitude(ra[known], u.deg),
        lat=Latitude(dec[known], u.deg),
        radius=radius_arcsec * u.arcsec,
        max_depth=order,
        union_strategy="small_cones",
    )


def area_sq_deg(moc: MOC) -> float:
    """Area of a coverage map in square degrees."""
    return float(moc.sky_fraction * 4 * np.pi * (180 / np.pi) ** 2)


def write_footprint(moc: MOC, path: str | Path) -> None:
    """Write a coverage map as FITS, atomically."""
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        moc.save(temporary, format="fits", overwrite=True)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_footprint(path: str | Path) -> MOC:
    """Read a coverage map from FITS."""
    return MOC.from_fits(Path(path))
