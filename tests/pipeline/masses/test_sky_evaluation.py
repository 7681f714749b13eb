"""Evaluation: what each figure is on a sky that is known, matching, and what is refused."""

import json

import healpy as hp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from equilens.catalogs.halo_matching import (
    HaloTargets,
    JudgedPeaks,
    completeness,
    match_one_to_one,
    threshold_at_density,
)
from equilens.pipeline.masses.baselines import BaselineSettings
from equilens.pipeline.masses.control_skies import write_control_sky
from equilens.pipeline.masses.errors import SkyEvaluationError
from equilens.pipeline.masses.evaluation import MethodResult
from equilens.pipeline.masses.evaluation_plots import completeness_png
from equilens.pipeline.masses.evaluation_summary import across_skies, poisson_density, summarise
from equilens.pipeline.masses.kaiser_squires import MassMap
from equilens.pipeline.masses.map_quality import band_edges, map_quality
from equilens.pipeline.masses.peaks import Peaks
from equilens.pipeline.masses.prior import measure_prior
from equilens.pipeline.masses.products import MassIdentity, write_mass_map, write_peaks
from equilens.pipeline.masses.sky_evaluation import evaluate_skies
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.skymaps.writer import write_map_store

NSIDE = 32
SETTINGS = BaselineSettings(fwhm_arcmin=300, scales_arcmin=(150.0,), tolerance=1e-3)
EVERYWHERE = np.ones(12 * NSIDE**2, bool)


@pytest.fixture(scope="module")
def skies(gaussian_sky, tmp_path_factory):
    """Two Gaussian skies on disk; their "haloes" are the highest true peaks."""
    folder = tmp_path_factory.mktemp("skies")
    return [write_sky(folder / f"sky{seed}.zarr", gaussian_sky, seed) for seed in (1, 2)]


def write_sky(path, gaussian_sky, seed):
    kappa, maps, _ = gaussian_sky(NSIDE, seed)
    columns, truth = {}, {}
    for k in range(maps.n_bins):
        columns[f"G1_BIN{k + 1}"], columns[f"G2_BIN{k + 1}"] = maps.shear[k]
        columns[f"COUNT_BIN{k + 1}"] = np.full(maps.weight.shape[1], 100.0)
        columns[f"WEIGHT_BIN{k + 1}"] = maps.weight[k]
        truth[f"KAPPA_BIN{k + 1}"] = kappa[k]
    write_map_store(path, columns, ordering="ring", facts={"seed": seed})
    write_map_store(f"{path}.truth.zarr", truth, ordering="ring")
    top = np.argsort(-(maps.shares @ kappa))[:300:3]
    ra, dec = hp.pix2ang(NSIDE, top, lonlat=True)
    table = {"halo_id": np.arange(100), "ra_deg": ra, "dec_deg": dec}
    table |= {"redshift": np.linspace(0.11, 0.59, 100), "m200c_msun": np.geomspace(2e14, 9e14, 100)}
    pq.write_table(
        pa.table(table | {"theta200_arcmin": np.full(100, 6.0)}), f"{path}.haloes.parquet"
    )
    return path


def write_oracle(sky, folder):
    """A result that is the truth: its map and its peaks are right."""
    store, truth = SkyMapStore.open(sky), SkyMapStore.open(f"{sky}.truth.zarr")
    weight = [store.read(f"WEIGHT_BIN{k}", "ring") for k in (1, 2)]
    shares = np.sum(weight, axis=1) / np.sum(weight)
    kappa = shares @ [truth.read(f"KAPPA_BIN{k}", "ring") for k in (1, 2)]
    identity = MassIdentity("oracle", store.fingerprint, "0" * 64)
    error = 1e-3 * np.random.default_rng(0).normal(size=kappa.shape)
    seen = weight[0] > 0
    write_mass_map(folder, MassMap(kappa + error, 0 * kappa + 1e-3, "oracle"), identity, seen=seen)
    haloes = pq.read_table(f"{sky}.haloes.parquet")
    ra, dec = (haloes[name].to_numpy() for name in ("ra_deg", "dec_deg"))
    ones = np.ones(len(ra))
    write_peaks(folder, Peaks(ra, dec, ones, ones, ones, ones, "oracle"), identity, searched=seen)
    return folder


