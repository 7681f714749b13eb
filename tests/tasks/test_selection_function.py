"""`equilens calibrate` and `equilens selection-function`, from scores to files and report."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import expit, log_expit, logit

from equilens.catalogs.calibration_result import CalibrationResult, read_calibration
from equilens.catalogs.export import catalog_metadata, read_catalog
from equilens.catalogs.selection import SelectionFunction
from equilens.catalogs.selection_table import read_selection
from equilens.models.inputs import InputSpec
from equilens.pipeline.errors import EvaluationError
from equilens.pipeline.evaluation import SEEN_IN_TRAINING, fpr_threshold
from equilens.pipeline.quarantine import QuarantineRow, write_quarantine
from equilens.pipeline.report import MeasuredSelection, ReportContent, Sample, render_report
from equilens.pipeline.report.calibration_section import calibration_section
from equilens.pipeline.score_writer import trained_on
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.scoring import score
from equilens.pipeline.selection_function import (
    choose_cut,
    chosen_scales,
    depth_mag,
    measure_selection,
)
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.toy import toy_cutouts, write_mean_network, write_toy_store

pytest.importorskip("onnxruntime")

N = 700
SPEC = InputSpec(("a", "b"), 0.1, (33, 33))


@pytest.fixture(scope="module")
def known():
    """Scores that grow with the signal-to-noise ratio of the arc; steps of 1/64 are exact."""
    rng = np.random.default_rng(4)
    labels = (np.arange(N) % 2 == 0).astype(int)
    snr = np.where(labels, 10 ** rng.uniform(0.5, 2.5, N), np.nan)
    mean = np.where(labels, 4 * np.log10(np.where(labels, snr, 10)) - 4, -2)
    return labels, np.round(rng.normal(mean, 1.5) * 64) / 64, snr


@pytest.fixture(scope="module")
def scored(known, tmp_path_factory):
    labels, scores, snr = known
    folder = tmp_path_factory.mktemp("selection")
    batch = toy_cutouts(N)
    batch.mask[:] = False
    batch.images[:] = scores.astype(np.float32)[:, None, None, None]
    batch.columns["arc_snr"] = snr
    store = write_toy_store(folder / "cutouts.zarr", batch)
    write_quarantine(store.path / "quarantine.csv", [QuarantineRow("lost", "", "cut", "", "")])
    score(store.path, write_mean_network(folder / "mean.onnx", SPEC), folder / "scores.zarr")
    rows = (f"toy-0-{k:05d},{labels[k]},{snr[k]},1.{k % 10}" for k in range(N))
    key = "id,is_lens,arc_snr,einstein_radius_arcsec\n" + "\n".join(rows) + "\nlost,1,30,1.0\n"
    (folder / "key.csv").write_text(key)
    return folder


@pytest.fixture(scope="module")
def products(scored):
    """Both files, made by the commands."""
    from equilens.tasks.cli import main

    words = ("--out", str(scored / "cal.json"), "--prior", "0.001", "--density", "10")
    assert main(["calibrate", str(scored / "scores.zarr"), *words]) == 0
    words = ("--out", str(scored / "sel.parquet"), "--bootstrap", "20")
    assert main(["selection-function", str(scored / "scores.zarr"), *words]) == 0
    return scored


@pytest.fixture(scope="module")
def trained(scored):
    """Scores of the same cutouts by a network whose card says that it was trained on them."""
    network = write_mean_network(scored / "trained.onnx", SPEC)
    data = ["ab" * 32, CutoutStore(scored / "cutouts.zarr").fingerprint]
    network.with_suffix(".json").write_text(json.dumps({"card": {"data": data}}))
    score(scored / "cutouts.zarr", network, scored / "trained.zarr")
    return scored / "trained.zarr"


def test_depth_is_that_of_a_gaussian_star():
    """A star of the depth's flux in a Gaussian PSF, found by matched filter at five sigma."""
    scale, fwhm, noise = 0.1, 0.42, 3.0
    x = np.arange(-40, 41) * scale
    sigma = fwhm / np.sqrt(8 * np.log(2))
    psf = np.exp(-(x[:, None] ** 2 + x**2) / (2 * sigma**2))
    psf /= psf.sum()
    flux = 10 ** ((31.4 - depth_mag(np.array(noise), np.array(fwhm), np.array(scale))) / 2.5)
    assert flux * np.sqrt((psf**2).sum()) / noise == pytest.approx(5, rel=1e-6)


