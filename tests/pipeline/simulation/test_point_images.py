import numpy as np
import pytest
import torch
from lenstronomy.LensModel.lens_model import LensModel as Oracle
from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver
from lenstronomy.Util.param_util import phi_q2_ellipticity

from equilens.pipeline.simulation.arcs import ClumpySource, render_arcs
from equilens.pipeline.simulation.lensing import LensModel, ray_shoot
from equilens.pipeline.simulation.point_images import find_images, paint_points
from equilens.pipeline.simulation.rendering import Grid

GRID = Grid(81, 40, 0.1)
# slope and source position: two images, four, and a faint second one
CASES = [(2.2, 0.6, -0.2), (1.8, 0.1, 0.05), (2.0, 1.0, 0.0)]


def _lens(slope, q=0.7):
    values = (1.3, q, 0.7, 0.02, -0.03, 0.04, -0.07, slope)
    return LensModel(*(torch.tensor([v]) for v in values))


def _source(x, y, radius, has_point):
    one = torch.ones(1)
    nothing = torch.zeros(1, 1)
    host = (x * one, y * one, radius * one, one, one, 0 * one)
    point = torch.tensor([has_point])
    return ClumpySource(*host, nothing, nothing, nothing + 1, nothing, point)


@pytest.mark.parametrize(("slope", "x", "y"), CASES)
def test_images_are_those_of_lenstronomy(slope, x, y):
    e1, e2 = phi_q2_ellipticity(0.7, 0.7)
    mass = {"theta_E": 1.3, "gamma": slope, "e1": e1, "e2": e2, "center_x": 0.02}
    shear = {"gamma1": 0.04, "gamma2": -0.07, "ra_0": 0.02, "dec_0": -0.03}
    oracle, keywords = Oracle(["EPL", "SHEAR"]), [mass | {"center_y": -0.03}, shear]
    solver = LensEquationSolver(oracle)
    their_x, their_y = solver.image_position_from_source(
        x, y, keywords, min_distance=0.03, search_window=7, precision_limit=1e-10
    )
    theirs = oracle.magnification(their_x, their_y, keywords)
    bright = np.abs(theirs) > 0.05
    ours = find_images(_lens(slope), torch.tensor([x]), torch.tensor([y]))
    kept = ours.magnification.abs() > 0.05
    order, own = np.argsort(their_x[bright]), torch.argsort(ours.x[kept])
    np.testing.assert_allclose(ours.x[kept][own], their_x[bright][order], atol=1e-5)
    np.testing.assert_allclose(ours.y[kept][own], their_y[bright][order], atol=1e-5)
    np.testing.assert_allclose(ours.magnification[kept][own], theirs[bright][order], rtol=1e-3)


def test_every_image_maps_back_to_its_source():
    lens = _lens(2.1)
    lens = lens.take(torch.arange(len(lens.x)).repeat(2))
    x, y = torch.tensor([0.1, 0.5]), torch.tensor([0.0, 0.3])
    images = find_images(lens, x, y)
    beta = ray_shoot(images.x, images.y, lens.to(torch.float64).take(images.row))
    torch.testing.assert_close(beta[0], x.double()[images.row], atol=1e-5, rtol=0)
    torch.testing.assert_close(beta[1], y.double()[images.row], atol=1e-5, rtol=0)


def test_painted_points_hold_their_magnification_where_they_stand():
    images = find_images(_lens(2.0), torch.tensor([0.6]), torch.tensor([-0.2]))
    layer = paint_points(images, 1, GRID)[0]
    total = float(images.magnification.abs().sum())
    assert float(layer.sum()) == pytest.approx(total, rel=1e-4)
    axis = GRID.axis(layer.device)
    centroid = (images.x * images.magnification.abs()).sum() / total
    assert float((layer.sum(dim=0) * axis).sum() / total) == pytest.approx(
        float(centroid), abs=0.01
    )


def test_a_point_is_the_limit_of_a_small_source():
    lens = _lens(2.0)
    point = render_arcs(lens, _source(0.9, -0.4, 0.05, True), GRID)[0, 1]
    host = render_arcs(lens, _source(0.9, -0.4, 0.05, False), GRID)[0, 0]
    assert float(point.sum()) == pytest.approx(float(host.sum()), rel=0.05)


def test_points_beyond_the_grid_leave_no_light():
    images = find_images(_lens(2.0), torch.tensor([0.6]), torch.tensor([-0.2]))
    assert not paint_points(images, 1, Grid(5, 2, 0.01)).any()
