"""Convolution on HEALPix maps: exact eigenvalues, a slow reference, rotations and mirrors."""

import healpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from equilens.models.continuous_groups import O2
from equilens.models.errors import FieldTypeError, PixelError
from equilens.models.fields import FieldType, regular_type
from equilens.models.groups import CyclicGroup
from equilens.models.homogeneous import sphere
from equilens.models.planar.nonlinearities import GatedNonlinearity
from equilens.models.spherical import tile_geometry
from equilens.models.spherical.healpix_rotations import SpinMaps, healpix_rotation_error
from equilens.models.spherical.local_convolution import SphereConv
from equilens.models.spherical.sphere_paths import Spin, paths_between
from equilens.models.spherical.steered_gaussians import SteeredGaussian
from equilens.models.spherical.stencil_tables import window_table
from equilens.models.spherical.stencils import pixel_spacing
from equilens.models.spherical.tile_geometry import StencilKey, TileGeometry
from equilens.models.spherical.wigner import wigner_d

FIELDS = sphere().field_type("2xirrep(0)+irrep(2)+irrep(1)")
SHEAR = sphere().field_type("irrep(2)")
SCALAR = sphere().field_type("irrep(0)")


def whole_sphere(nside):
    return TileGeometry(nside, np.arange(12 * nside**2))


def features(field_type, nside, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, field_type.channels, 12 * nside**2)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def seeded(module):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module.double().requires_grad_(False)


def one_path(source, target, number):
    """A convolution by a single kernel between two spins."""
    types = [sphere().field_type(f"irrep({spin})") for spin in (source, target)]
    layer = SphereConv(*types).double().requires_grad_(False)
    with torch.no_grad():
        layer.parts[0].coefficients[0].zero_()[number] = 1.0
    return layer


def eigenvalues(kernel, source, target, nside, lmax):
    """2π ∫ K(β) d^ℓ_{s's}(β) β dβ, the multipliers of degrees 0 … lmax."""
    h = pixel_spacing(nside)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    beta = torch.from_numpy((nodes + 1) * 4 * h)
    radial = kernel.blurred(torch.complex(beta / h, torch.zeros_like(beta))).real / h**2
    measure = torch.from_numpy(weights) * 4 * h * beta * 2 * np.pi
    return (wigner_d(lmax, target, source, beta) * radial * measure).sum(dim=1).numpy()


def test_constant_fields_stay_constant():
    layer = one_path(0, 0, 1)
    ones = torch.ones(1, 1, 12 * 8**2, dtype=torch.float64)
    torch.testing.assert_close(layer(ones, whole_sphere(8)), ones, atol=1e-6, rtol=0)
    laplacian = one_path(0, 0, 2)
    assert float(laplacian(ones, whole_sphere(8)).abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("source", "target", "number", "kernel"),
    [
        (0, 0, 1, SteeredGaussian(0, 0)),
        (0, 0, 2, SteeredGaussian(0, 1)),
        (0, 2, 0, SteeredGaussian(2, 0)),
        (0, 1, 0, SteeredGaussian(1, 0)),
        (2, 2, 2, SteeredGaussian(0, 0)),
        (2, 0, 0, SteeredGaussian(2, 0)),
    ],
)
def test_harmonics_are_eigenfunctions(source, target, number, kernel):
    nside, lmax = 32, 32
    maps = [SpinMaps(sphere().field_type(f"irrep({s})"), nside, lmax) for s in (source, target)]
    (alm,) = maps[0].random(lmax, 0.0, seed=3)
    found = one_path(source, target, number)(
        torch.from_numpy(maps[0].synthesis([alm]))[None], whole_sphere(nside)
    )
    multiplier = eigenvalues(kernel, source, target, nside, lmax)
    # healpy's E and B are minus the coefficients of the spin harmonics; a scalar has no B
    sign = -1.0 if (source == 0) != (target == 0) else 1.0
    parts = [healpy.almxfl(part, sign * multiplier) for part in alm]
    spin = maps[1].spins[0]
    expected = np.array([*parts, 0 * parts[0]][: len(spin.components)])
    exact = maps[1].synthesis([expected])
    error = np.sqrt(((found[0].detach().numpy() - exact) ** 2).mean() / (exact**2).mean())
    assert error < 3e-3


