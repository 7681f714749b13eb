"""The drift test: a closed form, an independent oracle, its level, and what it must not miss."""

import numpy as np
import pytest
from scipy import stats

from equilens.pipeline.nightly.config import DriftRule
from equilens.pipeline.nightly.drift import check_drift
from equilens.pipeline.nightly.measures import (
    Figure,
    labelled_figures,
    proportion_figure,
    quantile,
    rank_figure,
)

RULE = DriftRule(nights=14, least_nights=5, level=0.01)


def nights(values, error=0.0, least=0.0):
    return [{"x": Figure(float(v), error, 100, least)} for v in values]


def check(now, past, rule=RULE):
    (found,) = check_drift({"x": now}, nights(past), rule)
    return found


def test_t_of_the_closed_form():
    # mean 0, scatter 1 (n - 1), five nights: t = 3 / sqrt(1.2)
    past = np.array([-1, -1, 0, 1, 1]) * 1.0
    found = check(Figure(3.0, 0.0, 100, 0.0), past)
    assert found.scatter == pytest.approx(1.0)
    assert found.t == pytest.approx(3 / np.sqrt(1.2))


def test_p_is_that_of_a_two_sample_t_test_with_one_new_night():
    # an oracle: the pooled two-sample test of 1 night against n has the same t and n - 1 freedom
    past, new = np.random.default_rng(1).normal(size=9), 2.5
    found = check(Figure(new, 0.0, 100, 0.0), past)
    oracle = stats.ttest_ind([new], past, equal_var=True)
    assert (found.t, found.p) == pytest.approx((oracle.statistic, oracle.pvalue))


def test_false_alarms_are_as_rare_as_the_level_says():
    rng, rule = np.random.default_rng(2), DriftRule(level=0.05)
    names = [f"f{k}" for k in range(4)]
    n_alarms, n_trials = 0, 600
    for values in rng.normal(size=(n_trials, 11, len(names))):
        rows = [{n: Figure(v, 0.0, 9, 0.0) for n, v in zip(names, r, strict=True)} for r in values]
        checks = check_drift(rows[-1], rows[:-1], rule)
        n_alarms += any(found.state == "alarm" for found in checks)
    low, high = stats.binom.interval(0.9999, n_trials, 0.05)
    assert low <= n_alarms <= high


def test_a_shift_is_an_alarm_unless_it_does_not_matter_or_is_not_certain():
    past = [10.0, 10.1, 9.9, 10.05, 9.95]
    assert check(Figure(15.0, 0.1, 100, 0.5), past).state == "alarm"
    assert check(Figure(10.1, 0.1, 100, 0.5), past).state == "steady"
    assert check(Figure(15.0, 0.1, 100, 6.0), past).state == "steady"
    assert check(Figure(15.0, 5.0, 100, 0.5), past).state == "steady"


def test_nights_without_any_scatter_alarm_on_what_matters_alone():
    past = [2.0] * 6
    assert check(Figure(2.0, 0.0, 100, 0.1), past).state == "steady"
    assert check(Figure(2.05, 0.0, 100, 0.1), past).state == "steady"
    moved = check(Figure(2.5, 0.0, 100, 0.1), past)
    assert (moved.state, moved.p, moved.to_dict()["t"]) == ("alarm", 0.0, None)


def test_too_few_nights_are_said_so_and_old_ones_left_out():
    few = check(Figure(99.0, 0.0, 100, 0.0), [1.0, 2.0, 3.0, 4.0])
    assert (few.state, few.n_nights, few.p) == ("untested", 4, None)
    assert "only 4 nights to compare with" in str(few)
    rule = DriftRule(nights=5, least_nights=5)
    found = check(Figure(1.0, 0.0, 9, 0.0), [100.0] * 9 + [1.0, 1.1, 0.9, 1.0, 1.0], rule)
    assert (found.n_nights, found.mean) == (5, pytest.approx(1.0))


def test_a_figure_that_only_some_nights_have_is_compared_with_those():
    past = nights([1, 1, 1, 1]) + [{}] * 5
    (found,) = check_drift({"x": Figure(1.0, 0.0, 9, 0.0)}, past, RULE)
    assert (found.state, found.n_nights) == ("untested", 4)


def test_sampling_errors_are_those_that_repeated_samples_show():
    rng = np.random.default_rng(3)
    for share in (0.5, 0.9):
        figures = [quantile(rng.normal(size=800), share, 0.0) for _ in range(200)]
        spread = np.std([figure.value for figure in figures])
        assert np.mean([figure.error for figure in figures]) == pytest.approx(spread, rel=0.2)
    shares = [proportion_figure(int(k), 400) for k in rng.binomial(400, 0.1, 300)]
    spread = np.std([figure.value for figure in shares])
    assert np.mean([figure.error for figure in shares]) == pytest.approx(spread, rel=0.2)
    assert proportion_figure(0, 10).error > 0


def test_ranks_are_shares_of_the_night_that_reach_a_score():
    night = np.arange(10.0)
    assert rank_figure([9.0], night).value == pytest.approx(0.1)
    assert rank_figure([-1.0, 9.5, 5.0], night).value == pytest.approx(0.5)
    found = labelled_figures("sentinel", [1, 0, 1], [9.0, np.nan, 9.0], night)
    assert found["sentinel_lens_rank"].value == pytest.approx(0.1)
    assert found["sentinel_nonlens_rank"].value == 1.0
