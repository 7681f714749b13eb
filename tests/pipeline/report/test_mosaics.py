import base64
import io

import numpy as np
import pytest
from matplotlib.image import imread

from equilens.pipeline.report.mosaics import (
    MASKED_COLOUR,
    band_wavelengths,
    colour_bands,
    picture,
    png_uri,
)

FOUR = ("VIS", "NIR_Y", "NIR_J", "NIR_H")


def blob(peaks, side=41, noise=1.0, seed=0):
    y, x = np.mgrid[:side, :side] - side // 2
    galaxy = np.exp(-(x**2 + y**2) / 40)
    images = np.random.default_rng(seed).normal(0, noise, (len(peaks), side, side))
    images += np.array(peaks)[:, None, None] * galaxy
    return images.astype(np.float32), np.zeros(images.shape, bool), np.full(len(peaks), noise)


def test_bands_go_from_blue_to_red_by_wavelength():
    present = np.ones(4, bool)
    assert colour_bands("euclid-mer", FOUR, present) == (0, 1, 3)
    # the ground set lists its bands R, I, G, U: blue is U, red is I
    assert colour_bands("bologna-ground", ("R", "I", "G", "U"), present) == (3, 2, 1)
    assert colour_bands("des-cube", ("g", "r", "i", "z", "Y"), np.ones(5, bool)) == (0, 1, 2)


def test_missing_bands_are_not_shown():
    present = np.array([True, False, True, True])
    assert colour_bands("euclid-mer", FOUR, present) == (0, 2, 3)
    assert colour_bands("euclid-mer", FOUR, np.array([False, True, True, False])) == (1,)


def test_an_unknown_survey_keeps_the_order_of_its_bands():
    assert band_wavelengths("no-such-survey", ("a", "b")) == (0.0, 1.0)
    assert colour_bands("no-such-survey", ("a", "b", "c"), np.ones(3, bool)) == (0, 1, 2)


def test_a_galaxy_of_any_colour_is_neutral_and_an_arc_is_not():
    images, mask, noise = blob((900, 300, 100))
    images[0, 28:31, 10:31] += 200  # only in the bluest band
    rgb = picture(images, mask, noise, np.full(3, 2.0), (0, 1, 2))
    assert rgb.shape == (41, 41, 3)
    assert np.ptp(rgb[20, 20]) < 0.05
    row = 41 - 1 - 29  # the first row of the picture is the last of the image
    assert rgb[row, 12, 2] > 1.5 * rgb[row, 12, 0]


def test_one_band_is_grey():
    images, mask, noise = blob((500,))
    rgb = picture(images, mask, noise, np.array([2.0]), (0,))
    assert np.ptp(rgb, axis=-1).max() == 0


def test_a_sharper_band_gives_no_coloured_core():
    y, x = np.mgrid[:41, :41] - 20
    widths = np.array([1.8, 5.0, 5.0])
    sigmas = widths / 2.3548
    images = np.stack([np.exp(-(x**2 + y**2) / (2 * s**2)) / s**2 for s in sigmas]) * 1e4
    noise, mask = np.ones(3), np.zeros(images.shape, bool)
    known = picture(images, mask, noise, widths, (0, 1, 2))[20, 20]
    unknown = picture(images, mask, noise, np.full(3, np.nan), (0, 1, 2))[20, 20]
    assert np.ptp(known) < np.ptp(unknown)


@pytest.mark.parametrize("fill", [0.0, 1e30])
def test_masked_pixels_never_show(fill):
    images, mask, noise = blob((500, 500, 500))
    mask[:, :10] = True
    images[mask] = fill
    rgb = picture(images, mask, noise, np.full(3, 2.0), (0, 1, 2))
    assert (rgb[-10:] == MASKED_COLOUR).all()
    assert np.isfinite(rgb).all()
    assert rgb[20, 20].min() > 0.5


def test_pictures_stay_in_range_without_noise_or_sky():
    images = np.zeros((3, 41, 41), np.float32)
    mask = np.ones(images.shape, bool)
    rgb = picture(images, mask, np.full(3, np.nan), np.full(3, np.nan), (0, 1, 2))
    assert (rgb == MASKED_COLOUR).all()


def test_a_picture_survives_its_address():
    rgb = np.random.default_rng(0).random((5, 7, 3))
    kind, _, data = png_uri(rgb).partition(",")
    assert kind == "data:image/png;base64"
    back = imread(io.BytesIO(base64.b64decode(data)))[..., :3]
    assert np.abs(back - rgb).max() < 1 / 255
