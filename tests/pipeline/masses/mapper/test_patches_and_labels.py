"""Quarter turns of the grid, chosen pixels of a store, and bumps at haloes."""

from __future__ import annotations

import healpy as hp
import numpy as np
import pytest

from equilens.models.spherical.mapper_spec import MapperSpec
from equilens.pipeline.errors import SkyMapError
from equilens.pipeline.masses.halo_labels import HaloSelection, halo_label_map
from equilens.pipeline.masses.patches import patch_tiling, quarter_turn
from equilens.pipeline.masses.sky_pixels import PixelReader
from equilens.pipeline.skymaps.writer import write_map_store

SPEC = MapperSpec(16, 1, 1, 0, kappa_scale=1.0, galaxies_per_pixel=(1.0,), depth=2)


@pytest.mark.parametrize("turns", range(4))
def test_a_quarter_turn_is_a_rotation_about_the_poles(turns):
    pixels = np.arange(12 * 8**2)
    theta, phi = hp.pix2ang(8, pixels, nest=True)
    expected = hp.ang2pix(8, theta, phi + turns * np.pi / 2, nest=True)
    assert np.array_equal(quarter_turn(8, pixels, turns), expected)


def test_a_label_falls_off_with_the_distance_to_the_nearest_massive_halo():
    nside, selection = 64, HaloSelection()
    ra, dec = np.array([40.0, 200.0, 120.0, 10.0]), np.array([89.5, -20.0, 41.0, 0.0])
    table = {
        "ra_deg": ra,
        "dec_deg": dec,
        "redshift": np.array([0.3, 0.2, 0.3, 0.7]),
        "m200c_msun": np.array([3e14, 2e14, 1e14, 9e14]),
    }
    label = halo_label_map(table, nside, selection)
    pixels = np.stack(hp.pix2vec(nside, np.arange(label.size), nest=True), axis=-1)
    chord = np.min([np.linalg.norm(pixels - hp.ang2vec(*at, lonlat=True), axis=1)
                    for at in zip(ra[:2], dec[:2], strict=True)], axis=0)  # fmt: skip
    sigma = selection.width_pixels * hp.nside2resol(nside)
    expected = np.exp(-0.5 * (chord / sigma) ** 2)
    np.testing.assert_allclose(label, np.where(label > 0, expected, 0.0), atol=1e-6)
    # what lies further than two pixels is nothing: e^{-3} at most
    assert expected[label == 0].max() < 0.05


def test_chosen_pixels_are_those_of_the_map(tmp_path):
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=12 * 16**2).astype(np.float32) for name in ("A", "B")}
    columns["B"][5] = np.nan
    store = write_map_store(tmp_path / "map.zarr", columns, ordering="nested")
    pixels = rng.permutation(12 * 16**2)[:500]
    pixels[0] = 5
    found = PixelReader(store, ("B", "A"), kept_chunks=2).read(pixels)
    np.testing.assert_array_equal(found, [columns["B"][pixels], columns["A"][pixels]])


def test_squares_smaller_than_a_block_are_refused():
    assert len(patch_tiling(SPEC, 4, 5)) == 192
    with pytest.raises(SkyMapError, match="power of two up to 4 at nside 16 and depth 2, got 8"):
        patch_tiling(SPEC, 8, 0)
