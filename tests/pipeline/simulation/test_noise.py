import numpy as np
import pytest
import torch

from equilens.pipeline.simulation.conditions import SurveyConditions
from equilens.pipeline.simulation.noise import (
    add_noise,
    draw_masks,
    draw_missing_bands,
    electrons_per_njy,
    pixel_scatter_ratio,
    resampling_taps,
)


def _blank(signal=0.0, n=24, side=64, width=0.0, gain=1e9):
    images = torch.full((n, 1, side, side), float(signal))
    noise, gains = torch.full((n, 1), 2.0), torch.full((n, 1), gain)
    add_noise(images, noise, gains, (width,), torch.Generator().manual_seed(1))
    return images[:, 0].double()


def test_white_noise_has_the_stated_sigma():
    assert float(_blank().std()) == pytest.approx(2.0, rel=0.01)


def test_photon_noise_adds_in_quadrature():
    bright = _blank(signal=100.0, gain=10.0)
    assert float(bright.std()) == pytest.approx((4 + 100 / 10) ** 0.5, rel=0.01)
    assert float(bright.mean()) == pytest.approx(100.0, abs=0.05)


@pytest.mark.parametrize("width", [0.39, 0.8, 1.0])
def test_correlated_noise_keeps_sigma_on_large_scales(width):
    """One pixel scatters less, by a stated ratio; blocks scatter as the stated noise says."""
    field = _blank(width=width, n=64)
    assert float(field.std()) == pytest.approx(2.0 * pixel_scatter_ratio(width), rel=0.02)
    blocks = field.view(64, 4, 16, 4, 16).sum(dim=(2, 4))
    assert float(blocks.std()) == pytest.approx(2.0 * 16, rel=0.12)
    assert float(blocks.std()) > 1.2 * 16 * float(field.std())


def test_resampling_taps_have_the_asked_for_variance():
    for width in (0.2, 0.39, 0.5, 1.0, 1.7):
        passes, weight = resampling_taps(width)
        assert passes * weight * (1 - weight) == pytest.approx(width**2)


def test_euclid_like_kernels_match_the_scatter_measured_in_q1():
    assert pixel_scatter_ratio(0.39) == pytest.approx(0.69, abs=0.02)
    assert pixel_scatter_ratio(1.0) == pytest.approx(0.28, abs=0.02)


def test_gain_makes_the_sky_the_source_of_the_noise():
    conditions = SurveyConditions(sky_mag_per_arcsec2=22.3)
    gain = float(electrons_per_njy(torch.tensor(2.0), 0.1, conditions))
    sky = 10 ** (0.4 * (31.4 - 22.3)) * 0.01
    assert sky / gain == pytest.approx(4.0)


def test_no_object_loses_more_bands_than_the_limit():
    present = draw_missing_bands(np.random.default_rng(0), 2000, 4, 0.5, limit=2)
    missing = (~present).sum(axis=1)
    assert missing.max() == 2
    assert (missing == 0).any()
    assert (~present).mean(axis=0) == pytest.approx([0.40] * 4, abs=0.06)


def test_masks_touch_the_asked_for_share_of_objects():
    masks = draw_masks(np.random.default_rng(0), 400, 2, (61, 61), 0.1)
    touched = masks.any(axis=(1, 2, 3)).mean()
    assert 0.15 < touched < 0.4
    assert masks.mean() < 0.05
    assert not draw_masks(np.random.default_rng(0), 20, 2, (61, 61), 0.0).any()