def test_calibrate_says_what_it_fitted_and_that_purity_is_unverified(products, equilens, known):
    labels = known[0]
    result = read_calibration(products / "cal.json")
    about = result.calibration.fitted_on
    assert (about.n_lenses, about.n_nonlenses) == (labels.sum(), N - labels.sum())
    assert about.data_fingerprint == CutoutStore(products / "cutouts.zarr").fingerprint
    saved = json.loads((products / "cal.json").read_text())
    assert saved["purity_verified"] is False
    assert "command" in saved["provenance"]
    words = ("--prior", "0.001", "--density", "10", "--out", products / "again.json")
    code, out, _ = equilens("calibrate", products / "scores.zarr", *words)
    assert code == 0
    assert "unverified: no graded objects" in out
    assert "350 lenses, 350 non-lenses" in out


def test_a_quarantined_lens_is_missed(products, equilens_json, known):
    words = ("--truth", products / "key.csv", "--prior", "0.001", "--density", "10")
    out = ("--out", products / "keyed.json")
    code, facts = equilens_json("calibrate", products / "scores.zarr", *words, *out)
    assert (code, facts["calibration"]["fitted_on"]["n_without_score"]) == (0, 1)
    assert facts["cuts"][0]["completeness"]["n"] == known[0].sum() + 1
    out = ("--out", products / "keyed.ecsv", "--bootstrap", "5", "--columns", "arc_snr")
    words = ("selection-function", products / "scores.zarr", "--truth", products / "key.csv", *out)
    code, facts = equilens_json(*words)
    assert code == 0
    assert facts["denominator"]["n_counted"] == known[0].sum() + 1
    assert sum(row["n"] for row in facts["bins"]) == known[0].sum() + 1


@pytest.mark.parametrize("suffix", ["parquet", "fits", "vot", "ecsv"])
def test_exported_probabilities_are_those_of_the_calibration(products, tmp_path, equilens, suffix):
    file = tmp_path / f"best.{suffix}"
    words = ("export", products / "scores.zarr", "--top", "20", "--out", file)
    code, out, err = equilens(*words, "--calibration", products / "cal.json")
    assert code == 0, err
    assert "where one object in 1,000 is a lens" in out
    assert "unverified" in err
    table = read_catalog(file)
    saved = json.loads((products / "cal.json").read_text())["calibration"]
    s, about = np.array(table["score"]), saved["fitted_on"]
    ends = {"temperature": [s], "logistic": [s, 1], "beta": [log_expit(s), -log_expit(-s), 1]}
    terms = zip(saved["coefficients"], ends[saved["family"]], strict=True)
    odds = sum(b * x for b, x in terms) + saved["offset"]
    odds += logit(0.001) - np.log(about["n_lenses"] / about["n_nonlenses"])
    assert np.allclose(np.array(table["probability"]), expit(odds), rtol=1e-12)
    assert table.column_names.index("probability") == table.column_names.index("score") + 1
    assert set(table["probability_prior"].to_pylist()) == {0.001}
    meaning = table.schema.field("probability").metadata[b"description"].decode()
    assert "valid only if p(x|y)" in meaning
    stated = catalog_metadata(table)["calibration"]
    assert (stated["prior"], len(stated["sha256"])) == (0.001, 64)
    assert "unverified" in stated["purity_statement"]


def test_a_calibration_of_another_network_is_refused(products, tmp_path, equilens):
    saved = json.loads((products / "cal.json").read_text())
    saved["calibration"]["fitted_on"]["model_sha256"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(saved))
    words = ("export", products / "scores.zarr", "--out", tmp_path / "all.csv")
    code, _, err = equilens(*words, "--calibration", tmp_path / "other.json")
    assert code == 1
    assert "this calibration is of the network '000000000000'" in err
    assert not (tmp_path / "all.csv").exists()
    code, _, err = equilens(*words, "--calibration", products / "key.csv")
    assert code == 1
    assert "no calibration file" in err
    assert equilens(*words)[0] == 0
    assert "probability" not in read_catalog(tmp_path / "all.csv").column_names


