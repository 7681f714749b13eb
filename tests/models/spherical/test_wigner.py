"""Wigner's d: closed forms, spherical harmonics of other codes, orthogonality, symmetries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import cos, gamma, jacobi, mpf, sin, sqrt, workdps
from scipy.special import factorial, sph_harm_y

from equilens.models.errors import HarmonicError
from equilens.models.spherical.wigner import wigner_d, wigner_d_orders

BETA = torch.linspace(0.0, torch.pi, 25, dtype=torch.float64)
C, S = torch.cos(BETA), torch.sin(BETA)
CLOSED_FORMS = {
    (0, 0, 0): torch.ones_like(BETA),
    (1, 0, 0): C,
    (1, 1, 0): -S / 2**0.5,
    (1, 1, 1): (1 + C) / 2,
    (1, 1, -1): (1 - C) / 2,
    (2, 0, 0): (3 * C**2 - 1) / 2,
    (2, 1, 0): -(1.5**0.5) * S * C,
    (2, 2, 0): (3 / 8) ** 0.5 * S**2,
    (2, 2, 2): ((1 + C) / 2) ** 2,
    (2, 2, 1): -S * (1 + C) / 2,
    (2, 1, 1): (1 + C) * (2 * C - 1) / 2,
    (2, 1, -1): (1 - C) * (2 * C + 1) / 2,
    (2, 2, -1): -S * (1 - C) / 2,
    (2, 2, -2): ((1 - C) / 2) ** 2,
}


@pytest.mark.parametrize("index", CLOSED_FORMS, ids=str)
def test_closed_forms_up_to_degree_two(index):
    degree, m, n = index
    closed, sign = CLOSED_FORMS[index], (-1) ** (m - n)
    for orders, expected in {
        (m, n): closed,
        (n, m): sign * closed,
        (-m, -n): sign * closed,
        (-n, -m): closed,
    }.items():
        found = wigner_d(2, *orders, BETA)[degree]
        torch.testing.assert_close(found, expected, atol=1e-15, rtol=1e-14)


def test_degrees_below_both_orders_vanish():
    assert wigner_d(6, 2, -4, BETA)[:4].count_nonzero() == 0


@pytest.mark.parametrize(("m", "n"), [(3, 1), (-5, 2), (4, -4), (0, 6)])
def test_agrees_with_the_explicit_sum(m, n):
    degree = 8
    expected = explicit_sum(degree, m, n, BETA.numpy())
    found = wigner_d(degree, m, n, BETA)[degree].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-13)


def explicit_sum(degree: int, m: int, n: int, beta: np.ndarray) -> np.ndarray:
    """Wigner's sum over powers of half angles (Sakurai 1985, eq. 3.8.33)."""
    c, s = np.cos(beta / 2), np.sin(beta / 2)
    orders = np.array([degree + m, degree - m, degree + n, degree - n])
    total = np.zeros_like(beta)
    for k in range(max(0, n - m), min(degree - m, degree + n) + 1):
        below = np.array([degree + n - k, k, m - n + k, degree - m - k])
        power = c ** (2 * degree - m + n - 2 * k) * s ** (m - n + 2 * k)
        total += (-1) ** (m - n + k) * power / factorial(below).prod()
    return np.sqrt(factorial(orders).prod()) * total


@pytest.mark.parametrize("m", [0, 1, 20, 60])
def test_spherical_harmonics_of_scipy(m):
    degrees = np.arange(m, 80)
    theta = np.linspace(1e-3, np.pi, 40)
    expected = sph_harm_y(degrees[:, None], m, theta, 0.0).real
    found = wigner_d(79, m, 0, torch.from_numpy(theta)).numpy()[degrees]
    found = found * np.sqrt((2 * degrees[:, None] + 1) / (4 * np.pi))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("m", "n"), [(0, 0), (1, 0), (100, -2), (700, 2), (400, 300)])
def test_jacobi_polynomials_in_many_digits_at_degree_767(m, n):
    angles = [1e-3, 0.3, 1.2, 2.9]
    expected = [float(jacobi_form(767, m, n, angle)) for angle in angles]
    found = wigner_d(767, m, n, torch.tensor(angles, dtype=torch.float64))[767]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-11)


def jacobi_form(degree: int, m: int, n: int, angle: float) -> mpf:
    """d^l_mn for m ≥ |n| by a Jacobi polynomial (Varshalovich et al. 1988, eq. 4.3.13)."""
    with workdps(600):
        half = mpf(angle) / 2
        orders = [gamma(degree + x + 1) for x in (m, -m)]
        norm = sqrt(orders[0] * orders[1] / gamma(degree + n + 1) / gamma(degree - n + 1))
        powers = sin(half) ** (m - n) * cos(half) ** (m + n)
        return (-1) ** (m - n) * norm * powers * jacobi(degree - m, m - n, m + n, cos(2 * half))


def test_agrees_with_e3nn_in_another_basis():
    from e3nn.o3 import wigner_D

    degree, angle = 4, torch.tensor(0.7, dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    rotation = wigner_D(degree, zero, angle, zero)
    orders = torch.arange(-degree, degree + 1)
    ours = torch.stack([wigner_d_orders(degree, orders, n, angle)[degree] for n in orders.tolist()])
    for power in (1, 2, 3):
        traces = [torch.trace(torch.linalg.matrix_power(x, power)) for x in (rotation, ours)]
        torch.testing.assert_close(traces[0].double(), traces[1], atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 12), st.floats(0.0, np.pi))
def test_matrices_are_orthogonal(degree, angle):
    orders = torch.arange(-degree, degree + 1)
    beta = torch.tensor(angle, dtype=torch.float64)
    rows = [wigner_d_orders(degree, orders, n, beta)[degree] for n in orders.tolist()]
    matrix = torch.stack(rows)
    torch.testing.assert_close(
        matrix @ matrix.T, torch.eye(len(matrix)).double(), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize(("m", "n"), [(0, 0), (2, -2), (300, 2), (200, 250)])
def test_degrees_are_orthogonal_over_the_angle_up_to_767(m, n):
    nodes, weights = np.polynomial.legendre.leggauss(770)
    values = wigner_d(767, m, n, torch.from_numpy(np.arccos(nodes)))[max(m, abs(n)) :]
    gram = (values * torch.from_numpy(weights)) @ values.T
    degrees = torch.arange(max(m, abs(n)), 768)
    expected = torch.diag(2 / (2 * degrees + 1.0).double())
    torch.testing.assert_close(gram, expected, atol=1e-13, rtol=1e-10)


def test_one_wrong_sign_is_noticed():
    wrong = -explicit_sum(8, 3, 1, BETA.numpy())
    assert np.abs(wigner_d(8, 3, 1, BETA)[8].numpy() - wrong).max() > 0.1


def test_errors_name_the_order_and_the_degree():
    with pytest.raises(HarmonicError, match="at most lmax = 4, got 5"):
        wigner_d(4, 5, 0, BETA)
    with pytest.raises(HarmonicError, match="ducc0 backend"):
        wigner_d(1799, 3, 2, BETA)