def write_false_peaks(control, folder):
    """Two peaks that the oracle claims to see in a sky without mass."""
    two, identity = np.ones(2), MassIdentity("oracle", control.fingerprint, "0" * 64)
    peaks = Peaks(two, two, 9 * two, two, two, two, "oracle")
    write_peaks(folder, peaks, identity, searched=EVERYWHERE)
    return folder


def test_skies_are_evaluated_into_a_folder(skies, tmp_path):
    scored = [write_oracle(sky, tmp_path / f"oracle{k}") for k, sky in enumerate(skies)]
    control = write_control_sky(skies[0], "rotated", tmp_path / "control.zarr")
    scored.append(write_false_peaks(control, tmp_path / "false"))
    figures = evaluate_skies(
        skies,
        tmp_path / "out",
        scored=scored,
        controls=[control.path],
        settings=SETTINGS,
        radius_arcmin=50,
    )
    methods = figures["methods"]
    assert list(methods) == ["kaiser-squires", "wiener", "matched-filter", "oracle"]
    wiener, oracle = methods["wiener"]["map"], methods["oracle"]["map"]
    assert wiener["mse"]["value"] < methods["kaiser-squires"]["map"]["mse"]["value"]
    assert wiener["chi_squared"]["value"] == pytest.approx(1, abs=0.15)
    assert oracle["mse"]["value"] == pytest.approx(1e-6, rel=0.02)
    assert oracle["within_1_sigma"]["value"] == pytest.approx(0.683, abs=0.01)
    assert min(band["value"] for band in oracle["r_ell"][:8]) > 0.99
    found = methods["oracle"]["haloes"]["at_false_per_sq_deg"]["0.1"]
    assert found["completeness"]["value"] == 1
    assert found["false_peaks"]["n"] == 0
    assert found["controls"]["rotated"]["n"] == 2
    filtered = methods["matched-filter"]["haloes"]["at_false_per_sq_deg"]["0.1"]
    assert filtered["controls"].keys() == {"rotated", "noise"}
    assert figures["paired"]["wiener"]["oracle"]["r_ell_gain"]["low"] > 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "sky_evaluation.json",
        "sky_evaluation.txt",
        "map_wiener.png",
        "correlation.png",
    } < written
    assert json.loads((tmp_path / "out" / "sky_evaluation.json").read_text())["n_skies"] == 2
    assert "oracle" in (tmp_path / "out" / "sky_evaluation.txt").read_text()


def test_a_prior_of_the_sky_itself_is_refused(skies, tmp_path):
    with pytest.raises(SkyEvaluationError, match=r"measured on .*sky1.zarr itself"):
        evaluate_skies(skies, tmp_path, prior=measure_prior(skies[:1]))
    with pytest.raises(SkyEvaluationError, match="one sky alone has no prior"):
        evaluate_skies(skies[:1], tmp_path)


def test_a_control_of_another_sky_is_refused(skies, tmp_path):
    store = write_control_sky(skies[1], "noise", tmp_path / "noise.zarr", seed=4)
    weight = store.read("WEIGHT_BIN1", "ring")
    scaled = store.read("G1_BIN1", "ring") * np.sqrt(weight)
    assert np.nanstd(scaled[weight > 0]) == pytest.approx(1, abs=0.03)
    with pytest.raises(SkyEvaluationError, match="no control of the skies evaluated"):
        evaluate_skies(skies[:1], tmp_path, controls=[store.path], prior=measure_prior(skies[1:]))
    with pytest.raises(SkyEvaluationError, match="must be one of"):
        write_control_sky(skies[1], "upside-down", tmp_path / "none.zarr")


def test_results_of_another_sky_are_refused(skies, tmp_path):
    folder = write_oracle(skies[1], tmp_path / "other")
    with pytest.raises(SkyEvaluationError, match="none of the 1 skies evaluated"):
        evaluate_skies(skies[:1], tmp_path, scored=[folder], prior=measure_prior(skies[1:]))


def test_a_map_of_noise_correlates_with_nothing():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, len(EVERYWHERE)))
    edges = band_edges(60)
    mass = MassMap(first, np.ones(len(first)), "noise")
    quality = map_quality(mass, second, EVERYWHERE, edges)
    assert np.abs(quality.correlation).max() < 0.25
    assert quality.mse == pytest.approx(2, rel=0.03)
    assert map_quality(mass, first, EVERYWHERE, edges).correlation.min() > 1 - 1e-9
    assert map_quality(mass, -first, EVERYWHERE, edges).correlation.max() < -1 + 1e-9


