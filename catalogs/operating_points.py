"""What a cut on the score selects: completeness, false-positive rate, purity and F_β.

An object is selected when ``score >= threshold``. Shared parameters are those of
`equilens.catalogs.metrics`. Intervals of figures made of both rates (purity, F_β) are projections
of a rectangle: each figure grows with the TPR and falls with the FPR, the two are estimated from
different objects, so with each rate held at ``sqrt(level)`` the figure is held at ``level``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.errors import ScoreError
from equilens.catalogs.intervals import (
    DEFAULT_LEVEL,
    Estimate,
    binomial_interval,
    clopper_pearson,
    each_of_two,
    exceedance_band,
    finite_or_none,
    proportion,
)
from equilens.catalogs.metrics import SplitScores, distinct_thresholds, split_scores

FloatArray = NDArray[np.float64]

CHALLENGE_BETA_SQUARED = 0.001
"""β² of the lens-finding challenge 2.0."""


@dataclass(frozen=True)
class OperatingPoint:
    """Completeness and false-positive rate of one cut."""

    threshold: float
    completeness: Estimate
    fpr: Estimate

    def to_json(self) -> dict:
        """Plain types."""
        return {
            "threshold": finite_or_none(self.threshold),
            "completeness": self.completeness.to_json(),
            "fpr": self.fpr.to_json(),
        }


def operating_point(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    level: float = DEFAULT_LEVEL,
    method: str = "clopper-pearson",
    *,
    nan_as_lowest: bool = False,
) -> OperatingPoint:
    """Rates of one cut that was chosen without looking at these objects."""
    split = split_scores(labels, scores, nan_as_lowest=nan_as_lowest)
    return OperatingPoint(
        float(threshold),
        proportion(int(split.lenses_from(threshold)), len(split.lenses), level, method),
        proportion(int(split.nonlenses_from(threshold)), len(split.nonlenses), level, method),
    )


def operating_curve(
    labels: ArrayLike,
    scores: ArrayLike,
    thresholds: ArrayLike | None = None,
    level: float = DEFAULT_LEVEL,
    method: str = "clopper-pearson",
    prevalence: float | None = None,
    *,
    nan_as_lowest: bool = False,
) -> pa.Table:
    """Completeness, false-positive rate and, at a stated prevalence, purity against threshold.

    Each interval holds for its own threshold, not for the curve as a whole.

    Returns
    -------
    table : one row a threshold (default: each distinct score), with columns threshold,
        n_true_positives, n_false_positives and value, low and high of every rate; level, method,
        counts and prevalence are in the schema's metadata.
    """
    split = split_scores(labels, scores, nan_as_lowest=nan_as_lowest)
    if thresholds is None:
        thresholds = _usable_thresholds(split)
    thresholds = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    m, n = len(split.lenses), len(split.nonlenses)
    hits, alarms = split.lenses_from(thresholds), split.nonlenses_from(thresholds)
    interval = binomial_interval(method)
    columns = {
        "threshold": thresholds,
        "n_true_positives": hits,
        "n_false_positives": alarms,
        **_triple("completeness", hits / m, *interval(hits, m, level)),
        **_triple("fpr", alarms / n, *interval(alarms, n, level)),
    }
    facts = {"n_lenses": m, "n_nonlenses": n, "level": level, "method": method}
    if prevalence is not None:
        columns |= _triple("purity", *_purities(hits, alarms, split, prevalence, level))
        facts["prevalence"] = prevalence
    table = pa.table(columns)
    return table.replace_schema_metadata({key: str(value) for key, value in facts.items()})


def _usable_thresholds(split: SplitScores) -> FloatArray:
    # no cut may select an object that was missed, so -inf is not among them
    thresholds = distinct_thresholds(split)[1:]
    thresholds = thresholds[thresholds > -np.inf]
    if not len(thresholds):
        raise ScoreError("every object was missed, so there is no score to cut at")
    return thresholds


def _triple(name: str, value: FloatArray, low: FloatArray, high: FloatArray) -> dict:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def purity_of_rates(tpr: ArrayLike, fpr: ArrayLike, prevalence: float) -> FloatArray:
    """π TPR / (π TPR + (1 - π) FPR); NaN where nothing is selected."""
    if not 0 < prevalence < 1:
        raise ScoreError(f"prevalence must lie between 0 and 1, got {prevalence!r}")
    found = prevalence * np.asarray(tpr, dtype=np.float64)
    selected = found + (1 - prevalence) * np.asarray(fpr, dtype=np.float64)
    return np.divide(found, selected, out=np.full(selected.shape, np.nan), where=selected > 0)


def purity(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    prevalence: float,
    level: float = DEFAULT_LEVEL,
    *,
    nan_as_lowest: bool = False,
) -> Estimate:
    """Share of lenses among the selected where lenses are a share ``prevalence`` of all objects.

    Carries the two rates to another class balance; it holds on the sky only as far as lenses and
    non-lenses there look like those of this sample.
    """
    split = split_scores(labels, scores, nan_as_lowest=nan_as_lowest)
    hits, alarms = split.lenses_from([threshold]), split.nonlenses_from([threshold])
    value, low, high = (x[0] for x in _purities(hits, alarms, split, prevalence, level))
    count = len(split.lenses) + len(split.nonlenses)
    return Estimate(
        float(value), float(low), float(high), count, level, "clopper-pearson-rectangle"
    )


def _purities(hits, alarms, split: SplitScores, prevalence: float, level: float):
    m, n = len(split.lenses), len(split.nonlenses)
    tpr_low, tpr_high = clopper_pearson(hits, m, each_of_two(level))
    fpr_low, fpr_high = clopper_pearson(alarms, n, each_of_two(level))
    low = purity_of_rates(tpr_low, fpr_high, prevalence)
    high = purity_of_rates(tpr_high, fpr_low, prevalence)
    return purity_of_rates(hits / m, alarms / n, prevalence), low, high


def f_beta_of_rates(
    tpr: ArrayLike, fpr: ArrayLike, odds: float, beta_squared: float = CHALLENGE_BETA_SQUARED
) -> FloatArray:
    """F_β = (1 + β²) P R / (β² P + R) in rates; 0 where nothing is selected.

    With precision P = TPR/(TPR + FPR/odds) and R = TPR this is
    (1 + β²) TPR / (TPR + β² + FPR/odds).

    Parameters
    ----------
    odds : lenses per non-lens in the sample
    """
    if not beta_squared > 0:
        raise ScoreError(f"beta_squared must be positive, got {beta_squared!r}")
    tpr, fpr = np.asarray(tpr, dtype=np.float64), np.asarray(fpr, dtype=np.float64)
    return (1 + beta_squared) * tpr / (tpr + beta_squared + fpr / odds)


def f_beta(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    beta_squared: float = CHALLENGE_BETA_SQUARED,
    level: float = DEFAULT_LEVEL,
    *,
    nan_as_lowest: bool = False,
) -> Estimate:
    """F_β of one cut chosen without looking at these objects, at the sample's class balance."""
    split = split_scores(labels, scores, nan_as_lowest=nan_as_lowest)
    m, n = len(split.lenses), len(split.nonlenses)
    hits, alarms = int(split.lenses_from(threshold)), int(split.nonlenses_from(threshold))
    tpr_low, tpr_high = clopper_pearson(hits, m, each_of_two(level))
    fpr_low, fpr_high = clopper_pearson(alarms, n, each_of_two(level))
    value, low, high = (
        float(f_beta_of_rates(tpr, fpr, m / n, beta_squared))
        for tpr, fpr in ((hits / m, alarms / n), (tpr_low, fpr_high), (tpr_high, fpr_low))
    )
    return Estimate(value, low, high, m + n, level, "clopper-pearson-rectangle")


