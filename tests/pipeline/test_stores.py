import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec

from equilens.pipeline.cutouts import CutoutBatch, CutoutFlag
from equilens.pipeline.errors import StoreError
from equilens.pipeline.shards import crc32c, shard_file
from equilens.pipeline.store_writer import CutoutWriter
from equilens.pipeline.stores import MANIFEST, SHARD_SIZE, CutoutStore

SHAPE = (9, 11)
BANDS = ("g", "r")


def batch(n, start=0, shape=SHAPE, columns=()):
    rng = np.random.default_rng(start)
    images = rng.normal(size=(n, len(BANDS), *shape)).astype(np.float32)
    mask = rng.random(images.shape) < 0.1
    images[mask] = 0

    def text(prefix):
        return np.array([f"{prefix}{start + i}" for i in range(n)], dtype=object)

    return CutoutBatch(
        ids=text("EUCL J0415-50 é "),
        images=images,
        mask=mask,
        ra=np.arange(start, start + n, dtype=float) % 360,
        dec=np.full(n, np.nan),
        noise_njy=rng.random((n, 2)).astype(np.float32),
        noise_method=text("m"),
        psf_fwhm_arcsec=np.ones((n, 2), np.float32),
        pixel_scale_arcsec=np.full(n, 0.2, np.float32),
        band_present=rng.random((n, 2)) < 0.9,
        flags=np.zeros(n, np.uint32),
        wcs_header=text("w"),
        source_file=text("f"),
        source_checksum=text("c"),
        columns={name: np.arange(start, start + n) for name in columns},
    )


def write(path, *batches, **options):
    with CutoutWriter(path, survey="toy", bands=BANDS, shape=SHAPE, **options) as writer:
        for part in batches:
            writer.append(part)
    return CutoutStore(path)


def assert_same(found, expected):
    for entry in fields(CutoutBatch):
        if entry.name == "columns":
            continue
        np.testing.assert_array_equal(getattr(found, entry.name), getattr(expected, entry.name))
    assert found.columns.keys() == expected.columns.keys()
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], values)


