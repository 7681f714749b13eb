"""Write and read catalogues: Parquet, FITS, VOTable, ECSV and CSV, by suffix.

Units, UCDs, descriptions and provenance go where each format keeps them:

========  ======================  ==========  ================  =========================
suffix    unit                    UCD         description       provenance
========  ======================  ==========  ================  =========================
.parquet  field metadata          the same    the same          ``equilens`` key (JSON)
.fits     ``TUNITn``              ``TUCDn``   ``TCOMMn``        ``EQUILENS`` card (JSON)
.vot      FIELD                   FIELD       FIELD             PARAM (JSON) and INFO
.ecsv     column                  column      column            header
.csv      none                    none        none              none
========  ======================  ==========  ================  =========================

Missing numbers are nulls, or NaN in the formats without nulls; to a reader both come back as
null. FITS, VOTable and ECSV do not tell an empty text from a missing one: it comes back as null,
only the flags as empty.
"""

from __future__ import annotations

import csv
import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from equilens.catalogs import astronomy_formats as formats
from equilens.catalogs.errors import ExportError
from equilens.catalogs.schema import describe_column, with_schema

METADATA_KEY = b"equilens"


def write_catalog(
    table: pa.Table, path: str | Path, metadata: Mapping[str, object] | None = None
) -> Path:
    """Write a table in the format of its suffix, atomically.

    Parameters
    ----------
    table : any table; columns of the schema carry its units and UCDs
    path : ends in .parquet, .fits, .vot (.votable, .xml), .ecsv or .csv; its folder exists
    metadata : provenance, JSON-able; kept whole by every format but CSV

    Raises
    ------
    ExportError
        On an unknown suffix, a type that the format does not have, or metadata that is no JSON.
    """
    path = Path(path)
    writer = _WRITERS[_format_of(path)]
    if not path.parent.is_dir():
        raise ExportError(f"folder {path.parent} does not exist; create it first")
    facts = _plain(metadata or {})
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        writer(nulls_for_nan(with_schema(table)), temporary, facts)
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_catalog(path: str | Path) -> pa.Table:
    """Read back what `write_catalog` wrote; provenance by `catalog_metadata`."""
    path = Path(path)
    reader = _READERS[_format_of(path)]
    if not path.is_file():
        raise ExportError(f"catalogue {path} does not exist")
    return nulls_for_nan(with_schema(reader(path)))


def catalog_metadata(table: pa.Table) -> dict:
    """Provenance that a table from `read_catalog` carries."""
    return json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))


def nulls_for_nan(table: pa.Table) -> pa.Table:
    """Turn NaN into null in every floating-point column."""
    for i, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(i)
            table = table.set_column(
                i, field, pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
            )
    return table


def _format_of(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ExportError(f"suffix must be one of {sorted(_SUFFIXES)}, got {path.name!r}")
    return _SUFFIXES[suffix]


def _plain(metadata: Mapping[str, object]) -> dict:
    try:
        return json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError) as problem:
        raise ExportError(f"metadata must be JSON-able: {problem}; convert the value") from None


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _with_metadata(table: pa.Table, metadata: Mapping) -> pa.Table:
    if not metadata:
        return table.replace_schema_metadata(None)
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata)})


def _write_parquet(table: pa.Table, path: Path, metadata: Mapping) -> None:
    pq.write_table(_with_metadata(table, metadata), path, compression="zstd")


def _write_csv(table: pa.Table, path: Path, metadata: Mapping) -> None:
    pacsv.write_csv(table.replace_schema_metadata(None), path)


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8", newline="") as stream:
        names = next(csv.reader(stream), [])
    known = {name: column.dtype for name in names if (column := describe_column(name))}
    options = pacsv.ConvertOptions(
        column_types=known, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    parsing = pacsv.ParseOptions(newlines_in_values=True)
    return pacsv.read_csv(path, convert_options=options, parse_options=parsing)


def _reader_of(read: Callable[[Path], tuple[pa.Table, dict]]) -> Callable[[Path], pa.Table]:
    def read_table(path: Path) -> pa.Table:
        table, metadata = read(path)
        return _with_metadata(_settle_empty_text(table), metadata)

    return read_table


def _settle_empty_text(table: pa.Table) -> pa.Table:
    """Read empty text as null, but for the flags, where empty means that there are none."""
    for i, field in enumerate(table.schema):
        if not pa.types.is_string(field.type):
            continue
        column = table.column(i).fill_null("")
        if field.name != "flags":
            empty = pc.equal(column, "")
            column = pc.if_else(empty, pa.scalar(None, pa.string()), column)
        table = table.set_column(i, field, column)
    return table


_SUFFIXES = {
    ".parquet": "parquet",
    ".fits": "fits",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
    ".ecsv": "ecsv",
    ".csv": "csv",
}
_WRITERS = {
    "parquet": _write_parquet,
    "fits": formats.write_fits,
    "votable": formats.write_votable,
    "ecsv": formats.write_ecsv,
    "csv": _write_csv,
}
_READERS = {
    "parquet": pq.read_table,
    "fits": _reader_of(formats.read_fits),
    "votable": _reader_of(formats.read_votable),
    "ecsv": _reader_of(formats.read_ecsv),
    "csv": _read_csv,
}
