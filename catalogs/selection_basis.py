"""Smooth functions of truth columns: cubic B-splines of one column, and products of two.

The log-odds of finding a lens are a constant plus terms; a term is Σ_i c_i B_i(u), or
Σ_ij c_ij B_i(u) B_j(v), where u and v are columns, or their logarithms to base 10, and B_i are
the B-splines of the stated knots, all of degree 3. `scipy.interpolate.BSpline(knots, c, 3)` gives
the same values: nothing more is needed to evaluate a saved model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline

from equilens.catalogs.errors import SelectionError
from equilens.catalogs.records import Record

FloatArray = NDArray[np.float64]
DEGREE = 3
SEGMENTS, PAIR_SEGMENTS = 8, 2
SCALES = ("linear", "log10")
Table: TypeAlias = Mapping[str, ArrayLike] | pa.Table


@dataclass(frozen=True)
class Axis(Record):
    """A column that completeness depends on, and the range that was fitted.

    Attributes
    ----------
    column : name in the table
    scale : ``linear``, or ``log10`` for quantities that spread over decades
    lower, upper : of the lenses that were fitted, in the column's unit
    """

    column: str
    scale: str
    lower: float
    upper: float

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise SelectionError(
                f"scale of {self.column!r} must be one of {SCALES}, got {self.scale!r}"
            )
        if not self.lower < self.upper or (self.scale == "log10" and not self.lower > 0):
            raise SelectionError(
                f"column {self.column!r} must vary{' above 0' * (self.scale == 'log10')}, got "
                f"values from {self.lower!r} to {self.upper!r}; leave it out"
            )

    def scaled(self, values: ArrayLike) -> FloatArray:
        """The column, or its logarithm, inside the fitted range: beyond it, the nearest edge."""
        inside = np.clip(np.asarray(values, dtype=np.float64), self.lower, self.upper)
        return np.log10(inside) if self.scale == "log10" else inside

    def knots(self, segments: int) -> tuple[float, ...]:
        """Equally spaced knots, three more on either side of the range."""
        low, high = self.scaled([self.lower, self.upper]).tolist()
        steps = np.arange(-DEGREE, segments + DEGREE + 1)
        return tuple((low + (high - low) * steps / segments).tolist())


@dataclass(frozen=True)
class Term(Record):
    """A smooth function of one column, or of two.

    Attributes
    ----------
    columns : one or two
    knots : of each column, in scaled values
    """

    columns: tuple[str, ...]
    knots: tuple[tuple[float, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of splines along each column."""
        return tuple(len(knots) - DEGREE - 1 for knots in self.knots)

    @property
    def n_coefficients(self) -> int:
        """Of the term; those of a product are in C order, the second column fastest."""
        return int(np.prod(self.shape))

    def design(self, axes: Mapping[str, Axis], table: Table) -> FloatArray:
        """Values of the splines, or of their products, (N, n_coefficients)."""
        parts = [
            _splines(axes[name].scaled(column(table, name)), knots)
            for name, knots in zip(self.columns, self.knots, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        return (parts[0][:, :, None] * parts[1][:, None, :]).reshape(len(parts[0]), -1)

    def roughness(self) -> FloatArray:
        """Second differences of the coefficients, squared (Eilers & Marx 1996, eq. 3), summed."""
        squares = [_second_differences(n) for n in self.shape]
        if len(squares) == 1:
            return squares[0]
        (first, second), (m, n) = squares, self.shape
        return np.kron(first, np.eye(n)) + np.kron(np.eye(m), second)


def column(table: Table, name: str) -> FloatArray:
    """A column as float64.

    Raises
    ------
    SelectionError
        If the table lacks it.
    """
    names = table.column_names if isinstance(table, pa.Table) else list(table)
    if name not in names:
        raise SelectionError(
            f"the table needs the column {name!r}, got {sorted(names)}; add it, with NaN where it "
            "is not known"
        )
    values = (
        table[name].to_numpy(zero_copy_only=False) if isinstance(table, pa.Table) else table[name]
    )
    return np.asarray(values, dtype=np.float64)


def make_axes(table: Table, scales: Mapping[str, str]) -> tuple[Axis, ...]:
    """An axis for each column that ``scales`` names, over the range of its values."""
    axes = []
    for name, scale in scales.items():
        values = column(table, name)
        axes.append(Axis(name, scale, float(values.min()), float(values.max())))
    return tuple(axes)


def single_term(axis: Axis) -> Term:
    """A function of one column, of eleven coefficients."""
    return Term((axis.column,), (axis.knots(SEGMENTS),))


def pair_term(first: Axis, second: Axis) -> Term:
    """A function of two columns, of 25 coefficients: what a sum of two functions can not be."""
    knots = (first.knots(PAIR_SEGMENTS), second.knots(PAIR_SEGMENTS))
    return Term((first.column, second.column), knots)


def design_matrix(axes: Sequence[Axis], terms: Sequence[Term], table: Table) -> FloatArray:
    """A column of ones, then the splines of every term, (N, 1 + Σ n_coefficients)."""
    by_name = {axis.column: axis for axis in axes}
    parts = [term.design(by_name, table) for term in terms]
    return np.concatenate([np.ones((len(parts[0]), 1)), *parts], axis=1)


def _splines(values: FloatArray, knots: Sequence[float]) -> FloatArray:
    sure = np.nan_to_num(values, nan=knots[DEGREE])
    # equally spaced knots end a rounding error from the range's own ends
    inside = np.clip(sure, knots[DEGREE], knots[-DEGREE - 1])
    return BSpline.design_matrix(inside, np.asarray(knots), DEGREE).toarray()


def _second_differences(n: int) -> FloatArray:
    differences = np.diff(np.eye(n), 2, axis=0)
    return differences.T @ differences
