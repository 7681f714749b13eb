"""Arrays into a SkyMapStore: what a simulation or a network made, not a FITS file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import healpy as hp
import numpy as np
import zarr

from equilens.pipeline.errors import MapPixelError, MapStatementError
from equilens.pipeline.provenance import fingerprint, provenance, write_json_atomic
from equilens.pipeline.skymaps import FRAMES, SkyMapStore
from equilens.pipeline.skymaps.arrays import create_map_array
from equilens.pipeline.skymaps.frames import spins
from equilens.pipeline.skymaps.ordering import N_BASE_PIXELS, block_pixels
from equilens.pipeline.skymaps.store import KIND, MapColumn, shard_checksums
from equilens.pipeline.stores import MANIFEST, prepare_path


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
    """Write full-sky columns as a SkyMapStore: NESTED on disk, manifest last.

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
    header: dict[str, Any] = {"nside": nside, "ordering": "nested", "frame": frame, "units": said}
    header["original_ordering"] = ordering
    out = prepare_path(out, replace)
    group = zarr.open_group(out, mode="w", zarr_format=3, attributes=header)
    written = []
    for number, (name, values) in enumerate(columns.items(), start=1):
        array = f"{number}_{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"
        n_masked = _write_column(group, array, said[name], values, nside, ordering)
        written.append(MapColumn(name, array, said[name], spins(list(columns))[name], n_masked))
    content: dict[str, Any] = {"kind": KIND, "format": 1, **header, **(facts or {})}
    content["columns"] = [asdict(column) for column in written]
    content["shards"] = shard_checksums(out, written)
    manifest = {**content, "fingerprint": fingerprint(content), "provenance": provenance()}
    write_json_atomic(out / MANIFEST, manifest)
    return SkyMapStore.open(out)


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


def _write_column(
    group: zarr.Group, array: str, unit: str, values: np.ndarray, nside: int, ordering: str
) -> int:
    """Write one column, base pixel by base pixel; the number of masked pixels."""
    stored = create_map_array(group, f"values/{array}", nside, values.dtype, {"unit": unit})
    stored_mask = create_map_array(group, f"mask/{array}", nside, np.dtype(bool), {})
    n_masked = 0
    for base_pixel in range(N_BASE_PIXELS):
        block = values[block_pixels(nside, base_pixel, ordering)]
        mask = ~np.isfinite(block)
        if mask.any():
            block[mask] = np.nan
        where = slice(base_pixel * nside**2, (base_pixel + 1) * nside**2)
        stored[where], stored_mask[where] = block, mask
        n_masked += int(mask.sum())
    return n_masked
