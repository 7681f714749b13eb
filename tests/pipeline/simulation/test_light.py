import numpy as np
import pytest
import torch
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.param_util import phi_q2_ellipticity
from scipy.special import gammaincinv

from equilens.pipeline.simulation.light import (
    PatternComponents,
    SersicComponents,
    pattern_brightness,
    sersic_b,
    sersic_brightness,
)
from equilens.pipeline.simulation.rendering import Grid, add_compact, render_sersic


def sersic(index=4.0, radius=1.0, q=0.7, angle=0.5, x=0.0, y=0.0, harmonics=(0.0, 0.0, 0.0)):
    values = [torch.tensor([v]) for v in (x, y, radius, index, q, angle)]
    owner = torch.zeros(1, dtype=torch.int64)
    return SersicComponents(owner, *values, torch.tensor([harmonics]), torch.ones(1, 1))


def pattern(width, multiplicity=2.0, contrast=3.0, winding=4.0):
    values = (0.0, 0.0, 1.0, width, 0.6, 0.3, multiplicity, contrast, 0.4, winding)
    owner = torch.zeros(1, dtype=torch.int64)
    return PatternComponents(owner, *(torch.tensor([v]) for v in values), torch.ones(1, 1))


def _polar(radius, n_radii=4000, n_angles=256):
    # logarithmic radii resolve the cusp; the area element is r² d(ln r) dφ
    log = torch.linspace(np.log(1e-7), np.log(60 * radius), n_radii, dtype=torch.float64)
    turn = torch.arange(n_angles, dtype=torch.float64) * (2 * np.pi / n_angles)
    r = log.exp()[:, None]
    area = r**2 * (log[1] - log[0]) * (2 * np.pi / n_angles)
    return (r * turn.cos())[None], (r * turn.sin())[None], area


def _double(table):
    return type(table)(
        **{k: v if v.dtype == torch.int64 else v.double() for k, v in vars(table).items()}
    )


def test_sersic_b_encloses_half_the_light():
    index = torch.tensor([0.6, 1.0, 2.5, 4.0, 6.0], dtype=torch.float64)
    exact = gammaincinv(2 * index.numpy(), 0.5)
    relative = np.abs(sersic_b(index).numpy() / exact - 1)
    assert (relative < [3e-4, 4e-5, 1e-6, 1e-6, 1e-6]).all()


@pytest.mark.parametrize("index", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("harmonics", [(0.0, 0.0, 0.0), (0.03, -0.02, 0.04)])
def test_sersic_flux_integrates_to_one(index, harmonics):
    dx, dy, area = _polar(40.0 if index > 3 else 1.0)
    image = sersic_brightness(dx, dy, _double(sersic(index, harmonics=harmonics)))
    assert float((image * area).sum()) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("width", [0.0, 0.15])
def test_patterned_flux_integrates_to_one(width):
    dx, dy, area = _polar(1.0)
    image = pattern_brightness(dx, dy, _double(pattern(width)))
    assert float((image * area).sum()) == pytest.approx(1.0, abs=1e-3)


def test_pattern_repeats_with_its_multiplicity():
    turn = torch.linspace(0, 2 * np.pi, 33)[None]
    component = pattern(0.0, multiplicity=2.0)
    dx, dy = turn.cos(), turn.sin()
    there = pattern_brightness(dx, dy, component)
    opposite = pattern_brightness(-dx, -dy, component)
    torch.testing.assert_close(there, opposite, rtol=1e-3, atol=1e-5)
    assert there.max() > 10 * there.min()


@pytest.mark.parametrize("index", [0.7, 1.0, 2.5, 4.0])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.033, -0.047)])
def test_pixels_agree_with_supersampled_lenstronomy(index, centre):
    scale, size, samples = 0.1, 25, 40
    grid = Grid(size, size // 2, scale)
    ours = render_sersic(sersic(index, 0.6, x=centre[0], y=centre[1]), grid)[0].double().numpy()
    e1, e2 = phi_q2_ellipticity(0.5, 0.7)
    # lenstronomy's radius is not quite the half-light radius: it takes b = 1.9992 n − 0.3271
    half_light = float(sersic_b(torch.tensor(index, dtype=torch.float64)))
    radius = 0.6 * ((1.9992 * index - 0.3271) / half_light) ** index
    keywords = {"amp": 1.0, "R_sersic": radius, "n_sersic": index, "e1": e1, "e2": e2}
    keywords |= {"center_x": centre[0], "center_y": centre[1]}
    model = LightModel(["SERSIC_ELLIPSE"])
    fine = (np.arange(size * samples) + 0.5) / samples - 0.5 - size // 2
    x, y = np.meshgrid(fine * scale, fine * scale)
    image = model.surface_brightness(x.ravel(), y.ravel(), [keywords]).reshape(x.shape)
    theirs = image.reshape(size, samples, size, samples).mean(axis=(1, 3)) * scale**2
    theirs /= model.total_flux([keywords])[0]
    core = theirs > 0.01 * theirs.max()
    np.testing.assert_allclose(ours[core], theirs[core], rtol=0.02)
    assert np.abs(ours - theirs).max() < 0.006 * theirs.max()
    assert ours.sum() == pytest.approx(theirs.sum(), rel=2e-3)


def test_one_sample_a_pixel_misses_the_cusp():
    """The control: without refinement the centre of a de Vaucouleurs galaxy is far too bright."""
    grid = Grid(41, 20, 0.1)
    component = sersic(4.0, 0.6)
    axis = grid.axis(torch.device("cpu"))
    coarse = sersic_brightness(axis[None, None, :], axis[None, :, None], component)[0] * 0.01
    fine = render_sersic(component, grid)[0]
    assert coarse[20, 20] > 3 * fine[20, 20]


def test_compact_components_match_full_frames_and_clip_at_the_edge():
    grid = Grid(41, 20, 0.1)
    component = sersic(0.8, 0.15, x=1.75, y=-1.2)
    scene = torch.zeros(1, 1, 41, 41)
    add_compact(scene, component, grid, half=12)
    full = render_sersic(component, grid)
    assert (scene[0] - full).abs().max() < 3e-3 * full.max()


def test_components_beyond_reach_leave_the_scene_alone():
    scene = torch.zeros(1, 1, 41, 41)
    add_compact(scene, sersic(0.8, 0.15, x=9.0), Grid(41, 20, 0.1), half=12)
    assert not scene.any()
