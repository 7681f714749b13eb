import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lenstronomy.LensModel.lens_model import LensModel as Oracle
from lenstronomy.Util.param_util import phi_q2_ellipticity

from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.lensing import (
    LensModel,
    convergence,
    cut_position,
    jacobian,
    magnification,
    ray_shoot,
    sie_deflection,
)

GRID = list(itertools.product((0.3, 1.2, 3.0), (0.3, 0.6, 0.9, 0.999), (0.0, 0.7, 2.4)))


def _lens(radius, q, angle, shear=(0.04, -0.07), dtype=torch.float64):
    values = [torch.tensor([v], dtype=dtype) for v in (radius, q, angle, 0.02, -0.03, *shear)]
    return LensModel(*values).expand(1)


def _positions(n=400):
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.uniform(-5, 5, (2, 1, n)))


def _oracle(radius, q, angle, shear):
    e1, e2 = phi_q2_ellipticity(angle, q)
    keywords = [
        {"theta_E": radius, "e1": e1, "e2": e2, "center_x": 0.02, "center_y": -0.03},
        {"gamma1": shear[0], "gamma2": shear[1], "ra_0": 0.02, "dec_0": -0.03},
    ]
    return Oracle(["SIE", "SHEAR"]), keywords


def test_round_lens_deflects_by_its_einstein_radius():
    x, y = _positions()
    unit = torch.ones(1, 1, dtype=torch.float64)
    alpha_x, alpha_y = sie_deflection(x, y, 1.3 * unit, unit, 0.4 * unit)
    torch.testing.assert_close(torch.hypot(alpha_x, alpha_y), torch.full_like(x, 1.3))
    torch.testing.assert_close(alpha_x * y, alpha_y * x, atol=1e-10, rtol=0)


def test_round_lens_maps_its_einstein_ring_to_a_point():
    turn = torch.linspace(0, 2 * math.pi, 50, dtype=torch.float64)[None]
    lens = _lens(0.9, 1.0, 0.0, shear=(0.0, 0.0))
    beta = ray_shoot(0.02 + 0.9 * turn.cos(), -0.03 + 0.9 * turn.sin(), lens)
    torch.testing.assert_close(beta[0], torch.full_like(turn, 0.02))
    torch.testing.assert_close(beta[1], torch.full_like(turn, -0.03))


@pytest.mark.parametrize("q", [0.4, 0.8])
def test_area_within_the_critical_curve_is_that_of_the_einstein_radius(q):
    axis = torch.linspace(-2, 2, 801, dtype=torch.float64)
    lens = _lens(1.0, q, 0.6, shear=(0.0, 0.0)).expand(2)
    x, y = torch.meshgrid(axis + 0.02, axis - 0.03, indexing="xy")
    inside = magnification(x[None], y[None], lens) < 0
    area = inside.sum() * (axis[1] - axis[0]) ** 2
    assert float(area) == pytest.approx(math.pi, rel=3e-3)


@pytest.mark.parametrize(("radius", "q", "angle"), GRID)
def test_deflection_and_jacobian_agree_with_lenstronomy(radius, q, angle):
    shear = (0.04, -0.07)
    x, y = _positions()
    lens = _lens(radius, q, angle, shear)
    oracle, keywords = _oracle(radius, q, angle, shear)
    expected = oracle.ray_shooting(x[0].numpy(), y[0].numpy(), keywords)
    for ours, theirs in zip(ray_shoot(x, y, lens), expected, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, atol=1e-8)
    # its SIE differentiates numerically; the power law of slope 2 has the exact Hessian
    oracle = Oracle(["EPL", "SHEAR"])
    keywords[0]["gamma"] = 2.0
    f_xx, f_xy, _, f_yy = oracle.hessian(x[0].numpy(), y[0].numpy(), keywords)
    for ours, theirs in zip(jacobian(x, y, lens), (1 - f_xx, -f_xy, 1 - f_yy), strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, atol=1e-9)


def test_single_precision_keeps_a_ten_thousandth_of_a_pixel():
    x, y = _positions()
    exact = ray_shoot(x, y, _lens(2.0, 0.5, 0.3))
    lens = _lens(2.0, 0.5, 0.3, dtype=torch.float32)
    single = ray_shoot(x.float(), y.float(), lens)
    for a, b in zip(exact, single, strict=True):
        assert (a - b).abs().max() < 1e-5


def test_wrong_sign_of_shear_fails_the_oracle():
    x, y = _positions()
    oracle, keywords = _oracle(1.0, 0.7, 0.3, (0.04, -0.07))
    expected = oracle.ray_shooting(x[0].numpy(), y[0].numpy(), keywords)
    wrong = ray_shoot(x, y, _lens(1.0, 0.7, 0.3, shear=(-0.04, 0.07)))
    assert np.abs(wrong[0][0].numpy() - expected[0]).max() > 0.1


@settings(max_examples=30, deadline=None)
@given(
    q=st.floats(0.3, 0.99),
    angle=st.floats(0, math.pi),
    x=st.floats(-3, 3),
    y=st.floats(-3, 3),
)
def test_jacobian_is_the_derivative_of_the_mapping(q, angle, x, y):
    if math.hypot(x, y) < 0.3:
        return
    lens = _lens(1.0, q, angle)
    step = 1e-5
    points = torch.tensor([[x, x + step, x - step, x, x]], dtype=torch.float64)
    across = torch.tensor([[y, y, y, y + step, y - step]], dtype=torch.float64)
    beta_x, beta_y = (beta[0] for beta in ray_shoot(points, across, lens))
    a, b, d = (float(v[0, 0]) for v in jacobian(points, across, lens))
    assert float(beta_x[1] - beta_x[2]) / (2 * step) == pytest.approx(a, abs=1e-6)
    assert float(beta_x[3] - beta_x[4]) / (2 * step) == pytest.approx(b, abs=1e-6)
    assert float(beta_y[3] - beta_y[4]) / (2 * step) == pytest.approx(d, abs=1e-6)


@pytest.mark.parametrize(("fraction", "expected"), [(0.9, True), (1.1, False)])
def test_sources_within_the_cut_have_a_second_image(fraction, expected):
    """Weakly elliptical lenses have no naked cusp: beyond the cut there is one image only."""
    lens = LensModel(*(torch.tensor([v]) for v in (1.0, 0.85, 0.5, 0.0, 0.0, 0.02, 0.0)))
    beta = cut_position(lens, torch.tensor([0.8]), torch.tensor([fraction]))
    axis = torch.linspace(-3, 3, 1201)
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    got = ray_shoot(x[None], y[None], lens.expand(2))
    near = torch.hypot(got[0] - beta[0], got[1] - beta[1])[0] < 0.02
    opposite = x * beta[0] + y * beta[1] < 0
    assert bool((near & opposite).any()) is expected


def test_convergence_is_one_half_on_the_einstein_radius():
    lens = _lens(1.4, 1.0, 0.0)
    x = torch.tensor([[0.02 + 1.4]], dtype=torch.float64)
    assert float(convergence(x, torch.full_like(x, -0.03), lens)) == pytest.approx(0.5)


def test_axis_ratio_above_one_is_refused():
    with pytest.raises(SimulationError, match=r"axis_ratio must lie in \(0, 1\], got 1.2"):
        _lens(1.0, 1.2, 0.0)
