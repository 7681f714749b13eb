"""Selection functions: known curves found, intervals that cover, files that others can use."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from equilens.catalogs.errors import CatalogError, ScoreError, SelectionError
from equilens.catalogs.intervals import proportion
from equilens.catalogs.logistic import fit_logistic
from equilens.catalogs.resampling import group_codes, grouped_folds, parents_of
from equilens.catalogs.selection import ScoreCut, SelectionFunction
from equilens.catalogs.selection_basis import Axis, pair_term, single_term
from equilens.catalogs.selection_fit import fit_selection, held_out_check
from equilens.catalogs.selection_table import (
    SUFFIXES,
    binned_table,
    read_selection,
    write_selection,
)

CUT = ScoreCut(0.5, proportion(3, 1000), "beforehand")
THETA, SNR = "einstein_radius_arcsec", "arc_snr"
SCALES = {THETA: "log10", SNR: "log10"}


def log_odds(theta, snr):
    return 3 * np.log10(snr / 30) + 2 * np.tanh(3 * np.log10(theta))


def injected(n, seed=0):
    """Lenses that are found (score 1) with a known chance."""
    rng = np.random.default_rng(seed)
    table = {THETA: np.exp(rng.uniform(-1.2, 1.2, n)), SNR: 10 ** rng.uniform(0.5, 2.5, n)}
    truth = expit(log_odds(table[THETA], table[SNR]))
    return table, (rng.random(n) < truth).astype(float), truth


@pytest.fixture(scope="module")
def measured():
    table, scores, truth = injected(4000)
    function = fit_selection(
        table, scores, CUT, SCALES, interactions=[(THETA, SNR)], n_bootstrap=60,
        model_sha256="a" * 64, data_fingerprint="b",
    )  # fmt: skip
    return function, table, scores, truth


def test_splines_sum_to_one_and_roughness_leaves_straight_lines_alone():
    axis = Axis("x", "linear", -2.0, 5.0)
    other = Axis("y", "log10", 0.1, 10.0)
    table = {"x": np.linspace(-2, 5, 50), "y": np.geomspace(0.1, 10, 50)}
    axes = {"x": axis, "y": other}
    for term in (single_term(axis), pair_term(axis, other)):
        design = term.design(axes, table)
        assert design.shape == (50, term.n_coefficients)
        assert design.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-12)
    line = np.arange(single_term(axis).n_coefficients)
    straight = single_term(axis).design(axes, table) @ line
    assert np.diff(straight, 2) == pytest.approx(np.zeros(48), abs=1e-9)
    assert line @ single_term(axis).roughness() @ line == pytest.approx(0, abs=1e-9)


def test_a_known_curve_is_found_within_its_interval(measured):
    function, table, _, truth = measured
    value, low, high = function.completeness(table)
    assert np.sqrt(np.mean((value - truth) ** 2)) < 0.03
    assert np.mean((low <= truth) & (truth <= high)) > 0.85
    assert function.check.p_value > 0.01
    assert function.check.log_loss < 0.75 * function.check.log_loss_constant


def test_the_newton_fit_is_that_of_an_independent_code():
    rng = np.random.default_rng(1)
    design = rng.normal(size=(400, 5))
    labels = (rng.random(400) < expit(design @ [1, -1, 0.5, 0, 2])).astype(float)
    weights = rng.integers(0, 4, 400).astype(float)
    oracle = LogisticRegression(C=1 / 3, fit_intercept=False, tol=1e-12, max_iter=10_000)
    oracle.fit(design, labels, sample_weight=weights)
    found = fit_logistic(design, labels, penalty=3 * np.eye(5), weights=weights)
    assert found.coefficients == pytest.approx(oracle.coef_[0], abs=1e-5)


def test_a_saved_model_needs_no_equilens(measured):
    """Evaluate the JSON by its own formula, with scipy alone."""
    function = measured[0]
    saved = json.loads(json.dumps(function.to_dict(), allow_nan=False))
    lens = {THETA: 0.8, SNR: 40.0}
    scale = {axis["column"]: axis["scale"] for axis in saved["axes"]}
    u = {name: np.log10(x) if scale[name] == "log10" else x for name, x in lens.items()}
    basis = [np.ones(1)]
    for term in saved["terms"]:
        parts = [
            np.array([BSpline.basis_element(t[i : i + 5], extrapolate=False)(u[name])
                      for i in range(len(t) - 4)])
            for name, t in zip(term["columns"], map(np.array, term["knots"]), strict=True)
        ]  # fmt: skip
        parts = [np.nan_to_num(part) for part in parts]
        basis.append(parts[0] if len(parts) == 1 else np.outer(*parts).ravel())
    b = np.concatenate(basis)
    n = len(b)
    covariance = np.zeros((n, n))
    covariance[np.triu_indices(n)] = saved["covariance"]
    covariance += np.triu(covariance, 1).T
    eta, sigma = b @ saved["coefficients"], np.sqrt(b @ covariance @ b)
    by_hand = expit([eta, eta - 1.959964 * sigma, eta + 1.959964 * sigma])
    found = function.completeness({name: [x] for name, x in lens.items()})
    assert np.ravel(found) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_back_the_same_model(measured, tmp_path, suffix):
    function, table, scores, _ = measured
    bins = binned_table(function, table, scores, [(THETA, SNR)])
    path = write_selection(tmp_path / f"s{suffix}", function, bins, {"command": "test"})
    again, rows = read_selection(path)
    assert again == function
    assert rows.to_pylist() == bins.to_pylist()
    assert np.array_equal(again.completeness(table)[0], function.completeness(table)[0])


def test_bins_count_every_lens_once(measured):
    function, table, scores, _ = measured
    rows = binned_table(function, table, scores, [(THETA, SNR)]).to_pylist()
    for wanted in ((THETA, None), (SNR, None), (THETA, SNR)):
        group = [row for row in rows if (row["column"], row["column_2"]) == wanted]
        assert sum(row["n"] for row in group) == 4000
        assert sum(row["n_found"] for row in group) == scores.sum()
    row = rows[3]
    inside = (table[THETA] >= row["lower"]) & (table[THETA] < row["upper"])
    assert row["completeness"] == scores[inside].mean()
    assert row["low"] == proportion(row["n_found"], row["n"]).low
    assert all(abs(row["model"] - row["completeness"]) < 0.08 for row in rows if row["n"] > 300)


def test_the_interval_covers():
    """Averaged over lenses, as the covariance is meant to (Marra & Wood 2012)."""
    grid = {"x": np.linspace(0.05, 0.95, 40)}

    def curve(x):
        return expit(4 * np.sin(3 * x) - 2)

    covered = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        x = rng.random(500)
        scores = (rng.random(500) < curve(x)).astype(float)
        function = fit_selection({"x": x}, scores, CUT, {"x": "linear"}, n_bootstrap=25, seed=seed)
        _, low, high = function.completeness(grid)
        covered.append(np.mean((low <= curve(grid["x"])) & (curve(grid["x"]) <= high)))
    assert np.mean(covered) > 0.9


def test_lenses_of_one_parent_are_no_further_evidence(monkeypatch):
    """Each lens four times: taken for lenses of their own, they narrow the interval."""
    # with one penalty for both, so that widths differ by the covariance alone
    monkeypatch.setattr("equilens.catalogs.selection_fit.PENALTIES", (10.0,))
    table, scores, _ = injected(400, 3)
    many = {name: np.repeat(values, 4) for name, values in table.items()}
    parents, widths = np.repeat(np.arange(400), 4), []
    point = {THETA: [1.0], SNR: [30.0]}
    for known in (parents, None):
        function = fit_selection(
            many, np.repeat(scores, 4), CUT, SCALES, parents=known, n_bootstrap=80
        )
        assert function.denominator.n_parents == (400 if known is parents else 1600)
        _, low, high = function.completeness(point)
        widths.append(high[0] - low[0])
    assert widths[0] > 1.4 * widths[1]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.floats(allow_infinity=False)] * 2), min_size=1, max_size=8))
def test_any_table_has_an_answer_or_a_reason(measured, rows):
    function = measured[0]
    table = dict(zip((THETA, SNR), np.array(rows).T, strict=True))
    value, low, high = function.completeness(table)
    outside = function.outside(table) != ""
    assert np.array_equal(np.isnan(value), outside)
    assert np.all(outside | ((low >= 0) & (low <= value) & (value <= high) & (high <= 1)))
    beyond = [not all(a.lower <= x <= a.upper for a, x in zip(function.axes, row, strict=True))
              for row in rows]  # fmt: skip
    assert np.all(outside[np.array(beyond)])


def test_nothing_is_extrapolated():
    rng = np.random.default_rng(5)
    x = rng.random(2000)
    # both ranges are whole, and the corner of large x with small y is empty
    table = {"x": x, "y": x + 0.3 * rng.random(2000)}
    scores = (rng.random(2000) < 0.5).astype(float)
    function = fit_selection(table, scores, CUT, {"x": "linear", "y": "linear"}, n_bootstrap=10)
    asked = pa.table({"x": [0.5, 0.95, 1.5, float("nan")], "y": [0.6, 0.1, 0.6, 0.6]})
    value, _, _ = function.completeness(asked)
    assert np.isnan(value).tolist() == [False, True, True, True]
    reasons = function.outside(asked)
    assert reasons[0] == ""
    assert reasons[1] == "no lens of that x and y"
    assert reasons[2].startswith("x above 0.99")
    assert reasons[3] == "x unknown"
    with pytest.raises(SelectionError, match="needs the column 'y'"):
        function.completeness({"x": [0.5]})


def test_the_denominator_is_what_it_says():
    table, scores, _ = injected(1000, 6)
    table[THETA][:7] = np.nan
    scores[20:30] = -np.inf
    every = fit_selection(table, scores, CUT, SCALES, n_bootstrap=5)
    assert every.denominator.kind == "all injected"
    assert (every.denominator.n_counted, every.denominator.n_unknown) == (1000, 7)
    assert every.denominator.n_found == int((scores >= 0.5).sum())
    bright = table[SNR] >= 20
    seen = fit_selection(table, scores, CUT, SCALES, arc_snr_from=20.0, n_bootstrap=5)
    assert seen.denominator.kind == "visible: arc_snr >= 20"
    assert seen.denominator.n_counted == bright.sum()
    assert seen.denominator.n_injected == 1000
    assert seen.axes[1].lower >= 20
    assert np.isnan(seen.completeness({THETA: [1.0], SNR: [10.0]})[0][0])
    assert "1,000 injected lenses" in str(seen.denominator)
    assert "N=1,000 non-lenses" in str(seen.cut)


def test_shuffled_labels_give_a_flat_completeness():
    """Negative control: which lens was found no longer depends on the lens."""
    table, scores, _ = injected(3000, 7)
    shuffled = np.random.default_rng(8).permutation(scores)
    function = fit_selection(table, shuffled, CUT, SCALES, n_bootstrap=30)
    value, low, high = function.completeness(table)
    overall = shuffled.mean()
    assert np.ptp(np.quantile(value, [0.05, 0.95])) < 0.1
    assert np.mean((low <= overall) & (overall <= high)) > 0.8
    assert function.check.log_loss > 0.99 * function.check.log_loss_constant
    real = fit_selection(table, scores, CUT, SCALES, n_bootstrap=5)
    assert np.ptp(np.quantile(real.completeness(table)[0], [0.05, 0.95])) > 0.7


def test_the_held_out_check_passes_the_truth_and_catches_a_lie():
    rng = np.random.default_rng(9)
    p_values = []
    for _ in range(200):
        odds = rng.normal(0, 1.5, 500)
        found = (rng.random(500) < expit(odds)).astype(float)
        p_values.append(held_out_check(found, odds, np.arange(500), 5).p_value)
    # 10 of 200 are expected, with a scatter of 3
    assert np.sum(np.array(p_values) < 0.05) <= 20
    assert np.sum(np.array(p_values) > 0.5) >= 75
    assert held_out_check(found, odds + 0.7, np.arange(500), 5).p_value < 1e-3
    assert held_out_check(found, odds * 3, np.arange(500), 5).p_value < 1e-3
    # the same lenses ten times over, parents known: no less likely than once
    once = held_out_check(found, odds, np.arange(500), 5)
    ten = held_out_check(*(np.repeat(x, 10) for x in (found, odds, np.arange(500))), 5)
    assert ten.statistic == pytest.approx(once.statistic, rel=0.3)


def test_folds_and_parents_stay_together():
    codes = group_codes(["b", "a", "b", "c"], 4)
    assert codes.tolist() == [1, 0, 1, 2]
    folds = grouped_folds(np.repeat(np.arange(20), 3), 4, 0)
    assert all(len(set(folds[3 * k : 3 * k + 3])) == 1 for k in range(20))
    assert np.bincount(folds).tolist() == [15] * 4
    columns = {"parent_id": np.array(["p", "", "p", "x"], object)}
    parents = parents_of(columns, ["x", "y", "z", "w"])
    assert parents[0] == parents[2]
    assert len(set(parents)) == 3
    assert len(set(parents_of({}, ["x", "y"]))) == 2


def test_what_can_not_be_fitted_is_refused(measured, tmp_path):
    table, scores, _ = injected(300, 10)
    few = {name: values[:50] for name, values in table.items()}
    with pytest.raises(SelectionError, match="at least 100 lenses"):
        fit_selection(few, scores[:50], CUT, SCALES)
    with pytest.raises(SelectionError, match="finds all"):
        fit_selection(table, np.ones(300), CUT, SCALES)
    with pytest.raises(SelectionError, match="at least 10 parents"):
        fit_selection(table, scores, CUT, SCALES, parents=np.arange(300) // 60)
    with pytest.raises(SelectionError, match="must vary"):
        fit_selection({**table, "z": np.ones(300)}, scores, CUT, {"z": "linear"})
    with pytest.raises(SelectionError, match="scale of 'arc_snr'"):
        fit_selection(table, scores, CUT, {SNR: "cubic"})
    with pytest.raises(SelectionError, match="must be of the columns"):
        fit_selection(table, scores, CUT, SCALES, interactions=[(THETA, "z")])
    with pytest.raises(ScoreError, match="separate"):
        fit_logistic(np.ones((4, 2)), np.array([0.0, 1, 0, 1]))
    function, many, found, _ = measured
    with pytest.raises(SelectionError, match="written to one of"):
        write_selection(tmp_path / "s.csv", function, binned_table(function, many, found))
    with pytest.raises(SelectionError, match="format"):
        SelectionFunction.from_dict({**function.to_dict(), "format": 0})
    data = function.to_dict()
    del data["penalty"]
    with pytest.raises(CatalogError, match="missing"):
        SelectionFunction.from_dict(data)
    data = function.to_dict()
    with pytest.raises(SelectionError, match="coefficients"):
        SelectionFunction.from_dict({**data, "coefficients": data["coefficients"][:-1]})
