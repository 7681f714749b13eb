"""Cutouts in memory: the one table of pixels and facts that every stage hands on.

Shapes: ``N`` objects, ``B`` bands in the survey's order, ``(ny, nx)`` pixels, y first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import IntFlag

import numpy as np


class CutoutFlag(IntFlag):
    """What a reader of the catalogue should know about one cutout."""

    MISSING_BAND = 1
    PADDED = 2
    CROPPED = 4
    NO_POSITION = 8
    ZEROPOINT_DECLARED = 16
    MASKED_CENTRE = 32
    MERGED_DUPLICATE = 64
    TILE_EDGE = 128
    NOISE_FROM_RMS = 256
    OUT_OF_DOMAIN = 512


def describe_flags(value: int) -> str:
    """Names of the flags set in `value`, joined by commas; empty where none is set."""
    return ",".join(str(flag.name).lower() for flag in CutoutFlag if flag & value)


@dataclass(frozen=True)
class CutoutBatch:
    """N calibrated cutouts of one survey.

    Attributes
    ----------
    ids : (N,) object array of str
    images : (N, B, ny, nx) float32, nJy; exactly 0 where masked
    mask : (N, B, ny, nx) bool; True marks a pixel that carries no sky
    ra, dec : (N,) float64, ICRS degrees; NaN where unknown
    noise_njy : (N, B) float32, standard deviation of the background a pixel; NaN for a missing band
    noise_method : (N,) object array of str, how `noise_njy` was found
    psf_fwhm_arcsec : (N, B) float32
    pixel_scale_arcsec : (N,) float32
    band_present : (N, B) bool
    flags : (N,) uint32, see `CutoutFlag`
    wcs_header, source_file, source_checksum : (N,) object arrays of str
    columns : further columns by name, each (N,): the user's own, or simulated truth
    """

    ids: np.ndarray
    images: np.ndarray
    mask: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    noise_njy: np.ndarray
    noise_method: np.ndarray
    psf_fwhm_arcsec: np.ndarray
    pixel_scale_arcsec: np.ndarray
    band_present: np.ndarray
    flags: np.ndarray
    wcs_header: np.ndarray
    source_file: np.ndarray
    source_checksum: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, bands = self.images.shape[:2]
        shapes = {
            "mask": self.images.shape,
            "noise_njy": (n, bands),
            "psf_fwhm_arcsec": (n, bands),
            "band_present": (n, bands),
        }
        for entry in fields(self):
            if entry.name in ("images", "columns"):
                continue
            expected = shapes.get(entry.name, (n,))
            found = getattr(self, entry.name).shape
            if found != expected:
                raise ValueError(f"{entry.name} must have shape {expected}, got {found}")
        for name, values in self.columns.items():
            if values.shape != (n,):
                raise ValueError(f"column {name!r} must have shape {(n,)}, got {values.shape}")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray | slice) -> CutoutBatch:
        """The objects at `index` (integers, a boolean mask or a slice), in that order."""
        picked = {
            entry.name: getattr(self, entry.name)[index]
            for entry in fields(self)
            if entry.name != "columns"
        }
        return CutoutBatch(**picked, columns={k: v[index] for k, v in self.columns.items()})

    @classmethod
    def concatenate(cls, batches: list[CutoutBatch]) -> CutoutBatch:
        """Join batches of one survey; all must carry the same further columns."""
        names = batches[0].columns.keys()
        for batch in batches:
            if batch.columns.keys() != names:
                raise ValueError(
                    f"batches carry different columns: {sorted(names)} and {sorted(batch.columns)}"
                )
        joined = {
            entry.name: np.concatenate([getattr(b, entry.name) for b in batches])
            for entry in fields(cls)
            if entry.name != "columns"
        }
        columns = {name: np.concatenate([b.columns[name] for b in batches]) for name in names}
        return cls(**joined, columns=columns)
