"""Tiles with halos give what the whole sphere gives, and no less halo does."""

import doctest
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from equilens.models.errors import PixelError
from equilens.models.homogeneous import sphere
from equilens.models.planar.nonlinearities import GatedNonlinearity
from equilens.models.spherical import local_convolution, tile_geometry, tiles
from equilens.models.spherical.local_convolution import SphereConv
from equilens.models.spherical.resolution import (
    SmoothPooling,
    SmoothUpsampling,
    SpherePooling,
    SphereUpsampling,
)
from equilens.models.spherical.tile_geometry import TileGeometry
from equilens.models.spherical.tiles import (
    Tiling,
    apply_by_tiles,
    gather_pixels,
    tile_around,
)

NSIDE = 16
SHEAR = sphere().field_type("irrep(2)")
HIDDEN = sphere().field_type("2xirrep(0)+2xirrep(2)")


class UNet(nn.Module):
    """Down once and up again; it reaches 2 + 2·2 + 2 pixels, smooth layers 1 + 2·2 more."""

    def __init__(self, smooth):
        super().__init__()
        self.gate = GatedNonlinearity(HIDDEN)
        self.first = SphereConv(SHEAR, self.gate.in_type)
        self.pool = (SmoothPooling if smooth else SpherePooling)(HIDDEN)
        self.middle = SphereConv(HIDDEN, HIDDEN)
        self.grow = (SmoothUpsampling if smooth else SphereUpsampling)(HIDDEN)
        self.last = SphereConv(HIDDEN, SHEAR)

    def forward(self, shear, geometry):
        fine = self.gate(self.first(shear, geometry))
        coarse = self.middle(self.pool(fine, geometry), geometry.coarser())
        return self.last(fine + self.grow(coarse, geometry), geometry)


def network(smooth=False):
    torch.manual_seed(0)
    return UNet(smooth).double()


@pytest.fixture(scope="module")
def sky():
    return np.random.default_rng(0).normal(size=(2, 12 * NSIDE**2))


def on_whole_sphere(net, sky):
    geometry = TileGeometry(NSIDE, np.arange(sky.shape[1]))
    with torch.no_grad():
        return net(torch.from_numpy(sky)[None], geometry)[0].numpy()


@pytest.mark.parametrize("smooth", [False, True])
def test_tiles_are_the_whole_sphere(sky, smooth):
    net = network(smooth)
    tiling = Tiling(NSIDE, core_nside=1, block_nside=8, rings=7 if smooth else 4)
    found = apply_by_tiles(net, tiling, sky)
    np.testing.assert_allclose(found, on_whole_sphere(net, sky), atol=1e-12)


def test_places_all_over_the_sky_in_one_batch(sky):
    net = network()
    tiling = Tiling(NSIDE, core_nside=2, block_nside=4, rings=2)
    # a pole, a corner where three base pixels meet, the belt
    numbers = [3, 1, 16]
    geometry = tiling.together(numbers)
    assert (geometry.pixels < 0).any()
    batch = gather_pixels(sky, geometry.pixels).movedim(0, 1)
    with torch.no_grad():
        found = net(batch, geometry)[..., : tiling.core_size].numpy()
    expected = on_whole_sphere(net, sky)
    for one, number in zip(found, numbers, strict=True):
        np.testing.assert_allclose(one, expected[:, tiling.tile(number).core], atol=1e-12)


def test_maps_of_one_place_in_one_batch(sky):
    net, tile = network(), tile_around(NSIDE, 1250, 2, 4)
    maps = torch.stack([gather_pixels(sky, tile.pixels), -gather_pixels(sky, tile.pixels)])
    both = net(maps, tile.geometry)
    torch.testing.assert_close(both[1:], net(maps[1:], tile.geometry))


def test_tables_made_in_inference_serve_training(sky):
    net, tile = network(), Tiling(NSIDE, core_nside=2, block_nside=4).tile(9)
    x = gather_pixels(sky, tile.pixels)[None]
    with torch.inference_mode():
        first = net(x, tile.geometry)
    again = net(x, tile.geometry)
    again.sum().backward()
    torch.testing.assert_close(again, first)
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_tiles_travel_without_their_tables(sky):
    net, tile = network(), Tiling(NSIDE, core_nside=2, block_nside=4).tile(9)
    before = len(pickle.dumps(tile))
    expected = net(gather_pixels(sky, tile.pixels)[None], tile.geometry)
    assert len(pickle.dumps(tile)) < 2 * before + 1000
    sent = pickle.loads(pickle.dumps(tile))
    found = net(gather_pixels(sky, sent.pixels)[None], sent.geometry)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_too_little_halo_shows(sky):
    net = network()
    found = apply_by_tiles(net, Tiling(NSIDE, core_nside=1, block_nside=8, rings=2), sky)
    assert np.abs(found - on_whole_sphere(net, sky)).max() > 1e-3


def test_cores_come_first_and_cover_the_sky():
    tiling = Tiling(16, core_nside=2, block_nside=4, rings=2)
    assert tiling.halo == 8
    assert len(tiling) == 48
    seen = [tile.pixels[: tile.core_size] for tile in tiling]
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(12 * 16**2))
    assert all(len(set(tile.pixels)) == len(tile.pixels) for tile in tiling)
    tile = tile_around(16, 777, 2, 4)
    assert tile.core.start <= 777 < tile.core.stop


def test_pixels_are_gathered_in_runs_and_fill_up_with_zeros(sky):
    pixels = np.array([[5, 6, 7, -1], [9, 3, -1, -1]])
    found = gather_pixels(sky, pixels)
    expected = np.where(pixels < 0, 0.0, sky[:, pixels])
    np.testing.assert_array_equal(found.numpy(), expected)


def test_what_cannot_be_is_named():
    with pytest.raises(PixelError, match="core_nside ≤ block_nside ≤ nside, got 8, 4, 16"):
        Tiling(16, core_nside=8, block_nside=4)
    with pytest.raises(PixelError, match="tiles are 0 … 47"):
        Tiling(16, core_nside=2, block_nside=4).tile(48)
    with pytest.raises(PixelError, match="whole groups of four siblings"):
        TileGeometry(16, np.arange(2, 6)).coarser()


@pytest.mark.parametrize("module", [local_convolution, tile_geometry, tiles])
def test_examples_in_docstrings(module):
    torch.manual_seed(0)
    assert doctest.testmod(module).failed == 0
