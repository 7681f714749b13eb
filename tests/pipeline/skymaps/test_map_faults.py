"""Each fault of a map is one error that names the card, the value and the remedy."""

from __future__ import annotations

import gzip

import healpy as hp
import numpy as np
import pytest
from astropy.io import fits

from equilens.pipeline.errors import MapFileError, MapPixelError, MapStatementError
from equilens.pipeline.skymaps import ingest_map

NSIDE = 8
RAMP = np.arange(12 * NSIDE**2, dtype="f4")
COLUMN = {"I": RAMP}

STATEMENTS = [
    ({"COORDSYS": None}, {}, r"no COORDSYS card.*--frame"),
    ({"COORDSYS": " "}, {}, r"no COORDSYS card.*--frame"),
    ({"unit": None}, {}, r"no TUNIT1 card.*'I'.*--unit"),
    ({"ORDERING": None}, {}, r"no ORDERING card.*--ordering"),
    ({}, {"frame": "ecliptic"}, r"COORDSYS states.*'G'.*--frame as 'ecliptic'"),
    ({}, {"units": "K"}, r"TUNIT1 states.*'mK'.*--unit as 'K'"),
    ({}, {"ordering": "nested"}, r"ORDERING states.*'RING'.*--ordering as 'nested'"),
    ({"COORDSYS": None}, {"frame": "fk4"}, r"frame must be one of.*'fk4'"),
    ({"COORDSYS": "B1950"}, {"frame": "icrs"}, r"frame must be one of.*'B1950'"),
    ({"ORDERING": "NUNIQ"}, {}, r"ordering must be one of.*'NUNIQ'"),
    ({"unit": None}, {"units": {"J": "K"}}, r"--unit names the columns \['J'\]"),
    ({"unit": None}, {"units": ""}, r"--unit must state"),
    ({"unit": None}, {"units": "banana"}, r"--unit must be a unit that astropy.*'banana'"),
    ({"unit": None}, {"units": {"I": "_CMB"}}, r"--unit must be a unit that astropy.*'_CMB'"),
    ({"unit": "K_CMB"}, {"units": "K"}, r"TUNIT1 states.*'K_CMB'.*--unit as 'K'"),
    ({"SKYCOORD": "Ecliptic"}, {}, r"COORDSYS states.*'G'.*SKYCOORD as 'Ecliptic'"),
    ({"NSIDE": "many"}, {}, r"NSIDE must be a number, got 'many'"),
]


@pytest.mark.parametrize(("cards", "options", "message"), STATEMENTS)
def test_unstated_and_contradicting(write_map, tmp_path, cards, options, message):
    path = write_map(COLUMN, **cards)
    with pytest.raises(MapStatementError, match=message):
        ingest_map(path, tmp_path / "sky.zarr", **options)
    assert not (tmp_path / "sky.zarr").exists()


def test_the_same_map_with_nothing_wrong_goes_in(write_map, tmp_path):
    assert ingest_map(write_map(COLUMN, NSIDE=NSIDE), tmp_path / "sky.zarr").nside == NSIDE


@pytest.mark.parametrize("unit", ["cm^-2", "MJy/sr", "uK_CMB", "K_RJ", "1", "10^20 cm-2"])
def test_units_that_a_user_may_state(write_map, tmp_path, unit):
    store = ingest_map(write_map(COLUMN, unit=None), tmp_path / "sky.zarr", units=unit)
    assert store.units == {"I": unit}


def test_a_header_may_hold_any_word(write_map, tmp_path):
    path = write_map(COLUMN, unit="banana")
    assert ingest_map(path, tmp_path / "sky.zarr").units == {"I": "banana"}


def test_explicit_map_names_the_right_unit_card(write_map, tmp_path):
    path = write_map({"A": RAMP[:3]}, unit=None, pixels=np.arange(3), NSIDE=NSIDE)
    with pytest.raises(MapStatementError, match="no TUNIT2 card"):
        ingest_map(path, tmp_path / "sky.zarr")


def test_mixed_ordering(write_map, tmp_path):
    path = write_map(COLUMN)
    fits.setval(path, "ORDERING", value="NESTED", ext=0)
    with pytest.raises(MapStatementError, match="ORDERING of the primary HDU as 'NESTED'"):
        ingest_map(path, tmp_path / "sky.zarr")


def test_ordering_card_twice(write_map, tmp_path):
    path = write_map(COLUMN)
    with fits.open(path, mode="update") as hdus:
        hdus[1].header.append(("ORDERING", "NESTED"))
    with pytest.raises(MapStatementError, match=r"ORDERING \(number 2\) as 'NESTED'"):
        ingest_map(path, tmp_path / "sky.zarr")


