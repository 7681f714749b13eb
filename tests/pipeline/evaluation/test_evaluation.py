"""Figures of scores that are known beforehand; the lost stay in the denominator."""

import csv
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from equilens.models.inputs import InputSpec
from equilens.pipeline.challenge import submission_scores
from equilens.pipeline.errors import EvaluationError
from equilens.pipeline.evaluation import evaluate, fpr_threshold
from equilens.pipeline.quarantine import QuarantineRow, write_quarantine
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.scoring import score
from equilens.pipeline.toy import toy_cutouts, write_mean_network, write_toy_store

pytest.importorskip("onnxruntime")

N = 200
SPEC = InputSpec(("a", "b"), 0.1, (33, 33))
LOST = [QuarantineRow(f"lost-{k}", "", "truncated", "", "") for k in range(10)]


@pytest.fixture(scope="module")
def known():
    """Scores in steps of 1/4, so that float32 means are exact."""
    rng = np.random.default_rng(4)
    labels = (np.arange(N) % 2 == 0).astype(int)
    return labels, np.round(rng.normal(4 * labels, 3) * 4) / 4


@pytest.fixture(scope="module")
def scored(known, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    batch = toy_cutouts(N)
    batch.mask[:] = False
    batch.images[:] = known[1].astype(np.float32)[:, None, None, None]
    store = write_toy_store(folder / "cutouts.zarr", batch)
    write_quarantine(store.path / "quarantine.csv", LOST)
    network = write_mean_network(folder / "mean.onnx", SPEC)
    score(store.path, network, folder / "scores.zarr")
    return folder / "scores.zarr"


def write_key(path, labels, lost=()):
    rows = [(f"toy-0-{k:05d}", label) for k, label in enumerate(labels)]
    rows += [(row.id, 1) for row in lost]
    path.write_text("id,is_lens\n" + "".join(f"{i},{label}\n" for i, label in rows))
    return path


def test_figures_are_those_of_an_independent_code(scored, known, tmp_path):
    labels, scores = known
    report = evaluate(scored, write_key(tmp_path / "key.csv", labels), tmp_path / "out")
    assert report["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    best_nonlens = scores[labels == 0].max()
    assert report["tpr0"] == np.mean(scores[labels == 1] > best_nonlens)
    assert (report["n_lenses"], report["n_nonlenses"]) == (100, 100)
    assert report["n_quarantined"] == report["n_absent"] == 0


def test_truth_in_the_store_is_the_same_as_a_key(scored, known, tmp_path):
    by_key = evaluate(scored, write_key(tmp_path / "key.csv", known[0]), tmp_path / "key")
    by_store = evaluate(scored, None, tmp_path / "store")
    for name in ("auroc", "tpr0", "tpr10", "f_beta", "at_threshold"):
        assert by_store[name] == by_key[name]


def test_a_quarantined_lens_counts_as_missed(scored, known, tmp_path):
    whole = evaluate(scored, write_key(tmp_path / "whole.csv", known[0]), tmp_path / "whole")
    key = write_key(tmp_path / "key.csv", known[0], LOST)
    report = evaluate(scored, key, tmp_path / "out")
    assert report["n_quarantined"] == 10
    assert report["n_lenses"] == 110
    assert report["tpr0"] == pytest.approx(whole["tpr0"] * 100 / 110)
    assert report["auroc"] == pytest.approx(whole["auroc"] * 100 / 110)


def test_an_object_merged_into_another_sighting_has_its_score(scored, known, tmp_path):
    store = shutil.copytree(scored, tmp_path / "scores.zarr")
    ids = ScoreStore(store).ids()
    (store / "merged.csv").write_text(f"id,kept_id,separation_arcsec,file\nagain,{ids[0]},0.1,\n")
    again = QuarantineRow("again", "", "", "", "")
    report = evaluate(store, write_key(tmp_path / "key.csv", known[0], [again]), tmp_path / "out")
    assert (report["n_merged"], report["n_absent"], report["n_quarantined"]) == (1, 0, 0)
    scores = ScoreStore(store).combined()
    labels = np.append(known[0], 1)
    assert report["auroc"] == pytest.approx(roc_auc_score(labels, np.append(scores, scores[0])))
    assert evaluate(store, None, tmp_path / "own")["n_merged"] == 0
    names, values, n_lowest = submission_scores(ScoreStore(store), [])
    assert (names[-1], values[-1], n_lowest) == ("again", scores[0], 0)


def test_a_key_of_strangers_is_refused(scored, known, tmp_path):
    stranger = QuarantineRow("stranger", "", "", "", "")
    key = write_key(tmp_path / "key.csv", known[0], [stranger])
    with pytest.raises(EvaluationError, match=r"1 of 201 .* such as 'stranger'"):
        evaluate(scored, key, tmp_path / "out")
    report = evaluate(scored, key, tmp_path / "out", missing_as_lowest=True)
    assert (report["n_absent"], report["n_lenses"]) == (1, 101)


def test_shuffled_truth_has_no_skill(scored, known, tmp_path):
    labels = known[0].copy()
    np.random.default_rng(0).shuffle(labels)
    report = evaluate(scored, write_key(tmp_path / "key.csv", labels), tmp_path / "out")
    low, high = report["intervals"]["auroc"]
    assert low < 0.5 < high


def test_files_hold_what_the_report_says(scored, tmp_path):
    report = evaluate(scored, None, tmp_path, prevalences=(0.01,))
    text = (tmp_path / "metrics.json").read_text()
    written = json.loads(text, parse_constant=pytest.fail)
    assert written["auroc"] == report["auroc"]
    assert len(written["network"]["sha256"]) == len(written["cutouts_fingerprint"]) == 64
    curve = list(csv.DictReader((tmp_path / "roc.csv").read_text().splitlines()))
    thresholds = [float(row["threshold"]) for row in curve]
    assert thresholds == sorted(thresholds, reverse=True)
    assert float(curve[-1]["completeness"]) == float(curve[-1]["fpr"]) == 1
    tpr, fpr = float(curve[40]["completeness"]), float(curve[40]["fpr"])
    expected = 0.01 * tpr / (0.01 * tpr + 0.99 * fpr)
    assert float(curve[40]["purity_at_0.01"]) == pytest.approx(expected)
    bins = list(csv.DictReader((tmp_path / "bins.csv").read_text().splitlines()))
    radius = [row for row in bins if row["column"] == "einstein_radius_arcsec"]
    assert sum(int(row["n"]) for row in radius) == 100
    found = sum(int(row["n"]) * float(row["completeness"] or 0) for row in radius)
    assert found == pytest.approx(100 * report["at_threshold"]["completeness"]["value"])


def test_a_threshold_chosen_before_is_said_to_be(scored, tmp_path):
    report = evaluate(scored, None, tmp_path, threshold=1.5)
    assert report["at_threshold"]["threshold"] == 1.5
    assert report["at_threshold"]["chosen"] == "beforehand"
    assert "on these objects" in evaluate(scored, None, tmp_path)["at_threshold"]["chosen"]


@settings(max_examples=50, deadline=None)
@given(
    nonlenses=st.lists(st.integers(-9, 9), min_size=1, max_size=60),
    fpr=st.floats(0, 0.99),
)
def test_threshold_lets_the_asked_share_through_and_no_more(nonlenses, fpr):
    scores = np.array([*nonlenses, 100], float)
    labels = np.array([0] * len(nonlenses) + [1])
    cut = fpr_threshold(labels, scores, fpr)
    share = np.mean(scores[:-1] >= cut)
    assert share <= fpr
    lower = scores[:-1][scores[:-1] < cut].max()
    assert np.mean(scores[:-1] >= lower) > fpr
