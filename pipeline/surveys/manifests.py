"""Manifests: a CSV or Parquet table that says where each object's files are.

Columns: ``path``, or ``path_<band>`` for one file a band; ``id`` (from the file's name where it
is left out); ``ra`` and ``dec`` in ICRS degrees; ``index`` for a row of a cube. Every further
column is carried along to the catalogue. Paths are relative to the manifest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from equilens.pipeline.errors import RejectedObject, SurveyError
from equilens.pipeline.surveys.objects import ObjectRef
from equilens.pipeline.surveys.paths import outside_source

if TYPE_CHECKING:
    from equilens.pipeline.surveys.survey import Survey

# ten nights of ten million objects
MOST_ROWS = 10**8
LARGEST_TABLE_BYTES = 2**33
_PLAIN_KEYS = ("id", "path", "ra", "dec", "index")


def manifest_refs(survey: Survey, path: Path) -> Iterator[ObjectRef]:
    """One reference a row, in the manifest's order.

    Raises
    ------
    SurveyError
        If the manifest can not be read, or names no files.
    """
    table = read_table(path, text=("id", "path", *(f"path_{name}" for name in survey.band_names)))
    banded = [name for name in survey.band_names if f"path_{name}" in table.column_names]
    if ("path" in table.column_names) == bool(banded):
        raise SurveyError(
            f"manifest {path}: needs a column path, or columns path_<band> for bands of "
            f"{', '.join(survey.band_names)}; it has {', '.join(table.column_names)}"
        )
    return _rows(survey, table, path.resolve().parent, banded)


def read_table(path: Path, text: tuple[str, ...] = ("id", "path")) -> pa.Table:
    """Read a CSV or Parquet table.

    The columns named in `text` stay text, and so does every column of a CSV file in which a number
    begins with a needless zero: tract 00007 stays 00007.

    Raises
    ------
    SurveyError
        If the file is missing or no such table.
    """
    try:
        is_parquet = path.suffix.lower() == ".parquet"
        table = _read_parquet(path) if is_parquet else _read_text(path, text)
        names = table.column_names
    # text that is no UTF-8 shows in names and values only
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise SurveyError(f"table {path}: can not be read: {error}") from None
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SurveyError(f"table {path}: column {repeated[0]!r} is there twice: drop one")
    return table


def _read_parquet(path: Path) -> pa.Table:
    about = pa.parquet.read_metadata(path)
    size = sum(about.row_group(k).total_byte_size for k in range(about.num_row_groups))
    if size > LARGEST_TABLE_BYTES or about.num_rows > MOST_ROWS:
        raise ValueError(
            f"it claims {about.num_rows} rows of {size} bytes; {MOST_ROWS} rows of "
            f"{LARGEST_TABLE_BYTES} bytes are read at most: split it"
        )
    table = pa.parquet.read_table(path)
    table.validate(full=True)
    return table


def _read_text(path: Path, text: tuple[str, ...]) -> pa.Table:
    if path.stat().st_size > LARGEST_TABLE_BYTES:
        raise ValueError(f"over {LARGEST_TABLE_BYTES} bytes: split it, or give Parquet")
    table = _read_csv(path, text)
    whole = [f.name for f in table.schema if pa.types.is_integer(f.type)]
    if not whole:
        return table
    written = _read_csv(path, (*text, *whole))
    padded = [name for name in whole if _has_leading_zeros(written.column(name))]
    return _read_csv(path, (*text, *padded)) if padded else table


def _read_csv(path: Path, text: tuple[str, ...]) -> pa.Table:
    types = {name: pa.string() for name in text}
    options = pa.csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    return pa.csv.read_csv(path, convert_options=options)


def _has_leading_zeros(column: pa.ChunkedArray) -> bool:
    return pc.any(pc.match_substring_regex(column, r"^[+-]?0[0-9]")).as_py() or False


def _rows(survey: Survey, table: pa.Table, root: Path, banded: list[str]) -> Iterator[ObjectRef]:
    skipped = {*_PLAIN_KEYS, *(f"path_{name}" for name in banded)}
    extras = {
        name: plain_values(table.column(name)) for name in table.column_names if name not in skipped
    }
    keys = {name: table.column(name).to_pylist() for name in skipped & set(table.column_names)}
    for row in range(table.num_rows):
        values = {name: column[row] for name, column in keys.items()}
        columns = {name: column[row] for name, column in extras.items()}
        yield _row_ref(survey, root, banded, values, columns, row)


def plain_values(column: pa.ChunkedArray) -> list[Any]:
    """A column as Python values: numbers with gaps become floats with NaN, text gaps ""."""
    if column.null_count == 0:
        return column.to_pylist()
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return [math.nan if value is None else float(value) for value in column.to_pylist()]
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _row_ref(
    survey: Survey,
    root: Path,
    banded: list[str],
    values: dict[str, Any],
    columns: dict[str, Any],
    row: int,
) -> ObjectRef:
    names = {band: values[f"path_{band}"] for band in banded}
    if not banded:
        names = dict.fromkeys(survey.band_names, values["path"])
    files = tuple((band, root / name) for band, name in names.items() if name)
    fault = None
    if not files:
        fault = RejectedObject("missing-file", f"row {row + 1} names no file", "fill in its path")
    elif (
        not banded
        and survey.layout.kind in ("file-per-band", "object-cube")
        and (len(survey.bands) > 1)
    ):
        fault = RejectedObject(
            "missing-band",
            "one path for several bands",
            f"survey {survey.name!r} has one file a band: use columns path_<band>",
            files[0][1],
        )
    for path in dict.fromkeys(path for _, path in files):
        fault = fault or _misplaced(path, root, row)
    ra, dec, position_fault = _position(values, row)
    index, index_fault = _index(values, row)
    return ObjectRef(
        str(values.get("id") or _id_from_name(survey, files, row)),
        files,
        index,
        columns,
        ra,
        dec,
        root,
        fault or position_fault or index_fault,
    )


def _misplaced(path: Path, root: Path, row: int) -> RejectedObject | None:
    try:
        return outside_source(path, root)
    except (OSError, ValueError) as error:  # a NUL, or more characters than a path may have
        return RejectedObject("missing-file", f"row {row + 1}: {error}", "correct its path")


def _index(values: dict[str, Any], row: int) -> tuple[int | None, RejectedObject | None]:
    given = values.get("index")
    if given is None:
        return None, None
    try:
        index = int(given)
        if index == float(given) and 0 <= index < MOST_ROWS:
            return index, None
    except (TypeError, ValueError, OverflowError):
        pass
    found = f"row {row + 1}: index {given!r}"
    return None, RejectedObject("bad-index", found, "give the row in the cube, from 0")


def _position(values: dict[str, Any], row: int) -> tuple[float, float, RejectedObject | None]:
    try:
        ra, dec = (math.nan if values.get(k) is None else float(values[k]) for k in ("ra", "dec"))
    except (TypeError, ValueError):
        ra = dec = math.inf
    if math.isnan(ra) or math.isnan(dec):
        return math.nan, math.nan, None
    if -360 <= ra <= 360 and -90 <= dec <= 90:
        return ra % 360.0, dec, None
    found = f"row {row + 1}: ra {values.get('ra')}, dec {values.get('dec')}"
    fault = RejectedObject("bad-position", found, "give ICRS degrees, or leave both empty")
    return math.nan, math.nan, fault


def _id_from_name(survey: Survey, files: tuple[tuple[str, Path], ...], row: int) -> str:
    from equilens.pipeline.surveys.discovery import match_path

    if not files:
        return f"row-{row + 1}"
    matched = match_path(survey, files[0][1])
    if matched is not None and matched[0]:
        return matched[0]
    return files[0][1].name.split(".fits")[0]
