"""What a survey hands to ingest: where an object's pixels are, and those pixels as filed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from equilens.pipeline.errors import RejectedObject


@dataclass(frozen=True)
class ObjectRef:
    """One object before its pixels are read.

    Attributes
    ----------
    id : the survey's or the user's name for it
    files : (band, path) pairs; one path for all bands where a file holds them all. A band without
        a file is left out.
    index : row in the files, for cubes that hold many objects; None otherwise
    columns : further columns of the manifest, carried to the catalogue
    ra, dec : ICRS degrees from the manifest; NaN where it gives none
    root : the source folder that every path lies in
    fault : why this object can not be read at all; `Survey.read` raises it
    """

    id: str
    files: tuple[tuple[str, Path], ...]
    index: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    ra: float = math.nan
    dec: float = math.nan
    root: Path | None = None
    fault: RejectedObject | None = None

    @property
    def source_file(self) -> str:
        """The object's distinct files, relative to the source folder, joined by ``;``."""
        paths = dict.fromkeys(path for _, path in self.files)
        return ";".join(_relative(path, self.root) for path in paths)


@dataclass(frozen=True)
class RawCutout:
    """One object's pixels as its files hold them: native byte order, file units, file size.

    Attributes
    ----------
    id : as in the `ObjectRef`
    images : (B, h, w) float32, file units (asinh-scaled archive files are linear here); NaN all
        over a missing band
    mask : (B, h, w) bool, True where a pixel carries no sky: not finite, or marked by the
        survey's mask rule
    rms : (B, h, w) float32 noise planes in file units, NaN where unknown; None where the survey
        has none
    psf : for each band its PSF image or None
    zeropoint : (B,) float64, AB magnitude of one count; NaN for a missing band
    zeropoint_declared : the survey declares it, no header says so
    band_present : (B,) bool
    headers : for each band the cards that carry meaning here (WCS, zero point, exposure)
    wcs_header : newline-joined FITS cards of the first present band; "" where there is no WCS
    ra, dec : ICRS degrees, the manifest's or of the centre pixel (h // 2, w // 2); NaN if unknown
    files, checksums : the files read and the sha256 of their bytes, in the same order
    n_bytes : size of those files
    columns : as in the `ObjectRef`
    flags : `CutoutFlag` bits known from reading, such as TILE_EDGE
    """

    id: str
    images: np.ndarray
    mask: np.ndarray
    rms: np.ndarray | None
    psf: tuple[np.ndarray | None, ...]
    zeropoint: np.ndarray
    zeropoint_declared: bool
    band_present: np.ndarray
    headers: tuple[Mapping[str, Any], ...]
    wcs_header: str
    ra: float
    dec: float
    files: tuple[str, ...]
    checksums: tuple[str, ...]
    n_bytes: int
    columns: Mapping[str, Any] = field(default_factory=dict)
    flags: int = 0

    @property
    def source_file(self) -> str:
        """The files that were read, joined by ``;``."""
        return ";".join(self.files)

    @property
    def source_checksum(self) -> str:
        """Their sha256 sums in the same order, joined by ``;``."""
        return ";".join(self.checksums)


def _relative(path: Path, root: Path | None) -> str:
    if root is not None and path.is_relative_to(root):
        return str(path.relative_to(root))
    return str(path)
