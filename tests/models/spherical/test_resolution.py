"""Pooling and upsampling of spin fields on HEALPix maps."""

import healpy
import numpy as np
import pytest
import torch

from equilens.models.homogeneous import sphere
from equilens.models.spherical.healpix_rotations import SpinMaps, healpix_rotation_error
from equilens.models.spherical.resolution import (
    SmoothPooling,
    SmoothUpsampling,
    SpherePooling,
    SphereUpsampling,
)
from equilens.models.spherical.stencil_tables import POOLING, UPSAMPLING
from equilens.models.spherical.stencils import pixel_spacing
from equilens.models.spherical.tile_geometry import TileGeometry

FIELDS = sphere().field_type("irrep(2)+irrep(0)+irrep(1)")
LAYERS = (SpherePooling, SmoothPooling, SphereUpsampling, SmoothUpsampling)


def whole_sphere(nside):
    return TileGeometry(nside, np.arange(12 * nside**2))


def smooth_fields(nside, lmax=6):
    maps = SpinMaps(FIELDS, nside, lmax)
    return maps.random(lmax, 0.0, seed=0)


def sampled(alms, nside, lmax=6, blur=0.0):
    """Maps of the fields after a heat flow, whose generator on spin s is ℓ(ℓ+1) − s²."""
    maps, ell = SpinMaps(FIELDS, nside, lmax), np.arange(lmax + 1)
    blurred = []
    for alm, spin in zip(alms, maps.spins, strict=True):
        window = np.exp(-0.5 * (ell * (ell + 1) - spin.frequency**2) * blur**2)
        blurred.append(np.array([healpy.almxfl(part, window) for part in alm]))
    return torch.from_numpy(maps.synthesis(blurred))[None]


@pytest.mark.parametrize("layer", LAYERS)
def test_constant_scalars_stay_constant(layer):
    scalars = sphere().field_type("irrep(0)")
    coarse = "Upsampling" in layer.__name__
    ones = torch.ones(1, 1, 12 * (8 if coarse else 16) ** 2, dtype=torch.float64)
    found = layer(scalars)(ones, whole_sphere(16))
    torch.testing.assert_close(found, torch.ones_like(found), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("layer", "tolerance"), [(SpherePooling, 0.02), (SmoothPooling, 1e-3)])
def test_pooling_samples_the_blurred_field(layer, tolerance):
    alms = smooth_fields(32)
    blur = POOLING.width * pixel_spacing(32) if layer is SmoothPooling else 0.0
    found = layer(FIELDS)(sampled(alms, 32), whole_sphere(32))
    expected = sampled(alms, 16, blur=blur)
    assert float((found - expected).abs().max() / expected.abs().max()) < tolerance


@pytest.mark.parametrize(
    ("layer", "tolerance"), [(SphereUpsampling, 0.2), (SmoothUpsampling, 1e-3)]
)
def test_upsampling_samples_the_blurred_field(layer, tolerance):
    alms = smooth_fields(32)
    blur = UPSAMPLING.width * pixel_spacing(16) if layer is SmoothUpsampling else 0.0
    found = layer(FIELDS)(sampled(alms, 16), whole_sphere(32))
    expected = sampled(alms, 32, blur=blur)
    assert float((found - expected).abs().max() / expected.abs().max()) < tolerance


def test_smooth_pooling_commutes_with_rotations_and_a_mean_does_not():
    smooth = healpix_rotation_error(SmoothPooling(FIELDS), 16, 12, out_degree=8)
    mean = healpix_rotation_error(SpherePooling(FIELDS), 16, 12, out_degree=8)
    assert smooth < 2e-3 < 4 * smooth < mean


@pytest.mark.parametrize("layer", [SpherePooling, SmoothPooling])
def test_frames_turned_the_wrong_way_show_at_the_poles(layer):
    alms = smooth_fields(32)
    geometry = whole_sphere(32)
    geometry.siblings = geometry.siblings.conj()
    geometry._resampling["down", 2] = torch.stack([geometry.pooling(2)[0], -geometry.pooling(2)[1]])
    found = layer(FIELDS)(sampled(alms, 32), geometry)
    expected = sampled(alms, 16)
    assert float((found - expected)[:, :2].abs().max() / expected[:, :2].abs().max()) > 0.1


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients(layer):
    geometry = TileGeometry(8, np.arange(32))
    n = 8 if "Upsampling" in layer.__name__ else 32
    x = torch.randn(2, FIELDS.channels, n, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer(FIELDS), (x, geometry), fast_mode=True, atol=1e-4)
