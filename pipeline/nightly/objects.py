"""The night's objects as one table: instalments joined, sightings merged, scores calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import KDTree

from equilens.catalogs.calibration_result import CalibrationResult, read_calibration
from equilens.catalogs.candidates import rank_order
from equilens.catalogs.crossmatch import ARCSEC, unit_vectors
from equilens.catalogs.deduplicate import merge_by_position
from equilens.catalogs.export import nulls_for_nan
from equilens.catalogs.schema import with_schema
from equilens.pipeline.candidates import candidate_table
from equilens.pipeline.ingest.merging import MergedRow
from equilens.pipeline.nightly.errors import NightError
from equilens.pipeline.nightly.inputs import NightInputs
from equilens.pipeline.nightly.instalments import Instalment, current_instalment
from equilens.pipeline.quarantine import QuarantineRow
from equilens.pipeline.stores import CutoutStore

INSTALMENT = "instalment"


@dataclass(frozen=True)
class NightObjects:
    """Every object that was found, in one of three tables.

    Attributes
    ----------
    table : scored objects by rank, one row an object; the column ``instalment`` says which store
        has its pixels
    quarantine : rejected by ingest, or without a finite score
    merged : sightings that another one stands for
    """

    table: pa.Table
    quarantine: list[QuarantineRow]
    merged: list[MergedRow]


def gather_objects(parts: Sequence[Instalment], inputs: NightInputs) -> NightObjects:
    """Join the night's instalments.

    Raises
    ------
    NightError
        Everything was rejected, or an object is in none of the three tables.
    """
    home = current_instalment(list(parts), inputs.discovery)
    quarantine = [
        row
        for part in parts
        for row in part.rejected(inputs.model_sha256)
        if home.get(row.id) == part.number
    ]
    calibration = read_calibration(inputs.config.calibration) if inputs.calibration_sha256 else None
    tables = [
        table
        for part in parts
        if part.has_cutouts
        and (table := _table_of(part, inputs.model_sha256, home, calibration)).num_rows
    ]
    if not tables:
        rules = ", ".join(sorted({row.rule for row in quarantine}))
        raise NightError(
            f"all {len(quarantine)} objects of night {inputs.night} were rejected ({rules}): see "
            f"the quarantine tables below {inputs.folder.cutouts(inputs.survey_identity)}"
        )
    # by ID, so that nothing depends on the order of arrival
    joined = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    joined = joined.sort_by("id")
    keep, merged = _merge(joined, parts, inputs.config.merge_radius_arcsec)
    table = ranked(joined.filter(pa.array(keep)))
    accounted = table.num_rows + len(quarantine) + len(merged)
    if accounted != inputs.discovery.n_found:
        raise NightError(
            f"night {inputs.night}: {inputs.discovery.n_found} objects were found, {accounted} are "
            "catalogued, quarantined or merged: nothing may be lost; please report this"
        )
    return NightObjects(table, quarantine, merged)


def ranked(table: pa.Table) -> pa.Table:
    """The table by score, with its rank made anew."""
    order = rank_order(table["id"].to_pylist(), table["score"].to_numpy())
    table = table.take(pa.array(order))
    place = table.column_names.index("rank")
    ranks = pa.array(np.arange(1, table.num_rows + 1))
    return nulls_for_nan(with_schema(table.set_column(place, "rank", ranks))).combine_chunks()


def _table_of(
    part: Instalment,
    model_sha256: str,
    home: dict[str, int],
    calibration: CalibrationResult | None,
) -> pa.Table:
    """Candidates of one instalment, without those that a later one holds anew."""
    table = candidate_table(part.scores(model_sha256), part.cutouts, calibration=calibration)
    counts = [home.get(name) == part.number for name in table["id"].to_pylist()]
    numbers = pa.array([part.number] * table.num_rows, pa.int64())
    return table.append_column(INSTALMENT, numbers).filter(pa.array(counts, pa.bool_()))


def _merge(
    table: pa.Table, parts: Sequence[Instalment], radius_arcsec: float
) -> tuple[NDArray[np.bool_], list[MergedRow]]:
    """Let the sighting with the fewest masked pixels stand for the others of its object."""
    ra, dec = (_floats(table, name) for name in ("ra", "dec"))
    close = _with_neighbours(ra, dec, radius_arcsec)
    files = np.array(table["source_file"].to_pylist(), dtype=object).astype(str)
    if not len(close) or len(set(files[close])) == 1:
        return np.ones(table.num_rows, dtype=bool), []
    ids = np.array(table["id"].to_pylist(), dtype=object)
    numbers = table[INSTALMENT].to_numpy()
    masked = np.zeros(table.num_rows)
    for part in parts:
        rows = close[numbers[close] == part.number]
        if len(rows):
            masked[rows] = _masked_pixels(part.cutouts, ids[rows])
    found = merge_by_position(ra, dec, radius_arcsec, priority=-masked, tile=files)
    apart = found.separation_arcsec.round(4).tolist()
    merged = [
        MergedRow(ids[gone], ids[stays], apart[gone], str(files[gone]))
        for gone, stays in found.merged_rows()
    ]
    return found.keep, merged


def _with_neighbours(ra: NDArray, dec: NDArray, radius_arcsec: float) -> NDArray[np.int64]:
    """Rows that have another row within the radius."""
    vectors = unit_vectors(ra, dec)
    known = np.flatnonzero(np.isfinite(vectors[:, 0]))
    if not len(known):
        return known
    chord = 2 * np.sin(radius_arcsec * ARCSEC / 2) * (1 + 1e-9)
    pairs = KDTree(vectors[known]).query_pairs(chord, output_type="ndarray")
    return known[np.unique(pairs)]


def _masked_pixels(cutouts: Path, ids: NDArray) -> NDArray[np.float64]:
    store = CutoutStore(cutouts)
    row_of = {name: row for row, name in enumerate(store.facts("ids"))}
    rows = (row_of[name] for name in ids)
    return np.array(
        [np.count_nonzero(store.read_pixels("mask", slice(row, row + 1))) for row in rows], float
    )


def _floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as float64, NaN where it is null."""
    return np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)