@pytest.mark.parametrize("sizes", [(1,), (16, 16), (5, 7, 40), (2048,), (2000, 100), (1, 4200, 3)])
def test_round_trip_whatever_the_batches(tmp_path, sizes):
    starts = np.cumsum((0, *sizes))
    parts = [batch(n, int(s), columns=("z",)) for n, s in zip(sizes, starts, strict=False)]
    store = write(tmp_path / "s.zarr", *parts)
    expected = CutoutBatch.concatenate(parts)
    assert store.n_objects == sum(sizes)
    assert store.n_shards == -(-sum(sizes) // SHARD_SIZE)
    assert_same(CutoutBatch.concatenate(list(store.shards())), expected)
    assert store.verify() == []


def test_bytes_on_disk_are_those_of_zarr(tmp_path):
    part = batch(100)
    store = write(tmp_path / "s.zarr", part)
    oracle = zarr.create_array(
        tmp_path / "oracle.zarr",
        shape=(100, 2, *SHAPE),
        dtype="f4",
        chunks=(16, 2, *SHAPE),
        shards=(SHARD_SIZE, 2, *SHAPE),
        compressors=[BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")],
    )
    oracle[:] = part.images
    ours = store.path / "images/c/0/0/0/0"
    theirs = tmp_path / "oracle.zarr/c/0/0/0/0"
    ours, theirs = ours.read_bytes(), theirs.read_bytes()
    # zarr may order chunks as it likes: compare them through the index
    assert len(ours) == len(theirs)
    np.testing.assert_array_equal(zarr.open_group(store.path, mode="r")["images"][:], oracle[:])


def test_plain_zarr_reads_names_and_dimensions(tmp_path):
    store = write(tmp_path / "s.zarr", batch(3))
    group = zarr.open_group(store.path, mode="r")
    assert group["images"].metadata.dimension_names == ("object", "band", "y", "x")
    assert group["images"].attrs["unit"] == "nJy"
    assert group.attrs["bands"] == list(BANDS)
    assert list(group["ids"][:]) == [f"EUCL J0415-50 é {i}" for i in range(3)]


def test_crc32c_of_rfc_3720():
    assert crc32c(b"\0" * 32) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_batch_arrays_may_be_used_again(tmp_path):
    part = batch(10)
    expected = part.images.copy()
    with CutoutWriter(tmp_path / "s.zarr", survey="toy", bands=BANDS, shape=SHAPE) as writer:
        writer.append(part)
        part.images[:] = 7
    np.testing.assert_array_equal(CutoutStore(writer.path).read(slice(0, 10)).images, expected)


@pytest.mark.parametrize("gone", [[0], [5, 2047, 2048], [4095, 4100], list(range(2048, 4101))])
def test_dropped_objects_leave_no_trace(tmp_path, gone):
    whole = batch(4101)
    keep = np.setdiff1d(np.arange(4101), gone)
    with CutoutWriter(tmp_path / "s.zarr", survey="toy", bands=BANDS, shape=SHAPE) as writer:
        writer.append(whole)
        writer.drop(np.array(gone))
    store = CutoutStore(tmp_path / "s.zarr")
    assert_same(CutoutBatch.concatenate(list(store.shards())), whole.take(keep))
    assert store.verify() == []
    straight = write(tmp_path / "t.zarr", whole.take(keep))
    assert store.fingerprint == straight.fingerprint
    files = sorted(str(f.relative_to(store.path)) for f in store.path.rglob("*") if f.is_file())
    others = sorted(
        str(f.relative_to(straight.path)) for f in straight.path.rglob("*") if f.is_file()
    )
    assert files == others


def test_flags_can_be_added_later(tmp_path):
    with CutoutWriter(tmp_path / "s.zarr", survey="toy", bands=BANDS, shape=SHAPE) as writer:
        writer.append(batch(3))
        writer.append(batch(3, 3))
        writer.add_flag(np.array([1, 4]), CutoutFlag.MERGED_DUPLICATE)
    flags = CutoutStore(writer.path).read(slice(0, 6)).flags
    assert flags.tolist() == [0, 64, 0, 0, 64, 0]


def test_fingerprint_is_of_the_content(tmp_path):
    one = write(tmp_path / "a.zarr", batch(20))
    same = write(tmp_path / "b.zarr", batch(20).take(slice(0, 7)), batch(20).take(slice(7, 20)))
    assert one.fingerprint == same.fingerprint
    other = batch(20)
    other.images[3, 0, 4, 4] += 1
    assert write(tmp_path / "c.zarr", other).fingerprint != one.fingerprint
    configured = write(tmp_path / "d.zarr", batch(20), config={"n": 1})
    assert configured.fingerprint != one.fingerprint


def test_unfinished_store_is_refused_and_swept(tmp_path):
    path = tmp_path / "s.zarr"
    with pytest.raises(StoreError, match="cutouts must be"):
        write(path, batch(3000), batch(1, shape=(3, 3)))
    assert not (path / MANIFEST).exists()
    with pytest.raises(StoreError, match="never finished"):
        CutoutStore(path)
    assert write(path, batch(2)).n_objects == 2


def test_finished_store_is_kept_unless_replaced(tmp_path):
    path = tmp_path / "s.zarr"
    write(path, batch(2))
    with pytest.raises(StoreError, match="--replace"):
        write(path, batch(3))
    assert CutoutStore(path).n_objects == 2
    assert write(path, batch(3), replace=True).n_objects == 3


def test_folder_that_is_no_store_is_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="not a store"):
        write(tmp_path, batch(1), replace=True)
    assert (tmp_path / "thesis.tex").exists()


def test_second_writer_is_refused(tmp_path):
    path = tmp_path / "s.zarr"
    with CutoutWriter(path, survey="toy", bands=BANDS, shape=SHAPE) as writer:
        writer.append(batch(2))
        with pytest.raises(StoreError, match="another process"):
            CutoutWriter(path, survey="toy", bands=BANDS, shape=SHAPE, replace=True)
        code = (
            "import sys; from equilens.pipeline.lock import lock_store\n"
            "try: lock_store(sys.argv[1])\n"
            "except Exception as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
        )
        assert "another process" in done.stdout
    assert CutoutStore(path).n_objects == 2
    assert list(tmp_path.iterdir()) == [path]


def test_dead_writer_leaves_no_lock(tmp_path):
    path = tmp_path / "s.zarr"
    code = (
        "import os, sys; from equilens.pipeline.lock import lock_store\n"
        "lock_store(sys.argv[1]); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 9
    assert write(path, batch(1)).n_objects == 1


@pytest.mark.parametrize("name", ["images", "mask"])
def test_damaged_shard_is_noticed(tmp_path, name):
    store = write(tmp_path / "s.zarr", batch(2048), batch(5, 2048))
    file = store.path / name / "c/1/0/0/0"
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)
    assert store.verify() == [1]


def test_zeros_take_no_file_and_read_as_zeros(tmp_path):
    part = batch(4)
    part.images[:], part.mask[:] = 0, False
    store = write(tmp_path / "s.zarr", part)
    assert not (store.path / "images/c").exists() or not list(store.path.glob("images/c/*/*/*/*"))
    assert_same(store.read_shard(0), part)
    assert store.verify() == []


def test_wrong_shape_bands_and_columns_are_refused(tmp_path):
    with CutoutWriter(tmp_path / "s.zarr", survey="toy", bands=BANDS, shape=SHAPE) as writer:
        writer.append(batch(1))
        with pytest.raises(StoreError, match=r"cutouts must be \(2, 9, 11\)"):
            writer.append(batch(1, 1, shape=(11, 9)))
        with pytest.raises(StoreError, match="columns"):
            writer.append(batch(1, 1, columns=("z",)))
    with (
        pytest.raises(StoreError),
        CutoutWriter(tmp_path / "t.zarr", survey="toy", bands=("g",), shape=SHAPE) as writer,
    ):
        writer.append(batch(1))


def test_store_without_objects_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no object"):
        write(tmp_path / "s.zarr")


def test_find_and_table(tmp_path):
    store = write(tmp_path / "s.zarr", batch(30, columns=("is_lens",)))
    assert store.find("EUCL J0415-50 é 17") == 17
    with pytest.raises(StoreError, match="no object"):
        store.find("17")
    table = store.table()
    assert table.num_rows == 30
    assert {"id", "noise_njy_g", "band_present_r", "is_lens"} <= set(table.column_names)
    with pytest.raises(StoreError, match=r"shard must be in 0\.\.0"):
        store.read_shard(1)


def test_store_of_another_kind_is_refused(tmp_path):
    store = write(tmp_path / "s.zarr", batch(1))
    manifest = json.loads((store.path / MANIFEST).read_text())
    (store.path / MANIFEST).write_text(json.dumps(manifest | {"kind": "scores"}))
    with pytest.raises(StoreError, match="scores"):
        CutoutStore(store.path)


def test_a_lost_shard_is_an_error_and_not_an_empty_sky(tmp_path):
    with CutoutWriter(tmp_path / "s.zarr", survey="s", bands=BANDS, shape=SHAPE) as writer:
        writer.append(batch(5))
    store = CutoutStore(tmp_path / "s.zarr")
    assert len(store.read_shard(0)) == 5
    shard_file(store.path, "images", 0).unlink()
    with pytest.raises(StoreError, match="lost shard 0 of images"):
        store.read_shard(0)