def max_f_beta(
    labels: ArrayLike,
    scores: ArrayLike,
    beta_squared: float = CHALLENGE_BETA_SQUARED,
    level: float = DEFAULT_LEVEL,
    *,
    nan_as_lowest: bool = False,
) -> tuple[Estimate, float]:
    """Largest F_β over all thresholds, and the strictest threshold that attains it.

    The maximum is an optimistic figure: its threshold was chosen on the same objects. The interval
    allows for that choice: it comes from bands on TPR and FPR that hold for all thresholds at once
    (`equilens.catalogs.intervals.exceedance_band`), and covers the largest F_β in the population.
    """
    split = split_scores(labels, scores, nan_as_lowest=nan_as_lowest)
    m, n = len(split.lenses), len(split.nonlenses)
    thresholds = _usable_thresholds(split)
    hits, alarms = split.lenses_from(thresholds), split.nonlenses_from(thresholds)
    values = f_beta_of_rates(hits / m, alarms / n, m / n, beta_squared)
    best = int(np.argmax(values))
    # counts of a threshold above every score: the population may still have lenses there
    tpr_low, tpr_high = exceedance_band(np.append(hits, 0), m, each_of_two(level))
    fpr_low, fpr_high = exceedance_band(np.append(alarms, 0), n, each_of_two(level))
    low = f_beta_of_rates(tpr_low, fpr_high, m / n, beta_squared).max()
    high = f_beta_of_rates(tpr_high, fpr_low, m / n, beta_squared).max()
    estimate = Estimate(
        float(values[best]), float(low), float(high), m + n, level, "simultaneous-band"
    )
    return estimate, float(thresholds[best])
