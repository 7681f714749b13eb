"""Where lenses were injected: a selection function says nothing about other places.

Every column has its range. Within the ranges, each pair of columns is cut into cells that hold
equally many lenses along each column; a cell that no lens fell into is outside as well, such as
large Einstein radii with faint arcs, which the two ranges alone would let through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from equilens.catalogs.records import Record
from equilens.catalogs.selection_basis import Axis, Table, column

FEWEST_CELLS, MOST_CELLS, LENSES_A_CELL = 3, 10, 20


@dataclass(frozen=True)
class PairSupport(Record):
    """Cells of two columns that hold lenses.

    Attributes
    ----------
    columns : two
    edges : ascending, of each column, the ends of the range included
    occupied : 1 for a cell with lenses, in C order, the second column fastest
    """

    columns: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    occupied: tuple[int, ...]

    def holds(self, table: Table) -> NDArray[np.bool_]:
        """Whether each object lies in an occupied cell, (N,)."""
        return np.array(self.occupied, dtype=bool)[_cells(table, self.columns, self.edges)]


def _cells(table: Table, columns: Sequence[str], edges: Sequence[Sequence[float]]) -> NDArray:
    first, second = (
        np.searchsorted(limits[1:-1], column(table, name), side="right")
        for name, limits in zip(columns, edges, strict=True)
    )
    return first * (len(edges[1]) - 1) + second


def pair_supports(axes: Sequence[Axis], table: Table) -> tuple[PairSupport, ...]:
    """Occupied cells of each pair of columns."""
    names = [axis.column for axis in axes]
    n = len(column(table, names[0]))
    cells = int(np.clip(np.sqrt(n / LENSES_A_CELL), FEWEST_CELLS, MOST_CELLS))
    supports = []
    for pair in combinations(names, 2):
        edges = tuple(
            tuple(
                np.unique(np.quantile(column(table, name), np.linspace(0, 1, cells + 1))).tolist()
            )
            for name in pair
        )
        n_cells = (len(edges[0]) - 1) * (len(edges[1]) - 1)
        counts = np.bincount(_cells(table, pair, edges), minlength=n_cells)
        supports.append(PairSupport(pair, edges, tuple((counts > 0).astype(int).tolist())))
    return tuple(supports)


def why_outside(
    axes: Sequence[Axis], supports: Sequence[PairSupport], table: Table
) -> NDArray[np.object_]:
    """Why each object is outside of what was fitted, in words; "" for one inside, (N,)."""
    n = len(column(table, axes[0].column))
    reasons: list[list[str]] = [[] for _ in range(n)]

    def note(rows: NDArray[np.bool_], text: str) -> None:
        for row in np.flatnonzero(rows):
            reasons[row].append(text)

    beyond = np.zeros(n, dtype=bool)
    for axis in axes:
        values = column(table, axis.column)
        note(np.isnan(values), f"{axis.column} unknown")
        note(values < axis.lower, f"{axis.column} below {axis.lower:.4g}")
        note(values > axis.upper, f"{axis.column} above {axis.upper:.4g}")
        beyond |= ~((values >= axis.lower) & (values <= axis.upper))
    for support in supports:
        empty = ~support.holds(table) & ~beyond
        note(empty, f"no lens of that {' and '.join(support.columns)}")
    return np.array(["; ".join(texts) for texts in reasons], dtype=object)
