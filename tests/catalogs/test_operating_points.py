"""Cuts on the score: rates, purity, F_β and binned completeness."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import fbeta_score

from equilens.catalogs.binned import binned_completeness, quantile_edges
from equilens.catalogs.errors import ScoreError
from equilens.catalogs.evaluation import evaluate_bins, evaluate_scores
from equilens.catalogs.operating_points import (
    f_beta,
    max_f_beta,
    operating_curve,
    operating_point,
    purity,
    purity_of_rates,
)

LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
SCORES = np.array([4, 3, 2, 0, 3, 1, 0, -1, -2.0])


def sample(seed, n_lenses=80, n_others=120):
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [n_lenses, n_others])
    return labels, np.r_[rng.normal(1.5, 1, n_lenses), rng.normal(0, 1, n_others)]


def test_rates_by_hand():
    point = operating_point(LABELS, SCORES, 2)
    assert point.completeness.value == 3 / 4
    assert point.fpr.value == 1 / 5
    assert (point.completeness.n, point.fpr.n) == (4, 5)


def test_purity_by_hand():
    assert purity_of_rates(0.75, 0.2, 0.1) == pytest.approx(0.075 / (0.075 + 0.18))
    figure = purity(LABELS, SCORES, 2, 0.1)
    assert figure.value == pytest.approx(0.075 / 0.255)
    assert figure.low < figure.value < figure.high
    nothing = purity(LABELS, SCORES, 99, 0.1)
    assert nothing.to_json()["value"] is None
    assert (nothing.low, nothing.high) == (0, 1)


def test_curve_agrees_with_single_points():
    labels, scores = sample(2)
    table = operating_curve(labels, scores, prevalence=1e-3)
    assert table.num_rows == len(np.unique(scores))
    for row in table.slice(10, 20).to_pylist():
        point = operating_point(labels, scores, row["threshold"])
        assert row["completeness"] == point.completeness.value
        assert row["fpr_high"] == pytest.approx(point.fpr.high)
        pure = purity(labels, scores, row["threshold"], 1e-3)
        assert row["purity"] == pytest.approx(pure.value)
        assert row["purity_low"] == pytest.approx(pure.low)
    assert table.schema.metadata[b"n_lenses"] == b"80"


def test_curve_never_cuts_at_minus_infinity():
    table = operating_curve([1, 1, 0], [1, -np.inf, 0])
    assert table["threshold"].to_pylist() == [1, 0]
    assert max(table["completeness"].to_pylist()) == 0.5
    with pytest.raises(ScoreError, match="every object was missed"):
        max_f_beta([1, 0], [-np.inf, -np.inf])


@pytest.mark.parametrize("beta_squared", [0.001, 0.25, 1, 4])
def test_f_beta_is_scikit_learns(beta_squared):
    labels, scores = sample(1, 12, 20)
    expected = [
        fbeta_score(labels, scores >= t, beta=np.sqrt(beta_squared), zero_division=0)
        for t in np.unique(scores)
    ]
    got = [f_beta(labels, scores, t, beta_squared).value for t in np.unique(scores)]
    np.testing.assert_allclose(got, expected, atol=1e-12)
    best, threshold = max_f_beta(labels, scores, beta_squared)
    assert best.value == pytest.approx(max(expected), abs=1e-12)
    assert f_beta(labels, scores, threshold, beta_squared).value == best.value


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.001, 1.0]))
def test_maximum_is_at_least_any_cut(seed, beta_squared):
    labels, scores = sample(seed, 12, 15)
    best, _ = max_f_beta(labels, np.round(scores), beta_squared)
    for threshold in (-1.0, 0.0, 0.7, 2.0):
        assert best.value >= f_beta(labels, np.round(scores), threshold, beta_squared).value


@pytest.mark.parametrize("beta_squared", [0.001, 1.0])
def test_intervals_of_f_beta_and_purity_cover(beta_squared):
    def truth(threshold):
        tpr, fpr = norm.sf(threshold - 1.5), norm.sf(threshold)
        return (1 + beta_squared) * tpr / (tpr + beta_squared + fpr * 120 / 80)

    largest = truth(np.linspace(-3, 8, 4001)).max()
    true_purity = purity_of_rates(norm.sf(-0.5), norm.sf(1.0), 0.05)
    covered = np.zeros(3)
    for seed in range(150):
        labels, scores = sample(seed)
        figures = (
            max_f_beta(labels, scores, beta_squared, 0.9)[0],
            f_beta(labels, scores, 1.0, beta_squared, 0.9),
            purity(labels, scores, 1.0, 0.05, 0.9),
        )
        truths = (largest, truth(1.0), true_purity)
        covered += [f.low <= t <= f.high for f, t in zip(figures, truths, strict=True)]
    assert np.all(covered >= 0.9 * 150)


def test_the_maximum_is_optimistic():
    """Negative control: on pure noise the best cut looks better than any cut is."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [50, 50])
    values = [max_f_beta(labels, rng.normal(size=100))[0].value for _ in range(100)]
    assert np.mean(np.array(values) > 0.95) > 0.3


