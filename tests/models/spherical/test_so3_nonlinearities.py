"""Nonlinearities on SO(3) and S²: exact where they can be, small aliasing where they cannot."""

import pytest
import torch

from equilens.models.errors import FieldTypeError, HarmonicError
from equilens.models.homogeneous import sphere
from equilens.models.spherical.correlations import scalars
from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.fibres import functions_on_rotations
from equilens.models.spherical.real_harmonics import random_rotations
from equilens.models.spherical.rotation_checks import (
    assert_rotation_equivariant,
    random_fields,
    rotation_error,
)
from equilens.models.spherical.so3_nonlinearities import (
    PowerNormalization,
    RotationNonlinearity,
    SpinNonlinearity,
    spectral_taper,
)
from equilens.models.spherical.sphere_pooling import IntegralPooling, PowerSpectrum

LMAX = 7
FUNCTIONS = functions_on_rotations(4, 2)
SPINS = sphere().field_type("3xtrivial+2xirrep(1)+2xirrep(2)")


def fields_of(field_type, n=8, dtype=torch.float32):
    return random_fields(field_type, LMAX, n, torch.Generator().manual_seed(0), dtype)


def error_of(module, field_type):
    angles = random_rotations(8, torch.Generator().manual_seed(1))
    return rotation_error(module, fields_of(field_type), angles)


def test_the_square_of_a_cosine():
    """cos² β = 1/3 + 2/3 P_2(cos β)."""
    layer = RotationNonlinearity(scalars(1), 2, "square", dtype=torch.float64)
    fields = torch.zeros(1, 1, 9, dtype=torch.float64)
    fields[0, 0, 2 - 1] = (4 * torch.pi / 3) ** 0.5
    expected = torch.zeros_like(fields)
    expected[0, 0, 0] = (4 * torch.pi) ** 0.5 / 3
    expected[0, 0, 4] = 2 / 3 * (4 * torch.pi / 5) ** 0.5
    torch.testing.assert_close(layer(fields), expected, atol=1e-14, rtol=0)


def test_a_taper_falls_by_the_squared_cosine():
    taper = spectral_taper(9, 0.5)
    torch.testing.assert_close(taper[:6], torch.ones(6, dtype=torch.float64))
    assert float(taper[7]) == pytest.approx(0.654508, abs=1e-6)
    assert float(spectral_taper(9, 0.0).min()) == 1


def test_squares_need_half_as_many_points_again():
    """Exact from an oversampling of 1.5; on the plain grid they alias: the negative control."""
    fields = fields_of(FUNCTIONS, dtype=torch.float64)
    exact = RotationNonlinearity(FUNCTIONS, LMAX, "square", dtype=torch.float64)
    assert_rotation_equivariant(exact, fields, tolerance=1e-12)
    plain = RotationNonlinearity(FUNCTIONS, LMAX, "square", oversampling=1.0, dtype=torch.float64)
    angles = random_rotations(len(fields), torch.Generator().manual_seed(1))
    assert rotation_error(plain, fields, angles) > 1e-2


@pytest.mark.parametrize(
    ("function", "grid", "taper", "low", "high"),
    [
        ("relu", (1.0, 1.0), 0.0, 5e-2, 0.6),
        ("relu", (2.0, 3.0), 0.0, 3e-3, 3e-2),
        ("silu", (1.0, 1.0), 0.0, 5e-2, 0.6),
        ("silu", (2.0, 3.0), 0.0, 0.0, 3e-3),
        ("silu", (1.5, 2.5), 0.5, 0.0, 3e-3),
        ("gelu", (2.0, 3.0), 0.0, 0.0, 5e-3),
    ],
)
def test_smooth_functions_on_finer_grids_alias_little(function, grid, taper, low, high):
    """Fields have the same power in all degrees; ReLU and plain grids are the controls."""
    sphere_factor, fibre_factor = grid
    layer = RotationNonlinearity(
        FUNCTIONS,
        LMAX,
        function,
        oversampling=sphere_factor,
        fibre_oversampling=fibre_factor,
        taper=taper,
    )
    assert low <= error_of(layer, FUNCTIONS) <= high


