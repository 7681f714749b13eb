import dataclasses
import math

import numpy as np
import pytest
import torch

from equilens.pipeline.simulation.composition import draw_objects, render_scene
from equilens.pipeline.simulation.conditions import (
    NON_LENS_CLASSES,
    SurveyConditions,
    survey_conditions,
)
from equilens.pipeline.simulation.exposure import CHUNK, prepare
from equilens.pipeline.simulation.populations import as_field_galaxies, draw_source_mag
from equilens.pipeline.simulation.simulate import simulate_batch
from equilens.pipeline.simulation.sources import (
    KINDS,
    draw_kinds,
    draw_sources,
    second_layer_share,
    source_ratios,
)
from equilens.pipeline.surveys.registry import get_survey

BOXES = [(480.0, 140.0), (760.0, 150.0)]
KNOWN = ("bologna-space", "bologna-ground", "euclid-mer", "des-cube", "panstarrs1", "lsst-like")


@pytest.fixture
def setting(survey):
    return prepare(dataclasses.replace(survey, shape=(41, 41)), SurveyConditions(), "cpu")


def _kinds(n, **changes):
    conditions = dataclasses.replace(SurveyConditions(), **changes)
    return draw_kinds(np.random.default_rng(1), n, conditions), conditions


def test_sources_come_in_their_shares():
    kinds, _ = _kinds(4000)
    assert set(kinds) == set(KINDS)
    assert (kinds == "quasar").mean() == pytest.approx(0.05, abs=0.015)
    assert (_kinds(50, quasar_share=1.0)[0] == "quasar").all()


def test_light_of_a_source_is_shared_between_its_layers():
    kinds, conditions = _kinds(300)
    rng = np.random.default_rng(2)
    source = draw_sources(rng, torch.zeros(300), torch.zeros(300), kinds, conditions)
    clumpy = (kinds != "smooth") & (kinds != "quasar")
    weights = source.clump_weight.sum(dim=1).numpy()
    np.testing.assert_allclose(weights, clumpy.astype(float), atol=1e-6)
    assert (source.has_point.numpy() == (kinds == "quasar")).all()
    share = second_layer_share(rng, kinds)
    assert not share[kinds == "smooth"].any()
    assert (share[kinds != "smooth"] > 0).all()
    # a companion is one clump, apart from its host
    double = kinds == "double"
    assert ((source.clump_weight[double] > 0).sum(dim=1) == 1).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_red_sources_are_redder(share):
    kinds, conditions = _kinds(400, red_source_share=share)
    redshift = np.full(400, 1.0)
    host, _ = source_ratios(np.random.default_rng(3), BOXES, redshift, 1, kinds, conditions)
    blue_over_red = np.median(host[:, 0])
    assert blue_over_red < 0.35 if share else blue_over_red > 0.4


def test_source_magnitudes_follow_their_distribution_and_its_cut():
    rng, n = np.random.default_rng(4), 4000
    normal = SurveyConditions(source_mag_mean=24.0, source_mag_scatter=1.0)
    free = draw_source_mag(rng, np.full(n, math.inf), normal)
    assert np.median(free) == pytest.approx(24.0, abs=0.06)
    assert np.std(free) == pytest.approx(1.0, abs=0.05)
    tailed = dataclasses.replace(normal, source_mag_tail=3.0)
    wide = draw_source_mag(rng, np.full(n, math.inf), tailed)
    assert np.percentile(np.abs(wide - 24), 99) > 1.5 * np.percentile(np.abs(free - 24), 99)
    assert draw_source_mag(rng, np.full(n, 23.0), tailed).max() <= 23.0 + 1e-9
    shifted = draw_source_mag(rng, np.full(n, math.inf), normal, np.full(n, 0.7))
    assert np.median(shifted) == pytest.approx(23.3, abs=0.06)


def test_repeats_of_a_double_share_their_galaxy_and_their_parent(setting):
    objects = draw_objects(np.random.default_rng(5), setting, 0.0, {"double": 1.0})
    assert len(set(objects.parents)) == CHUNK // 4
    np.testing.assert_array_equal(objects.parents, np.arange(CHUNK) // 4 * 4)
    mags = objects.centrals.galaxies.mag
    np.testing.assert_array_equal(mags, mags[objects.parents])
    assert len(set(objects.turns)) == CHUNK


def test_repeats_of_a_double_differ_by_position_angle_only(setting):
    quiet = dataclasses.replace(
        setting.conditions, companion_share=0.0, bright_star_probability=0.0
    )
    setting = dataclasses.replace(setting, conditions=quiet)
    objects = draw_objects(np.random.default_rng(5), setting, 0.0, {"double": 1.0})
    images = render_scene(np.random.default_rng(6), setting, objects)[:, 0]
    c = setting.grid.centre
    core = images[:, c - 1 : c + 2, c - 1 : c + 2].sum(dim=(1, 2))
    same, other = core[:-1:4] / core[1::4], core[:-4:4] / core[4::4]
    assert same.log().abs().median() < 0.05
    assert other.log().abs().median() > 0.2
    assert not torch.allclose(images[0], images[1], rtol=0.1)


def test_parents_are_written_with_the_batch(survey):
    batch = simulate_batch(survey, CHUNK, 3, lens_fraction=0.0, mixture={"double": 1.0})
    assert len(set(batch.columns["parent_id"])) == CHUNK // 4
    assert set(batch.columns["parent_id"]) <= set(batch.ids)
    other = simulate_batch(survey, CHUNK, 3, lens_fraction=0.0, mixture={"ring": 1.0})
    np.testing.assert_array_equal(other.columns["parent_id"], other.ids)


@pytest.mark.parametrize("name", NON_LENS_CLASSES)
def test_every_class_has_light_and_finite_pixels(setting, name):
    objects = draw_objects(np.random.default_rng(7), setting, 0.0, {name: 1.0})
    images = render_scene(np.random.default_rng(8), setting, objects)
    assert set(objects.classes) == {name}
    assert torch.isfinite(images).all()
    assert (images >= 0).all()
    c = setting.grid.centre
    assert (images[:, 0, c - 8 : c + 9, c - 8 : c + 9].sum(dim=(1, 2)) > 0).all()


def test_field_galaxies_are_fainter_and_of_any_colour(setting):
    rng = np.random.default_rng(9)
    galaxies = draw_objects(rng, setting, 0.0, {"galaxy": 1.0}).centrals.galaxies
    chosen = np.arange(CHUNK) % 2 == 0
    changed = as_field_galaxies(rng, galaxies, chosen)
    assert (changed.mag[chosen] >= galaxies.mag[chosen]).all()
    assert changed.youth[chosen].std() > 2 * galaxies.youth.std()
    np.testing.assert_array_equal(changed.mag[~chosen], galaxies.mag[~chosen])
    np.testing.assert_array_equal(changed.radius[~chosen], galaxies.radius[~chosen])


@pytest.mark.parametrize("name", KNOWN)
def test_known_surveys_have_conditions_of_their_own(name):
    conditions, n_bands = survey_conditions(name), len(get_survey(name).bands)
    assert conditions != SurveyConditions()
    for field in ("moffat_beta", "noise_correlation_pixels"):
        assert len(conditions.per_band(field, n_bands)) == n_bands
    assert sum(conditions.mixture.values()) == pytest.approx(1)