def test_blur_is_healpys_smoothing():
    nside, layer = 32, one_path(0, 0, 1)
    maps = SpinMaps(SCALAR, nside, 24)
    (alm,) = maps.random(24, 1.0, seed=0)
    sky = maps.synthesis([alm])
    width = SteeredGaussian(0, 0).width * pixel_spacing(nside)
    smooth = maps.synthesis([healpy.smoothalm(alm[0], sigma=width, inplace=False)[None]])
    with torch.no_grad():
        found = layer(torch.from_numpy(sky)[None], whole_sphere(nside))[0].numpy()
    assert np.abs(found - smooth).max() < 1e-3 * np.abs(smooth).max()


def slow_convolution(layer, x, nside):
    """Pixel by pixel, neighbour by neighbour, in complex numbers."""
    table = window_table(nside, layer.degree)
    pixels = np.arange(12 * nside**2)
    geometry = whole_sphere(nside)
    weights = {}
    at = table.place(pixels)
    phases = torch.complex(*table.gather(-1, at)).numpy()
    for turns, order, kernel_layer in ((0, 0, 0), (0, 1, 1), (1, 0, 2), (2, 0, 3)):
        weights[turns, order] = torch.complex(*table.gather(kernel_layer, at)).numpy()
    found = np.zeros((len(pixels), 2))
    z = x[0, 0] + 1j * x[0, 1]
    coefficients = layer.parts[0].coefficients[0].detach().numpy()[:, 0, 0]
    paths = paths_between(Spin(2), Spin(2), layer.degree, complex_weights=True)
    for pixel in pixels:
        for coefficient, path in zip(coefficients, paths, strict=True):
            total = 0j
            if path.key is None:
                total = z[pixel]
            else:
                for k in range(25):
                    if geometry.windows.present[pixel, k]:
                        there = z[geometry.windows.places[pixel, k]]
                        turned = phases[pixel, k] ** path.key.transport * there
                        total += weights[path.key.turns, path.key.order][pixel, k] * turned
            # the second path of each kernel has the factor i
            value = path.matrices[0] @ np.array([total.real, total.imag])
            found[pixel] += coefficient * value
    return found.T


def test_agrees_with_loops_over_pixels():
    layer = seeded(SphereConv(SHEAR, SHEAR))
    x = features(SHEAR, 4)
    expected = slow_convolution(layer, x.numpy(), 4)
    found = layer(x, whole_sphere(4))[0].detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_mixing_before_and_after_the_windows_agree():
    wide, narrow = sphere().field_type("6xirrep(0)"), sphere().field_type("2xirrep(0)")
    first, both = seeded(SphereConv(wide, narrow)), seeded(SphereConv(wide, wide))
    with torch.no_grad():
        both.parts[0].coefficients[0][:, :2] = first.parts[0].coefficients[0]
    x = features(wide, 8)
    torch.testing.assert_close(both(x, whole_sphere(8))[:, :2], first(x, whole_sphere(8)))


def test_gradients():
    pixels = np.arange(24)
    geometry = TileGeometry(8, np.stack([pixels, pixels + 384]))
    layer = seeded(SphereConv(FIELDS, FIELDS, bias=True)).requires_grad_()
    x = torch.randn(2, FIELDS.channels, 24, dtype=torch.float64, requires_grad=True)
    weights = list(layer.parameters())
    assert torch.autograd.gradcheck(
        lambda x, *_: layer(x, geometry), (x, *weights), fast_mode=True, atol=1e-4
    )


@settings(max_examples=4, deadline=None)
@given(angles=st.tuples(*[st.floats(0.1, 3.0)] * 3))
def test_commutes_with_rotations(angles):
    layer = seeded(SphereConv(FIELDS, FIELDS))
    assert healpix_rotation_error(layer, 16, 16, angles=angles) < 2e-3


def test_commutes_with_rotations_through_a_gate():
    gate = GatedNonlinearity(FIELDS)
    network = Sequence(SphereConv(FIELDS, gate.in_type), gate, SphereConv(FIELDS, FIELDS))
    assert healpix_rotation_error(network.double(), 16, 16) < 3e-3


