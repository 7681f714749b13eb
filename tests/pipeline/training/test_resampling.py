"""Scale, shift and blur do to pixels what they say, and leave the noise as it is stated."""

import numpy as np
import pytest

from equilens.pipeline.toy import toy_cutouts
from equilens.pipeline.training.augmentation import Augmentation, augment
from equilens.pipeline.training.data import examples
from equilens.pipeline.training.resampling import (
    axis_move,
    cubic_convolution,
    gaussian_kernel,
    resampled,
)

SIDE = 41
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
SILENCE = np.zeros(1, np.float32)


def blob(y=0.0, x=0.0, sigma=3.0):
    image = np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * sigma**2))
    return image[None].astype(np.float32)


def moved(image, scale=1.0, dy=0.0, dx=0.0, blur=0.0, mask=None, noise=SILENCE, seed=0):
    mask = np.zeros(image.shape, bool) if mask is None else mask
    moves = tuple(axis_move(SIDE, scale, shift) for shift in (dy, dx))
    widths = np.full(len(image), blur)
    return resampled(image, mask, noise, moves, widths, np.random.default_rng(seed))


def test_nothing_is_the_identity():
    move = axis_move(SIDE, 1.0, 0.0)
    assert not move.outside.any()
    np.testing.assert_array_equal(move.kept_variance(gaussian_kernel(0.0)), 1)
    np.testing.assert_array_equal(gaussian_kernel(0.0), [1])
    image, mask = moved(blob(), noise=np.ones(1, np.float32))
    np.testing.assert_array_equal(image, blob())
    assert not mask.any()


def test_kept_variance_by_hand():
    half = axis_move(SIDE, 1.0, 0.5).kept_variance(gaussian_kernel(0.0))[10:-10]
    np.testing.assert_allclose(half, 2 * (9**2 + 1) / 16**2, rtol=1e-5)
    wide = axis_move(SIDE, 1.0, 0.0).kept_variance(gaussian_kernel(2.0))[10:-10]
    np.testing.assert_allclose(wide, 1 / (2 * np.sqrt(np.pi) * 2.0), rtol=1e-3)


@pytest.mark.parametrize(("dy", "dx"), [(0.5, 0.0), (-0.25, 0.4), (2.3, -1.7)])
def test_a_shift_moves_the_centre_and_keeps_the_flux(dy, dx):
    image, _ = moved(blob(), dy=dy, dx=dx)
    np.testing.assert_allclose(image, blob(dy, dx), atol=0.004)
    assert image.sum() == pytest.approx(blob().sum(), rel=1e-4)


@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_a_scale_keeps_surface_brightness(scale):
    image, _ = moved(blob(), scale=scale)
    np.testing.assert_allclose(image, blob(sigma=3 * scale), atol=0.004)
    assert image.max() == pytest.approx(1, abs=0.004)
    assert image.sum() == pytest.approx(scale**2 * blob().sum(), rel=3e-3)


def test_a_blur_keeps_the_flux_and_adds_in_quadrature():
    image, _ = moved(blob(), blur=1.2)
    assert image.sum() == pytest.approx(blob().sum(), rel=1e-4)
    width = np.hypot(3.0, 1.2)
    np.testing.assert_allclose(image, (3 / width) ** 2 * blob(sigma=width), atol=0.002)


def test_cubic_convolution_is_exact_for_quadratics():
    offsets = np.linspace(0, 1, 11)
    taps = np.arange(-1, 3)
    weights = cubic_convolution(offsets[:, None] - taps)
    for power in range(3):
        np.testing.assert_allclose(
            weights @ taps.astype(float) ** power, offsets**power, atol=1e-12
        )


@pytest.mark.parametrize("move", [{"dy": 0.5, "dx": 0.5}, {"scale": 1.1}, {"blur": 1.0}])
def test_each_pixel_keeps_the_noise_that_is_stated(move):
    sigma = np.full(1, 5.0, np.float32)
    rng = np.random.default_rng(3)
    skies = [
        moved(rng.normal(0, 5, blob().shape).astype(np.float32), noise=sigma, seed=k, **move)[0]
        for k in range(40)
    ]
    assert np.std(skies) == pytest.approx(5.0, rel=0.02)
    # negative control: without the white noise that is added, it would be less
    quiet = [moved(sky, noise=SILENCE, **move)[0] for sky in skies[:8]]
    assert np.std(quiet) < 4.6


def test_masked_pixels_have_no_say():
    mask = np.zeros(blob().shape, bool)
    mask[0, 10:13, 15:18] = True
    spoilt = np.where(mask, 0, blob(sigma=8.0)).astype(np.float32)
    image, bad = moved(spoilt, dy=0.3, dx=-0.4, mask=mask)
    assert bad[0, 10:13, 15:17].all()
    assert bad.sum() < 30
    np.testing.assert_allclose(
        image[~bad], moved(blob(sigma=8.0), dy=0.3, dx=-0.4)[0][~bad], rtol=0.06, atol=0.02
    )


RICH = Augmentation(
    max_depth=1,
    noise_error=1,
    sky_offset=0,
    stripe_probability=0,
    resample_probability=1.0,
    max_scale=1.1,
    subpixel=True,
    max_blur_px=0.8,
)


def test_augmented_cutouts_stay_honest():
    before = examples(toy_cutouts(16, bands=3, missing_share=0.4), np.ones(16, bool))
    kept = before.images.copy()
    how = Augmentation(**{**vars(RICH), "hole_probability": 0.5, "rotate": True})
    after = augment(before, np.arange(16), how, np.random.default_rng(0))
    np.testing.assert_array_equal(before.images, kept)
    assert not after.images[after.mask].any()
    assert np.isfinite(after.images).all()
    np.testing.assert_array_equal(np.isnan(after.noise), ~after.band_present)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.mask[~after.band_present].all()
    assert after.mask[after.band_present].mean() < 0.3
    sky = after.images[:, 0, 12:20, 2:6] / after.noise[:, 0, None, None]
    assert np.std(sky[~after.mask[:, 0, 12:20, 2:6]]) == pytest.approx(1, abs=0.1)


def test_zero_points_scale_flux_and_noise_alike():
    before = examples(toy_cutouts(32, bands=3), np.ones(32, bool))
    how = Augmentation(**{**vars(RICH), "max_shift": 0, "resample_probability": 0.0})
    how = Augmentation(**{**vars(how), "zeropoint_error": 1.03})
    after = augment(before, np.arange(32), how, np.random.default_rng(0))
    factor = after.noise / before.noise
    assert factor.max() <= 1.0301
    assert factor.min() >= 1 / 1.0301
    assert factor.std() > 0.01
    np.testing.assert_allclose(after.images, before.images * factor[:, :, None, None], rtol=1e-5)


def test_holes_are_squares_of_at_most_the_asked_side():
    before = examples(toy_cutouts(64, bands=2), np.ones(64, bool))
    how = Augmentation(**{**vars(RICH), "max_shift": 0, "resample_probability": 0.0})
    how = Augmentation(**{**vars(how), "hole_probability": 1.0, "max_hole_px": 5})
    after = augment(before, np.arange(64), how, np.random.default_rng(0))
    holes = (after.mask & ~before.mask).sum(axis=(2, 3))
    assert 1 <= holes.max() <= 25
    assert (holes.max(axis=1) >= 1).mean() > 0.95
    # in one band or in both
    assert 0.2 < (holes.min(axis=1) == 0).mean() < 0.8
