"""From scores to probabilities at the share of lenses that a survey has.

A score is a logit that ranks; its scale is the network's own. A calibration maps it to log-odds by
a strictly increasing function of few parameters, so that it keeps every order and makes no ties
(a step function such as isotonic regression ties exactly where the candidates are):

============  ==================================  ============================================
family        log-odds of a score s               source
============  ==================================  ============================================
temperature   s/T + what the priors differ by     Guo et al. 2017 (arXiv:1706.04599), sec. 4.2
logistic      b s + c                             Platt 1999
beta          a ln σ(s) - b ln σ(-s) + c          Kull et al. 2017 (AISTATS), with p = σ(s)
                                                  and a, b > 0
============  ==================================  ============================================

These hold at the share π of lenses among the objects of the fit. Under another share π' the
log-odds are larger by logit π' - logit π (Saerens et al. 2002), **if lenses still look like
lenses, and non-lenses like non-lenses: p(x|y) unchanged**. Simulations are never quite like the
sky, so nothing made from a calibration is a verified purity until real objects were graded.

Scores of -inf (objects that were missed) have probability 0 and take no part in a fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, logit

from equilens.catalogs.errors import CalibrationError
from equilens.catalogs.logistic import fit_logistic, sandwich
from equilens.catalogs.metrics import split_scores
from equilens.catalogs.records import Record
from equilens.catalogs.resampling import group_codes

FloatArray = NDArray[np.float64]
MIN_SLOPE = 1e-3


def _straight(scores: FloatArray) -> FloatArray:
    return scores[:, None]


def _straight_and_one(scores: FloatArray) -> FloatArray:
    return np.stack([scores, np.ones_like(scores)], axis=1)


def _two_sides(scores: FloatArray) -> FloatArray:
    return np.stack([log_expit(scores), -log_expit(-scores), np.ones_like(scores)], axis=1)


@dataclass(frozen=True)
class Family:
    """A family of calibrations: columns made of the score, the first ``n_slopes`` increasing."""

    columns: Callable[[FloatArray], FloatArray]
    parameters: tuple[str, ...]
    n_slopes: int


FAMILIES = {
    "temperature": Family(_straight, ("b",), 1),
    "logistic": Family(_straight_and_one, ("b", "c"), 1),
    "beta": Family(_two_sides, ("a", "b", "c"), 2),
}


@dataclass(frozen=True)
class FittedOn(Record):
    """What a calibration was fitted on; objects without a score are counted apart."""

    n_lenses: int
    n_nonlenses: int
    n_parents: int
    n_without_score: int
    model_sha256: str
    data_fingerprint: str

    @property
    def prior(self) -> float:
        """Share of lenses among the objects of the fit."""
        return self.n_lenses / (self.n_lenses + self.n_nonlenses)


@dataclass(frozen=True)
class Calibration(Record):
    """Log-odds as a strictly increasing function of the score.

    Attributes
    ----------
    family : a key of `FAMILIES`
    coefficients : in the order of the family's parameters; a temperature is 1/b
    covariance : rows of their covariance matrix, parents resampled as one (sandwich)
    offset : added to the log-odds beforehand; not 0 for temperatures only
    fitted_on : the sample
    """

    family: str
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    offset: float
    fitted_on: FittedOn

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise CalibrationError(f"family must be one of {list(FAMILIES)}, got {self.family!r}")
        slopes = self.coefficients[: self._family.n_slopes]
        if len(self.coefficients) != len(self._family.parameters) or not min(slopes) > 0:
            raise CalibrationError(
                f"a {self.family} calibration needs {self._family.parameters} with slopes above 0, "
                f"got {self.coefficients}"
            )

    @property
    def _family(self) -> Family:
        return FAMILIES[self.family]

    def log_odds(
        self, scores: ArrayLike, *, model_sha256: str, prior: float | None = None
    ) -> FloatArray:
        """Calibrated log-odds, (N,): rank by these, they tie only where the scores do.

        Parameters
        ----------
        scores : (N,) logits of the network that the calibration was fitted for
        model_sha256 : of the network that gave the scores
        prior : share of lenses among the objects; by default that of the fit

        Raises
        ------
        CalibrationError
            If the scores are another network's, or the prior is no share.
        """
        self.check_model(model_sha256)
        values = np.asarray(scores, dtype=np.float64)
        found = self._family.columns(values.ravel()) @ np.array(self.coefficients)
        return found.reshape(values.shape) + self.offset + self.shift_to(prior)

    def probability(
        self, scores: ArrayLike, *, model_sha256: str, prior: float | None = None
    ) -> FloatArray:
        """σ of the log-odds, (N,); float64 rounds it to 1 from a log-odds of 37 on."""
        return expit(self.log_odds(scores, model_sha256=model_sha256, prior=prior))

    def shift_to(self, prior: float | None) -> float:
        """logit π' - logit π, from the fit's share of lenses to another."""
        if prior is None:
            return 0.0
        return float(logit(check_prior(prior)) - logit(self.fitted_on.prior))

    def check_model(self, sha256: str) -> None:
        """Refuse the scores of a network that the calibration was not fitted for."""
        if sha256 != self.fitted_on.model_sha256:
            raise CalibrationError(
                f"this calibration is of the network {self.fitted_on.model_sha256[:12]!r}, the "
                f"scores are of {sha256[:12]!r}: fit a calibration for that network"
            )


def check_prior(prior: float) -> float:
    """Return the share of lenses if it lies strictly between 0 and 1."""
    if not 0 < prior < 1:
        raise CalibrationError(
            f"prior, the share of lenses among the objects, must lie between 0 and 1, got {prior!r}"
        )
    return prior


def fit_calibration(
    labels: ArrayLike,
    scores: ArrayLike,
    family: str,
    *,
    model_sha256: str,
    data_fingerprint: str,
    parents: ArrayLike | None = None,
    training_prior: float | None = None,
) -> Calibration:
    """Fit a calibration by maximum likelihood.

    Parameters
    ----------
    labels, scores : (N,), objects that the network was **not** trained on
    family : ``temperature``, ``logistic`` or ``beta``
    model_sha256, data_fingerprint : of the network, and of the objects
    parents : (N,), objects of one parent count as one in the covariance
    training_prior : share of lenses that the network was trained at. Its logits hold there, so a
        temperature (which has no constant of its own) needs it where the objects have another
        share; by default it is theirs.

    Raises
    ------
    CalibrationError
        If the scores separate the classes, or do not rank lenses above non-lenses.
    """
    if family not in FAMILIES:
        raise CalibrationError(f"family must be one of {list(FAMILIES)}, got {family!r}")
    labels, scores, codes, n_lost = usable_scores(labels, scores, parents)
    n_lenses = int(labels.sum())
    about = FittedOn(
        n_lenses,
        len(labels) - n_lenses,
        len(np.unique(codes)),
        n_lost,
        model_sha256,
        data_fingerprint,
    )
    offset = 0.0
    if family == "temperature" and training_prior is not None:
        offset = float(logit(about.prior) - logit(check_prior(training_prior)))
    coefficients, covariance = _fit(FAMILIES[family], labels, scores, codes, offset)
    rows = tuple(tuple(row) for row in covariance.tolist())
    return Calibration(family, tuple(coefficients.tolist()), rows, offset, about)


def usable_scores(
    labels: ArrayLike, scores: ArrayLike, parents: ArrayLike | None
) -> tuple[FloatArray, FloatArray, NDArray[np.int64], int]:
    """Labels, scores and parent numbers of the objects with a score, and how many have none."""
    split = split_scores(labels, scores, nan_as_lowest=True)
    if split.nonlenses[-1] <= split.lenses[0]:
        raise CalibrationError(
            f"the scores separate the {len(split.lenses)} lenses from the {len(split.nonlenses)} "
            "non-lenses, so any steepness fits: take more objects, or harder ones"
        )
    values = np.asarray(scores, dtype=np.float64)
    kept = np.isfinite(values)
    if np.isposinf(values).any():
        raise CalibrationError("scores must not be +inf: no calibration says how likely that is")
    codes = group_codes(parents, len(values))
    if min(np.count_nonzero(kept & (np.asarray(labels) == label)) for label in (0, 1)) == 0:
        raise CalibrationError("both classes need objects with a score to fit a calibration")
    kept_codes = np.unique(codes[kept], return_inverse=True)[1]
    return (
        np.asarray(labels, dtype=np.float64)[kept],
        values[kept],
        kept_codes.astype(np.int64),
        int((~kept).sum()),
    )


def _fit(
    family: Family,
    labels: FloatArray,
    scores: FloatArray,
    codes: NDArray[np.int64],
    offset: float,
) -> tuple[FloatArray, FloatArray]:
    """Coefficients and covariance; a slope of a two-sided family is held at `MIN_SLOPE` if need be.

    Kull et al. 2017 drop a side whose slope comes out negative; dropped altogether, it
    would flatten that side, so it keeps the smallest slope that still tells scores apart.
    """
    design = family.columns(scores)
    coefficients = np.full(design.shape[1], MIN_SLOPE)
    free = np.ones(design.shape[1], dtype=bool)
    for _ in range(family.n_slopes):
        fixed = design[:, ~free] @ coefficients[~free] + offset
        fit = fit_logistic(design[:, free], labels, offset=fixed)
        coefficients[free] = fit.coefficients
        low = np.flatnonzero(coefficients[: family.n_slopes] < MIN_SLOPE)
        if not len(low):
            break
        coefficients[low], free[low] = MIN_SLOPE, False
    slopes = coefficients[: family.n_slopes]
    if not np.any(slopes > MIN_SLOPE):
        raise CalibrationError(
            f"the scores do not rank the {int(labels.sum())} lenses above the non-lenses, so no "
            "increasing function calibrates them: check that labels and scores belong together"
        )
    residuals = labels - expit(design @ coefficients + offset)
    covariance = np.zeros((len(coefficients),) * 2)
    covariance[np.ix_(free, free)] = sandwich(fit, design[:, free], residuals, codes)
    return coefficients, covariance
