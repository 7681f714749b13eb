"""From FITS to the store and back, bit by bit."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import healpy as hp
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from equilens.pipeline.errors import StoreError
from equilens.pipeline.skymaps import SkyMapStore, ingest_map
from equilens.pipeline.skymaps.ordering import block_pixels

NSIDE = 8
RAMP = np.arange(12 * NSIDE**2, dtype="f4")


def bits(values: np.ndarray) -> bytes:
    return values.astype(values.dtype.newbyteorder("=")).tobytes()


@pytest.mark.parametrize("nside", [1, 2, 16])
def test_base_pixels_tile_the_sky_once(nside):
    blocks = [block_pixels(nside, b, "ring") for b in range(12)]
    assert sorted(np.concatenate(blocks)) == list(range(12 * nside**2))


@pytest.mark.parametrize("ordering", ["ring", "nested"])
@pytest.mark.parametrize("per_row", [1, 64])
def test_store_is_nested_and_reads_back_either_way(write_map, tmp_path, ordering, per_row):
    path = write_map({"I": RAMP}, per_row=per_row, ORDERING=ordering.upper())
    store = ingest_map(path, tmp_path / "sky.zarr")
    assert store.original_ordering == ordering
    assert bits(store.read("I", ordering)) == bits(RAMP)
    nested = RAMP if ordering == "nested" else hp.reorder(RAMP, r2n=True)
    assert bits(store.read("I")) == bits(nested)
    assert bits(store.read("I", "ring")) == bits(hp.reorder(nested, n2r=True))
    # control: the two orders differ, so a reader that ignored ordering would fail above
    assert bits(store.read("I", "ring")) != bits(store.read("I", "nested"))


@pytest.mark.parametrize("nest", [False, True])
@pytest.mark.parametrize("name", ["m.fits", "m.fits.gz"])
def test_three_columns_equal_healpy(tmp_path, nest, name):
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(3, RAMP.size))
    maps[:, rng.choice(RAMP.size, 50)] = hp.UNSEEN
    path = tmp_path / name
    hp.write_map(path, maps, nest=nest, coord="G", column_units="K_CMB", dtype=np.float64)
    store = ingest_map(path, tmp_path / "sky.zarr")
    assert (store.frame, store.nside) == ("galactic", NSIDE)
    assert set(store.units.values()) == {"K_CMB"}
    expected = hp.read_map(path, field=(0, 1, 2))
    for name, values in zip(store.columns, expected, strict=True):
        assert bits(store.read(name, "ring", fill=hp.UNSEEN)) == bits(values)


def test_partial_map_masks_what_it_does_not_list(tmp_path):
    full = np.full(RAMP.size, hp.UNSEEN)
    full[[5, 700, 31]] = [1.0, 2.0, 3.0]
    path = tmp_path / "partial.fits"
    hp.write_map(path, full, partial=True, coord="C", column_units="mag", dtype=np.float64)
    store = ingest_map(path, tmp_path / "sky.zarr")
    column = store.columns[0]
    assert bits(store.read(column, "ring", fill=hp.UNSEEN)) == bits(full)
    assert store.read_mask(column).sum() == RAMP.size - 3


def test_explicit_nested_pixels_in_any_order(write_map, tmp_path):
    pixels = np.array([700, 3, 64])
    path = write_map(
        {"A": np.array([1, 2, 3], "f4")}, pixels=pixels, NSIDE=NSIDE, ORDERING="NESTED"
    )
    store = ingest_map(path, tmp_path / "sky.zarr")
    assert store.read("A")[pixels].tolist() == [1, 2, 3]


def test_every_kind_of_missing_value_is_masked(write_map, tmp_path):
    values = RAMP.copy()
    values[:5] = [np.nan, np.inf, -np.inf, hp.UNSEEN, -1.6375e30]
    values[5] = -999.0
    store = ingest_map(write_map({"I": values}, BAD_DATA=-999.0), tmp_path / "sky.zarr")
    assert np.flatnonzero(store.read_mask("I", "ring")).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.isnan(store.read("I", "ring")[:6]).all()
    assert store.column("I").n_masked == 6


def test_integers_stay_integers_and_tnull_is_masked(write_map, tmp_path):
    counts = np.arange(RAMP.size, dtype="i4")
    store = ingest_map(write_map({"HITS": counts}, unit="1"), tmp_path / "a.zarr")
    assert store.read("HITS", "ring").dtype == np.int32
    assert np.array_equal(store.read("HITS", "ring"), counts)
    path = write_map({"HITS": counts}, "null.fits", unit="1", TNULL1=7)
    masked = ingest_map(path, tmp_path / "b.zarr")
    assert np.flatnonzero(np.isnan(masked.read("HITS", "ring"))).tolist() == [7]
    lon, lat = hp.pix2ang(NSIDE, [6, 7], lonlat=True)
    assert np.array_equal(
        masked._gather(masked.column("HITS"), hp.ang2pix(NSIDE, lon, lat, nest=True, lonlat=True)),
        [6, np.nan],
        equal_nan=True,
    )


def test_layout_on_disk(write_map, tmp_path):
    nside = 512
    path = write_map({"I": np.zeros(12 * nside**2, "f4")})
    store = ingest_map(path, tmp_path / "sky.zarr")
    array = zarr.open_group(store.path, mode="r")["values/1_I"]
    assert array.chunks == (4**8,)
    assert array.shards == (nside**2,)
    assert array.metadata.dimension_names == ("pixel",)
    # zeros are a measurement: their shards exist
    assert len(list((store.path / "values/1_I/c").iterdir())) == 12
    manifest = json.loads((store.path / "_manifest.json").read_text())
    assert manifest["ordering"] == "nested"
    assert len(manifest["source"]["sha256"]) == 64
    assert manifest["stated_by"]["frame"] == "header card COORDSYS"
    assert manifest["provenance"]["versions"]["zarr"]


def test_options_speak_where_the_header_is_silent(write_map, tmp_path):
    path = write_map({"I": RAMP}, unit=None, COORDSYS=None, ORDERING=None)
    store = ingest_map(
        path, tmp_path / "sky.zarr", frame="ecliptic", units="cm^-2", ordering="nested"
    )
    assert (store.frame, store.units, store.original_ordering) == (
        "ecliptic",
        {"I": "cm^-2"},
        "nested",
    )
    assert store.manifest["stated_by"]["units"] == {"I": "option --unit"}


def test_options_may_repeat_the_header(write_map, tmp_path):
    path = write_map({"I": RAMP}, unit="cm-2")
    store = ingest_map(path, tmp_path / "a.zarr", frame="G", units="cm^-2", ordering="RING")
    assert store.units == {"I": "cm-2"}


def test_existing_store_is_refused_and_replaced_on_request(write_map, tmp_path):
    out = tmp_path / "sky.zarr"
    first = ingest_map(write_map({"I": RAMP}), out)
    other = write_map({"I": RAMP + 1}, "other.fits")
    with pytest.raises(StoreError, match="--replace"):
        ingest_map(other, out)
    assert bits(SkyMapStore.open(out).read("I", "ring")) == bits(RAMP)
    second = ingest_map(other, out, replace=True)
    assert bits(second.read("I", "ring")) == bits(RAMP + 1)
    assert second.fingerprint != first.fingerprint


def test_store_without_manifest_is_unfinished(write_map, tmp_path):
    store = ingest_map(write_map({"I": RAMP}), tmp_path / "sky.zarr")
    (store.path / "_manifest.json").unlink()
    with pytest.raises(StoreError, match="never finished"):
        SkyMapStore.open(store.path)


def test_damaged_shard_is_found(write_map, tmp_path):
    store = ingest_map(write_map({"I": RAMP}), tmp_path / "sky.zarr")
    assert store.verify() == []
    shard = store.path / "values/1_I/c/4"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    (store.path / "mask/1_I/c/0").unlink()
    assert store.verify() == ["values/1_I/c/4", "mask/1_I/c/0"]


def test_gzip_is_told_by_its_bytes_not_its_name(write_map, tmp_path):
    path = write_map({"I": RAMP})
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert bits(ingest_map(path, tmp_path / "sky.zarr").read("I", "ring")) == bits(RAMP)


@given(st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_reorder_agrees_with_healpy(order, seed):
    nside = 2**order
    values = np.random.default_rng(seed).normal(size=12 * nside**2)
    nested = np.concatenate([values[block_pixels(nside, b, "ring")] for b in range(12)])
    assert np.array_equal(nested, hp.reorder(values, r2n=True))


def test_reordering_needs_no_second_copy_of_the_sky(write_map, tmp_path):
    values = np.arange(12 * 512**2, dtype="f8")
    path = write_map({"I": values})
    tracemalloc.start()
    ingest_map(path, tmp_path / "sky.zarr")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # a whole-sky reorder would hold two
    assert peak < 1.9 * values.nbytes


REAL = {
    "h1_nh_HI4PI_healpix_lowres.fits": ("cm^-2", 1),
    "justq_gal2ecl.fits.gz": ("mK", 2),
    "wmap_band_iqumap_r9_7yr_V_v4_udgraded32.fits": ("mK", 3),
    "wmap_band_iqumap_r9_7yr_V_v4_udgraded32_masked.fits": ("mK", 3),
    "wmap_temperature_analysis_mask_r9_7yr_v4_udgraded32.fits": ("1", 3),
}


@pytest.mark.parametrize("file", REAL)
def test_real_maps_equal_healpy(real_maps, tmp_path, file):
    unit, n_columns = REAL[file]
    store = ingest_map(real_maps / file, tmp_path / "sky.zarr", frame="galactic", units=unit)
    expected = hp.read_map(real_maps / file, field=tuple(range(n_columns)))
    for name, values in zip(store.columns, np.atleast_2d(expected), strict=True):
        assert bits(store.read(name, "ring", fill=hp.UNSEEN)) == bits(values)
