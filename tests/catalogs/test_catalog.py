"""The candidate catalogue: schema, ranking, footprint, and every export format."""

import os
import warnings

import astropy.units as u
import healpy as hp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import is_votable, parse
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from astropy.units import Unit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equilens.catalogs.candidates import build_catalog, healpix_29, rank_order
from equilens.catalogs.errors import ExportError, PositionError, SchemaError
from equilens.catalogs.export import (
    catalog_metadata,
    nulls_for_nan,
    read_catalog,
    write_catalog,
)
from equilens.catalogs.footprint import area_sq_deg, footprint, read_footprint, write_footprint
from equilens.catalogs.lenscat import load_lenscat
from equilens.catalogs.schema import (
    BAND_COLUMNS,
    CATALOG_COLUMNS,
    TRUTH_COLUMNS,
    check_catalog,
    describe_column,
    with_schema,
)

SUFFIXES = ("parquet", "fits", "vot", "ecsv", "csv")
METADATA = {
    "equilens": "0.1.0",
    "command": 'equilens export "it\'s" --top 5',
    "nested": {"versions": ["é", 1, None, 2.5e-17]},
    "long": "word " * 60,
}


@pytest.fixture(scope="module")
def catalog():
    known = load_lenscat()
    return build_catalog(
        ["a", "00123", "c", "lost", "d 4"],
        [known["ra"][0].as_py(), np.nan, 63.783125, 1, 0],
        [known["dec"][0].as_py(), np.nan, -50, 1, 89.5],
        [1.5, 2.5, -3.0, np.nan, 1.5],
        "euclid-mer",
        conditions={
            "flags": ["", "no_position,padded", "", "", "cropped"],
            "noise_njy_VIS": np.array([1, 2, np.nan, 4, 5], np.float32),
            "psf_fwhm_arcsec_NIR_Y": np.full(5, 0.5, ">f8"),
        },
        user_columns={
            "name": ["mine", "", "z", "w", "v"],
            "count": np.array([1, 2, 3, 4, 4_000_000_000], np.uint32),
            "good": [True, False, True, True, True],
            "is_lens": [1, 0, 1, 0, 0],
        },
        constants={"model_sha256": "ab" * 32, "data_fingerprint": "cd" * 32},
    )


@pytest.mark.parametrize("column", [*CATALOG_COLUMNS, *TRUTH_COLUMNS, *BAND_COLUMNS], ids=str)
def test_every_column_has_a_meaning_and_legal_units(column):
    assert column.description
    assert check_ucd(column.ucd, check_controlled_vocabulary=True), column.ucd
    assert Unit(column.unit).to_string("vounit") == column.unit
    assert Unit(column.unit).to_string("fits") == column.unit


def test_ranked_named_and_matched(catalog):
    check_catalog(catalog)
    assert catalog["id"].to_pylist() == ["00123", "a", "d 4", "c"], "ties by ID, unscored left out"
    assert catalog["rank"].to_pylist() == [1, 2, 3, 4]
    assert catalog["name"].to_pylist()[0] == "EQL euclid-mer 00123"
    assert catalog["name"].to_pylist()[3] == "EQL J041507.95-500000.0"
    assert catalog["ra"].to_pylist()[0] is None
    assert catalog["lenscat_name"].to_pylist() == [None, "J0011-0845", None, None]
    assert catalog["lenscat_separation_arcsec"].to_pylist()[1] == pytest.approx(0, abs=1e-6)
    assert catalog["user_name"].to_pylist() == ["", "mine", "v", "z"]
    assert "probability" not in catalog.column_names
    assert catalog.column_names[:6] == ["rank", "id", "name", "ra", "dec", "score"]


def test_cuts():
    def ids(**cut):
        return build_catalog(list("abc"), [1, 2, 3], [1, 2, 3], [1, 3, 2], "s", **cut)[
            "id"
        ].to_pylist()

    assert ids(top=2) == ["b", "c"]
    assert ids(threshold=2.0) == ["b", "c"]
    assert ids(top=0) == []
    assert ids(threshold=99) == []
    with pytest.raises(SchemaError, match="must not be negative"):
        ids(top=-1)


