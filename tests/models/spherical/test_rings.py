"""Ring geometry against healpy's pixel centres, and the quadrature of both grids."""

import healpy as hp
import numpy as np
import pytest
import torch

from equilens.models.errors import HarmonicError
from equilens.models.spherical.ducc import ring_geometry
from equilens.models.spherical.phases import RingPhases
from equilens.models.spherical.rings import gauss_legendre_rings, healpix_rings


@pytest.mark.parametrize("nside", [1, 2, 16])
def test_pixels_are_where_healpy_has_them(nside):
    rings = ring_geometry(healpix_rings(nside))
    theta, phi = hp.pix2ang(nside, np.arange(12 * nside**2))
    lengths = rings["nphi"].astype(int)
    np.testing.assert_allclose(np.repeat(rings["theta"], lengths), theta, atol=1e-14)
    ours = [p + 2 * np.pi * np.arange(n) / n for p, n in zip(rings["phi0"], lengths, strict=True)]
    np.testing.assert_allclose(np.concatenate(ours), phi, atol=1e-13)


@pytest.mark.parametrize("nside", [1, 2, 8])
def test_parts_are_even_and_odd_in_latitude(nside):
    grid = healpix_rings(nside)
    orders = torch.ones(grid.rings, dtype=torch.int64)
    phases = RingPhases(grid, orders, torch.float64, torch.device("cpu"))
    theta, phi = hp.pix2ang(nside, np.arange(grid.pixels))
    even, odd = np.cos(theta) ** 2 + np.sin(phi), np.cos(theta) * np.cos(phi)
    parts = phases.split(torch.from_numpy(np.stack((even, odd))))
    for part in parts:
        assert part[0, 1].abs().sum() < 1e-12
        assert part[1, 0].abs().sum() < 1e-12
    north_is_doubled = np.where(np.abs(theta - np.pi / 2) < 1e-9, 1, 2)
    np.testing.assert_allclose(phases.join(parts)[0].numpy(), north_is_doubled * even, atol=1e-14)


@pytest.mark.parametrize("grid", [healpix_rings(4), *map(gauss_legendre_rings, (0, 1, 6, 7))])
def test_weights_sum_to_the_area_of_the_sphere(grid):
    lengths = torch.from_numpy(ring_geometry(grid)["nphi"].astype(np.int64))
    sides = torch.cat((grid.weights, grid.weights.flip(0)[int(grid.has_equator) :]))
    assert float((lengths * sides).sum()) == pytest.approx(4 * np.pi, rel=1e-14)
    assert int(lengths.sum()) == grid.pixels


def test_geometry_that_does_not_exist_is_refused():
    with pytest.raises(HarmonicError, match="got 48; nearest are 32 and 64"):
        healpix_rings(48)
    with pytest.raises(HarmonicError, match="lmax must be at least 0, got -1"):
        gauss_legendre_rings(-1)
