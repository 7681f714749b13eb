"""Cross-match, the lenscat table, and merging by position, against astropy and brute force."""

import csv
import os
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.catalogs.crossmatch import match_nearest, separation_arcsec, unit_vectors
from equilens.catalogs.deduplicate import merge_by_position
from equilens.catalogs.errors import CatalogError, PositionError
from equilens.catalogs.lenscat import build_lenscat, load_lenscat, match_lenscat, parse_redshift

HEADER = "name,RA [deg],DEC [deg],zlens,type,grading,ref\n"


def random_sky(rng, n):
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def test_separation_from_tiny_to_antipodal():
    angles = np.array([0, 1e-6, 1, 3600, 90 * 3600, 180 * 3600.0])
    along = separation_arcsec(unit_vectors(np.zeros(6), np.zeros(6)), unit_vectors(
        angles / 3600, np.zeros(6)))  # fmt: skip
    np.testing.assert_allclose(along, angles, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("radius", [30.0, 1800.0, 720_000.0])
def test_nearest_is_astropys(radius):
    rng = np.random.default_rng(1)
    ra, dec = random_sky(rng, 300)
    other_ra, other_dec = random_sky(rng, 500)
    ra[:5], dec[:5] = [0, 360, 10, 200, 0], [90, -90, 90, -90, 0]
    other_ra[:4], other_dec[:4] = [123, 3, 359.999, 0.001], [90, -89.999, 0, 0]
    match = match_nearest(ra, dec, other_ra, other_dec, radius)
    index, separation, _ = SkyCoord(ra, dec, unit="deg").match_to_catalog_sky(
        SkyCoord(other_ra, other_dec, unit="deg")
    )
    near = separation.arcsec <= radius
    np.testing.assert_array_equal(match.matched, near)
    np.testing.assert_array_equal(match.index[near], index[near])
    np.testing.assert_allclose(match.separation_arcsec[near], separation.arcsec[near], atol=1e-6)
    assert np.isnan(match.separation_arcsec[~near]).all()


def test_each_radius_is_its_own():
    match = match_nearest([0, 0, 0], [0, 0.01, 0.2], [0, 0], [0, 0.012], [3.0, 60.0])
    assert match.index.tolist() == [0, 1, -1]
    assert match_nearest([0], [5 / 3600], [0, 0], [0, 50 / 3600], [3.0, 60.0]).index[0] == 1


def test_unknown_positions_match_nothing():
    match = match_nearest([np.nan, 1, 1], [0, np.nan, 0], [np.nan, 1], [0, np.nan], 1e5)
    assert not match.matched.any()
    assert not match_nearest([], [], [1], [1], 2).matched.any()
    assert not match_nearest([1], [1], [], [], 2).matched.any()


def test_swapped_coordinates_are_refused():
    with pytest.raises(PositionError, match="swapped with ra"):
        match_nearest([10], [200], [1], [1], 2)
    with pytest.raises(PositionError, match="radius must be positive"):
        match_nearest([10], [20], [1], [1], 0)


@pytest.mark.parametrize(
    ("text", "redshift", "certain"),
    [
        ("0.407", 0.407, True),
        ("0.675266 | 0.6753", 0.675266, True),
        ("0.25 |0.26", 0.25, True),
        (" 0.25 | nan", 0.25, True),
        ("nan | 0.3", 0.3, True),
        ("0.45?", 0.45, False),
        ("0.55*", 0.55, False),
        ("0.905? measured", 0.905, False),
        ("2", 2, True),
        *((text, np.nan, False) for text in ("-", "L", "measured", "not measured", "nan", "")),
    ],
)
def test_redshifts(text, redshift, certain):
    got, sure = parse_redshift(text)
    assert got == pytest.approx(redshift, nan_ok=True)
    assert sure is certain


def test_the_table_that_ships():
    table = load_lenscat()
    assert table.num_rows == 32_838
    assert len(set(table["name"].to_pylist())) == 32_838 - 663, "repeated names are kept"
    counts = {
        kind: table["type"].to_pylist().count(kind) for kind in ("galaxy", "group", "cluster")
    }
    assert counts == {"galaxy": 31_755, "group": 60, "cluster": 1_023}
    assert table["grading"].to_pylist().count("probable") == 30_529
    assert b"MIT" in table.schema.metadata[b"attribution"]
    assert len(table.schema.metadata[b"source_sha256"]) == 64


def test_matching_to_lenscat_by_type(tmp_path):
    rows = ["G,10,0,0.4,galaxy,confident,r", "C,10.005,0,-,cluster,probable,r"]
    rows += ["P,50,0,L,group,probable,r", ""]
    (tmp_path / "c.csv").write_text(HEADER + "\n".join(rows))
    table = build_lenscat(tmp_path / "c.csv", tmp_path / "c.parquet")
    assert load_lenscat(tmp_path / "c.parquet").equals(table)
    found = match_lenscat(
        [10 + 1 / 3600, 10.002, 50 + 9 / 3600, np.nan, 90], [0, 0, 0, 0, 0], lenscat=table
    )
    assert found["lenscat_name"].to_pylist() == ["G", "C", "P", None, None]
    assert found["lenscat_type"].to_pylist() == ["galaxy", "cluster", "group", None, None]
    assert found["lenscat_separation_arcsec"].to_pylist()[:3] == pytest.approx([1, 10.8, 9])
    assert found["lenscat_separation_arcsec"].null_count == 2
    narrow = match_lenscat([10.002], [0], 2, 2, 2, lenscat=table)
    assert narrow["lenscat_name"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,ra\na,1\n", "not lenscat's"),
        (HEADER + "a,400,0,-,galaxy,probable,r\n", "ICRS degrees"),
        (HEADER + "a,1,0,-,galaxy,sure,r\n", r"grading must be one of .* got \['sure'\]"),
        (HEADER + "a,1,0,-,quasar,probable,r\n", r"got \['quasar'\]"),
    ],
)
def test_another_table_is_no_lenscat(tmp_path, text, message):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(CatalogError, match=message):
        build_lenscat(tmp_path / "c.csv", tmp_path / "c.parquet")
    assert not (tmp_path / "c.parquet").exists()


