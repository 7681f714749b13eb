"""From scores to a ranked candidate catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import healpy as hp
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.errors import SchemaError
from equilens.catalogs.lenscat import match_lenscat
from equilens.catalogs.naming import candidate_names
from equilens.catalogs.schema import CATALOG_COLUMNS, own_columns, with_schema

HEALPIX_ORDER = 29


def healpix_29(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """Nested HEALPix cells of order 29 (ICRS); -1 where the position is unknown."""
    ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    known = np.isfinite(ra) & np.isfinite(dec)
    cells = np.full(len(ra), -1, dtype=np.int64)
    cells[known] = hp.ang2pix(2**HEALPIX_ORDER, ra[known], dec[known], nest=True, lonlat=True)
    return cells


def rank_order(ids: Sequence[str], scores: ArrayLike) -> NDArray[np.int64]:
    """Rows from the highest score down; ties by ID, so the order never depends on the input's.

    NaN scores are left out: an object that was not scored is no candidate.
    """
    scores = np.asarray(scores, dtype=np.float64)
    rows = np.flatnonzero(~np.isnan(scores))
    names = np.asarray(ids, dtype=object)[rows].astype(str)
    return rows[np.lexsort((names, -scores[rows]))]


def build_catalog(
    ids: Sequence[str],
    ra: ArrayLike,
    dec: ArrayLike,
    scores: ArrayLike,
    survey: str,
    *,
    conditions: Mapping[str, ArrayLike] | None = None,
    user_columns: Mapping[str, ArrayLike] | None = None,
    constants: Mapping[str, str] | None = None,
    top: int | None = None,
    threshold: float | None = None,
    lenscat_radius_arcsec: float = 2.0,
    lenscat: pa.Table | None = None,
) -> pa.Table:
    """Rank, cut, name and cross-match the objects.

    Parameters
    ----------
    ids : (N,) text
    ra, dec : (N,) ICRS degrees, NaN where unknown
    scores : (N,) logits; objects with NaN are left out
    survey : its name, also part of the name of objects without a position
    conditions : further columns of the schema, (N,) each: ``flags`` (text), ``noise_njy_<band>``,
        ``psf_fwhm_arcsec_<band>``, ``source_file``, sky-map values, …
    user_columns : the user's own, (N,) each; one that would shadow a column of the catalogue is
        renamed ``user_<name>``
    constants : one text for all rows: ``model_sha256``, ``data_fingerprint``
    top : keep the N best, at least 0
    threshold : keep ``score >= threshold``
    lenscat_radius_arcsec : for galaxies; groups and clusters keep their wider default radii

    Returns
    -------
    table : sorted by rank, with the schema's units and UCDs; user columns last
    """
    ra, dec, scores = (np.asarray(x, dtype=np.float64) for x in (ra, dec, scores))
    conditions = conditions or {}
    given = {**conditions, **own_columns(user_columns or {}, conditions)}
    _check_lengths({"ra": ra, "dec": dec, "scores": scores, **given}, len(ids))
    if top is not None and top < 0:
        raise SchemaError(f"top must not be negative, got {top}")
    rows = rank_order(ids, scores)
    if threshold is not None:
        rows = rows[scores[rows] >= threshold]
    rows = rows[:top]
    columns = _sky_columns(np.asarray(ids, dtype=object)[rows], ra[rows], dec[rows], survey)
    columns |= {"score": pa.array(scores[rows]), "rank": pa.array(np.arange(1, len(rows) + 1))}
    matches = match_lenscat(ra[rows], dec[rows], lenscat_radius_arcsec, lenscat=lenscat)
    columns |= {name: matches[name] for name in matches.column_names}
    for key, text in {"survey": survey, **(constants or {})}.items():
        columns[key] = pa.array([text] * len(rows), pa.string())
    columns |= {key: _arrow(np.asarray(values)[rows]) for key, values in given.items()}
    first = [column.name for column in CATALOG_COLUMNS if column.name in columns]
    order = first + [name for name in columns if name not in first]
    return with_schema(pa.table({name: columns[name] for name in order}))


def _sky_columns(ids: NDArray, ra: NDArray, dec: NDArray, survey: str) -> dict[str, pa.Array]:
    known = np.isfinite(ra) & np.isfinite(dec)
    return {
        "id": pa.array(ids, pa.string()),
        "name": pa.array(candidate_names(ra, dec, ids, survey), pa.string()),
        "ra": pa.array(ra, pa.float64(), mask=~known),
        "dec": pa.array(dec, pa.float64(), mask=~known),
        "_healpix_29": pa.array(healpix_29(ra, dec)),
    }


def _check_lengths(columns: Mapping[str, ArrayLike], n: int) -> None:
    for name, values in columns.items():
        if np.shape(values) != (n,):
            raise SchemaError(
                f"column {name!r} must have one value for each of the {n} IDs, "
                f"got shape {np.shape(values)}"
            )


def _arrow(values: np.ndarray) -> pa.Array:
    numbers = (bool, int, float, np.number, np.bool_, type(None))
    if values.dtype.kind in "US" or (
        values.dtype.kind == "O" and not all(isinstance(x, numbers) for x in values)
    ):
        return pa.array([None if x is None else str(x) for x in values.tolist()], pa.string())
    # big-endian FITS columns and the like: Arrow wants the machine's byte order
    return pa.array(values.astype(values.dtype.newbyteorder("=")), from_pandas=True)
