"""How well scores rank lenses above non-lenses: AUROC, ROC curve, TPR0 and TPR10.

Everything is computed in float64 on the scores as given (use logits: rounded probabilities tie),
and a tie never helps: it counts half in the AUROC and against the finder elsewhere.

Shared parameters
-----------------
labels : (N,) array of 0 and 1 (or bool), 1 is a lens
scores : (N,) array of float, larger is more lens-like; -inf is allowed and means "missed"
level : confidence level of the intervals
nan_as_lowest : take a NaN score (an object that was quarantined) as missed instead of refusing it
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrc, expit, logit, ndtri

from equilens.catalogs.errors import ScoreError
from equilens.catalogs.intervals import (
    DEFAULT_LEVEL,
    Estimate,
    check_level,
    clopper_pearson,
    exceedance,
    finite_or_none,
    proportion,
)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SplitScores:
    """Scores of lenses and of non-lenses, each ascending."""

    lenses: FloatArray
    nonlenses: FloatArray

    def lenses_from(self, threshold: ArrayLike) -> NDArray[np.int64]:
        """Count the lenses with score >= threshold."""
        return len(self.lenses) - np.searchsorted(self.lenses, threshold, side="left")

    def nonlenses_from(self, threshold: ArrayLike) -> NDArray[np.int64]:
        """Count the non-lenses with score >= threshold."""
        return len(self.nonlenses) - np.searchsorted(self.nonlenses, threshold, side="left")

    def lenses_above(self, threshold: float) -> int:
        """Count the lenses with score > threshold."""
        return int(len(self.lenses) - np.searchsorted(self.lenses, threshold, side="right"))


def split_scores(
    labels: ArrayLike, scores: ArrayLike, *, nan_as_lowest: bool = False
) -> SplitScores:
    """Check labels and scores, and split them by class.

    Raises
    ------
    ScoreError
        On unequal lengths, a label other than 0 and 1, NaN scores, or a class without objects.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ScoreError(
            "labels and scores must be two lists of one length, got shapes "
            f"{labels.shape} and {scores.shape}"
        )
    strange = set(np.unique(labels[(labels != 0) & (labels != 1)]).tolist())
    if strange:
        raise ScoreError(f"labels must be 0 or 1, got {sorted(strange, key=str)[:5]}")
    n_nan = int(np.isnan(scores).sum())
    if n_nan and not nan_as_lowest:
        raise ScoreError(
            f"scores must not be NaN, got {n_nan} of {len(scores)}; "
            "pass nan_as_lowest=True to count such objects as missed"
        )
    scores = np.where(np.isnan(scores), -np.inf, scores)
    is_lens = labels.astype(bool)
    split = SplitScores(np.sort(scores[is_lens]), np.sort(scores[~is_lens]))
    if not len(split.lenses) or not len(split.nonlenses):
        raise ScoreError(
            "both classes are needed, got "
            f"{len(split.lenses)} lenses and {len(split.nonlenses)} non-lenses"
        )
    return split


