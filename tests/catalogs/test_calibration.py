"""Calibration: closed forms, scikit-learn as the oracle, order kept, and what must fail."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from equilens.catalogs.calibration import FAMILIES, Calibration, FittedOn, fit_calibration
from equilens.catalogs.calibration_purity import (
    MIN_GRADED,
    LensDensity,
    check_purity,
    expected_cuts,
)
from equilens.catalogs.calibration_quality import (
    expected_calibration_error,
    held_out,
    reliability,
)
from equilens.catalogs.calibration_result import CalibrationResult, calibrate, read_calibration
from equilens.catalogs.errors import CalibrationError, CatalogError, ScoreError
from equilens.catalogs.operating_points import purity

SHA, DATA = "a" * 64, "b" * 64
OF = {"model_sha256": SHA, "data_fingerprint": DATA}
DENSITY = LensDensity(1e-2, 5.0)


def honest_sample(n, seed=0, temperature=1.0):
    """Labels drawn from known log-odds z, and the scores of a network that is too sure."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.5, 2, n)
    return (rng.random(n) < expit(z)).astype(int), temperature * z, z


def fitted(family, coefficients, n_lenses=500, n_nonlenses=500):
    size = len(coefficients)
    about = FittedOn(n_lenses, n_nonlenses, n_lenses + n_nonlenses, 0, SHA, DATA)
    return Calibration(family, coefficients, ((0.0,) * size,) * size, 0.0, about)


EXAMPLES = [
    fitted("temperature", (0.3,)),
    fitted("logistic", (2.0, -1.5)),
    fitted("beta", (0.4, 1.7, 0.2)),
    fitted("beta", (1e-3, 1e-3, -2.0)),
]


