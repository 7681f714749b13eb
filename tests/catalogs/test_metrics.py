"""Rank metrics against hand-made arrays, brute force, scikit-learn, symmetry and simulation."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from equilens.catalogs.errors import ScoreError
from equilens.catalogs.metrics import (
    auroc,
    midranks,
    roc_curve,
    tpr0,
    tpr10,
    tpr_at_false_positives,
)

LABELS = np.array([1, 1, 1, 0, 0, 0])


@st.composite
def labelled_scores(draw, low=-3, high=3):
    """Both classes, scores from a few integers so that ties abound."""
    lenses = draw(st.lists(st.integers(low, high), min_size=1, max_size=25))
    others = draw(st.lists(st.integers(low, high), min_size=1, max_size=25))
    return np.r_[np.ones(len(lenses)), np.zeros(len(others))], np.r_[lenses, others].astype(float)


def brute_force_auroc(labels, scores):
    lenses, others = scores[labels == 1], scores[labels == 0]
    wins = (lenses[:, None] > others).sum() + (lenses[:, None] == others).sum() / 2
    return wins / (len(lenses) * len(others))


def test_by_hand():
    scores = [3, 2, 1, 2, 0, -1]
    assert auroc(LABELS, scores).value == pytest.approx((3 + 2.5 + 2) / 9, abs=1e-15)
    assert tpr0(LABELS, scores).tpr.value == 1 / 3, "the lens that ties with the maximum is lost"
    assert tpr_at_false_positives(LABELS, scores, 2).tpr.value == 1
    np.testing.assert_array_equal(midranks([5, 1, 5, 2]), [3.5, 1, 3.5, 2])


@settings(deadline=None)
@given(labelled_scores())
def test_auroc_is_the_share_of_ordered_pairs(sample):
    labels, scores = sample
    assert auroc(labels, scores).value == pytest.approx(
        brute_force_auroc(labels, scores), abs=1e-14
    )


@settings(deadline=None)
@given(labelled_scores(), st.integers(1, 12))
def test_tpr_is_the_formula(sample, k):
    labels, scores = sample
    others = np.sort(scores[labels == 0])[::-1]
    assume(k <= len(others))
    figure = tpr_at_false_positives(labels, scores, k)
    assert figure.tpr.value == np.mean(scores[labels == 1] > others[k - 1])
    assert np.sum(others > figure.threshold) < k
    assert figure.tpr.low <= figure.tpr_at_threshold.low
    assert figure.tpr.high >= figure.tpr_at_threshold.high


@pytest.mark.parametrize("decimals", [1, 3, 12])
def test_rounded_scores_to_1e_12(decimals):
    rng = np.random.default_rng(decimals)
    labels = rng.integers(0, 2, 3000)
    scores = np.round(expit(rng.normal(2.0 * labels, 1.5)), decimals)
    others = np.sort(scores[labels == 0])[::-1]
    assert auroc(labels, scores).value == pytest.approx(
        brute_force_auroc(labels, scores), abs=1e-12
    )
    assert tpr0(labels, scores).tpr.value == np.mean(scores[labels == 1] > others[0])
    assert tpr10(labels, scores).tpr.value == np.mean(scores[labels == 1] > others[9])


def test_roc_curve_is_scikit_learns():
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, 500), rng.integers(0, 40, 500) / 7
    curve = roc_curve(labels, scores)
    fpr, tpr, thresholds = sklearn_roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-15)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-15)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    assert auroc(labels, scores).value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auroc(labels, scores).value)


@settings(deadline=None)
@given(labelled_scores())
def test_an_increasing_map_of_the_scores_changes_nothing(sample):
    labels, scores = sample
    mapped = np.exp(scores) * 1e-3 - 7
    assert auroc(labels, scores) == auroc(labels, mapped)
    assert tpr0(labels, scores).tpr == tpr0(labels, mapped).tpr
    assert tpr0(labels, scores).fpr_at_threshold == tpr0(labels, mapped).fpr_at_threshold


@settings(deadline=None)
@given(labelled_scores())
def test_swapping_the_classes_mirrors_the_area(sample):
    labels, scores = sample
    area, mirrored = auroc(labels, scores), auroc(1 - labels, scores)
    assert mirrored.value == pytest.approx(1 - area.value, abs=1e-14)
    assert mirrored.low == pytest.approx(1 - area.high, abs=1e-9)


@settings(deadline=None)
@given(labelled_scores())
def test_order_of_objects_does_not_matter(sample):
    labels, scores = sample
    assert auroc(labels, scores) == auroc(labels[::-1], scores[::-1])


def test_a_decreasing_map_does_change_the_area():
    """Negative control of the invariance above."""
    assert auroc(LABELS, [3, 2, 1, 2, 0, -1]).value != auroc(LABELS, [-3, -2, -1, -2, 0, 1]).value


def test_rounding_destroys_tpr0():
    """Negative control: why logits are scored, not rounded probabilities."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], 500)
    logits = np.r_[rng.normal(24, 2, 500), rng.normal(8, 3, 500)]
    assert tpr0(labels, logits).tpr.value > 0.8
    assert tpr0(labels, np.round(expit(logits), 6)).tpr.value == 0


