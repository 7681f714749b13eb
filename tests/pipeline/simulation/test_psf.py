import math

import numpy as np
import pytest
import torch
from astropy.modeling.functional_models import Moffat2D

from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.psf import (
    convolve,
    fast_grid_size,
    kernel_fwhm_pixels,
    psf_kernel,
    transfer_function,
)

FWHM_OF_SIGMA = 2 * math.sqrt(2 * math.log(2))


def _kernel(fwhm, e1=0.0, e2=0.0, beta=math.inf, size=41):
    values = (torch.tensor([v], dtype=torch.float64) for v in (fwhm, e1, e2))
    return psf_kernel(*values, size, torch.tensor([beta], dtype=torch.float64))[0]


def _variance(kernel):
    axis = torch.arange(kernel.shape[0], dtype=torch.float64) - kernel.shape[0] // 2
    return float((kernel * axis**2).sum()), float((kernel * axis[:, None] ** 2).sum())


@pytest.mark.parametrize("fwhm", [1.8, 2.5, 4.0])
def test_gaussian_kernel_and_pixel_add_up_to_the_effective_psf(fwhm):
    kernel = _kernel(fwhm)
    assert float(kernel.sum()) == pytest.approx(1)
    for variance in _variance(kernel):
        assert variance + 1 / 12 == pytest.approx((fwhm / FWHM_OF_SIGMA) ** 2, rel=2e-3)


def test_moffat_falls_to_half_at_half_its_width():
    fwhm = 8.0
    kernel = _kernel(fwhm, beta=2.5, size=81)
    half = float(kernel_fwhm_pixels(torch.tensor(fwhm))) / 2
    along = np.interp(half, np.arange(41), kernel[40, 40:].numpy())
    assert along / float(kernel[40, 40]) == pytest.approx(0.5, abs=0.02)


def test_ellipticity_stretches_along_its_axis():
    wide, narrow = _variance(_kernel(5.0, e1=0.1))
    assert math.sqrt(wide / narrow) == pytest.approx(1.1 / 0.9, rel=1e-2)


@pytest.mark.parametrize("beta", [1.8, 3.5])
def test_round_moffat_agrees_with_astropy(beta):
    fwhm = float(kernel_fwhm_pixels(torch.tensor(4.0, dtype=torch.float64)))
    gamma = fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))
    y, x = np.mgrid[-20:21, -20:21]
    theirs = Moffat2D(1.0, 0, 0, gamma, beta)(x, y)
    np.testing.assert_allclose(_kernel(4.0, beta=beta), theirs / theirs.sum(), rtol=1e-9)


def test_convolution_equals_the_direct_sum_and_keeps_flux():
    scene = torch.zeros(1, 25, 25, dtype=torch.float64)
    scene[0, 12, 9] = 5.0
    scene[0, 7, 14] = 2.0
    kernel = _kernel(3.0, e1=0.1, size=9)
    image = convolve(scene, transfer_function(kernel, 48), 48)[0, :25, :25]
    direct = torch.nn.functional.conv2d(scene[None], kernel.flip(0, 1)[None, None], padding=4)[0, 0]
    torch.testing.assert_close(image, direct)
    assert float(image.sum()) == pytest.approx(7.0)


def test_even_kernels_are_refused():
    with pytest.raises(SimulationError, match="PSF size must be odd, got 20; nearest is 21"):
        _kernel(3.0, size=20)


def test_grids_are_multiples_of_sixteen():
    assert [fast_grid_size(n) for n in (101, 112, 113)] == [112, 112, 128]
