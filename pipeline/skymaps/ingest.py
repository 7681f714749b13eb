"""One full-sky FITS map into one SkyMapStore."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from equilens.pipeline.errors import MapPixelError
from equilens.pipeline.provenance import (
    fingerprint,
    provenance,
    sha256_file,
    write_json_atomic,
)
from equilens.pipeline.skymaps.arrays import LARGEST_CHUNK, create_map_array
from equilens.pipeline.skymaps.fitsmap import FitsMap, open_map
from equilens.pipeline.skymaps.frames import spins
from equilens.pipeline.skymaps.ordering import N_BASE_PIXELS, PixelOrder
from equilens.pipeline.skymaps.statements import (
    FRAME_CARDS,
    ORDERING_CARDS,
    frame_of,
    nside_of,
    ordering_of,
    units_of,
)
from equilens.pipeline.skymaps.store import KIND, MapColumn, SkyMapStore, shard_checksums
from equilens.pipeline.stores import MANIFEST, prepare_path


def ingest_map(
    path: Path | str,
    out: Path | str,
    *,
    frame: str | None = None,
    units: str | Mapping[str, str] | None = None,
    ordering: str | None = None,
    replace: bool = False,
) -> SkyMapStore:
    """Bring a HEALPix map from FITS into a store: NESTED on disk, one shard a base pixel.

    Values keep the file's own precision. UNSEEN, NaN, infinity, the header's BAD_DATA and, in
    integer columns, TNULL are masked; so is every pixel that a partial map does not list.

    Parameters
    ----------
    path : FITS file, gzipped or not; RING or NESTED; implicit or explicit indexing
    out : where the store goes
    frame : "galactic", "icrs" or "ecliptic", where the header has no COORDSYS
    units : one unit for all columns, or units by column name, where the header has no TUNIT;
        "1" for a number without unit
    ordering : "ring" or "nested", where the header has no ORDERING
    replace : overwrite a finished store

    Raises
    ------
    MapFileError, MapStatementError, MapPixelError
        The file is damaged, leaves something unstated or contradicts an option, or its pixels do
        not make up one sky. Nothing at `out` is touched then.
    StoreError
        `out` holds a finished store and `replace` is false.
    """
    with open_map(path) as source:
        header = _header(source, frame, units, ordering)
        n_pixels = _row_count(source)
        nside = nside_of(source.stated_nside, None if source.explicit else n_pixels, source.file)
        pixels = source.pixels() if source.explicit else None
        order = PixelOrder(nside, header["original_ordering"], pixels, source.file)
        _refuse_all_masked(source)
        out = prepare_path(out, replace)
        columns = _write_columns(out, source, order, header)
        content = {"kind": KIND, "format": 1, "nside": nside, "ordering": "nested", **header}
        content["columns"] = [asdict(column) for column in columns]
        content["shards"] = shard_checksums(out, columns)
        content["source"] = {"file": source.file, "sha256": sha256_file(path)}
    manifest = {**content, "fingerprint": fingerprint(content), "provenance": provenance()}
    write_json_atomic(out / MANIFEST, manifest)
    return SkyMapStore.open(out)


def _header(
    source: FitsMap,
    frame: str | None,
    units: str | Mapping[str, str] | None,
    ordering: str | None,
) -> dict[str, Any]:
    """Frame, original ordering and units with the origin of each statement."""
    said_units = {name: source.unit_said(index) for name, index in source.columns.items()}
    ordering, ordering_by = ordering_of(source.said(ORDERING_CARDS), ordering, source.file)
    frame, frame_by = frame_of(source.said(FRAME_CARDS), frame, source.file)
    settled = units_of(said_units, units, source.file)
    return {
        "frame": frame,
        "original_ordering": ordering,
        "units": {name: unit for name, (unit, _) in settled.items()},
        "stated_by": {
            "frame": frame_by,
            "ordering": ordering_by,
            "units": {name: origin for name, (_, origin) in settled.items()},
        },
    }


def _row_count(source: FitsMap) -> int:
    """Pixels of each column; a row may hold 1,024 of them."""
    rows = source.hdu.header["NAXIS2"]
    indices = [*source.columns.values(), *([0] if source.explicit else [])]
    counts = {source.hdu.columns[k].name: _repeat(source, k) * rows for k in indices}
    if len(set(counts.values())) != 1:
        raise MapPixelError(f"{source.file}: columns must have equal lengths, got {counts}")
    return next(iter(counts.values()))


def _repeat(source: FitsMap, index: int) -> int:
    digits = re.match(r"\d*", source.hdu.columns[index].format.strip())
    return int(digits.group() or 1) if digits else 1


def _refuse_all_masked(source: FitsMap) -> None:
    for index in source.columns.values():
        values = source.values(index)
        parts = (values[k : k + LARGEST_CHUNK] for k in range(0, values.size, LARGEST_CHUNK))
        if not all(source.masked(part, index).all() for part in parts):
            return
    raise MapPixelError(f"{source.file}: every pixel of {list(source.columns)} is masked")


def _write_columns(
    out: Path, source: FitsMap, order: PixelOrder, header: dict[str, Any]
) -> list[MapColumn]:
    attributes = {key: header[key] for key in ("frame", "original_ordering", "units")}
    attributes |= {"nside": order.nside, "ordering": "nested"}
    group = zarr.open_group(out, mode="w", zarr_format=3, attributes=attributes)
    spin_by_column = spins(list(source.columns))
    columns = []
    for number, (name, index) in enumerate(source.columns.items(), start=1):
        array = f"{number}_{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"
        unit = header["units"][name]
        n_masked = _write_column(group, array, unit, source, index, order)
        columns.append(MapColumn(name, array, unit, spin_by_column[name], n_masked))
    return columns


def _write_column(
    group: zarr.Group, array: str, unit: str, source: FitsMap, index: int, order: PixelOrder
) -> int:
    """Write one column, base pixel by base pixel; the number of masked pixels."""
    values = source.values(index)
    stored = create_map_array(group, f"values/{array}", order.nside, values.dtype, {"unit": unit})
    stored_mask = create_map_array(group, f"mask/{array}", order.nside, np.dtype(bool), {})
    n_masked = 0
    for base_pixel in range(N_BASE_PIXELS):
        block, unlisted = order.block(values, base_pixel)
        mask = unlisted | source.masked(block, index)
        block[mask] = np.nan if block.dtype.kind == "f" else 0
        where = slice(base_pixel * order.nside**2, (base_pixel + 1) * order.nside**2)
        stored[where], stored_mask[where] = block, mask
        n_masked += int(mask.sum())
    return n_masked
