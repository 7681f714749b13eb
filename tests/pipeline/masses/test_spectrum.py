"""Spectra: a single mode, healpy's anafast, masks, and what is refused."""

import os
from pathlib import Path

import healpy as hp
import numpy as np
import pytest
import zarr

from equilens.models.errors import HarmonicError
from equilens.pipeline.errors import SkyMapError
from equilens.pipeline.masses.errors import SpectrumError
from equilens.pipeline.masses.spectrum import sky_spectrum, write_spectrum
from equilens.pipeline.skymaps import SkyMapStore, ingest_map
from equilens.pipeline.skymaps.writer import write_map_store

NSIDE = 32
N_PIXELS = 12 * NSIDE**2
RNG = np.random.default_rng(5)
MAP = RNG.normal(size=N_PIXELS) + 3.0
HOLES = np.where(hp.pix2ang(NSIDE, np.arange(N_PIXELS))[0] < 0.6, np.nan, MAP)


def store_of(path, ordering="ring", frame="icrs", **columns):
    return write_map_store(path, columns, ordering=ordering, frame=frame)


def test_a_single_mode_has_one_degree(tmp_path):
    alm = np.zeros(hp.Alm.getsize(40), complex)
    alm[hp.Alm.getidx(40, 12, 5)] = 3.0 + 4.0j
    store = store_of(tmp_path / "map.zarr", T=hp.alm2map(alm, NSIDE))
    spectrum = sky_spectrum(store, lmax=40)
    assert spectrum[12] == pytest.approx(2 * 25 / 25, rel=1e-6)
    assert np.delete(spectrum, 12).max() < 1e-6


@pytest.mark.parametrize("iterations", [0, 1, 3])
@pytest.mark.parametrize("values", [MAP, HOLES], ids=["whole", "masked"])
def test_it_is_anafast(tmp_path, values, iterations):
    store = store_of(tmp_path / "map.zarr", T=values)
    theirs = np.where(np.isnan(values), hp.UNSEEN, values)
    expected = hp.anafast(theirs, lmax=64, iter=iterations)
    found = sky_spectrum(store, lmax=64, iterations=iterations)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # the monopole stays: without it the spectrum is another
    assert found[0] > 100 * found[1:].max() / 10


def test_a_mask_multiplies(tmp_path):
    weight = RNG.uniform(size=N_PIXELS) * (np.arange(N_PIXELS) > 4000)
    store = store_of(tmp_path / "map.zarr", T=MAP)
    mask = store_of(tmp_path / "mask.zarr", W=weight)
    expected = hp.anafast(MAP * weight, lmax=50)
    np.testing.assert_allclose(sky_spectrum(store, lmax=50, mask=mask), expected, rtol=1e-9)


def test_the_table_holds_every_digit(tmp_path):
    spectrum = sky_spectrum(store_of(tmp_path / "map.zarr", T=MAP), lmax=20)
    write_spectrum(tmp_path / "cl.csv", spectrum)
    table = np.genfromtxt(tmp_path / "cl.csv", delimiter=",", names=True)
    assert table.dtype.names == ("ell", "cl")
    np.testing.assert_array_equal(table["cl"], spectrum)
    np.testing.assert_array_equal(table["ell"], np.arange(21))


def test_ambiguous_columns_are_refused(tmp_path):
    store = store_of(tmp_path / "map.zarr", A=MAP, B=2 * MAP, G1=MAP, G2=MAP)
    with pytest.raises(SpectrumError, match=r"2 scalar columns, \['A', 'B'\]: name one with --col"):
        sky_spectrum(store)
    with pytest.raises(SpectrumError, match="one component of a spin-2 field"):
        sky_spectrum(store, column="G1")
    with pytest.raises(SkyMapError, match="no column 'C'"):
        sky_spectrum(store, column="C")
    np.testing.assert_allclose(
        sky_spectrum(store, column="B", lmax=9), 4 * sky_spectrum(store, column="A", lmax=9)
    )


def test_masks_of_another_sky_are_refused(tmp_path):
    store = store_of(tmp_path / "map.zarr", T=MAP)
    for mask, message in (
        (store_of(tmp_path / "a.zarr", W=np.ones(48)), "nside 32 in the icrs frame"),
        (
            store_of(tmp_path / "b.zarr", frame="galactic", W=np.ones(N_PIXELS)),
            "galactic",
        ),
        (
            store_of(tmp_path / "c.zarr", W=np.full(N_PIXELS, 2.0)),
            r"in 0\.\.1, got 2 to 2",
        ),
        (store_of(tmp_path / "d.zarr", W=np.zeros(N_PIXELS)), "masked or 0"),
    ):
        with pytest.raises(SpectrumError, match=message):
            sky_spectrum(store, mask=mask)


def test_degrees_that_pixels_do_not_hold_are_refused(tmp_path):
    store = store_of(tmp_path / "map.zarr", T=MAP)
    with pytest.raises(HarmonicError, match=r"lmax must be from 0 to .* = 95 at nside 32, got 96"):
        sky_spectrum(store, lmax=96)
    with pytest.raises(SpectrumError, match="iterations must not be negative, got -1"):
        sky_spectrum(store, iterations=-1)


def test_a_number_that_is_none_is_refused(tmp_path):
    """A writer that marks nothing as masked and leaves a NaN."""
    store = store_of(tmp_path / "map.zarr", T=MAP)
    with_nan = MAP.copy()
    with_nan[0] = np.nan
    group = zarr.open_group(store.path, mode="r+")
    group[f"values/{store.column('T').array}"][:] = with_nan
    with pytest.raises(SpectrumError, match="'T' is not finite in 1 unmasked pixels"):
        sky_spectrum(SkyMapStore.open(store.path))


@pytest.mark.skipif("EQUILENS_DATA" not in os.environ, reason="EQUILENS_DATA is not set")
@pytest.mark.parametrize("name", ["", "_masked"])
@pytest.mark.parametrize("iterations", [0, 3])
def test_wmap_is_anafasts(tmp_path, name, iterations):
    file = f"wmap_band_iqumap_r9_7yr_V_v4_udgraded32{name}.fits"
    path = Path(os.environ["EQUILENS_DATA"]) / "healpix" / file
    store = ingest_map(path, tmp_path / "wmap.zarr", frame="galactic", units="mK")
    expected = hp.anafast(hp.read_map(path, dtype=np.float64), lmax=64, iter=iterations)
    found = sky_spectrum(store, lmax=64, iterations=iterations)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