def test_the_prior_moves_the_log_odds_by_the_difference_of_logits():
    calibration = fitted("logistic", (2.0, 1.0), 400, 600)
    found = calibration.log_odds([-1.0, 3.0], model_sha256=SHA, prior=1e-4)
    assert found == pytest.approx(np.array([-1, 7]) + logit(1e-4) - logit(0.4), abs=1e-12)
    assert calibration.log_odds([3.0], model_sha256=SHA, prior=0.4) == pytest.approx([7.0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature):
    labels, scores, z = honest_sample(6000, 1, temperature)
    found = fit_calibration(labels, scores, "temperature", **OF)
    error = np.sqrt(found.covariance[0][0])
    assert abs(found.coefficients[0] - 1 / temperature) < 3 * error
    assert error < 0.06 / temperature
    assert found.log_odds(scores, model_sha256=SHA) == pytest.approx(z, rel=0.1)


def test_two_normal_classes_have_a_closed_form():
    """For s | y of N(±m, v) the log-odds are 2 m s/v + logit π."""
    rng = np.random.default_rng(2)
    labels = (np.arange(20_000) < 6_000).astype(int)
    scores = rng.normal(np.where(labels, 1.5, -1.5), 2)
    slope, constant = fit_calibration(labels, scores, "logistic", **OF).coefficients
    assert slope == pytest.approx(2 * 1.5 / 4, abs=0.03)
    assert constant == pytest.approx(logit(0.3), abs=0.06)


def test_a_temperature_holds_at_the_prior_of_the_training():
    """Log-odds at a share of 0.7, objects with a share of 0.2: only their difference is added."""
    rng = np.random.default_rng(3)
    labels = (rng.random(40_000) < 0.2).astype(int)
    s = rng.normal(np.where(labels, 1, -1), 1)
    scores = 2.5 * (2 * s + logit(0.7))
    right = fit_calibration(labels, scores, "temperature", training_prior=0.7, **OF)
    assert 1 / right.coefficients[0] == pytest.approx(2.5, rel=0.05)
    truth = 2 * s + logit(0.2)
    assert np.abs(right.log_odds(scores, model_sha256=SHA) - truth).max() < 0.4
    wrong = fit_calibration(labels, scores, "temperature", **OF)
    assert np.abs(wrong.log_odds(scores, model_sha256=SHA) - truth).max() > 1


@pytest.mark.parametrize("family", ["logistic", "beta"])
def test_the_fit_is_that_of_an_independent_code(family):
    labels, scores, _ = honest_sample(3000, 4, 1.7)
    columns = FAMILIES[family].columns(scores)[:, :-1]
    oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(columns, labels)
    found = fit_calibration(labels, scores, family, **OF)
    expected = [*oracle.coef_[0], oracle.intercept_[0]]
    assert found.coefficients == pytest.approx(expected, abs=2e-4)


def test_the_error_is_the_sum_over_the_bins():
    labels, scores, z = honest_sample(1000, 5, 2.0)
    p = expit(scores)
    bins = reliability(labels, p, 10)
    by_hand = sum(b.share_of_lenses.n * abs(b.share_of_lenses.value - b.mean_probability)
                  for b in bins) / 1000  # fmt: skip
    error = expected_calibration_error(labels, p, 10, n_bootstrap=50)
    assert error.value.value == pytest.approx(by_hand, abs=1e-12)
    assert [b.share_of_lenses.n for b in bins] == [100] * 10
    assert error.value.low > error.if_calibrated.high
    honest = expected_calibration_error(labels, expit(z), 10, n_bootstrap=50)
    assert honest.if_calibrated.low <= honest.value.value <= honest.if_calibrated.high


def test_purity_is_that_of_the_rates():
    labels, scores, _ = honest_sample(2000, 6)
    calibration = fit_calibration(labels, scores, "logistic", **OF)
    for cut in expected_cuts(labels, scores, calibration, DENSITY, [0.0, 2.0]):
        assert cut.purity == purity(labels, scores, cut.threshold, 1e-2)
        found = cut.candidates_per_square_degree.value * cut.purity.value
        assert found == pytest.approx(5.0 * cut.completeness.value)


def test_smooth_purity_is_that_of_the_sky():
    """Honest log-odds: the purity that another, larger draw of the sky really has."""
    labels, scores, _ = honest_sample(20_000, 7)
    calibration = fit_calibration(labels, scores, "temperature", **OF)
    sky_labels, sky_scores, _ = honest_sample(400_000, 8)
    prior = float(labels.mean())
    thresholds = [-1.0, 1.0, 3.0]
    cuts = expected_cuts(labels, scores, calibration, LensDensity(prior, 1.0), thresholds)
    for cut in cuts:
        real = sky_labels[sky_scores >= cut.threshold].mean()
        assert cut.smooth_purity == pytest.approx(real, abs=0.01)
        assert cut.purity.low <= real <= cut.purity.high


def test_the_interval_of_the_slope_covers():
    hits = 0
    for seed in range(120):
        labels, scores, _ = honest_sample(300, 100 + seed, 2.0)
        found = fit_calibration(labels, scores, "temperature", **OF)
        hits += abs(found.coefficients[0] - 0.5) < 1.96 * np.sqrt(found.covariance[0][0])
    # 0.95 of 120 is 114, with a binomial scatter of 2.4
    assert hits >= 107


def test_twins_of_one_parent_are_no_further_evidence():
    labels, scores, _ = honest_sample(500, 9)
    once = fit_calibration(labels, scores, "logistic", **OF)
    twice = [np.repeat(x, 4) for x in (labels, scores, np.arange(500))]
    alike = fit_calibration(twice[0], twice[1], "logistic", parents=twice[2], **OF)
    ignored = fit_calibration(twice[0], twice[1], "logistic", **OF)
    assert alike.covariance[0][0] == pytest.approx(once.covariance[0][0], rel=1e-6)
    assert ignored.covariance[0][0] == pytest.approx(once.covariance[0][0] / 4, rel=1e-6)
    assert (alike.fitted_on.n_parents, ignored.fitted_on.n_parents) == (500, 2000)


SCORES = st.lists(st.floats(-300, 300), min_size=2, max_size=30)


@settings(deadline=None)
@given(SCORES, st.sampled_from(EXAMPLES), st.floats(1e-6, 0.5))
def test_every_calibration_keeps_the_order_and_makes_no_ties(values, calibration, prior):
    # float64 itself rounds away what lies closer than this
    scores = np.unique(np.round(values, 6))
    odds = calibration.log_odds(scores, model_sha256=SHA, prior=prior)
    assert np.all(np.diff(odds) > 0)
    chance = calibration.probability(scores, model_sha256=SHA, prior=prior)
    assert np.all(np.diff(chance) >= 0)
    assert np.all(np.diff(chance[(odds < 15) & (odds > -700)]) > 0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(list(FAMILIES)), st.floats(0.2, 5))
def test_every_fit_is_increasing(seed, family, temperature):
    labels, scores, _ = honest_sample(200, seed, temperature)
    found = fit_calibration(labels, scores, family, **OF)
    grid = np.linspace(scores.min() - 10, scores.max() + 10, 4001)
    assert np.all(np.diff(found.log_odds(grid, model_sha256=SHA)) > 0)


def test_no_step_function_is_offered():
    assert set(FAMILIES) == {"temperature", "logistic", "beta"}
    labels, scores, _ = honest_sample(500)
    with pytest.raises(CalibrationError, match="family must be one of"):
        fit_calibration(labels, scores, "isotonic", **OF)


def test_missed_objects_have_probability_0_and_stay_in_the_rates():
    labels, scores, _ = honest_sample(1000, 10)
    lost = np.append(scores, [-np.inf] * 100), np.append(labels, [1] * 100)
    with_lost = fit_calibration(lost[1], lost[0], "beta", **OF)
    without = fit_calibration(labels, scores, "beta", **OF)
    assert with_lost.coefficients == without.coefficients
    assert with_lost.fitted_on.n_without_score == 100
    assert with_lost.probability([-np.inf], model_sha256=SHA) == [0.0]
    (cut,) = expected_cuts(lost[1], lost[0], with_lost, DENSITY, [0.0])
    assert cut.completeness.n == labels.sum() + 100


@pytest.fixture(scope="module")
def result():
    labels, scores, _ = honest_sample(3000, 11, 2.0)
    return calibrate(labels, scores, DENSITY, **OF)


def test_a_result_survives_json(result, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(result.to_dict(), allow_nan=False))
    assert read_calibration(tmp_path / "c.json") == result
    data = result.to_dict()
    with pytest.raises(CatalogError, match="unknown"):
        CalibrationResult.from_dict({**data, "colour": 1})
    with pytest.raises(CalibrationError, match="format"):
        CalibrationResult.from_dict({**data, "format": 99})
    (tmp_path / "c.json").write_text("nothing")
    with pytest.raises(CalibrationError, match="no calibration file"):
        read_calibration(tmp_path / "c.json")


def test_held_out_probabilities_are_better_than_bare_scores(result):
    assert result.quality.log_loss < result.uncalibrated.log_loss
    assert result.quality.error.value.value < result.uncalibrated.error.value.value
    assert min(result.candidates, key=result.candidates.get) == result.calibration.family
    assert result.calibration.fitted_on.n_lenses + result.calibration.fitted_on.n_nonlenses == 3000


def test_purity_is_verified_by_grades_only(result):
    assert not result.purity_verified
    assert result.to_dict()["purity_verified"] is False
    assert "no graded objects" in result.purity_statement
    rng = np.random.default_rng(12)
    scores = rng.normal(4, 2, 200)
    chance = result.calibration.probability(scores, model_sha256=SHA, prior=1e-2)
    agreeing = (rng.random(200) < chance).astype(int)
    for grades, verified in ((agreeing, True), (np.ones(200), False)):
        check = check_purity(result.calibration, DENSITY, grades, scores, model_sha256=SHA)
        graded = replace(result, graded=(check,))
        assert graded.purity_verified is verified
        assert CalibrationResult.from_dict(graded.to_dict()).purity_verified is verified
    few = check_purity(
        result.calibration, DENSITY, agreeing[: MIN_GRADED - 1], scores[: MIN_GRADED - 1],
        model_sha256=SHA,
    )  # fmt: skip
    assert not replace(result, graded=(few,)).purity_verified


def test_a_wrong_prior_gives_a_wrong_purity():
    """Negative control: 2 % of the sky are lenses, and 20 % are claimed."""
    rng = np.random.default_rng(13)

    def draw(n, share):
        labels = (rng.random(n) < share).astype(int)
        return labels, rng.normal(np.where(labels, 2, -2), 1.5)

    labels, scores = draw(6000, 0.5)
    sky_labels, sky_scores = draw(100_000, 0.02)
    real = sky_labels[sky_scores >= 1.0].mean()
    calibration = fit_calibration(labels, scores, "logistic", **OF)
    for share, agrees in ((0.02, True), (0.2, False)):
        (cut,) = expected_cuts(labels, scores, calibration, LensDensity(share, 1.0), [1.0])
        assert bool(cut.purity.low <= real <= cut.purity.high) == agrees
        assert bool(abs(cut.smooth_purity - real) < 0.05) == agrees


def test_shuffled_labels_are_refused_or_say_nothing():
    """Negative control: with the labels shuffled no score may tell lenses apart."""
    labels, scores, _ = honest_sample(4000, 14)
    refused = 0
    for seed in range(12):
        shuffled = np.random.default_rng(seed).permutation(labels)
        with contextlib.suppress(CalibrationError):
            found = fit_calibration(shuffled, scores, "logistic", **OF)
            assert found.coefficients[0] < 4 * np.sqrt(found.covariance[0][0])
            assert np.ptp(found.probability(scores, model_sha256=SHA)) < 0.25
            continue
        refused += 1
    # chance makes about half of the slopes negative, and no increasing function fits those
    assert 1 <= refused <= 11


def test_scores_of_another_network_are_refused(result):
    with pytest.raises(CalibrationError, match="fit a calibration for that network"):
        result.calibration.log_odds([0.0], model_sha256="c" * 64)
    with pytest.raises(CalibrationError, match="that network"):
        check_purity(result.calibration, DENSITY, [1], [0.0], model_sha256="c" * 64)


def test_what_can_not_be_calibrated_is_refused():
    labels, scores, _ = honest_sample(300)
    with pytest.raises(CalibrationError, match="separate"):
        fit_calibration([0, 0, 1, 1], [-2.0, -1, 1, 2], "logistic", **OF)
    with pytest.raises(CalibrationError, match="do not rank"):
        fit_calibration(labels, -scores, "beta", **OF)
    with pytest.raises(ScoreError, match="both classes"):
        fit_calibration(np.ones(300), scores, "beta", **OF)
    with pytest.raises(CalibrationError, match=r"\+inf"):
        fit_calibration(labels, np.where(scores == scores.max(), np.inf, scores), "beta", **OF)
    with pytest.raises(CalibrationError, match="prior"):
        LensDensity(0.0, 1.0)
    with pytest.raises(CalibrationError, match="square degree"):
        LensDensity(0.1, 0.0)
    with pytest.raises(CalibrationError, match="slopes above 0"):
        fitted("beta", (0.0, 1.0, 0.0))
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        reliability([0, 1], [0.5, 3.0])
    with pytest.raises(ScoreError, match="folds"):
        held_out(labels, scores, "beta", parents=np.zeros(300))
