import dataclasses

import numpy as np
import pyarrow.csv
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from sklearn.metrics import roc_auc_score

from equilens.pipeline.simulation.conditions import (
    NON_LENS_CLASSES,
    SurveyConditions,
    detection_band,
    survey_conditions,
)
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.exposure import CHUNK
from equilens.pipeline.simulation.noise import pixel_scatter_ratio
from equilens.pipeline.simulation.simulate import simulate_batch, simulate_store
from equilens.pipeline.simulation.truth import SCENE_COLUMNS, TRUTH_COLUMNS


@pytest.fixture(scope="module")
def batch(survey):
    return simulate_batch(survey, 512, 11)


def _central_flux(batch, radius=10):
    side = batch.images.shape[-1]
    y, x = np.ogrid[:side, :side]
    near = np.hypot(y - side // 2, x - side // 2) < radius
    return batch.images[:, 0][:, near].sum(axis=1)


def test_a_batch_is_complete(batch, survey):
    assert batch.images.shape == (512, 4, 61, 61)
    assert batch.images.dtype == np.float32
    assert np.isfinite(batch.images).all()
    assert set(batch.columns) == {*TRUTH_COLUMNS, *SCENE_COLUMNS}
    assert len(set(batch.ids)) == 512
    assert batch.ids[0] == "SIM-11-00000000"
    assert not batch.images[batch.mask].any()
    assert np.isnan(batch.noise_njy[~batch.band_present]).all()
    assert batch.mask[~batch.band_present].all()
    assert (~batch.band_present).sum(axis=1).max() <= survey.max_missing_bands
    assert set(batch.noise_method) == {"simulated"}


def test_truth_is_filled_for_lenses_and_only_for_them(batch):
    c, lens = batch.columns, batch.columns["is_lens"] == 1
    assert set(c["object_class"][lens]) == {"lens"}
    assert set(c["object_class"][~lens]) <= set(NON_LENS_CLASSES)
    for name in ("einstein_radius_arcsec", "source_mag", "z_lens", "z_source"):
        assert np.isfinite(c[name][lens]).all()
    assert (c["z_source"][lens] > c["z_lens"][lens]).all()
    assert np.isnan(c["einstein_radius_arcsec"][~lens]).all()
    assert not c["arc_snr"][~lens].any()
    assert not c["arc_flux_njy"][~lens].any()
    assert np.isfinite(c["lens_mag"]).all()
    assert (c["arc_snr"][lens] >= 0.99 * SurveyConditions().arc_snr_min).all()


def test_colours_are_those_of_the_named_bands(batch):
    c, lens = batch.columns, batch.columns["is_lens"] == 1
    assert set(c["band_pair"]) == {"VIS-NIR_H"}
    assert np.isfinite(c["lens_colour"]).all()
    # deflectors are old, most sources young, whatever their redshifts
    assert np.median(c["lens_colour"][lens]) > np.median(c["source_colour"][lens]) + 0.2
    assert set(c["source_kind"][lens]) <= {"smooth", "clumpy", "double", "spiral", "quasar"}
    slope = c["slope"][lens]
    assert np.mean(slope) == pytest.approx(2.05, abs=0.06)
    assert np.std(slope) == pytest.approx(0.15, abs=0.04)
    assert np.isnan(c["slope"][~lens]).all()


def test_objects_do_not_depend_on_the_batch_they_are_made_in(survey, batch):
    start = CHUNK + 5
    again = simulate_batch(survey, 70, 11, first=start)
    expected = batch.take(slice(start, start + 70))
    np.testing.assert_array_equal(again.images, expected.images)
    np.testing.assert_array_equal(again.ids, expected.ids)
    np.testing.assert_array_equal(again.columns["arc_snr"], expected.columns["arc_snr"])
    other = simulate_batch(survey, 8, 12)
    assert not np.array_equal(other.images, batch.images[:8])


def test_class_balance_follows_the_request(survey, batch):
    assert 0.42 < batch.columns["is_lens"].mean() < 0.58
    only = simulate_batch(survey, 64, 1, lens_fraction=0.0, mixture={"ring": 1.0})
    assert set(only.columns["object_class"]) == {"ring"}
    assert simulate_batch(survey, 64, 1, lens_fraction=1.0).columns["is_lens"].all()


def test_background_scatters_as_stated(survey):
    conditions = SurveyConditions(
        depth_scatter=0.3,
        sky_offset=0.0,
        lens_mag_limit=40.0,
        galaxy_dispersion=(30.0, 40.0),
        noise_correlation_pixels=(0.0, 0.0, 0.0, 1.0),
        missing_band_probability=0.0,
        defect_probability=0.0,
    )
    batch = simulate_batch(survey, 192, 4, conditions=conditions, lens_fraction=0.0)
    # differences of neighbouring pixels see little of the smooth light of galaxies
    step = (batch.images[..., 1:] - batch.images[..., :-1]).reshape(192, 4, -1) / 2**0.5
    low, high = np.percentile(step, [15.87, 84.13], axis=2)
    ratio = np.median((high - low) / 2 / batch.noise_njy, axis=0)
    kernel = np.array([1, 4, 6, 4, 1]) / 16  # four passes of equal taps
    neighbour = (kernel[1:] * kernel[:-1]).sum() / (kernel**2).sum()
    expected = [1.0, 1.0, 1.0, pixel_scatter_ratio(1.0) * (1 - neighbour) ** 0.5]
    np.testing.assert_allclose(ratio, expected, rtol=0.04)


@pytest.mark.parametrize("statistic", ["flux", "lens_mag", "masked", "noise", "psf"])
def test_trivial_statistics_do_not_give_the_label_away(batch, statistic):
    values = {
        "flux": _central_flux(batch),
        "lens_mag": batch.columns["lens_mag"],
        "masked": batch.mask.mean(axis=(1, 2, 3)),
        "noise": np.nanmean(batch.noise_njy, axis=1),
        "psf": batch.psf_fwhm_arcsec[:, 0],
    }[statistic]
    assert 0.35 < roc_auc_score(batch.columns["is_lens"], values) < 0.65


def test_arcs_are_what_a_lens_adds(survey):
    """Without sources the same draw is the same galaxy: lens light alone differs by the arc."""
    faint = SurveyConditions(
        arc_snr_min=0.0,
        source_mag_mean=60.0,
        missing_band_probability=0.0,
        defect_probability=0.0,
    )
    bright = dataclasses.replace(faint, source_mag_mean=22.0)
    dark, lit = (
        simulate_batch(survey, 64, 9, lens_fraction=1.0, conditions=c) for c in (faint, bright)
    )
    assert dark.columns["arc_snr"].max() < 1e-6
    difference = (lit.images - dark.images)[:, 0].sum(axis=(1, 2))
    np.testing.assert_allclose(np.median(difference / lit.columns["arc_flux_njy"]), 1.0, atol=0.1)


def test_wcs_header_puts_the_object_at_the_centre_pixel(batch):
    wcs = WCS(fits.Header.fromstring(batch.wcs_header[0], sep="\n"))
    position = wcs.pixel_to_world(30, 30)
    assert position.ra.deg == pytest.approx(batch.ra[0], abs=1e-8)
    assert position.dec.deg == pytest.approx(batch.dec[0], abs=1e-8)
    assert wcs.proj_plane_pixel_scales()[0].to_value("arcsec") == pytest.approx(0.1)


def test_sky_positions_fill_the_sphere_evenly(batch):
    assert np.abs(np.mean(np.sin(np.radians(batch.dec)))) < 0.08
    assert np.mean(np.abs(np.sin(np.radians(batch.dec)))) == pytest.approx(0.5, abs=0.05)


def test_store_holds_the_batch_and_its_truth(survey, tmp_path):
    done = []
    store = simulate_store(survey, 70, 3, tmp_path / "s.zarr", progress=done.append)
    assert store.n_objects == sum(done) == 70
    expected = simulate_batch(survey, 70, 3)
    np.testing.assert_array_equal(store.read_shard(0).images, expected.images)
    truth = pyarrow.csv.read_csv(tmp_path / "s.zarr.truth.csv")
    assert truth["id"].to_pylist() == list(expected.ids)
    assert truth["is_lens"].to_pylist() == list(expected.columns["is_lens"])


def test_detection_band_is_the_deepest_for_galaxies():
    assert detection_band(("u", "g", "r", "i", "z", "y")) == 3
    assert detection_band(("VIS", "Y", "J", "H")) == 0
    assert detection_band(("K",)) == 0


def test_unknown_surveys_get_default_conditions():
    assert survey_conditions("no-such-survey") == SurveyConditions()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n": 4, "lens_fraction": 1.5}, r"lens_fraction must lie in \[0, 1\], got 1.5"),
        ({"n": 4, "mixture": {"quasar": 1.0}}, "mixture must give shares"),
    ],
)
def test_impossible_requests_name_what_is_wrong(survey, keywords, message):
    with pytest.raises(SimulationError, match=message):
        simulate_batch(survey, seed=1, **keywords)