def test_grades_are_compared(products, equilens_json, equilens, known):
    grades = products / "graded.csv"
    grades.write_text("id,is_lens\n" + "".join(f"toy-0-{k:05d},0\n" for k in range(1, 101, 2)))
    words = ("--prior", "0.001", "--density", "10", "--out", products / "graded.json")
    graded = ("--graded", grades, "--graded-scores", products / "scores.zarr")
    code, facts = equilens_json("calibrate", products / "scores.zarr", *words, *graded)
    assert (code, facts["purity_verified"], facts["graded"][0]["observed"]["n"]) == (0, True, 50)
    # of faint arcs hardly any is a lens, and all are graded as lenses: that is no agreement
    grades.write_text(grades.read_text().replace(",0", ",1"))
    code, facts = equilens_json("calibrate", products / "scores.zarr", *words, *graded)
    assert (code, facts["purity_verified"]) == (0, False)
    grades.write_text("id,is_lens\nsomebody,1\n")
    code, _, err = equilens("calibrate", products / "scores.zarr", *words, *graded)
    assert code == 1
    assert "somebody" in err


def test_what_was_seen_in_training_is_said_to_be(trained, products, equilens, tmp_path):
    words = {
        "evaluate": ("--out", tmp_path / "figures"),
        "calibrate": ("--out", tmp_path / "cal.json", "--prior", "0.001", "--density", "10"),
        "selection-function": ("--out", tmp_path / "sel.ecsv", "--bootstrap", "5"),
    }
    code, out, err = equilens("evaluate", products / "scores.zarr", *words["evaluate"], "--json")
    assert (code, json.loads(out)["notes"], SEEN_IN_TRAINING in err) == (0, [], False)
    assert read_calibration(products / "cal.json").notes == ()
    assert read_selection(products / "sel.parquet")[0].notes == ()
    for command, rest in words.items():
        code, out, err = equilens(command, trained, *rest, "--json")
        assert (code, json.loads(out)["notes"]) == (0, [SEEN_IN_TRAINING])
        assert SEEN_IN_TRAINING in err
    written = json.loads((tmp_path / "figures" / "metrics.json").read_text())
    calibration = read_calibration(tmp_path / "cal.json")
    function, _ = read_selection(tmp_path / "sel.ecsv")
    assert (written["notes"], calibration.notes, function.notes) == (
        [SEEN_IN_TRAINING],
        (SEEN_IN_TRAINING,),
        (SEEN_IN_TRAINING,),
    )
    assert SEEN_IN_TRAINING[1:] in calibration_section(calibration)["fit"]
    # files from before there were notes read as ones without
    saved = {k: v for k, v in calibration.to_dict().items() if k != "notes"}
    assert CalibrationResult.from_dict(saved) == dataclasses.replace(calibration, notes=())
    saved = {k: v for k, v in function.to_dict().items() if k != "notes"}
    assert SelectionFunction.from_dict(saved) == dataclasses.replace(function, notes=())


def test_grades_of_objects_seen_in_training_verify_nothing(trained, products, equilens, tmp_path):
    grades = tmp_path / "graded.csv"
    grades.write_text("id,is_lens\ntoy-0-00001,0\n")
    words = ("--prior", "0.001", "--density", "10", "--out", tmp_path / "cal.json")
    graded = ("--graded", grades, "--graded-scores", trained)
    code, _, err = equilens("calibrate", products / "scores.zarr", *words, *graded)
    assert code == 1
    assert "was trained on, which verify no purity" in err


def test_a_card_that_says_little_accuses_nobody(scored):
    assert trained_on({}) == trained_on({"data": "toy"}) == trained_on({"data": None}) == []
    store = ScoreStore(scored / "scores.zarr")
    assert not store.seen_in_training
    del store.manifest["trained_on"]
    assert not store.seen_in_training


