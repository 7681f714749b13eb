"""Whether probabilities are what they say, on objects that no fit has seen.

Held-out log-odds, reliability diagram and expected calibration error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.calibration import fit_calibration, usable_scores
from equilens.catalogs.errors import CalibrationError
from equilens.catalogs.intervals import DEFAULT_LEVEL, Estimate, check_level, proportion
from equilens.catalogs.logistic import log_loss
from equilens.catalogs.records import Record
from equilens.catalogs.resampling import bootstrap_weights, group_codes, grouped_folds

FloatArray = NDArray[np.float64]
DEFAULT_FOLDS = 5
DEFAULT_BINS = 12
DEFAULT_BOOTSTRAP = 200


@dataclass(frozen=True)
class HeldOut:
    """Log-odds that each object got from a fit without its parent, at the sample's own prior.

    Attributes
    ----------
    labels, log_odds : (N,) of the objects with a score
    codes : (N,) parent numbers
    scores : (N,)
    """

    labels: FloatArray
    log_odds: FloatArray
    codes: NDArray[np.int64]
    scores: FloatArray

    @property
    def log_loss(self) -> float:
        """Mean -ln of the probability given to what happened, nats an object."""
        return float(log_loss(self.labels, self.log_odds).mean())

    def uncalibrated(self) -> HeldOut:
        """The same objects with their scores taken for log-odds."""
        return replace(self, log_odds=self.scores)


def held_out(
    labels: ArrayLike,
    scores: ArrayLike,
    family: str,
    *,
    parents: ArrayLike | None = None,
    training_prior: float | None = None,
    n_folds: int = DEFAULT_FOLDS,
    seed: int = 0,
) -> HeldOut:
    """Cross-fitted log-odds: what calibration does to objects that it was not fitted on."""
    y, s, codes, _ = usable_scores(labels, scores, parents)
    folds = grouped_folds(codes, n_folds, seed)
    log_odds = np.empty(len(y))
    for fold in range(n_folds):
        inside = folds != fold
        fitted = fit_calibration(
            y[inside],
            s[inside],
            family,
            model_sha256="",
            data_fingerprint="",
            training_prior=training_prior,
        )
        prior = float(y.mean())
        log_odds[~inside] = fitted.log_odds(s[~inside], model_sha256="", prior=prior)
    return HeldOut(y, log_odds, codes, s)


@dataclass(frozen=True)
class ReliabilityBin(Record):
    """Objects with lower <= probability <= upper: what was said, and how many were lenses.

    The interval is Clopper-Pearson's. Objects of one bin differ in probability, which only makes
    their count scatter less than a binomial one (Hoeffding 1956), so it covers.
    """

    lower: float
    upper: float
    mean_probability: float
    share_of_lenses: Estimate


@dataclass(frozen=True)
class ExpectedCalibrationError(Record):
    """Expected calibration error Σ n_b/N |share of lenses - mean probability|.

    Attributes
    ----------
    value : the error and its interval, by bootstrap of the parents. A finite sample shows too
        large an error, the more so the better the probabilities are: the interval is moved down by
        the bias that the bootstrap sees, and holds the value in any case
    if_calibrated : the error that perfect probabilities would show in a sample of this size: mean,
        and the interval that it falls into
    """

    value: Estimate
    if_calibrated: Estimate


def reliability(
    labels: ArrayLike,
    probabilities: ArrayLike,
    n_bins: int = DEFAULT_BINS,
    level: float = DEFAULT_LEVEL,
) -> tuple[ReliabilityBin, ...]:
    """Reliability diagram in bins of about equally many objects, ascending.

    Parameters
    ----------
    labels, probabilities : (N,), probabilities at the share of lenses that these objects have
    """
    y, p = _checked(labels, probabilities)
    index = _equal_count_bins(p, n_bins)
    bins = []
    for b in range(int(index.max()) + 1):
        inside = index == b
        bins.append(
            ReliabilityBin(
                float(p[inside].min()),
                float(p[inside].max()),
                float(p[inside].mean()),
                proportion(int(y[inside].sum()), int(inside.sum()), level),
            )
        )
    return tuple(bins)


def expected_calibration_error(
    labels: ArrayLike,
    probabilities: ArrayLike,
    n_bins: int = DEFAULT_BINS,
    level: float = DEFAULT_LEVEL,
    *,
    parents: ArrayLike | None = None,
    n_bootstrap: int = DEFAULT_BOOTSTRAP,
    seed: int = 0,
) -> ExpectedCalibrationError:
    """Expected calibration error (Naeini et al. 2015), its scatter, and its floor.

    Parameters
    ----------
    labels, probabilities : (N,), as for `reliability`
    parents : (N,); a bootstrap sample takes all objects of a parent, or none
    """
    y, p = _checked(labels, probabilities)
    codes = group_codes(parents, len(y))
    index = _equal_count_bins(p, n_bins)
    rng = np.random.default_rng(seed)
    value = _error(y, p, index, np.ones(len(y)))
    draws = np.array(
        [_error(y, p, index, bootstrap_weights(codes, rng)) for _ in range(n_bootstrap)]
    )
    perfect = np.array(
        [
            _error((rng.random(len(p)) < p).astype(float), p, index, np.ones(len(p)))
            for _ in range(n_bootstrap)
        ]
    )
    tails = [(1 - check_level(level)) / 2, (1 + level) / 2]
    bias = draws.mean() - value
    low, high = np.quantile(draws - draws.mean(), tails) - bias
    floor, roof = np.quantile(perfect, tails)
    low = -value if value <= roof else low
    mean = float(np.clip(perfect.mean(), floor, roof))
    n = len(y)
    return ExpectedCalibrationError(
        Estimate(
            value,
            float(np.clip(value + low, 0.0, value)),
            float(np.clip(value + high, value, 1.0)),
            n,
            level,
            "bootstrap",
        ),
        Estimate(mean, float(floor), float(roof), n, level, "simulation"),
    )


def _error(y: FloatArray, p: FloatArray, index: NDArray[np.intp], weights: FloatArray) -> float:
    return float(np.abs(np.bincount(index, weights * (y - p))).sum() / weights.sum())


def _equal_count_bins(p: FloatArray, n_bins: int) -> NDArray[np.intp]:
    """Bin of each object, counted from 0; equal probabilities share a bin."""
    inner = np.unique(np.quantile(p, np.linspace(0, 1, n_bins + 1)[1:-1]))
    return np.unique(np.searchsorted(inner, p, side="left"), return_inverse=True)[1]


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[FloatArray, FloatArray]:
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1 or not len(y):
        raise CalibrationError(
            f"labels and probabilities must be of one length, got shapes {y.shape} and {p.shape}"
        )
    if not np.all((p >= 0) & (p <= 1)):
        raise CalibrationError(
            "probabilities must lie between 0 and 1; give calibrated ones, not scores"
        )
    return y, p