def test_interval_of_the_area_covers():
    """DeLong on the logit scale, normal scores of two widths: area = Φ(Δ/√(1 + σ²))."""
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], [40, 60])
    truth = norm.cdf(1.5 / np.hypot(1, 1.3))
    covered = 0
    for _ in range(600):
        area = auroc(labels, np.r_[rng.normal(1.5, 1.3, 40), rng.normal(0, 1, 60)], 0.9)
        covered += area.low <= truth <= area.high
    assert abs(covered - 0.9 * 600) <= 3 * np.sqrt(600 * 0.9 * 0.1)


def delong_by_loops(labels, scores):
    lenses, others = scores[labels == 1], scores[labels == 0]
    wins = (lenses[:, None] > others) + (lenses[:, None] == others) / 2
    return np.var(wins.mean(1), ddof=1) / len(lenses) + np.var(wins.mean(0), ddof=1) / len(others)


def test_variance_is_delongs():
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 2, 300)
    scores = np.round(rng.normal(labels, 1), 1)
    area = auroc(labels, scores)
    logit = np.log(area.value / (1 - area.value))
    half = 1.959963984540054 * np.sqrt(delong_by_loops(labels, scores))
    half /= area.value * (1 - area.value)
    assert area.method == "delong-logit"
    assert (area.low, area.high) == pytest.approx((expit(logit - half), expit(logit + half)))


@pytest.mark.parametrize(
    ("scores", "method", "low", "high"),
    [
        ([3, 3, 3, 0, 0, 0], "disjoint-pairs", 0.025 ** (1 / 3), 1),
        ([0, 0, 0, 3, 3, 3], "disjoint-pairs", 0, 1 - 0.025 ** (1 / 3)),
        ([1, 1, 1, 1, 1, 1], "largest-variance", 0.094, 0.906),
    ],
)
def test_intervals_where_delong_says_nothing(scores, method, low, high):
    area = auroc(LABELS, scores)
    assert area.method == method
    assert (area.low, area.high) == pytest.approx((low, high), abs=1e-3)


def test_a_class_of_one_has_an_interval():
    area = auroc([1, 0, 0, 0], [2, 1, 3, 0])
    assert area.method == "largest-variance"
    assert 0 < area.low < area.value == 2 / 3 < area.high < 1


def simulated_tpr(rng, k, n_lenses=60, n_others=80):
    labels = np.repeat([1, 0], [n_lenses, n_others])
    scores = np.r_[rng.normal(1.5, 1, n_lenses), rng.normal(0, 1, n_others)]
    return tpr_at_false_positives(labels, scores, k, 0.9)


@pytest.mark.parametrize("k", [1, 10])
def test_order_statistic_intervals_cover(k):
    """Each of the three statements, against the normal distributions the scores are drawn from."""
    rng = np.random.default_rng(k)
    at_quantile = norm.sf(norm.isf(k / 81) - 1.5)
    covered = np.zeros(3)
    n = 300
    for _ in range(n):
        figure = simulated_tpr(rng, k)
        truths = (at_quantile, norm.sf(figure.threshold - 1.5), norm.sf(figure.threshold))
        figures = (figure.tpr, figure.tpr_at_threshold, figure.fpr_at_threshold)
        covered += [f.low <= t <= f.high for f, t in zip(figures, truths, strict=True)]
    # three standard deviations of a binomial count below the level promised
    assert np.all(covered >= 0.9 * n - 3 * np.sqrt(n * 0.9 * 0.1))


def test_a_fixed_threshold_interval_does_not_cover_another_sets_tpr10():
    """Negative control: the narrow interval is no statement about the population's TPR10."""
    rng = np.random.default_rng(10)
    at_quantile = norm.sf(norm.isf(10 / 81) - 1.5)
    figures = [simulated_tpr(rng, 10, n_lenses=2000).tpr_at_threshold for _ in range(200)]
    assert sum(f.low <= at_quantile <= f.high for f in figures) < 0.5 * 200


def test_ties_at_the_threshold_leave_the_lower_fpr_open():
    figure = tpr0([1, 0, 0, 0], [2, 1, 1, 0])
    assert figure.fpr_at_threshold.low == 0
    assert tpr0([1, 0, 0, 0], [2, 1, 0.5, 0]).fpr_at_threshold.low > 0


def test_missed_objects_stay_in_the_denominator():
    labels, scores = [1, 1, 0, 0], [2, -np.inf, 1, -np.inf]
    assert tpr0(labels, scores).tpr.value == 0.5
    assert auroc(labels, scores).value == pytest.approx((2 + 0.5) / 4)
    assert auroc(labels, [2, np.nan, 1, np.nan], nan_as_lowest=True) == auroc(labels, scores)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0, 1], "2 lenses and 0 non-lenses"),
        ([0, 0], [0, 1], "0 lenses and 2 non-lenses"),
        ([], [], "0 lenses and 0 non-lenses"),
        ([1, 0, 0], [np.nan, 1, np.nan], "2 of 3"),
        ([1, 2], [0, 1], r"0 or 1, got \[2\]"),
        ([1, 0], [0, 1, 2], "one length"),
        ([1, np.nan], [0, 1], "0 or 1"),
    ],
)
def test_what_has_no_answer_is_refused(labels, scores, message):
    with pytest.raises(ScoreError, match=message):
        auroc(labels, scores)


def test_tpr10_needs_ten_non_lenses():
    with pytest.raises(ScoreError, match="number of non-lenses 3, got 10"):
        tpr10(LABELS, [3, 2, 1, 2, 0, -1])
