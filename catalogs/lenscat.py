"""Known lenses and lens candidates: the lenscat table, and the cross-match to it.

Vujeva et al. 2025, Phil. Trans. R. Soc. A 383, 20240168 (arXiv:2406.04398),
https://github.com/lenscat/lenscat, MIT licence. It is no truth table: 30,529 of its 32,838 rows
are graded only ``probable``, and 663 repeat another's name (646 before blanks around names are cut
off). 1,023 rows are clusters and 60 groups, whose position may lie far from the arc.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from equilens.catalogs.crossmatch import match_nearest
from equilens.catalogs.errors import CatalogError
from equilens.catalogs.reading import floats, read_columns

SOURCE_COLUMNS = ("name", "RA [deg]", "DEC [deg]", "zlens", "type", "grading", "ref")
RADIUS_ARCSEC = {"galaxy": 2.0, "group": 10.0, "cluster": 60.0}
"""Default radius by type of lens: a cutout on one arc of a cluster may lie this far off it."""

GRADINGS = {"confident", "probable"}

ATTRIBUTION = (
    "lenscat, Copyright (c) 2024 lenscat, MIT licence, https://github.com/lenscat/lenscat; "
    "Vujeva et al. 2025, Phil. Trans. R. Soc. A 383, 20240168, arXiv:2406.04398"
)

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def parse_redshift(text: str) -> tuple[float, bool]:
    """First redshift in a lenscat field, and whether it stands there without a doubt.

    ``0.675266 | 0.6753`` gives 0.675266; ``0.45?`` and ``0.55*`` are doubtful; ``-``, ``L``,
    ``nan``, ``measured`` and ``not measured`` give NaN.
    """
    for part in text.split("|"):
        number = _NUMBER.match(part.strip())
        if number:
            doubtful = part.strip()[number.end() :].startswith(("?", "*"))
            return float(number.group()), not doubtful
    return math.nan, False


def build_lenscat(csv_path: str | Path, out: str | Path, version: str = "unknown") -> pa.Table:
    """Make the compressed Parquet table from lenscat's own ``catalog.csv``, all rows kept.

    Parameters
    ----------
    csv_path : https://github.com/lenscat/lenscat/blob/main/lenscat/data/catalog.csv
    out : Parquet file to write, atomically
    version : release of lenscat the file is from; its sha256 is recorded in any case

    Raises
    ------
    CatalogError
        If the columns are not lenscat's, or a position, type or grading is out of range.
    """
    csv_path, out = Path(csv_path), Path(out)
    facts = {
        "attribution": ATTRIBUTION,
        "source": "lenscat/data/catalog.csv",
        "source_version": version,
        "source_sha256": hashlib.sha256(csv_path.read_bytes()).hexdigest(),
    }
    table = _read_source(csv_path).replace_schema_metadata(facts)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        pq.write_table(table, temporary, compression="zstd", compression_level=19)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return table


def _read_source(path: Path) -> pa.Table:
    columns = read_columns(path, CatalogError)
    if tuple(columns) != SOURCE_COLUMNS:
        raise CatalogError(
            f"{path} is not lenscat's catalog.csv: its columns must be "
            f"{list(SOURCE_COLUMNS)}, got {list(columns)}"
        )
    ra, dec = (floats(columns[name], name, CatalogError) for name in SOURCE_COLUMNS[1:3])
    if not (np.all((ra >= 0) & (ra < 360)) and np.all(np.abs(dec) <= 90)):
        raise CatalogError(f"{path}: positions must be ICRS degrees, 0 <= ra < 360")
    for name, known in (("type", set(RADIUS_ARCSEC)), ("grading", GRADINGS)):
        strange = set(columns[name]) - known
        if strange:
            raise CatalogError(
                f"{path}: {name} must be one of {sorted(known)}, got {sorted(strange)}"
            )
    redshifts = [parse_redshift(text) for text in columns["zlens"]]
    return pa.table(
        {
            "name": pa.array(columns["name"], pa.string()),
            "ra": ra,
            "dec": dec,
            "z_lens": pa.array([z for z, _ in redshifts], pa.float64(), from_pandas=True),
            "z_lens_certain": [certain for _, certain in redshifts],
            "z_lens_text": pa.array(columns["zlens"], pa.string()),
            "type": pa.array(columns["type"], pa.string()),
            "grading": pa.array(columns["grading"], pa.string()),
            "reference": pa.array(columns["ref"], pa.string()),
        }
    )


@lru_cache(maxsize=2)
def load_lenscat(path: str | Path | None = None) -> pa.Table:
    """Read the table that ships with equilens, or another made by `build_lenscat`.

    Columns: name, ra, dec (ICRS degrees), z_lens, z_lens_certain, z_lens_text (as lenscat has it),
    type (galaxy, group or cluster), grading (confident or probable), reference. Provenance is in
    the schema's metadata.
    """
    if path is not None:
        return pq.read_table(path)
    with as_file(files("equilens.catalogs").joinpath("data/lenscat.parquet")) as shipped:
        return pq.read_table(shipped)


def match_lenscat(
    ra: ArrayLike,
    dec: ArrayLike,
    radius_arcsec: float = RADIUS_ARCSEC["galaxy"],
    group_radius_arcsec: float = RADIUS_ARCSEC["group"],
    cluster_radius_arcsec: float = RADIUS_ARCSEC["cluster"],
    lenscat: pa.Table | None = None,
) -> pa.Table:
    """Nearest known lens or candidate of each position.

    A galaxy's row counts within ``radius_arcsec``, a group's and a cluster's within their own
    wider radii; of the rows that count, the nearest is taken.

    Returns
    -------
    table : (N,) columns lenscat_name, lenscat_separation_arcsec, lenscat_grading, lenscat_type,
        null where nothing is near or the position is unknown
    """
    lenscat = load_lenscat() if lenscat is None else lenscat
    by_type = {
        "galaxy": radius_arcsec,
        "group": group_radius_arcsec,
        "cluster": cluster_radius_arcsec,
    }
    radii = np.array([by_type[kind] for kind in lenscat["type"].to_pylist()])
    found = match_nearest(ra, dec, lenscat["ra"].to_numpy(), lenscat["dec"].to_numpy(), radii)
    rows = pa.array(found.index, mask=~found.matched)
    return pa.table(
        {
            "lenscat_name": lenscat["name"].take(rows),
            "lenscat_separation_arcsec": pa.array(
                found.separation_arcsec, pa.float64(), from_pandas=True
            ),
            "lenscat_grading": lenscat["grading"].take(rows),
            "lenscat_type": lenscat["type"].take(rows),
        }
    )
