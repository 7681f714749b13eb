"""Logistic regression by Newton's method, with a quadratic penalty and weights.

Maximises Σ w [y η - ln(1 + e^η)] - βᵀPβ/2 with η = Xβ + offset, which is concave. Unlike
scikit-learn's, the penalty is any positive semi-definite matrix, as splines need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from equilens.catalogs.errors import ScoreError

FloatArray = NDArray[np.float64]
MOST_STEPS = 100
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class LogisticFit:
    """Coefficients (p,) at the maximum, and minus the second derivative there, (p, p).

    ``hessian`` includes the penalty; without it, it is Fisher's information.
    """

    coefficients: FloatArray
    hessian: FloatArray


def log_loss(labels: FloatArray, log_odds: FloatArray) -> FloatArray:
    """-ln of the probability given to what happened, (N,), in nats."""
    return np.logaddexp(0, np.where(labels > 0, -log_odds, log_odds))


def fit_logistic(
    design: FloatArray,
    labels: FloatArray,
    *,
    penalty: FloatArray | None = None,
    weights: FloatArray | None = None,
    offset: FloatArray | float = 0.0,
    start: FloatArray | None = None,
) -> LogisticFit:
    """Fit the coefficients of the columns of a design matrix.

    Parameters
    ----------
    design : (N, p)
    labels : (N,) of 0 and 1
    penalty : (p, p); none by default
    weights, offset : (N,); 1 and 0 by default
    start : (p,) to begin at

    Raises
    ------
    ScoreError
        If there is no maximum: the columns separate the two classes.
    """
    p = design.shape[1]
    penalty = np.zeros((p, p)) if penalty is None else penalty
    weights = np.ones(len(labels)) if weights is None else weights
    beta = np.zeros(p) if start is None else start.copy()

    def objective(beta: FloatArray) -> float:
        loss = weights @ log_loss(labels, design @ beta + offset)
        return float(loss + beta @ penalty @ beta / 2)

    value = objective(beta)
    for _ in range(MOST_STEPS):
        chance = expit(design @ beta + offset)
        gradient = design.T @ (weights * (labels - chance)) - penalty @ beta
        hessian = information(design, weights * chance * (1 - chance)) + penalty
        step = _solve(hessian, gradient)
        # half the Newton decrement: how far the objective can still fall
        if gradient @ step / 2 < _TOLERANCE * max(value, 1.0):
            return LogisticFit(beta + step, hessian)
        for _ in range(40):
            trial = objective(beta + step)
            if trial <= value:
                break
            step = step / 2
        beta, value = beta + step, trial
    raise ScoreError(
        f"the logistic fit did not settle in {MOST_STEPS} steps: the columns separate the two "
        "classes; give more objects, or a penalty"
    )


def information(design: FloatArray, weights: FloatArray) -> FloatArray:
    """XᵀWX."""
    return (design * weights[:, None]).T @ design


def sandwich(
    fit: LogisticFit, design: FloatArray, residuals: FloatArray, codes: NDArray[np.int64]
) -> FloatArray:
    """Covariance of the coefficients that allows for objects of one parent being alike, (p, p).

    H⁻¹ (Σ_g s_g s_gᵀ) H⁻¹ with the score s_g of each parent (Liang & Zeger 1986).
    """
    n_groups = int(codes.max()) + 1
    scores = np.stack(
        [np.bincount(codes, column * residuals, n_groups) for column in design.T], axis=1
    )
    inverse = _solve(fit.hessian, np.eye(len(fit.hessian)))
    return inverse @ (scores.T @ scores) @ inverse


def _solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    try:
        return cho_solve(cho_factor(matrix), right)
    except np.linalg.LinAlgError:
        raise ScoreError(
            "the logistic fit has no single maximum: two columns say the same, or the classes are "
            "separated; drop a column, give more objects, or a penalty"
        ) from None
