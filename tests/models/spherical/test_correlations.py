"""Correlations on S² and SO(3): closed forms, sums by hand, and all rotations."""

import math

import pytest
import torch

from equilens.models.errors import EquivarianceError, HarmonicError, KernelError
from equilens.models.homogeneous import sphere
from equilens.models.spherical.correlations import (
    LiftingCorrelation,
    RotationCorrelation,
    SphericalCorrelation,
    ZonalCorrelation,
    scalars,
)
from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.fibres import functions_on_rotations
from equilens.models.spherical.real_harmonics import (
    degree_slice,
    random_rotations,
    real_wigner,
    rotate,
)
from equilens.models.spherical.rotation_checks import (
    assert_rotation_equivariant,
    random_fields,
)
from equilens.models.spherical.so3_transforms import SphereTransform
from equilens.models.spherical.sphere_kernels import near_identity

DOUBLE = {"dtype": torch.float64}
LMAX, N_MAX = 5, 2
FUNCTIONS = functions_on_rotations(2, N_MAX)
MIXED = sphere().field_type("2xtrivial+irrep(2)+bandlimited(1)")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _double_and_seeded():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def evaluated(fields, angles):
    """Values (N, fields, points) of functions on SO(3) at any rotations, by the definition."""
    sign = torch.tensor([1.0, -1, 1, -1, 1])
    values = torch.zeros(len(fields), fields.shape[1] // 5, len(angles))
    for degree, matrix in enumerate(real_wigner(LMAX, angles, columns=N_MAX)):
        columns = fields[:, :, degree_slice(degree)].unflatten(1, (-1, 5)) * sign[:, None]
        norm = ((2 * degree + 1) / (4 * torch.pi)) ** 0.5
        values += norm * torch.einsum("bfnm,pmn->bfp", columns[:, :, : matrix.shape[2]], matrix)
    return values


def products(first, second):
    """Euler angles of R S, for one R and many S, by degree-1 matrices."""
    left, right = real_wigner(1, first[None])[1], real_wigner(1, second)[1]
    z, x, y = 0, 1, 2
    matrix = left @ right
    alpha = torch.atan2(-matrix[:, y, z], -matrix[:, x, z])
    gamma = torch.atan2(-matrix[:, z, y], matrix[:, z, x])
    return torch.stack([alpha, torch.acos(matrix[:, z, z].clamp(-1, 1)), gamma], dim=1)


def test_a_kernel_at_the_identity_leaves_fields_alone():
    layer = SphericalCorrelation(FUNCTIONS, FUNCTIONS, LMAX, points=torch.zeros(1, 3))
    with torch.no_grad():
        layer.kernels[0].weight.copy_(torch.eye(2)[..., None])
    fields = random_fields(FUNCTIONS, LMAX, 2, seeded(), torch.float64)
    torch.testing.assert_close(layer(fields), fields)


def test_a_ring_multiplies_degrees_by_legendre_polynomials():
    """The mean over a circle of radius ρ is P_l(cos ρ), here for l ≤ 2."""
    layer = SphericalCorrelation(scalars(1), scalars(1), 2, points=near_identity(0.7, 1, 9))
    with torch.no_grad():
        layer.kernels[0].weight.fill_(1 / 9)
    cosine = math.cos(0.7)
    found = torch.stack([matrix[0, 0] for matrix in layer.matrices()])
    torch.testing.assert_close(found, torch.tensor([1, cosine, (3 * cosine**2 - 1) / 2]))


def test_localised_kernels_sum_the_neighbourhood():
    """g(R) = Σ_i Σ_p w_ip f_i(R p), point by point at random rotations."""
    wide = functions_on_rotations(2, LMAX)
    layer = SphericalCorrelation(FUNCTIONS, wide, LMAX, points=near_identity(0.6, 2, 3, 2))
    fields = random_fields(FUNCTIONS, LMAX, 1, seeded(), torch.float64)
    out = layer(fields).unflatten(1, (2, 11))
    weight, points = layer.kernels[0].weight, near_identity(0.6, 2, 3, 2)
    sign = torch.tensor([1.0, *[-1, 1] * LMAX])
    for place in random_rotations(3, seeded(1)):
        near = evaluated(fields, products(place, points))
        expected = torch.einsum("oip,nip->no", weight, near)
        value = torch.zeros(1, 2)
        for degree, matrix in enumerate(real_wigner(LMAX, place[None])):
            columns = (out[..., degree_slice(degree)] * sign[:, None])[:, :, : 2 * degree + 1]
            norm = ((2 * degree + 1) / (4 * torch.pi)) ** 0.5
            value += norm * (columns.mT * matrix).sum(dim=(-1, -2))
        torch.testing.assert_close(value, expected)


def test_lifting_is_the_integral_against_the_turned_kernel():
    """g(R) = ∫ ψ(R⁻¹ x) f(x) dx by quadrature, with ψ the layer's points, band-limited."""
    out_type = functions_on_rotations(1, N_MAX)
    layer = LiftingCorrelation(scalars(1), out_type, LMAX, reach_rad=0.5, n_beta=2, n_alpha=5)
    # ψ_l0n of the first N_MAX orders only, as the output's band has them
    transform = SphereTransform(scalars(1), LMAX, EulerGrid.of_band(LMAX), torch.float64)
    fields = random_fields(scalars(1), LMAX, 1, seeded(), torch.float64)
    grid, maps = transform.grid, transform.synthesis(fields)[0, 0]
    weights = grid.ring_weights()[:, None] * (2 * torch.pi / grid.n_alpha)
    kernel = torch.zeros(1, 1, 36)
    points = near_identity(0.5, 2, 5)
    for degree, matrix in enumerate(real_wigner(LMAX, points, columns=0)):
        shares = torch.einsum("p,pn->n", layer.kernels[0].weight[0, 0], matrix[..., 0])
        shares[2 * N_MAX + 1 :] = 0
        kernel[0, 0, degree_slice(degree)] = ((2 * degree + 1) / (4 * torch.pi)) ** 0.5 * shares
    for place in random_rotations(3, seeded(2)):
        turned = transform.synthesis(rotate(kernel, place))[0, 0]
        expected = (weights * turned * maps).sum()
        value = evaluated(layer(fields), place[None])[0, 0, 0]
        torch.testing.assert_close(value, expected)


def layers():
    spectral = {"knots": 3}
    return [
        LiftingCorrelation(scalars(3), FUNCTIONS, LMAX),
        RotationCorrelation(FUNCTIONS, FUNCTIONS, LMAX, n_gamma=3),
        ZonalCorrelation(scalars(2), scalars(3), LMAX, knots=3),
        SphericalCorrelation(MIXED, FUNCTIONS, LMAX, **spectral),
        SphericalCorrelation(FUNCTIONS, MIXED, LMAX, **spectral),
        SphericalCorrelation(MIXED, MIXED, LMAX - 2, points=near_identity(0.4, 2, 3, 2)),
    ]


@pytest.mark.parametrize("number", range(6))
def test_layers_commute_with_rotations_and_are_linear(number):
    layer = layers()[number]
    first, second = (
        random_fields(layer.in_type, LMAX, 3, seeded(seed), torch.float64) for seed in (0, 1)
    )
    assert_rotation_equivariant(layer, first, tolerance=1e-12)
    assert layer(first).shape[1] == layer.out_type.channels
    mixed = layer(first - 2 * second)
    torch.testing.assert_close(mixed, layer(first) - 2 * layer(second))
    # an ordinary gain: neither dead nor exploding
    assert 0.1 < layer(first).square().mean() / first.square().mean() < 10


def test_gradients_are_right():
    layer = SphericalCorrelation(MIXED, MIXED, 2, points=near_identity(0.4, 1, 2))
    fields = random_fields(MIXED, 2, 1, seeded(), torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(layer, fields, fast_mode=True)
    layer(fields).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in layer.parameters())


def test_a_kernel_that_stays_put_is_caught():
    """Negative control: matrices on the side of the rotations, as a fixed kernel would act."""

    def fixed(fields):
        turned = real_wigner(LMAX, torch.tensor([[0.2, 0.5, 0.1]]), LMAX, LMAX)
        parts = [fields[..., degree_slice(k)] @ matrix[0] for k, matrix in enumerate(turned)]
        return torch.cat(parts, dim=-1)

    fields = random_fields(scalars(2), LMAX, 2, seeded(), torch.float64)
    with pytest.raises(EquivarianceError, match="must commute with rotations"):
        assert_rotation_equivariant(fixed, fields, tolerance=0.05)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (
            lambda: SphericalCorrelation(MIXED, MIXED, 4),
            HarmonicError,
            "either points of a localised kernel or knots",
        ),
        (lambda: near_identity(4.0), KernelError, "0 … π rad"),
        (
            lambda: ZonalCorrelation(scalars(1), scalars(1), 4, knots=6),
            KernelError,
            "knots must be 1 … lmax + 1 = 5, got 6",
        ),
        (
            lambda: LiftingCorrelation(FUNCTIONS, FUNCTIONS, 4),
            HarmonicError,
            "input must be scalars",
        ),
        (
            lambda: ZonalCorrelation(scalars(1), scalars(1), 4, knots=2)(torch.zeros(1, 1, 16)),
            HarmonicError,
            "for lmax = 4, got (1, 1, 16)",
        ),
    ],
)
def test_impossible_correlations_are_refused(build, error, words):
    with pytest.raises(error) as refusal:
        build()
    assert words in str(refusal.value)
