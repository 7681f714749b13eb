"""Table of mass peaks, the part of the sky that was searched for them, and peaks as candidates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from astropy import units as u
from mocpy import MOC
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.candidates import build_catalog
from equilens.catalogs.errors import SchemaError
from equilens.catalogs.schema import REAL, TEXT, Column, describe_column

PEAK_COLUMNS = (
    Column("peak_id", TEXT, "Peak, numbered by score", "meta.id;meta.main"),
    Column("ra", REAL, "Right ascension (ICRS)", "pos.eq.ra;meta.main", "deg"),
    Column("dec", REAL, "Declination (ICRS)", "pos.eq.dec;meta.main", "deg"),
    Column("score", REAL, "What the peaks are ranked by", "stat.value"),
    Column("snr", REAL, "Signal-to-noise ratio at the peak", "stat.snr"),
    Column("size_arcmin", REAL, "Angle of r200 of the halo looked for", "phys.angSize", "arcmin"),
    Column("position_sigma_arcmin", REAL, "Standard deviation of the position along each axis",
           "stat.error;pos.eq", "arcmin"),
    Column("method", TEXT, "What found the peak", "meta.id;meta.software"),
    Column("model_sha256", TEXT, "SHA-256 of the weights, empty for a filter", "meta.checksum"),
    Column("data_fingerprint", TEXT, "Fingerprint of the shear maps", "meta.checksum"),
)  # fmt: skip
_BY_NAME = {column.name: column for column in PEAK_COLUMNS}
_OWN = ("snr", "size_arcmin", "position_sigma_arcmin", "method")


def peak_table(
    values: Mapping[str, ArrayLike], method: str, model_sha256: str, data_fingerprint: str
) -> pa.Table:
    """Peaks as a table, the highest score first.

    Parameters
    ----------
    values : ra, dec, score, snr, size_arcmin and position_sigma_arcmin, (N,) each
    method, model_sha256, data_fingerprint : of all rows

    Raises
    ------
    SchemaError
        A column is missing, or has another length.
    """
    numbers = [c.name for c in PEAK_COLUMNS if c.dtype == REAL]
    if missing := sorted(set(numbers) - set(values)):
        raise SchemaError(f"a list of peaks needs {numbers}, {missing} are missing")
    columns = {name: np.asarray(values[name], np.float64) for name in numbers}
    n = len(columns["score"])
    if any(column.shape != (n,) for column in columns.values()):
        raise SchemaError(
            f"peaks need columns of one length, got { {k: v.shape for k, v in columns.items()} }"
        )
    order = np.argsort(-columns["score"], kind="stable")
    arrays: dict[str, pa.Array] = {
        "peak_id": pa.array([f"peak-{k:07d}" for k in range(1, n + 1)], TEXT),
        **{name: pa.array(column[order]) for name, column in columns.items()},
    }
    facts = (("method", method), ("model_sha256", model_sha256))
    for name, text in (*facts, ("data_fingerprint", data_fingerprint)):
        arrays[name] = pa.array([text] * n, TEXT)
    return pa.table(
        [arrays[c.name] for c in PEAK_COLUMNS], schema=pa.schema([c.field() for c in PEAK_COLUMNS])
    )


def peak_candidates(
    peaks: pa.Table, survey: str, *, lenscat_radius_arcsec: float = 120.0, top: int | None = None
) -> pa.Table:
    """Peaks in the schema of the candidate catalogue: named, ranked, matched with known lenses.

    Parameters
    ----------
    survey : name of the sky
    lenscat_radius_arcsec : as wide as a peak's position is uncertain
    """
    table = build_catalog(
        peaks["peak_id"].to_pylist(),
        peaks["ra"].to_numpy(),
        peaks["dec"].to_numpy(),
        peaks["score"].to_numpy(),
        survey,
        conditions={name: np.asarray(peaks[name].to_pylist()) for name in _OWN},
        constants={name: _one(peaks, name) for name in ("model_sha256", "data_fingerprint")},
        lenscat_radius_arcsec=lenscat_radius_arcsec,
        top=top,
    )
    fields = [
        _BY_NAME[f.name].field() if f.name in _OWN and describe_column(f.name) is None else f
        for f in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def searched_footprint(searched: NDArray[np.bool_]) -> MOC:
    """Coverage map of the pixels searched, (n_pixels,) NESTED in ICRS."""
    order = int(np.log2(len(searched) / 12) / 2)
    pixels = np.flatnonzero(searched).astype(np.uint64)
    depth = np.full(len(pixels), order, np.uint8)
    return MOC.from_healpix_cells(pixels, depth, max_depth=order)


def pixels_of_footprint(moc: MOC, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.bool_]:
    """Which pixel centres lie in a coverage map."""
    return np.asarray(moc.contains_lonlat(np.asarray(lon) * u.deg, np.asarray(lat) * u.deg))


def _one(peaks: pa.Table, name: str) -> str:
    found = set(peaks[name].to_pylist())
    if len(found) > 1:
        raise SchemaError(f"peaks of one list have one {name}, got {sorted(found)[:3]}")
    return found.pop() if found else ""
