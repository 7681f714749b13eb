"""Singly imaged sources behind a mass: nothing of them may lie within the cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from equilens.pipeline.simulation import lensed
from equilens.pipeline.simulation.arcs import ClumpySource
from equilens.pipeline.simulation.composition import draw_objects
from equilens.pipeline.simulation.conditions import survey_conditions
from equilens.pipeline.simulation.exposure import prepare
from equilens.pipeline.simulation.lensing import LensModel, ray_shoot
from equilens.pipeline.surveys.registry import get_survey


def impostors(seed: int) -> tuple[LensModel, ClumpySource]:
    """Mass and source of chance alignments of the ground challenge."""
    survey = get_survey("bologna-ground")
    setting = prepare(survey, survey_conditions(survey.name), "cpu")
    rng = np.random.default_rng(seed)
    centrals = draw_objects(rng, setting, 0.0, setting.conditions.mixture).centrals
    systems = lensed.draw_systems(
        rng,
        centrals,
        np.zeros(len(centrals), bool),
        setting.boxes_nm,
        setting.detection,
        setting.conditions,
    )
    return systems.lens, systems.source


def n_images_of_outskirts(lens: LensModel, source: ClumpySource) -> np.ndarray:
    """Separate regions of the image plane that see within two half-light radii of each source."""
    n_images = []
    for k in range(len(source)):
        one = {n: v[k] for n, v in vars(lens).items() if isinstance(v, torch.Tensor)}
        theta = float(one["einstein_radius"])
        away = float(torch.hypot(source.x[k] - one["x"], source.y[k] - one["y"]))
        reach = away + 2 * float(source.radius[k]) + 2.5 * theta
        axis = torch.linspace(-reach, reach, 600) + 1e-4
        y, x = torch.meshgrid(axis + one["y"], axis + one["x"], indexing="ij")
        beta_x, beta_y = ray_shoot(x, y, LensModel(**one))
        within = torch.hypot(beta_x - source.x[k], beta_y - source.y[k]) < 2 * source.radius[k]
        n_images.append(label(within.numpy(), structure=np.ones((3, 3)))[1])
    return np.array(n_images)


def test_no_part_of_a_singly_imaged_source_has_a_counterimage() -> None:
    lens, source = impostors(5)

    assert (n_images_of_outskirts(lens, source) == 1).all()


def test_sources_left_where_they_were_drawn_have_counterimages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control: centres beyond the cut are not enough."""
    monkeypatch.setattr(lensed, "_outside_cut", lambda source, *_: source)
    lens, source = impostors(5)

    assert (n_images_of_outskirts(lens, source) > 1).mean() > 0.1


def test_a_source_moves_with_its_clumps_and_only_where_chosen() -> None:
    lens, source = impostors(6)
    before = source.clump_x - source.x[:, None]
    moved = source.shifted(torch.full_like(source.x, 0.5), torch.zeros_like(source.y))

    torch.testing.assert_close(moved.clump_x - moved.x[:, None], before, atol=1e-5, rtol=0)
    kept = lensed._outside_cut(source, lens, np.zeros(len(source), bool))
    torch.testing.assert_close(kept.x, source.x, atol=0, rtol=0)
