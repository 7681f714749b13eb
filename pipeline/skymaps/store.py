"""SkyMapStore: a full-sky map on disk, read by column or by position.

Each column is two Zarr arrays over NESTED pixels, ``values/…`` and ``mask/…``; masked pixels hold
NaN (0 in integer columns). Nearby positions lie in one chunk, so looking up a survey's footprint
reads that part of the sky only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import healpy as hp
import numpy as np
import zarr

from equilens.pipeline.errors import MapFrameError, SkyMapError
from equilens.pipeline.provenance import sha256_file
from equilens.pipeline.skymaps.frames import to_map_frame
from equilens.pipeline.skymaps.ordering import N_BASE_PIXELS, block_pixels
from equilens.pipeline.stores import read_manifest

KIND = "sky map"
INTERPOLATIONS = ("nearest", "bilinear")


@dataclass(frozen=True)
class MapColumn:
    """One column of a map.

    Attributes
    ----------
    name : as in the file
    array : name of its Zarr arrays
    unit : as stated in the file or by the user
    spin : 0 for a scalar; otherwise the value is a component along the frame's own axes
    n_masked : pixels without a measurement
    """

    name: str
    array: str
    unit: str
    spin: int
    n_masked: int


class SkyMapStore:
    """A finished map.

    Parameters
    ----------
    path : path of a store that has its manifest
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(path, KIND)
        self._columns = {c["name"]: MapColumn(**c) for c in self.manifest["columns"]}
        self._group = zarr.open_group(self.path, mode="r")

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """The finished map at `path`."""
        return cls(path)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._columns)

    @property
    def scalar_columns(self) -> tuple[str, ...]:
        """Columns that have the same value along any axes."""
        return tuple(name for name, column in self._columns.items() if column.spin == 0)

    @property
    def units(self) -> dict[str, str]:
        return {name: column.unit for name, column in self._columns.items()}

    @property
    def spins(self) -> dict[str, int]:
        return {name: column.spin for name, column in self._columns.items()}

    @property
    def nside(self) -> int:
        return self.manifest["nside"]

    @property
    def frame(self) -> str:
        return self.manifest["frame"]

    @property
    def original_ordering(self) -> str:
        """Ordering of the file that this came from; on disk it is always nested."""
        return self.manifest["original_ordering"]

    @property
    def fingerprint(self) -> str:
        """Hash of the pixels and of every statement about them."""
        return self.manifest["fingerprint"]

    def __repr__(self) -> str:
        columns = " ".join(f"{c.name}[{c.unit}]" for c in self._columns.values())
        return f"SkyMapStore({str(self.path)!r}: nside {self.nside}, {self.frame}, {columns})"

    def dtype(self, name: str) -> np.dtype:
        """Of a column's values on disk."""
        return self._stored("values", self.column(name).array).dtype

    def column(self, name: str) -> MapColumn:
        """Facts of one column."""
        if name not in self._columns:
            raise SkyMapError(f"{self.path} has no column {name!r}, only {list(self.columns)}")
        return self._columns[name]

    def read(self, column: str, ordering: str = "nested", fill: float = np.nan) -> np.ndarray:
        """A whole column, (12 nside²,) in the file's own precision.

        Parameters
        ----------
        ordering : "nested" or "ring"
        fill : value of masked pixels, such as ``healpy.UNSEEN``; integer columns, which cannot
            hold NaN, come as float64 where a pixel is masked
        """
        fact = self.column(column)
        values = self._ordered("values", fact.array, ordering)
        if not fact.n_masked:
            return values
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        values[self.read_mask(column, ordering)] = fill
        return values

    def read_mask(self, column: str, ordering: str = "nested") -> np.ndarray:
        """True where a column has no measurement, (12 nside²,) bool."""
        return self._ordered("mask", self.column(column).array, ordering)

    def lookup(
        self,
        ra: np.ndarray | float,
        dec: np.ndarray | float,
        columns: Sequence[str] | None = None,
        interpolation: str = "nearest",
    ) -> dict[str, np.ndarray]:
        """Values of the map at positions on the sky.

        Polarisation and shear are components along the axes of the map's own frame. In another
        frame they mix, so they are refused there; read them with `read` and turn them by the
        angle between the two norths.

        Parameters
        ----------
        ra, dec : (N,) ICRS degrees; NaN where unknown
        columns : all that mean the same in ICRS by default
        interpolation : "nearest" pixel, or "bilinear" between four, then float64

        Returns
        -------
        dict of column to (N,) floats; NaN where masked, where a pixel that takes part in an
        interpolation is masked, and where the position is unknown

        Raises
        ------
        MapFrameError
            A polarisation or shear column of a map that is not in ICRS.
        """
        if interpolation not in INTERPOLATIONS:
            raise SkyMapError(
                f"interpolation must be one of {INTERPOLATIONS}, got {interpolation!r}"
            )
        names = self._meaningful_columns(columns)
        ra, dec = _positions(ra, dec)
        known = np.isfinite(ra) & np.isfinite(dec)
        lon, lat = to_map_frame(ra[known], dec[known], self.frame)
        pixels, weights = self._neighbours(lon, lat, interpolation)
        found = {}
        for name in names:
            there = self._weigh(self._gather(self._columns[name], pixels), weights)
            found[name] = np.full(ra.shape, np.nan, there.dtype)
            found[name][known] = there
        return found

    def verify(self) -> list[str]:
        """Shard files that no longer match the manifest's checksums, or are gone."""
        now = shard_checksums(self.path, self._columns.values())
        return [file for file, sha256 in self.manifest["shards"].items() if now[file] != sha256]

    def _ordered(self, kind: str, array: str, ordering: str) -> np.ndarray:
        if ordering not in ("ring", "nested"):
            raise SkyMapError(f"ordering must be 'ring' or 'nested', got {ordering!r}")
        stored = self._stored(kind, array)
        values = np.empty(stored.shape, stored.dtype)
        for base_pixel in range(N_BASE_PIXELS):
            where = slice(base_pixel * self.nside**2, (base_pixel + 1) * self.nside**2)
            values[block_pixels(self.nside, base_pixel, ordering)] = np.asarray(stored[where])
        return values

    def _meaningful_columns(self, columns: Sequence[str] | None) -> Sequence[str]:
        if columns is None:
            columns = self.columns if self.frame == "icrs" else self.scalar_columns
            columns = columns or self.columns
        for name in columns:
            spin = self.column(name).spin
            if spin and self.frame != "icrs":
                raise MapFrameError(
                    f"column {name!r} has spin {spin}: its values lie along {self.frame} axes and "
                    f"mean something else along ICRS axes; look up scalar columns (here "
                    f"{list(self.scalar_columns)}), or read() it and rotate"
                )
        return columns

    def _neighbours(
        self, lon: np.ndarray, lat: np.ndarray, interpolation: str
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """NESTED pixels, (1 or 4, N), and their weights."""
        if interpolation == "nearest":
            return hp.ang2pix(self.nside, lon, lat, nest=True, lonlat=True)[None], None
        return hp.get_interp_weights(self.nside, lon, lat, nest=True, lonlat=True)

    def _gather(self, column: MapColumn, pixels: np.ndarray) -> np.ndarray:
        """Values at pixels of any shape, as floats, reading each chunk that they touch once."""
        stored, masks = self._stored("values", column.array), self._stored("mask", column.array)
        # floats carry their mask as NaN: no second array to read
        masked_apart = stored.dtype.kind != "f"
        found = np.empty(pixels.size, np.float64 if masked_apart else stored.dtype)
        for places, inside, chunk in _by_chunk(pixels.ravel(), stored.chunks[0]):
            found[places] = np.asarray(stored[chunk])[inside]
            if masked_apart and column.n_masked:
                found[places[np.asarray(masks[chunk])[inside]]] = np.nan
        return found.reshape(pixels.shape)

    def _stored(self, kind: str, array: str) -> zarr.Array:
        return cast(zarr.Array, self._group[f"{kind}/{array}"])

    @staticmethod
    def _weigh(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        if weights is None:
            return values[0]
        return np.where(weights > 0, values.astype(np.float64) * weights, 0.0).sum(axis=0)


def shard_checksums(path: Path, columns: Any) -> dict[str, str]:
    """sha256 of each shard file, by its path in the store; empty where the file is missing."""
    files = [
        f"{kind}/{column.array}/c/{base_pixel}"
        for column in columns
        for kind in ("values", "mask")
        for base_pixel in range(N_BASE_PIXELS)
    ]
    return {file: sha256_file(path / file) if (path / file).exists() else "" for file in files}


def _positions(ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
    ra, dec = np.broadcast_arrays(np.atleast_1d(ra), np.atleast_1d(dec))
    ra, dec = ra.astype(np.float64), dec.astype(np.float64)
    if (np.abs(dec) > 90).any():
        raise SkyMapError(f"dec must lie in -90..90 degrees, got {dec[np.abs(dec) > 90][0]}")
    return ra, dec


def _by_chunk(pixels: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, slice]]:
    """Groups of pixels by chunk: their places in `pixels`, in the chunk, and the chunk."""
    order = np.argsort(pixels, kind="stable")
    chunk = pixels[order] // size
    starts = np.flatnonzero(np.diff(chunk, prepend=-1))
    for places in np.split(order, starts[1:]):
        if places.size:
            start = int(pixels[places[0]] // size) * size
            yield places, pixels[places] - start, slice(start, start + size)
