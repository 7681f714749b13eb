"""Pairs of galaxies: two deflectors in one plane, and two nuclei that are not the label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from equilens.pipeline.simulation.conditions import survey_conditions
from equilens.pipeline.simulation.lensing import (
    LensModel,
    Partner,
    cut_position,
    jacobian,
    magnification,
    ray_shoot,
    without_partners,
)
from equilens.pipeline.simulation.point_images import find_images
from equilens.pipeline.simulation.ray_table import RayTable
from equilens.pipeline.simulation.simulate import simulate_batch
from equilens.pipeline.surveys.registry import get_survey


def pairs(n: int, seed: int = 0, slope: bool = True) -> LensModel:
    rng = np.random.default_rng(seed)
    theta, turn = rng.uniform(0.5, 2.0, n), rng.uniform(0, 2 * np.pi, n)
    away = theta * rng.uniform(0.5, 2.5, n)
    values = {
        "einstein_radius": theta,
        "axis_ratio": rng.uniform(0.5, 0.95, n),
        "angle": rng.uniform(0, np.pi, n),
        "x": rng.normal(0, 0.1, n),
        "y": rng.normal(0, 0.1, n),
        "shear1": rng.normal(0, 0.03, n),
        "shear2": rng.normal(0, 0.03, n),
    }
    second = theta * np.sqrt(rng.uniform(0.2, 1.0, n)), away * np.cos(turn), away * np.sin(turn)
    if slope:
        values["slope"] = rng.uniform(1.7, 2.3, n)
    lens = LensModel(**{name: torch.from_numpy(value) for name, value in values.items()})
    return replace(lens, partner=Partner(*map(torch.from_numpy, second)))


def test_a_lone_partner_is_an_isothermal_sphere() -> None:
    """β = θ − θ_E d / |d|, and μ = 1 / (1 − θ_E / |d|)."""
    lens = replace(pairs(1, slope=False), einstein_radius=torch.tensor([1e-12]))
    lens = replace(lens, shear1=0 * lens.shear1, shear2=0 * lens.shear2)
    assert lens.partner is not None
    x, y = lens.partner.x + 3.0, lens.partner.y
    beta_x, beta_y = ray_shoot(x, y, lens)
    torch.testing.assert_close(beta_x, x - lens.partner.einstein_radius)
    torch.testing.assert_close(beta_y, y)
    torch.testing.assert_close(
        magnification(x, y, lens), 1 / (1 - lens.partner.einstein_radius / 3.0)
    )


def test_rays_agree_with_lenstronomy() -> None:
    from lenstronomy.LensModel.lens_model import LensModel as Oracle
    from lenstronomy.Util.param_util import phi_q2_ellipticity

    lens = pairs(12, slope=True)
    x, y = torch.from_numpy(np.random.default_rng(1).uniform(-3, 3, (2, 12, 40)))
    ours = ray_shoot(x, y, lens.expand(1))
    for k in range(12):
        assert lens.partner is not None
        second = {name: float(value[k]) for name, value in vars(lens.partner).items()}
        names = [name for name in vars(lens) if name != "partner"]
        one = {name: float(getattr(lens, name)[k]) for name in names}
        e1, e2 = phi_q2_ellipticity(one["angle"], one["axis_ratio"])
        centre = {"center_x": one["x"], "center_y": one["y"]}
        model = Oracle(["EPL", "SHEAR", "SIS"])
        theirs = model.ray_shooting(
            x[k].numpy(),
            y[k].numpy(),
            [
                {"theta_E": one["einstein_radius"], "gamma": one["slope"], "e1": e1, "e2": e2}
                | centre,
                {"gamma1": one["shear1"], "gamma2": one["shear2"], "ra_0": one["x"]}
                | {"dec_0": one["y"]},
                {"theta_E": second["einstein_radius"], "center_x": second["x"]}
                | {"center_y": second["y"]},
            ],
        )
        np.testing.assert_allclose(torch.stack([b[k] for b in ours]), np.array(theirs), atol=1e-7)


@pytest.mark.parametrize("slope", [True, False])
def test_the_table_shoots_the_same_rays(slope: bool) -> None:
    lens = pairs(8, slope=slope)
    x, y = torch.from_numpy(np.random.default_rng(2).uniform(-3, 3, (2, 30)))
    row = torch.from_numpy(np.random.default_rng(3).integers(0, 8, 30))
    for ours, theirs in zip(
        RayTable(lens).shoot(x, y, row), ray_shoot(x, y, lens.take(row)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)


def test_the_jacobian_is_that_of_the_rays_and_within_the_stretch() -> None:
    lens, step = pairs(6), 1e-6
    x, y = torch.from_numpy(np.random.default_rng(4).uniform(-2, 2, (2, 6)))
    a, b, d = jacobian(x, y, lens)
    right, left = ray_shoot(x + step, y, lens), ray_shoot(x - step, y, lens)
    up, down = ray_shoot(x, y + step, lens), ray_shoot(x, y - step, lens)
    torch.testing.assert_close(a, (right[0] - left[0]) / (2 * step), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(b, (right[1] - left[1]) / (2 * step), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(d, (up[1] - down[1]) / (2 * step), atol=1e-5, rtol=1e-5)
    rows = torch.arange(6)
    bound = RayTable(lens).largest_stretch(x, y, ray_shoot(x, y, lens), rows)
    largest = torch.linalg.svdvals(torch.stack([a, b, b, d], dim=1).view(-1, 2, 2))
    shear = torch.hypot(lens.shear1, lens.shear2)
    assert (largest[:, 0] <= bound + shear + 1e-6).all()


def n_images(lens: LensModel, fraction: float) -> np.ndarray:
    n = len(lens.x)
    turn = torch.linspace(0, 6, n, dtype=torch.float64)
    x, y = cut_position(lens, turn, torch.full((n,), fraction, dtype=torch.float64))
    return np.bincount(find_images(lens, x.double(), y.double()).row.numpy(), minlength=n)


def test_a_source_within_the_cut_is_imaged_more_than_once() -> None:
    count = n_images(pairs(200), 0.97)
    assert (count >= 2).mean() > 0.98


def test_forgetting_the_partner_in_the_cut_loses_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: positions for the central mass alone miss the pair's cut."""
    lens = pairs(200)
    turn = torch.linspace(0, 6, 200, dtype=torch.float64)
    x, y = cut_position(without_partners(lens), turn, torch.full((200,), 0.97).double())
    count = np.bincount(find_images(lens, x.double(), y.double()).row.numpy(), minlength=200)
    assert (count >= 2).mean() < (n_images(lens, 0.97) >= 2).mean()


def test_only_pairs_change_and_only_lenses_have_two_deflectors() -> None:
    survey = get_survey("bologna-space")
    conditions = replace(survey_conditions(survey.name), partner_share=0.5)
    paired = simulate_batch(survey, 128, 4, conditions=conditions)
    single = simulate_batch(survey, 128, 4, conditions=replace(conditions, partner_share=0.0))
    count = paired.columns["n_deflectors"]
    assert set(count[paired.columns["is_lens"] == 0]) == {0}
    assert set(count[paired.columns["is_lens"] == 1]) == {1, 2}
    same = (paired.images == single.images).all(axis=(1, 2, 3))
    assert 0.4 < same.mean() < 1
    assert not same[count == 2].any()
    assert (~same & (count == 0)).any()
    gain = paired.columns["einstein_radius_arcsec"] - single.columns["einstein_radius_arcsec"]
    assert ((gain > 0) == (count == 2)).all()
