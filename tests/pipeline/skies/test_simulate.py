"""Whole skies: power, seeds, files, and what can not be simulated."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path

import healpy as hp
import numpy as np
import pyarrow.parquet as pq
import pytest

from equilens.pipeline import skies
from equilens.pipeline.errors import MapPixelError, MapStatementError, StoreError
from equilens.pipeline.skies.cosmology import Cosmology
from equilens.pipeline.skies.errors import MissingExtraError, SkyError
from equilens.pipeline.skies.halo_power import HaloPower
from equilens.pipeline.skies.matter_power import matter_power
from equilens.pipeline.skies.settings import SkySettings
from equilens.pipeline.skies.simulate import SimulatedSky, SkySimulator, simulate_sky
from equilens.pipeline.skies.sky_files import haloes_path, spectra_path, truth_path
from equilens.pipeline.skies.sources import source_sample
from equilens.pipeline.skies.spectra import convergence_spectra
from equilens.pipeline.skies.survey_masks import WHOLE_SKY
from equilens.pipeline.skymaps import SkyMapStore
from equilens.pipeline.skymaps.writer import write_map_store


@pytest.fixture(scope="module")
def sky(simulator: SkySimulator) -> SimulatedSky:
    return simulator.draw(7)


def band_power(kappa: np.ndarray, lmax: int) -> float:
    """Sum of (2ℓ + 1) C_ℓ over ℓ = 8..lmax."""
    power = hp.anafast(kappa.astype(float), lmax=lmax, iter=3)
    ell = np.arange(8, lmax + 1)
    return float(np.sum((2 * ell + 1) * power[8:]))


def expected_power(simulator: SkySimulator, k: int, lmax: int) -> float:
    ell = np.arange(8, lmax + 1)
    power = simulator.kappa_spectra[k, k] * simulator._pixel_window**2
    return float(np.sum((2 * ell + 1) * power[8 : lmax + 1]))


def test_power_of_a_sky_is_that_of_all_matter(simulator: SkySimulator, sky: SimulatedSky):
    lmax = simulator.settings.nside
    for k in range(2):
        ratio = band_power(sky.kappa[k], lmax) / expected_power(simulator, k, lmax)
        # a thousand modes of a skewed field, weighted to the smallest scales
        assert ratio == pytest.approx(1, abs=0.15)


def test_power_counted_twice_is_caught(simulator: SkySimulator, sky: SimulatedSky):
    settings, lmax = simulator.settings, simulator.settings.nside
    doubled = SkySimulator(settings, simulator._cache)
    # as if haloes were painted on all of the matter; the same seed leaves no other difference
    nothing = np.zeros_like(simulator.halo_power.one_halo)
    doubled.__dict__["halo_power"] = HaloPower(nothing, nothing)
    found = band_power(doubled.draw(7).kappa[1], lmax) / band_power(sky.kappa[1], lmax)
    matter, haloes = simulator.matter_spectra.copy(), simulator.halo_power
    matter[:, 0] = matter[:, 0] * (1 + haloes.response) ** 2 + haloes.one_halo
    doubled.__dict__["kappa_spectra"] = convergence_spectra(matter, simulator.lensing_weights)
    foretold = expected_power(doubled, 1, lmax) / expected_power(simulator, 1, lmax)
    assert found > 1.05
    assert found == pytest.approx(foretold, abs=0.04)


@pytest.mark.slow
def test_power_of_a_fine_sky_is_that_of_all_matter(power_cache: Path):
    simulator = SkySimulator(SkySettings(nside=128, mask=WHOLE_SKY), power_cache)
    kappa = simulator.draw(0).kappa
    for k in range(2):
        ratio = band_power(kappa[k], 128) / expected_power(simulator, k, 128)
        assert ratio == pytest.approx(1, abs=0.06)


def test_gaussian_sky_has_the_same_power_and_only_shear(
    simulator: SkySimulator, small_settings: SkySettings, power_cache: Path
):
    settings = replace(small_settings, gaussian=True)
    gaussian = SkySimulator(settings, power_cache)
    sky = gaussian.draw(1)
    lmax = settings.nside
    assert band_power(sky.kappa[1], lmax) / expected_power(simulator, 1, lmax) == pytest.approx(
        1, abs=5 * (2 / lmax**2) ** 0.5
    )
    assert len(sky.haloes) == 0
    e_mode, b_mode = hp.map2alm_spin(sky.observed.shear[1].astype(float), 2, lmax)
    noise = hp.alm2cl(b_mode)[8:].mean()
    area = hp.nside2pixarea(settings.nside) / sky.observed.weights[1].mean()
    assert noise == pytest.approx(area, rel=0.15)
    # E modes hold convergence: the mean of their product with the truth's is positive
    truth = hp.map2alm(sky.kappa[1].astype(float), lmax=lmax)
    assert hp.alm2cl(e_mode, truth)[8:].mean() > 0.8 * hp.alm2cl(truth)[8:].mean()


def test_convergence_has_no_mean_and_haloes_show(simulator: SkySimulator, sky: SimulatedSky):
    assert (np.abs(sky.kappa.mean(axis=1)) < 0.01 * sky.kappa.std(axis=1)).all()
    heaviest = np.argsort(sky.haloes.m200c_msun)[-200:]
    pixels = hp.ang2pix(32, sky.haloes.theta[heaviest], sky.haloes.phi[heaviest])
    assert sky.kappa[1, pixels].mean() > 0.5 * sky.kappa[1].std()


def test_same_seed_same_pixels(simulator: SkySimulator, sky: SimulatedSky):
    again, other = simulator.draw(7), simulator.draw(8)
    np.testing.assert_array_equal(sky.observed.shear, again.observed.shear)
    np.testing.assert_array_equal(sky.kappa, again.kappa)
    np.testing.assert_array_equal(sky.haloes.phi, again.haloes.phi)
    assert not np.array_equal(sky.kappa, other.kappa)


def test_observed_shear_is_that_of_the_truth(simulator: SkySimulator, sky: SimulatedSky):
    lmax = 64
    truth = hp.map2alm(sky.kappa[1].astype(float), lmax=lmax)
    e_mode, b_mode = hp.map2alm_spin(sky.observed.shear[1].astype(float), 2, lmax)
    own = hp.alm2cl(truth)[8:].mean()
    assert hp.alm2cl(e_mode, truth)[8:].mean() == pytest.approx(own, rel=0.15)
    assert abs(hp.alm2cl(b_mode, truth)[8:].mean()) < 0.15 * own


def test_a_sky_on_disk(simulator: SkySimulator, sky: SimulatedSky, tmp_path: Path):
    out = tmp_path / "sky.zarr"
    store = simulate_sky(simulator, 7, out)
    assert (store.frame, store.nside) == ("icrs", 32)
    assert store.columns[:4] == ("G1_BIN1", "G2_BIN1", "COUNT_BIN1", "WEIGHT_BIN1")
    assert (store.spins["G1_BIN2"], store.spins["WEIGHT_BIN2"]) == (2, 0)
    facts = store.manifest["sky"]
    assert (facts["n_bins"], facts["seed"], facts["sigma_e"]) == (2, 7, 0.26)
    truth = SkyMapStore.open(truth_path(out))
    assert truth.columns == ("KAPPA_BIN1", "KAPPA_BIN2")
    haloes = pq.read_table(haloes_path(out))
    assert {"halo_id", "ra_deg", "dec_deg", "redshift", "m200c_msun", "theta200_arcmin"} <= set(
        haloes.column_names
    )
    assert haloes["m200c_msun"].to_numpy().min() >= 5e14 * (1 - 1e-6)
    spectra = pq.read_table(spectra_path(out))
    np.testing.assert_allclose(spectra["cl_1_2"].to_numpy(), simulator.kappa_spectra[0, 1])
    ring, nested = (store.read("COUNT_BIN1", ordering) for ordering in ("ring", "nested"))
    np.testing.assert_array_equal(hp.reorder(ring, r2n=True), nested)
    np.testing.assert_array_equal(ring, sky.observed.counts[0])
    for k, shear in enumerate(sky.observed.shear, start=1):
        written = [store.read(f"{name}_BIN{k}", "ring") for name in ("G1", "G2")]
        np.testing.assert_array_equal(written, shear)
    assert not store.verify()
    with pytest.raises(StoreError, match="add --replace"):
        simulate_sky(simulator, 7, out)


def test_an_interrupted_sky_is_no_sky(
    simulator: SkySimulator, sky: SimulatedSky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(simulator, "draw", lambda *_: sky)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("equilens.pipeline.skymaps.writer.write_json_atomic", fail)
        with pytest.raises(KeyboardInterrupt):
            simulate_sky(simulator, 7, tmp_path / "sky.zarr")
    with pytest.raises(StoreError):
        SkyMapStore.open(tmp_path / "sky.zarr")
    assert simulate_sky(simulator, 7, tmp_path / "sky.zarr").nside == 32


def test_masked_values_of_a_written_map(tmp_path: Path):
    values = np.arange(12 * 4**2, dtype=np.float32)
    values[5] = np.nan
    store = write_map_store(tmp_path / "a.zarr", {"KAPPA": values}, ordering="ring")
    np.testing.assert_array_equal(store.read("KAPPA", "ring"), values)
    assert store.column("KAPPA").n_masked == 1


@pytest.mark.parametrize(
    ("columns", "options", "error", "message"),
    [
        ({"A": np.zeros(100)}, {"ordering": "ring"}, MapPixelError, "got 100"),
        ({"A": np.zeros(12), "B": np.zeros(48)}, {"ordering": "ring"}, MapPixelError, "one shape"),
        ({"A": np.zeros(12)}, {"ordering": "Ring"}, MapStatementError, "got 'Ring'"),
        (
            {"A": np.zeros(12)},
            {"ordering": "ring", "frame": "fk4"},
            MapStatementError,
            "frame must be one of",
        ),
    ],
)
def test_maps_that_are_no_sky(columns, options, error, message, tmp_path: Path):
    with pytest.raises(error, match=message):
        write_map_store(tmp_path / "a.zarr", columns, **options)
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nside": 48}, "power of two in 16..2048, got 48; nearest are 32 and 64"),
        ({"nside": 4096}, "got 4096"),
        ({"cosmology": "eds"}, "cosmology must be one of .*, got 'eds'"),
        ({"multiplicative_bias": (0.1, 0.1, 0.1)}, "1 value or one for each of 2 bins, got 3"),
        ({"multiplicative_bias": (0.9,)}, "must lie in -0.5..0.5"),
    ],
)
def test_impossible_settings(changes: dict, message: str):
    with pytest.raises(SkyError, match=message):
        SkySettings(**changes)


def test_settings_know_when_they_differ():
    first = SkySettings()
    assert first.fingerprint == SkySettings().fingerprint
    others = ({"nside": 256}, {"gaussian": True}, {"sources": source_sample("des", 1)})
    assert len({first.fingerprint, *(SkySettings(**o).fingerprint for o in others)}) == 4


def test_without_the_extra_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planck: Cosmology
):
    monkeypatch.setitem(sys.modules, "camb", None)
    with pytest.raises(MissingExtraError, match=r"needs camb: .*equilens\[skies\]"):
        matter_power(planck, tmp_path)
    monkeypatch.setitem(sys.modules, "glass", None)
    with pytest.raises(MissingExtraError, match=r"needs glass: .*equilens\[skies\]"):
        SkySimulator(SkySettings(nside=16)).draw(0)


def test_import_needs_no_extra():
    folder = Path(skies.__path__[0])
    for file in [*folder.glob("*.py"), *folder.parents[1].glob("tasks/**/sky_simulate.py")]:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(a.name for a in node.names)]
                roots = {name.split(".")[0] for name in names}
                assert not roots & {"camb", "glass", "colossus"}, file


def test_negative_seed(simulator: SkySimulator):
    with pytest.raises(SkyError, match="seed must be 0 or more, got -1"):
        simulator.draw(-1)