def test_bins_by_hand():
    radii = [0.5, 1.0, 1.5, 2.0, 9, 9, 9, 9, 9]
    result = binned_completeness(
        LABELS, SCORES, radii, [0.5, 1.0, 2.0], 2, "einstein_radius_arcsec"
    )
    assert [(b.completeness.value, b.completeness.n) for b in result.bins] == [(1, 1), (2 / 3, 3)]
    assert (result.n_outside, result.n_unknown) == (0, 0)
    json.dumps(result.to_json(), allow_nan=False)


def test_bins_account_for_every_lens():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 400)
    radii = np.where(rng.random(400) < 0.1, np.nan, rng.exponential(1, 400))
    scores = np.where(rng.random(400) < 0.1, np.nan, rng.normal(size=400))
    result = binned_completeness(labels, scores, radii, [0.2, 0.5, 1, 5e3], 0.0, "r")
    counted = sum(b.completeness.n for b in result.bins) + result.n_outside + result.n_unknown
    assert counted == labels.sum()
    in_bin = (labels == 1) & (radii >= 0.5) & (radii < 1)
    assert result.bins[1].completeness.value == np.mean(np.nan_to_num(scores, nan=-9)[in_bin] >= 0)


def test_an_empty_bin_is_unknown_not_zero():
    result = binned_completeness([1, 0], [1, 0], [1, 1], [0, 2, 4], 0, "r")
    assert result.to_json()["bins"][1]["value"] is None


def test_quantile_edges():
    edges = quantile_edges(np.r_[np.arange(100.0), np.nan], 4)
    assert edges == pytest.approx((0, 24.75, 49.5, 74.25, 99))
    assert quantile_edges([np.nan], 4) == (0, np.inf)
    with pytest.raises(ScoreError, match="ascending"):
        binned_completeness([1, 0], [1, 0], [1, 1], [2, 1], 0, "r")


def test_everything_in_one_dictionary():
    labels, scores = sample(7)
    scores[3] = np.nan
    report = evaluate_scores(
        labels, scores, threshold=1.0, prevalence=1e-3, nan_as_lowest=True, beta_squared=0.001
    )
    json.dumps(report, allow_nan=False)
    assert set(report["intervals"]) == {"auroc", "tpr0", "tpr10", "f_beta"}
    for name, (low, high) in report["intervals"].items():
        assert low <= report[name] <= high
        assert report["details"][name]["n"] > 0
    assert report["at_threshold"]["purity"]["prevalence"] == 1e-3
    small = evaluate_scores([1, 0, 0], [1, 0, 2])
    assert small["tpr10"] is None
    assert small["intervals"]["tpr10"] is None
    bins = evaluate_bins(labels, scores, {"arc_snr": scores}, {"arc_snr": [0, 9], "x": [0, 1]}, 0.5)
    assert list(bins) == ["arc_snr"]


@pytest.mark.parametrize("prevalence", [0, 1, 50])
def test_prevalence_is_a_share(prevalence):
    with pytest.raises(ScoreError, match="prevalence"):
        purity(LABELS, SCORES, 2, prevalence)
