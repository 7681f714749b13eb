"""Angular power of shells, of convergence, and of haloes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from equilens.pipeline.skies.cosmology import COSMOLOGIES, SPEED_OF_LIGHT_KM_S, Cosmology
from equilens.pipeline.skies.gaussian import gaussian_convergence
from equilens.pipeline.skies.halo_power import HaloPower, without_haloes
from equilens.pipeline.skies.matter_power import MatterPower, matter_power
from equilens.pipeline.skies.pixel_window import pixel_window
from equilens.pipeline.skies.shells import Shells, shells_to
from equilens.pipeline.skies.simulate import SkySimulator
from equilens.pipeline.skies.sources import SourceSample
from equilens.pipeline.skies.spectra import convergence_spectra, shell_spectra

LMAX = 400


@pytest.fixture(scope="module")
def shells(planck: Cosmology) -> Shells:
    return shells_to(planck, 2.5)


@pytest.fixture(scope="module")
def spectra(shells: Shells, bent_power: MatterPower) -> np.ndarray:
    return shell_spectra(shells, bent_power, LMAX)


def limber(cosmology: Cosmology, sources: SourceSample, power: MatterPower, ell: int) -> np.ndarray:
    """Convergence power by Limber's integral over redshift, without shells, (K, K)."""
    z = np.linspace(0.01, 2.49, 800)
    distance = cosmology.comoving_distance_mpc(z)
    rate = cosmology.hubble_km_s_mpc(z) / SPEED_OF_LIGHT_KM_S
    hubble = 100 * cosmology.h / SPEED_OF_LIGHT_KM_S
    kernel = 1.5 * cosmology.omega_m * hubble**2 * (1 + z) * distance
    kernel = kernel * sources.lensing_efficiency(cosmology, z)
    matter = [power.at(a, np.array([(ell + 0.5) / b]))[0] for a, b in zip(z, distance, strict=True)]
    both = kernel[:, None] * kernel[None] * np.array(matter) / distance**2 / rate
    return np.trapezoid(both, z, axis=-1)


def test_convergence_of_shells_is_limbers(
    shells: Shells,
    spectra: np.ndarray,
    planck: Cosmology,
    sources: SourceSample,
    bent_power: MatterPower,
):
    found = convergence_spectra(spectra, shells.lensing_weights(sources))
    for ell in (20, 100, 400):
        expected = limber(planck, sources, bent_power, ell)
        np.testing.assert_allclose(found[:, :, ell], expected, rtol=0.04)


def test_far_shells_reach_limbers_limit(
    shells: Shells, spectra: np.ndarray, bent_power: MatterPower
):
    i = 10
    wavenumber = np.array([(LMAX + 0.5) / shells.middle_mpc[i]])
    expected = bent_power.at(shells.redshift[i], wavenumber)[0]
    expected /= shells.middle_mpc[i] ** 2 * shells.thickness_mpc[i]
    assert spectra[i, 0, LMAX] == pytest.approx(expected, rel=0.03)


def test_a_split_shell_has_the_power_of_its_halves(planck: Cosmology, bent_power: MatterPower):
    edges = np.array([0, 2000.0, 2200.0, 2400.0])
    halves = shell_spectra(Shells(planck, edges), bent_power, 50)
    whole = shell_spectra(Shells(planck, edges[[0, 1, 3]]), bent_power, 50)
    joined = (halves[1, 0] + halves[2, 0] + 2 * halves[2, 1]) / 4
    np.testing.assert_allclose(joined[2:], whole[1, 0, 2:], rtol=0.02)
    # and not without what correlates them
    uncorrelated = (halves[1, 0] + halves[2, 0]) / 4
    assert abs(uncorrelated[5] / whole[1, 0, 5] - 1) > 0.05


def test_correlations_are_positive_definite(spectra: np.ndarray):
    n = len(spectra)
    covariance = np.zeros((LMAX + 1, n, n))
    for d in range(spectra.shape[1]):
        for i in range(d, n):
            covariance[:, i, i - d] = covariance[:, i - d, i] = spectra[i, d]
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_haloes_and_smooth_matter_add_up_to_all_matter(simulator: SkySimulator):
    everything, haloes = simulator.matter_spectra, simulator.halo_power
    smooth = without_haloes(everything, haloes)
    total = smooth[:, 0] * (1 + haloes.response) ** 2 + haloes.one_halo
    np.testing.assert_allclose(total, everything[:, 0], rtol=1e-10)
    # power counted twice is caught
    twice = everything[:, 0] * (1 + haloes.response) ** 2 + haloes.one_halo
    assert (twice / everything[:, 0]).max() > 1.1


def test_smooth_matter_keeps_a_share_where_haloes_have_all_power(spectra: np.ndarray):
    haloes = HaloPower(2 * spectra[:, 0], 0 * spectra[:, 0])
    assert (without_haloes(spectra, haloes)[:, 0] > 0).all()