PIXELS = [
    ({"I": RAMP[:-1]}, {}, r"12 nside² pixels, got 767"),
    ({"I": RAMP[:-1]}, {"NSIDE": 8}, r"got 767; NSIDE = 8 needs 768"),
    (COLUMN, {"NSIDE": 16}, r"NSIDE = 16 needs 3072 pixels, got 768, which is nside 8"),
    ({"I": np.zeros(12 * 9, "f4")}, {}, r"power of two, got 3"),
    ({"I": np.full(768, hp.UNSEEN, "f4")}, {}, r"every pixel of \['I'\] is masked"),
    ({"I": np.full(768, np.nan, "f4")}, {}, r"every pixel of \['I'\] is masked"),
    ({"I": RAMP[:2]}, {"pixels": np.array([1, 768]), "NSIDE": 8}, r"0..767 at nside 8, got 768"),
    ({"I": RAMP[:2]}, {"pixels": np.array([-1, 7]), "NSIDE": 8}, r"got -1"),
    ({"I": RAMP[:3]}, {"pixels": np.array([4, 9, 4]), "NSIDE": 8}, r"1 repeated, first pixel 4"),
    ({"I": RAMP[:0]}, {}, r"table is empty"),
]


@pytest.mark.parametrize(("columns", "cards", "message"), PIXELS)
def test_impossible_pixels(write_map, tmp_path, columns, cards, message):
    path = write_map(columns, **cards)
    with pytest.raises(MapPixelError, match=message):
        ingest_map(path, tmp_path / "sky.zarr")
    assert not (tmp_path / "sky.zarr").exists()


def test_partial_map_without_nside(write_map, tmp_path):
    path = write_map({"I": RAMP[:2]}, pixels=np.array([1, 2]))
    with pytest.raises(MapStatementError, match="NSIDE card"):
        ingest_map(path, tmp_path / "sky.zarr")


def truncate(path, fraction):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])


@pytest.mark.parametrize("fraction", [0.7, 0.98])
def test_truncated(write_map, tmp_path, fraction):
    path = write_map({"I": np.zeros(12 * 32**2, "f4")})
    truncate(path, fraction)
    with pytest.raises(MapFileError, match="truncated"):
        ingest_map(path, tmp_path / "sky.zarr")


@pytest.mark.parametrize("fraction", [0.02, 0.5, 0.999])
def test_truncated_gzip(write_map, tmp_path, fraction):
    path = write_map({"I": np.random.default_rng(1).normal(size=12 * 32**2)})
    path.write_bytes(gzip.compress(path.read_bytes()))
    truncate(path, fraction)
    with pytest.raises(MapFileError, match="truncated"):
        ingest_map(path, tmp_path / "sky.zarr")


def test_damaged_gzip(write_map, tmp_path):
    path = write_map(COLUMN)
    data = bytearray(gzip.compress(path.read_bytes()))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(MapFileError, match="not a whole FITS file"):
        ingest_map(path, tmp_path / "sky.zarr")


def test_not_fits_and_not_there(tmp_path):
    (tmp_path / "a.fits").write_text("hello")
    for name, message in {"a.fits": "not a whole FITS", "b.fits": "no such file"}.items():
        with pytest.raises(MapFileError, match=message):
            ingest_map(tmp_path / name, tmp_path / "sky.zarr")


def test_image_without_table(tmp_path):
    fits.writeto(tmp_path / "image.fits", np.zeros((5, 5)))
    with pytest.raises(MapFileError, match="got 0 in 1 HDUs"):
        ingest_map(tmp_path / "image.fits", tmp_path / "sky.zarr")


def test_two_maps_in_one_file(write_map, tmp_path):
    path = write_map(COLUMN)
    with fits.open(path, mode="append") as hdus:
        hdus.append(hdus[1].copy())
    with pytest.raises(MapFileError, match="got 2 in 3 HDUs: split the file"):
        ingest_map(path, tmp_path / "sky.zarr")


def test_text_column(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("NAME", "4A", array=["abcd"] * 12)])
    table.header.update(PIXTYPE="HEALPIX", ORDERING="RING", COORDSYS="G", TUNIT1="1")
    table.writeto(tmp_path / "text.fits")
    with pytest.raises(MapFileError, match="'NAME' must hold numbers"):
        ingest_map(tmp_path / "text.fits", tmp_path / "sky.zarr")


def test_failed_replacement_leaves_the_old_store(write_map, tmp_path):
    out = tmp_path / "sky.zarr"
    store = ingest_map(write_map(COLUMN), out)
    bad = write_map({"I": RAMP[:-1]}, "bad.fits")
    with pytest.raises(MapPixelError):
        ingest_map(bad, out, replace=True)
    assert store.verify() == []
