"""Binomial intervals and order statistics against closed forms, scipy and simulation."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from equilens.catalogs.errors import ScoreError
from equilens.catalogs.intervals import (
    Estimate,
    clopper_pearson,
    exceedance,
    exceedance_band,
    proportion,
    wilson,
)


def test_no_success_in_n_has_the_closed_form_limit():
    low, high = clopper_pearson(0, 100, 0.95)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 100), rel=1e-12)


@pytest.mark.parametrize(("method", "interval"), [("exact", clopper_pearson), ("wilson", wilson)])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (3, 10), (10, 10), (17, 4000)])
def test_agrees_with_scipy(method, interval, k, n):
    expected = binomtest(k, n).proportion_ci(0.9, method=method)
    assert interval(k, n, 0.9) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_without_trials_everything_is_possible():
    estimate = proportion(0, 0)
    assert math.isnan(estimate.value)
    assert (estimate.low, estimate.high, estimate.n) == (0, 1, 0)
    assert json.loads(json.dumps(estimate.to_json()))["value"] is None


def test_each_number_is_written_in_the_style_asked():
    estimate = Estimate(0.012, 0.01, 0.02, 80, 0.95, "by hand")
    assert estimate.with_interval(".1e") == "1.2e-02 [1.0e-02, 2.0e-02]"
    assert str(estimate) == f"{estimate.with_interval('.4g')} (N=80)"
    assert proportion(0, 0).with_interval(".2f") == "nan [0.00, 1.00]"


@settings(deadline=None)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_value_lies_inside_and_higher_levels_are_wider(counts):
    for interval in (clopper_pearson, wilson):
        low, high = interval(*counts, 0.9)
        wider_low, wider_high = interval(*counts, 0.99)
        assert 0 <= wider_low <= low <= counts[0] / counts[1] <= high <= wider_high <= 1


@pytest.mark.parametrize("p", [0.003, 0.05, 0.5])
def test_clopper_pearson_covers(p):
    n = 200
    k = np.arange(n + 1)
    low, high = clopper_pearson(k, n, 0.95)
    weight = np.array([math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in k])
    assert weight[(low <= p) & (p <= high)].sum() >= 0.95


def test_a_plain_normal_interval_would_not_cover():
    """Negative control of the coverage test above."""
    n, p = 200, 0.003
    k = np.arange(n + 1)
    half = 1.96 * np.sqrt(k / n * (1 - k / n) / n)
    weight = np.array([math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in k])
    assert weight[np.abs(k / n - p) <= half].sum() < 0.6


def test_exceedance_of_the_maximum():
    low, high = exceedance(1, 1000, 0.95)
    assert low == pytest.approx(1 - 0.975 ** (1 / 1000), rel=1e-9)
    assert high == pytest.approx(1 - 0.025 ** (1 / 1000), rel=1e-9)
    assert exceedance(10, 50, 0.9) == pytest.approx(beta.ppf([0.05, 0.95], 10, 41))


@pytest.mark.parametrize("k", [1, 10])
def test_exceedance_covers_exactly(k):
    rng = np.random.default_rng(k)
    low, high = exceedance(k, 80, 0.9)
    share_above = 1 - np.sort(rng.random((40_000, 80)), axis=1)[:, 80 - k]
    assert np.mean((low <= share_above) & (share_above <= high)) == pytest.approx(0.9, abs=0.0045)


@pytest.mark.parametrize("n_values", [None, 8])
def test_exceedance_band_holds_for_all_thresholds_at_once(n_values):
    """For a continuous sample, and for one of eight values that ties."""
    rng = np.random.default_rng(1)
    n, covered = 150, 0
    grid = np.linspace(-0.1, 1.1, 961) if n_values is None else np.arange(n_values + 1) / n_values
    for _ in range(200):
        sample = rng.random(n)
        if n_values is not None:
            sample = np.floor(sample * n_values) / n_values
        counts = n - np.searchsorted(np.sort(sample), grid, side="left")
        low, high = exceedance_band(counts, n, 0.9)
        truth = np.clip(1 - grid, 0, 1)
        covered += np.all((low <= truth) & (truth <= high))
        assert np.all((low <= counts / n) & (counts / n <= high))
    assert covered >= 0.9 * 200


def test_pointwise_limits_do_not_hold_for_all_thresholds_at_once():
    """Negative control of the test above."""
    rng = np.random.default_rng(1)
    n, covered = 150, 0
    grid = np.linspace(0, 1, 801)
    for _ in range(100):
        counts = n - np.searchsorted(np.sort(rng.random(n)), grid, side="left")
        low, high = clopper_pearson(counts, n, 0.9)
        covered += np.all((low <= 1 - grid) & (1 - grid <= high))
    assert covered < 0.7 * 100


@pytest.mark.parametrize("level", [0, 1, 95, -0.5, math.nan])
def test_level_must_be_a_probability(level):
    with pytest.raises(ScoreError, match="level must lie between 0 and 1"):
        clopper_pearson(1, 2, level)


def test_impossible_counts_and_estimates_are_refused():
    with pytest.raises(ScoreError, match="successes <= trials"):
        clopper_pearson(3, 2)
    with pytest.raises(ScoreError, match="inside its interval"):
        Estimate(0.5, 0.6, 0.7, 10, 0.95, "by hand")
    with pytest.raises(ScoreError, match="wilson"):
        proportion(1, 2, method="wald")