def test_the_selection_function_finds_the_known_slope(products, known):
    labels, scores, _ = known
    function, bins = read_selection(products / "sel.parquet")
    assert function.cut.threshold == fpr_threshold(labels, scores, 0.01)
    assert function.cut.fpr.n == N - labels.sum()
    assert function.denominator.kind == "all injected"
    assert {"arc_snr", "einstein_radius_arcsec"} <= {axis.column for axis in function.axes}
    assert (products / "sel.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((products / "sel.json").read_text()) == function.to_dict()
    table = {axis.column: np.full(2, (axis.lower * axis.upper) ** 0.5) for axis in function.axes}
    table["arc_snr"] = np.array([5.0, 200.0])
    faint, bright = function.completeness(table)[0]
    assert faint < 0.1
    assert bright > 0.85
    rows = [row for row in bins.to_pylist() if row["column"] == "arc_snr"]
    assert (
        sum(row["n_found"] for row in rows) == (scores[labels == 1] >= function.cut.threshold).sum()
    )


def test_the_report_shows_both(products):
    store = CutoutStore(products / "cutouts.zarr")
    few = {"columns": ("arc_snr",), "n_bootstrap": 5}
    measured = measure_selection(products / "scores.zarr", None, products / "few.fits", **few)
    empty = render_report(ReportContent("toys", [Sample("toys", store)]))
    assert "From scores to probabilities" not in empty
    assert "Which lenses it finds" not in empty
    html = render_report(
        ReportContent(
            "toys",
            [Sample("toys", store)],
            calibration=read_calibration(products / "cal.json"),
            selection=MeasuredSelection(*measured),
        )
    )
    for text in ("Purity on the real sky is unverified", "What a cut would select",
                 "350 injected lenses", "held-out parents", "N=350 non-lenses"):  # fmt: skip
        assert text in html


@pytest.mark.parametrize(
    "words",
    [
        ("calibrate", ".", "--prior", "0.001", "--density", "10", "--out", "x.csv"),
        ("calibrate", ".", "--prior", "0", "--density", "10", "--out", "x.json"),
        ("calibrate", ".", "--prior", "0.1", "--density", "-1", "--out", "x.json"),
        ("calibrate", ".", "--prior", "0.1", "--density", "1", "--out", "x.json", "--graded", "."),
        ("selection-function", ".", "--out", "x.csv"),
        ("selection-function", ".", "--out", "x.fits", "--bootstrap", "1"),
        ("selection-function", ".", "--out", "x.fits", "--threshold", "1", "--fpr", "0.1"),
    ],
)
def test_wrong_use_is_code_2(equilens, words):
    code, _, err = equilens(*words)
    assert code == 2
    assert err.count("\n") == 1


def test_other_columns_and_bands(products, equilens):
    words = ("selection-function", products / "scores.zarr", "--out", products / "x.fits")
    few = ("--bootstrap", "5")
    code, out, _ = equilens(*words, *few, "--columns", "arc_snr:log10", "--visible-from", "10")
    assert code == 0
    assert "visible: arc_snr >= 10" in out
    assert "einstein_radius_arcsec" not in out
    code, _, err = equilens(*words, "--band", "z")
    assert code == 1
    assert "band must be one of ['a', 'b']" in err
    code, _, err = equilens(*words, "--columns", "weather")
    assert code == 1
    assert "weather" in err
    code, _, err = equilens(*words, "--threshold", "1e9")
    assert code == 1
    assert "misses all" in err


def test_lenses_alone_need_a_threshold():
    labels, scores = np.ones(5), np.arange(5.0)
    assert choose_cut(labels, scores, 2.0, 0.01).fpr is None
    with pytest.raises(EvaluationError, match="--threshold"):
        choose_cut(labels, scores, None, 0.01)


def test_default_columns_are_those_known_and_varying():
    table = {
        "arc_snr": np.arange(10.0),
        "einstein_radius_arcsec": np.ones(10),
        "lens_mag": np.r_[np.full(5, np.nan), np.arange(5.0)],
        "colour_g_r": np.arange(10.0),
        "anything": np.arange(10.0),
    }
    found = chosen_scales(table, (), np.ones(10, bool))
    assert found == {"arc_snr": "log10", "colour_g_r": "linear"}
    assert chosen_scales(table, ("anything:log10", "arc_snr"), np.ones(10, bool)) == {
        "anything": "log10",
        "arc_snr": "log10",
    }
