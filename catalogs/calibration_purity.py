"""What a cut would select on the sky: number of candidates and their purity, expected.

With a share π of lenses among the objects and D lenses a square degree there are D/π objects a
square degree, and a cut selects D [TPR + FPR (1 - π)/π] of them, of which D TPR are lenses. All of
it is expected, for a sky whose lenses and non-lenses look like those of the sample; it becomes a
verified purity once graded objects of the real sky agree (`check_purity`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from equilens.catalogs.calibration import Calibration, check_prior
from equilens.catalogs.errors import CalibrationError
from equilens.catalogs.intervals import (
    DEFAULT_LEVEL,
    Estimate,
    clopper_pearson,
    each_of_two,
    proportion,
)
from equilens.catalogs.metrics import SplitScores, split_scores
from equilens.catalogs.operating_points import purity_of_rates
from equilens.catalogs.records import Record

FloatArray = NDArray[np.float64]
MIN_GRADED = 30
"""Graded objects below which agreement says too little to verify a purity."""

_RUNGS_A_DECADE = 4


@dataclass(frozen=True)
class LensDensity(Record):
    """How common lenses are.

    Attributes
    ----------
    per_object : share of lenses among the objects that are scored
    per_square_degree : lenses among them on a square degree
    """

    per_object: float
    per_square_degree: float

    def __post_init__(self) -> None:
        check_prior(self.per_object)
        if not self.per_square_degree > 0:
            raise CalibrationError(
                f"lenses per square degree must be above 0, got {self.per_square_degree!r}"
            )

    @property
    def objects_per_square_degree(self) -> float:
        """Scored objects on a square degree."""
        return self.per_square_degree / self.per_object


@dataclass(frozen=True)
class Cut(Record):
    """What is expected of the objects with score >= threshold.

    Attributes
    ----------
    threshold : score, uncalibrated
    completeness, fpr : rates of the sample; Clopper-Pearson
    candidates_per_square_degree, purity : carried to the sky's share of lenses; the interval is
        the projection of both rates'
    smooth_purity : mean calibrated probability of the selected: finer where few non-lenses are
        left, but as good as the calibration; far from ``purity``, do not trust it
    """

    threshold: float
    completeness: Estimate
    fpr: Estimate
    candidates_per_square_degree: Estimate
    purity: Estimate
    smooth_purity: float


def expected_cuts(
    labels: ArrayLike,
    scores: ArrayLike,
    calibration: Calibration,
    density: LensDensity,
    thresholds: Sequence[float] | None = None,
    level: float = DEFAULT_LEVEL,
) -> tuple[Cut, ...]:
    """Purity and number of candidates at each threshold, the strictest first.

    Parameters
    ----------
    labels, scores : (N,) of objects that neither network nor calibration should have seen; the
        calibration's own objects do, as its parameters are few. A score of -inf counts as missed
    thresholds : default: a ladder of numbers of false positives, four a decade, from none
    """
    split = split_scores(labels, scores, nan_as_lowest=True)
    chosen = _ladder(split) if thresholds is None else np.sort(np.asarray(thresholds, float))[::-1]
    rates = _rates(split, chosen, level)
    smooth = _smooth_purity(split, calibration, density.per_object, chosen)
    return tuple(
        _cut(float(chosen[k]), {name: v[k] for name, v in rates.items()}, smooth[k], split, density,
             level)
        for k in range(len(chosen))
    )  # fmt: skip


def _ladder(split: SplitScores) -> FloatArray:
    """Just above the (k+1)-th non-lens for k false positives, and the score of half the lenses."""
    n = len(split.nonlenses)
    counts = np.unique(np.floor(10 ** np.arange(0, np.log10(n), 1 / _RUNGS_A_DECADE)).astype(int))
    counts = np.concatenate([[0], counts[counts < n]])
    thresholds = np.nextafter(split.nonlenses[n - 1 - counts], np.inf)
    middle = split.lenses[len(split.lenses) // 2]
    thresholds = np.unique(np.append(thresholds, middle))[::-1]
    return thresholds[np.isfinite(thresholds)]


def _rates(split: SplitScores, thresholds: FloatArray, level: float) -> dict[str, FloatArray]:
    hits, alarms = split.lenses_from(thresholds), split.nonlenses_from(thresholds)
    m, n = len(split.lenses), len(split.nonlenses)
    tpr_low, tpr_high = clopper_pearson(hits, m, each_of_two(level))
    fpr_low, fpr_high = clopper_pearson(alarms, n, each_of_two(level))
    return {
        "hits": hits.astype(np.float64),
        "alarms": alarms.astype(np.float64),
        "tpr": hits / m,
        "tpr_low": tpr_low,
        "tpr_high": tpr_high,
        "fpr": alarms / n,
        "fpr_low": fpr_low,
        "fpr_high": fpr_high,
    }


def _cut(
    threshold: float,
    at: dict[str, float],
    smooth: float,
    split: SplitScores,
    density: LensDensity,
    level: float,
) -> Cut:
    m, n, share = len(split.lenses), len(split.nonlenses), density.per_object

    def candidates(tpr: float, fpr: float) -> float:
        return density.per_square_degree * (tpr + fpr * (1 - share) / share)

    def projected(value: float, low: float, high: float) -> Estimate:
        return Estimate(value, low, high, m + n, level, "clopper-pearson-rectangle")

    pure, pure_low, pure_high = purity_of_rates(
        [at["tpr"], at["tpr_low"], at["tpr_high"]],
        [at["fpr"], at["fpr_high"], at["fpr_low"]],
        share,
    ).tolist()
    return Cut(
        threshold,
        proportion(int(at["hits"]), m, level),
        proportion(int(at["alarms"]), n, level),
        projected(
            candidates(at["tpr"], at["fpr"]),
            candidates(at["tpr_low"], at["fpr_low"]),
            candidates(at["tpr_high"], at["fpr_high"]),
        ),
        projected(pure, pure_low, pure_high),
        smooth,
    )


def _smooth_purity(
    split: SplitScores, calibration: Calibration, prior: float, thresholds: FloatArray
) -> list[float]:
    """Σ w p / Σ w over the selected: p at the sky's prior, w turns the sample into the sky."""
    about = calibration.fitted_on
    scores = np.sort(np.concatenate([split.lenses, split.nonlenses]))[::-1]
    odds = calibration.log_odds(scores, model_sha256=about.model_sha256)
    chance = expit(odds)
    # the weight of an object by what it is said to be, so that its label is not used again
    lenses = prior / about.prior * chance
    others = (1 - prior) / (1 - about.prior) * (1 - chance)
    sums = np.cumsum([lenses, lenses + others], axis=1)
    count = np.searchsorted(-scores, -thresholds, side="right")
    return [float(sums[0, k - 1] / sums[1, k - 1]) if k else float("nan") for k in count]