@pytest.mark.parametrize(
    ("kappa", "compared", "message"),
    [
        (np.zeros(48), EVERYWHERE, "must be of one nside"),
        (np.zeros(len(EVERYWHERE)), ~EVERYWHERE, "every pixel is masked"),
        (np.full(len(EVERYWHERE), np.nan), EVERYWHERE, "must be finite"),
    ],
)
def test_maps_that_cannot_be_compared(kappa, compared, message):
    mass = MassMap(kappa, np.ones(kappa.shape), "bad")
    with pytest.raises(SkyEvaluationError, match=message):
        map_quality(mass, np.zeros(len(EVERYWHERE)), compared, [2, 10])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_matching_is_larger_by_much_and_none_is_out_of_reach(seed):
    rng = np.random.default_rng(seed)
    n_peaks, n_haloes = rng.integers(1, 12, size=2)
    peaks, haloes = rng.uniform(0, 0.3, (n_peaks, 2)), rng.uniform(0, 0.3, (n_haloes, 2))
    found = match_one_to_one(
        *peaks.T, rng.normal(size=n_peaks), *haloes.T, rng.normal(size=n_haloes), 4.0
    )
    matched = found[found >= 0]
    assert len(set(matched)) == len(matched)
    near = np.hypot(*(peaks[:, None] - haloes[None]).T).T < 4 / 60
    rows, columns = linear_sum_assignment(near, maximize=True)
    most = near[rows, columns].sum()
    # greedy matching is at least half of the largest, and never beyond it
    assert most / 2 <= len(matched) <= most
    assert all(near[peak, halo] for peak, halo in enumerate(found) if halo >= 0)


def test_the_best_peak_takes_the_most_massive_halo():
    found = match_one_to_one([0, 0.01], [0, 0], [1.0, 5.0], [0, 0.005], [0, 0], [9e14, 2e14], 2.0)
    assert found.tolist() == [1, 0]
    # whatever lies lower in the list
    assert match_one_to_one([0.01], [0], [5.0], [0, 0.005], [0, 0], [9e14, 2e14], 2.0).tolist() == [
        0
    ]


def test_completeness_at_a_density_of_false_peaks():
    scores = np.arange(10.0)
    sky = JudgedPeaks(
        scores=scores,
        false=scores % 2 == 0,
        found_at=np.array([9.0, 7.0, 3.0, -np.inf]),
        mass=np.array([1e15, 3e14, 2e14, 2e14]),
        redshift=np.full(4, 0.3),
        area_sq_deg=10.0,
    )
    threshold = threshold_at_density(scores[sky.false], sky.area_sq_deg, 0.2)
    assert (scores[sky.false] >= threshold).sum() == 2
    assert 4 < threshold < 6
    assert completeness([sky], threshold).value == 0.5
    assert completeness([sky, sky], threshold, mass=(5e14, np.inf)).n == 2
    assert np.isnan(threshold_at_density(scores[sky.false], 10.0, 0.9))


def test_a_sky_without_haloes_has_no_completeness():
    nothing = np.zeros(0)
    sky = JudgedPeaks(np.arange(3.0), np.ones(3, bool), nothing, nothing, nothing, 10.0)
    figures = summarise([{"finder": MethodResult(peaks=sky)}], edges=[2, 10])
    at = figures["finder"]["haloes"]["at_false_per_sq_deg"]["0.1"]
    assert at["completeness"]["value"] is None
    assert at["false_peaks"]["n"] == 1
    assert completeness_png(figures).startswith(b"\x89PNG")


def test_targets_and_what_may_be_found():
    targets = HaloTargets()
    mass, redshift = np.array([3e14, 3e14, 1.5e14, 5e13]), np.array([0.3, 0.8, 0.3, 0.3])
    assert targets.targets(mass, redshift).tolist() == [True, False, False, False]
    assert targets.real(mass, redshift).tolist() == [True, True, True, False]
    strict = HaloTargets(real_msun=np.inf)
    assert strict.real(mass, redshift).tolist() == [True, False, False, False]


def test_intervals():
    assert poisson_density(0, 10.0)["high"] == pytest.approx(0.36889, rel=1e-4)
    one = across_skies([0.5])
    assert one["scatter"] is None
    assert one["value"] == 0.5
    three = across_skies([1.0, 2.0, 3.0])
    assert (three["low"], three["high"]) == pytest.approx((-0.48414, 4.48414), abs=1e-4)
