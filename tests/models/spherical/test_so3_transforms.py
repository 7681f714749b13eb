"""Transforms of functions on SO(3) and of spin fields on S²."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.models.errors import FieldTypeError, HarmonicError
from equilens.models.groups import CyclicGroup
from equilens.models.homogeneous import plane, sphere
from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.fibres import channel_spins, functions_on_rotations
from equilens.models.spherical.real_harmonics import degree_slice, real_wigner, to_alm
from equilens.models.spherical.rotation_checks import random_fields
from equilens.models.spherical.so3_transforms import RotationTransform, SphereTransform

DOUBLE = {"dtype": torch.float64}


def rotation_transform(lmax, n_max, fields=2, oversampling=1.0, **options):
    field_type = functions_on_rotations(fields, n_max)
    grid = EulerGrid.of_band(lmax, n_max, oversampling)
    return RotationTransform(field_type, lmax, grid, **options)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_rotation_matrix_has_degree_one_alone():
    """cos β and −sin β cos γ, entries zz and zx of the matrix, are single coefficients."""
    transform = rotation_transform(3, 2, **DOUBLE)
    grid = transform.grid
    gamma, beta, _ = torch.meshgrid(grid.gamma(), grid.beta(), grid.alpha(), indexing="ij")
    functions = torch.stack([torch.cos(beta), -torch.sin(beta) * torch.cos(gamma)])[None]
    expected = torch.zeros(1, 10, 16, **DOUBLE)
    # channels are 0, 1E, 1B, 2E, 2B of the first field, then of the second
    expected[0, 0, 1] = expected[0, 5 + 1, 1] = (4 * torch.pi / 3) ** 0.5
    torch.testing.assert_close(transform.analysis(functions), expected, atol=1e-14, rtol=0)


def test_values_are_the_sum_over_wigner_matrices():
    """Against the definition, point by point."""
    lmax, n_max = 6, 3
    transform = rotation_transform(lmax, n_max, oversampling=1.3, **DOUBLE)
    fields = random_fields(transform.field_type, lmax, 3, seeded(), torch.float64)
    values, grid = transform.synthesis(fields), transform.grid
    sign = torch.tensor([1.0, -1, 1, -1, 1, -1, 1], **DOUBLE)
    for k, j, i in ((0, 0, 0), (1, 2, 3), (6, 4, 5), (8, 9, 16)):
        angles = torch.stack([grid.alpha()[i], grid.beta()[j], grid.gamma()[k]])[None]
        expected = torch.zeros(3, 2, **DOUBLE)
        for degree, matrix in enumerate(real_wigner(lmax, angles, columns=n_max)):
            columns = fields[:, :, degree_slice(degree)].unflatten(1, (2, 7))
            columns = (columns * sign[:, None])[:, :, : matrix.shape[2]].mT
            norm = ((2 * degree + 1) / (4 * torch.pi)) ** 0.5
            expected += norm * (columns * matrix[0]).sum(dim=(-1, -2))
        torch.testing.assert_close(values[:, :, k, j, i], expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("spin", [0, 1, 2, 3])
def test_spin_fields_are_those_of_ducc(spin):
    """E, B and the components have healpy's signs."""
    ducc0 = pytest.importorskip("ducc0")
    lmax = 12
    name = f"irrep({spin})"
    transform = SphereTransform(sphere().field_type(name), lmax, EulerGrid.of_band(lmax), **DOUBLE)
    fields = random_fields(transform.field_type, lmax, 1, seeded(), torch.float64)
    alm = to_alm(fields[0]).numpy()
    peers = ducc0.sht.synthesis_2d(
        alm=alm, spin=spin, lmax=lmax, ntheta=lmax + 1, nphi=2 * lmax + 1, geometry="GL"
    )
    ours = transform.synthesis(fields)[0].numpy()
    np.testing.assert_allclose(ours, peers, atol=1e-12)


@pytest.mark.parametrize(("lmax", "n_max"), [(0, 0), (1, 1), (9, 0), (12, 3)])
def test_analysis_undoes_synthesis(lmax, n_max):
    transform = rotation_transform(lmax, n_max, **DOUBLE)
    fields = random_fields(transform.field_type, lmax, 2, seeded(), torch.float64)
    values = transform.synthesis(fields)
    torch.testing.assert_close(transform.analysis(values), fields, atol=1e-12, rtol=0)


def test_the_whole_band_of_32_in_float32():
    transform = rotation_transform(31, 31, fields=1)
    fields = random_fields(transform.field_type, 31, 1, seeded())
    error = transform.analysis(transform.synthesis(fields)) - fields
    assert error.norm() < 2e-6 * fields.norm()


@pytest.mark.parametrize("rings", ["gauss-legendre", "equiangular"])
def test_mixed_spins_on_either_rings(rings):
    field_type = sphere().field_type("2xtrivial+irrep(2)+3xirrep(1)+irrep(0)")
    grid = EulerGrid(20, 21, rings=rings)
    transform = SphereTransform(field_type, 9, grid, **DOUBLE)
    fields = random_fields(field_type, 9, 2, seeded(), torch.float64)
    maps = transform.synthesis(fields)
    assert maps.shape == (2, 11, 20, 21)
    torch.testing.assert_close(transform.analysis(maps), fields, atol=1e-12, rtol=0)
    # ∫ F² on the sphere is the sum of squares
    weights = grid.ring_weights()[:, None] * (2 * torch.pi / 21)
    integral = (maps.square() * weights).sum()
    torch.testing.assert_close(integral, fields.square().sum())