@dataclass(frozen=True)
class GradedCheck(Record):
    """Real objects that people graded, beside what the calibration says of them.

    Attributes
    ----------
    expected : mean calibrated probability at the sky's share of lenses
    observed : share of them graded as lenses, Clopper-Pearson
    """

    expected: float
    observed: Estimate

    @property
    def verifies(self) -> bool:
        """Whether there are enough grades, and they agree with what was expected."""
        agrees = self.observed.low <= self.expected <= self.observed.high
        return agrees and self.observed.n >= MIN_GRADED


def check_purity(
    calibration: Calibration,
    density: LensDensity,
    graded: ArrayLike,
    scores: ArrayLike,
    *,
    model_sha256: str,
    level: float = DEFAULT_LEVEL,
) -> GradedCheck:
    """Compare the expected with the graded purity of objects of the real sky.

    Parameters
    ----------
    graded : (N,) 1 for an object that was graded a lens, 0 for one that was not
    scores : (N,) finite. The objects must be all of a range of scores, or a random part of them:
        grades of hand-picked objects verify nothing
    """
    labels, values = np.asarray(graded, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if labels.shape != values.shape or labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise CalibrationError(
            "graded objects need one grade, 0 or 1, and one score each, got shapes "
            f"{labels.shape} and {values.shape}"
        )
    if not len(values) or not np.isfinite(values).all():
        raise CalibrationError(f"graded objects need finite scores, got {len(values)} objects")
    chance = calibration.probability(values, model_sha256=model_sha256, prior=density.per_object)
    return GradedCheck(float(chance.mean()), proportion(int(labels.sum()), len(labels), level))
