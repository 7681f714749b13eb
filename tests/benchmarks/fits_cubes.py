"""FITS cubes to time on: galaxies' light in noise, one primary HDU of (band, y, x) a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from astropy.io import fits

N_BANDS, SIDE = 4, 101

BANDS = ("g", "r", "i", "z")
PIXEL_SCALE_ARCSEC = 0.2
NOISE_NJY = 10.0

_HEAD = """
name = "benchmark-cubes"
version = "1"
title = "four-band cubes for timing"
pixel_scale_arcsec = 0.2
shape = [101, 101]
"""
_BAND = """
[[bands]]
name = "{0}"
generic = "{0}"
wavelength_nm = {1}
psf_fwhm_arcsec = 0.8
noise_njy = 10.0
zeropoint = 31.4
"""
_LAYOUT = """
[layout]
kind = "cube"
pattern = "{id}.fits"
"""


@contextmanager
def folder_of_cubes(n: int, seed: int = 0) -> Iterator[list[Path]]:
    """Paths of n cubes with a sky position each, gone afterwards."""
    with TemporaryDirectory(prefix="equilens-benchmark-") as folder:
        rng = np.random.default_rng(seed)
        yield [_write(Path(folder) / f"object{k:06d}.fits", rng) for k in range(n)]


def write_survey(folder: Path) -> Path:
    """The survey definition that reads these cubes."""
    path = folder / "benchmark-cubes.toml"
    wavelengths = zip(BANDS, (480, 620, 760, 870), strict=True)
    path.write_text(_HEAD + "".join(_BAND.format(*each) for each in wavelengths) + _LAYOUT)
    return path


def _write(path: Path, rng: np.random.Generator) -> Path:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    radius = np.hypot(x, y / rng.uniform(0.5, 1))
    galaxy = rng.uniform(100, 1000) * np.exp(-radius / rng.uniform(2, 8))
    cube = galaxy + rng.normal(0, NOISE_NJY, (N_BANDS, SIDE, SIDE))
    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRPIX1=51.0, CRPIX2=51.0)
    header.update(CRVAL1=rng.uniform(0, 360), CRVAL2=rng.uniform(-60, 60))
    header.update(CDELT1=-0.2 / 3600, CDELT2=0.2 / 3600, CUNIT1="deg", CUNIT2="deg")
    fits.PrimaryHDU(cube.astype(">f4"), header).writeto(path)
    return path
