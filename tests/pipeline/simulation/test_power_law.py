import dataclasses
import itertools

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
    lens_shear,
    power_law_deflection,
    ray_shoot,
    sie_deflection,
)
from equilens.pipeline.simulation.point_images import find_images
from equilens.pipeline.simulation.ray_table import RayTable

GRID = list(itertools.product((0.35, 0.7, 0.98), (1.6, 1.9, 2.0, 2.15, 2.5)))
CENTRE, ANGLE, SHEAR, RADIUS = (0.02, -0.03), 0.7, (0.04, -0.07), 1.3


def _lens(q, slope, dtype=torch.float64):
    values = (RADIUS, q, ANGLE, *CENTRE, *SHEAR, slope)
    return LensModel(*(torch.tensor([v], dtype=dtype) for v in values)).expand(1)


def _oracle(q, slope):
    e1, e2 = phi_q2_ellipticity(ANGLE, q)
    centre = {"center_x": CENTRE[0], "center_y": CENTRE[1]}
    mass = {"theta_E": RADIUS, "gamma": slope, "e1": e1, "e2": e2, **centre}
    shear = {"gamma1": SHEAR[0], "gamma2": SHEAR[1], "ra_0": CENTRE[0], "dec_0": CENTRE[1]}
    return Oracle(["EPL", "SHEAR"]), [mass, shear]


def _positions(n=300):
    return np.random.default_rng(5).uniform(-4, 4, (2, n))


def _lenses(n, slopes, seed=1):
    rng = np.random.default_rng(seed)
    columns = (
        rng.uniform(0.5, 2, n),
        rng.uniform(0.5, 1, n),
        rng.uniform(0, np.pi, n),
        *np.zeros((2, n)),
        *rng.normal(0, 0.03, (2, n)),
        rng.uniform(*slopes, n),
    )
    return LensModel(*(torch.tensor(c, dtype=torch.float32) for c in columns))