@pytest.mark.skipif(not os.environ.get("EQUILENS_DATA"), reason="EQUILENS_DATA is not set")
def test_desi_candidates_that_lenscat_knows():
    path = Path(os.environ["EQUILENS_DATA"]) / "catalogues" / "stein2022_desi_new_lenses.tsv"
    with path.open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    ra, dec = (np.array([float(row[key]) for row in rows]) for key in ("ra", "dec"))
    found = match_lenscat(ra, dec, 2, 2, 2)
    assert len(rows) == 1192
    assert found.num_rows - found["lenscat_name"].null_count == 1155
    lenscat = load_lenscat()
    known = SkyCoord(lenscat["ra"].to_numpy(), lenscat["dec"].to_numpy(), unit="deg")
    _, separation, _ = SkyCoord(ra, dec, unit="deg").match_to_catalog_sky(known)
    assert np.sum(separation < 2 * u.arcsec) == 1155


@pytest.mark.skipif(not os.environ.get("EQUILENS_DATA"), reason="EQUILENS_DATA is not set")
def test_the_table_that_ships_is_made_from_lenscats_csv(tmp_path):
    path = Path(os.environ["EQUILENS_DATA"]) / "catalogues" / "lenscat_catalog.csv"
    assert build_lenscat(path, tmp_path / "l.parquet").equals(load_lenscat(), check_metadata=True)


def test_merging_by_hand():
    ra = np.array([0.0, 0.5, 10, 0.9, np.nan, np.nan]) / 3600
    merged = merge_by_position(ra, np.zeros(6), 0.6, priority=[1, 2, 0, 1, 5, 5])
    assert merged.keep.tolist() == [False, True, True, False, True, True]
    assert merged.kept_row.tolist() == [1, 1, 2, 1, 4, 5]
    assert merged.merged_rows().tolist() == [[0, 1], [3, 1]]
    assert merged.separation_arcsec == pytest.approx([0.5, 0, 0, 0.4, 0, 0])
    assert merged.n_merged == 2


def test_rows_of_one_tile_are_two_objects():
    ra = np.array([0.0, 0.3, 0.4]) / 3600
    one_tile = merge_by_position(ra, np.zeros(3), 1.0, tile=["t", "t", "t"])
    assert one_tile.keep.all()
    two_tiles = merge_by_position(ra, np.zeros(3), 1.0, tile=["s", "t", "t"])
    assert two_tiles.kept_row.tolist() == [0, 0, 2], "only the nearest of the other tile"


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 3))
def test_merging_leaves_no_pair_and_makes_no_chain(seed, radius):
    rng = np.random.default_rng(seed)
    ra, dec = 180 + rng.uniform(-4, 4, 40) / 3600, rng.uniform(-4, 4, 40) / 3600
    merged = merge_by_position(ra, dec, radius, priority=rng.integers(0, 4, 40))
    vectors = unit_vectors(ra, dec)
    assert merged.keep[merged.kept_row].all()
    apart = separation_arcsec(vectors, vectors[merged.kept_row])
    assert np.all(apart <= radius)
    np.testing.assert_allclose(apart, merged.separation_arcsec, atol=1e-9)
    kept = vectors[merged.keep]
    between = separation_arcsec(kept[:, None], kept[None])
    assert np.all(between[~np.eye(len(kept), dtype=bool)] > radius)


def test_merging_without_overlap_changes_nothing():
    rng = np.random.default_rng(0)
    assert merge_by_position(*random_sky(rng, 1000), 1.0).keep.all()
    assert merge_by_position([], [], 1.0).n_merged == 0
    with pytest.raises(PositionError, match="one value a row"):
        merge_by_position([1, 2], [1, 2], 1.0, priority=[1])
