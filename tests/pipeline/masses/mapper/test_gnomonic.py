"""Tangent planes: interpolation, shear along the tile's axes, and back to the sky."""

from __future__ import annotations

import healpy as hp
import numpy as np
import pytest
import torch

from equilens.models.spherical.mapper_spec import MapperSpec
from equilens.pipeline.errors import SkyMapError
from equilens.pipeline.masses.gnomonic import GnomonicTile
from equilens.pipeline.masses.planar_baseline import map_with_tiles
from equilens.pipeline.masses.planar_unet import PlanarUnet, width_for

NSIDE = 32
SPEC = MapperSpec(NSIDE, 1, 2, 1, kappa_scale=0.02, galaxies_per_pixel=(50.0,), depth=1)


def test_a_constant_stays_constant():
    tile = GnomonicTile.at(NSIDE, 40.0, 70.0, 16)
    np.testing.assert_allclose(tile.scalars(np.full(12 * NSIDE**2, 3.0)), 3.0, rtol=1e-6)


def test_interpolation_is_healpys():
    tile = GnomonicTile.at(NSIDE, 200.0, -30.0, 12)
    values = np.random.default_rng(0).normal(size=12 * NSIDE**2)
    side = tile.side // 2
    lon, lat = hp.pix2ang(
        NSIDE, hp.ang2pix(NSIDE, 200.0, -30.0, nest=True, lonlat=True), True, True
    )
    x, y = tile.places(np.array([hp.ang2pix(NSIDE, 200.0, -30.0, nest=True, lonlat=True)]))
    assert np.abs([x, y]).max() < 2 / side
    found = tile.scalars(values).reshape(tile.side, tile.side)[side - 1 : side + 1]
    assert np.isfinite(found).all()
    assert abs(float(lon) - 200.0) < 2
    assert abs(float(lat) + 30.0) < 2


@pytest.mark.parametrize(("lon", "lat"), [(10.0, 0.0), (250.0, 60.0), (0.0, 88.0)])
def test_shear_about_a_centre_is_tangential_on_its_tile(lon, lat):
    """Closed form: γ = −e^{2iφ} about the centre has γ1 < 0 east and west, > 0 on the diagonals."""
    pixels = np.arange(12 * NSIDE**2)
    theta, phi = hp.pix2ang(NSIDE, pixels, nest=True)
    bearing = _bearing_to(theta, phi, np.radians(90 - lat), np.radians(lon))
    # tangential stretching: at right angles to the direction of the centre
    shear = -np.exp(2j * bearing)
    weight = np.ones_like(theta)
    sky = np.stack([shear.real, shear.imag, weight, weight])[None]
    tile = GnomonicTile.at(NSIDE, lon, lat, 16)
    there = tile.shear_sky(sky)[0].reshape(4, 16, 16)
    steps = np.arange(16) - 7.5
    east, north = np.meshgrid(steps, steps)
    expected = -np.exp(2j * np.arctan2(east, -north))
    ring = (np.hypot(east, north) > 4) & (np.hypot(east, north) < 7)
    found = there[0] + 1j * there[1]
    assert np.abs(found - expected)[ring].max() < 0.15


def _bearing_to(theta, phi, theta0, phi0) -> np.ndarray:
    """Direction of a point from others, from e_θ towards e_φ."""
    toward = np.stack(
        [np.sin(theta0) * np.cos(phi0), np.sin(theta0) * np.sin(phi0), np.cos(theta0)]
    )
    south = np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), -np.sin(theta)])
    east = np.stack([-np.sin(phi), np.cos(phi), np.zeros_like(phi)])
    return np.arctan2(toward @ east, toward @ south)


def test_an_untaught_planar_network_maps_the_linear_estimate():
    rng = np.random.default_rng(0)
    sky = rng.normal(size=(1, 4, 12 * NSIDE**2)).astype(np.float32)
    sky[:, 2:] = 50.0
    sky[:, 3, :100] = 0.0
    linear = rng.normal(scale=0.02, size=(3, 12 * NSIDE**2)).astype(np.float32)
    network = PlanarUnet(SPEC, 4).eval()
    found = map_with_tiles(network, sky, linear)["KAPPA"]
    assert np.isnan(found[:100]).all()
    np.testing.assert_allclose(found[100:], linear[0, 100:], atol=1e-6)


def test_its_size_is_that_of_the_mapper():
    network = PlanarUnet(SPEC, width_for(SPEC, 9000))
    assert abs(sum(p.numel() for p in network.parameters()) / 9000 - 1) < 0.25


def test_a_planar_network_is_not_equivariant():
    """Negative control: what its tile sees turned by 90° it answers with something else."""
    torch.manual_seed(0)
    network = PlanarUnet(SPEC, 4).eval()
    torch.nn.init.normal_(network.head.weight)
    scalars = torch.randn(1, SPEC.scalar_inputs, 16, 16)
    none = torch.zeros(1, 1, 2, 256)
    with torch.no_grad():
        first = network(16, scalars.flatten(2), none).halo_logit.view(16, 16)
        second = network(16, scalars.rot90(1, (2, 3)).flatten(2), none).halo_logit.view(16, 16)
    assert (first.rot90(1, (0, 1)) - second).abs().max() > 1e-2


def test_an_impossible_tile_is_refused():
    with pytest.raises(SkyMapError, match="multiple of 4 from 8 on, got 10"):
        GnomonicTile.at(NSIDE, 0.0, 0.0, 10)
