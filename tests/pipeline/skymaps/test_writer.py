"""Maps written base pixel by base pixel."""

from __future__ import annotations

from pathlib import Path

import healpy as hp
import numpy as np
import pytest

from equilens.pipeline.errors import StoreError
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.skymaps.writer import MapLayout, MapWriter, write_map_store

NSIDE = 4
N_PIXELS = 12 * NSIDE**2
LAYOUT = MapLayout(NSIDE, "icrs", {"G1": "1", "G2": "1", "DEPTH (r)": "mag"})


def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {name: rng.normal(size=N_PIXELS).astype(np.float32) for name in LAYOUT.columns}
    made["G1"][3:40] = np.nan
    return made


def blocks(values: np.ndarray) -> np.ndarray:
    return values.reshape(12, NSIDE**2)


def test_shards_in_any_order_are_the_map_written_at_once(tmp_path: Path):
    whole = write_map_store(
        tmp_path / "whole.zarr", columns(), ordering="nested", units=LAYOUT.units
    )
    MapWriter.create(tmp_path / "parts.zarr", LAYOUT)
    for base_pixel in np.random.default_rng(1).permutation(12).tolist():
        # as another process would: each opens the map anew
        writer = MapWriter(tmp_path / "parts.zarr", LAYOUT)
        for name, values in columns().items():
            writer.write(name, base_pixel, blocks(values)[base_pixel])
    parts = writer.finish({})
    assert parts.fingerprint == whole.fingerprint
    assert parts.spins == {"G1": 2, "G2": 2, "DEPTH (r)": 0}
    assert not parts.verify()


def test_a_column_in_ring_order_comes_back_in_ring_order(tmp_path: Path):
    writer = MapWriter.create(tmp_path / "map.zarr", LAYOUT)
    for name, values in columns().items():
        writer.write_column(name, values, "ring")
    store = writer.finish({})
    np.testing.assert_array_equal(store.read("G1", "ring"), columns()["G1"])
    np.testing.assert_array_equal(store.read("G1"), hp.reorder(columns()["G1"], r2n=True))
    assert store.column("G1").n_masked == 37


def test_a_base_pixel_of_nothing_but_zeros_is_written_all_the_same(tmp_path: Path):
    writer = MapWriter.create(tmp_path / "map.zarr", LAYOUT)
    assert not writer.is_written(5)
    for name in LAYOUT.columns[:-1]:
        writer.write(name, 5, np.zeros(NSIDE**2, np.float32))
    assert not writer.is_written(5)
    MapWriter(writer.path, LAYOUT).write(LAYOUT.columns[-1], 5, np.zeros(NSIDE**2, np.float32))
    assert writer.is_written(5)
    assert not writer.is_written(4)


def test_integers_keep_their_type_and_hold_zero_where_masked(tmp_path: Path):
    layout = MapLayout(NSIDE, "galactic", {"N": "1"}, {"N": np.dtype("i4")})
    writer = MapWriter.create(tmp_path / "map.zarr", layout)
    masked = np.zeros(NSIDE**2, bool)
    masked[7] = True
    for base_pixel in range(12):
        writer.write("N", base_pixel, np.full(NSIDE**2, 9, "i4"), masked)
    store = writer.finish({})
    assert store.dtype("N") == np.dtype("i4")
    assert store.column("N").n_masked == 12
    assert store.read("N", fill=-1)[7] == -1


def test_a_map_without_its_manifest_is_no_map(tmp_path: Path):
    writer = MapWriter.create(tmp_path / "map.zarr", LAYOUT)
    with pytest.raises(StoreError):
        SkyMapStore.open(writer.path)
