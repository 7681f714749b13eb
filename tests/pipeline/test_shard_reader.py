"""Shards read directly are what zarr reads, and damage never passes for pixels."""

import json
import shutil

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.pipeline import shard_reader
from equilens.pipeline.errors import StoreError
from equilens.pipeline.shards import PixelShards, shard_file
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.toy import toy_cutouts, write_toy_store

N, CHUNK, SHARD = 75, 4, 16


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    """Five shards of which the second is zeros, with a chunk of zeros in the third."""
    path = tmp_path_factory.mktemp("arrays")
    group = zarr.open_group(path, mode="w", zarr_format=3)
    made = group.create_array(
        "images",
        shape=(N, 2, 5, 7),
        dtype="f4",
        chunks=(CHUNK, 2, 5, 7),
        shards=(SHARD, 2, 5, 7),
        compressors=[zarr.codecs.BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")],
    )
    values = np.random.default_rng(1).normal(size=(N, 2, 5, 7)).astype(np.float32)
    values[SHARD : 2 * SHARD] = 0
    values[2 * SHARD + CHUNK : 2 * SHARD + 2 * CHUNK] = 0
    shards = PixelShards(path, {"images": ("f4", (2, 5, 7))}, CHUNK, SHARD)
    shards.add({"images": values})
    shards.flush()
    return shard_reader.ShardedArray(path, "images", made), made, values


@settings(deadline=None, max_examples=60)
@given(start=st.integers(0, N + 3), length=st.integers(0, N + 3))
def test_any_rows_are_those_that_zarr_reads(array, start, length):
    ours, theirs, values = array
    rows = slice(start, start + length)
    found = ours.read(rows)
    np.testing.assert_array_equal(found, values[rows])
    np.testing.assert_array_equal(found, theirs[rows])
    assert found.dtype == theirs.dtype


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    batch = toy_cutouts(20)
    store = write_toy_store(tmp_path / "toy.zarr", batch)
    np.testing.assert_array_equal(store.read_pixels("images", slice(0, 20)), batch.images)
    batch.images[:] = 5 * batch.images
    other = write_toy_store(tmp_path / "other.zarr", batch)
    shutil.copy(shard_file(other.path, "images", 0), shard_file(store.path, "images", 0))
    np.testing.assert_array_equal(store.read_pixels("images", slice(0, 20)), batch.images)


@pytest.fixture
def store(tmp_path):
    return write_toy_store(tmp_path / "toy.zarr", toy_cutouts(20))


def spoil(file, place, value):
    """Write bytes over a file's, from its end where `place` is negative."""
    data = bytearray(file.read_bytes())
    place %= len(data)
    data[place : place + len(value)] = value
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (-1, b"\x55", "index .* does not match its checksum"),
        (-2052, b"\xff\xff\xff", "index .* does not match its checksum"),
        # the header of the first chunk: bytes it decodes to, bytes it takes
        (4, b"\xff\xff\xff\x7f", "a chunk of 2147483647 bytes"),
        (12, b"\xff\xff\xff\x7f", "cut short"),
    ],
)
def test_damage_is_named(store, place, value, told):
    spoil(shard_file(store.path, "images", 0), place, value)
    with pytest.raises(StoreError, match=rf"damaged .*{told}.*--replace"):
        CutoutStore(store.path).read_pixels("images", slice(0, 4))


def test_a_truncated_file_is_named(store):
    file = shard_file(store.path, "images", 0)
    for length in (100, file.stat().st_size - 7):
        file.write_bytes(file.read_bytes()[:length])
        with pytest.raises(StoreError, match=r"index .* does not match"):
            CutoutStore(store.path).read_pixels("images", slice(0, 4))


def test_another_layout_is_refused(store):
    file = store.path / "images" / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["codecs"][0]["configuration"]["index_location"] = "start"
    file.write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match="laid out in another way"):
        CutoutStore(store.path).read_pixels("images", slice(0, 4))
