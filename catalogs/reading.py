"""Tables as users have them, read without guessing at numbers: text fields stay text.

IDs must survive as they are written (``00123`` is not 123), and scores must parse to the nearest
float64, so nothing here goes through a type-inferring reader.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from astropy.table import Table
from numpy.typing import NDArray

from equilens.catalogs.errors import CatalogError

ObjectArray = NDArray[np.object_]

ABSENT = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})


@dataclass(frozen=True)
class TextRows:
    """Fields of a delimited text file, line by line; comments and empty lines are gone."""

    fields: list[list[str]]
    line_numbers: list[int]

    def check_width(self, path: Path, error: type[CatalogError]) -> None:
        """Refuse a line whose number of fields differs from the first one's."""
        width = len(self.fields[0])
        for row, line in zip(self.fields, self.line_numbers, strict=True):
            if len(row) != width:
                raise error(
                    f"{path}: line {line} has {len(row)} fields, the first line has {width}; "
                    "repair or remove the line"
                )


def read_text_rows(path: Path, error: type[CatalogError]) -> TextRows:
    """Split a text file at commas, tabs, semicolons or blanks, as its first line has them."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise error(
            f"{path} is neither UTF-8 text nor Parquet, FITS or VOTable; convert it"
        ) from None
    numbered = [
        (number, line)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not numbered:
        raise error(f"{path} has no data: it is empty or all comments")
    numbers, kept = map(list, zip(*numbered, strict=True))
    return TextRows(list(_split(kept)), numbers)


def _split(lines: list[str]) -> Iterator[list[str]]:
    delimiter = next((mark for mark in ",\t;" if mark in lines[0]), None)
    for line in lines:
        if delimiter is None:
            yield line.split()
        elif '"' not in line:
            yield [field.strip() for field in line.split(delimiter)]
        else:
            # one line at a time: a stray quote must not swallow the rows after it
            row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
            yield [field.strip() for field in row]


def read_columns(path: Path, error: type[CatalogError]) -> dict[str, np.ndarray]:
    """Read a table with named columns: delimited text, Parquet, FITS, VOTable or ECSV.

    Returns
    -------
    dict of (N,) arrays: object arrays of str from delimited text, native types otherwise. A column
    without a name (a stray index) is dropped.
    """
    if not is_text(path):
        return read_binary_columns(path, error)
    rows = read_text_rows(path, error)
    rows.check_width(path, error)
    return columns_of_text(rows, path, error)


def columns_of_text(rows: TextRows, path: Path, error: type[CatalogError]) -> dict[str, np.ndarray]:
    """Columns under the names in the first row."""
    names, *body = rows.fields
    twice = {name for name in names if name and names.count(name) > 1}
    if twice:
        raise error(f"{path}: column names must be unique, got twice {sorted(twice)}")
    return {
        name: np.array([row[i] for row in body], dtype=object)
        for i, name in enumerate(names)
        if name
    }


def is_text(path: Path) -> bool:
    """Whether the file is delimited text, by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(512)
    marks = (b"PAR1", b"SIMPLE  =", b"\x1f\x8b", b"# %ECSV")
    return not head.startswith(marks) and b"<VOTABLE" not in head


def read_binary_columns(path: Path, error: type[CatalogError]) -> dict[str, np.ndarray]:
    """Columns of a Parquet, FITS, VOTable or ECSV file; masked numbers become NaN."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(b"PAR1"):
        table = pq.read_table(path)
        return {
            name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names
        }
    kind: dict[str, Any]
    if b"<VOTABLE" in head:
        kind = {"format": "votable"}
    elif head.startswith(b"# %ECSV"):
        kind = {"format": "ascii.ecsv"}
    else:
        kind = {"format": "fits", "mask_invalid": False}
    try:
        table = Table.read(path, **kind)
    except (OSError, ValueError, IndexError) as problem:
        raise error(f"{path} does not read as {kind['format']}: {problem}") from problem
    table.convert_bytestring_to_unicode()
    return {name: _unmasked(table[name]) for name in table.colnames}


def _unmasked(column) -> np.ndarray:
    mask = np.asarray(getattr(column, "mask", False))
    values = np.asarray(column)
    if not mask.any():
        return values
    if values.dtype.kind in "iufb":
        return np.where(mask, np.nan, values.astype(np.float64))
    return np.where(mask, "", values.astype(object))


def text_ids(values: Iterable, what: str, error: type[CatalogError]) -> ObjectArray:
    """IDs as text; whole floats (a table that lost its integer type) as integers.

    Raises
    ------
    error
        On an empty ID, or an ID that occurs twice.
    """
    array = np.asarray(values)
    if array.dtype.kind == "f" and np.all(array == np.floor(array)):
        array = array.astype(np.int64)
    ids = np.array([_id_text(value) for value in array.tolist()], dtype=object)
    empty = int(sum(not name for name in ids))
    if empty:
        raise error(f"{what}: every object needs an ID, got {empty} empty")
    n_unique = len(set(ids))
    if n_unique < len(ids):
        ((example, _),) = Counter(ids).most_common(1)
        raise error(
            f"{what}: IDs must be unique, got {len(ids) - n_unique} repeated, such as "
            f"{example!r}; keep one row an object"
        )
    return ids


def _id_text(value) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return "" if value is None else str(value).strip()


def floats(values: Iterable, what: str, error: type[CatalogError]) -> NDArray[np.float64]:
    """Parse to the nearest float64; empty, ``nan``, ``NA``, ``null`` and ``-`` become NaN."""
    array = np.asarray(values)
    if array.dtype.kind in "iufb":
        return array.astype(np.float64)
    values = array.tolist()
    try:
        return np.array(list(map(float, values)), dtype=np.float64)
    except (TypeError, ValueError):
        pass  # absent values among them, or no numbers at all
    try:
        return np.array([_float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise error(f"{what} must be numbers: {problem}") from None


def _float(value) -> float:
    if value is None:
        return np.nan
    if isinstance(value, str) and value.strip().lower() in ABSENT:
        return np.nan
    return float(value)


def is_number(text: str) -> bool:
    """Whether the text parses as a float (``nan`` and ``inf`` included)."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def find_column(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """First of ``wanted`` among the names, letter case aside."""
    by_lower = {name.lower(): name for name in reversed(list(names))}
    return next((by_lower[want] for want in wanted if want in by_lower), None)