def test_gaussian_modes_have_the_power_and_correlation_asked_for():
    lmax = 95
    ell = np.arange(lmax + 1)
    first = 1e-8 / (1 + ell) ** 0.5
    spectra = np.array([[first, 0.7 * first], [0.7 * first, 2 * first]])
    modes = gaussian_convergence(spectra, np.ones(lmax + 1), np.random.default_rng(0))
    from healpy import alm2cl

    found = alm2cl(modes[0], modes[1])[2:] / (0.7 * first[2:])
    weights = 2 * ell[2:] + 1
    assert np.average(found, weights=weights) == pytest.approx(1, abs=0.05)
    found = alm2cl(modes[1])[2:] / (2 * first[2:])
    assert np.average(found, weights=weights) == pytest.approx(1, abs=4 * (2 / 96**2) ** 0.5)


def test_pixel_window_is_that_of_averaged_pixels():
    import healpy as hp

    nside, lmax = 8, 23
    rng = np.random.default_rng(0)
    transfer = np.zeros(lmax + 1)
    for _ in range(8):
        modes = gaussian_convergence(np.ones((1, 1, lmax + 1)), np.ones(lmax + 1), rng)[0]
        fine = hp.alm2map(modes, 128, lmax=lmax, pol=False)
        coarse = hp.map2alm(hp.ud_grade(fine, nside), lmax=lmax, iter=8, pol=False)
        transfer += hp.alm2cl(coarse, modes) / np.maximum(hp.alm2cl(modes), 1e-30) / 8
    window = pixel_window(nside, lmax)
    assert transfer[4:16].mean() == pytest.approx(window[4:16].mean(), rel=0.01)
    assert transfer[20:].mean() == pytest.approx(window[20:].mean(), rel=0.03)


def test_camb_spectra_have_the_sigma_8_asked_for(power_cache: Path, planck: Cosmology):
    power = matter_power(planck, power_cache)
    # matter is nearly linear on 20 Mpc/h: colossus' linear scatter there, Eisenstein & Hu's shape
    radius = 30 / planck.h
    k = np.geomspace(1e-4, 10, 4000)
    x = k * radius
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    scatter = np.sqrt(np.trapezoid(power.at(0.0, k) * window**2 * k**3, np.log(k)) / 2 / np.pi**2)
    from colossus.cosmology import cosmology as colossus

    before = colossus.current_cosmo
    theirs = colossus.setCosmology("planck18", persistence="")
    expected = theirs.sigma(30.0, 0.0) * planck.sigma_8 / theirs.sigma8
    colossus.current_cosmo = before
    assert scatter == pytest.approx(expected, rel=0.03)


def test_spectra_come_from_the_cache(
    power_cache: Path, planck: Cosmology, monkeypatch: pytest.MonkeyPatch
):
    first = matter_power(planck, power_cache)
    monkeypatch.setattr("equilens.pipeline.skies.matter_power._run_camb", pytest.fail)
    again = matter_power(replace(planck, name="another name"), power_cache)
    np.testing.assert_array_equal(first.power, again.power)


def test_named_cosmologies_differ_where_lensing_sees_it():
    strengths = [m.sigma_8 * (m.omega_m / 0.3) ** 0.5 for m in COSMOLOGIES.values()]
    assert min(np.diff(sorted(strengths))) > 0.1


@pytest.mark.slow
def test_shells_agree_with_cambs_own_windows(power_cache: Path, planck: Cosmology):
    import camb

    power = matter_power(planck, power_cache)
    edges = np.array([0.0, 1600.0, 1800.0, 2000.0])
    shells = Shells(planck, edges)
    found = shell_spectra(shells, power, 100)
    parameters = _camb_windows(camb, planck, shells.edges_redshift[1:])
    theirs = camb.get_results(parameters).get_source_cls_dict(lmax=100, raw_cl=True)
    for ell, error in ((10, 0.05), (30, 0.03), (100, 0.03)):
        assert found[1, 0, ell] == pytest.approx(theirs["W1xW1"][ell], rel=error)
        assert found[2, 0, ell] == pytest.approx(theirs["W2xW2"][ell], rel=error)
    ours, cambs = found[2, 1, 10] / found[2, 0, 10], theirs["W1xW2"][10] / theirs["W2xW2"][10]
    assert ours == pytest.approx(cambs, abs=0.02)


def _camb_windows(camb, cosmology: Cosmology, edges: np.ndarray):
    from equilens.pipeline.skies.matter_power import _camb_parameters

    trial = camb.get_results(_camb_parameters(camb, cosmology, 2.1e-9, False))
    amplitude = 2.1e-9 * (cosmology.sigma_8 / float(trial.get_sigma8_0())) ** 2
    parameters = _camb_parameters(camb, cosmology, amplitude, True)
    parameters.WantCls, parameters.Want_CMB, parameters.min_l = True, False, 1
    parameters.NonLinear = camb.model.NonLinear_both
    parameters.set_for_lmax(100)
    windows = []
    for low, high in pairwise(edges):
        z = np.linspace(low, high, 200)
        weight = 1 / cosmology.hubble_km_s_mpc(z)
        windows.append(camb.sources.SplinedSourceWindow(source_type="counts", z=z, W=weight))
    parameters.SourceWindows = windows
    terms = parameters.SourceTerms
    for name in ("redshift", "lensing", "velocity", "radial", "timedelay", "ISW", "potential"):
        setattr(terms, f"counts_{name}", False)
    terms.counts_evolve, terms.counts_density = False, True
    terms.limber_windows = False
    return parameters