def midranks(values: ArrayLike) -> FloatArray:
    """Ranks from 1, ties sharing their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def auroc(
    labels: ArrayLike,
    scores: ArrayLike,
    level: float = DEFAULT_LEVEL,
    *,
    nan_as_lowest: bool = False,
) -> Estimate:
    """Area under the ROC curve: P(s⁺ > s⁻) + P(s⁺ = s⁻)/2, by midranks.

    The interval is DeLong's variance (DeLong et al. 1988; by ranks as in Sun & Xu 2014, eqs. 7-8)
    carried to the logit scale, which keeps it inside (0, 1). Where that variance says nothing:

    - area exactly 0 or 1: min(n⁺, n⁻) disjoint pairs were all ordered alike, so their
      Clopper-Pearson limit holds ("disjoint-pairs");
    - variance zero, or a class of one object: the largest variance there can be,
      A(1 - A)/min(n⁺, n⁻) (Van Dantzig 1951; "largest-variance").
    """
    return auroc_of_split(split_scores(labels, scores, nan_as_lowest=nan_as_lowest), level)


def auroc_of_split(split: SplitScores, level: float) -> Estimate:
    m, n = len(split.lenses), len(split.nonlenses)
    ranks = midranks(np.concatenate([split.lenses, split.nonlenses]))
    area = float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))
    pairs = min(m, n)
    if area in (0.0, 1.0):
        low, high = clopper_pearson(int(area) * pairs, pairs, level)
        return Estimate(area, float(low), float(high), m + n, level, "disjoint-pairs")
    variance, method = _delong_variance(split, ranks), "delong-logit"
    if not variance > 0:
        variance, method = area * (1 - area) / pairs, "largest-variance"
    half = ndtri((1 + check_level(level)) / 2) * math.sqrt(variance) / (area * (1 - area))
    low, high = expit(logit(area) - half), expit(logit(area) + half)
    return Estimate(area, float(low), float(high), m + n, level, method)


def _delong_variance(split: SplitScores, ranks: FloatArray) -> float:
    m, n = len(split.lenses), len(split.nonlenses)
    if min(m, n) < 2:
        return math.nan
    share_below_lens = (ranks[:m] - midranks(split.lenses)) / n
    share_above_nonlens = 1 - (ranks[m:] - midranks(split.nonlenses)) / m
    return float(np.var(share_below_lens, ddof=1) / m + np.var(share_above_nonlens, ddof=1) / n)


@dataclass(frozen=True)
class RocCurve:
    """One point for each distinct score, from the strictest: objects with score >= threshold.

    The first point (threshold +inf) accepts nothing.
    """

    thresholds: FloatArray
    tpr: FloatArray
    fpr: FloatArray
    n_lenses: int
    n_nonlenses: int


def roc_curve(labels: ArrayLike, scores: ArrayLike, *, nan_as_lowest: bool = False) -> RocCurve:
    """True-positive against false-positive rate at every distinct score."""
    split = split_scores(labels, scores, nan_as_lowest=nan_as_lowest)
    thresholds = distinct_thresholds(split)
    m, n = len(split.lenses), len(split.nonlenses)
    tpr = split.lenses_from(thresholds) / m
    fpr = split.nonlenses_from(thresholds) / n
    # a score of +inf would otherwise be accepted by the point that accepts nothing
    tpr[0] = fpr[0] = 0.0
    return RocCurve(thresholds, tpr, fpr, m, n)


def distinct_thresholds(split: SplitScores) -> FloatArray:
    """+inf, then each distinct score, descending."""
    scores = np.unique(np.concatenate([split.lenses, split.nonlenses]))
    return np.concatenate([[np.inf], scores[::-1]])


@dataclass(frozen=True)
class LowFprCompleteness:
    """Completeness with fewer than ``fewer_than`` false positives in the sample.

    Three statements, each with its own interval:

    tpr : mean(s⁺ > threshold), the challenge's figure. Its interval is for the completeness at the
        score which a share fewer_than/(n⁻ + 1) of **all** non-lenses exceeds. It allows for
        both samples being finite, the non-lenses by order statistics, the lenses by
        Clopper-Pearson, half of the error each. For TPR0 the lower limit is always 0: n⁻
        non-lenses can not bound the score that 1 in n⁻ exceeds.
    tpr_at_threshold : the same value, with Clopper-Pearson's interval of the completeness at
        *this* threshold, taken as fixed: right for a catalogue cut at it, too narrow for what
        another test set would give.
    fpr_at_threshold : the false-positive rate of *this* threshold. Follows
        Beta(k, n⁻ - k + 1), whose mean k/(n⁻ + 1) is the value. The lower limit is 0 where
        non-lenses tie at the threshold.

    The last two intervals hold together at ``level**2`` at least.
    """

    fewer_than: int
    threshold: float
    tpr: Estimate
    tpr_at_threshold: Estimate
    fpr_at_threshold: Estimate

    def to_json(self) -> dict:
        """Plain types."""
        return {
            "fewer_than": self.fewer_than,
            "threshold": finite_or_none(self.threshold),
            "tpr": self.tpr.to_json(),
            "tpr_at_threshold": self.tpr_at_threshold.to_json(),
            "fpr_at_threshold": self.fpr_at_threshold.to_json(),
        }


def tpr_at_false_positives(
    labels: ArrayLike,
    scores: ArrayLike,
    fewer_than: int,
    level: float = DEFAULT_LEVEL,
    *,
    nan_as_lowest: bool = False,
) -> LowFprCompleteness:
    """mean(s⁺ > k-th largest s⁻), k = ``fewer_than`` (Metcalf et al. 2019, sec. 3).

    The inequality is strict: a lens that ties with the k-th non-lens is not counted.

    Raises
    ------
    ScoreError
        Also if there are fewer than k non-lenses.
    """
    split = split_scores(labels, scores, nan_as_lowest=nan_as_lowest)
    return tpr_of_split(split, fewer_than, level)


def tpr0(labels: ArrayLike, scores: ArrayLike, level: float = DEFAULT_LEVEL) -> LowFprCompleteness:
    """Completeness before the first false positive: mean(s⁺ > max s⁻)."""
    return tpr_at_false_positives(labels, scores, 1, level)


def tpr10(labels: ArrayLike, scores: ArrayLike, level: float = DEFAULT_LEVEL) -> LowFprCompleteness:
    """Completeness with fewer than ten false positives: mean(s⁺ > 10th largest s⁻)."""
    return tpr_at_false_positives(labels, scores, 10, level)


def tpr_of_split(split: SplitScores, k: int, level: float) -> LowFprCompleteness:
    m, n = len(split.lenses), len(split.nonlenses)
    if not 1 <= k <= n:
        raise ScoreError(f"fewer_than must lie between 1 and the number of non-lenses {n}, got {k}")
    threshold = float(split.nonlenses[n - k])
    at_threshold = proportion(split.lenses_above(threshold), m, level)
    low, high = _order_statistic_limits(split, k, level)
    fpr_low, fpr_high = exceedance(k, n, level)
    tied = np.count_nonzero(split.nonlenses == threshold) > 1
    return LowFprCompleteness(
        fewer_than=k,
        threshold=threshold,
        tpr=Estimate(at_threshold.value, low, high, m, level, "order-statistics"),
        tpr_at_threshold=at_threshold,
        fpr_at_threshold=Estimate(
            k / (n + 1), 0.0 if tied else fpr_low, fpr_high, n, level, "order-statistics"
        ),
    )


def _order_statistic_limits(split: SplitScores, k: int, level: float) -> tuple[float, float]:
    """Limits of the completeness at the (1 - k/(n+1)) quantile of the non-lens population.

    The number of sample non-lenses above that quantile is Binomial(n, k/(n+1)), so the quantile
    lies below the a-th and above the b-th largest, each but for a quarter of the error.
    """
    m, n = len(split.lenses), len(split.nonlenses)
    tail, share = (1 - check_level(level)) / 4, k / (n + 1)
    # the ranks wanted lie within some ten standard deviations of k
    ranks = np.arange(1, min(n, k + 20 + int(10 * math.sqrt(k))) + 1, dtype=np.float64)
    too_strict = ranks[bdtr(ranks - 1, n, share) <= tail]
    too_loose = ranks[bdtrc(ranks - 1, n, share) <= tail]
    inner = (1 + level) / 2
    low, high = 0.0, 1.0
    if len(too_strict):
        strict = split.nonlenses[n - int(too_strict[-1])]
        low = float(clopper_pearson(split.lenses_above(strict), m, inner)[0])
    if len(too_loose):
        loose = split.nonlenses[n - int(too_loose[0])]
        high = float(clopper_pearson(split.lenses_above(loose), m, inner)[1])
    return low, high
