"""From peaks to places for the planar finder."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.pipeline.errors import EvaluationError
from equilens.pipeline.masses import tiles as tiles_module
from equilens.pipeline.masses.tiles import (
    RADIUS_ARCSEC,
    Objects,
    cutout_positions,
    objects_near,
    peak_tiles,
    write_peak_tiles,
    write_tiles,
)


def separation(ra, dec, other_ra, other_dec) -> np.ndarray:
    one, other = SkyCoord(ra * u.deg, dec * u.deg), SkyCoord(other_ra * u.deg, other_dec * u.deg)
    return one.separation(other).arcsec


@settings(deadline=None, max_examples=25)
@given(ra=st.floats(0, 359.99), dec=st.floats(-89.99, 89.99))
def test_positions_cover_the_disc_and_stay_inside(ra, dec):
    number, tile_ra, tile_dec = cutout_positions(np.array([ra]), np.array([dec]))
    apart = separation(ra, dec, tile_ra, tile_dec)
    assert (number == 0).all()
    # a grid of 10" has 113 points within 60"
    assert len(apart) == 113
    assert apart.min() < 1e-4
    assert apart.max() <= RADIUS_ARCSEC * (1 + 1e-6)


def test_objects_near_peaks_are_astropys():
    rng = np.random.default_rng(1)
    ra, dec = np.array([359.9999, 120.0]), np.array([89.0, -30.0])
    offset = rng.uniform(-100, 100, (2, 400)) / 3600
    object_ra = (120 + offset[0] / np.cos(np.radians(30))) % 360
    object_dec = -30 + offset[1]
    object_ra[0] = np.nan
    peak, near, apart = objects_near(ra, dec, object_ra, object_dec)
    expected = separation(120.0, -30.0, object_ra[1:], object_dec[1:])
    assert (peak == 1).all()
    assert set(near) == set(np.flatnonzero(expected <= RADIUS_ARCSEC) + 1)
    np.testing.assert_allclose(apart, np.sort(expected[expected <= RADIUS_ARCSEC]), atol=1e-4)


OBJECTS = pa.table(
    {"id": ["far", "near", "nearer"], "ra": [50.0, 10.0, 10.0], "dec": [0.0, 0.01, 0.001]}
)


PEAKS = pa.table(
    {
        "peak_id": ["peak-1", "peak-2"],
        "ra": [10.0, 200.0],
        "dec": [0.0, 5.0],
        "score": [4.5, 2.5],
    }
)


@pytest.mark.parametrize("name", ["objects.csv", "objects.parquet"])
def test_tiles_list_the_objects_of_a_catalogue_nearest_first(tmp_path, name):
    write_tiles(OBJECTS, tmp_path / name)
    tiles = peak_tiles(PEAKS, Objects.read(tmp_path / name))
    assert tiles["id"].to_pylist() == ["nearer", "near"]
    assert tiles["peak_id"].to_pylist() == ["peak-1", "peak-1"]


def test_tiles_without_a_store_are_positions_that_survive_the_disc(tmp_path):
    tiles = peak_tiles(PEAKS)
    assert tiles.num_rows == 226
    assert tiles["id"][113].as_py() == "peak-2-000"
    write_tiles(tiles, tmp_path / "tiles.csv")
    assert pyarrow.csv.read_csv(tmp_path / "tiles.csv").equals(tiles)


def test_a_peak_list_without_positions_is_refused():
    with pytest.raises(EvaluationError, match=r"must have \['dec', 'ra'\]"):
        peak_tiles(PEAKS.drop_columns(["ra", "dec"]))


def test_an_id_is_text_whatever_it_looks_like(tmp_path):
    (tmp_path / "objects.csv").write_text("id,ra,dec\n0012,10,20\n1.10,11,21\n")
    assert Objects.read(tmp_path / "objects.csv").ids.tolist() == ["0012", "1.10"]


def test_a_catalogue_without_ids_is_refused(tmp_path):
    write_tiles(OBJECTS.drop_columns(["id"]), tmp_path / "objects.csv")
    with pytest.raises(EvaluationError, match=r"must have the columns \['id'\]"):
        Objects.read(tmp_path / "objects.csv")


def test_no_peaks_give_no_tiles():
    assert peak_tiles(PEAKS.slice(0, 0)).num_rows == 0
    some = Objects(np.array(["a"], object), np.zeros(1), np.zeros(1))
    assert peak_tiles(PEAKS.slice(0, 0), some).num_rows == 0


@pytest.mark.parametrize("at_once", [1, 2, 10_000])
@pytest.mark.parametrize("name", ["tiles.csv", "tiles.parquet"])
def test_tiles_written_in_parts_are_those_made_at_once(tmp_path, monkeypatch, name, at_once):
    monkeypatch.setattr(tiles_module, "PEAKS_AT_ONCE", at_once)
    whole = peak_tiles(PEAKS)
    write_tiles(whole, tmp_path / f"whole-{name}")
    assert write_peak_tiles(PEAKS, None, tmp_path / name) == whole.num_rows
    read = pa.parquet.read_table if name.endswith("parquet") else pyarrow.csv.read_csv
    assert read(tmp_path / name).equals(read(tmp_path / f"whole-{name}"))
    assert {path.name for path in tmp_path.iterdir()} == {name, f"whole-{name}"}
