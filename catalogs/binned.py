"""Completeness of a cut in bins of a truth column: which lenses would have been missed.

Parameters are those of `equilens.catalogs.metrics`; selected means ``score >= threshold``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from equilens.catalogs.errors import ScoreError
from equilens.catalogs.intervals import DEFAULT_LEVEL, Estimate, finite_or_none, proportion


@dataclass(frozen=True)
class CompletenessBin:
    """Completeness of the lenses with lower <= value < upper (the last bin takes its upper)."""

    lower: float
    upper: float
    completeness: Estimate


@dataclass(frozen=True)
class BinnedCompleteness:
    """Completeness of one cut in bins of one truth column, and how many lenses no bin took."""

    column: str
    threshold: float
    bins: tuple[CompletenessBin, ...]
    n_outside: int
    n_unknown: int

    def to_json(self) -> dict:
        """Plain types."""
        return {
            "column": self.column,
            "threshold": finite_or_none(self.threshold),
            "n_outside": self.n_outside,
            "n_unknown": self.n_unknown,
            "bins": [
                {
                    "lower": finite_or_none(b.lower),
                    "upper": finite_or_none(b.upper),
                    **b.completeness.to_json(),
                }
                for b in self.bins
            ],
        }


def binned_completeness(
    labels: ArrayLike,
    scores: ArrayLike,
    values: ArrayLike,
    edges: Sequence[float],
    threshold: float,
    column: str,
    level: float = DEFAULT_LEVEL,
    method: str = "clopper-pearson",
) -> BinnedCompleteness:
    """Completeness at ``threshold`` in bins of a truth column such as einstein_radius_arcsec.

    Parameters
    ----------
    values : (N,) array of float, the column; NaN where the truth does not say
    edges : ascending bin edges, at least two

    Notes
    -----
    A NaN score counts as missed: the object stays in the denominator.
    """
    limits = np.asarray(edges, dtype=np.float64)
    if limits.ndim != 1 or len(limits) < 2 or not np.all(np.diff(limits) > 0):
        raise ScoreError(f"edges of {column!r} must be at least two ascending numbers, got {edges}")
    if not np.shape(labels) == np.shape(scores) == np.shape(values):
        raise ScoreError(
            f"labels, scores and {column!r} must have one length, got shapes "
            f"{np.shape(labels)}, {np.shape(scores)} and {np.shape(values)}"
        )
    is_lens = np.asarray(labels).astype(bool)
    of_lenses = np.asarray(values, dtype=np.float64)[is_lens]
    found = np.asarray(scores, dtype=np.float64)[is_lens] >= threshold
    index = np.searchsorted(limits, of_lenses, side="right") - 1
    index[of_lenses == limits[-1]] = len(limits) - 2
    unknown = np.isnan(of_lenses)
    outside = ~unknown & ((index < 0) | (index > len(limits) - 2))
    bins = tuple(
        CompletenessBin(
            float(limits[i]),
            float(limits[i + 1]),
            proportion(int(found[index == i].sum()), int((index == i).sum()), level, method),
        )
        for i in range(len(limits) - 1)
    )
    return BinnedCompleteness(
        column, float(threshold), bins, int(outside.sum()), int(unknown.sum())
    )


def quantile_edges(values: ArrayLike, n_bins: int) -> tuple[float, ...]:
    """Bin edges that put about the same number of the known values into each bin."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, n_bins + 1))) if len(known) else known
    if len(edges) < 2:
        return (0.0, math.inf)
    return tuple(float(edge) for edge in edges)