@given(lmax=st.integers(1, 4), n_max=st.integers(0, 4), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_transforms_are_linear_and_each_others_transpose(lmax, n_max, seed):
    transform = rotation_transform(lmax, min(lmax, n_max), fields=1, **DOUBLE)
    first, second = (
        random_fields(transform.field_type, lmax, 1, seeded(seed + k), torch.float64)
        for k in range(2)
    )
    synthesis, grid = transform.synthesis, transform.grid
    mixed = synthesis(2 * first - second)
    torch.testing.assert_close(mixed, 2 * synthesis(first) - synthesis(second))
    weights = grid.ring_weights()[:, None] * (2 * torch.pi / (grid.n_alpha * grid.n_gamma))
    inner = (synthesis(first) * synthesis(second) * weights).sum()
    torch.testing.assert_close(inner, (first * second).sum(), atol=1e-12, rtol=1e-12)


def test_gradients_are_right():
    transform = rotation_transform(2, 1, fields=1, **DOUBLE)
    fields = random_fields(transform.field_type, 2, 1, seeded(), torch.float64)
    assert torch.autograd.gradcheck(transform.synthesis, fields.requires_grad_(), fast_mode=True)
    values = torch.randn(1, 1, 3, 3, 5, **DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(transform.analysis, values, fast_mode=True)


def test_transforms_compile_without_a_break():
    transform = rotation_transform(3, 1)
    fields = random_fields(transform.field_type, 3, 2, seeded())

    def both_ways(x):
        return transform.analysis(transform.synthesis(x) ** 2)

    compiled = torch.compile(both_ways, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(fields), both_ways(fields))


def test_tables_are_shared_and_hold_a_quarter_of_the_orders():
    one, other = rotation_transform(6, 6), rotation_transform(6, 6)
    for first, second in zip(one.transforms, other.transforms, strict=True):
        assert first.table.data_ptr() == second.table.data_ptr()
    held = sum(transform.table.numel() for transform in one.transforms)
    assert held == 7 * 7 * 7 * 7  # m ≥ 0, n ≤ 0, rings, degrees


def test_degrees_beyond_the_grid_alias():
    """Negative control: with one degree more than the grid resolves analysis goes wrong."""
    coarse = rotation_transform(6, 2, **DOUBLE)
    fields = random_fields(coarse.field_type, 7, 1, seeded(), torch.float64)
    too_coarse = EulerGrid.of_band(6, 2)
    with pytest.raises(HarmonicError, match="need more points"):
        RotationTransform(coarse.field_type, 7, too_coarse, **DOUBLE)
    values = sampled(fields, too_coarse, 7, 2)
    error = coarse.analysis(values) - fields[..., :49]
    assert error.norm() > 0.05 * fields.norm()
    below = fields.clone()
    below[..., 49:] = 0
    close = coarse.analysis(sampled(below, too_coarse, 7, 2)) - fields[..., :49]
    assert close.norm() < 1e-12 * fields.norm()


def sampled(fields, grid, lmax, n_max):
    """Values on any grid by the definition, one matrix product a degree."""
    angles = torch.cartesian_prod(grid.gamma(), grid.beta(), grid.alpha()).flip(1)
    sign = torch.tensor([1.0, -1, 1, -1, 1], **DOUBLE)
    values = torch.zeros(*fields.shape[:1], 2, len(angles), **DOUBLE)
    for degree, matrix in enumerate(real_wigner(lmax, angles, columns=n_max)):
        columns = fields[:, :, degree_slice(degree)].unflatten(1, (2, 5)) * sign[:, None]
        columns = columns[:, :, : matrix.shape[2]]
        norm = ((2 * degree + 1) / (4 * torch.pi)) ** 0.5
        values += norm * torch.einsum("bfnm,pmn->bfp", columns, matrix)
    return values.unflatten(2, (grid.n_gamma, grid.n_beta, grid.n_alpha))


def test_spins_of_channels():
    field_type = sphere().field_type("trivial+bandlimited(2)+irrep(3)")
    assert channel_spins(field_type).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: EulerGrid(0, 4), HarmonicError, "a point on each axis"),
        (lambda: EulerGrid(5, 9, rings="equiangular"), HarmonicError, "even in number, got 5"),
        (lambda: EulerGrid(5, 9, rings="healpix"), HarmonicError, "must be one of"),
        (lambda: EulerGrid.of_band(4, 0, 0.5), HarmonicError, "at least 1, got 0.5"),
        (
            lambda: SphereTransform(functions_on_rotations(1, 1), 3, EulerGrid.of_band(3)),
            FieldTypeError,
            "RotationTransform takes functions",
        ),
        (
            lambda: RotationTransform(sphere().field_type("irrep(1)"), 3, EulerGrid.of_band(3)),
            FieldTypeError,
            "needs functions on SO(3)",
        ),
        (
            lambda: SphereTransform(sphere().field_type("irrep(4)"), 3, EulerGrid.of_band(3)),
            HarmonicError,
            "at least the highest spin 4",
        ),
        (
            lambda: channel_spins(plane(CyclicGroup(4)).field_type("regular")),
            FieldTypeError,
            "must be of a type of SO2",
        ),
        (
            lambda: rotation_transform(3, 1).synthesis(torch.zeros(1, 6, 9)),
            HarmonicError,
            "must have shape (N, 6, 16)",
        ),
        (
            lambda: rotation_transform(3, 1).analysis(torch.zeros(1, 2, 3, 4, 6)),
            HarmonicError,
            "must have shape (N, 2, 3, 4, 7)",
        ),
    ],
)
def test_impossible_transforms_are_refused(build, error, words):
    with pytest.raises(error) as refusal:
        build()
    assert words in str(refusal.value)
