"""PSFs given as images, residual skies and what no mask tells of."""

import dataclasses

import numpy as np
import pytest
import torch
from astropy.io import fits

from equilens.pipeline.simulation.artefacts import add_residual_sky, add_unmasked_defects
from equilens.pipeline.simulation.conditions import SurveyConditions
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.exposure import draw_exposure, prepare
from equilens.pipeline.simulation.psf import core_and_wing, psf_kernel
from equilens.pipeline.simulation.psf_images import (
    half_maximum_width,
    load_psf_images,
    stretched_kernels,
)
from equilens.pipeline.simulation.simulate import simulate_batch

NO_SHEAR = (torch.zeros(1), torch.zeros(1))


def _gaussian(fwhm, side=41):
    axis = np.arange(side) - side // 2
    image = np.exp(-4 * np.log(2) * (axis**2 + axis[:, None] ** 2) / fwhm**2)
    return (image / image.sum()).astype(np.float32)


@pytest.mark.parametrize("fwhm", [3.0, 6.0])
def test_a_gaussian_image_gives_the_gaussian_kernel(fwhm):
    kernel = stretched_kernels(_gaussian(fwhm), torch.ones(1), NO_SHEAR, 33)[0]
    closed = psf_kernel(torch.tensor([fwhm]), *NO_SHEAR, 33)[0]
    assert float(kernel.sum()) == pytest.approx(1)
    assert float((kernel - closed).abs().max()) < 0.03 * float(closed.max())


def test_stretching_widens_the_image():
    stretch = torch.tensor([1.0, 1.3])
    both = stretched_kernels(_gaussian(5.0), stretch, (torch.zeros(2), torch.zeros(2)), 41)
    narrow, wide = (half_maximum_width(k.numpy()) for k in both)
    assert wide / narrow == pytest.approx(1.3, rel=0.03)


def test_images_are_read_from_arrays_and_files(tmp_path):
    image = _gaussian(4.0)
    np.save(tmp_path / "psf.npy", image)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(3 * image, name="VIS_PSF")]
    fits.HDUList(hdus).writeto(tmp_path / "psf.fits")
    sources = (image, tmp_path / "psf.npy", f"{tmp_path / 'psf.fits'}#VIS_PSF")
    for found in load_psf_images(sources, 3):
        np.testing.assert_allclose(found, image, rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((np.ones((9, 9)),), "one image a band, got 1 for 2 bands"),
        ((np.zeros((9, 9)),) * 2, "positive sum"),
        ((np.ones(9),) * 2, "must be 2-D"),
        ((np.eye(9)[:, ::-1] + np.eye(9)[0],) * 2, "on its edge"),
    ],
)
def test_unusable_images_are_refused(images, message):
    with pytest.raises(SimulationError, match=message):
        load_psf_images(images, 2)


def test_given_psfs_are_what_stars_show(survey):
    images = tuple(_gaussian(f) for f in (3.0, 4.0, 5.0, 6.0))
    conditions = SurveyConditions(psf_images=images, psf_scatter=0.0, psf_ellipticity=0.0)
    setting = prepare(survey, conditions, "cpu")
    exposure = draw_exposure(np.random.default_rng(1), setting)
    size = setting.transform_size
    kernels = torch.fft.irfft2(exposure.transfer, s=(size, size))
    centred = torch.roll(kernels, (20, 20), dims=(-2, -1))[0, :, :41, :41]
    for fwhm, kernel in zip((3.0, 4.0, 5.0, 6.0), centred, strict=True):
        pixel = 8 * np.log(2) / 12
        expected = np.sqrt(fwhm**2 - pixel)
        assert half_maximum_width(kernel.numpy()) == pytest.approx(expected, rel=0.04)


def test_wings_move_their_share_of_the_light():
    core = psf_kernel(torch.tensor([3.0]), *NO_SHEAR, 61)
    wing = psf_kernel(torch.tensor([12.0]), *NO_SHEAR, 61)
    both = core_and_wing(core, wing, torch.tensor([0.2]))[0]
    assert float(both.sum()) == pytest.approx(1)
    far = torch.ones(61, 61, dtype=torch.bool)
    far[25:36, 25:36] = False
    assert float(both[far].sum()) == pytest.approx(0.2 * float(wing[0][far].sum()), rel=0.01)


def test_residual_skies_have_the_asked_for_level_and_slope():
    images, noise = torch.zeros(400, 2, 11, 21), np.full((400, 2), 3.0)
    conditions = SurveyConditions(sky_offset=0.2, sky_gradient=0.5)
    add_residual_sky(np.random.default_rng(2), images, noise, conditions)
    assert float(images[:, :, 5, 10].std()) == pytest.approx(0.6, rel=0.1)
    rise = images[:, :, 5, 20] - images[:, :, 5, 10]
    assert float(rise.std()) == pytest.approx(1.5, rel=0.1)
    # a plane: the middle of two opposite points is the centre
    middle = 0.5 * (images[:, :, 0, 0] + images[:, :, -1, -1])
    torch.testing.assert_close(middle, images[:, :, 5, 10], atol=1e-4, rtol=0)


def test_unmasked_defects_stand_out_of_the_noise():
    images, noise = torch.zeros(200, 3, 31, 31), np.full((200, 3), 2.0)
    add_unmasked_defects(np.random.default_rng(3), images, noise, 0.5)
    hit = images.abs().amax(dim=(1, 2, 3)) > 0
    assert 0.6 < float(hit.float().mean()) < 0.9
    assert float(images.max()) > 20
    # one band each, so two at most where both kinds strike
    bands = (images.abs().amax(dim=(2, 3)) > 0).sum(dim=1)
    assert int(bands.max()) <= 2
    clean = torch.zeros(20, 3, 31, 31)
    add_unmasked_defects(np.random.default_rng(3), clean, noise[:20], 0.0)
    assert not clean.any()


def test_noise_of_a_pixel_is_what_a_pixel_scatters_by(survey):
    quiet = SurveyConditions(
        depth_scatter=0.0,
        sky_offset=0.0,
        sky_gradient=0.0,
        artefact_probability=0.0,
        lens_mag_limit=40.0,
        galaxy_dispersion=(30.0, 40.0),
        noise_correlation_pixels=(0.35,),
        missing_band_probability=0.0,
        defect_probability=0.0,
        bright_star_probability=0.0,
    )
    spreads = {}
    for of_pixel in (True, False):
        conditions = dataclasses.replace(quiet, noise_of_pixel=of_pixel)
        batch = simulate_batch(survey, 64, 4, conditions=conditions, lens_fraction=0.0)
        low, high = np.percentile(batch.images[:, 3, ::4, ::4], [15.87, 50])
        spreads[of_pixel] = (high - low) / batch.noise_njy[0, 3]
    assert spreads[True] == pytest.approx(1.0, abs=0.06)
    assert spreads[False] < 0.85