@settings(deadline=None)
@given(st.permutations(range(8)))
def test_the_catalogue_does_not_depend_on_the_order_of_rows(order):
    ids = np.array(list("hgfedcba"), dtype=object)[order]
    scores = np.array([0, 0, 1, 1, 2, 2, 2, np.nan])[order]
    assert ids[rank_order(ids, scores)].tolist() == list("bcdefgh")


def test_healpix_is_nested_and_minus_one_where_unknown():
    cells = healpix_29([10, np.nan, 370], [5, 5, 5])
    ra, dec = hp.pix2ang(2**29, cells[0], nest=True, lonlat=True)
    assert (ra, dec) == pytest.approx((10, 5), abs=1e-6)
    assert cells[1] == -1
    assert cells[2] == cells[0]
    assert cells.dtype == np.int64


def test_columns_of_another_length_or_type_are_refused():
    with pytest.raises(SchemaError, match="each of the 2 IDs"):
        build_catalog(["a", "b"], [1, 2], [1, 2], [1, 2, 3], "s")
    with pytest.raises(SchemaError, match="'mag' must have one value"):
        build_catalog(["a"], [1], [1], [1], "s", user_columns={"mag": [1, 2]})
    with pytest.raises(SchemaError, match="'ra' must be double"):
        with_schema(pa.table({"ra": ["ten"]}))
    with pytest.raises(SchemaError, match="are missing"):
        check_catalog(pa.table({"id": ["a"]}))


def test_band_columns_keep_the_bands_name():
    assert describe_column("psf_fwhm_arcsec_NIR_Y").unit == "arcsec"
    assert "NIR_Y band" in describe_column("psf_fwhm_arcsec_NIR_Y").description
    assert describe_column("noise_njy_") is None
    assert describe_column("my_column") is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(catalog, tmp_path, suffix):
    path = tmp_path / f"candidates.{suffix}"
    write_catalog(catalog, path, METADATA)
    back = read_catalog(path)
    for name in catalog.column_names:
        expected = nulls_for_nan(catalog)[name].to_pylist()
        if name == "user_name" and suffix not in ("parquet", "csv"):
            expected = [text or None for text in expected]
        assert back[name].to_pylist() == expected, name
        if suffix != "csv" or describe_column(name):
            assert back.field(name).metadata == catalog.field(name).metadata, name
    assert catalog_metadata(back) == ({} if suffix == "csv" else METADATA)
    check_catalog(back)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "nothing temporary stays"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_catalogue_round_trips(catalog, tmp_path, suffix):
    path = write_catalog(catalog.slice(0, 0), tmp_path / f"c.{suffix}", METADATA)
    back = read_catalog(path)
    assert back.num_rows == 0
    assert back.column_names == catalog.column_names


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=6)
ANY_TEXT = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="\ufffe\uffff"), max_size=6
)


@st.composite
def tables(draw, text):
    n = draw(st.integers(1, 5))

    def column(values, kind):
        return pa.array(draw(st.lists(st.none() | values, min_size=n, max_size=n)), kind)

    whole = st.integers(-(2**63), 2**63 - 1)
    return pa.table(
        {
            "real": column(st.floats(allow_nan=False), pa.float64()),
            "single": column(st.floats(width=32, allow_nan=False), pa.float32()),
            "whole": column(whole, pa.int64()),
            "tiny": column(st.integers(-128, 127), pa.int8()),
            "bits": column(st.integers(0, 2**32 - 1), pa.uint32()),
            "yes": column(st.booleans(), pa.bool_()),
            "words": column(text, pa.string()),
        }
    )


