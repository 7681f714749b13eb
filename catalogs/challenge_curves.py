"""How a finder's figures grow as the faintest and smallest lenses are left out.

The figures of the lens-finding challenge 1.0 (Metcalf et al. 2019, sec. 5.1 and the figures
against Einstein radius, lensed flux and lensed pixels): lenses below a minimum of one quantity are
removed, AUROC, TPR0 and TPR10 are computed anew, and **all non-lenses stay**. So the scores that
TPR0 and TPR10 are cut at do not move along a curve; only the lenses do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.errors import ScoreError
from equilens.catalogs.intervals import DEFAULT_LEVEL, Estimate
from equilens.catalogs.metrics import SplitScores, auroc_of_split, split_scores, tpr_of_split
from equilens.catalogs.reading import find_column
from equilens.catalogs.truth import Truth

FIGURES = ("auroc", "tpr0", "tpr10")
FEW_LENSES = 100
"""With fewer lenses than this the paper warns of small numbers (its dotted line)."""
N_MINIMA = 20


@dataclass(frozen=True)
class Quantity:
    """What a curve runs along: its name, and what the challenges' keys call it."""

    name: str
    label: str
    key_columns: tuple[str, ...]


QUANTITIES = (
    Quantity("einstein_radius_arcsec", "Einstein radius (arcsec)", ("einstein_radius_arcsec",)),
    Quantity(
        "lensed_flux",
        "flux of the lensed image (the key's unit)",
        ("flux_lensed_image_in_sigma", "source_flux"),
    ),
    Quantity(
        "lensed_pixels", "lensed pixels above the noise", ("numb_pix_lensed_image", "n_pix_source")
    ),
)


@dataclass(frozen=True)
class CurvePoint:
    """Figures of the lenses at or above one minimum, with all non-lenses.

    ``tpr10`` is None with fewer than ten non-lenses.
    """

    minimum: float
    n_lenses: int
    n_nonlenses: int
    auroc: Estimate
    tpr0: Estimate
    tpr10: Estimate | None


@dataclass(frozen=True)
class MinimumCurve:
    """Figures against the minimum of one quantity.

    Attributes
    ----------
    quantity, column : which, and the key's column that it was taken from
    points : by ascending minimum; the first has every lens whose value is known
    n_lenses : of the key
    n_unknown : lenses whose value the key does not give; no point has them
    """

    quantity: Quantity
    column: str
    points: tuple[CurvePoint, ...]
    n_lenses: int
    n_unknown: int

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "quantity": self.quantity.name,
            "column": self.column,
            "n_lenses": self.n_lenses,
            "n_unknown": self.n_unknown,
            "points": [
                {
                    "minimum": point.minimum,
                    "n_lenses": point.n_lenses,
                    "n_nonlenses": point.n_nonlenses,
                    **{name: _json(getattr(point, name)) for name in FIGURES},
                }
                for point in self.points
            ],
        }


def _json(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.to_json()


def minimum_curve(
    is_lens: ArrayLike,
    scores: ArrayLike,
    values: ArrayLike,
    minima: ArrayLike,
    level: float = DEFAULT_LEVEL,
) -> tuple[CurvePoint, ...]:
    """Figures of the lenses with value >= minimum among all non-lenses, for each minimum.

    Parameters
    ----------
    is_lens, scores : (N,) arrays, as in `equilens.catalogs.metrics`
    values : (N,) array of float; NaN where unknown, and of no account for non-lenses
    minima : ascending; one that no lens reaches gives no point

    Raises
    ------
    ScoreError
        On unequal lengths, NaN scores, or a class without objects.
    """
    split_scores(is_lens, scores)  # refuses what no figure can be made of
    lens = np.asarray(is_lens).astype(bool)
    numbers, logits = np.asarray(values, np.float64), np.asarray(scores, np.float64)
    if numbers.shape != logits.shape:
        raise ScoreError(
            f"values and scores must have one length, got {numbers.shape} and {logits.shape}"
        )
    of_lenses, nonlenses = numbers[lens], np.sort(logits[~lens])
    points = []
    for minimum in np.asarray(minima, np.float64).tolist():
        kept = np.sort(logits[lens][of_lenses >= minimum])
        if len(kept):
            points.append(_point(minimum, SplitScores(kept, nonlenses), level))
    return tuple(points)


def _point(minimum: float, split: SplitScores, level: float) -> CurvePoint:
    n = len(split.nonlenses)
    return CurvePoint(
        minimum,
        len(split.lenses),
        n,
        auroc_of_split(split, level),
        tpr_of_split(split, 1, level).tpr,
        tpr_of_split(split, 10, level).tpr if n >= 10 else None,
    )


def challenge_curves(
    truth: Truth, scores: ArrayLike, level: float = DEFAULT_LEVEL, n_minima: int = N_MINIMA
) -> tuple[MinimumCurve, ...]:
    """A curve for each quantity that the key gives for at least one lens.

    Parameters
    ----------
    scores : (N,) array of float64 in the key's order, -inf for a missed object
    n_minima : most points a curve; minima lie at equal steps in the number of lenses left
    """
    lens = truth.is_lens == 1
    curves = []
    for quantity in QUANTITIES:
        column = find_column(truth.columns, quantity.key_columns)
        if column is None or truth.columns[column].dtype.kind not in "iuf":
            continue
        values = np.asarray(truth.columns[column], np.float64)
        minima = equal_steps(values[lens], n_minima)
        if len(minima):
            points = minimum_curve(truth.is_lens, scores, values, minima, level)
            unknown = int(np.isnan(values[lens]).sum())
            curves.append(MinimumCurve(quantity, column, points, int(lens.sum()), unknown))
    return tuple(curves)


def equal_steps(values: ArrayLike, n: int) -> NDArray[np.float64]:
    """Up to n of the known values, from the smallest, with about equal counts between them."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return known
    return np.unique(np.quantile(known, np.arange(n) / n, method="lower"))


def curve_rows(curves: Sequence[MinimumCurve]) -> Iterator[Mapping[str, Any]]:
    """Every point of every curve as a flat row, for a table."""
    for curve in curves:
        for point in curve.points:
            row: dict[str, Any] = {
                "quantity": curve.quantity.name,
                "key_column": curve.column,
                "minimum": point.minimum,
                "n_lenses": point.n_lenses,
                "share_of_lenses": point.n_lenses / curve.n_lenses,
                "n_nonlenses": point.n_nonlenses,
            }
            for name in FIGURES:
                estimate = getattr(point, name)
                for part in ("value", "low", "high"):
                    column = name if part == "value" else f"{name}_{part}"
                    row[column] = None if estimate is None else getattr(estimate, part)
            yield row