@pytest.mark.parametrize("q", [0.3, 0.8, 0.999])
def test_slope_two_is_the_isothermal_ellipsoid(q):
    x, y = torch.from_numpy(_positions())
    shape = [torch.full_like(x, v) for v in (RADIUS, q, ANGLE)]
    power_law = power_law_deflection(x, y, *shape, torch.full_like(x, 2.0))
    for ours, closed in zip(power_law, sie_deflection(x, y, *shape), strict=True):
        torch.testing.assert_close(ours, closed, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("slope", [1.5, 2.3])
def test_a_round_power_law_has_its_textbook_deflection(slope):
    x, y = torch.from_numpy(_positions())
    one = torch.ones_like(x)
    alpha = power_law_deflection(x, y, RADIUS * one, one, 0 * one, slope * one)
    expected = RADIUS * (torch.hypot(x, y) / RADIUS) ** (2 - slope)
    torch.testing.assert_close(torch.hypot(*alpha), expected)


@pytest.mark.parametrize(("q", "slope"), GRID)
def test_deflections_agree_with_lenstronomy(q, slope):
    x, y = _positions()
    oracle, keywords = _oracle(q, slope)
    theirs = np.array(oracle.ray_shooting(x, y, keywords))
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        at = (torch.tensor(v[None], dtype=dtype) for v in (x, y))
        ours = torch.stack(ray_shoot(*at, _lens(q, slope, dtype)))[:, 0].numpy()
        np.testing.assert_allclose(ours, theirs, atol=tolerance)


@pytest.mark.parametrize(("q", "slope"), GRID[1::2])
def test_jacobians_agree_with_lenstronomy(q, slope):
    x, y = _positions()
    oracle, keywords = _oracle(q, slope)
    xx, xy, _, yy = oracle.hessian(x, y, keywords)
    at = (torch.from_numpy(v[None]) for v in (x, y))
    ours = [part[0].numpy() for part in jacobian(*at, _lens(q, slope))]
    for part, theirs in zip(ours, (1 - xx, -xy, 1 - yy), strict=True):
        np.testing.assert_allclose(part, theirs, rtol=1e-8, atol=1e-8)


def test_another_slope_fails_the_oracle():
    x, y = _positions()
    oracle, keywords = _oracle(0.7, 2.2)
    theirs = np.array(oracle.ray_shooting(x, y, keywords))
    at = (torch.from_numpy(v[None]) for v in (x, y))
    ours = torch.stack(ray_shoot(*at, _lens(0.7, 2.1)))[:, 0].numpy()
    assert np.abs(ours - theirs).max() > 1e-2


@given(st.floats(1.3, 2.7), st.floats(0.3, 1.0))
@settings(max_examples=25, deadline=None)
def test_convergence_and_shear_are_derivatives_of_the_deflection(slope, q):
    lens = _lens(q, slope)
    x, y = (torch.from_numpy(v[None]) for v in _positions(40))
    step = 1e-5
    right, left = (ray_shoot(x + s, y, lens) for s in (step, -step))
    xx, yx = ((a - b) / (2 * step) for a, b in zip(right, left, strict=True))
    gamma1, gamma2 = lens_shear(x, y, lens)
    closed = 1 - convergence(x, y, lens) - gamma1 - lens.shear1
    torch.testing.assert_close(closed, xx, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(-gamma2 - lens.shear2, yx, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("slopes", [(1.6, 1.95), (2.0, 2.4)])
def test_sources_within_the_cut_are_imaged_twice_or_more(slopes):
    lens = _lenses(60, slopes)
    turn = torch.linspace(0, 6, 60)
    counts = {}
    for fraction in (0.3, 0.85):
        x, y = cut_position(lens, turn, torch.full((60,), fraction))
        counts[fraction] = torch.bincount(find_images(lens, x, y).row, minlength=60)
    assert (counts[0.3] >= 2).all()
    assert (counts[0.85] >= 2).float().mean() > 0.95


def test_sources_beyond_the_cut_of_shallow_masses_have_one_image():
    lens = _lenses(60, (1.6, 1.95))
    x, y = cut_position(lens, torch.linspace(0, 6, 60), torch.full((60,), 1.1))
    counts = torch.bincount(find_images(lens, x, y).row, minlength=60)
    # a tangential caustic may stick out of the radial one
    assert (counts == 1).float().mean() > 0.9


def test_the_cut_is_continuous_at_slope_two():
    nearly, exactly = (
        dataclasses.replace(_lenses(8, (2, 2)), slope=torch.full((8,), s)) for s in (1.9995, 2.0)
    )
    turn, whole = torch.linspace(0, 6, 8), torch.ones(8)
    for a, b in zip(
        cut_position(nearly, turn, whole), cut_position(exactly, turn, whole), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)


def test_impossible_slopes_are_named():
    with pytest.raises(SimulationError, match=r"slope must lie in \(1, 3\), got 3.2"):
        _lens(0.7, 3.2)


@pytest.mark.parametrize("isothermal", [True, False])
def test_tables_shoot_as_single_lenses_do(isothermal):
    lens = _lenses(20, (1.6, 2.5))
    lens = dataclasses.replace(lens, slope=None) if isothermal else lens
    row = torch.arange(20).repeat_interleave(30)
    x, y = torch.from_numpy(_positions(600)).float()
    table = RayTable(lens)
    beta = table.shoot(x, y, row)
    for ours, single in zip(beta, ray_shoot(x, y, lens.take(row)), strict=True):
        torch.testing.assert_close(ours, single, atol=3e-5, rtol=0)
    wide = table.shoot(x[:, None].expand(-1, 3), y[:, None].expand(-1, 3), row)
    torch.testing.assert_close(wide[0][:, 1], beta[0])
    still = dataclasses.replace(lens, shear1=0 * lens.shear1, shear2=0 * lens.shear2)
    a, b, d = jacobian(x, y, still.take(row))
    largest = 0.5 * (a + d).abs() + torch.hypot(0.5 * (a - d), b)
    table = RayTable(still)
    bound = table.largest_stretch(x, y, table.shoot(x, y, row), row)
    assert (bound >= largest * (1 - 1e-3)).all()
