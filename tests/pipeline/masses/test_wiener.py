"""The Wiener filter: closed form, dense solution, optimality, and what it refuses."""

import healpy as hp
import numpy as np
import pytest

from equilens.pipeline.masses.errors import PriorError, WienerError
from equilens.pipeline.masses.harmonics import Harmonics
from equilens.pipeline.masses.kaiser_squires import kaiser_squires
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.shear import ShearMaps
from equilens.pipeline.masses.wiener import WienerFilter
from equilens.pipeline.masses.wiener_map import wiener_filter
from equilens.pipeline.skies.shear_maps import shear_factor


def test_a_sky_without_mask_is_scaled_degree_by_degree(gaussian_sky):
    _, maps, prior = gaussian_sky(32, 1, sigma=(0.02,), mask_below_deg=0)
    even = ShearMaps(maps.shear, np.full_like(maps.weight, 1 / 0.02**2))
    harmonics = Harmonics(32, 40)
    solution = WienerFilter(even, prior, lmax=40, tolerance=1e-10).solve(even.shear)
    response, power = shear_factor(40), prior.to(40, 1)[:, 0, 0]
    noise = 0.02**2 * harmonics.pixel_area
    e_modes = harmonics.shear_analysis(even.shear[0])
    expected = harmonics.scale(e_modes, power * response / (power * response**2 + noise))
    # quadrature on HEALPix is exact to 1e-3 only: the closed form, not the filter, is inexact
    assert np.abs(solution.kappa[0] - expected).max() < 2e-3 * np.abs(expected).max()


def test_it_equals_the_dense_solution(gaussian_sky):
    lmax = 8
    _, maps, prior = gaussian_sky(4, 2, mask_below_deg=25, lmax=lmax)
    found = WienerFilter(maps, prior, lmax=lmax, tolerance=1e-11).solve(maps.shear)
    basis = _real_basis(lmax)
    response = np.stack([Harmonics(4, lmax).shear_from_kappa(mode).ravel() for mode in basis], 1)
    n_modes, ell = len(basis), [hp.Alm.getlm(lmax)[0][np.flatnonzero(mode)[0]] for mode in basis]
    forward = np.kron(np.eye(2), response)
    covariance = np.zeros((2 * n_modes, 2 * n_modes))
    for i, degree in enumerate(ell):
        covariance[i::n_modes, i::n_modes] = prior.spectra[degree]
    seen = np.repeat(maps.weight[:, None] > 0, 2, axis=1).ravel()
    noise = np.diag(1 / np.repeat(maps.weight[:, None], 2, axis=1).ravel()[seen])
    forward, data = forward[seen], maps.shear.ravel()[seen]
    dense = covariance @ forward.T @ np.linalg.solve(forward @ covariance @ forward.T + noise, data)
    expected = dense.reshape(2, n_modes) @ basis
    assert np.abs(found.kappa - expected).max() < 1e-8 * np.abs(expected).max()


def test_its_error_is_the_predicted_one_and_smaller_than_that_of_kaiser_squires(gaussian_sky):
    kappa, maps, prior = gaussian_sky(64, 3)
    truth = maps.shares @ kappa
    ours = wiener_filter(maps, prior, lmax=128)
    seen = maps.observed
    error = (ours.kappa - truth)[seen]
    normalised = (error / ours.sigma[seen]) ** 2
    assert normalised.mean() == pytest.approx(1, abs=0.06)
    assert np.mean(normalised < 1) == pytest.approx(0.683, abs=0.03)
    for fwhm in (0, 120, 240, 480):
        theirs = kaiser_squires(maps, fwhm_arcmin=fwhm, lmax=128).kappa[seen] - truth[seen]
        assert np.mean(error**2) < np.mean(theirs**2)


def test_realisations_agree_with_the_analytic_variance(gaussian_sky):
    _, maps, prior = gaussian_sky(32, 4)
    analytic = wiener_filter(maps, prior, lmax=64, tolerance=1e-3).sigma
    drawn = wiener_filter(maps, prior, lmax=64, tolerance=1e-3, n_realisations=6).sigma
    inside = maps.observed
    assert np.mean(drawn[inside] / analytic[inside]) == pytest.approx(1, abs=0.03)


def test_a_wrong_sign_of_the_shear_is_worse_than_nothing(gaussian_sky):
    kappa, maps, prior = gaussian_sky(32, 5)
    truth, seen = maps.shares @ kappa, maps.observed
    turned = ShearMaps(-maps.shear, maps.weight)
    error = wiener_filter(turned, prior, lmax=64).kappa - truth
    assert np.mean(error[seen] ** 2) > np.mean(truth[seen] ** 2)


def test_45_degrees_leave_no_mass(gaussian_sky):
    _, maps, prior = gaussian_sky(64, 6, sigma=(1e-4, 1e-4), mask_below_deg=0)
    mass = wiener_filter(maps, prior, lmax=128).kappa.std()
    assert wiener_filter(maps.rotated_45_degrees(), prior, lmax=128).kappa.std() < 0.05 * mass


def test_it_says_that_it_did_not_converge(gaussian_sky, monkeypatch):
    _, maps, prior = gaussian_sky(16, 7)
    monkeypatch.setattr("equilens.pipeline.masses.wiener.MOST_ITERATIONS", 2)
    with pytest.raises(WienerError, match=r"residual of 1e-05, got .* after 2 iterations"):
        wiener_filter(maps, prior)


def test_a_prior_of_another_number_of_bins_is_refused(gaussian_sky):
    _, maps, prior = gaussian_sky(16, 8)
    with pytest.raises(PriorError, match=r"1 bins .* does not fit 2 bins"):
        wiener_filter(maps, ConvergencePrior(prior.spectra[:, :1, :1]))


def _real_basis(lmax):
    """Orthonormal real basis of the modes with l ≥ 2, (n, n_alm)."""
    ell, m = hp.Alm.getlm(lmax)
    modes = []
    for k in np.flatnonzero(ell > 1):
        for unit in (1.0,) if m[k] == 0 else (0.5**0.5, 0.5**0.5 * 1j):
            modes.append(np.zeros(len(ell), complex))
            modes[-1][k] = unit
    return np.array(modes)


def test_threads_change_nothing(gaussian_sky):
    _, maps, prior = gaussian_sky(16, 2)
    one, two = (WienerFilter(maps, prior, lmax=32, threads=n).solve(maps.shear) for n in (1, 2))
    np.testing.assert_array_equal(one.kappa, two.kappa)
