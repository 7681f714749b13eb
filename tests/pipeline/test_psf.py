import numpy as np
import pytest

from equilens.pipeline.psf import psf_fwhm_pixels


@pytest.mark.parametrize("fwhm", [1.8, 2.5, 4.0, 7.0])
@pytest.mark.parametrize("centre", [(16, 16), (16.3, 15.8)])
def test_gaussian(fwhm, centre):
    y, x = np.mgrid[:33, :33]
    r2 = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
    assert psf_fwhm_pixels(np.exp(-4 * np.log(2) * r2 / fwhm**2)) == pytest.approx(fwhm, rel=0.08)


def test_no_peak_has_no_width():
    assert np.isnan(psf_fwhm_pixels(np.zeros((21, 21))))
    assert np.isnan(psf_fwhm_pixels(np.full((21, 21), np.nan)))
