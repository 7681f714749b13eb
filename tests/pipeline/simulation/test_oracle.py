"""The likelihood-ratio test that knows everything but the noise: against theory, and as a bound."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import norm

from equilens.catalogs.metrics import auroc
from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.simulation.conditions import SurveyConditions
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.oracle import (
    expected_auroc,
    log_likelihood_ratio,
    matched_bins,
    matched_sets,
    oracle_bound,
)
from equilens.pipeline.surveys.registry import get_survey

FAINT = SurveyConditions(source_mag_mean=28.0, source_mag_scatter=1.5, arc_snr_min=0.0)
N = 320


@pytest.fixture(scope="module")
def matched(survey):
    parts = list(matched_sets(survey, N, 5, conditions=FAINT))
    batch = CutoutBatch.concatenate([part.batch for part in parts])
    names = ("log_ratio", "known_snr")
    return batch, *(np.concatenate([getattr(part, name) for part in parts]) for name in names)


def draws(n, snr, gain=math.inf, seed=0):
    """L of n draws of each case, for one known arc on a sloping field."""
    generator = torch.Generator().manual_seed(seed)
    field = torch.linspace(0, 30, 16).reshape(1, 1, 4, 4).double()
    arc = torch.rand(1, 1, 4, 4, generator=generator).double()
    sky, gains = torch.full((1, 1), 2.0).double(), torch.full((1, 1), gain).double()
    usable = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    usable[..., 0] = False
    known = log_likelihood_ratio(field, field, arc, sky, gains, usable)[1]
    arc *= snr / known
    ratios = []
    for mean in (field + arc, field):
        spread = (4 + mean / gain).sqrt()
        noise = torch.randn(n, 1, 4, 4, generator=generator, dtype=torch.float64)
        ratios.append(
            log_likelihood_ratio(mean + spread * noise, field, arc, sky, gains, usable)[0]
        )
    return [ratio.numpy() for ratio in ratios]


@pytest.mark.parametrize("snr", [0.0, 0.7, 2.0, 5.0])
def test_one_signal_to_noise_gives_its_textbook_area(snr):
    assert expected_auroc([snr], [snr, snr]) == pytest.approx(norm.cdf(snr / math.sqrt(2)))
    lenses, fields = draws(4000, snr)
    labels = np.repeat([1, 0], 4000)
    found = auroc(labels, np.concatenate([lenses, fields]), level=0.999)
    assert found.low <= norm.cdf(snr / math.sqrt(2)) <= found.high
    for ratio, sign in ((lenses, 1), (fields, -1)):
        assert ratio.mean() == pytest.approx(sign * snr**2 / 2, abs=0.07 * snr)
        assert ratio.std() == pytest.approx(snr, rel=0.05)


def test_long_lists_are_thinned_without_a_trace():
    rng = np.random.default_rng(1)
    rho, other = rng.gamma(1.0, 2.0, 3000), rng.gamma(2.0, 1.0, 500)
    exact = ndtr(np.hypot(rho[:, None], other) / 2).mean()
    assert expected_auroc(rho, other) == pytest.approx(exact, abs=2e-4)


def test_the_ratio_is_that_of_two_normal_densities():
    rng = np.random.default_rng(2)
    shape = (3, 2, 5, 5)
    field, arc = rng.normal(5, 10, shape), rng.gamma(1, 3, shape)
    pixels = field + rng.normal(0, 4, shape)
    noise, gain = rng.uniform(1, 4, (3, 2)), rng.uniform(0.5, 3, (3, 2))
    usable = rng.random(shape) < 0.8
    logs = []
    for mean in (field + arc, field):
        variance = noise[:, :, None, None] ** 2 + np.maximum(mean, 0) / gain[:, :, None, None]
        logs.append(norm.logpdf(pixels, mean, np.sqrt(variance)))
    expected = ((logs[0] - logs[1]) * usable).sum(axis=(1, 2, 3))
    tensors = (torch.from_numpy(x) for x in (pixels, field, arc, noise, gain, usable))
    np.testing.assert_allclose(log_likelihood_ratio(*tensors)[0], expected, rtol=1e-9, atol=1e-9)


def test_a_likelihood_ratio_has_mean_1_without_the_signal():
    _, fields = draws(60_000, 0.8, gain=0.3)
    error = np.exp(fields).std() / math.sqrt(len(fields))
    assert np.exp(fields).mean() == pytest.approx(1, abs=4 * error)


def test_half_of_a_matched_set_has_its_arc(matched, survey):
    batch, ratio, snr = matched
    labels = batch.columns["is_lens"]
    assert labels.tolist() == [1, 0] * (N // 2)
    assert set(batch.columns["object_class"][labels == 0]) == {"field"}
    # fields keep what their arc would have been
    assert np.isfinite(batch.columns["einstein_radius_arcsec"]).all()
    assert (snr <= batch.columns["arc_snr"] * (1 + 1e-5)).all()
    few = next(matched_sets(survey, 10, 5, conditions=FAINT))
    np.testing.assert_array_equal(few.batch.images, batch.images[:10])
    np.testing.assert_array_equal(few.log_ratio, ratio[:10])


def test_the_population_agrees_with_the_closed_form(matched):
    batch, ratio, snr = matched
    labels = batch.columns["is_lens"]
    found = auroc(labels, ratio, level=0.999)
    assert 0.6 < found.value < 0.99
    assert found.low <= expected_auroc(snr[labels == 1], snr[labels == 0]) <= found.high


def test_no_other_statistic_does_better(matched):
    batch, ratio, _ = matched
    labels = batch.columns["is_lens"]
    bound = auroc(labels, ratio)
    scaled = batch.images / np.nan_to_num(batch.noise_njy, nan=1.0)[:, :, None, None]
    rivals = {
        "flux": scaled.sum(axis=(1, 2, 3)),
        "brightest": scaled.max(axis=(1, 2, 3)),
        "power": (scaled**2).sum(axis=(1, 2, 3)),
        "ring": scaled[:, :, 20:41, 20:41].sum(axis=(1, 2, 3)),
        "shuffled": np.random.default_rng(0).permutation(ratio),
    }
    for scores in rivals.values():
        assert auroc(labels, scores).value < bound.value


def test_without_arcs_nothing_can_be_told(survey):
    report = oracle_bound(survey, 64, 3, conditions=FAINT, arc_flux=0.0)
    assert report["auroc"] == report["closed_form_auroc"] == 0.5
    assert report["tpr0"] == 0.0
    assert report["invisible_share"] == 1.0


def test_bins_hold_lenses_and_their_own_kind_of_field():
    labels, values = np.tile([1, 0], 50), np.repeat([0.5, 1.5], 50)
    scores = values + labels * np.where(values < 1, 0.0, 10.0)
    low, high = matched_bins(labels, scores, values, (0, 1, 2, math.inf))
    assert (low["low"], low["high"], low["auroc"]) == (0, 1, 0.5)
    assert (high["n_lenses"], high["n_nonlenses"], high["auroc"]) == (25, 25, 1.0)


def test_what_it_cannot_do_is_refused(survey):
    with pytest.raises(SimulationError, match="euclid-mer is correlated"):
        next(matched_sets(get_survey("euclid-mer"), 4, 1))
    with pytest.raises(SimulationError, match="at least 2"):
        next(matched_sets(survey, 1, 1))


def test_progress_counts_every_cutout(survey):
    seen = []
    small = dataclasses.replace(survey, shape=(33, 33))
    oracle_bound(small, 70, 1, conditions=FAINT, progress=seen.append)
    assert seen == [64, 6]
