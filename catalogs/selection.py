"""The selection function: which lenses a cut finds, as a table of any lens's properties.

The completeness c of a lens with properties x is logit c = β₀ + Σ_j f_j(x_j) + Σ f_jk(x_j, x_k), a
logistic additive model of penalised splines (Hastie & Tibshirani 1990; Eilers & Marx 1996). It is
fitted by `equilens.catalogs.selection_fit`, and evaluated here or from its coefficients alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from equilens.catalogs.errors import SelectionError
from equilens.catalogs.intervals import DEFAULT_LEVEL, Estimate, check_level
from equilens.catalogs.records import Record
from equilens.catalogs.selection_basis import Axis, Table, Term, design_matrix
from equilens.catalogs.selection_support import PairSupport, why_outside

FloatArray = NDArray[np.float64]
FORMAT = 1
FORMULA = (
    "completeness = 1/(1 + exp(-eta)); eta = coefficients[0] + the sum of all terms, whose "
    "coefficients follow in order. u is the column, or its logarithm to base 10 where the axis "
    "says so. A term of one column is scipy.interpolate.BSpline(knots[0], c, 3)(u); a term of two "
    "is sum_ij c[i, j] B_i(u) B_j(v), with B_i = BSpline.basis_element(knots[0][i:i+5]) and c in C "
    "order. The interval is eta -+ 1.96 sqrt(b V b) with b the values of 1 and of all splines, and "
    "V the covariance, given as its upper triangle row by row. It holds between lower and upper "
    "of every axis, in cells of each pair of columns that supports call occupied, nowhere else."
)


@dataclass(frozen=True)
class ScoreCut(Record):
    """The cut that completeness is of.

    Attributes
    ----------
    threshold : score, uncalibrated; found means score >= threshold
    fpr : share of non-lenses that it lets through, with their number; None where none were at hand
    chosen : where the threshold comes from, in words
    """

    threshold: float
    fpr: Estimate | None
    chosen: str

    def __str__(self) -> str:
        rate = "false-positive rate not measured"
        if self.fpr is not None:
            rate = (
                f"false-positive rate {self.fpr.with_interval('.3g')}, N={self.fpr.n:,} non-lenses"
            )
        return f"score >= {self.threshold:.6g} ({rate}; chosen {self.chosen})"


@dataclass(frozen=True)
class Denominator(Record):
    """Which lenses completeness is a share of.

    Attributes
    ----------
    arc_snr_from : lenses count as visible from this signal-to-noise ratio on; None counts all
    n_injected : lenses of the truth
    n_counted : of them, those that count; a lens without a score is among them, as missed
    n_found : of the counted, selected by the cut
    n_unknown : of the counted, left out of the smooth model for lack of a property
    n_parents : objects that the lenses of the smooth model were made from
    """

    arc_snr_from: float | None
    n_injected: int
    n_counted: int
    n_found: int
    n_unknown: int
    n_parents: int

    @property
    def kind(self) -> str:
        """In words."""
        if self.arc_snr_from is None:
            return "all injected"
        return f"visible: arc_snr >= {self.arc_snr_from:g}"

    def __str__(self) -> str:
        text = f"{self.kind}; {self.n_counted:,} of {self.n_injected:,} injected lenses"
        if self.n_unknown:
            text += f", {self.n_unknown:,} of them not in the smooth model: a property is unknown"
        return f"{text}; {self.n_parents:,} parents"


@dataclass(frozen=True)
class HeldOutBin(Record):
    """Lenses of similar predicted completeness, none of whose parents was fitted."""

    predicted: float
    observed: Estimate


@dataclass(frozen=True)
class HeldOutCheck(Record):
    """Predicted against observed completeness of held-out parents (Hosmer & Lemeshow 1980).

    Attributes
    ----------
    bins : of equally many lenses, by predicted completeness
    statistic : Σ (observed - predicted)²/variance over the bins, with the variance larger where
        lenses of one parent fare alike
    p_value : of that statistic or a larger one if the model is right; χ², one degree a bin
    log_loss, log_loss_constant : nats a lens, of the model and of one completeness for all
    """

    bins: tuple[HeldOutBin, ...]
    statistic: float
    p_value: float
    n: int
    n_parents: int
    n_folds: int
    log_loss: float
    log_loss_constant: float


@dataclass(frozen=True)
class SelectionFunction(Record):
    """Completeness of one network at one cut, for any lens.

    Attributes
    ----------
    axes : columns that it depends on
    terms : of the sum, in order
    coefficients : the constant, then those of each term
    covariance : of the coefficients, upper triangle, row by row
    supports : where the lenses of the fit were
    cut, denominator : what completeness is of, and a share of
    penalty : on the roughness of the terms, chosen on held-out parents
    n_bootstrap : samples of the parents that the covariance rests on
    check : on held-out parents
    model_sha256, data_fingerprint : of the network and of the scored cutouts
    notes : what keeps its figures from being taken at face value
    """

    axes: tuple[Axis, ...]
    terms: tuple[Term, ...]
    coefficients: tuple[float, ...]
    covariance: tuple[float, ...]
    supports: tuple[PairSupport, ...]
    cut: ScoreCut
    denominator: Denominator
    penalty: float
    n_bootstrap: int
    check: HeldOutCheck
    model_sha256: str
    data_fingerprint: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = 1 + sum(term.n_coefficients for term in self.terms)
        if len(self.coefficients) != n or len(self.covariance) != n * (n + 1) // 2:
            raise SelectionError(
                f"a selection function of these terms needs {n} coefficients and "
                f"{n * (n + 1) // 2} covariances, got {len(self.coefficients)} and "
                f"{len(self.covariance)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, with the formula that evaluates them."""
        return {"format": FORMAT, "formula": FORMULA, **super().to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SelectionFunction:
        """Read back what `to_dict` gave."""
        if data.get("format") != FORMAT:
            raise SelectionError(
                f"a saved selection function must have format {FORMAT}, got "
                f"{data.get('format')!r}: make it anew"
            )
        derived = ("format", "formula")
        return super().from_dict({k: v for k, v in data.items() if k not in derived})

    def completeness(
        self, table: Table, level: float = DEFAULT_LEVEL
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Completeness of each lens and its interval, (N,) each; NaN outside of what was fitted.

        The interval is of the completeness itself, not of whether one lens is found. It holds
        lens by lens.

        Parameters
        ----------
        table : with the columns of the axes, in their units; N rows. `outside` says why a row is
            NaN
        """
        z = ndtri((1 + check_level(level)) / 2)
        design = design_matrix(self.axes, self.terms, table)
        log_odds = design @ np.array(self.coefficients)
        variance = np.einsum(
            "ni,ij,nj->n", design, self._covariance_matrix(), design, optimize=True
        )
        half = z * np.sqrt(np.maximum(variance, 0.0))
        gone = self.outside(table) != ""
        value, low, high = (
            np.where(gone, np.nan, expit(odds))
            for odds in (log_odds, log_odds - half, log_odds + half)
        )
        return value, low, high

    def outside(self, table: Table) -> NDArray[np.object_]:
        """Why a lens is outside of what was fitted, in words; "" for one inside, (N,)."""
        return why_outside(self.axes, self.supports, table)

    def _covariance_matrix(self) -> FloatArray:
        n = len(self.coefficients)
        matrix = np.zeros((n, n))
        matrix[np.triu_indices(n)] = self.covariance
        return matrix + np.triu(matrix, 1).T