def test_a_taper_lowers_aliasing():
    plain, tapered = (
        RotationNonlinearity(FUNCTIONS, LMAX, fibre_oversampling=2.5, taper=taper)
        for taper in (0.0, 0.5)
    )
    assert error_of(tapered, FUNCTIONS) < error_of(plain, FUNCTIONS) / 3


def test_spin_fields_keep_their_frames():
    layer = SpinNonlinearity(SPINS, LMAX, oversampling=2.0)
    assert error_of(layer, SPINS) < 3e-3


def test_components_apart_break_spin_fields():
    """Negative control: a pointwise function of (F_θ, F_φ) is not that of a field."""
    layer = SpinNonlinearity(SPINS, LMAX, oversampling=2.0)

    def apart(fields):
        return layer.backwards.analysis(torch.nn.functional.silu(layer.forwards.synthesis(fields)))

    assert error_of(apart, SPINS) > 0.1


def test_a_lower_band_is_what_the_full_one_begins_with():
    fields = fields_of(FUNCTIONS)
    full = RotationNonlinearity(FUNCTIONS, LMAX)(fields)
    part = RotationNonlinearity(FUNCTIONS, LMAX, out_lmax=3, out_n_max=1)
    assert part.out_type == functions_on_rotations(4, 1)
    expected = full.unflatten(1, (4, 5))[:, :, :3, :16].flatten(1, 2)
    torch.testing.assert_close(part(fields), expected)


@pytest.mark.parametrize("field_type", [FUNCTIONS, SPINS], ids=repr)
def test_normalisation_has_unit_power_and_commutes(field_type):
    layer = PowerNormalization(field_type)
    fields = 3 * fields_of(field_type, n=64)
    fields[:, :, 0] += 2
    owner = torch.tensor(field_type.owner_of_channel())
    normal = layer(fields) / (4 * torch.pi) ** 0.5
    power = torch.zeros(field_type.n_fields).index_add(0, owner, normal.square().sum(2).mean(0))
    torch.testing.assert_close(power, torch.ones_like(power), atol=1e-3, rtol=0)
    starts = [field_type.owner_of_channel().index(k) for k in range(field_type.n_fields)]
    if field_type == FUNCTIONS:
        means = normal[:, starts, 0].mean(dim=0)
        torch.testing.assert_close(means, torch.zeros(4), atol=1e-5, rtol=0)
    layer.eval()
    assert_rotation_equivariant(layer, fields_of(field_type), tolerance=1e-6)


def test_integrals_are_exact_and_invariant():
    """The mean of a band-limited function is its first coefficient over √4π."""
    grid = EulerGrid.of_band(LMAX, 2, 1.5)
    layer = RotationNonlinearity(FUNCTIONS, LMAX, "square")
    pooling = IntegralPooling(grid)
    fields = fields_of(FUNCTIONS)
    power = fields.unflatten(1, (4, 5)).square().sum(dim=(2, 3)) / (4 * torch.pi)
    # the mean square over SO(3) is the sum of squared coefficients
    torch.testing.assert_close(pooling(layer.on_grid(fields)), power)
    maps = torch.ones(2, 3, grid.n_beta, grid.n_alpha)
    torch.testing.assert_close(pooling(maps), torch.ones(2, 3))


@pytest.mark.parametrize("field_type", [FUNCTIONS, SPINS], ids=repr)
def test_power_spectra_are_invariant(field_type):
    spectrum = PowerSpectrum(field_type, LMAX)
    assert_rotation_equivariant(spectrum, fields_of(field_type), tolerance=1e-6)
    parts = {FUNCTIONS: 4 * 3, SPINS: 7}[field_type]
    assert spectrum(fields_of(field_type)).shape == (8, parts * (LMAX + 1))


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: RotationNonlinearity(SPINS, 7), FieldTypeError, "functions on SO(3)"),
        (lambda: RotationNonlinearity(FUNCTIONS, 7, "tanh"), FieldTypeError, "'tanh'"),
        (
            lambda: RotationNonlinearity(FUNCTIONS, 7, out_lmax=8),
            HarmonicError,
            "within the input's",
        ),
        (lambda: spectral_taper(7, 1.5), HarmonicError, "0 … 1, got 1.5"),
    ],
)
def test_impossible_nonlinearities_are_refused(build, error, words):
    with pytest.raises(error) as refusal:
        build()
    assert words in str(refusal.value)
