"""Bands on two pixel grids, as challenge 2.0 has them: synthetic files of its documented layout."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from equilens.pipeline.errors import RejectedObject, SurveyError
from equilens.pipeline.ingest import ingest
from equilens.pipeline.noise import background_noise
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys.bologna2 import bologna2, bologna2_nir, bologna2_vis
from equilens.pipeline.surveys.check import check_survey
from equilens.pipeline.surveys.conformance import SurveyConformance

SIGMA = {"VIS": 8e-13, "J": 2e-11, "Y": 3e-11, "H": 4e-11}
SIDES = {"VIS": 200, "J": 66, "Y": 66, "H": 66}
NJY = 3.631e12


class TestVisAlone(SurveyConformance):
    survey = bologna2_vis()


class TestNirAlone(SurveyConformance):
    survey = bologna2_nir()


def gaussian(side, scale, shift_arcsec=(0.0, 0.0), width_arcsec=0.8):
    """A source of unit flux at an offset from the geometric centre, sampled at pixel centres."""
    axis = (np.arange(side) - (side - 1) / 2) * scale
    y, x = np.meshgrid(axis, axis, indexing="ij")
    dy, dx = shift_arcsec
    light = np.exp(-((y - dy) ** 2 + (x - dx) ** 2) / (2 * width_arcsec**2))
    return light / light.sum()


def write_object(root, name, seed=0, flux=3e-9, shift=(0.0, 0.0), **sides):
    rng = np.random.default_rng(seed)
    for band, side in {**SIDES, **sides}.items():
        folder = root / "Public" / f"EUC_{band}"
        folder.mkdir(parents=True, exist_ok=True)
        scale = 0.1 if band == "VIS" else 0.3
        pixels = flux * gaussian(side, scale, shift) + rng.normal(0, SIGMA[band], (side, side))
        fits.writeto(folder / f"imageEUC_{band}-{name}.fits", pixels.astype(">f4"))


def only(survey, source):
    (ref,) = survey.discover(source)
    return survey.read(ref)


@pytest.mark.parametrize("make", [bologna2, bologna2_vis, bologna2_nir])
def test_definitions_say_that_they_are_untried(make):
    survey = make()
    assert "untried" in survey.title
    assert "untried" in survey.version
    assert not [finding for finding in check_survey(survey) if finding.level == "error"]


def test_flux_and_position_survive_the_coarse_pixels(tmp_path):
    shift = (1.2, -2.1)
    write_object(tmp_path, "7", flux=1e-6, shift=shift)
    raw = only(bologna2(), tmp_path)
    assert raw.images.shape == raw.mask.shape == raw.rms.shape == (4, 200, 200)
    assert raw.band_present.all()
    axis = (np.arange(200) - 99.5) * 0.1
    for band, image in enumerate(raw.images):
        light = np.where(raw.mask[band], 0, image).astype(float)
        assert light.sum() == pytest.approx(1e-6, rel=0.01)
        light[light < 0.01 * light.max()] = 0
        assert (light.sum(1) @ axis) / light.sum() == pytest.approx(shift[0], abs=0.02)
        assert (light.sum(0) @ axis) / light.sum() == pytest.approx(shift[1], abs=0.02)


def test_each_coarse_pixel_is_shared_by_nine_fine_ones(tmp_path):
    write_object(tmp_path, "7")
    raw, nir = only(bologna2(), tmp_path), only(bologna2_nir(), tmp_path)
    blocks = raw.images[1:, 1:199, 1:199].reshape(3, 66, 3, 66, 3)
    assert np.array_equal(blocks, np.broadcast_to(blocks[:, :, :1, :, :1], blocks.shape))
    np.testing.assert_allclose(blocks.sum(axis=(2, 4)), nir.images, rtol=1e-6)
    edge = np.ones((200, 200), bool)
    edge[1:199, 1:199] = False
    assert np.array_equal(raw.mask[1], edge)
    assert not raw.mask[0].any()


def test_noise_is_that_of_the_coarse_pixels(tmp_path):
    for k in range(4):
        write_object(tmp_path, str(k), seed=k)
    ingest(tmp_path, bologna2(), tmp_path / "c.zarr", workers=1)
    store = CutoutStore(tmp_path / "c.zarr")
    batch = store.read(slice(0, 4))
    assert store.shape == (197, 197)
    assert not batch.mask.any(), "the field is the largest that all bands cover"
    wanted = np.array([SIGMA["VIS"], *(SIGMA[band] / 9 for band in "JYH")]) * NJY
    np.testing.assert_allclose(np.median(batch.noise_njy, axis=0), wanted, rtol=0.06)
    # negative control: repeated pixels hide their noise from an estimate on the fine grid
    naive = np.median(background_noise(batch.images, batch.mask), axis=0)
    assert (naive[1:] < 0.9 * wanted[1:]).all()


def test_each_half_alone(tmp_path):
    write_object(tmp_path, "7")
    for survey, shape in ((bologna2_vis(), (1, 199, 199)), (bologna2_nir(), (3, 65, 65))):
        ingest(tmp_path, survey, tmp_path / f"{survey.name}.zarr", workers=1)
        batch = CutoutStore(tmp_path / f"{survey.name}.zarr").read(slice(0, 1))
        assert batch.images.shape[1:] == shape
        sigma = [SIGMA[band] * NJY for band in survey.band_names]
        np.testing.assert_allclose(batch.noise_njy[0], sigma, rtol=0.15)


def test_what_does_not_fit_is_rejected_by_name(tmp_path):
    write_object(tmp_path, "odd", J=67, Y=67, H=67)
    (ref,) = bologna2().discover(tmp_path)
    with pytest.raises(RejectedObject, match="both sides must be even or both odd"):
        bologna2().read(ref)
    write_object(tmp_path / "b", "lost")
    next((tmp_path / "b").rglob("*_Y-lost*")).unlink()
    (ref,) = bologna2().discover(tmp_path / "b")
    with pytest.raises(RejectedObject, match="Y missing") as error:
        bologna2().read(ref)
    assert error.value.rule == "missing-band"


def test_a_plain_survey_of_four_bands_refuses_two_grids(tmp_path):
    """Negative control: what the halves are for."""
    write_object(tmp_path, "7")
    vis, nir = bologna2_vis(), bologna2_nir()
    plain = replace(vis, bands=vis.bands + nir.bands)
    (ref,) = plain.discover(tmp_path)
    with pytest.raises(RejectedObject, match="bring all bands to one pixel grid"):
        plain.read(ref)


def test_halves_must_fit_and_survive_a_pickle():
    survey = bologna2()
    assert pickle.loads(pickle.dumps(survey)) == survey
    assert survey.factor == 3
    with pytest.raises(SurveyError, match="its halves have"):
        replace(survey, bands=survey.bands[::-1])
    with pytest.raises(SurveyError, match="whole number of times"):
        replace(survey, coarse=replace(survey.coarse, pixel_scale_arcsec=0.25))
    with pytest.raises(SurveyError, match="needs a fine and a coarse half"):
        replace(survey, coarse=None)
