"""The tangent plane of the sphere at a point."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from equilens.pipeline.masses.harmonics import Floats


def tangent_axes(lon_deg: ArrayLike, lat_deg: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Unit vectors to points on the sky, and to east and north there, (..., 3) each."""
    lon, lat = np.radians(lon_deg), np.radians(lat_deg)
    centre = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], -1)
    return centre, east, np.cross(centre, east)
