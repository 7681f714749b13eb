"""Where to look closer: each mass peak as a tile of sky for the planar finder.

A peak says that a massive halo is there; whether it lenses strongly is decided on cutouts. A tile
is the disc of `RADIUS_ARCSEC` around a peak: a table of centres for a cutout service, and, where a
store or a catalogue of objects is at hand, those of them that lie inside.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

from equilens.catalogs.crossmatch import unit_vectors
from equilens.pipeline.errors import EvaluationError
from equilens.pipeline.stores import CutoutStore

RADIUS_ARCSEC = 60.0
SPACING_ARCSEC = 10.0
# of a hundred tiles each: a list of all of them may be larger than memory
PEAKS_AT_ONCE = 10_000


def cutout_positions(
    ra: np.ndarray,
    dec: np.ndarray,
    radius_arcsec: float = RADIUS_ARCSEC,
    spacing_arcsec: float = SPACING_ARCSEC,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres of cutouts that cover a disc around each peak, on a square grid about it.

    Parameters
    ----------
    ra, dec : (N,) ICRS degrees of the peaks
    spacing_arcsec : between neighbouring centres: the side of a cutout, or less

    Returns
    -------
    number of the peak, ra and dec of each position, (M,)
    """
    steps = np.arange(-(radius_arcsec // spacing_arcsec), radius_arcsec // spacing_arcsec + 1)
    east, north = (axis.ravel() * spacing_arcsec for axis in np.meshgrid(steps, steps))
    within = np.hypot(east, north) <= radius_arcsec
    east, north = np.radians(east[within] / 3600), np.radians(north[within] / 3600)
    ra0, dec0 = np.radians(ra)[:, None], np.radians(dec)[:, None]
    # inverse gnomonic projection (Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3)
    along = np.cos(dec0) - north * np.sin(dec0)
    new_ra = ra0 + np.arctan2(east * np.ones_like(along), along)
    new_dec = np.arctan2(north * np.cos(dec0) + np.sin(dec0), np.hypot(east, along))
    number = np.repeat(np.arange(len(ra)), within.sum())
    return number, np.degrees(new_ra).ravel() % 360, np.degrees(new_dec).ravel()


def objects_near(
    ra: np.ndarray,
    dec: np.ndarray,
    object_ra: np.ndarray,
    object_dec: np.ndarray,
    radius_arcsec: float = RADIUS_ARCSEC,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects within a radius of each peak.

    Returns
    -------
    number of the peak, number of the object, separation in arcsec, (M,); by peak, nearest first
    """
    known = np.flatnonzero(np.isfinite(object_ra) & np.isfinite(object_dec))
    if not len(ra) or not len(known):
        return np.empty(0, int), np.empty(0, int), np.empty(0)
    peaks, objects = unit_vectors(ra, dec), unit_vectors(object_ra[known], object_dec[known])
    chord = 2 * np.sin(np.radians(radius_arcsec / 3600) / 2)
    found = cKDTree(objects).query_ball_point(peaks, chord)
    peak = np.repeat(np.arange(len(ra)), [len(one) for one in found])
    near = np.array([k for one in found for k in one], int)
    distance = np.linalg.norm(peaks[peak] - objects[near], axis=1)
    separation = np.degrees(2 * np.arcsin(distance / 2)) * 3600
    order = np.lexsort((separation, peak))
    return peak[order], known[near[order]], separation[order]


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects that there are cutouts of.

    Attributes
    ----------
    ids : (N,) text
    ra, dec : (N,) ICRS degrees, NaN where unknown
    """

    ids: np.ndarray
    ra: np.ndarray
    dec: np.ndarray

    @classmethod
    def read(cls, path: Path | str) -> Objects:
        """From a CutoutStore, or a CSV or Parquet table with ``id``, ``ra`` and ``dec``.

        Raises
        ------
        EvaluationError
            A table without these columns.
        """
        if Path(path).is_dir():
            store = CutoutStore(path)
            return cls(store.facts("ids"), store.facts("ra"), store.facts("dec"))
        parquet = Path(path).suffix == ".parquet"
        # an ID is text: 0012 is not 12
        as_text = pyarrow.csv.ConvertOptions(column_types={"id": pa.string()})
        table = (
            pq.read_table(path) if parquet else pyarrow.csv.read_csv(path, convert_options=as_text)
        )
        if missing := {"id", "ra", "dec"} - set(table.column_names):
            raise EvaluationError(f"{path} must have the columns {sorted(missing)} of its objects")
        ids = np.array([str(one) for one in table["id"].to_pylist()], object)
        ra, dec = (table[name].to_numpy().astype(np.float64) for name in ("ra", "dec"))
        return cls(ids, ra, dec)


def peak_tiles(peaks: pa.Table, objects: Objects | None = None) -> pa.Table:
    """One row for each cutout to look at: ``peak_id``, ``peak_score``, ``ra``, ``dec``, ``id``.

    Parameters
    ----------
    peaks : with ``peak_id``, ``ra``, ``dec``, ``score``
    objects : that are listed where they lie near a peak; without any, a grid of positions is, to
        be cut out

    Raises
    ------
    EvaluationError
        `peaks` lacks a column.
    """
    if missing := {"peak_id", "ra", "dec", "score"} - set(peaks.column_names):
        raise EvaluationError(f"a peak list must have {sorted(missing)}; has {peaks.column_names}")
    ra, dec = peaks["ra"].to_numpy(), peaks["dec"].to_numpy()
    names = peaks["peak_id"].to_pylist()
    if objects is None:
        peak, tile_ra, tile_dec = cutout_positions(ra, dec)
        first = np.searchsorted(peak, np.arange(len(ra)))
        ids = [f"{names[p]}-{k - first[p]:03d}" for k, p in enumerate(peak)]
    else:
        peak, near, _ = objects_near(ra, dec, objects.ra, objects.dec)
        tile_ra, tile_dec = objects.ra[near], objects.dec[near]
        ids = [str(one) for one in objects.ids[near]]
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "ra": pa.array(tile_ra, pa.float64()),
            "dec": pa.array(tile_dec, pa.float64()),
            "peak_id": peaks["peak_id"].take(pa.array(peak)),
            "peak_score": peaks["score"].take(pa.array(peak)),
        }
    )


def write_peak_tiles(peaks: pa.Table, objects: Objects | None, path: Path | str) -> int:
    """Write the tiles of `peak_tiles`, some peaks at a time; gives how many there are."""
    starts = range(0, max(1, peaks.num_rows), PEAKS_AT_ONCE)
    parts = (peak_tiles(peaks.slice(start, PEAKS_AT_ONCE), objects) for start in starts)
    return _write_parts(parts, Path(path))


def write_tiles(tiles: pa.Table, path: Path | str) -> None:
    """Write tiles as CSV or, by the suffix, Parquet, atomically."""
    _write_parts(iter([tiles]), Path(path))


def _write_parts(parts: Iterator[pa.Table], path: Path) -> int:
    """Rows written of tables that follow each other in one file."""
    first, n_rows = next(parts), 0
    make = pq.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            with make(file, first.schema) as writer:
                for part in chain([first], parts):
                    writer.write_table(part)
                    n_rows += part.num_rows
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return n_rows