@pytest.mark.parametrize("suffix", ["parquet", "fits", "vot", "ecsv"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_table_round_trips(tmp_path_factory, suffix, data):
    table = data.draw(tables(PRINTABLE if suffix == "fits" else ANY_TEXT))
    path = tmp_path_factory.mktemp("t") / f"table.{suffix}"
    back = read_catalog(write_catalog(table, path, {"a": 1}))
    for name in table.column_names:
        expected = table[name].to_pylist()
        if name == "words" and suffix != "parquet":
            expected = [text or None for text in expected]
        assert back[name].to_pylist() == expected, name


def test_votable_is_valid(catalog, tmp_path):
    path = write_catalog(catalog, tmp_path / "c.vot", METADATA)
    assert is_votable(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = parse(path, verify="exception").get_first_table()
    fields = {field.name: field for field in table.fields}
    assert fields["ra"].ucd == "pos.eq.ra;meta.main"
    assert fields["ra"].ref == "icrs"
    assert str(fields["noise_njy_VIS"].unit) == "nJy"


def test_fits_carries_units_ucds_and_reads_with_astropy(catalog, tmp_path):
    path = write_catalog(catalog, tmp_path / "c.fits", METADATA)
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus[1].header
    keys = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
    assert header[f"TUNIT{keys['ra']}"] == "deg"
    assert header[f"TUCD{keys['ra']}"] == "pos.eq.ra;meta.main"
    assert header["RADESYS"] == "ICRS"
    table = Table.read(path, hdu=1)
    assert table["noise_njy_VIS"].unit == Unit("nJy")
    assert table["score"].tolist() == [2.5, 1.5, 1.5, -3.0]


def test_parquet_has_proper_nulls(catalog, tmp_path):
    table = pq.read_table(write_catalog(catalog, tmp_path / "c.parquet", METADATA))
    assert table["ra"].null_count == 1
    assert table["noise_njy_VIS"].null_count == 1
    assert table["_healpix_29"].type == pa.int64()


def test_fits_escapes_what_it_can_not_hold(tmp_path):
    path = write_catalog(pa.table({"note": ["naïve", "plain"]}), tmp_path / "c.fits")
    assert read_catalog(path)["note"].to_pylist() == ["na\\xefve", "plain"]


def test_an_unknown_unit_is_kept_in_words(tmp_path):
    field = pa.field("x", pa.float64(), metadata={"unit": "furlong", "description": "how far"})
    table = pa.table([pa.array([1.0])], schema=pa.schema([field]))
    for suffix in ("fits", "vot", "ecsv"):
        back = read_catalog(write_catalog(table, tmp_path / f"c.{suffix}"))
        assert back.field("x").metadata[b"description"] == b"how far [furlong]"


def test_what_can_not_be_written_leaves_the_old_file(tmp_path):
    path = write_catalog(pa.table({"x": [1]}), tmp_path / "c.fits")
    before = path.read_bytes()
    with pytest.raises(ExportError, match="only Parquet can hold"):
        write_catalog(pa.table({"x": [[1, 2]]}), path)
    with pytest.raises(ExportError, match="write Parquet instead"):
        write_catalog(pa.table({"x": pa.array([2**64 - 1], pa.uint64())}), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["c.fits"]


@pytest.mark.parametrize(
    ("name", "metadata", "message"),
    [
        ("c.xlsx", {}, "suffix must be one of"),
        ("absent/c.fits", {}, "does not exist"),
        ("c.fits", {"x": object()}, "JSON-able"),
        ("c.fits", {"x": float("nan")}, "JSON-able"),
    ],
)
def test_wrong_use_is_named(tmp_path, name, metadata, message):
    with pytest.raises(ExportError, match=message):
        write_catalog(pa.table({"x": [1]}), tmp_path / name, metadata)
    with pytest.raises(ExportError, match=r"does not exist|suffix"):
        read_catalog(tmp_path / name)


def test_footprint_covers_its_positions_and_little_more(tmp_path):
    ra, dec = np.array([10, 10, 200, np.nan]), np.array([5, 5, -89.9, 0])
    moc = footprint(ra, dec, 7.2)
    discs = 2 * np.pi * (7.2 / 3600) ** 2
    assert discs < area_sq_deg(moc) < 3 * discs, "cells at the rim, and an overlap counted once"
    assert moc.contains_lonlat(ra[:3] * u.deg, dec[:3] * u.deg).all()
    assert not moc.contains_lonlat([11] * u.deg, [5] * u.deg).any()
    write_footprint(moc, tmp_path / "moc.fits")
    assert read_footprint(tmp_path / "moc.fits") == moc
    assert area_sq_deg(footprint([np.nan], [np.nan], 7.2)) == 0
    with pytest.raises(PositionError, match="positive radius"):
        footprint([1], [1], 0)
