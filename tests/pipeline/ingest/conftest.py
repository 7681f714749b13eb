"""Two-band toy surveys, small and quickly written."""

import numpy as np
import pytest

from equilens.pipeline.surveys.loading import parse_survey

TOML = """
name = "toy"
version = "1"
title = "Two bands for tests"
pixel_scale_arcsec = 0.2
shape = [33, 33]
zeropoint_source = "made up"
max_missing_bands = 1
mask_rule = { values = [100.0] }

[[bands]]
name = "g"
generic = "g"
wavelength_nm = 480.0
psf_fwhm_arcsec = 0.9
noise_njy = 10.0
zeropoint = 27.0

[[bands]]
name = "r"
generic = "r"
wavelength_nm = 620.0
psf_fwhm_arcsec = 0.7
noise_njy = 10.0
zeropoint = 26.0

[layout]
"""
CUBE = 'kind = "cube"\npattern = "{id}.fits"'
PER_BAND = 'kind = "file-per-band"\npattern = "{id}_{band}.fits"'


def fits_bytes(pixels, **cards):
    """A plain primary HDU, written without any library."""
    axes = {f"NAXIS{i + 1}": n for i, n in enumerate(pixels.shape[::-1])}
    header = {"SIMPLE": True, "BITPIX": -32, "NAXIS": pixels.ndim} | axes | cards
    lines = [f"{key:8}= {_value(value):>20}".ljust(80) for key, value in header.items()]
    data = np.asarray(pixels, ">f4").tobytes()
    return _padded("".join([*lines, "END"]).encode(), b" ") + _padded(data, b"\0")


def _value(value):
    if isinstance(value, bool):
        return "T" if value else "F"
    return f"'{value:8}'" if isinstance(value, str) else repr(value)


def _padded(data, fill):
    return data + fill * (-len(data) % 2880)


def wcs(ra, dec, centre=17.0, scale=0.2):
    step = scale / 3600
    return {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": centre,
        "CRPIX2": centre,
        "CRVAL1": ra,
        "CRVAL2": dec,
        "CD1_1": -step,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": step,
    }


def pixels(seed, shape=(2, 33, 33)):
    """White noise of sigma 1 in the first band, 2 in the second, and so on."""
    sigma = np.arange(1, shape[0] + 1)[:, None, None]
    return (sigma * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def write_cubes(folder, n, first=0):
    folder.mkdir(exist_ok=True)
    for i in range(first, first + n):
        header = wcs(150 + 0.01 * i, 2.0)
        (folder / f"o{i:05d}.fits").write_bytes(fits_bytes(pixels(i), **header))
    return folder


@pytest.fixture
def cubes():
    return parse_survey(TOML + CUBE)


@pytest.fixture
def per_band():
    return parse_survey(TOML + PER_BAND)


@pytest.fixture
def tools():
    """The functions of this file: conftest is no module that tests can import."""

    class Tools:
        pass

    for function in (fits_bytes, wcs, pixels, write_cubes):
        setattr(Tools, function.__name__, staticmethod(function))
    return Tools