@pytest.mark.parametrize("type_spec", ["irrep(0,0)+irrep(1,0)+irrep(1,2)+irrep(1,1)"])
def test_types_over_o2_keep_parity(type_spec):
    field_type = FieldType(O2(), type_spec)
    layer = seeded(SphereConv(field_type, field_type))
    x = features(field_type, 8)
    found, mirrored = layer(x, whole_sphere(8)), layer(mirror(x), whole_sphere(8))
    torch.testing.assert_close(mirrored, mirror(found), atol=1e-5, rtol=0)


def mirror(x):
    """φ → −φ of (scalar, pseudoscalar, spin 2, spin 1): what turns or is odd changes sign."""
    nside = healpy.npix2nside(x.shape[-1])
    theta, phi = healpy.pix2ang(nside, np.arange(x.shape[-1]), nest=True)
    image = healpy.ang2pix(nside, theta, -phi % (2 * np.pi), nest=True)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]).double()
    return x[..., image] * signs[:, None]


def test_types_over_so2_do_not_keep_parity():
    field_type = sphere().field_type("2xirrep(0)+irrep(2)+irrep(1)")
    layer = seeded(SphereConv(field_type, field_type))
    x = features(field_type, 8)
    x[:, 1] = 0.0
    found, mirrored = layer(x, whole_sphere(8)), layer(mirror(x), whole_sphere(8))
    assert float((mirrored - mirror(found))[:, 2:].abs().max()) > 0.1


def test_without_transport_rotations_show(monkeypatch):
    untransported = tile_geometry._carried
    monkeypatch.setattr(
        tile_geometry, "_carried", lambda weights, phases, times: untransported(weights, phases, 0)
    )
    assert healpix_rotation_error(seeded(SphereConv(SHEAR, SHEAR)), 16, 16) > 2e-2


def test_a_relu_on_components_of_shear_shows():
    class Relu(nn.Module):
        in_type = out_type = SHEAR

        def forward(self, x, geometry):
            return torch.relu(x)

    assert healpix_rotation_error(Relu(), 16, 16) > 0.1


class Sequence(nn.Module):
    """Layers one after the other, with the geometry where they take one."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.in_type, self.out_type = layers[0].in_type, layers[-1].out_type

    def forward(self, x, geometry):
        for layer in self.layers:
            x = layer(x, geometry) if isinstance(layer, SphereConv) else layer(x)
        return x


def test_paths_are_counted():
    scalar, shear = Spin(0), Spin(2)
    assert len(paths_between(scalar, scalar, 2, complex_weights=True)) == 3
    assert len(paths_between(scalar, shear, 2, complex_weights=True)) == 2
    assert len(paths_between(shear, scalar, 2, complex_weights=False)) == 1
    # itself, blur and its Laplacian, each turned by a right angle as well; from 4 on z̄ too
    assert len(paths_between(shear, shear, 2, complex_weights=True)) == 6
    assert len(paths_between(shear, shear, 4, complex_weights=True)) == 10
    (path,) = paths_between(shear, scalar, 2, complex_weights=False)
    assert path.key == StencilKey(2, 0, -2)


def test_wrong_fields_and_shapes_are_named():
    regular = regular_type(CyclicGroup(4), 4)
    with pytest.raises(FieldTypeError, match="irreps of SO"):
        SphereConv(regular, regular)
    with pytest.raises(FieldTypeError, match="raise the degree"):
        SphereConv(SCALAR, sphere().field_type("irrep(3)"))
    with pytest.raises(FieldTypeError, match="from every field of the input"):
        SphereConv(sphere().field_type("irrep(0)+irrep(3)"), SCALAR)
    with pytest.raises(FieldTypeError, match="one group"):
        SphereConv(SCALAR, FieldType(O2(), "irrep(0,0)"))
    with pytest.raises(PixelError, match="features must be \\(B, 1, 192\\)"):
        SphereConv(SCALAR, SCALAR)(torch.zeros(1, 2, 192), whole_sphere(4))
    with pytest.raises(PixelError, match="must be −1 … 191 at nside 4"):
        TileGeometry(4, [192])


def test_layers_say_what_they_do():
    assert "irrep(2)[SO2] → irrep(0)[SO2], degree=2" in repr(SphereConv(SHEAR, SCALAR))
