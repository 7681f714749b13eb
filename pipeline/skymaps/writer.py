"""Write a SkyMapStore base pixel by base pixel, so that no whole sky need ever be in memory.

The arrays are made first; whoever has a base pixel of a column writes its shard, in any order and
from any process; the manifest comes last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import healpy as hp
import numpy as np
import zarr
from numpy.typing import NDArray

from equilens.pipeline.errors import MapPixelError, MapStatementError, StoreError
from equilens.pipeline.provenance import fingerprint, provenance, write_json_atomic
from equilens.pipeline.skymaps.arrays import create_map_array, writable_array
from equilens.pipeline.skymaps.frames import FRAMES, spins
from equilens.pipeline.skymaps.ordering import N_BASE_PIXELS, block_pixels
from equilens.pipeline.skymaps.store import KIND, MapColumn, SkyMapStore, shard_checksums
from equilens.pipeline.stores import MANIFEST, prepare_path


@dataclass(frozen=True)
class MapLayout:
    """What a map will hold.

    Attributes
    ----------
    nside : of the map
    frame : "icrs", "galactic" or "ecliptic"
    units : by column, in order; "1" for a pure number
    dtypes : by column; float32 where none is given
    original_ordering : "ring" or "nested", of what the map is made from
    """

    nside: int
    frame: str
    units: Mapping[str, str]
    dtypes: Mapping[str, np.dtype] = field(default_factory=dict)
    original_ordering: str = "nested"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.units)

    def array(self, name: str) -> str:
        """Name of a column's arrays."""
        return f"{self.columns.index(name) + 1}_{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"

    def dtype(self, name: str) -> np.dtype:
        """Of a column's values."""
        return np.dtype(self.dtypes.get(name, np.float32))

    def statements(self) -> dict[str, Any]:
        """What group and manifest say of the whole map."""
        return {
            "nside": self.nside,
            "ordering": "nested",
            "frame": self.frame,
            "original_ordering": self.original_ordering,
            "units": dict(self.units),
        }


class MapWriter:
    """A map that is being written.

    Parameters
    ----------
    path : where `create` made its arrays
    layout : of the map
    """

    def __init__(self, path: Path | str, layout: MapLayout) -> None:
        self.path, self.layout = Path(path), layout
        self._group = zarr.open_group(self.path, mode="r+")

    @classmethod
    def create(cls, path: Path | str, layout: MapLayout) -> MapWriter:
        """Make the empty arrays of a map; what lies there is swept."""
        group = zarr.open_group(path, mode="w", zarr_format=3, attributes=layout.statements())
        for name, unit in layout.units.items():
            array, dtype = layout.array(name), layout.dtype(name)
            create_map_array(group, f"values/{array}", layout.nside, dtype, {"unit": unit})
            create_map_array(group, f"mask/{array}", layout.nside, np.dtype(bool), {})
        return cls(path, layout)

    def write(
        self,
        name: str,
        base_pixel: int,
        values: np.ndarray,
        masked: NDArray[np.bool_] | None = None,
    ) -> None:
        """Write one shard of a column.

        Parameters
        ----------
        values : (nside²,) NESTED
        masked : (nside²,) of them; what is not finite by default
        """
        masked = ~np.isfinite(values) if masked is None else masked
        dtype = self.layout.dtype(name)
        nothing = np.nan if dtype.kind == "f" else 0
        where = slice(base_pixel * self.layout.nside**2, (base_pixel + 1) * self.layout.nside**2)
        self._array("mask", name)[where] = masked
        block = np.where(masked, nothing, values) if masked.any() else values
        self._array("values", name)[where] = block.astype(dtype, copy=False)

    def write_column(self, name: str, values: np.ndarray, ordering: str) -> None:
        """Write a whole column, (12 nside²,) in `ordering`; what is not finite is masked."""
        for base_pixel in range(N_BASE_PIXELS):
            block = values[block_pixels(self.layout.nside, base_pixel, ordering)]
            self.write(name, base_pixel, block)

    def is_written(self, base_pixel: int) -> bool:
        """Whether a base pixel's shards are all there: each file appears whole or not at all."""
        return all(
            (self.path / kind / self.layout.array(name) / "c" / str(base_pixel)).exists()
            for name in self.layout.columns
            for kind in ("values", "mask")
        )

    def finish(self, about: Mapping[str, Any]) -> SkyMapStore:
        """Write the manifest: the map is complete.

        Parameters
        ----------
        about : what else the manifest says; part of the fingerprint
        """
        spin = spins(self.layout.columns)
        columns = [
            MapColumn(name, self.layout.array(name), unit, spin[name], self._count_masked(name))
            for name, unit in self.layout.units.items()
        ]
        shards = shard_checksums(self.path, columns)
        # a lost file would read as zeros
        if lost := [file for file, sha256 in shards.items() if not sha256]:
            raise StoreError(f"{self.path} lacks {lost[0]}: make the map again")
        content = {
            "kind": KIND,
            "format": 1,
            **self.layout.statements(),
            "columns": [asdict(column) for column in columns],
            "shards": shards,
            **about,
        }
        manifest = {**content, "fingerprint": fingerprint(content), "provenance": provenance()}
        write_json_atomic(self.path / MANIFEST, manifest)
        return SkyMapStore.open(self.path)

    def _array(self, kind: str, name: str) -> zarr.Array:
        return writable_array(self._group, f"{kind}/{self.layout.array(name)}")

    def _count_masked(self, name: str) -> int:
        return int(np.count_nonzero(np.asarray(self._array("mask", name)[:])))


def write_map_store(
    out: Path | str,
    columns: Mapping[str, np.ndarray],
    *,
    ordering: str,
    frame: str = "icrs",
    units: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> SkyMapStore:
    """Write full-sky columns that are in memory as a SkyMapStore.

    Parameters
    ----------
    columns : (12 nside²,) arrays by name; what is not finite is masked
    ordering : "ring" or "nested", of the arrays
    units : by column name; "1" where none is given
    facts : further entries of the manifest, such as ``{"sky": {...}}``

    Raises
    ------
    MapPixelError, MapStatementError
        The columns are no one full sky, or ordering or frame are unknown.
    StoreError
        `out` holds a finished store and `replace` is false.
    """
    nside = _nside(columns)
    if ordering not in ("ring", "nested"):
        raise MapStatementError(f"ordering must be 'ring' or 'nested', got {ordering!r}")
    if frame not in FRAMES:
        raise MapStatementError(f"frame must be one of {tuple(FRAMES)}, got {frame!r}")
    said = {name: (units or {}).get(name, "1") for name in columns}
    dtypes = {name: values.dtype for name, values in columns.items()}
    layout = MapLayout(nside, frame, said, dtypes, ordering)
    writer = MapWriter.create(prepare_path(out, replace), layout)
    for name, values in columns.items():
        writer.write_column(name, values, ordering)
    return writer.finish(facts or {})


def _nside(columns: Mapping[str, np.ndarray]) -> int:
    shapes = {name: values.shape for name, values in columns.items()}
    if len(set(shapes.values())) != 1:
        raise MapPixelError(f"columns must be maps of one shape, got {shapes}")
    (size,) = next(iter(shapes.values()))
    if not hp.isnpixok(size) or not hp.isnsideok(hp.npix2nside(size), nest=True):
        raise MapPixelError(
            f"a full sky has 12 nside² pixels with nside a power of two, got {size}"
        )
    return hp.npix2nside(size)
