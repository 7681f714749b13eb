"""The selection function as a file: completeness in bins, with the smooth model in its metadata.

One file holds all of it, in any format of `equilens.catalogs.export` that has a place for
metadata. Its rows are counts that anybody can use; the metadata key ``selection_function`` is the
model as JSON text, whose entry ``formula`` says how to evaluate it without equilens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.binned import quantile_edges
from equilens.catalogs.errors import SelectionError
from equilens.catalogs.export import catalog_metadata, read_catalog, write_catalog
from equilens.catalogs.intervals import DEFAULT_LEVEL, proportion
from equilens.catalogs.selection import SelectionFunction
from equilens.catalogs.selection_basis import Table, column
from equilens.catalogs.selection_fit import visible

FloatArray = NDArray[np.float64]
KIND, MODEL_KEY = "selection function", "selection_function"
SUFFIXES = (".parquet", ".ecsv", ".fits", ".vot")
BINS, PAIR_BINS = 8, 5

_FIELDS = (
    pa.field("column", pa.string(), metadata={"description": "Property of the lens"}),
    pa.field("lower", pa.float64(), metadata={"description": "Lower edge of the bin, included"}),
    pa.field("upper", pa.float64(), metadata={"description": "Upper edge, included in the last"}),
    pa.field("column_2", pa.string(), metadata={"description": "Second property, if any"}),
    pa.field("lower_2", pa.float64(), metadata={"description": "Lower edge along the second"}),
    pa.field("upper_2", pa.float64(), metadata={"description": "Upper edge along the second"}),
    pa.field("n", pa.int64(), metadata={"description": "Lenses in the bin, missed ones included"}),
    pa.field("n_found", pa.int64(), metadata={"description": "Of them, selected by the cut"}),
    pa.field("completeness", pa.float64(), metadata={"description": "n_found/n"}),
    pa.field("low", pa.float64(), metadata={"description": "Clopper-Pearson limit"}),
    pa.field("high", pa.float64(), metadata={"description": "Clopper-Pearson limit"}),
    pa.field("model", pa.float64(), metadata={"description": "Mean of the smooth model there"}),
)


def binned_table(
    function: SelectionFunction,
    table: Table,
    scores: ArrayLike,
    pairs: Sequence[tuple[str, str]] = (),
    level: float = DEFAULT_LEVEL,
) -> pa.Table:
    """Completeness in bins of each column of the model, and of pairs of them.

    Parameters
    ----------
    function : fitted to these lenses
    table, scores : of all N injected lenses, as for `equilens.catalogs.selection_fit.fit_selection`
    pairs : columns to be binned together
    """
    scores = np.asarray(scores, dtype=np.float64)
    counted = visible(table, len(scores), function.denominator.arc_snr_from)
    found = scores[counted] >= function.cut.threshold
    names = [axis.column for axis in function.axes]
    lenses = {name: column(table, name)[counted] for name in names}
    model, _, _ = function.completeness(lenses)
    rows = [
        row
        for group in (*((name,) for name in names), *pairs)
        for row in _rows(group, lenses, found, model, level)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(_FIELDS))


def _rows(
    names: tuple[str, ...],
    lenses: Mapping[str, FloatArray],
    found: NDArray[np.bool_],
    model: FloatArray,
    level: float,
) -> Iterator[dict[str, Any]]:
    edges = [quantile_edges(lenses[name], BINS if len(names) == 1 else PAIR_BINS) for name in names]
    index = np.stack([_bins(lenses[n], e) for n, e in zip(names, edges, strict=True)])
    for cell in product(*(range(len(limits) - 1) for limits in edges)):
        inside = np.all(index == np.array(cell)[:, None], axis=0)
        share = proportion(int(found[inside].sum()), int(inside.sum()), level)
        known = model[inside][np.isfinite(model[inside])]
        row: dict[str, Any] = {
            "n": share.n,
            "n_found": int(found[inside].sum()),
            "completeness": share.value,
            "low": share.low,
            "high": share.high,
            "model": float(known.mean()) if len(known) else np.nan,
        }
        for name, limits, k, mark in zip(names, edges, cell, ("", "_2"), strict=False):
            row |= {f"column{mark}": name, f"lower{mark}": limits[k], f"upper{mark}": limits[k + 1]}
        yield row


def _bins(values: FloatArray, edges: Sequence[float]) -> NDArray[np.intp]:
    """Bin of each value; -1 where it is unknown."""
    inner = np.searchsorted(edges[1:-1], values, side="right")
    return np.where(np.isnan(values), -1, inner)


def write_selection(
    path: str | Path,
    function: SelectionFunction,
    bins: pa.Table,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write bins and model into one file, in the format of its suffix.

    Raises
    ------
    SelectionError
        If the format has no place for the model.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise SelectionError(
            f"a selection function is written to one of {SUFFIXES}, got {path.name!r}"
        )
    facts = {
        "table": KIND,
        "cut": str(function.cut),
        "denominator": str(function.denominator),
        "provenance": dict(provenance or {}),
        # one text: a header of nested lists would put every coefficient on a line of its own
        MODEL_KEY: json.dumps(function.to_dict(), allow_nan=False),
    }
    return write_catalog(bins, path, facts)


def read_selection(path: str | Path) -> tuple[SelectionFunction, pa.Table]:
    """Read back the model and the bins that `write_selection` wrote.

    Raises
    ------
    SelectionError
        If the file holds no selection function.
    """
    bins = read_catalog(path)
    text = catalog_metadata(bins).get(MODEL_KEY)
    if text is None:
        raise SelectionError(
            f"{path} holds no selection function; make one with `equilens selection-function`"
        )
    return SelectionFunction.from_dict(json.loads(text)), bins
