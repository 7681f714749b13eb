"""Figures against the faintest lens, as the challenge's paper defines them; its ranking."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from equilens.catalogs.challenge_curves import (
    challenge_curves,
    curve_rows,
    equal_steps,
    minimum_curve,
)
from equilens.catalogs.errors import ScoreError
from equilens.catalogs.evaluation import evaluate_scores
from equilens.catalogs.ranking import published_ranking, ranking_caveat, ranking_table
from equilens.catalogs.truth import Truth, read_truth


def sample(n=400, seed=0):
    """Lenses that score the higher the larger their radius; values of non-lenses are no zeros."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    radii = rng.uniform(0.2, 3, n)
    return labels, rng.normal(labels * radii, 1), radii


def truth_of(labels, **columns):
    ids = np.array([str(k) for k in range(len(labels))], dtype=object)
    return Truth(ids, np.asarray(labels, np.int8), columns)


def test_by_hand():
    labels = [1, 1, 1, 0, 0]
    scores = [5.0, 1.0, 3.0, 2.0, 0.0]
    points = minimum_curve(labels, scores, [3.0, 1.0, 2.0, 9.0, 9.0], [1, 2, 3, 4])
    assert [point.n_lenses for point in points] == [3, 2, 1], "no lens is as large as 4"
    assert [point.n_nonlenses for point in points] == [2, 2, 2]
    # 5 and 3 beat both non-lenses, 1 beats one of two
    assert [point.auroc.value for point in points] == pytest.approx([5 / 6, 1, 1])
    assert [point.tpr0.value for point in points] == pytest.approx([2 / 3, 1, 1])
    assert [point.tpr10 for point in points] == [None, None, None]


def test_points_against_an_independent_code():
    labels, scores, radii = sample()
    for point in minimum_curve(labels, scores, radii, [0.5, 1.0, 2.0]):
        kept = (labels == 0) | (radii >= point.minimum)
        assert point.auroc.value == pytest.approx(roc_auc_score(labels[kept], scores[kept]))
        best = np.sort(scores[labels == 0])[::-1]
        of_lenses = scores[(labels == 1) & (radii >= point.minimum)]
        assert point.tpr0.value == pytest.approx(np.mean(of_lenses > best[0]))
        assert point.tpr10.value == pytest.approx(np.mean(of_lenses > best[9]))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 30))
def test_the_first_point_is_the_whole_sample_and_lenses_only_go(seed, n_minima):
    labels, scores, radii = sample(60, seed)
    (curve,) = challenge_curves(
        truth_of(labels, einstein_radius_arcsec=radii), scores, 0.9, n_minima
    )
    whole = evaluate_scores(labels, scores, level=0.9)
    first = curve.points[0]
    assert first.auroc.to_json() == whole["details"]["auroc"]
    assert (first.tpr0.value, first.tpr10.value) == (whole["tpr0"], whole["tpr10"])
    counts = [point.n_lenses for point in curve.points]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) <= n_minima
    assert {point.n_nonlenses for point in curve.points} == {len(labels) - counts[0]}


def test_cutting_non_lenses_too_would_flatter():
    """Negative control: the challenge's keys give non-lenses an Einstein area as well."""
    labels, scores, radii = sample(2000)
    (point,) = minimum_curve(labels, scores, radii, [2.5])
    cut = radii >= 2.5
    flattered = evaluate_scores(labels[cut], scores[cut])
    assert flattered["n_nonlenses"] < point.n_nonlenses
    assert flattered["tpr0"] > point.tpr0.value


def test_columns_of_both_challenges_and_values_that_are_unknown():
    labels, scores, radii = sample(100)
    radii = np.where(np.arange(100) % 3 == 0, np.nan, radii)
    truth = truth_of(
        labels,
        einstein_radius_arcsec=radii,
        source_flux=np.full(100, np.nan),
        n_pix_source=np.array(["many"] * 100, dtype=object),
    )
    (curve,) = challenge_curves(truth, scores)
    n_known = int((labels[np.isfinite(radii)] == 1).sum())
    assert (curve.n_unknown, curve.points[0].n_lenses) == (labels.sum() - n_known, n_known)
    truth = truth_of(labels, FLUX_lensed_image_in_sigma=radii, numb_pix_lensed_image=radii)
    names = [(c.quantity.name, c.column) for c in challenge_curves(truth, scores)]
    assert names == [
        ("lensed_flux", "FLUX_lensed_image_in_sigma"),
        ("lensed_pixels", "numb_pix_lensed_image"),
    ]
    json.dumps([c.to_json() for c in challenge_curves(truth, scores)], allow_nan=False)


def test_rows_carry_n_and_interval():
    labels, scores, radii = sample(100)
    curves = challenge_curves(truth_of(labels, einstein_radius_arcsec=radii), scores)
    rows = list(curve_rows(curves))
    assert rows[0]["share_of_lenses"] == 1
    for row in rows:
        assert row["tpr10_low"] <= row["tpr10"] <= row["tpr10_high"]
        assert row["n_lenses"] >= 1


def test_ties_in_the_quantity_are_one_step():
    assert equal_steps([0, 0, 0, 0, 5, 7], 6).tolist() == [0, 5]
    assert equal_steps([np.nan], 5).tolist() == []
    assert equal_steps([0, 0, 3, 4], 4).tolist() == [0, 3]


def test_what_no_curve_can_be_made_of():
    with pytest.raises(ScoreError, match="one length"):
        minimum_curve([1, 0], [1.0, 0.0], [1.0], [0])
    with pytest.raises(ScoreError, match="NaN"):
        minimum_curve([1, 0], [1.0, np.nan], [1.0, 1.0], [0])
    with pytest.raises(ScoreError, match="both classes"):
        minimum_curve([1, 1], [1.0, 0.0], [1.0, 1.0], [0])


def test_a_result_stands_among_the_published_entries():
    labels, scores, _ = sample(100)
    report = evaluate_scores(labels, scores)
    rows = ranking_table("space", report, "mine")
    assert len(rows) == 1 + len(published_ranking("space"))
    (ours,) = [row for row in rows if row.is_ours]
    assert (ours.name, ours.n_objects, ours.auroc) == ("mine", 100, report["auroc"])
    assert ours.intervals["tpr0"] == tuple(report["intervals"]["tpr0"])
    assert [row.auroc for row in rows] == sorted((row.auroc for row in rows), reverse=True)
    assert all(not row.intervals for row in rows if not row.is_ours), "none were published"


@pytest.mark.parametrize(
    ("n_nonlenses", "word"), [(50, "higher"), (60_500, "about the same"), (900_000, "lower")]
)
def test_the_caveat_says_which_way_tpr0_goes(n_nonlenses, word):
    text = ranking_caveat("space", 40, n_nonlenses)
    assert f"come out {word} here" in text
    assert f"{n_nonlenses:,} non-lenses" in text


def test_a_negative_area_of_a_non_lens_is_an_unknown_radius(tmp_path):
    key = tmp_path / "key.csv"
    key.write_text("ID,is_lens,ein_area\n1,1,7.38e-11\n2,0,-1\n")
    radii = read_truth(key).columns["einstein_radius_arcsec"]
    assert radii[0] == pytest.approx(1, abs=1e-3)
    assert np.isnan(radii[1])
