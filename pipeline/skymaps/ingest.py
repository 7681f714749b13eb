"""One full-sky FITS map into one SkyMapStore."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equilens.pipeline.errors import MapPixelError
from equilens.pipeline.provenance import sha256_file
from equilens.pipeline.skymaps.arrays import LARGEST_CHUNK
from equilens.pipeline.skymaps.fitsmap import FitsMap, open_map
from equilens.pipeline.skymaps.ordering import N_BASE_PIXELS, PixelOrder
from equilens.pipeline.skymaps.statements import (
    FRAME_CARDS,
    ORDERING_CARDS,
    frame_of,
    nside_of,
    ordering_of,
    units_of,
)
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.skymaps.writer import MapLayout, MapWriter
from equilens.pipeline.stores import prepare_path


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
        statements, stated_by = _statements(source, frame, units, ordering)
        n_pixels = _row_count(source)
        nside = nside_of(source.stated_nside, None if source.explicit else n_pixels, source.file)
        pixels = source.pixels() if source.explicit else None
        order = PixelOrder(nside, statements["original_ordering"], pixels, source.file)
        _refuse_all_masked(source)
        dtypes = {name: source.values(index).dtype for name, index in source.columns.items()}
        layout = MapLayout(nside, dtypes=dtypes, **statements)
        writer = MapWriter.create(prepare_path(out, replace), layout)
        for name, index in source.columns.items():
            _write_column(writer, name, source, index, order)
        about = {"file": source.file, "sha256": sha256_file(path)}
    return writer.finish({"stated_by": stated_by, "source": about})


def _statements(
    source: FitsMap,
    frame: str | None,
    units: str | Mapping[str, str] | None,
    ordering: str | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Frame, original ordering and units, and the origin of each statement."""
    said_units = {name: source.unit_said(index) for name, index in source.columns.items()}
    ordering, ordering_by = ordering_of(source.said(ORDERING_CARDS), ordering, source.file)
    frame, frame_by = frame_of(source.said(FRAME_CARDS), frame, source.file)
    settled = units_of(said_units, units, source.file)
    statements = {
        "frame": frame,
        "original_ordering": ordering,
        "units": {name: unit for name, (unit, _) in settled.items()},
    }
    origins = {name: origin for name, (_, origin) in settled.items()}
    return statements, {"frame": frame_by, "ordering": ordering_by, "units": origins}


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


def _write_column(
    writer: MapWriter, name: str, source: FitsMap, index: int, order: PixelOrder
) -> None:
    """Write one column, base pixel by base pixel."""
    values = source.values(index)
    for base_pixel in range(N_BASE_PIXELS):
        block, unlisted = order.block(values, base_pixel)
        writer.write(name, base_pixel, block, unlisted | source.masked(block, index))
